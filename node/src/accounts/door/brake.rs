//! Slows down whoever guesses passwords (row H07).
//!
//! Three measures, the smallest that is used up decides: one address from one place, everything from one place, and one address
//! from anywhere. The last is the widest, so that a stranger who guesses from many places locks nobody out for long. A place
//! is an IPv4 address or an IPv6 /64, which one customer has to itself.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use cargomail_protocol::address::Address;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Logins at once, and the time after which one more is allowed.
const ONE_FROM_ONE_PLACE: (u32, Duration) = (10, Duration::from_secs(10));
const ALL_FROM_ONE_PLACE: (u32, Duration) = (60, Duration::from_secs(2));
const ONE_FROM_ANYWHERE: (u32, Duration) = (200, Duration::from_secs(1));
/// Addresses and places that are remembered before those that are rested again are forgotten.
const REMEMBERED: usize = 10_000;

pub(super) struct Brake {
    pair: DefaultKeyedRateLimiter<(IpAddr, String)>,
    place: DefaultKeyedRateLimiter<IpAddr>,
    address: DefaultKeyedRateLimiter<String>,
}

impl Brake {
    pub(super) fn new() -> Self {
        Self {
            pair: RateLimiter::keyed(quota(ONE_FROM_ONE_PLACE)),
            place: RateLimiter::keyed(quota(ALL_FROM_ONE_PLACE)),
            address: RateLimiter::keyed(quota(ONE_FROM_ANYWHERE)),
        }
    }

    /// Lets a login pass, or says how long to wait.
    pub(super) fn pass(&self, from: Option<IpAddr>, address: &Address) -> Result<(), Duration> {
        let place = place(from);
        let address = address.to_string().to_lowercase();
        tidy(&self.pair);
        tidy(&self.place);
        tidy(&self.address);
        check(&self.place, &place)?;
        check(&self.pair, &(place, address.clone()))?;
        check(&self.address, &address)
    }
}

fn place(from: Option<IpAddr>) -> IpAddr {
    match from.map(|from| from.to_canonical()) {
        Some(IpAddr::V6(v6)) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        Some(v4) => v4,
        None => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn quota((burst, pause): (u32, Duration)) -> Quota {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(pause)
        .unwrap_or(Quota::per_minute(burst))
        .allow_burst(burst)
}

fn check<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), Duration> {
    limiter
        .check_key(key)
        .map_err(|until| until.wait_time_from(DefaultClock::default().now()))
}

fn tidy<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>) {
    if limiter.len() > REMEMBERED {
        limiter.retain_recent();
    }
}
