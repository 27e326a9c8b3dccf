//! Notifications and what is answered to them: what is read is written back as the same octets.
#![no_main]

use cargomail_protocol::notification::{JobState, Notification, Taken};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(notification) = Notification::parse(octets) {
        let _ = notification.total_size();
        let written = notification.to_bytes().expect("what was read can be written");
        assert_eq!(written, octets, "a notification has one form");
    }
    if let Ok(state) = JobState::parse(octets) {
        assert_eq!(JobState::parse(&state.to_bytes()), Ok(state));
    }
    let _ = Taken::parse(octets);
});
