//! Addresses as header fields show them (RFC 5322 §3.4): a display name and an address.

use super::header::{Header, HeaderError};
use crate::address::{Address, NameError};

/// Why a list of addresses was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// The grammar of RFC 5322 §3.4 is broken.
    #[error("{0:?} is not a list of addresses")]
    Grammar(String),
    /// An address in it is none.
    #[error(transparent)]
    Address(#[from] NameError),
}

/// `Alice Sanders <alice@foo.com>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// What a person reads, decoded. It proves nothing.
    pub name: Option<String>,
    /// The address.
    pub address: Address,
}

impl Mailbox {
    /// An address without a display name.
    #[must_use]
    pub fn bare(address: Address) -> Self {
        Self { name: None, address }
    }

    /// An address with a display name.
    #[must_use]
    pub fn named(name: impl Into<String>, address: Address) -> Self {
        Self {
            name: Some(name.into()),
            address,
        }
    }

    /// A field that lists addresses, names as encoded words where needed, folded between addresses.
    ///
    /// # Errors
    /// [`HeaderError`] for a line break or NUL in a display name (THREATS S03).
    pub fn header(_field: &str, _list: &[Mailbox]) -> Result<Header, HeaderError> {
        todo!()
    }
}

/// Reads a list of addresses strictly: display names, comments, quoted strings, groups (whose members are listed).
///
/// # Errors
/// [`MailboxError`] at the first element that is none.
pub fn mailboxes(_body: &str) -> Result<Vec<Mailbox>, MailboxError> {
    todo!()
}
