//! What happened in a run, as the people and the administrators of the town saw it. Promises are judged over this and
//! nothing else.
//!
//! Times are milliseconds since the traffic began. They were seen by asking again and again, so each is
//! late by the time between two questions: 250 milliseconds while things happen; up to two seconds on real ground, and a minute of
//! virtual time, when nothing has happened for long.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cargomail_node::api::Channel;
use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::placeholder::Category;
use serde::Serialize;

use crate::hostile::Role;
use crate::path::Path;

/// Milliseconds after a fault in which a site is not taken for well: what was tried in vain is tried again, and what was kept of the DNS
/// is forgotten.
const RECOVERY: u64 = 600_000;

/// Everything that happened.
#[derive(Debug, Clone, Default, Serialize)]
pub struct History {
    /// The mails, in the order of the plan.
    pub mails: Vec<Mail>,
    /// The ledger of each site.
    pub ledgers: Vec<Ledger>,
    /// What was left to do at the end.
    pub queues: Vec<Left>,
    /// The brokers without a mailbox, and what they hold.
    pub providers: Vec<Provider>,
    /// Stores of mailboxes in which the same search as in the providers' finds content: that it can find any.
    pub content_found: Vec<String>,
    /// Sites that were stopped and started.
    pub faults: Vec<Fault>,
    /// What was done to do harm.
    pub hostile: Vec<Act>,
    /// Which content went from where to where, in a virtual world.
    pub transfers: Vec<Transfer>,
    /// How often each way that things can go was gone, in a virtual world.
    pub paths: BTreeMap<Path, u64>,
}

/// A node, as the scenario laid it out.
#[derive(Debug, Clone, Serialize)]
pub struct Site {
    /// Its domain.
    pub name: Domain,
    /// Whether it is the Cargo Broker of its domain.
    pub broker: bool,
    /// Its Resource Mailbox, if it has one.
    pub mailbox: Option<Locator>,
    /// Who has an account there.
    pub people: Vec<Address>,
}

/// Content that went from an origin to a destination, as it was seen on the lines between them.
#[derive(Debug, Clone, Serialize)]
pub struct Transfer {
    /// The site of the origin.
    pub origin: String,
    /// The site of the destination.
    pub destination: String,
    /// Octets that came behind a grant, or without one.
    pub octets: u64,
    /// The roots in those grants.
    pub roots: BTreeSet<String>,
    /// Octets that came without any grant.
    pub ungranted: u64,
}

/// Something that was done to do harm.
#[derive(Debug, Clone, Serialize)]
pub struct Act {
    /// Who did it.
    pub role: Role,
    /// To which site.
    pub against: String,
    /// What was done.
    pub what: String,
    /// Whether it came to nothing, as it must.
    pub refused: bool,
    /// What was answered.
    pub answer: String,
    /// What must be answered.
    pub expected: String,
    /// Roots of what people gave to whoever did it, as if they were friends.
    pub given: Vec<String>,
    /// When.
    pub at: u64,
}

/// A mail.
#[derive(Debug, Clone, Serialize)]
pub struct Mail {
    /// Its number, counted from 1.
    pub number: usize,
    /// Its author.
    pub author: Address,
    /// What kind of correspondence it is.
    pub category: Category,
    /// How it was to travel.
    pub channel: Channel,
    /// How many files it encloses.
    pub files: usize,
    /// The number of the mail that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<usize>,
    /// What became of it.
    pub sending: Sending,
    /// What became of it for each recipient; empty for one that was not accepted.
    pub fates: Vec<Fate>,
}

/// Whether the author's broker took a mail.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sending {
    /// It is queued there.
    Accepted {
        /// Its Message-ID.
        message_id: String,
        /// Where its resources are.
        origin: Locator,
        /// Their roots.
        resources: Vec<String>,
        /// Their octets.
        octets: u64,
        /// When.
        at: u64,
    },
    /// It is not.
    Not {
        /// Why.
        why: String,
    },
    /// It was not written: what it would have answered never came.
    NotDue,
}

/// What became of a mail for one recipient.
#[derive(Debug, Clone, Serialize)]
pub struct Fate {
    /// For whom.
    pub recipient: Address,
    /// Copies in the recipient's User Mailbox.
    pub copies: usize,
    /// When the first was seen.
    pub delivered_at: Option<u64>,
    /// Where its content is to be had, as the copy says that was seen last.
    pub destination: Option<Locator>,
    /// Reports about this recipient in the author's User Mailbox.
    pub reports: usize,
    /// When the first was seen.
    pub reported_at: Option<u64>,
    /// When the recipient had read it.
    pub read_at: Option<u64>,
    /// What came of reading it.
    pub reading: Reading,
    /// When the origin had the receipt.
    pub acknowledged_at: Option<u64>,
}

/// What came of reading a mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// Nobody could try.
    #[default]
    NotTried,
    /// Octet for octet what was written.
    Equal {
        /// Octets that were compared.
        octets: u64,
    },
    /// Something else than what was written was read.
    Different {
        /// What differs.
        why: String,
    },
    /// It could not be read.
    Unreadable {
        /// What the last try said.
        why: String,
    },
}

/// A ledger.
#[derive(Debug, Clone, Serialize)]
pub struct Ledger {
    /// Whose.
    pub site: String,
    /// How many entries it has, all verified.
    pub entries: u64,
    /// Why it does not verify.
    pub wrong: Option<String>,
}

/// What was left to do at a site, or for a person.
#[derive(Debug, Clone, Serialize)]
pub struct Left {
    /// Where.
    pub place: String,
    /// What waits, or why it cannot be known.
    pub waiting: Vec<String>,
}

/// A broker without a mailbox.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Provider {
    /// Its site.
    pub site: String,
    /// How often its users asked it for a resource that they wrote or received.
    pub asked: usize,
    /// Resources for which the answer was another than 404, and what it was.
    pub answered: Vec<String>,
    /// Roots that were looked for in its store.
    pub roots: usize,
    /// Octets of its data folder that were searched for content.
    pub searched: u64,
    /// What was found in its store that must not be there, or why it could not be looked at.
    pub found: Vec<String>,
}

/// A site that was stopped or started.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// Which.
    pub site: String,
    /// Who was cut off together with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// What happened to it: `stopped`, `started` and the like ([`crate::scenario::How::told`]).
    pub what: &'static str,
    /// Before which mail was begun.
    pub before_mail: usize,
    /// When.
    pub at: u64,
}

/// A time during which a site failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) site: String,
    /// Who was cut off together with it.
    pub(crate) with: Vec<String>,
    /// What happened to it.
    pub(crate) what: &'static str,
    /// Milliseconds.
    pub(crate) from: u64,
    /// Before this mail was begun.
    pub(crate) from_mail: usize,
    /// None when it was never well again.
    pub(crate) to: Option<u64>,
    pub(crate) to_mail: Option<usize>,
}

impl History {
    /// When which site failed, and until when. A site does not fail again before it is well.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        // Where the last span of each site stands that is not over.
        let mut open: HashMap<&str, usize> = HashMap::new();
        for fault in &self.faults {
            let begun = open.remove(fault.site.as_str());
            match begun.and_then(|place| spans.get_mut(place)) {
                Some(span) => {
                    span.to = Some(fault.at);
                    span.to_mail = Some(fault.before_mail);
                }
                None => {
                    open.insert(&fault.site, spans.len());
                    spans.push(Span {
                        site: fault.site.clone(),
                        with: fault.with.clone(),
                        what: fault.what,
                        from: fault.at,
                        from_mail: fault.before_mail,
                        to: None,
                        to_mail: None,
                    });
                }
            }
        }
        spans
    }
}

/// When sites were not well: while they failed, and for the time that they need then.
#[derive(Debug, Default)]
pub struct Troubles(HashMap<String, Vec<(u64, u64)>>);

impl Troubles {
    /// Those of a history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut troubles: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
        for span in history.spans() {
            let until = span.to.map_or(u64::MAX, |to| to.saturating_add(RECOVERY));
            for site in std::iter::once(span.site).chain(span.with) {
                troubles.entry(site).or_default().push((span.from, until));
            }
        }
        Self(troubles)
    }

    /// Whether a site was well from one moment to another, in milliseconds.
    pub(crate) fn spare(&self, site: &str, from: u64, to: u64) -> bool {
        let mut spans = self.0.get(site).into_iter().flatten();
        !spans.any(|(begins, ends)| *begins <= to && from <= *ends)
    }
}

impl Mail {
    /// Whether the author's broker took it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self.sending, Sending::Accepted { .. })
    }

    /// How a person refers to it.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.sending {
            Sending::Accepted { message_id, .. } => format!("mail {} {message_id}", self.number),
            Sending::Not { .. } | Sending::NotDue => format!("mail {}", self.number),
        }
    }
}

impl Fate {
    /// Of a mail of which nothing was seen yet.
    #[must_use]
    pub fn open(recipient: Address) -> Self {
        Self {
            recipient,
            copies: 0,
            delivered_at: None,
            destination: None,
            reports: 0,
            reported_at: None,
            read_at: None,
            reading: Reading::NotTried,
            acknowledged_at: None,
        }
    }

    /// Whether it was delivered for good: there is a copy, and no report that says its content will not come.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.copies > 0 && self.reports == 0
    }

    /// Whether nothing more is expected to happen.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let read = matches!(self.reading, Reading::Equal { .. } | Reading::Different { .. });
        self.reports > 0 || (self.copies > 0 && read && self.acknowledged_at.is_some())
    }

    /// When it was settled; none while something is expected to happen.
    #[must_use]
    pub fn settled_at(&self) -> Option<u64> {
        if self.reports > 0 {
            return self.reported_at;
        }
        let last = self.delivered_at.max(self.read_at).max(self.acknowledged_at);
        last.filter(|_| self.is_settled())
    }
}
