//! The workers: take up what was left, do one step of one entry at a time, and go on whatever happens to an entry.
//!
//! What always holds: an entry whose step fails by this machine's own fault waits longer each time and is put aside in the
//! end, with its sender told (row Q01); stopping is safe at any moment, because a step counts only once it is committed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

use cargomail_protocol::limits;
use cargomail_protocol::queue::backoff;
use cargomail_protocol::timestamp::Timestamp;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::accept::{SEEN, Seen};
use super::change::Change;
use super::fill::{Move, signed};
use super::inbound::{INBOUND, Inbound, State};
use super::outbound::{OUTBOUND, Outbound, id_in};
use super::queue::{Kind, Next, Place, Queue, Touch};
use super::report::{Failure, Notice};
use super::send::{SUBMITTED, Submitted};
use super::{Broker, BrokerError};
use crate::api::Delivery;
use crate::store::{Record, StoreError, typed};

/// The queue is looked at again after this time, whatever the clock did meanwhile.
const LOOK: Duration = Duration::from_secs(60);
/// How often what is over is forgotten.
const TIDY: Duration = Duration::from_secs(3600);
/// A large message that finds no room in memory tries again so long after.
const NO_ROOM: Duration = Duration::from_secs(5);
/// Records read at a time.
const PAGE: usize = 500;

/// What a step leaves behind. The entry itself waits again already, if it is to.
pub(super) struct After(pub(super) Touch);

/// Which way a message goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    In,
    Out,
}

impl Broker {
    /// Works until `shutdown` is cancelled.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::join!(
            self.clone().work(Way::In, shutdown.clone()),
            self.clone().work(Way::Out, shutdown.clone()),
            self.tidy(shutdown),
        );
    }

    fn queue(&self, way: Way) -> &Queue {
        match way {
            Way::In => &self.inbound,
            Way::Out => &self.outbound,
        }
    }

    async fn work(self: Arc<Self>, way: Way, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let until = match self.queue(way).take(self.now()) {
                Next::Work { id, at } => {
                    let (broker, shutdown) = (self.clone(), shutdown.clone());
                    tasks.spawn(
                        async move {
                            tokio::select! {
                                biased;
                                () = shutdown.cancelled() => {}
                                () = broker.one(way, id, at) => {}
                            }
                        }
                        .in_current_span(),
                    );
                    continue;
                }
                Next::Wait(until) => until,
            };
            let wait = until.map_or(LOOK, |until| until.since(self.now()).min(LOOK));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.queue(way).changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// One step of one entry.
    async fn one(&self, way: Way, id: Uuid, at: Place) {
        let step = async {
            match way {
                Way::In => self.step_in(id, at).await,
                Way::Out => self.step_out(id, at).await,
            }
        };
        let touch = match AssertUnwindSafe(Box::pin(step)).catch_unwind().await {
            Ok(Ok(After(touch))) => touch,
            Ok(Err(error)) => {
                self.stumbled(way, id, at, &error.to_string()).await;
                Touch::Nothing
            }
            Err(_) => {
                self.stumbled(way, id, at, "the step panicked").await;
                Touch::Nothing
            }
        };
        self.queue(way).done(at, touch, self.now(), self.random());
    }

    async fn step_in(&self, id: Uuid, at: Place) -> Result<After, BrokerError> {
        let Some((version, entry)) = typed::read::<Inbound>(self.records(), &Inbound::key(id)).await? else {
            return Ok(After(Touch::Nothing));
        };
        match entry.state {
            State::Route => Box::pin(self.route(id, version, entry, at)).await,
            State::Notify => Box::pin(self.notify(id, version, entry)).await,
            State::Deliver => Box::pin(self.deliver(id, version, entry, Touch::Nothing)).await,
            State::Follow => Box::pin(self.follow(id, version, entry)).await,
            State::Done(_) | State::Quarantined => Ok(After(Touch::Nothing)),
        }
    }

    async fn step_out(&self, id: Uuid, at: Place) -> Result<After, BrokerError> {
        match typed::read::<Outbound>(self.records(), &Outbound::key(id)).await? {
            Some((version, entry)) if entry.finished.is_none() => {
                let Some(_room) = self.leaving.take(entry.domain.as_str(), entry.message.size) else {
                    self.outbound.put_back(id, at, self.now().plus(NO_ROOM));
                    return Ok(After(Touch::Nothing));
                };
                Box::pin(self.transmit(id, version, entry)).await
            }
            _ => Ok(After(Touch::Nothing)),
        }
    }

    /// Commits an arriving entry in its next state, with what goes with it.
    pub(super) async fn move_on(
        &self,
        id: Uuid,
        version: u64,
        entry: Inbound,
        mut change: Change,
        touch: Touch,
    ) -> Result<After, BrokerError> {
        let key = Inbound::key(id);
        change.unchanged(key.clone(), version);
        change.put(key, &entry);
        if !entry.is_finished() {
            change.wake_inbound(id, entry.lane(), entry.tries.due);
        } else if entry.delivered.is_none() {
            change.moves(Move::waits(&entry.recipient, -signed(entry.message.size)));
        }
        self.commit(change).await?;
        Ok(After(touch))
    }

    /// Commits a leaving entry in its next state, with what goes with it.
    pub(super) async fn move_out(
        &self,
        id: Uuid,
        version: u64,
        entry: Outbound,
        mut change: Change,
        touch: Touch,
    ) -> Result<After, BrokerError> {
        let key = Outbound::key(id);
        change.unchanged(key.clone(), version);
        change.put(key, &entry);
        if entry.finished.is_none() {
            change.wake_outbound(id, &entry);
        } else if let Some((sender, octets)) = entry.charge() {
            change.moves(Move::leaves(sender, -signed(octets)));
        }
        self.commit(change).await?;
        Ok(After(touch))
    }

    /// A step failed by this machine's own fault: the entry waits, or is put aside when that happened too often.
    async fn stumbled(&self, way: Way, id: Uuid, at: Place, why: &str) {
        tracing::error!(?way, entry = %id, why, "a step failed on this machine");
        let noted = match way {
            Way::In => self.stumbled_in(id, why).await,
            Way::Out => self.stumbled_out(id, why).await,
        };
        if let Err(error) = noted {
            // Not even that could be written: only this process remembers, and tries again.
            tracing::error!(?way, entry = %id, %error, "a failed step could not be noted");
            self.queue(way).put_back(id, at, self.now().plus(LOOK));
        }
    }

    async fn stumbled_in(&self, id: Uuid, why: &str) -> Result<(), BrokerError> {
        let Some((version, mut entry)) = typed::read::<Inbound>(self.records(), &Inbound::key(id)).await?
        else {
            return Ok(());
        };
        let mut change = Change::default();
        entry.stumbles += 1;
        entry.tries.due = self.now().plus(backoff(entry.stumbles, self.random()));
        if entry.stumbles >= limits::STUMBLES {
            tracing::error!(message_id = %entry.message_id, entry = %id, why, "put aside; an operator has to look");
            let text = "the recipient's mail server failed on this message".to_owned();
            self.tell_sender(&entry, (3, 0), text, &mut change).await?;
            entry.state = State::Quarantined;
        }
        self.move_on(id, version, entry, change, Touch::Nothing).await?;
        Ok(())
    }

    async fn stumbled_out(&self, id: Uuid, why: &str) -> Result<(), BrokerError> {
        let Some((version, mut entry)) = typed::read::<Outbound>(self.records(), &Outbound::key(id)).await?
        else {
            return Ok(());
        };
        let mut change = Change::default();
        let now = self.now();
        entry.stumbles += 1;
        entry.tries.due = now.plus(backoff(entry.stumbles, self.random()));
        if entry.stumbles >= limits::STUMBLES {
            tracing::error!(message_id = %entry.message_id, entry = %id, why, "put aside; an operator has to look");
            let text = "your mail server failed on this message";
            let mut failures = Vec::new();
            for recipient in &mut entry.recipients {
                if recipient.delivery == Delivery::Waiting {
                    recipient.delivery = Delivery::Refused;
                    text.clone_into(&mut recipient.last);
                    failures.push(Failure {
                        recipient: recipient.address.clone(),
                        status: (3, 0),
                        text: text.to_owned(),
                    });
                }
            }
            entry.finished = Some(now);
            let notice = Notice {
                to: entry.sender.clone(),
                message_id: &entry.message_id,
                original: self.read(&entry.message).await.ok(),
                arrived: entry.queued,
                failures,
            };
            self.report(notice, &mut change).await?;
        }
        self.move_out(id, version, entry, change, Touch::Nothing).await?;
        Ok(())
    }

    /// Lets every entry that is not finished wait again.
    pub(super) async fn take_up(&self) -> Result<(), BrokerError> {
        self.each(INBOUND, |record| {
            let entry: Inbound = typed::decode(record)?;
            if let Some(id) = id_in(&record.key).filter(|_| !entry.is_finished()) {
                if entry.delivered.is_none() {
                    self.fill.found_waiting(&entry.recipient, entry.message.size);
                }
                self.inbound.put(id, &entry.lane(), Kind::Mail, entry.tries.due);
            }
            Ok(None)
        })
        .await?;
        self.each(OUTBOUND, |record| {
            let entry: Outbound = typed::decode(record)?;
            if let Some(id) = id_in(&record.key).filter(|_| entry.finished.is_none()) {
                if let Some((sender, octets)) = entry.charge() {
                    self.fill.found_leaving(sender, octets);
                }
                self.outbound
                    .put(id, entry.domain.as_str(), entry.kind(), entry.tries.due);
            }
            Ok(None)
        })
        .await
    }

    async fn tidy(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(TIDY) => {}
            }
            if let Err(error) = self.forget().await {
                tracing::error!(%error, "what is over could not be forgotten");
            }
        }
    }

    /// Forgets what ended so long ago that nobody will ask for it again.
    async fn forget(&self) -> Result<(), BrokerError> {
        let now = self.now();
        let over = |since: Timestamp| now.since(since) > limits::REMEMBERED;
        let mut aside = 0;
        self.each(INBOUND, |record| {
            let entry: Inbound = typed::decode(record)?;
            aside += entry.aside();
            Ok(None)
        })
        .await?;
        // Older entries have smaller identifiers: of those that are put aside, the oldest go.
        let mut too_much = aside.saturating_sub(limits::ASIDE);
        self.each(INBOUND, |record| {
            let entry: Inbound = typed::decode(record)?;
            let is_over = entry.is_over(now, &mut too_much);
            if is_over && entry.aside() > 0 {
                tracing::error!(message_id = %entry.message_id, recipient = %entry.recipient, entry = record.key,
                    "what was put aside goes, because there is too much of it");
            }
            Ok(is_over.then(|| vec![record.key.clone()]))
        })
        .await?;
        self.each(OUTBOUND, |record| {
            let entry: Outbound = typed::decode(record)?;
            let index = id_in(&record.key).and_then(|id| entry.index(id));
            let keys = index.into_iter().chain([record.key.clone()]).collect();
            Ok(entry.finished.is_some_and(over).then_some(keys))
        })
        .await?;
        self.each(SEEN, |record| {
            let seen: Seen = typed::decode(record)?;
            Ok(over(seen.at).then(|| vec![record.key.clone()]))
        })
        .await?;
        self.each(SUBMITTED, |record| {
            let submitted: Submitted = typed::decode(record)?;
            Ok(over(submitted.at).then(|| vec![record.key.clone()]))
        })
        .await
    }

    /// Looks at every record below a prefix; removes those that `look` names. One that cannot be read stops nothing.
    async fn each(
        &self,
        prefix: &str,
        mut look: impl FnMut(&Record) -> Result<Option<Vec<String>>, StoreError>,
    ) -> Result<(), BrokerError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.records().list(prefix, after.as_deref(), PAGE).await?;
            let mut gone = Change::default();
            for record in &page {
                match look(record) {
                    Ok(keys) => keys.into_iter().flatten().for_each(|key| gone.delete(key)),
                    Err(error) => tracing::error!(%error, "a record cannot be read; an operator has to look"),
                }
            }
            if !gone.is_empty() {
                self.commit(gone).await?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(()),
            }
        }
    }
}
