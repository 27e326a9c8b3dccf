//! Whose fault a failure is, and what each edge says of it: three tables and no others.
//!
//! Every module's error enum implements [`Faulty`]; the edges (SMTP, HTTPS, exchange streams) turn the [`Fault`]
//! into a reply here. A stranger learns less than the log: the named error goes to the log only.

use std::time::Duration;

use crate::limits;

/// Who has to act before the same request can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Culprit {
    /// The peer sent something that no retry will mend.
    Peer,
    /// Our rules or our user's wishes say no.
    Policy,
    /// Our own machine failed; the peer may try again.
    Local,
    /// Nobody: it can succeed later.
    NotYet,
}

/// A failure as an edge sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Bytes that break the grammar.
    Malformed,
    /// More than a bound allows.
    TooLarge,
    /// Who the peer is was not proved.
    Unauthenticated,
    /// Who the peer is was not proved, and may be later: a key is being changed, or a clock is wrong.
    NotYetProved,
    /// Proved, and not allowed.
    Refused,
    /// There is no such user here.
    NoSuchUser,
    /// There is no such thing, or it is not this peer's: the two are not told apart.
    NotFound,
    /// The user's quota does not allow it.
    OverQuota,
    /// Cannot be decided or done now; the peer should wait at least so long.
    TryLater(Duration),
    /// Our own disk, memory or configuration failed.
    Local,
    /// Our own disk has no room for it now.
    Full,
}

/// An SMTP reply: code, enhanced code (RFC 3463) and text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpReply {
    /// Three digits of RFC 5321.
    pub code: u16,
    /// Class, subject and detail of RFC 3463.
    pub enhanced: (u8, u16, u16),
    /// What a person reads.
    pub text: &'static str,
}

/// What a refused exchange stream says: the `refused` frame of `spec/exchange.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRefusal {
    /// Whole seconds to wait before trying again; none means never.
    pub retry_after: Option<u64>,
}

impl Fault {
    /// Whose fault it is.
    #[must_use]
    pub fn culprit(self) -> Culprit {
        match self {
            Fault::Malformed | Fault::TooLarge | Fault::Unauthenticated => Culprit::Peer,
            Fault::Refused | Fault::NoSuchUser | Fault::NotFound | Fault::OverQuota => Culprit::Policy,
            Fault::TryLater(_) | Fault::NotYetProved => Culprit::NotYet,
            Fault::Local | Fault::Full => Culprit::Local,
        }
    }

    /// Whether the same request, with fresh tokens, can succeed later.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self.culprit(), Culprit::NotYet | Culprit::Local)
    }

    /// How long the peer should wait; none when waiting does not help.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Fault::TryLater(wait) => Some(wait),
            Fault::NotYetProved => Some(limits::DNS_NEGATIVE),
            Fault::Local => Some(Duration::from_secs(60)),
            Fault::Full => Some(Duration::from_secs(300)),
            _ => None,
        }
    }

    /// The SMTP table (RFC 5321 §4.2.3, RFC 3463 §3).
    #[must_use]
    pub fn smtp(self) -> SmtpReply {
        let (code, enhanced, text) = match self {
            Fault::Malformed => (554, (5, 6, 0), "the message is malformed"),
            Fault::TooLarge => (552, (5, 3, 4), "the message is too large"),
            Fault::Unauthenticated => (530, (5, 7, 0), "authentication required"),
            Fault::NotYetProved => (451, (4, 7, 0), "not believed now, try again later"),
            Fault::Refused => (550, (5, 7, 1), "refused"),
            Fault::NoSuchUser => (550, (5, 1, 1), "no such user here"),
            Fault::NotFound => (550, (5, 1, 0), "not found"),
            Fault::OverQuota => (552, (5, 2, 2), "the mailbox is full"),
            Fault::TryLater(_) => (451, (4, 7, 1), "try again later"),
            Fault::Local => (451, (4, 3, 0), "a local failure, try again later"),
            Fault::Full => (452, (4, 3, 1), "no room for it now, try again later"),
        };
        SmtpReply { code, enhanced, text }
    }

    /// The HTTP table (RFC 9110 §15).
    #[must_use]
    pub fn http(self) -> u16 {
        match self {
            Fault::Malformed => 422,
            Fault::TooLarge => 413,
            Fault::Unauthenticated | Fault::NotYetProved => 401,
            Fault::Refused | Fault::NoSuchUser => 403,
            Fault::NotFound => 404,
            Fault::OverQuota => 507,
            Fault::TryLater(_) => 429,
            Fault::Local | Fault::Full => 503,
        }
    }

    /// The stream table (`spec/exchange.md` §1): a peer learns only whether to come back.
    #[must_use]
    pub fn stream(self) -> StreamRefusal {
        StreamRefusal {
            retry_after: self.retry_after().map(|wait| wait.as_secs().max(1)),
        }
    }
}

/// An error that knows whose fault it is.
pub trait Faulty: std::error::Error {
    /// The failure as an edge sees it.
    fn fault(&self) -> Fault;
}

impl Faulty for crate::address::NameError {
    fn fault(&self) -> Fault {
        Fault::Malformed
    }
}

impl Faulty for crate::timestamp::BadDate {
    fn fault(&self) -> Fault {
        Fault::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_tables_agree_on_what_is_temporary() {
        let wait = Duration::from_secs(3);
        let all = [
            Fault::Malformed,
            Fault::TooLarge,
            Fault::Unauthenticated,
            Fault::NotYetProved,
            Fault::Refused,
            Fault::NoSuchUser,
            Fault::NotFound,
            Fault::OverQuota,
            Fault::TryLater(wait),
            Fault::Local,
            Fault::Full,
        ];
        for fault in all {
            let temporary = fault.is_temporary();
            assert_eq!(fault.smtp().code < 500, temporary, "{fault:?}");
            assert_eq!(
                u16::from(fault.smtp().enhanced.0),
                fault.smtp().code / 100,
                "{fault:?}"
            );
            // A 401 is one for both: `Retry-After` tells whether it passes.
            let told = fault.http() == 401 || matches!(fault.http(), 429 | 503) == temporary;
            assert!(told, "{fault:?}");
            assert_eq!(fault.stream().retry_after.is_some(), temporary, "{fault:?}");
        }
    }
}
