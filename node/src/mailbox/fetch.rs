//! Step 7 at the destination, fetch: one try to get what a notification names from its origin.
//!
//! What always holds: nothing is said to a peer whose key is not pinned for the origin's name; what was verified is kept
//! whatever happens then, and the next try asks only for what is missing. Missing is what neither the recipient holds nor
//! this job has brought, nor this same origin has sent whole before: that somebody else's blocks are here already saves room, not the transfer. Otherwise a CID
//! would be a capability: whoever knows one could have an accomplice's origin notify of it and read what is another
//! user's (row T11).

use std::cmp::Ordering;
use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use cargomail_protocol::address::Locator;
use cargomail_protocol::dag::{Kind, Walk};
use cargomail_protocol::exchange::{
    Destination, DestinationAction, Expect, Fetch, Heard, Outcome, Refused, Wanted,
};
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::Digest;
use cargomail_protocol::limits;
use cargomail_protocol::notification::{self, Notification};
use cargomail_protocol::share::SharedResource;
use cid::Cid;

use super::holdings::Resource;
use super::intake::{AGAIN, Intake, Patience, Settled};
use super::jobs::{self, Came, Job, Place};
use super::line::Line;
use super::noting::Noting;
use super::reserve::{self, Room};
use super::{Mailbox, MailboxError};
use crate::dns::DnsError;
use crate::https;
use crate::keeping;
use crate::peers::{self, PeerError, PeerStream, ReachError, Spoken};
use crate::store::StoreError;

/// Why a try came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The origin does not give it, and will not.
    Refused,
    /// It may go better later, or once the origin's time has passed.
    Later { why: String, asked: Option<Duration> },
    /// Nobody answered.
    Unreachable(String),
    /// The origin's name leads to no peer that may be spoken to.
    Unusable(String),
    /// The origin did what it may not do.
    Violated(String),
    /// This node failed.
    Own(MailboxError),
}

impl Trouble {
    pub(super) fn broken() -> Self {
        Trouble::Later {
            why: "the stream ended early".to_owned(),
            asked: None,
        }
    }

    pub(super) fn refused(refused: Refused) -> Self {
        match refused.retry_after {
            Some(seconds) => Trouble::Later {
                why: "the origin asks to come back".to_owned(),
                asked: Some(Duration::from_secs(seconds)),
            },
            None => Trouble::Refused,
        }
    }

    /// What this node's own answer to its own agent means.
    pub(super) fn of_own(error: MailboxError) -> Self {
        let fault = error.fault();
        if fault == Fault::NotYetProved {
            Trouble::Later {
                why: error.to_string(),
                asked: fault.retry_after(),
            }
        } else if fault.is_temporary() {
            Trouble::Own(error)
        } else {
            tracing::info!(%error, step = "retrieve", "refused here");
            Trouble::Refused
        }
    }

    fn of_dns(error: &DnsError) -> Self {
        match error {
            DnsError::Unavailable { .. } => Trouble::Later {
                why: error.to_string(),
                asked: None,
            },
            DnsError::NoRecord { .. } | DnsError::Unauthenticated { .. } => {
                Trouble::Unusable(error.to_string())
            }
        }
    }
}

impl From<MailboxError> for Trouble {
    fn from(error: MailboxError) -> Self {
        match error {
            MailboxError::Crowded => Trouble::Later {
                why: error.to_string(),
                asked: None,
            },
            error => Trouble::Own(error),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Own(error.into())
    }
}

/// What a try brought, which has its room until it is written whose it is.
pub(super) struct Fetched<'a> {
    _room: Room<'a>,
    pub(super) notification: Notification,
    pub(super) digest: Digest,
    /// The token 2 by which it was granted, with token 1 in it.
    pub(super) evidence: String,
    /// What the origin sent whole, now or before.
    pub(super) brought: HashSet<Cid>,
}

/// What is asked for.
struct Plan {
    /// Up to where the job has come.
    came: Came,
    wants: Vec<Wanted>,
    /// Which resource of the notification each want is.
    resources: Vec<usize>,
    /// Octets that are not asked for.
    here: u64,
    /// Octets that the recipient does not hold.
    missing: u64,
    /// What the origin has certainly sent whole once it has sent what is wanted.
    brought: HashSet<Cid>,
}

impl Mailbox {
    /// Gets what is missing. Afterwards every block of every resource is durable here.
    pub(super) async fn fetch(&self, job: &Job) -> Result<Fetched<'_>, Trouble> {
        let (notification, octets) = jobs::notification(&*self.needs.blocks, job).await?;
        let digest = Digest::of(&octets);
        let token = notification::fetch_token(
            self.needs.signer.key(),
            &self.options.service,
            &job.origin,
            digest,
            &job.notify,
            self.needs.signer.stamp(),
        )
        .map_err(MailboxError::from)?;
        let (room, brought) = if job.origin == self.options.locator {
            let room = self.room(job, self.missing(&notification).await?).await?;
            let fetch = Fetch {
                token: token.clone(),
                notification: octets.to_vec(),
                // Everything is here: what is asked for is the permission.
                wants: Vec::new(),
            };
            self.authorize(&fetch, self.own_key())
                .await
                .map_err(Trouble::of_own)?;
            (room, HashSet::new())
        } else {
            let plan = self.plan(job, &notification).await?;
            let destination = Destination::new(token.clone(), octets.to_vec(), plan.wants.clone())
                .map_err(|error| Trouble::Violated(error.to_string()))?;
            let stream = self.reach(&job.origin).await?;
            let room = self.room(job, plan.missing).await?;
            self.receive(job, Line::new(stream.io), destination, &plan)
                .await?;
            // A stream goes only through what it brings: that all of them together make a resource is seen here.
            if plan.came.durable != Place::default() {
                for resource in &notification.resources {
                    if !self.stays(resource).await? {
                        let why = format!("what came as {} is not all of a resource", resource.cid());
                        return Err(Trouble::Violated(why));
                    }
                }
            }
            (room, plan.brought)
        };
        Ok(Fetched {
            _room: room,
            notification,
            digest,
            evidence: token,
            brought,
        })
    }

    /// A stream to the peer that serves for this locator, and whose key is pinned for it.
    pub(super) async fn reach(&self, origin: &Locator) -> Result<PeerStream, Trouble> {
        let dns = &*self.needs.dns;
        let pins = https::pins(dns, origin.as_str()).await;
        let pins = pins.map_err(|error| Trouble::of_dns(&error))?;
        let addresses = peers::lookup(dns, origin.as_str()).await;
        let addresses = addresses.map_err(|error| Trouble::of_dns(&error))?;
        let peers = &*self.needs.peers;
        let reached = peers::reach(peers, Spoken::Exchange, origin.as_str(), addresses, &pins).await;
        let stream = reached.map_err(|error| match error {
            ReachError::NotPinned(_) | ReachError::Peer(PeerError::NoAddress(_)) => {
                Trouble::Unusable(error.to_string())
            }
            ReachError::Peer(PeerError::Closed) => Trouble::Later {
                why: error.to_string(),
                asked: None,
            },
            ReachError::Peer(_) => Trouble::Unreachable(error.to_string()),
        })?;
        self.agenda.answered(origin);
        Ok(stream)
    }

    /// Drives the protocol's machine; what comes is durable when this returns, whatever it returns.
    async fn receive(
        &self,
        job: &Job,
        mut line: Line,
        mut destination: Destination,
        plan: &Plan,
    ) -> Result<(), Trouble> {
        let under_way = self.jobs.under_way(&job.id);
        let mut intake = Intake::new(self.needs.blocks.clone());
        let mut noting = Noting::new(&self.jobs, &job.id, plan.came);
        let begun = destination.progress();
        under_way.at(plan.here + begun.content, plan.here + begun.of);
        let missing = begun.of - begun.content;
        let longest = limits::RETRIEVAL_GRACE + Duration::from_secs(missing / limits::RETRIEVAL_SLOWEST);
        let longest = longest.min(job.expires.since(self.now()));
        let mut too_long = pin!(tokio::time::sleep(longest));
        let mut patience = Patience::default();
        loop {
            match destination.poll() {
                Some(DestinationAction::Send(frame)) => {
                    if line.say(vec![frame]).await.is_err() {
                        destination.handle(Heard::Ended);
                    }
                }
                Some(DestinationAction::Verify {
                    want,
                    block,
                    resume,
                    last,
                    ..
                }) => {
                    let place = match last {
                        true => plan.place(want + 1, 0),
                        false => plan.place(want, resume),
                    };
                    intake.take(block, place);
                }
                Some(DestinationAction::Arrived(_)) => {}
                Some(DestinationAction::Finish(outcome)) => {
                    while let Some(settled) = intake.next().await {
                        if let Settled::Durable(place) = settled? {
                            noting.durable(place);
                        }
                    }
                    if let Outcome::Complete(_) = outcome {
                        line.close().await;
                        return Ok(());
                    }
                    noting.finish().await?;
                    return Err(match outcome {
                        Outcome::Refused(refused) => Trouble::refused(refused),
                        Outcome::Violated(violation) => Trouble::Violated(violation.to_string()),
                        Outcome::Broken | Outcome::Complete(_) => Trouble::broken(),
                    });
                }
                None => {
                    let expect = destination.expect();
                    // Only blocks need room: what is left to be said when all of them are here is heard on a full disk, too.
                    let (room, has_room) = match expect {
                        Expect::Block(longest) => {
                            let room = intake.room();
                            let has_room = room.is_ok() && intake.has_room(longest, noting.told());
                            (room, has_room)
                        }
                        _ => (Ok(()), true),
                    };
                    // Nothing comes meanwhile that small blocks could gather with.
                    if !has_room || matches!(expect, Expect::End | Expect::Nothing) {
                        intake.send_off();
                    }
                    let is_idle = intake.is_idle() && !noting.is_busy();
                    if let Some(error) = patience.over(room, is_idle) {
                        return Err(error.into());
                    }
                    tokio::select! {
                        biased;
                        Some(settled) = intake.next() => match settled? {
                            Settled::Written => {}
                            Settled::Durable(place) => noting.durable(place),
                            Settled::Verified { blocks, failed, place, octets } => {
                                for block in &blocks {
                                    destination.verified(Ok(block));
                                }
                                if let Some(error) = failed {
                                    destination.verified(Err(error));
                                }
                                noting.verified(place, octets);
                                let progress = destination.progress();
                                under_way.at(plan.here + progress.content, plan.here + progress.of);
                            }
                        },
                        noted = noting.next(), if noting.is_busy() => noted?,
                        () = &mut too_long, if expect != Expect::Nothing => destination.handle(Heard::Ended),
                        heard = line.hear(expect), if has_room && expect != Expect::Nothing => {
                            destination.handle(heard);
                        }
                        () = tokio::time::sleep(AGAIN), if is_idle && !has_room => {}
                    }
                }
            }
        }
    }

    /// Up to where what this job brought is here: behind what was noted as durable, the store says which of the blocks that
    /// were verified it held when the last try ended without a word. Blocks that somebody else brought are behind the place
    /// up to which this job's were verified, or are the same ones.
    async fn kept(&self, all: &[SharedResource], came: Came) -> Result<Place, StoreError> {
        let mut place = came.durable;
        while let Some(resource) = all.get(place.resource).filter(|_| place < came.verified) {
            let whole = place.resource < came.verified.resource;
            let Ok(mut walk) = Walk::resume(*resource.cid(), resource.size(), place.leaves) else {
                break;
            };
            while let Some(next) = walk.next() {
                place.leaves = walk.leaves();
                if !whole && place.leaves >= came.verified.leaves {
                    return Ok(place);
                }
                let passed = match next.kind {
                    Kind::Node => match self.needs.blocks.get(&next.cid).await {
                        Ok(Some(node)) => walk.trust(&node).is_ok(),
                        // It comes again, and is mended by that.
                        Ok(None) | Err(StoreError::Damaged { .. }) => false,
                        Err(error) => return Err(error),
                    },
                    Kind::Leaf => self.needs.blocks.has(&[next.cid]).await? == [true] && walk.pass().is_ok(),
                };
                if !passed {
                    return Ok(place);
                }
            }
            place = Place {
                resource: place.resource + 1,
                leaves: 0,
            };
        }
        Ok(place)
    }

    /// Whether everything that is missing was sent whole by this origin before, to whomever, and is still here: then its permission is
    /// all that is needed. Of a part of it nothing is made: permission is asked for what is wanted, too, and both are one answer.
    async fn sent_before(
        &self,
        origin: &Locator,
        missing: &[(usize, &SharedResource, u64)],
    ) -> Result<bool, StoreError> {
        let resources: Vec<SharedResource> = missing.iter().map(|(_, resource, _)| **resource).collect();
        let sent = |whole: &Option<Resource>| whole.as_ref().is_some_and(|whole| whole.from.contains(origin));
        // Mostly none was, and the first one tells.
        for some in [resources.get(..1).unwrap_or_default(), &resources] {
            if !self.holdings.whole(some).await?.iter().all(sent) {
                return Ok(false);
            }
        }
        for resource in &resources {
            if !self.stays(resource).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether all of a resource is here, and stays though it may be condemned at this moment: the job refers to it.
    async fn stays(&self, resource: &SharedResource) -> Result<bool, StoreError> {
        keeping::stays(&*self.needs.blocks, resource.cid(), resource.size()).await
    }

    /// What is missing. When nothing is, only the permission is asked for: the ledgers of both sides shall tell that the
    /// origin gave it.
    async fn plan(&self, job: &Job, notification: &Notification) -> Result<Plan, StoreError> {
        let all = &notification.resources;
        let held = self.holdings.held(&job.recipient, all).await?;
        let came = self.jobs.came(&job.id).await?;
        let place = self.kept(all, came).await?;
        let mut plan = Plan {
            came: Came {
                durable: place,
                verified: place,
            },
            wants: Vec::new(),
            resources: Vec::new(),
            here: 0,
            missing: reserve::missing(all, &held),
            brought: HashSet::new(),
        };
        let mut missing = Vec::new();
        for ((index, resource), held) in all.iter().enumerate().zip(held) {
            match index.cmp(&place.resource) {
                _ if held => plan.here += resource.size(),
                Ordering::Less => plan.here += resource.size(),
                Ordering::Equal => missing.push((index, resource, place.leaves)),
                Ordering::Greater => missing.push((index, resource, 0)),
            }
        }
        if self.sent_before(&job.origin, &missing).await? {
            for (_, resource, _) in missing {
                plan.here += resource.size();
                plan.brought.insert(*resource.cid());
            }
            return Ok(plan);
        }
        for (index, resource, skip) in missing {
            plan.want(index, resource, skip);
            // What an earlier try skipped because the recipient held it then is not known any more.
            if skip == 0 || all.len() == 1 {
                plan.brought.insert(*resource.cid());
            }
        }
        Ok(plan)
    }
}

impl Plan {
    /// Asks for a resource without its first leaves, but for its last one at least.
    fn want(&mut self, index: usize, resource: &SharedResource, skip: u64) {
        self.resources.push(index);
        self.wants.push(Wanted {
            root: *resource.cid(),
            size: resource.size(),
            skip: skip.min(resource.size().saturating_sub(1) / limits::LEAF as u64),
        });
    }

    /// The place in the notification of so many leaves of a want.
    fn place(&self, want: usize, leaves: u64) -> Option<Place> {
        let behind = self.resources.last().map(|last| last + 1);
        let resource = self.resources.get(want).copied().or(behind)?;
        Some(Place { resource, leaves })
    }
}
