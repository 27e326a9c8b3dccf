//! The web channel: batches, answers and outcomes; what is read is written back as the same.
#![no_main]

use cargomail_protocol::channel::{Answer, Batch, Outcome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(batch) = Batch::parse(octets) {
        assert_eq!(batch.to_bytes(), octets, "dag-cbor has one form");
    }
    if let Ok(answer) = Answer::parse(octets) {
        assert_eq!(Answer::parse(&answer.to_bytes()), Ok(answer));
    }
    for count in 0..4 {
        if let Ok(answers) = Answer::parse_list(octets, count) {
            assert_eq!(
                Answer::parse_list(&Answer::list_to_bytes(&answers), count),
                Ok(answers)
            );
        }
    }
    if let Ok(text) = std::str::from_utf8(octets)
        && let Some(outcome) = Outcome::parse(text)
    {
        assert_eq!(outcome.to_string(), text);
    }
});
