//! Slows down whoever guesses passwords (row H07).
//!
//! Three measures, the smallest that is used up decides: one address from one place, everything from one place, and one address
//! from anywhere. The last is the widest, so that a stranger who guesses from many places locks nobody out for long. A place
//! is an IPv4 address or an IPv6 /48, which one customer has to itself.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cargomail_protocol::address::Address;

use crate::rate::Rate;

/// Logins at once, and the time after which one more is allowed.
const ONE_FROM_ONE_PLACE: (u32, Duration) = (10, Duration::from_secs(10));
const ALL_FROM_ONE_PLACE: (u32, Duration) = (60, Duration::from_secs(2));
const ONE_FROM_ANYWHERE: (u32, Duration) = (200, Duration::from_secs(1));
/// Addresses and places that are remembered before those that are rested again are forgotten.
const REMEMBERED: usize = 10_000;

pub(super) struct Brake {
    pair: Rate<(IpAddr, String)>,
    place: Rate<IpAddr>,
    address: Rate<String>,
}

impl Brake {
    pub(super) fn new() -> Self {
        let [pair, place, address] = [ONE_FROM_ONE_PLACE, ALL_FROM_ONE_PLACE, ONE_FROM_ANYWHERE];
        Self {
            pair: Rate::new(pair.0, pair.1),
            place: Rate::new(place.0, place.1),
            address: Rate::new(address.0, address.1),
        }
    }

    /// Lets a login pass, or says how long to wait.
    pub(super) fn pass(&self, from: Option<IpAddr>, address: &Address) -> Result<(), Duration> {
        let place = place(from);
        let address = address.to_string().to_lowercase();
        self.pair.tidy(REMEMBERED);
        self.place.tidy(REMEMBERED);
        self.address.tidy(REMEMBERED);
        self.place.pass(&place)?;
        self.pair.pass(&(place, address.clone()))?;
        self.address.pass(&address)
    }
}

fn place(from: Option<IpAddr>) -> IpAddr {
    match from.map(|from| from.to_canonical()) {
        Some(IpAddr::V6(v6)) => IpAddr::V6((u128::from(v6) >> 80 << 80).into()),
        Some(v4) => v4,
        None => Ipv4Addr::UNSPECIFIED.into(),
    }
}
