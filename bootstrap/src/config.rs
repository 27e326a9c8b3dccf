//! The configuration as it is written: every key, what it means, and its default; and the example file, which is printed from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use cargomail_protocol::limits;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// The port that is listened at when none is given, for QUIC and TCP alike.
const PORT: u16 = 4001;

type Lines = &'static [&'static str];

/// A section with the documentation of its fields at hand.
trait Documented {
    /// What the section is for.
    const ABOUT: Lines;
    /// Each key and what it means.
    const KEYS: &'static [(&'static str, Lines)];
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
        #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
        pub(crate) struct $name {
            $( $(#[doc = $doc])+ pub(crate) $field: $kind, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl Documented for $name {
            const ABOUT: Lines = &[$($about),+];
            const KEYS: &'static [(&'static str, Lines)] = &[$( (stringify!($field), &[$($doc),+]), )+];
        }
    };
}

section! {
    /// The configuration of a Cargomail introducer. What begins with `#` shows the default, or an example where there is none.
    /// A flag of the same name wins over this file.
    Config {
        /// The Ed25519 key, PKCS#8 in PEM, mode 0600. It is made when it is not there, and never overwritten. A path is from the
        /// folder of this file; that of the flag `--key` from the current one.
        key: PathBuf = "bootstrap.pem".into(),
        /// Where QUIC listens (UDP). Leave out the second one on a machine without IPv6.
        quic: Vec<SocketAddr> = anywhere(),
        /// Where TCP with TLS listens.
        tcp: Vec<SocketAddr> = anywhere(),
        /// Dial, pass on and announce private and loopback addresses too: for a network in one house or on one machine.
        allow_private: bool = false,
        /// Addresses at which the whole network reaches this machine: IP addresses, which stand for every port that is listened at
        /// in their family, or whole ones as `/ip4/9.9.9.9/udp/4001/quic-v1`. Without one nothing is relayed.
        external: Vec<String> = Vec::new(),
        /// The peers that may connect, by their names. Everybody may when this is not there, and nobody when it is empty.
        /// SIGHUP has it read again.
        allow: Option<Vec<String>> = None,
        /// Where `/metrics` and `/health` are served by HTTP, to anybody who can connect there. By default nowhere.
        metrics: Option<SocketAddr> = None,
        /// How many connections there may be.
        connections: ConnectionsSection = ConnectionsSection::default(),
        /// Whom the table keeps.
        table: TableSection = TableSection::default(),
        /// Circuit relay v2: peers that nobody can dial are reached through this machine.
        relay: RelaySection = RelaySection::default(),
        /// AutoNAT v2: peers learn whether others can dial them.
        autonat: AutonatSection = AutonatSection::default(),
    }
}

section! {
    /// How many connections there may be. A network is an IPv4 /24 or an IPv6 /48.
    ConnectionsSection {
        /// In all, those included that are being set up.
        total: usize = 5000,
        /// Of one peer.
        per_peer: usize = limits::CONNECTIONS_PER_PEER,
        /// Of one network.
        per_network: usize = 250,
        /// Connections that are being set up, in each direction.
        pending: usize = 256,
        /// The same of one network.
        pending_per_network: usize = 32,
        /// A connection on which nothing is asked, and which holds no reservation, is closed after so many seconds.
        idle_seconds: u32 = 30,
    }
}

section! {
    /// Whom the table keeps.
    TableSection {
        /// A peer that does not connect again is taken out after so many seconds.
        forget_seconds: u32 = 86_400,
    }
}

section! {
    /// Circuit relay v2: peers that nobody can dial are reached through this machine. It needs `external`.
    RelaySection {
        /// Peers that hold a reservation. Nothing is relayed when it is 0.
        reservations: usize = 1024,
        /// Connections of one peer that hold one: a second for a peer whose first one is lost without anybody having noticed.
        reservations_per_peer: usize = 2,
        /// Peers of one network that hold one.
        reservations_per_network: usize = 64,
        /// A reservation lasts so many seconds, and may be renewed.
        reservation_seconds: u32 = 3600,
        /// Circuits in all.
        circuits: usize = 256,
        /// Circuits at whose beginning or end a peer stands that wants to begin one more.
        circuits_per_peer: usize = 8,
        /// Circuits that begin in one network.
        circuits_per_network: usize = 32,
        /// A circuit ends after so many seconds.
        circuit_seconds: u32 = 120,
        /// A circuit ends after so many octets, in both directions together: some leaves of a resource, so that what is broken
        /// off is taken up further on.
        circuit_bytes: u64 = 4 * limits::LEAF as u64,
        /// Reservations and circuits that are asked for in a minute, granted or not.
        requests_per_minute: u32 = 1200,
        /// The same from one network.
        requests_per_minute_per_network: u32 = 120,
    }
}

section! {
    /// AutoNAT v2: peers learn whether others can dial them. Only addresses of networks from which the peer is connected
    /// are dialled.
    AutonatSection {
        /// Dials in a minute. The service is not offered when it is 0.
        dials_per_minute: u32 = 240,
        /// Dials in a minute to one network.
        dials_per_minute_per_network: u32 = 12,
    }
}

fn anywhere() -> Vec<SocketAddr> {
    let all: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    all.map(|ip| SocketAddr::from((ip, PORT))).into()
}

/// Every key that there is, with its documentation and its default or an example.
pub(crate) fn example() -> String {
    let defaults = Table::try_from(Config::default()).expect("every field has a form in TOML");
    let samples: Table = "external = [\"9.9.9.9\"]\nmetrics = \"127.0.0.1:9464\"\n\
        allow = [\"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN\"]\n"
        .parse()
        .expect("a test reads it");
    let mut out = String::new();
    comment(&mut out, Config::ABOUT);
    for (key, about) in Config::KEYS {
        if !defaults.get(*key).is_some_and(Value::is_table) {
            out.push('\n');
            comment(&mut out, about);
            line(&mut out, key, &defaults, &samples);
        }
    }
    section::<ConnectionsSection>(&mut out, "connections", &defaults);
    section::<TableSection>(&mut out, "table", &defaults);
    section::<RelaySection>(&mut out, "relay", &defaults);
    section::<AutonatSection>(&mut out, "autonat", &defaults);
    out
}

fn section<Section: Documented>(out: &mut String, name: &str, defaults: &Table) {
    out.push('\n');
    comment(out, Section::ABOUT);
    out.push_str(&format!("# [{name}]\n"));
    let defaults = defaults.get(name).and_then(Value::as_table);
    for (key, about) in Section::KEYS {
        comment(out, about);
        line(out, key, defaults.unwrap_or(&Table::new()), &Table::new());
    }
}

fn comment(out: &mut String, about: Lines) {
    for text in about {
        out.push_str(&format!("#{text}\n"));
    }
}

fn line(out: &mut String, field: &str, defaults: &Table, samples: &Table) {
    let key = field.replace('_', "-");
    let empty = |value: &&Value| value.as_array().is_some_and(Vec::is_empty);
    let value = defaults.get(&key).filter(|value| !empty(value));
    if let Some(value) = value.or(samples.get(&key)) {
        out.push_str(&format!("# {key} = {value}\n"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_the_configuration_with_every_key() {
        let commented: String = example()
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .map(|line| format!("{line}\n"))
            .collect();
        let read: Config = toml::from_str(&commented).unwrap();
        assert!(read.allow.is_some() && read.metrics.is_some() && !read.external.is_empty());
        let as_default = Config {
            allow: None,
            metrics: None,
            external: Vec::new(),
            ..read
        };
        assert_eq!(as_default, Config::default());
        let keys = Config::KEYS.len()
            + ConnectionsSection::KEYS.len()
            + TableSection::KEYS.len()
            + RelaySection::KEYS.len()
            + AutonatSection::KEYS.len();
        assert_eq!(commented.lines().count(), keys);
    }
}
