//! A small authoritative DNS server in this process.
#![allow(clippy::todo, unused_variables, dead_code)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Mx, Srv};

/// What stands at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A text of any length; it is split into character-strings of 255 octets.
    Txt(String),
    /// A service record.
    Srv(Srv),
    /// A mail exchanger.
    Mx(Mx),
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
    /// Another name of this zone, where the records stand.
    Alias(String),
}

/// An authoritative server over UDP and TCP at one port, for every name that was added to it: it says NXDOMAIN for
/// what does not exist, and no data where the name has other types. Cheap to clone; stops when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Zone {}

impl Zone {
    /// Serves at the address; port 0 lets the system choose one that is free for UDP and TCP.
    ///
    /// # Errors
    /// When the port cannot be taken.
    pub async fn start(at: SocketAddr) -> io::Result<Self> {
        todo!()
    }

    /// Where it serves: the server to put into [`super::ResolverOptions::servers`].
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }

    /// Adds a record with a TTL of one minute.
    pub fn add(&self, name: &str, record: Record) {
        self.add_with_ttl(name, record, Duration::from_secs(60));
    }

    /// Adds a record with this TTL, in whole seconds.
    pub fn add_with_ttl(&self, name: &str, record: Record, ttl: Duration) {
        todo!()
    }

    /// Removes every record at a name.
    pub fn remove(&self, name: &str) {
        todo!()
    }
}
