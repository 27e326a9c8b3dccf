//! What must hold, by name, and its judges: each looks at the history, and at what the scenario says of it.

mod judge;
#[cfg(test)]
mod tests;

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::history::{History, Site, Troubles};
use crate::path::Path;

/// Evidence that a report shows of one promise; the history has the rest.
const SHOWN: usize = 20;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// Every mail is taken by its author's broker within the scenario's patience.
    EveryMailIsAccepted,
    /// Every accepted mail reaches exactly one final state for each recipient: delivered once, or reported once.
    OneFinalState,
    /// Whatever is delivered is read, and equals what was written, octet for octet.
    ReadEqualsWritten,
    /// The receipt for every delivered mail's resources is at the origin.
    DeliveredIsAcknowledged,
    /// The ledger of every site verifies.
    LedgersVerify,
    /// A broker without a mailbox holds no content, and gives none.
    ProviderHoldsNoContent,
    /// At the end nothing waits to be sent or to be retrieved.
    QueuesDrain,
    /// Whatever is done to do harm is refused.
    HarmIsRefused,
    /// Content goes from an origin to a destination only where a mail grants it.
    NoByteWithoutAGrant,
    /// Mail between sites that are well is delivered promptly, whatever befalls others.
    OthersAreServed,
    /// Every way was gone that the scenario was made to show.
    PathsAreTaken,
    /// No mail is reported as undeliverable. Not among those that always must hold.
    NothingIsReported,
}

/// What a history is judged by, beside the history itself.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The nodes, and who has accounts there.
    pub sites: &'a [Site],
    /// Seconds in which mail between sites that are well is delivered.
    pub promptly: u64,
    /// Ways that must have been gone.
    pub paths: &'a [Path],
    /// When sites were not well.
    pub troubles: &'a Troubles,
}

impl Promise {
    /// Those that always must hold.
    #[must_use]
    pub fn standard() -> Vec<Self> {
        vec![
            Self::EveryMailIsAccepted,
            Self::OneFinalState,
            Self::ReadEqualsWritten,
            Self::DeliveredIsAcknowledged,
            Self::LedgersVerify,
            Self::ProviderHoldsNoContent,
            Self::QueuesDrain,
            Self::HarmIsRefused,
            Self::NoByteWithoutAGrant,
            Self::OthersAreServed,
            Self::PathsAreTaken,
        ]
    }

    /// Its name in scenarios and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EveryMailIsAccepted => "every-mail-is-accepted",
            Self::OneFinalState => "one-final-state",
            Self::ReadEqualsWritten => "read-equals-written",
            Self::DeliveredIsAcknowledged => "delivered-is-acknowledged",
            Self::LedgersVerify => "ledgers-verify",
            Self::ProviderHoldsNoContent => "provider-holds-no-content",
            Self::QueuesDrain => "queues-drain",
            Self::HarmIsRefused => "harm-is-refused",
            Self::NoByteWithoutAGrant => "no-byte-without-a-grant",
            Self::OthersAreServed => "others-are-served",
            Self::PathsAreTaken => "paths-are-taken",
            Self::NothingIsReported => "nothing-is-reported",
        }
    }

    /// Whether it is about single mails and what became of them.
    #[must_use]
    pub const fn is_about_mails(self) -> bool {
        matches!(
            self,
            Self::EveryMailIsAccepted
                | Self::OneFinalState
                | Self::ReadEqualsWritten
                | Self::DeliveredIsAcknowledged
                | Self::OthersAreServed
                | Self::NothingIsReported
        )
    }

    /// Whether a smaller scenario can break it for the same reason: fewer mails always go fewer ways.
    #[must_use]
    pub const fn is_shrinkable(self) -> bool {
        !matches!(self, Self::PathsAreTaken)
    }

    /// Judges it over everything that happened.
    #[must_use]
    pub fn judge(self, history: &History, terms: Terms<'_>) -> Judged {
        let found = match self {
            Self::EveryMailIsAccepted => judge::accepted(history),
            Self::OneFinalState => judge::one_final_state(history),
            Self::ReadEqualsWritten => judge::read_equals_written(history),
            Self::DeliveredIsAcknowledged => judge::acknowledged(history),
            Self::LedgersVerify => judge::ledgers(history),
            Self::ProviderHoldsNoContent => judge::providers(history),
            Self::QueuesDrain => judge::queues(history),
            Self::HarmIsRefused => judge::harm(history),
            Self::NoByteWithoutAGrant => judge::grants(history, terms),
            Self::OthersAreServed => judge::served(history, terms),
            Self::PathsAreTaken => judge::paths(history, terms),
            Self::NothingIsReported => judge::nothing_reported(history),
        };
        let verdict = match (found.against.is_empty(), found.checked) {
            (false, _) => Verdict::Broken,
            (true, 0) => Verdict::NothingToCheck,
            (true, _) => Verdict::Held,
        };
        let broken = found.against.len();
        let mut against = found.against;
        against.truncate(SHOWN);
        Judged {
            promise: self,
            verdict,
            checked: found.checked,
            what: found.what,
            broken,
            against,
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether a promise was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// In every case.
    Held,
    /// In some case not.
    Broken,
    /// There was no case.
    NothingToCheck,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Held => "held",
            Self::Broken => "BROKEN",
            Self::NothingToCheck => "no case",
        })
    }
}

/// A promise with its verdict and evidence.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    /// The promise.
    pub promise: Promise,
    /// Whether it was kept.
    pub verdict: Verdict,
    /// How many cases were looked at.
    pub checked: usize,
    /// What was looked at, in words.
    pub what: String,
    /// In how many cases it was not kept.
    pub broken: usize,
    /// Which: the first of them.
    pub against: Vec<String>,
}
