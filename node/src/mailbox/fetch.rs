//! Step 7 at the destination, fetch: one try to get what a notification names from its origin.
//!
//! What always holds: nothing is said to a peer whose key is not pinned for the origin's name; what was verified is kept
//! whatever happens then, and the next try asks only for what is missing. Missing is what neither the recipient holds nor
//! this job has brought: that somebody else's blocks are here already saves room, not the transfer. Otherwise a CID
//! would be a capability: whoever knows one could have an accomplice's origin notify of it and read what is another
//! user's (row T11).

use std::cmp::Ordering;
use std::time::Duration;

use cargomail_protocol::address::Locator;
use cargomail_protocol::exchange::{
    Destination, DestinationAction, Fetch, Heard, Outcome, Refused, Want, Wanted,
};
use cargomail_protocol::fault::Faulty;
use cargomail_protocol::grip::{Digest, PublicKey};
use cargomail_protocol::limits;
use cargomail_protocol::notification::{self, Notification};
use cargomail_protocol::share::SharedResource;

use super::batch::Batch;
use super::jobs::{self, Job, Place};
use super::line::Line;
use super::{Mailbox, MailboxError};
use crate::dns::DnsError;
use crate::https;
use crate::peers::{self, PeerError, PeerStream};
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
        if error.fault().is_temporary() {
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
        Trouble::Own(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Own(error.into())
    }
}

/// What a try brought.
pub(super) struct Fetched {
    pub(super) notification: Notification,
    pub(super) digest: Digest,
    /// The token 2 by which it was granted, with token 1 in it.
    pub(super) evidence: String,
}

/// What is asked for.
struct Plan {
    wants: Vec<Wanted>,
    /// Which resource of the notification each want is.
    resources: Vec<usize>,
    /// Octets that are not asked for.
    here: u64,
}

impl Mailbox {
    /// Gets what is missing. Afterwards every block of every resource is durable here.
    pub(super) async fn fetch(&self, job: &Job) -> Result<Fetched, Trouble> {
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
        if job.origin == self.options.locator {
            let fetch = Fetch {
                token: token.clone(),
                notification: octets.to_vec(),
                wants: notification.resources.iter().map(whole).collect(),
            };
            self.authorize(&fetch, self.own_key())
                .await
                .map_err(Trouble::of_own)?;
        } else {
            let plan = self.plan(job, &notification).await?;
            let destination = Destination::new(token.clone(), octets.to_vec(), plan.wants.clone())
                .map_err(|error| Trouble::Violated(error.to_string()))?;
            let stream = self.reach(&job.origin).await?;
            self.receive(job, Line::new(stream.io), destination, &plan)
                .await?;
        }
        Ok(Fetched {
            notification,
            digest,
            evidence: token,
        })
    }

    /// A stream to the peer that serves for this locator, and whose key is pinned for it.
    pub(super) async fn reach(&self, origin: &Locator) -> Result<PeerStream, Trouble> {
        let dns = &*self.needs.dns;
        let pins = https::pins(dns, origin.as_str()).await;
        let pins = pins.map_err(|error| Trouble::of_dns(&error))?;
        let pinned =
            |key: [u8; 32]| PublicKey::ed25519(key).is_ok_and(|key| pins.contains(key.hash().as_bytes()));
        let addresses = peers::lookup(dns, origin.as_str()).await;
        let mut addresses = addresses.map_err(|error| Trouble::of_dns(&error))?;
        addresses.retain(|address| address.key().is_some_and(pinned));
        if addresses.is_empty() {
            let why = format!("{origin}: no peer address with a key that is pinned");
            return Err(Trouble::Unusable(why));
        }
        let stream = self
            .needs
            .peers
            .open(&addresses)
            .await
            .map_err(|error| match error {
                PeerError::NoAddress(_) => Trouble::Unusable(error.to_string()),
                PeerError::Closed => Trouble::Later {
                    why: error.to_string(),
                    asked: None,
                },
                _ => Trouble::Unreachable(error.to_string()),
            })?;
        self.agenda.answered(origin);
        if !pinned(stream.key) {
            return Err(Trouble::Unusable(format!(
                "{origin}: the peer's key is not pinned"
            )));
        }
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
        let mut batch = Batch::new(self.needs.blocks.clone());
        let mut place = None;
        loop {
            let progress = destination.progress();
            under_way.at(plan.here + progress.content, plan.here + progress.of);
            match destination.poll() {
                Some(DestinationAction::Send(frame)) => {
                    if line.say(vec![frame]).await.is_err() {
                        destination.handle(Heard::Ended);
                    }
                }
                Some(DestinationAction::Store {
                    want, block, resume, ..
                }) => {
                    let durable = batch.add([block]).await?;
                    place = plan.place(want, resume);
                    if let (true, Some(place)) = (durable, place) {
                        self.jobs.note_place(&job.id, place).await?;
                    }
                }
                Some(DestinationAction::Arrived(want)) => place = plan.place(want + 1, 0),
                Some(DestinationAction::Finish(outcome)) => {
                    batch.flush().await?;
                    if let (false, Some(place)) = (matches!(outcome, Outcome::Complete(_)), place) {
                        self.jobs.note_place(&job.id, place).await?;
                    }
                    return match outcome {
                        Outcome::Complete(_) => {
                            line.close().await;
                            Ok(())
                        }
                        Outcome::Refused(refused) => Err(Trouble::refused(refused)),
                        Outcome::Broken => Err(Trouble::broken()),
                        Outcome::Violated(violation) => Err(Trouble::Violated(violation.to_string())),
                    };
                }
                None => destination.handle(line.hear(destination.expect()).await),
            }
        }
    }

    /// What is missing. When nothing is, the end of the smallest resource is asked for once more: the ledgers of both sides
    /// shall tell that the origin allowed it.
    async fn plan(&self, job: &Job, notification: &Notification) -> Result<Plan, StoreError> {
        let all = &notification.resources;
        let held = self.holdings.held(&job.recipient, all).await?;
        let place = self.jobs.place(&job.id).await?;
        let mut plan = Plan {
            wants: Vec::new(),
            resources: Vec::new(),
            here: 0,
        };
        for (index, (resource, held)) in all.iter().zip(held).enumerate() {
            match index.cmp(&place.resource) {
                _ if held => plan.here += resource.size(),
                Ordering::Less => plan.here += resource.size(),
                Ordering::Equal => plan.want(index, resource, place.leaves),
                Ordering::Greater => plan.want(index, resource, 0),
            }
        }
        let smallest = all.iter().enumerate().min_by_key(|(_, resource)| resource.size());
        if let (true, Some((index, resource))) = (plan.wants.is_empty(), smallest) {
            plan.here -= resource.size();
            plan.want(index, resource, u64::MAX);
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

fn whole(resource: &SharedResource) -> Want {
    Want {
        root: *resource.cid(),
        skip: 0,
    }
}
