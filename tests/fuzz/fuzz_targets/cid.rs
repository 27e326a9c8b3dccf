//! CIDs: one form for one name.
#![no_main]

use cargomail_protocol::dag::cid;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(name) = cid::from_bytes(octets) {
        assert_eq!(name.to_bytes(), octets);
        assert_eq!(cid::from_text(&name.to_string()), Ok(name));
        assert!(cid::check(&name).is_ok());
    }
    if let Ok(text) = std::str::from_utf8(octets)
        && let Ok(name) = cid::from_text(text)
    {
        assert_eq!(name.to_string(), text);
    }
});
