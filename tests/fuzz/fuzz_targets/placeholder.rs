//! A placeholder from a stranger: read, shown, reconstructed, written, and read as the same again.
#![no_main]

use cargomail_protocol::placeholder::{Invalid, Placeholder, download_name, is_placeholder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let _ = is_placeholder(message);
    let Ok(Some(placeholder)) = Placeholder::parse(message) else {
        return;
    };
    let _ = (
        placeholder.reconstruct(),
        placeholder.subject(),
        placeholder.date(),
    );
    for field in ["To", "Cc", "Reply-To"] {
        let _ = placeholder.addresses(field);
    }
    for part in placeholder.parts() {
        let description = &part.description;
        let _ = (
            description.media_type(),
            description.charset(),
            description.disposition(),
        );
        let name = download_name(&description.file_name().unwrap_or_default());
        assert!(!name.is_empty() && !name.contains(['/', '\\', '\0']) && !name.starts_with('.'));
    }
    let encoded = match placeholder.encode() {
        Ok(encoded) => encoded,
        Err(Invalid::TooLarge) => return,
        Err(error) => {
            assert_eq!(error, Invalid::NoExpiry);
            return;
        }
    };
    for line in encoded.split(|b| *b == b'\n') {
        assert!(line.len() <= 999);
    }
    let again = Placeholder::parse(&encoded)
        .expect("what is written is good")
        .expect("and a placeholder");
    assert_eq!(again.headers(), placeholder.headers());
    assert_eq!(again.structure(), placeholder.structure());
    assert_eq!(again.parts(), placeholder.parts());
    assert_eq!(again.encode().as_ref(), Ok(&encoded));
});
