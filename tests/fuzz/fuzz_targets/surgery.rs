//! Header surgery: no destination stays, and nothing else changes.
#![no_main]

use cargomail_protocol::address::Locator;
use cargomail_protocol::placeholder::{DESTINATION, Headers, surgery};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let Ok(clean) = surgery::without_destination(message) else {
        return;
    };
    assert!(clean.len() <= message.len());
    assert_eq!(surgery::without_destination(&clean).as_ref(), Ok(&clean));
    if let Ok(headers) = Headers::of_message(&clean) {
        assert!(headers.first(DESTINATION).is_none());
    }
    let locator = Locator::parse("mailbox.insurance.com").expect("a name");
    let routed = surgery::with_destination(message, &locator).expect("as before");
    assert!(routed.ends_with(&clean));
    assert_eq!(surgery::without_destination(&routed).as_ref(), Ok(&clean));
});
