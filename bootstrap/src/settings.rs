//! Flags and the configuration file; a flag wins over the file, the file over the default.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use libp2p::identity::Keypair;
use serde::Deserialize;

use crate::key;

/// The port that is listened at when none is given, for QUIC and TCP alike.
const PORT: u16 = 4001;

/// Lets the nodes of a community find each other's addresses. Holds no mail, knows no user.
#[derive(Debug, Parser)]
#[command(name = "cargomail-bootstrap", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Configuration file (TOML) with the same names as these flags
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Key file; made when it is not there [default: bootstrap.pem]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where QUIC listens (UDP) [default: port 4001 everywhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    quic: Option<SocketAddr>,
    /// Where TCP with TLS listens [default: port 4001 everywhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    tcp: Option<SocketAddr>,
    /// Pass on private and loopback addresses too: for a network in one house or on one machine
    #[arg(long)]
    allow_private: bool,
    /// Write one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "Examples:
  cargomail-bootstrap
  cargomail-bootstrap --key /var/lib/cargomail/bootstrap.pem --quic 0.0.0.0:4001 --tcp 0.0.0.0:4001
  cargomail-bootstrap --quic 127.0.0.1:0 --tcp 127.0.0.1:0 --allow-private --json";

/// The configuration as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Config {
    key: Option<PathBuf>,
    quic: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    allow_private: bool,
}

/// Which addresses are passed on to other peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PassOn {
    /// Those of the public Internet.
    Public,
    /// Private and loopback ones too.
    All,
}

/// The configuration, checked and opened.
pub(crate) struct Settings {
    pub(crate) keys: Keypair,
    pub(crate) quic: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) pass_on: PassOn,
}

impl Settings {
    pub(crate) fn open(arguments: Arguments) -> anyhow::Result<Self> {
        let config = match &arguments.config {
            None => Config::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                toml::from_str(&text).with_context(|| path.display().to_string())?
            }
        };
        let anywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        let path = arguments
            .key
            .or(config.key)
            .unwrap_or_else(|| "bootstrap.pem".into());
        let all = arguments.allow_private || config.allow_private;
        Ok(Self {
            keys: key::open_or_create(&path)?,
            quic: arguments.quic.or(config.quic).unwrap_or(anywhere),
            tcp: arguments.tcp.or(config.tcp).unwrap_or(anywhere),
            pass_on: if all { PassOn::All } else { PassOn::Public },
        })
    }
}
