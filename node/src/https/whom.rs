//! Whom a request goes to, and how that server proves who it is.

use std::net::SocketAddr;

use cargomail_protocol::address::Domain;

/// How a server proves that it is the one that was meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// Its key's hash stands in TXT at `_grip.<name>`; where no pin is published there, the web PKI for the name.
    Dns,
    /// Its key's hash (SHA-256 of the SubjectPublicKeyInfo) is one of these.
    Fingerprints(Vec<[u8; 32]>),
    /// A certificate of the web PKI for the name.
    WebPki,
}

/// Whom to send a request to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    /// Who it is: the name in `_grip.<name>`, in the TLS SNI and in the certificate of the web PKI.
    pub name: String,
    /// Where it is: a host name, or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How it proves who it is.
    pub proof: Proof,
}

impl Server {
    /// A server found in the DNS, which proves itself by the DNS.
    #[must_use]
    pub fn named(name: &Domain, host: &str, port: u16) -> Self {
        Self {
            name: name.to_string(),
            host: host.to_owned(),
            port,
            proof: Proof::Dns,
        }
    }

    /// A server at a configured address, known by its key: the user's own node.
    #[must_use]
    pub fn at(address: SocketAddr, fingerprints: Vec<[u8; 32]>) -> Self {
        let host = address.ip().to_string();
        Self {
            name: host.clone(),
            host,
            port: address.port(),
            proof: Proof::Fingerprints(fingerprints),
        }
    }
}
