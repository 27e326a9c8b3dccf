//! How full User Mailboxes are (row Q09): who writes to a full one is told so, and its user makes room.
//!
//! What always holds: all octets of a message count once, while it waits and once it is kept; what was accepted is delivered, also when
//! that fills the mailbox. Only this process knows: what is kept is counted from its records when somebody first asks, what waits
//! as the queue is taken up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cargomail_protocol::address::Address;

use super::inbox::Kept;
use super::{Broker, Deliver, user};
use crate::api::MessagesUsage;
use crate::store::{StoreError, typed};

/// Records read at a time.
const PAGE: usize = 500;
/// How often what is kept is counted anew because it changed meanwhile. Then what was counted is believed, and not remembered.
const COUNTS: usize = 3;

/// Octets for each user.
#[derive(Default)]
pub(super) struct Fill(Mutex<HashMap<String, Octets>>);

#[derive(Default)]
struct Octets {
    /// Of accepted messages that are not delivered.
    waiting: u64,
    /// Of messages in the User Mailbox; none when they were not counted yet.
    kept: Option<u64>,
    /// Changes of what is kept that may be seen by who counts, and are not added here.
    under_way: usize,
    /// Changes that were made while it was not counted.
    missed: u64,
}

/// By how much a change moves the octets of one user.
#[derive(Debug)]
pub(super) struct Move {
    whose: String,
    waiting: i64,
    kept: i64,
}

impl Move {
    /// A message was accepted and waits, or waits no longer.
    pub(super) fn waits(whose: &Address, octets: i64) -> Self {
        Self {
            whose: user(whose),
            waiting: octets,
            kept: 0,
        }
    }

    /// A message is put into the User Mailbox, or is taken out of it.
    pub(super) fn keeps(whose: &Address, octets: i64) -> Self {
        Self {
            whose: user(whose),
            waiting: 0,
            kept: octets,
        }
    }
}

/// The size of a message, to be added or, negative, to be taken away.
pub(super) fn signed(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}

impl Fill {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Octets>> {
        // No critical section panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change is about to be committed.
    pub(super) fn begin(self: &Arc<Self>, moves: Vec<Move>) -> Moving {
        let mut all = self.all();
        for one in &moves {
            all.entry(one.whose.clone()).or_default().under_way += 1;
        }
        drop(all);
        Moving {
            fill: self.clone(),
            moves,
            is_made: false,
        }
    }

    /// Messages that wait since before this process began.
    pub(super) fn found_waiting(&self, whose: &Address, octets: u64) {
        let mut all = self.all();
        let waiting = &mut all.entry(user(whose)).or_default().waiting;
        *waiting = waiting.saturating_add(octets);
    }
}

/// A change that is being committed.
pub(super) struct Moving {
    fill: Arc<Fill>,
    moves: Vec<Move>,
    is_made: bool,
}

impl Moving {
    /// It is durable.
    pub(super) fn made(mut self) {
        self.is_made = true;
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let mut all = self.fill.all();
        for one in &self.moves {
            let Some(octets) = all.get_mut(&one.whose) else {
                continue;
            };
            octets.under_way -= 1;
            if self.is_made {
                octets.waiting = octets.waiting.saturating_add_signed(one.waiting);
                octets.kept = octets.kept.map(|kept| kept.saturating_add_signed(one.kept));
                octets.missed += u64::from(octets.kept.is_none());
            }
        }
    }
}

impl Broker {
    /// Whether a user's mailbox takes no more.
    pub(super) async fn is_full(&self, whose: &Address) -> Result<bool, StoreError> {
        match (&self.options.deliver, self.options.quota) {
            (Deliver::BuiltIn, Some(quota)) => {
                let (waiting, kept) = self.filled(whose).await?;
                Ok(waiting.saturating_add(kept) >= quota)
            }
            // Another mail store has its own bounds.
            (Deliver::Lmtp { .. }, _) | (_, None) => Ok(false),
        }
    }

    /// Answers `GET /api/v1/usage/messages`.
    pub(super) async fn messages_usage(&self, whose: &Address) -> Result<MessagesUsage, StoreError> {
        let (waiting, held) = self.filled(whose).await?;
        Ok(MessagesUsage {
            held,
            waiting,
            quota: self.options.quota,
        })
    }

    /// Octets that wait for a user, and that are kept.
    async fn filled(&self, whose: &Address) -> Result<(u64, u64), StoreError> {
        let who = user(whose);
        let mut counted = 0;
        for _ in 0..COUNTS {
            let before = {
                let mut all = self.fill.all();
                let octets = all.entry(who.clone()).or_default();
                if let Some(kept) = octets.kept {
                    return Ok((octets.waiting, kept));
                }
                (octets.under_way, octets.missed)
            };
            counted = self.count(whose).await?;
            let mut all = self.fill.all();
            let octets = all.entry(who.clone()).or_default();
            if before == (0, octets.missed) && octets.under_way == 0 {
                octets.kept = Some(counted);
            }
        }
        let waiting = self.fill.all().get(&who).map_or(0, |octets| octets.waiting);
        Ok((waiting, counted))
    }

    /// Octets of all messages in a User Mailbox.
    async fn count(&self, whose: &Address) -> Result<u64, StoreError> {
        let prefix = super::inbox::messages_of(whose);
        let mut octets: u64 = 0;
        let mut after: Option<String> = None;
        loop {
            let page = self.records().list(&prefix, after.as_deref(), PAGE).await?;
            for record in &page {
                octets = octets.saturating_add(typed::decode::<Kept>(record)?.view.size);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(octets),
            }
        }
    }
}
