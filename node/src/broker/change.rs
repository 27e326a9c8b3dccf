//! What one step changes: conditions, records, entries of the ledger, and who is to be woken once it is durable.

use std::sync::atomic::Ordering;

use cargomail_protocol::address::Address;
use cargomail_protocol::ledger::Event;
use cargomail_protocol::timestamp::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::Broker;
use super::fill::Move;
use super::outbound::Outbound;
use super::queue::Kind;
use crate::grip::Uses;
use crate::keeping::{Shelter, Shelters};
use crate::store::{CommitError, Cond, Op, StoreError, Version, typed};

/// A change that is made whole or not at all.
#[derive(Default)]
pub(super) struct Change {
    when: Vec<Cond>,
    then: Vec<Op>,
    events: Vec<Event>,
    inbound: Vec<(Uuid, String, Timestamp)>,
    outbound: Vec<(Uuid, String, Kind, Timestamp)>,
    arrived: Vec<(Address, Uuid)>,
    moves: Vec<Move>,
    shelters: Vec<Shelter>,
}

impl Change {
    /// Keeps what this change will refer to, until it is made or given up.
    pub(super) fn shelter(&mut self, all: &Shelters) -> &Shelter {
        if self.shelters.is_empty() {
            self.shelters.push(all.open());
        }
        self.shelters.last().expect("there is one")
    }

    /// Only if there is no such record.
    pub(super) fn absent(&mut self, key: String) {
        self.when.push(Cond::Absent(key));
    }

    /// Only if the record still has this version.
    pub(super) fn unchanged(&mut self, key: String, version: Version) {
        self.when.push(Cond::Is(key, version));
    }

    /// Only if the token was not used before; it is used by this change.
    pub(super) fn uses(&mut self, uses: &Uses) {
        for (cond, op) in uses.once() {
            self.when.push(cond);
            self.then.push(op);
        }
    }

    /// Writes a record.
    pub(super) fn put<T: Serialize>(&mut self, key: String, value: &T) {
        self.then.push(Op::Put(key, typed::encode(value)));
    }

    /// Removes a record.
    pub(super) fn delete(&mut self, key: String) {
        self.then.push(Op::Delete(key));
    }

    /// Notes something in the ledger.
    pub(super) fn note(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Lets an arriving entry wait until then.
    pub(super) fn wake_inbound(&mut self, id: Uuid, lane: String, due: Timestamp) {
        self.inbound.push((id, lane, due));
    }

    /// Lets a leaving entry wait until it is due.
    pub(super) fn wake_outbound(&mut self, id: Uuid, entry: &Outbound) {
        let lane = entry.domain.to_string();
        self.outbound.push((id, lane, entry.kind(), entry.tries.due));
    }

    /// Only if this holds.
    pub(super) fn only_if(&mut self, condition: Cond) {
        self.when.push(condition);
    }

    /// Moves octets of a user.
    pub(super) fn moves(&mut self, octets: Move) {
        self.moves.push(octets);
    }

    /// Tells the user's programs of a new message.
    pub(super) fn arrived(&mut self, whose: Address, id: Uuid) {
        self.arrived.push((whose, id));
    }

    /// Whether nothing would be written.
    pub(super) fn is_empty(&self) -> bool {
        self.then.is_empty() && self.events.is_empty()
    }

    /// This change and another, as one.
    pub(super) fn and(&mut self, mut other: Change) {
        self.when.append(&mut other.when);
        self.then.append(&mut other.then);
        self.events.append(&mut other.events);
        self.inbound.append(&mut other.inbound);
        self.outbound.append(&mut other.outbound);
        self.arrived.append(&mut other.arrived);
        self.moves.append(&mut other.moves);
        self.shelters.append(&mut other.shelters);
    }
}

impl Broker {
    /// Makes the change, durably, then wakes whom it concerns: both, or neither, also when who asked for it goes away meanwhile.
    pub(super) async fn commit(&self, change: Change) -> Result<(), CommitError> {
        let (records, ledger) = (self.needs.records.clone(), self.needs.ledger.clone());
        let (inbound, outbound) = (self.inbound.clone(), self.outbound.clone());
        let (arrivals, fill) = (self.arrivals.clone(), self.fill.clone());
        let writable = self.writable.clone();
        let made = tokio::spawn(async move {
            let moving = fill.begin(change.moves).await;
            let made = if change.events.is_empty() {
                records.commit(change.when, change.then).await
            } else {
                ledger.commit(change.when, change.then, change.events).await
            };
            match &made {
                Ok(_) => writable.store(true, Ordering::Relaxed),
                // A change that is too large says nothing about the disk.
                Err(CommitError::Conflict(_) | CommitError::Store(StoreError::TooLarge { .. })) => {}
                Err(CommitError::Store(_)) => writable.store(false, Ordering::Relaxed),
            }
            made?;
            moving.made();
            for (id, lane, due) in change.inbound {
                inbound.put(id, &lane, Kind::Mail, due);
            }
            for (id, lane, kind, due) in change.outbound {
                outbound.put(id, &lane, kind, due);
            }
            for arrived in change.arrived {
                // Nobody listening is no error.
                let _ = arrivals.send(arrived);
            }
            Ok(())
        });
        match made.await {
            Ok(made) => made,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StoreError::Closed.into()),
            },
        }
    }
}
