//! The TXT record that says which key may speak for a name: `v=grip1; h=sha256; p=<64 hex>`.
//!
//! The grammar is DKIM's tag list (RFC 6376 §3.2). What always holds: a record that breaks the grammar binds nothing.

use std::fmt;

use super::key::KeyHash;
use crate::limits;

/// The tags of one record that are looked at; the size bound allows for more than any record needs.
const TAGS: usize = 32;

/// A record: the hash of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record(pub KeyHash);

/// Why a TXT text binds no key. For the log; no peer learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SkipReason {
    /// Does not begin with `v=grip1`: another use of the name, or another version.
    #[error("not a grip1 record")]
    NotGrip,
    /// Longer than [`limits::TXT_RECORD`] octets or of more than 32 tags.
    #[error("too long")]
    TooLong,
    /// Beyond the first [`limits::TXT_RECORDS`] texts of the name.
    #[error("too many records at the name")]
    TooMany,
    /// Not a tag list of RFC 6376 §3.2.
    #[error("breaks the grammar of a tag list")]
    Grammar,
    /// A tag stands twice, or `p` and its alias `f` both stand.
    #[error("a tag stands twice")]
    Duplicate,
    /// `h` is missing or names another hash than `sha256`.
    #[error("another hash than sha256")]
    Hash,
    /// `p` is missing.
    #[error("no key hash")]
    NoKey,
    /// `p` is empty: DKIM's sign of a withdrawn key. It binds nothing.
    #[error("the key is withdrawn")]
    Withdrawn,
    /// `p` is not 64 hexadecimal digits.
    #[error("the key hash is not 64 hexadecimal digits")]
    NotHex,
}

/// A text that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The first 128 characters of the text, as it came.
    pub text: String,
    /// Why.
    pub reason: SkipReason,
}

/// What the TXT texts at one name say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    /// Hashes of the keys that may speak for the name; one match is enough.
    pub hashes: Vec<KeyHash>,
    /// The texts that bind nothing.
    pub skipped: Vec<Skipped>,
}

impl Bindings {
    /// Reads the texts at a name, each with its character-strings joined without anything between them
    /// (RFC 6376 §3.6.2.2). At most [`limits::TXT_RECORDS`] of them are looked at.
    #[must_use]
    pub fn read<S: AsRef<str>>(texts: &[S]) -> Self {
        let mut bindings = Self::default();
        for (index, text) in texts.iter().enumerate() {
            let text = text.as_ref();
            let record = if index < limits::TXT_RECORDS {
                Record::parse(text)
            } else {
                Err(SkipReason::TooMany)
            };
            match record {
                Ok(Record(hash)) => bindings.hashes.push(hash),
                Err(reason) if bindings.skipped.len() < limits::TXT_RECORDS => {
                    bindings.skipped.push(Skipped {
                        text: text.chars().take(128).collect(),
                        reason,
                    })
                }
                Err(_) => {}
            }
        }
        bindings
    }

    /// Whether a key with this hash may speak for the name. Every hash is compared, each in constant time.
    #[must_use]
    pub fn bind(&self, key: &KeyHash) -> bool {
        self.hashes
            .iter()
            .fold(false, |found, hash| found | (hash == key))
    }
}

impl Record {
    /// Reads one text.
    ///
    /// Upper-case hexadecimal is read as lower case: it names the same hash and nothing else. Tag names and the values
    /// of `v` and `h` are compared with their case (RFC 6376 §3.2). `v` comes first, as in DKIM (RFC 6376 §3.6.1).
    ///
    /// # Errors
    /// [`SkipReason`]: the text binds nothing.
    pub fn parse(text: &str) -> Result<Self, SkipReason> {
        if text.len() > limits::TXT_RECORD {
            return Err(SkipReason::TooLong);
        }
        let list = text.trim_end_matches(BLANK);
        let list = list.strip_suffix(';').unwrap_or(list);
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for (index, tag) in list.split(';').enumerate() {
            let parsed = parse_tag(tag);
            if index == 0 && parsed.is_none_or(|(name, value)| name != "v" || value != "grip1") {
                return Err(SkipReason::NotGrip);
            }
            let (name, value) = parsed.ok_or(SkipReason::Grammar)?;
            if tags.iter().any(|(other, _)| *other == name) {
                return Err(SkipReason::Duplicate);
            }
            if tags.len() == TAGS {
                return Err(SkipReason::TooLong);
            }
            tags.push((name, value));
        }
        let value = |wanted| {
            tags.iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| *value)
        };
        if value("h") != Some("sha256") {
            return Err(SkipReason::Hash);
        }
        let hex = match (value("p"), value("f")) {
            (Some(_), Some(_)) => return Err(SkipReason::Duplicate),
            (Some(hex), None) | (None, Some(hex)) => hex,
            (None, None) => return Err(SkipReason::NoKey),
        };
        if hex.is_empty() {
            return Err(SkipReason::Withdrawn);
        }
        KeyHash::parse(hex).map(Self).ok_or(SkipReason::NotHex)
    }
}

/// Folding white space, as far as it can stand in a TXT record.
const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// One `name=value` of RFC 6376 §3.2: a name of a letter and then letters, digits and underscores; a value of
/// printable ASCII without semicolon, in which blanks stand only between other characters.
fn parse_tag(tag: &str) -> Option<(&str, &str)> {
    let (name, value) = tag.split_once('=')?;
    let (name, value) = (name.trim_matches(BLANK), value.trim_matches(BLANK));
    let mut letters = name.bytes();
    let named = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let valued = value.chars().all(|c| c.is_ascii_graphic() || BLANK.contains(&c));
    (named && valued).then_some((name, value))
}

impl fmt::Display for Record {
    /// The text to publish, 85 octets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v=grip1; h=sha256; p={}", self.0)
    }
}
