//! The real resolver.
#![allow(clippy::todo, unused_variables, dead_code)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;

use super::{Answer, Dns, DnsError, Mx, Srv};
use crate::clock::Clock;

/// What DNSSEC is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dnssec {
    /// Not at all: no answer counts as authenticated.
    #[default]
    Off,
    /// Answers are validated where their zones are signed; bogus ones are refused.
    Validate,
    /// Answers that are not validated are refused too (`require_dnssec`).
    Require,
}

/// Which servers are asked, and how.
#[derive(Debug, Clone, Default)]
pub struct ResolverOptions {
    /// The servers; none means the system's.
    pub servers: Vec<SocketAddr>,
    /// What DNSSEC is used for.
    pub dnssec: Dnssec,
}

/// Asks real DNS servers over UDP and TCP, and keeps answers by the rules of DESIGN §5. Cheap to clone.
#[derive(Clone)]
pub struct Resolver {}

impl Resolver {
    /// A resolver; nothing is asked yet.
    ///
    /// # Errors
    /// [`DnsError::Unavailable`] when the system's configuration cannot be read.
    pub fn new(options: &ResolverOptions, clock: Arc<dyn Clock>) -> Result<Self, DnsError> {
        todo!()
    }
}

#[async_trait]
impl Dns for Resolver {
    async fn txt(&self, name: &str) -> Result<Answer<String>, DnsError> {
        todo!()
    }
    async fn srv(&self, name: &str) -> Result<Answer<Srv>, DnsError> {
        todo!()
    }
    async fn mx(&self, name: &str) -> Result<Answer<Mx>, DnsError> {
        todo!()
    }
    async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, DnsError> {
        todo!()
    }
}
