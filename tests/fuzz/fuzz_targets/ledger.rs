//! Entries of a ledger: one that is read is written back as the same octets, and only in its place.
#![no_main]

use cargomail_protocol::ledger::{Checker, Head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut checker = Checker::new();
    let Ok(entry) = checker.push(octets) else {
        return;
    };
    let (written, head) = Head::default().next(entry.time, entry.event);
    assert_eq!(written, octets, "dag-cbor has one form");
    assert_eq!(checker.finish(&head), Ok(()));
    assert!(checker.push(octets).is_err(), "no entry stands in two places");
});
