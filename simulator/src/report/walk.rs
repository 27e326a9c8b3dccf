//! One mail's walk as a sequence diagram: who took part, what passed between them, and when.
//!
//! The history holds times of four things: accepted, delivered, read, acknowledged; and of reports and faults. What must
//! have happened before one of them is drawn just above the first that shows it, dashed and without a time.

mod drawing;
#[cfg(test)]
mod tests;

use cargomail_node::api::Channel;
use cargomail_protocol::address::Locator;

use super::curves::accepted;
use crate::history::{Fate, History, Mail, Sending};

/// Faults that are told in one walk.
const FAULTS: usize = 12;

/// Which walk it is, and whose.
pub(super) struct Walk<'a> {
    pub(super) mail: &'a Mail,
    pub(super) fate: &'a Fate,
    pub(super) accepted: u64,
}

/// A lifeline.
struct Party {
    role: &'static str,
    name: String,
}

/// Who takes part, and where their lifelines stand; who has two roles has one.
struct Cast {
    parties: Vec<Party>,
    author: usize,
    authors_broker: usize,
    recipients_broker: usize,
    origin: Option<usize>,
    /// None when no copy said where the content is.
    destination: Option<usize>,
    recipient: usize,
}

/// How a step is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It was seen, at its time.
    Seen,
    /// What was seen at that time shows that it had happened.
    Shown,
}

/// What stands in a row.
enum Step {
    /// From one party to another, or to itself.
    Passes { from: usize, to: usize, what: String },
    /// It befell one party.
    Befalls { whom: usize, what: String },
}

/// A row.
struct Row {
    at: u64,
    known: Known,
    step: Step,
}

/// The walk that took longest to be acknowledged, and the median one; fewer when there are fewer.
pub(super) fn longest_and_median(history: &History) -> Vec<(&'static str, Walk<'_>)> {
    let mut walks: Vec<(u64, Walk<'_>)> = Vec::new();
    for (mail, accepted) in accepted(history) {
        for fate in &mail.fates {
            if let Some(at) = fate.acknowledged_at {
                let walk = Walk { mail, fate, accepted };
                walks.push((at.saturating_sub(accepted), walk));
            }
        }
    }
    walks.sort_by_key(|(took, _)| *took);
    let median = walks.len().div_ceil(2).checked_sub(1);
    let longest = walks.len().checked_sub(1);
    let mut chosen = Vec::new();
    for (place, (_, walk)) in walks.into_iter().enumerate() {
        if Some(place) == longest {
            chosen.insert(0, ("The one that took longest to be acknowledged", walk));
        } else if Some(place) == median {
            chosen.push(("The median one", walk));
        }
    }
    chosen
}

impl Walk<'_> {
    /// What happened, from first to last.
    fn rows(&self, cast: &Cast, history: &History) -> Vec<Row> {
        let fate = self.fate;
        let first = |times: [Option<u64>; 2]| times.into_iter().flatten().min();
        let stored = first([fate.acknowledged_at, fate.read_at]);
        let arrived = first([stored, fate.delivered_at]);
        let accepted = Some(self.accepted);
        let posted = match self.mail.files {
            0 => "text, share".to_owned(),
            1 => "text, 1 file, share".to_owned(),
            files => format!("text, {files} files, share"),
        };
        let sent = match self.mail.channel {
            Channel::Web => "by web channel",
            Channel::Smtp => "by SMTP",
            Channel::WebThenSmtp => "by web or SMTP",
        };
        let moved = match cast.origin == cast.destination {
            true => "nothing is moved",
            false => "resources",
        };
        let (author, recipient) = (Some(cast.author), Some(cast.recipient));
        let (from, to) = (Some(cast.authors_broker), Some(cast.recipients_broker));
        let other_broker = to.filter(|_| from != to);
        let (origin, destination) = (cast.origin, cast.destination);
        let row = |at: Option<u64>, known, from: Option<usize>, to: Option<usize>, what: &str| {
            let (at, from, to, what) = (at?, from?, to?, what.to_owned());
            let step = Step::Passes { from, to, what };
            Some(Row { at, known, step })
        };
        let mut rows = self.faults(cast, history);
        let steps = [
            row(accepted, Known::Shown, author, origin, &posted),
            row(accepted, Known::Seen, author, from, "placeholder"),
            row(arrived, Known::Shown, from, other_broker, sent),
            row(arrived, Known::Shown, to, destination, "notification"),
            row(stored, Known::Shown, origin, destination, moved),
            row(fate.delivered_at, Known::Seen, to, recipient, "delivered"),
            row(fate.acknowledged_at, Known::Seen, destination, origin, "receipt"),
            row(
                fate.read_at,
                Known::Seen,
                destination,
                recipient,
                "read as written",
            ),
            row(fate.reported_at, Known::Seen, from, author, "undeliverable"),
        ];
        rows.extend(steps.into_iter().flatten());
        // What has the same time stays in the order of the walk.
        rows.sort_by_key(|row| row.at);
        rows
    }

    /// The faults of those who take part, from its beginning to its end.
    fn faults(&self, cast: &Cast, history: &History) -> Vec<Row> {
        let fate = self.fate;
        let times = [
            fate.delivered_at,
            fate.acknowledged_at,
            fate.read_at,
            fate.reported_at,
        ];
        let end = times.into_iter().flatten().max().unwrap_or(self.accepted);
        let mut rows = Vec::new();
        for span in history.spans() {
            let mailbox = format!("mailbox.{}", span.site);
            let is_there = |party: &Party| [&span.site, &mailbox].contains(&&party.name);
            let Some(whom) = cast.parties.iter().position(is_there) else {
                continue;
            };
            if span.from > end || span.to.is_some_and(|to| to < self.accepted) {
                continue;
            }
            let mut befalls = |at, what| {
                let step = Step::Befalls { whom, what };
                let known = Known::Seen;
                rows.push(Row { at, known, step });
            };
            befalls(span.from, span.what.to_owned());
            if let Some(to) = span.to.filter(|to| *to <= end) {
                befalls(to, "well again".to_owned());
            }
        }
        rows.truncate(FAULTS);
        rows
    }
}

impl Cast {
    fn of(walk: &Walk<'_>) -> Self {
        let mut parties = Vec::new();
        let mut add = |role, name: String| {
            parties.push(Party { role, name });
            parties.len() - 1
        };
        let (from, to) = (&walk.mail.author, &walk.fate.recipient);
        let author = add("author", from.to_string());
        let (authors_broker, recipients_broker) = match from.domain() == to.domain() {
            true => {
                let both = add("broker of both", from.domain().to_string());
                (both, both)
            }
            false => {
                let authors = add("author's broker", from.domain().to_string());
                (authors, add("recipient's broker", to.domain().to_string()))
            }
        };
        let origin = match &walk.mail.sending {
            Sending::Accepted { origin, .. } => Some(origin),
            Sending::Not { .. } | Sending::NotDue => None,
        };
        let destination = walk.fate.destination.as_ref();
        let (origin, destination) = match origin == destination {
            true => {
                let both = origin.map(|both| add("origin and destination", both.to_string()));
                (both, both)
            }
            false => {
                let origin = origin.map(|origin| add("origin", origin.to_string()));
                let add_destination = |destination: &Locator| add("destination", destination.to_string());
                (origin, destination.map(add_destination))
            }
        };
        let recipient = add("recipient", to.to_string());
        Self {
            parties,
            author,
            authors_broker,
            recipients_broker,
            origin,
            destination,
            recipient,
        }
    }
}
