//! The configuration as it is written: every key, what it means, and its default. The defaults run on localhost.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use cargomail_protocol::address::{Domain, Locator};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::api::Channel;
use crate::dns::Dnssec;
use crate::peers::Relaying;
use crate::store::IndexKind;

/// A section with the documentation of its fields at hand, from which the example file is printed.
pub(super) trait Documented {
    /// What the section is for.
    const ABOUT: &'static [&'static str];
    /// Each key and what it means.
    const KEYS: &'static [(&'static str, &'static [&'static str])];
}

macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident : $kind:ty = $default:expr, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $kind, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl Documented for $name {
            const ABOUT: &'static [&'static str] = &[$($about),+];
            const KEYS: &'static [(&'static str, &'static [&'static str])] =
                &[$( (stringify!($field), &[$($doc),+]), )+];
        }
    };
}

section! {
    /// The configuration of a Cargomail node. Relative paths are relative to this file. What begins with `#` shows the default,
    /// or an example where there is none. A node has the roles whose sections stand here: `mailbox`, `broker`, or both.
    Config {
        /// The folder where the node keeps everything.
        data: PathBuf = "data".into(),
        /// The node's Ed25519 key, PKCS#8 in PEM: it signs tokens, is the key of the certificates, and names the libp2p node.
        key: PathBuf = "key.pem".into(),
        /// Names and addresses of this machine.
        network: NetworkSection = NetworkSection::default(),
        /// Which DNS servers are asked.
        dns: DnsSection = DnsSection::default(),
        /// The face for other nodes.
        grip: GripSection = GripSection::default(),
        /// The face for people's programs.
        user: UserSection = UserSection::default(),
        /// The libp2p node.
        peers: PeersSection = PeersSection::default(),
        /// The role of a Resource Mailbox.
        mailbox: Option<MailboxSection> = None,
        /// The role of a Cargo Broker.
        broker: Option<BrokerSection> = None,
        /// The SMTP edge.
        smtp: SmtpSection = SmtpSection::default(),
        /// Sizes of the embedded store.
        store: StoreSection = StoreSection::default(),
        /// Giving back the room of what nobody needs any more.
        collection: CollectionSection = CollectionSection::default(),
    }
}

section! {
    /// Names and addresses of this machine, and which addresses a stranger may make it connect to.
    NetworkSection {
        /// The machine's name, which the SRV and MX records point to. By default `node.` before the domain of the broker,
        /// or of the mailbox.
        hostname: Option<Domain> = None,
        /// The addresses at which others reach this machine: they go into the DNS. By default those that are listened at.
        public: Vec<IpAddr> = Vec::new(),
        /// Networks that may be connected to although they are not the public Internet, as `10.1.0.0/16`. Other nodes' names come
        /// from strangers: everything private, local or special is refused unless it stands here.
        allow: Vec<String> = Vec::new(),
    }
}

section! {
    /// Which DNS servers are asked.
    DnsSection {
        /// Servers with their ports, as `127.0.0.1:5353`. By default those of the system.
        servers: Vec<SocketAddr> = Vec::new(),
        /// `off`; `validate`: bogus answers are refused; `require`: answers without DNSSEC are refused too.
        dnssec: DnssecMode = DnssecMode::Off,
    }
}

section! {
    /// What other nodes ask: notifications, and the web channel.
    GripSection {
        /// Over what they come: `https` with mutual TLS; `libp2p`, over streams to the libp2p node (section peers), for a node at home
        /// that has no port for HTTPS: no SRV record is published; or `both`.
        over: Over = Over::Https,
        /// Where to listen for HTTPS; `[::]:7443` is every address of the machine.
        listen: SocketAddr = local(7443),
        /// The port that goes into the DNS, when it is another than the one that is listened at.
        port: Option<u16> = None,
    }
}

section! {
    /// HTTPS for people's programs: the command line and the application.
    UserSection {
        /// Where to listen.
        listen: SocketAddr = local(8443),
        /// The certificate chain in PEM, as an ACME client writes it. By default a self-signed one is made, whose fingerprint
        /// `cargomail run` prints. A new one in its place, or of the node itself, is shown within an hour, by STARTTLS too.
        certificate: Option<PathBuf> = None,
        /// The key of that certificate, PKCS#8 in PEM.
        key: Option<PathBuf> = None,
    }
}

section! {
    /// The libp2p node, over which resources travel, and notifications and messages where `over` in section grip says so. Where neither
    /// needs it, the node listens nowhere, and only reaches others over it.
    PeersSection {
        /// Where to listen for QUIC (UDP); `off` for nowhere.
        quic: Listen = Listen::At(local(4001)),
        /// Where to listen for TCP with TLS; `off` for nowhere.
        tcp: Listen = Listen::At(local(4001)),
        /// Multiaddrs that go into the DNS, as `/ip4/203.0.113.5/udp/4001/quic-v1`. By default the public addresses with the
        /// ports that are listened at; with `relay = "always"`, none.
        announce: Vec<String> = Vec::new(),
        /// The community's introducers, for a node at home behind a NAT, or one that writes with such nodes: addresses that end in
        /// `/p2p/<peer id>`, or names in the DNS whose `_dnsaddr` records hold some. Without any, relayed addresses are not dialled.
        communities: Vec<String> = Vec::new(),
        /// When the introducers relay to this node: `auto`, while they say that nobody can dial it; `always`; `never`.
        relay: Relaying = Relaying::Auto,
    }
}

section! {
    /// This node is a Resource Mailbox: it stores resources, shares them, and retrieves what others share with its users.
    MailboxSection {
        /// The mailbox's name, which placeholders carry.
        locator: Option<Locator> = None,
        /// The domain whose agent it is: it signs as `_rra.<domain>`. The locator is that domain or lies below it.
        domain: Option<Domain> = None,
        /// Retrievals that go on at once.
        concurrent: usize = 6,
    }
}

section! {
    /// This node is the Cargo Broker of a domain: it sends and receives placeholders and keeps User Mailboxes.
    BrokerSection {
        /// The domain behind the `@` of its users. It signs as `_cb.<domain>`.
        domain: Option<Domain> = None,
        /// How messages travel to other domains: `web`, `smtp`, or `web-then-smtp`.
        channel: Channel = Channel::WebThenSmtp,
        /// Where messages for its users go: `built-in` for the node's own User Mailboxes, or `lmtp://host:port`.
        deliver: String = "built-in".to_owned(),
        /// Octets of messages after which a User Mailbox of this node takes no more, until its user deletes some; `0` for no bound.
        quota: u64 = 1024 * 1024 * 1024,
        /// Octets of the largest message that its users send with the content in it, to recipients whose domains have no Cargomail; `0` for none.
        ordinary: usize = 25 * 1024 * 1024,
        /// Steps of arriving messages, and of leaving ones, that are taken at once; a quarter of them may wait for one destination.
        concurrent: usize = 32,
    }
}

section! {
    /// Mail as everybody sends it. Only a broker uses it.
    SmtpSection {
        /// Where to listen for mail from other servers; `off` for nowhere. Others expect port 25.
        listen: Listen = Listen::At(local(2525)),
        /// The port of other domains' mail servers.
        port: u16 = 25,
        /// Mail servers of one's own, as `127.0.0.1/32`, which have checked who wrote the mail that they bring.
        relays: Vec<String> = Vec::new(),
        /// The server that takes all outgoing mail, as `host:port`. By default each domain's own.
        smart_host: Option<String> = None,
        /// The largest message that is taken, in octets.
        size: usize = 64 * 1024 * 1024,
    }
}

section! {
    /// The embedded store.
    StoreSection {
        /// The engine of its index: `sled`, or `redb`, which needs less memory and disk. After a change the index is made anew
        /// at the next start.
        index: IndexKind = IndexKind::Sled,
        /// Octets of memory for its index.
        cache: u64 = 16 * 1024 * 1024,
        /// Octets after which a new segment file is begun.
        segment: u64 = 256 * 1024 * 1024,
        /// Octets of the disk that are kept for what frees room: with less, no new blocks are taken, and senders are told to come
        /// again later.
        reserve: u64 = 256 * 1024 * 1024,
        /// Octets a second that are moved, at most, to give back the room of what was deleted; with 0 that is done only by
        /// `cargomail store compact`.
        compact_rate: u64 = 16 * 1024 * 1024,
        /// Octets a second that are read, at most, to find blocks that the disk has damaged before somebody needs them; `0` for never.
        scrub_rate: u64 = 16 * 1024 * 1024,
        /// Days from the end of one such round through all blocks to the next.
        scrub_every: u32 = 30,
    }
}

section! {
    /// Removing what nothing refers to any more: deleted resources, ended shares, broken uploads.
    CollectionSection {
        /// Hours from the end of one collection to the next; `0` for none but those by `cargomail collect`.
        every: u32 = 24,
    }
}

/// Over what other nodes' notifications and messages come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Over {
    /// HTTPS.
    #[default]
    Https,
    /// Streams of libp2p.
    Libp2p,
    /// HTTPS, and streams of libp2p where HTTPS does not get through.
    Both,
}

impl Over {
    /// Whether HTTPS is served.
    #[must_use]
    pub fn is_https(self) -> bool {
        matches!(self, Over::Https | Over::Both)
    }

    /// Whether streams of libp2p are served.
    #[must_use]
    pub fn is_libp2p(self) -> bool {
        matches!(self, Over::Libp2p | Over::Both)
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// What DNSSEC is used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnssecMode {
    /// Not at all.
    #[default]
    Off,
    /// Bogus answers are refused.
    Validate,
    /// Answers that are not validated are refused too.
    Require,
}

impl From<DnssecMode> for Dnssec {
    fn from(mode: DnssecMode) -> Self {
        match mode {
            DnssecMode::Off => Dnssec::Off,
            DnssecMode::Validate => Dnssec::Validate,
            DnssecMode::Require => Dnssec::Require,
        }
    }
}

/// Where a face listens, if at all: an address with a port, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

/// The text says neither where to listen nor that nobody does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address with a port, as [::]:25, nor off")]
pub struct BadListen(String);

impl Listen {
    /// The address, if there is one.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Listen::Off => None,
            Listen::At(address) => Some(address),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Off => f.write_str("off"),
            Listen::At(address) => write!(f, "{address}"),
        }
    }
}

impl FromStr for Listen {
    type Err = BadListen;
    fn from_str(text: &str) -> Result<Self, BadListen> {
        if text == "off" {
            return Ok(Listen::Off);
        }
        let address = text.parse().map_err(|_| BadListen(text.to_owned()))?;
        Ok(Listen::At(address))
    }
}

impl TryFrom<String> for Listen {
    type Error = BadListen;
    fn try_from(text: String) -> Result<Self, BadListen> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> String {
        listen.to_string()
    }
}
