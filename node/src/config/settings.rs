//! The settings: a configuration that was checked as a whole.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use cargomail_protocol::address::{Domain, Locator};
use cargomail_protocol::limits;
use cargomail_protocol::timestamp::Timestamp;

use super::written::{
    BrokerSection, Config, Listen, MailboxSection, Over, PeersSection, SmtpSection, UserSection,
};
use super::{BadValue, announced};
use crate::api::Channel;
use crate::broker::Deliver;
use crate::dns::ResolverOptions;
use crate::identity::{Certificate, IdentityError};
use crate::network::{AddressPolicy, Cidr};
use crate::peers::{Introducer, Relaying};
use crate::store::EmbeddedOptions;

/// Introducers that a configuration may name.
const COMMUNITIES: usize = 8;
/// What anybody could want to have done at once: memory and open files end far below.
const CONCURRENT: usize = 65_536;

/// What a node needs to start. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder where the node keeps everything.
    pub data: PathBuf,
    /// The file of the node's key.
    pub key: PathBuf,
    /// The machine's name.
    pub hostname: Domain,
    /// The addresses at which others reach it.
    pub public: Vec<IpAddr>,
    /// Which addresses HTTPS and SMTP connect to.
    pub policy: AddressPolicy,
    /// Which DNS servers are asked.
    pub dns: ResolverOptions,
    /// The face for other nodes.
    pub grip: GripFace,
    /// The face for people's programs.
    pub user: UserFace,
    /// The libp2p node.
    pub peers: PeersFace,
    /// The role of a Resource Mailbox, if the node has it.
    pub mailbox: Option<MailboxRole>,
    /// The role of a Cargo Broker, if the node has it. One of the two it has.
    pub broker: Option<BrokerRole>,
    /// The SMTP edge, which a broker has.
    pub smtp: SmtpEdge,
    /// How the embedded store is opened.
    pub store: EmbeddedOptions,
    /// How long after a collection the next one is made; none for never.
    pub collect_every: Option<Duration>,
}

/// The face for other nodes.
#[derive(Debug, Clone)]
pub struct GripFace {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The port that goes into the DNS.
    pub port: u16,
    /// Over what others come.
    pub over: Over,
}

/// The face for people's programs.
#[derive(Debug, Clone)]
pub struct UserFace {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The files of certificate and key; none for a certificate that the node makes itself.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// The libp2p node.
#[derive(Debug, Clone)]
pub struct PeersFace {
    /// Where it listens for QUIC.
    pub quic: Option<SocketAddr>,
    /// Where it listens for TCP with TLS.
    pub tcp: Option<SocketAddr>,
    /// Multiaddrs that go into the DNS, without `/p2p/…`; none for those that are listened at.
    pub announce: Vec<String>,
    /// Its community's introducers; none for a node that joins none.
    pub communities: Vec<Introducer>,
    /// When they relay to it.
    pub relay: Relaying,
    /// Which addresses it dials: none of this node's own, because strangers name them.
    pub policy: AddressPolicy,
}

/// The role of a Resource Mailbox.
#[derive(Debug, Clone)]
pub struct MailboxRole {
    /// Its name.
    pub locator: Locator,
    /// The domain whose agent it is.
    pub domain: Domain,
    /// Retrievals at once.
    pub concurrent: usize,
}

/// The role of a Cargo Broker.
#[derive(Debug, Clone)]
pub struct BrokerRole {
    /// The domain of its users.
    pub domain: Domain,
    /// How messages travel to other domains.
    pub channel: Channel,
    /// Where messages for its users go.
    pub deliver: Deliver,
    /// Octets of messages after which a User Mailbox takes no more; none for no bound.
    pub quota: Option<u64>,
    /// Octets of the largest ordinary message that leaves; none leaves when it is 0.
    pub ordinary: usize,
    /// Messages sent at once.
    pub concurrent: usize,
}

/// The SMTP edge.
#[derive(Debug, Clone)]
pub struct SmtpEdge {
    /// Where the server listens, if it does.
    pub listen: Option<SocketAddr>,
    /// The port of other domains' mail servers.
    pub port: u16,
    /// Mail servers whose mail counts as authenticated.
    pub relays: Vec<Cidr>,
    /// The server that takes all outgoing mail.
    pub smart_host: Option<(String, u16)>,
    /// The largest message that is taken, in octets.
    pub size: usize,
}

impl Settings {
    /// What the log calls the node: the domain whose broker it is, the Resource Mailbox that it is, or both.
    #[must_use]
    pub fn name(&self) -> String {
        let broker = self.broker.iter().map(|role| role.domain.to_string());
        let mailbox = self.mailbox.iter().map(|role| role.locator.to_string());
        broker.chain(mailbox).collect::<Vec<_>>().join("+")
    }

    /// Whether other nodes open libp2p streams to this one: those that fetch, or those that have [`Over::Libp2p`] mail.
    #[must_use]
    pub fn is_peer(&self) -> bool {
        self.mailbox.is_some() || self.grip.over.is_libp2p()
    }

    /// The folder of the embedded store.
    #[must_use]
    pub fn store_folder(&self) -> PathBuf {
        self.data.join("store")
    }

    /// The names that the user face's own certificate is for.
    #[must_use]
    pub fn user_names(&self) -> Vec<String> {
        let mut names = vec![self.hostname.to_string(), "localhost".to_owned()];
        let listened = self.user.listen.ip();
        let addresses = self.public.iter().copied().chain([listened]);
        for address in addresses.filter(|address| !address.is_unspecified()) {
            let name = address.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The certificate of the user face: the configured one, or the node's own, which is made if it is not there yet.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn user_certificate(&self, now: Timestamp) -> Result<Certificate, IdentityError> {
        match &self.user.certificate {
            Some((certificate, key)) => Certificate::open(certificate, key),
            None => Certificate::for_people(&self.data, &self.user_names(), now),
        }
    }

    pub(super) fn check(config: Config, folder: &Path) -> Result<Self, BadValue> {
        let mailbox = config.mailbox.map(mailbox).transpose()?;
        let broker = config.broker.map(broker).transpose()?;
        let domain = match (&broker, &mailbox) {
            (Some(broker), _) => &broker.domain,
            (None, Some(mailbox)) => &mailbox.domain,
            (None, None) => {
                let way_out = "write a section [mailbox] with locator and domain, or [broker] with domain";
                return Err(bad("mailbox, broker", "this node has no role", way_out));
            }
        };
        let hostname = match config.network.hostname {
            Some(hostname) => hostname,
            None => named(
                "network.hostname",
                &format!("node.{domain}"),
                "write a shorter hostname",
            )?,
        };
        let mut public = config.network.public;
        if let Some(ip) = public.iter().find(|ip| ip.is_unspecified()) {
            let why = format!("{ip} is no machine's address");
            return Err(bad(
                "network.public",
                why,
                "write the address at which others reach this machine",
            ));
        }
        if config.grip.port == Some(0) {
            let why = "nobody connects to port 0";
            return Err(bad(
                "grip.port",
                why,
                "write the port at which others reach this node",
            ));
        }
        let allow = networks("network.allow", &config.network.allow)?;
        let policy = AddressPolicy {
            allow,
            own: Vec::new(),
        };
        let peers = peers(config.peers, &public, &policy)?;
        if public.is_empty() {
            let smtp = config.smtp.listen.address();
            let grip = Some(config.grip.listen).filter(|_| config.grip.over.is_https());
            let listened = [grip, smtp, peers.quic, peers.tcp];
            for at in listened.into_iter().flatten().map(|at| at.ip()) {
                if !at.is_unspecified() && !public.contains(&at) {
                    public.push(at);
                }
            }
        }
        Ok(Self {
            data: folder.join(config.data),
            key: folder.join(config.key),
            hostname,
            public,
            policy,
            dns: ResolverOptions {
                servers: config.dns.servers,
                dnssec: config.dns.dnssec.into(),
            },
            grip: GripFace {
                listen: config.grip.listen,
                port: config.grip.port.unwrap_or(config.grip.listen.port()),
                over: config.grip.over,
            },
            user: user(config.user, folder)?,
            peers,
            mailbox,
            broker,
            smtp: smtp(config.smtp)?,
            store: EmbeddedOptions {
                index: config.store.index,
                cache: at_least("store.cache", config.store.cache, 1024 * 1024)?,
                segment: at_least("store.segment", config.store.segment, 4 * 1024 * 1024)?,
                reserve: config.store.reserve,
                compact_rate: Some(config.store.compact_rate).filter(|rate| *rate > 0),
                scrub_rate: Some(config.store.scrub_rate).filter(|rate| *rate > 0),
                scrub_every: Duration::from_secs(24 * 3600 * u64::from(config.store.scrub_every)),
                ..EmbeddedOptions::default()
            },
            collect_every: match config.collection.every {
                0 => None,
                hours => Some(Duration::from_secs(3600 * u64::from(hours))),
            },
        })
    }
}

pub(super) fn bad(key: &str, why: impl Display, way_out: impl Display) -> BadValue {
    BadValue {
        key: key.to_owned(),
        why: why.to_string(),
        way_out: way_out.to_string(),
    }
}

pub(super) fn named<T: FromStr<Err: Display>>(key: &str, text: &str, way_out: &str) -> Result<T, BadValue> {
    text.parse().map_err(|why| bad(key, why, way_out))
}

fn at_least(key: &str, octets: u64, least: u64) -> Result<u64, BadValue> {
    if octets < least {
        return Err(bad(key, "too small", format!("write {least} or more")));
    }
    Ok(octets)
}

fn some(key: &str, concurrent: usize) -> Result<usize, BadValue> {
    match concurrent {
        0 => Err(bad(key, "nothing would ever be done", "write 1 or more")),
        1..=CONCURRENT => Ok(concurrent),
        _ => Err(bad(
            key,
            "too many at once",
            format!("write {CONCURRENT} or fewer"),
        )),
    }
}

fn networks(key: &str, texts: &[String]) -> Result<Vec<Cidr>, BadValue> {
    let network = |text: &String| named(key, text, "write networks as 10.1.0.0/16, each in quotes");
    texts.iter().map(network).collect()
}

fn mailbox(written: MailboxSection) -> Result<MailboxRole, BadValue> {
    let missing = |key, example| bad(key, "missing", format!("write the mailbox's, as {example:?}"));
    let locator = written
        .locator
        .ok_or_else(|| missing("mailbox.locator", "mailbox.example.test"))?;
    let domain = written
        .domain
        .ok_or_else(|| missing("mailbox.domain", "example.test"))?;
    if !locator.domain().is_or_is_below(&domain) {
        let why = format!("{locator} is not below mailbox.domain, which is {domain}");
        let way_out = format!("no origin would believe its agent: write a name below {domain}");
        return Err(bad("mailbox.locator", why, way_out));
    }
    if domain.is_public_suffix() {
        let why = format!("strangers register names below {domain}");
        return Err(bad("mailbox.domain", why, "write a domain of your own"));
    }
    Ok(MailboxRole {
        locator,
        domain,
        concurrent: some("mailbox.concurrent", written.concurrent)?,
    })
}

fn broker(written: BrokerSection) -> Result<BrokerRole, BadValue> {
    let domain = written.domain.ok_or_else(|| {
        let way_out = "write the domain behind the @ of its users, as \"example.test\"";
        bad("broker.domain", "missing", way_out)
    })?;
    let deliver = match written.deliver.strip_prefix("lmtp://") {
        Some(place) => {
            let (host, port) = host_and_port("broker.deliver", place)?;
            Deliver::Lmtp { host, port }
        }
        None if written.deliver == "built-in" => Deliver::BuiltIn,
        None => {
            let why = format!("{:?} is no place to deliver to", written.deliver);
            return Err(bad("broker.deliver", why, "write built-in or lmtp://host:port"));
        }
    };
    if written.ordinary > limits::MESSAGE {
        let way_out = format!("write {} at the most", limits::MESSAGE);
        return Err(bad("broker.ordinary", "larger than any message", way_out));
    }
    Ok(BrokerRole {
        domain,
        channel: written.channel,
        deliver,
        quota: Some(written.quota).filter(|quota| *quota > 0),
        ordinary: written.ordinary,
        concurrent: some("broker.concurrent", written.concurrent)?,
    })
}

/// `host:port`, where an IPv6 address stands in brackets.
fn host_and_port(key: &str, text: &str) -> Result<(String, u16), BadValue> {
    let refuse = || {
        bad(
            key,
            format!("{text:?} is not host:port"),
            "write it as mail.example.test:25",
        )
    };
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
    let port = port.parse().map_err(|_| refuse())?;
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    if host.is_empty() || !host.bytes().all(letter) {
        return Err(refuse());
    }
    Ok((host.to_owned(), port))
}

fn user(written: UserSection, folder: &Path) -> Result<UserFace, BadValue> {
    let certificate = match (written.certificate, written.key) {
        (Some(certificate), Some(key)) => Some((folder.join(certificate), folder.join(key))),
        (None, None) => None,
        (Some(_), None) => return Err(bad("user.key", "missing", "write the key of user.certificate")),
        (None, Some(_)) => {
            let way_out = "write the certificate of user.key, or leave out both for one that the node makes";
            return Err(bad("user.certificate", "missing", way_out));
        }
    };
    Ok(UserFace {
        listen: written.listen,
        certificate,
    })
}

fn peers(written: PeersSection, public: &[IpAddr], policy: &AddressPolicy) -> Result<PeersFace, BadValue> {
    let (quic, tcp) = (written.quic.address(), written.tcp.address());
    let mut announce = Vec::new();
    for text in &written.announce {
        announce.push(announced::written(text)?);
    }
    // Whoever is always reached over relays has public addresses for its other faces only.
    if announce.is_empty() && written.relay != Relaying::Always {
        announce = announced::listened(public, quic, tcp);
    }
    if written.quic == Listen::Off && written.tcp == Listen::Off {
        let why = "both QUIC and TCP are off, so nobody could open a stream to this node";
        return Err(bad("peers.quic", why, "write an address for one of them"));
    }
    let policy = AddressPolicy {
        own: public.to_vec(),
        ..policy.clone()
    };
    let communities = communities(&written.communities, &policy)?;
    if communities.is_empty() && written.relay != Relaying::Auto {
        let why = "there are no introducers that could relay";
        return Err(bad("peers.relay", why, "write them as peers.communities"));
    }
    Ok(PeersFace {
        quic,
        tcp,
        announce,
        communities,
        relay: written.relay,
        policy,
    })
}

fn communities(written: &[String], policy: &AddressPolicy) -> Result<Vec<Introducer>, BadValue> {
    const KEY: &str = "peers.communities";
    if written.len() > COMMUNITIES {
        let why = format!("{} introducers are too many", written.len());
        return Err(bad(KEY, why, format!("write {COMMUNITIES} or fewer")));
    }
    let mut introducers = Vec::new();
    for text in written {
        let way_out = "write an address as /ip4/203.0.113.9/tcp/4001/p2p/12D3KooW…, or a name as community.example.test";
        let introducer: Introducer = named(KEY, text, way_out)?;
        introducer.check(policy).map_err(|why| {
            let way_out =
                "write an address that this node may dial; private ones have to stand in network.allow";
            bad(KEY, why, way_out)
        })?;
        introducers.push(introducer);
    }
    Ok(introducers)
}

fn smtp(written: SmtpSection) -> Result<SmtpEdge, BadValue> {
    if written.size == 0 {
        return Err(bad(
            "smtp.size",
            "no message would be taken",
            "write 1 or more octets",
        ));
    }
    let smart_host = written.smart_host.as_deref();
    Ok(SmtpEdge {
        listen: written.listen.address(),
        port: written.port,
        relays: networks("smtp.relays", &written.relays)?,
        smart_host: smart_host
            .map(|text| host_and_port("smtp.smart_host", text))
            .transpose()?,
        size: written.size,
    })
}
