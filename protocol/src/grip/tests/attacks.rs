//! Rows T01 to T16 of the list of attacks. The small ones are vectors; those that are too large for a file are made here.

use data_encoding::BASE64URL_NOPAD;

use super::super::{GripError, Syntax, Why};
use super::*;
use crate::limits;

/// A notification token of the broker of bar.com with this payload, signed by it.
fn signed(payload: &str) -> String {
    let header = r#"{"typ":"grip-notify+jwt","alg":"EdDSA"}"#;
    let text = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header.as_bytes()),
        BASE64URL_NOPAD.encode(payload.as_bytes())
    );
    let signature = BASE64URL_NOPAD.encode(&key("bar").sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn refused(kind: &str, token: &str) -> GripError {
    Situation::named(kind).verify(token).0.unwrap_err()
}

#[test]
fn t01_a_token_without_a_signature_or_in_another_form_is_refused() {
    row("t01");
}

#[test]
fn t02_only_the_algorithm_of_the_keys_type_is_taken() {
    row("t02");
}

#[test]
fn t03_an_embedded_key_counts_only_when_the_dns_binds_it_and_nothing_is_fetched() {
    row("t03");
}

#[test]
fn t04_hostile_numbers_in_signatures_and_keys_are_refused() {
    row("t04");
}

#[test]
fn t05_a_token_over_another_keys_connection_is_refused() {
    row("t05");
}

#[test]
fn t07_a_replayed_token_is_refused() {
    row("t07");
}

#[test]
fn t08_a_token_for_another_service_is_refused() {
    row("t08");
}

#[test]
fn t09_a_broker_speaks_for_its_own_domain_only() {
    row("t09");
}

#[test]
fn t10_a_spliced_chain_is_refused() {
    row("t10");
}

#[test]
fn t11_a_confused_deputy_is_refused() {
    row("t11");
}

#[test]
fn t12_bombs_are_refused_by_their_size_and_duplicates_by_their_grammar() {
    row("t12");
    // By size alone, whatever stands in them.
    for kind in ["channel", "notify", "fetch", "receipt", "channel-receipt"] {
        let bombs = ["a".repeat(1 << 20), ".".repeat(1 << 20), "[".repeat(1 << 20)];
        for bomb in bombs {
            assert_eq!(refused(kind, &bomb), Why::TooLarge.outermost(), "{kind}");
        }
    }
    // Without a nested token the bound is half of that.
    assert_eq!(
        refused("notify", &"a".repeat(limits::TOKEN + 1)),
        Why::TooLarge.outermost()
    );
    assert_eq!(
        refused("notify", &"a".repeat(limits::TOKEN)),
        Why::Malformed(Syntax::Segments).outermost()
    );
    assert_eq!(
        refused("fetch", &"a".repeat(limits::TOKEN_CHAIN)),
        Why::Malformed(Syntax::Segments).outermost()
    );
}

#[test]
fn t12_deep_or_wide_claims_end_the_reading_before_a_signature_is_looked_at() {
    let deep = "[".repeat(5000);
    let wide: String = (0..500).map(|n| format!(r#""c{n}":1,"#)).collect();
    for payload in [
        format!(r#"{{"iss":{deep}"#),
        format!(r#"{{"unknown":{deep}"#),
        format!(r#"{{"tokens":{deep}"#),
        format!(r#"{{"jwk":{{"x":{deep}"#),
        format!(r#"{{{wide}"iss":"_cb.bar.com"}}"#),
    ] {
        let error = refused("notify", &signed(&payload));
        assert!(matches!(error.why, Why::Malformed(Syntax::Claims(_))), "{error}");
    }
}

#[test]
fn t12_a_nested_token_above_its_own_bound_is_refused_before_it_is_decoded() {
    let mut fetch = claims("fetch");
    fetch.statement = Statement::Fetch {
        notify: "a".repeat(limits::TOKEN + 1),
        expires: NOW.plus(limits::SHORT_TOKEN_LIFE),
    };
    fetch.issued = NOW;
    assert_eq!(
        issue(&key("insurance"), &fetch),
        Err(super::super::IssueError::TooLarge),
        "nobody honest writes it"
    );
    let vector = vectors()
        .issued
        .iter()
        .find(|issued| issued.kind == "fetch")
        .unwrap();
    let mut payload: serde_json::Value = serde_json::from_str(&vector.payload).unwrap();
    payload["tokens"][0] = "a".repeat(limits::TOKEN + 1).into();
    let segment = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let text = format!("{}.{}", segment(&vector.header), segment(&payload.to_string()));
    let signature = BASE64URL_NOPAD.encode(&key("insurance").sign(text.as_bytes()));
    assert_eq!(
        refused("fetch", &format!("{text}.{signature}")),
        Why::TooLarge.outermost()
    );
}

#[test]
fn t13_a_token_outside_its_time_is_refused() {
    row("t13");
}

#[test]
fn t13_after_a_jump_of_the_clock_nothing_expired_is_taken() {
    let token = &vectors()
        .issued
        .iter()
        .find(|issued| issued.kind == "channel")
        .unwrap()
        .token;
    let mut situation = Situation::named("channel");
    let within = |seconds: u64| (NOW.seconds() - 60..NOW.seconds() + 360).contains(&seconds);
    for now in [
        0,
        1,
        NOW.seconds() - 61,
        NOW.seconds() - 60,
        NOW.seconds(),
        NOW.seconds() + 359,
    ]
    .into_iter()
    .chain([
        NOW.seconds() + 360,
        NOW.seconds() + 86_400,
        u64::MAX / 1000,
        u64::MAX,
    ]) {
        situation.now = now;
        assert_eq!(situation.verify(token).0.is_ok(), within(now), "{now}");
    }
}

#[test]
fn t14_a_key_whose_record_is_gone_is_refused() {
    row("t14");
}

#[test]
fn t15_hashes_and_digests_differ_when_any_bit_does() {
    let hash = *key("bar").hash().as_bytes();
    let digest = Digest::of(b"body");
    for bit in 0..256 {
        let mut changed = hash;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(KeyHash::from_bytes(changed), key("bar").hash());
        let mut changed = *digest.sha256();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(Digest::from_sha256(changed), digest);
    }
}

#[test]
fn t16_what_is_not_strict_base64url_or_utf_8_is_refused() {
    row("t16");
}
