//! Tokens: read, verified and inspected.
//!
//! The first octet says what is expected (0 to 4: the kinds), and with 0x40 that what follows is a token as it is. Otherwise
//! it is a header, a claims set and the claims set of the nested token with its header, each behind a zero octet; they are
//! signed here, with `"KEY"`, `"DIGEST"` and `"TOKEN"` replaced, so that the fuzzer gets past the signature.
#![no_main]

use cargomail_protocol::address::Domain;
use cargomail_protocol::fault::Faulty;
use cargomail_protocol::grip::{
    Digest, Expectation, NodeKey, Proved, Record, Step, Verification, inspect, token_in,
};
use cargomail_protocol::timestamp::Timestamp;
use data_encoding::BASE64URL_NOPAD;
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_seconds(1_796_389_501);

fn replaced(json: &[u8], name: &str, value: &str) -> Vec<u8> {
    match std::str::from_utf8(json) {
        Ok(text) => text.replacen(name, value, 1).into_bytes(),
        Err(_) => json.to_vec(),
    }
}

fn signed(key: &NodeKey, header: &[u8], claims: &[u8], nested: &str) -> String {
    let jwk = serde_json::to_string(&key.public().jwk()).expect("a key is JSON");
    let claims = replaced(claims, "\"KEY\"", &jwk);
    let claims = replaced(&claims, "\"DIGEST\"", &format!("\"{}\"", Digest::of(b"body")));
    let claims = replaced(&claims, "\"TOKEN\"", &format!("\"{nested}\""));
    let signed = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header),
        BASE64URL_NOPAD.encode(&claims)
    );
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn verify(key: &NodeKey, expectation: Expectation, token: &str) {
    let record = [Record(key.hash()).to_string()];
    let mut verification = Verification::new(expectation, token, NOW);
    for _ in 0..8 {
        match verification.poll() {
            Ok(Step::LookUp(name)) => {
                assert!(name.starts_with('_'));
                verification.records(Ok(&record));
            }
            Ok(Step::Remember { until, .. }) => {
                assert!(until >= NOW);
                verification.fresh(true);
            }
            Ok(Step::Done(chain)) => {
                assert_eq!(chain.token().text(), token);
                assert_eq!(chain.digest(), &Digest::of(b"body"));
                assert_eq!(chain.token().key(), key.public());
                return;
            }
            Err(error) => {
                let _ = (error.to_string(), error.fault());
                return;
            }
        }
    }
    panic!("a verification asks at most three questions");
}

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let key = NodeKey::from_seed(&[7; 32]).expect("a seed");
    let mut pieces = rest.split(|octet| *octet == 0);
    let mut piece = || pieces.next().unwrap_or_default();
    let (header, claims, inner_header, inner_claims) = (piece(), piece(), piece(), piece());
    let nested = signed(&key, inner_header, inner_claims, "");
    let token = if first & 0x40 == 0 {
        signed(&key, header, claims, &nested)
    } else {
        String::from_utf8_lossy(rest).into_owned()
    };
    let _ = (token_in(&token), inspect(&token));
    let domain = |text| Domain::parse(text).expect("a name");
    let audience = [
        "bar.com",
        "foo.com",
        "mailbox.insurance.com",
        "mailbox.hospital.com",
    ]
    .map(domain)
    .to_vec();
    let (peer, digest) = (Proved::Peer { key: key.hash() }, Digest::of(b"body"));
    let expectation = match first & 7 {
        0 => Expectation::channel(audience, peer, digest),
        1 => Expectation::notify(audience, peer, digest),
        2 => Expectation::fetch(audience, peer, digest),
        3 => Expectation::receipt(audience, peer, digest),
        _ => Expectation::channel_receipt(domain("foo.com"), &domain("bar.com"), &nested, digest),
    };
    verify(&key, expectation, &token);
});
