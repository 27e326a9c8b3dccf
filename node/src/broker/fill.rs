//! How full User Mailboxes are (row Q09): who writes to a full one is told so, and its user makes room.
//!
//! What always holds: all octets of a message count once, while it waits and once it is kept; those of an ordinary message that leaves
//! count for its author's own sending alone, so nobody's mail is refused because of them; what was accepted is delivered, also when
//! that fills the mailbox. Only this process knows: what is kept is counted from its records when somebody first asks, while none of that
//! user's is put there or taken away; what waits is counted as the queue is taken up.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cargomail_protocol::address::Address;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::inbox::{Kept, messages_of};
use super::{Broker, Deliver, user};
use crate::api::MessagesUsage;
use crate::store::{StoreError, typed};

/// Records read at a time.
const PAGE: usize = 500;

/// Octets for each user.
#[derive(Default)]
pub(super) struct Fill(Mutex<HashMap<String, Octets>>);

#[derive(Default)]
struct Octets {
    /// Of accepted messages that are not delivered.
    waiting: u64,
    /// Of the user's own ordinary messages that have not left.
    leaving: u64,
    /// Of messages in the User Mailbox; none when they were not counted yet.
    kept: Option<u64>,
    /// Who counts them is alone with them.
    counting: Arc<RwLock<()>>,
}

/// By how much a change moves the octets of one user.
#[derive(Debug)]
pub(super) struct Move {
    whose: String,
    waiting: i64,
    leaving: i64,
    kept: i64,
}

impl Move {
    /// A message was accepted and waits, or waits no longer.
    pub(super) fn waits(whose: &Address, octets: i64) -> Self {
        Self {
            whose: user(whose),
            waiting: octets,
            leaving: 0,
            kept: 0,
        }
    }

    /// An ordinary message of the user's was queued, or has left.
    pub(super) fn leaves(whose: &Address, octets: i64) -> Self {
        Self {
            whose: user(whose),
            waiting: 0,
            leaving: octets,
            kept: 0,
        }
    }

    /// A message is put into the User Mailbox, or is taken out of it.
    pub(super) fn keeps(whose: &Address, octets: i64) -> Self {
        Self {
            whose: user(whose),
            waiting: 0,
            leaving: 0,
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

    /// A change is about to be committed: waits while somebody counts what it moves.
    pub(super) async fn begin(self: &Arc<Self>, moves: Vec<Move>) -> Moving {
        let mut uncounted = BTreeMap::new();
        {
            let mut all = self.all();
            for one in moves.iter().filter(|one| one.kept != 0) {
                let octets = all.entry(one.whose.clone()).or_default();
                if octets.kept.is_none() {
                    uncounted.insert(one.whose.clone(), octets.counting.clone());
                }
            }
        }
        // In the order of the names, so that no two wait for each other.
        let mut alone = Vec::with_capacity(uncounted.len());
        for counting in uncounted.into_values() {
            alone.push(counting.read_owned().await);
        }
        Moving {
            fill: self.clone(),
            moves,
            _uncounted: alone,
        }
    }

    /// Messages that wait since before this process began.
    pub(super) fn found_waiting(&self, whose: &Address, octets: u64) {
        let mut all = self.all();
        let waiting = &mut all.entry(user(whose)).or_default().waiting;
        *waiting = waiting.saturating_add(octets);
    }

    /// Ordinary messages that leave since before this process began.
    pub(super) fn found_leaving(&self, whose: &Address, octets: u64) {
        let mut all = self.all();
        let leaving = &mut all.entry(user(whose)).or_default().leaving;
        *leaving = leaving.saturating_add(octets);
    }
}

/// A change that is being committed.
pub(super) struct Moving {
    fill: Arc<Fill>,
    moves: Vec<Move>,
    /// Nobody counts meanwhile.
    _uncounted: Vec<OwnedRwLockReadGuard<()>>,
}

impl Moving {
    /// It is durable.
    pub(super) fn made(self) {
        let mut all = self.fill.all();
        for one in &self.moves {
            let octets = all.entry(one.whose.clone()).or_default();
            octets.waiting = octets.waiting.saturating_add_signed(one.waiting);
            octets.leaving = octets.leaving.saturating_add_signed(one.leaving);
            octets.kept = octets.kept.map(|kept| kept.saturating_add_signed(one.kept));
        }
    }
}

impl Broker {
    /// Whether a user's mailbox takes no more.
    pub(super) async fn is_full(&self, whose: &Address) -> Result<bool, StoreError> {
        self.is_over(whose, |usage| usage.waiting.saturating_add(usage.held))
            .await
    }

    /// Whether a user's mailbox is full with what the user has sent and has not left.
    pub(super) async fn may_not_send(&self, whose: &Address) -> Result<bool, StoreError> {
        let all = |usage: &MessagesUsage| {
            usage
                .waiting
                .saturating_add(usage.held)
                .saturating_add(usage.leaving)
        };
        self.is_over(whose, all).await
    }

    async fn is_over(
        &self,
        whose: &Address,
        counted: impl Fn(&MessagesUsage) -> u64,
    ) -> Result<bool, StoreError> {
        match (&self.options.deliver, self.options.quota) {
            (Deliver::BuiltIn, Some(quota)) => match self.messages_usage(whose).await {
                Ok(usage) => Ok(counted(&usage) >= quota),
                // What is lost costs its user that, and not the mail that comes.
                Err(error @ StoreError::Damaged { .. }) => {
                    tracing::error!(%whose, %error, "how full a User Mailbox is cannot be counted, so it is not bounded");
                    Ok(false)
                }
                Err(error) => Err(error),
            },
            // Another mail store has its own bounds.
            (Deliver::Lmtp { .. }, _) | (_, None) => Ok(false),
        }
    }

    /// Answers `GET /api/v1/usage/messages`.
    pub(super) async fn messages_usage(&self, whose: &Address) -> Result<MessagesUsage, StoreError> {
        let who = user(whose);
        let counting = {
            let mut all = self.fill.all();
            let octets = all.entry(who.clone()).or_default();
            if let Some(held) = octets.kept {
                return Ok(self.usage_of(held, octets));
            }
            octets.counting.clone()
        };
        let _alone = counting.write().await;
        let known = self.fill.all().get(&who).and_then(|octets| octets.kept);
        let counted = match known {
            // By somebody else, meanwhile.
            Some(kept) => kept,
            None => self.count(whose).await?,
        };
        let mut all = self.fill.all();
        let octets = all.entry(who).or_default();
        let held = *octets.kept.get_or_insert(counted);
        Ok(self.usage_of(held, octets))
    }

    fn usage_of(&self, held: u64, octets: &Octets) -> MessagesUsage {
        MessagesUsage {
            held,
            waiting: octets.waiting,
            leaving: octets.leaving,
            quota: self.options.quota,
        }
    }

    /// Octets of all messages in a User Mailbox.
    async fn count(&self, whose: &Address) -> Result<u64, StoreError> {
        let prefix = messages_of(whose);
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
