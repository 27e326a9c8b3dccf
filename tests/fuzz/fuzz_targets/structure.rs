//! The structure field: what is read is written back as the same tree.
#![no_main]

use cargomail_protocol::placeholder::Structure;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(structure) = text.parse::<Structure>() {
        assert_eq!(structure.to_string().parse().as_ref(), Ok(&structure));
    }
});
