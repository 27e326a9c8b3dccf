//! Dates: what is read is written back as the same second.
#![no_main]

use cargomail_protocol::timestamp::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(moment) = Timestamp::parse_rfc3339(text) {
        assert_eq!(Timestamp::parse_rfc3339(&moment.rfc3339()), Ok(moment));
    }
    if let Ok(moment) = Timestamp::parse_rfc5322(text) {
        let _ = moment.rfc5322();
    }
});
