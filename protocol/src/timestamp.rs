//! A moment, as the protocol counts it: milliseconds since 1970-01-01T00:00:00Z, always an argument, never read here.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// A moment in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

/// The text was not a date of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date-time")]
pub struct BadDate(pub String);

impl Timestamp {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This moment and `later`, without overflow.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// How long from `earlier` until this moment; zero when `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    fn civil(self) -> OffsetDateTime {
        let last = 253_402_300_799_u64; // 9999-12-31T23:59:59Z, the last date both text forms can write
        let seconds = i64::try_from(self.seconds().min(last)).unwrap_or(0);
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// RFC 3339 in UTC with whole seconds: `2026-12-04T13:05:01Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.civil().format(&Rfc3339).unwrap_or_default()
    }

    /// The date-time of RFC 5322 §3.3: `Fri, 04 Dec 2026 13:05:01 +0000`.
    #[must_use]
    pub fn rfc5322(self) -> String {
        self.civil().format(&Rfc2822).unwrap_or_default()
    }

    /// Reads RFC 3339.
    ///
    /// # Errors
    /// [`BadDate`] for anything else, and for dates before 1970.
    pub fn parse_rfc3339(text: &str) -> Result<Self, BadDate> {
        Self::from_civil(OffsetDateTime::parse(text, &Rfc3339).ok(), text)
    }

    /// Reads the date-time of RFC 5322 §3.3.
    ///
    /// # Errors
    /// [`BadDate`] for anything else, and for dates before 1970.
    pub fn parse_rfc5322(text: &str) -> Result<Self, BadDate> {
        Self::from_civil(OffsetDateTime::parse(text, &Rfc2822).ok(), text)
    }

    fn from_civil(date: Option<OffsetDateTime>, text: &str) -> Result<Self, BadDate> {
        let seconds = date.and_then(|d| u64::try_from(d.unix_timestamp()).ok());
        seconds
            .map(Self::from_seconds)
            .ok_or_else(|| BadDate(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_text_forms_are_read_back() {
        let moment = Timestamp::from_seconds(1_796_389_501);
        assert_eq!(moment.rfc3339(), "2026-12-04T13:05:01Z");
        assert_eq!(Timestamp::parse_rfc3339(&moment.rfc3339()).unwrap(), moment);
        assert_eq!(Timestamp::parse_rfc5322(&moment.rfc5322()).unwrap(), moment);
        assert!(Timestamp::parse_rfc5322("Sa, 4 Mar 2023 14:05:01 +0100 (CEST)").is_err());
        assert!(Timestamp::parse_rfc3339("1969-12-31T23:59:59Z").is_err());
        assert_eq!(Timestamp::from_millis(u64::MAX).rfc3339(), "9999-12-31T23:59:59Z");
    }
}
