//! Public keys from certificates and tokens: one form for one key, and hostile points are refused quietly.
#![no_main]

use cargomail_protocol::grip::{Jwk, KeyHash, NodeKey, PublicKey};
use libfuzzer_sys::fuzz_target;

fn used(key: &PublicKey) {
    assert_eq!(PublicKey::from_spki(&key.spki()).as_ref(), Ok(key));
    assert_eq!(key.jwk().key().as_ref(), Ok(key));
    assert_eq!(KeyHash::of_spki(&key.spki()), key.hash());
    assert!(!key.verify(b"message", &[0; 64]));
}

fuzz_target!(|octets: &[u8]| {
    if let Ok(key) = PublicKey::from_spki(octets) {
        assert_eq!(key.spki(), octets);
        used(&key);
    }
    if let Ok(key) = PublicKey::p256(octets) {
        used(&key);
    }
    if let Some(first) = octets.first_chunk::<32>()
        && let Ok(key) = PublicKey::ed25519(*first)
    {
        used(&key);
    }
    if let Ok(jwk) = serde_json::from_slice::<Jwk>(octets)
        && let Ok(key) = jwk.key()
    {
        used(&key);
    }
    let _ = NodeKey::from_pkcs8(octets);
});
