//! TXT texts from anybody's DNS: a record that is read is written back as the same, and the rest binds nothing.
#![no_main]

use cargomail_protocol::grip::{Bindings, Record};
use cargomail_protocol::limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(record) = Record::parse(text) {
        assert_eq!(Record::parse(&record.to_string()), Ok(record));
    }
    let texts: Vec<&str> = text.split('\n').collect();
    let bindings = Bindings::read(&texts);
    assert!(bindings.hashes.len() <= limits::TXT_RECORDS && bindings.skipped.len() <= limits::TXT_RECORDS);
    assert!(bindings.hashes.iter().all(|hash| bindings.bind(hash)));
});
