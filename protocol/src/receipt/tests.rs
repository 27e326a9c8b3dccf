//! What an origin notes of a receipt, and that nothing else is one.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;
use crate::grip::{Expectation, KeyHash, Proved, Record, Step, Verification};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/grip.json")).unwrap()
}

fn issued(vectors: &Value, kind: &str) -> String {
    let all = vectors["issued"].as_array().unwrap();
    let of_kind = all.iter().find(|vector| vector["kind"] == kind).unwrap();
    of_kind["token"].as_str().unwrap().to_owned()
}

fn hash(vectors: &Value, key: &str) -> KeyHash {
    KeyHash::parse(vectors["keys"][key]["hash"].as_str().unwrap()).unwrap()
}

/// Verifies a token of the vectors where every issuer's record stands.
fn verified(vectors: &Value, expectation: Expectation, token: &str) -> VerifiedChain {
    let now = Timestamp::from_seconds(1_796_389_501 + 125);
    let mut verification = Verification::new(expectation, token, now);
    loop {
        match verification.poll().unwrap() {
            Step::Done(chain) => return *chain,
            Step::Remember { .. } => verification.fresh(true),
            Step::LookUp(_) => {
                let records = ["foo", "bar", "insurance"].map(|key| Record(hash(vectors, key)).to_string());
                verification.records(Ok(&records));
            }
        }
    }
}

fn spoken_of(vectors: &Value, what: &str) -> Digest {
    Digest::of(vectors[what].as_str().unwrap().as_bytes())
}

#[test]
fn a_receipt_for_resources_names_the_agent_the_recipient_and_the_notification() {
    let vectors = vectors();
    let token = issued(&vectors, "receipt");
    let peer = Proved::Peer {
        key: hash(&vectors, "insurance"),
    };
    let origin = vec![Domain::parse("mailbox.hospital.com").unwrap()];
    let digest = spoken_of(&vectors, "notification");
    let chain = verified(&vectors, Expectation::receipt(origin, peer, digest), &token);
    let receipt = Receipt::of(&chain).unwrap();
    assert_eq!(receipt.issuer.to_string(), "_rra.insurance.com");
    assert_eq!(receipt.subject.to_string(), "bob@bar.com");
    assert_eq!(receipt.issued.rfc3339(), "2026-12-04T13:07:01Z");
    assert_eq!(receipt.digest, digest.to_string());
    assert_eq!(receipt.token, token, "the evidence is kept as it came");
    let written = serde_json::to_string(&receipt).unwrap();
    assert_eq!(serde_json::from_str::<Receipt>(&written).unwrap(), receipt);
}

#[test]
fn a_receipt_that_is_signed_again_says_the_same_by_the_key_of_now() {
    let vectors = vectors();
    let token = issued(&vectors, "receipt");
    let key = |name: &str| {
        let secret = vectors["keys"][name]["secret"].as_str().unwrap();
        let seed = data_encoding::HEXLOWER.decode(secret.as_bytes()).unwrap();
        NodeKey::from_seed(&seed.try_into().unwrap()).unwrap()
    };
    assert_eq!(signed_by(&key("insurance"), &token).as_ref(), Ok(&token));
    let again = signed_by(&key("foo"), &token).unwrap();
    assert_ne!(again, token);
    let origin = vec![Domain::parse("mailbox.hospital.com").unwrap()];
    let digest = spoken_of(&vectors, "notification");
    let attested = |name: &str, token: &str| {
        let peer = Proved::Peer {
            key: hash(&vectors, name),
        };
        let expectation = Expectation::receipt(origin.clone(), peer, digest);
        Receipt::of(&verified(&vectors, expectation, token)).unwrap()
    };
    let before = attested("insurance", &token);
    assert_eq!(
        attested("foo", &again),
        Receipt {
            token: again,
            ..before
        }
    );
    for other in [issued(&vectors, "fetch"), String::new()] {
        let refused = signed_by(&key("foo"), &other);
        assert_eq!(refused, Err(IssueError::Unreadable));
    }
}

#[test]
fn a_receipt_for_a_message_names_its_sender_and_has_a_result_for_each_recipient() {
    let vectors = vectors();
    let sent = issued(&vectors, "channel");
    let token = issued(&vectors, "channel-receipt");
    let (foo, bar) = (
        Domain::parse("foo.com").unwrap(),
        Domain::parse("bar.com").unwrap(),
    );
    let digest = spoken_of(&vectors, "message");
    let chain = verified(
        &vectors,
        Expectation::channel_receipt(foo, &bar, &sent, digest),
        &token,
    );
    let receipt = Receipt::of(&chain).unwrap();
    assert_eq!(receipt.issuer.to_string(), "_cb.bar.com");
    assert_eq!(receipt.subject.to_string(), "alice@foo.com");
    let results: Vec<String> = crate::channel::results(&chain)
        .into_iter()
        .map(|(person, outcome)| format!("{person}: {outcome}"))
        .collect();
    assert_eq!(results, ["bob@bar.com: accepted", "carol@bar.com: refused 5.1.1"]);
}

#[test]
fn no_other_token_is_a_receipt() {
    let vectors = vectors();
    let cases = [
        ("channel", "foo", "bar.com", "message", "_cb.foo.com"),
        (
            "notify",
            "bar",
            "mailbox.insurance.com",
            "notification",
            "_cb.bar.com",
        ),
        (
            "fetch",
            "insurance",
            "mailbox.hospital.com",
            "notification",
            "_rra.insurance.com",
        ),
    ];
    for (kind, key, audience, what, name) in cases {
        let proved = Proved::Certificate {
            key: hash(&vectors, key),
            name: name.to_owned(),
        };
        let audience = vec![Domain::parse(audience).unwrap()];
        let digest = spoken_of(&vectors, what);
        let expectation = match kind {
            "channel" => Expectation::channel(audience, proved, digest),
            "notify" => Expectation::notify(audience, proved, digest),
            _ => Expectation::fetch(audience, proved, digest),
        };
        let chain = verified(&vectors, expectation, &issued(&vectors, kind));
        assert_eq!(Receipt::of(&chain), None, "{kind}");
        assert!(crate::channel::results(&chain).is_empty(), "{kind}");
    }
}

#[test]
fn t10_a_broker_answers_only_the_recipients_it_was_asked_about() {
    let vectors = vectors();
    let seed: [u8; 32] = data_encoding::HEXLOWER
        .decode(vectors["keys"]["bar"]["secret"].as_str().unwrap().as_bytes())
        .unwrap()
        .try_into()
        .unwrap();
    let key = NodeKey::from_seed(&seed).unwrap();
    let proved = Proved::Certificate {
        key: hash(&vectors, "foo"),
        name: "_cb.foo.com".to_owned(),
    };
    let bar = vec![Domain::parse("bar.com").unwrap()];
    let expectation = Expectation::channel(bar, proved, spoken_of(&vectors, "message"));
    let chain = verified(&vectors, expectation, &issued(&vectors, "channel"));
    let stamp = Stamp {
        id: Uuid::from_u128(0x019a_e981_73c8_7000_8000_0000_0000_0009),
        now: Timestamp::from_seconds(1_796_389_501),
    };
    for count in [0, 1, 3] {
        let results = vec![crate::channel::Outcome::Accepted; count];
        assert_eq!(
            crate::channel::receipt(&key, &chain, results, stamp),
            Err(IssueError::Claims(grip::Syntax::Results)),
            "{count} results for two recipients"
        );
    }
}
