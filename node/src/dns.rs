//! The DNS port and its real implementation. A name that does not exist and a resolver that does not answer are two
//! different things: the first is a refusal, the second is temporary (`spec/grip.md`).
//!
//! [`Resolver`] asks real servers; [`Zone`] is a small authoritative server in this process, for the demonstration,
//! the simulator and tests.

mod cache;
mod order;
mod resolver;
pub mod zone;

use std::net::IpAddr;

use async_trait::async_trait;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::timestamp::Timestamp;

pub use resolver::{Dnssec, Resolver, ResolverOptions};
pub use zone::{Record, Zone};

/// Records of one name and type, with what is known about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records, in the order in which they should be used.
    pub records: Vec<T>,
    /// Whether DNSSEC validated them.
    pub authenticated: bool,
    /// Until when they may be used.
    pub valid_until: Timestamp,
}

impl<T> Answer<T> {
    /// The same answer with each record read as something else, without those that cannot be.
    pub fn filter_map<U>(self, read: impl FnMut(T) -> Option<U>) -> Answer<U> {
        Answer {
            records: self.records.into_iter().filter_map(read).collect(),
            authenticated: self.authenticated,
            valid_until: self.valid_until,
        }
    }
}

/// A service record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among equal priorities.
    pub weight: u16,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A mail exchanger (RFC 5321 §5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The host; empty for a null MX (RFC 7505).
    pub host: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// NXDOMAIN, or the name has no record of that type.
    #[error("{name}: no {kind} record")]
    NoRecord {
        /// The name asked for.
        name: String,
        /// The type asked for.
        kind: &'static str,
    },
    /// SERVFAIL, a timeout, a bogus signature: ask again later.
    #[error("{name}: {kind} lookup failed for now: {why}")]
    Unavailable {
        /// The name asked for.
        name: String,
        /// The type asked for.
        kind: &'static str,
        /// What the resolver said.
        why: String,
    },
    /// DNSSEC did not validate the answer, and this node requires it to.
    #[error("{name}: the {kind} answer is not validated by DNSSEC, as this node requires")]
    Unauthenticated {
        /// The name asked for.
        name: String,
        /// The type asked for.
        kind: &'static str,
    },
}

impl Faulty for DnsError {
    fn fault(&self) -> Fault {
        match self {
            DnsError::NoRecord { .. } | DnsError::Unauthenticated { .. } => Fault::Refused,
            DnsError::Unavailable { .. } => Fault::TryLater(std::time::Duration::from_secs(60)),
        }
    }
}

/// The DNS as the node's services see it. Names are in A-label form, without a trailing dot.
#[async_trait]
pub trait Dns: Send + Sync + 'static {
    /// Texts at a name, each with its character-strings joined.
    async fn txt(&self, name: &str) -> Result<Answer<String>, DnsError>;
    /// Service records, in the order of RFC 2782.
    async fn srv(&self, name: &str) -> Result<Answer<Srv>, DnsError>;
    /// Mail exchangers, by preference.
    async fn mx(&self, name: &str) -> Result<Answer<Mx>, DnsError>;
    /// IPv4 and IPv6 addresses.
    async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, DnsError>;
}
