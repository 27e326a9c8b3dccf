//! Which addresses this node connects to when a stranger names them (rows D04 and D05).
//!
//! What always holds: an address is judged after every notation of it has been reduced to the one that the network
//! would use, so `::ffff:127.0.0.1` and `64:ff9b::7f00:1` are judged as `127.0.0.1`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use cargomail_protocol::fault::{Fault, Faulty};

/// What an address is when a stranger has no business naming it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `0.0.0.0/8`, `::`: this host (RFC 1122 §3.2.1.3).
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// RFC 1918 networks.
    Private,
    /// `fc00::/7` (RFC 4193) and the older `fec0::/10`.
    UniqueLocal,
    /// `169.254.0.0/16`, `fe80::/10`: also where clouds keep their metadata service.
    LinkLocal,
    /// `100.64.0.0/10`, behind a carrier's NAT (RFC 6598).
    CarrierNat,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// A cloud's metadata or host service at an address that looks public.
    CloudMetadata,
    /// Tunnels whose far end cannot be judged: Teredo, local NAT64, IPv4-compatible.
    Tunnel,
    /// Documentation, benchmarking and other registries' special purposes (RFC 6890).
    Reserved,
    /// One of this node's own addresses.
    Own,
}

/// The policy does not allow a connection to this address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is not an address to connect to: {kind:?}")]
pub struct Forbidden {
    /// The address, as it was found.
    pub address: IpAddr,
    /// Why.
    pub kind: Kind,
}

impl Faulty for Forbidden {
    fn fault(&self) -> Fault {
        Fault::Refused
    }
}

/// A network in CIDR notation, `127.0.0.0/8`; a plain address is the network of that one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

/// The text is not a network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network of the form 192.0.2.0/24 or 2001:db8::/32")]
pub struct BadNetwork(pub String);

impl Faulty for BadNetwork {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

impl Cidr {
    /// Whether the address lies in this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                u32::from(base).checked_shr(shift) == u32::from(address).checked_shr(shift)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                u128::from(base).checked_shr(shift) == u128::from(address).checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let refuse = || BadNetwork(text.chars().take(64).collect());
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| refuse())?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), |p| p.parse().map_err(|_| refuse()))?;
        if prefix > longest {
            return Err(refuse());
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Which addresses this node connects to. The default allows the public Internet and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Networks that are allowed whatever they are: `127.0.0.0/8` for a demonstration on one machine.
    pub allow: Vec<Cidr>,
    /// This node's own addresses, which no stranger may send it to.
    pub own: Vec<IpAddr>,
}

impl AddressPolicy {
    /// The public Internet only.
    #[must_use]
    pub fn public() -> Self {
        Self::default()
    }

    /// The public Internet and these networks.
    ///
    /// # Errors
    /// [`BadNetwork`] for the first text that is not a network.
    pub fn allowing<S: AsRef<str>>(networks: &[S]) -> Result<Self, BadNetwork> {
        let allow = networks
            .iter()
            .map(|n| n.as_ref().parse())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            allow,
            own: Vec::new(),
        })
    }

    /// The public Internet and this machine: for the demonstration and tests.
    #[must_use]
    pub fn allowing_loopback() -> Self {
        let allow = vec![
            Cidr {
                base: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
                prefix: 8,
            },
            Cidr {
                base: IpAddr::V6(Ipv6Addr::LOCALHOST),
                prefix: 128,
            },
        ];
        Self {
            allow,
            own: Vec::new(),
        }
    }

    /// The address to connect to, in the network's own notation.
    ///
    /// # Errors
    /// [`Forbidden`] when the address is neither public nor allowed.
    pub fn check(&self, address: IpAddr) -> Result<IpAddr, Forbidden> {
        let reduced = reduce(address);
        if self.allow.iter().any(|network| network.contains(reduced)) {
            return Ok(reduced);
        }
        let own = self.own.iter().any(|own| reduce(*own) == reduced);
        match if own { Some(Kind::Own) } else { special(reduced) } {
            Some(kind) => Err(Forbidden { address, kind }),
            None => Ok(reduced),
        }
    }
}

/// The IPv4 address behind an IPv6 notation of it (mapped, NAT64, 6to4), or the address itself.
fn reduce(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let octets = v6.octets();
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let tail = || IpAddr::V4(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => tail(),
        [0, 0, 0, 0, 0, 0] if g != 0 || h > 1 => tail(),
        [0x2002, ..] => IpAddr::V4(Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5])),
        _ => address,
    }
}

/// What is special about an address; none for a public one.
fn special(address: IpAddr) -> Option<Kind> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Kind> {
    Some(match address.octets() {
        [0, ..] => Kind::Unspecified,
        [127, ..] => Kind::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Kind::Private,
        [169, 254, ..] => Kind::LinkLocal,
        [100, 64..=127, ..] => Kind::CarrierNat,
        [224..=239, ..] => Kind::Multicast,
        [168, 63, 129, 16] => Kind::CloudMetadata,
        [192, 0, 0, _] | [192, 0, 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] => Kind::Reserved,
        [198, 51, 100, _] | [203, 0, 113, _] | [240..=255, ..] => Kind::Reserved,
        _ => return None,
    })
}

fn special_v6(address: Ipv6Addr) -> Option<Kind> {
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
        [0xff00..=0xffff, ..] => Kind::Multicast,
        [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Kind::UniqueLocal,
        [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Kind::Tunnel,
        [0x2001, 1..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x5f00, ..] => {
            Kind::Reserved
        }
        // Only 2000::/3 has been given out for the public Internet.
        [0x2000..=0x3fff, ..] => return None,
        _ => Kind::Reserved,
    })
}
