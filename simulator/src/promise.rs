//! What must hold, by name, and its judges: each looks at the history alone.

mod judge;
#[cfg(test)]
mod tests;

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::history::History;

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
    /// No mail is reported as undeliverable. Not among those that always must hold.
    NothingIsReported,
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
            Self::NothingIsReported => "nothing-is-reported",
        }
    }

    /// Judges it over everything that happened.
    #[must_use]
    pub fn judge(self, history: &History) -> Judged {
        let found = match self {
            Self::EveryMailIsAccepted => judge::accepted(history),
            Self::OneFinalState => judge::one_final_state(history),
            Self::ReadEqualsWritten => judge::read_equals_written(history),
            Self::DeliveredIsAcknowledged => judge::acknowledged(history),
            Self::LedgersVerify => judge::ledgers(history),
            Self::ProviderHoldsNoContent => judge::providers(history),
            Self::QueuesDrain => judge::queues(history),
            Self::HarmIsRefused => judge::harm(history),
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
