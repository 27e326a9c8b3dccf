//! The placeholder message: what travels to an address while the resources travel between Resource Mailboxes.
//!
//! Follows RFC 5322 for the header, RFC 2046 §5.2.3 for the `message/external-body` parts, RFC 2047 and RFC 2231
//! for text that is not ASCII, and section IV of the paper for what the fields mean; `spec/placeholder.md` is the
//! specification. Not here: the octets of a resource (see [`crate::dag`]), who may have them (see [`crate::share`]),
//! and any decision about where they go (see [`crate::routing`]).
//!
//! The walk of a message through this module:
//!
//! 1. [`split`] takes an ordinary message apart, or [`Draft`] composes one from parts that are stored already;
//! 2. [`Placeholder::encode`] writes it strictly, [`Placeholder::parse`] reads it leniently;
//! 3. [`surgery`] lets the broker change header fields of the raw message and nothing else;
//! 4. [`Placeholder::reconstruct`] gives the author's message back, as pieces that can be streamed.
//!
//! What always holds: a [`Placeholder`] has exactly one author, a Message-ID, and a [`Structure`] that names each of
//! its parts exactly once; a [`Header`] cannot break out of its field.

mod compose;
mod encode;
mod explain;
mod header;
mod legacy;
mod mailbox;
mod model;
mod multipart;
mod parameter;
mod parse;
mod part;
mod reconstruct;
mod split;
mod structure;
pub mod surgery;
mod transfer;
mod words;

pub use compose::Draft;
pub use header::{Header, HeaderError, Headers};
pub use mailbox::{Mailbox, MailboxError, author, mailboxes};
pub use model::{Category, CategoryError, Invalid, Origin, Placeholder};
pub use parse::{Broken, is_placeholder};
pub use part::{ContentId, Description, Disposition, Part, ResourceRef, download_name};
pub use reconstruct::Piece;
pub use split::{Body, Split, SplitError, Template, split};
pub use structure::{Multipart, Node, Structure, StructureError};
pub use transfer::{TransferEncoder, TransferEncoding};

use crate::fault::{Fault, Faulty};

/// Names the origin Resource Mailbox and when its share expires.
pub const ORIGIN: &str = "X-Origin-Resource-Mailbox-URL";
/// Names the destination Resource Mailbox; only the recipient's broker writes it.
pub const DESTINATION: &str = "X-Destination-Resource-Mailbox-URL";
/// Names the category of the correspondence.
pub const CATEGORY: &str = "X-Correspondence-Category";
/// The tree of the original message over the numbers of the external-body parts.
pub const STRUCTURE: &str = "X-Cargomail-Structure";
/// In a phantom header: the Content-ID that the author's part had, or `none`.
pub const CONTENT_ID: &str = "X-Cargomail-Content-ID";

/// Fields that say how the body of the placeholder itself is written, and not what its author wrote.
const MIME: [&str; 5] = [
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-ID",
];
/// Fields that would show one recipient a hidden other.
const BCC: [&str; 2] = ["Bcc", "Resent-Bcc"];
/// Signatures over the octets of another form of the message: they do not outlive the change of form.
const SIGNATURES: [&str; 5] = [
    "DKIM-Signature",
    "DomainKey-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
];

/// Whether a field is Cargomail's own.
fn is_ours(field: &Header) -> bool {
    [ORIGIN, DESTINATION, CATEGORY, STRUCTURE, CONTENT_ID]
        .iter()
        .any(|name| field.is(name))
}

impl Faulty for Broken {
    fn fault(&self) -> Fault {
        match self {
            Broken::TooLarge | Broken::TooManyParts => Fault::TooLarge,
            Broken::Header(error) => error.fault(),
            Broken::Invalid(error) => error.fault(),
            _ => Fault::Malformed,
        }
    }
}

impl Faulty for SplitError {
    fn fault(&self) -> Fault {
        match self {
            SplitError::TooManyParts | SplitError::TooDeep => Fault::TooLarge,
            SplitError::Header(error) => error.fault(),
            SplitError::Invalid(error) => error.fault(),
            _ => Fault::Malformed,
        }
    }
}

impl Faulty for Invalid {
    fn fault(&self) -> Fault {
        match self {
            Invalid::TooLarge => Fault::TooLarge,
            Invalid::Header(error) => error.fault(),
            _ => Fault::Malformed,
        }
    }
}

impl Faulty for HeaderError {
    fn fault(&self) -> Fault {
        match self {
            HeaderError::TooLarge => Fault::TooLarge,
            _ => Fault::Malformed,
        }
    }
}

impl Faulty for CategoryError {
    fn fault(&self) -> Fault {
        Fault::Malformed
    }
}
