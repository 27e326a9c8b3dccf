//! GRIP: who speaks for whom, proved by a key that the DNS binds to a name.
//!
//! Three parts, each usable without the others: the [`Record`] that binds a key to a name, the token that a key signs,
//! and the [`Verification`] that says whether a token is to be believed. `spec/grip.md` is the specification; section
//! IV.D of the paper says what it is for. Not here: DNS questions, TLS, and the memory of used tokens, which are asked
//! for by [`Step`]s.
//!
//! What always holds: only a [`Verification`] makes a [`VerifiedChain`]; a token is bounded before it is decoded and
//! decoded strictly before its signature is looked at; hashes and digests are compared in constant time.

mod claims;
mod digest;
mod error;
mod inspect;
mod key;
mod record;
mod token;
mod verify;

#[cfg(test)]
mod tests;

pub use claims::{Claims, Kind, Stamp, Statement};
pub use digest::Digest;
pub use error::{GripError, Position, Syntax, Why};
pub use inspect::{Inspection, Opaque, Signature, inspect};
pub use key::{Jwk, KeyError, KeyHash, NodeKey, PublicKey};
pub use record::{Bindings, Record, SkipReason, Skipped};
pub use token::{IssueError, issue, issue_again};
pub use verify::{Expectation, NoRecords, Proved, Step, Verification, VerifiedChain, VerifiedToken};

/// The scheme of the `Authorization` field: `Authorization: GRIP <token>`.
pub const SCHEME: &str = "GRIP";

/// The token in the value of an `Authorization` field. The scheme is compared without case (RFC 9110 §11.1), and
/// exactly one space stands behind it.
#[must_use]
pub fn token_in(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty() && !token.contains(' ')).then_some(token)
}

/// The value of an `Authorization` field that carries this token.
#[must_use]
pub fn authorization(token: &str) -> String {
    format!("{SCHEME} {token}")
}
