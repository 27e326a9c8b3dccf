//! How many connections each caller has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Open connections by where they come from: an IPv4 address, or an IPv6 /48, as much as one customer is usually given.
#[derive(Clone, Default)]
pub(crate) struct Callers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's entry; dropped with it.
pub(crate) struct Caller(Callers, IpAddr);

impl Caller {
    /// Who it is: an IPv4 address, or the first one of an IPv6 /48.
    pub(crate) fn address(&self) -> IpAddr {
        self.1
    }
}

impl Callers {
    /// An entry, unless this caller has so many already.
    pub(crate) fn enter(&self, from: IpAddr, most: usize) -> Option<Caller> {
        let from = match from.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 80 << 80).into()),
            v4 => v4,
        };
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = callers.entry(from).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Caller(self.clone(), from))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let mut callers = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = callers.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                callers.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn h01_the_addresses_that_one_customer_is_given_are_one_caller() {
        let callers = Callers::default();
        let enter = |from: &str| callers.enter(from.parse().unwrap(), 1);
        let first = enter("2a00:1450:1:1::1");
        assert!(first.is_some());
        assert!(enter("2a00:1450:1:2::2").is_none());
        assert!(enter("2a00:1450:2:1::1").is_some());
        assert!(enter("9.9.9.1").is_some());
        drop(first);
        assert!(enter("2a00:1450:1:2::2").is_some());
    }
}
