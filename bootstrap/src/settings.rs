//! Flags and the configuration file; a flag wins over the file, the file over the default. Then every value is checked.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};

use crate::config::{AutonatSection, Config, ConnectionsSection, RelaySection};
use crate::key;
use crate::network::{Reach, is_direct};

/// Connections that anybody could want to hold: file descriptors end far below.
const MOST: usize = 1_000_000;
/// Peers of the list of those who may connect, and the file that it stands in, octets.
const PEERS: usize = 65_536;
const CONFIG_FILE: u64 = 8 * 1024 * 1024;

/// Lets the nodes of a community find and reach each other. Holds no mail, knows no user.
#[derive(Debug, Parser)]
#[command(name = "cargomail-bootstrap", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Configuration file (TOML), which has more keys than there are flags
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Key file; made when it is not there [default: bootstrap.pem, beside the configuration file if there is one]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where QUIC listens (UDP); may be repeated [default: port 4001 everywhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    quic: Vec<SocketAddr>,
    /// Where TCP with TLS listens; may be repeated [default: port 4001 everywhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    tcp: Vec<SocketAddr>,
    /// Where others reach this machine; without it nothing is relayed; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    external: Vec<String>,
    /// Where /metrics and /health are served by HTTP [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Dial and pass on private and loopback addresses too: for a network in one house or on one machine
    #[arg(long)]
    allow_private: bool,
    /// Write one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    pub(crate) check: bool,
    /// Print a configuration file with every key that there is, and end
    #[arg(long)]
    pub(crate) example_config: bool,
}

const EXAMPLES: &str = "Examples:
  cargomail-bootstrap
  cargomail-bootstrap --external 9.9.9.9 --metrics 127.0.0.1:9464
  cargomail-bootstrap --example-config > bootstrap.toml
  cargomail-bootstrap --config bootstrap.toml --check
  cargomail-bootstrap --quic 127.0.0.1:0 --tcp 127.0.0.1:0 --external 127.0.0.1 --allow-private --json";

/// Where others reach this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum External {
    /// Every port that is listened at in this address's family.
    Ip(IpAddr),
    /// Just this.
    Whole(Multiaddr),
}

/// Who may connect.
pub(crate) type Allowed = HashSet<PeerId>;

/// The configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) file: Option<PathBuf>,
    pub(crate) key: PathBuf,
    pub(crate) quic: Vec<SocketAddr>,
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) reach: Reach,
    pub(crate) external: Vec<External>,
    /// Everybody, when there is no list.
    pub(crate) allow: Option<Allowed>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) connections: ConnectionsSection,
    pub(crate) forget: Duration,
    pub(crate) relay: RelaySection,
    pub(crate) autonat: AutonatSection,
}

impl Settings {
    /// Reads and checks; opens and makes nothing.
    ///
    /// # Errors
    /// Names the file, if there is one, the key, and what it should be.
    pub(crate) fn read(arguments: Arguments) -> anyhow::Result<Self> {
        let file = arguments.config.clone();
        let config = match &file {
            None => Config::default(),
            Some(path) => written(path)?,
        };
        let checked = Self::check(merged(config, arguments), file.clone());
        match &file {
            None => checked,
            Some(path) => checked.with_context(|| path.display().to_string()),
        }
    }

    fn check(config: Config, file: Option<PathBuf>) -> anyhow::Result<Self> {
        let reach = if config.allow_private {
            Reach::All
        } else {
            Reach::Public
        };
        check_numbers(&config)?;
        for (key, addresses) in [("quic", &config.quic), ("tcp", &config.tcp)] {
            ensure!(
                !addresses.is_empty(),
                "{key}: no address; name one, or leave the key out"
            );
        }
        let external = config.external.iter().map(|text| external(text, reach));
        Ok(Self {
            file,
            key: config.key,
            quic: config.quic,
            tcp: config.tcp,
            reach,
            external: external.collect::<anyhow::Result<_>>()?,
            allow: config.allow.as_deref().map(allowed).transpose()?,
            metrics: config.metrics,
            connections: config.connections,
            forget: Duration::from_secs(config.table.forget_seconds.into()),
            relay: config.relay,
            autonat: config.autonat,
        })
    }

    /// The key, which is made if need be.
    ///
    /// # Errors
    /// The file is no private Ed25519 key, others may read it, or it cannot be made.
    pub(crate) fn keys(&self) -> anyhow::Result<Keypair> {
        key::open_or_create(&self.key)
    }

    /// Whether the key can be read, or made where it should be.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn check_key(&self) -> anyhow::Result<()> {
        key::check(&self.key)
    }

    /// The list of those who may connect, as it stands in the file now.
    ///
    /// # Errors
    /// The file cannot be read, or its list cannot be used.
    pub(crate) fn allow_now(&self) -> anyhow::Result<Option<Allowed>> {
        let Some(path) = &self.file else {
            bail!("there is no configuration file to read again");
        };
        let list = written(path)?.allow;
        list.as_deref()
            .map(allowed)
            .transpose()
            .with_context(|| path.display().to_string())
    }
}

fn written(path: &Path) -> anyhow::Result<Config> {
    let read = || -> anyhow::Result<Config> {
        let size = std::fs::metadata(path)?.len();
        ensure!(size <= CONFIG_FILE, "longer than {CONFIG_FILE} octets");
        Ok(toml::from_str(&std::fs::read_to_string(path)?)?)
    };
    read().with_context(|| path.display().to_string())
}

fn merged(config: Config, flags: Arguments) -> Config {
    fn either<T>(flag: Vec<T>, file: Vec<T>) -> Vec<T> {
        if flag.is_empty() { file } else { flag }
    }
    // What a flag says is from where the program was started, what the file says from where the file lies.
    let beside = flags
        .config
        .as_deref()
        .and_then(Path::parent)
        .unwrap_or(Path::new(""));
    Config {
        key: flags.key.unwrap_or_else(|| beside.join(config.key)),
        quic: either(flags.quic, config.quic),
        tcp: either(flags.tcp, config.tcp),
        external: either(flags.external, config.external),
        metrics: flags.metrics.or(config.metrics),
        allow_private: flags.allow_private || config.allow_private,
        ..config
    }
}

/// What must not be 0, because nothing would work, or because libp2p would take it for no bound at all.
fn check_numbers(config: &Config) -> anyhow::Result<()> {
    let (connections, relay) = (&config.connections, &config.relay);
    for (key, value) in [
        ("connections.total", connections.total),
        ("connections.per-peer", connections.per_peer),
        ("connections.per-network", connections.per_network),
        ("connections.pending", connections.pending),
        ("connections.pending-per-network", connections.pending_per_network),
        ("relay.reservations-per-peer", relay.reservations_per_peer),
        ("relay.reservations-per-network", relay.reservations_per_network),
        ("relay.circuits", relay.circuits),
        ("relay.circuits-per-peer", relay.circuits_per_peer),
        ("relay.circuits-per-network", relay.circuits_per_network),
    ] {
        ensure!(
            (1..=MOST).contains(&value),
            "{key}: {value} is not between 1 and {MOST}"
        );
    }
    ensure!(
        relay.reservations <= MOST,
        "relay.reservations: {} is more than {MOST}",
        relay.reservations
    );
    for (key, value) in [
        ("connections.idle-seconds", connections.idle_seconds),
        ("table.forget-seconds", config.table.forget_seconds),
        ("relay.reservation-seconds", relay.reservation_seconds),
        ("relay.circuit-seconds", relay.circuit_seconds),
        ("relay.requests-per-minute", relay.requests_per_minute),
        (
            "relay.requests-per-minute-per-network",
            relay.requests_per_minute_per_network,
        ),
    ] {
        ensure!(value > 0, "{key}: 0 is not possible; write 1 or more");
    }
    ensure!(
        relay.circuit_bytes > 0,
        "relay.circuit-bytes: 0 is not possible; write 1 or more"
    );
    Ok(())
}

fn external(text: &str, reach: Reach) -> anyhow::Result<External> {
    let found = if let Ok(ip) = text.parse::<IpAddr>() {
        ensure!(
            !ip.is_unspecified() && reach.covers_ip(ip),
            "external: {text} is no public address; name one, or set allow-private"
        );
        External::Ip(ip)
    } else {
        let address = text.parse::<Multiaddr>().ok().filter(is_direct);
        let Some(address) = address else {
            bail!("external: {text} is no address; write one as 9.9.9.9 or as /ip4/9.9.9.9/udp/4001/quic-v1");
        };
        ensure!(
            reach.covers(&address),
            "external: {text} is no public address; name one, or set allow-private"
        );
        External::Whole(address)
    };
    Ok(found)
}

fn allowed(list: &[String]) -> anyhow::Result<Allowed> {
    ensure!(list.len() <= PEERS, "allow: more than {PEERS} peers");
    list.iter()
        .map(|name| {
            name.parse()
                .ok()
                .with_context(|| format!("allow: {name} is no name of a peer; it looks like 12D3KooW…"))
        })
        .collect()
}
