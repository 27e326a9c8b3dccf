//! Tokens cross between this project and other people's JWT libraries, in both directions, with every kind of token.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use cargomail_protocol::address::{Address, ClientId, Domain};
use cargomail_protocol::channel::Outcome;
use cargomail_protocol::grip::{
    self, Claims, Digest, Expectation, GripError, Jwk, KeyHash, NodeKey, Proved, Statement, Step,
    Verification, VerifiedChain, Why,
};
use cargomail_protocol::timestamp::Timestamp;
use cargomail_tests::peers;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// 2026-12-04T13:05:01Z.
const NOW: Timestamp = Timestamp::from_seconds(1_796_389_501);

/// Somebody else's library, as a script that signs and checks.
type Library = fn() -> anyhow::Result<Command>;

const LIBRARIES: [(&str, Library); 2] = [
    ("jose", || peers::node("tokens.mjs")),
    ("PyJWT", || peers::python("tokens.py")),
];

fn sign(library: Library, key: &Value, typ: &str, claims: &Value) -> String {
    let request = json!({ "sign": { "key": key, "typ": typ, "claims": claims } });
    peers::ask(&mut library().unwrap(), request.to_string().as_bytes()).unwrap()
}

fn check(library: Library, key: &Value, typ: &str, token: &str) -> anyhow::Result<Value> {
    let request = json!({ "check": { "key": key, "typ": typ, "token": token, "now": NOW.seconds() } });
    let claims = peers::ask(&mut library()?, request.to_string().as_bytes())?;
    Ok(serde_json::from_str(&claims)?)
}

/// Somebody who signs: the seed of their key is one octet repeated.
struct Signer {
    id: ClientId,
    key: NodeKey,
    private: Value,
}

fn signer(id: &str, octet: u8) -> Signer {
    let seed = [octet; 32];
    let key = NodeKey::from_seed(&seed).unwrap();
    let mut private = serde_json::to_value(key.public().jwk()).unwrap();
    private["d"] = json!(BASE64URL_NOPAD.encode(&seed));
    Signer {
        id: ClientId::parse(id).unwrap(),
        key,
        private,
    }
}

/// A token of ours, and what whoever receives it expects.
struct Case {
    signer: Signer,
    claims: Claims,
    expectation: Expectation,
}

impl Case {
    fn token(&self) -> String {
        grip::issue(&self.signer.key, &self.claims).unwrap()
    }

    fn typ(&self) -> &'static str {
        self.claims.kind().typ()
    }

    fn public(&self) -> Value {
        serde_json::to_value(self.signer.key.public().jwk()).unwrap()
    }

    fn verify(&self, token: &str) -> Result<Box<VerifiedChain>, GripError> {
        verify(self.expectation.clone(), token, self.signer.key.hash())
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn claims(issuer: &Signer, audience: &str, about: &[u8], statement: Statement) -> Claims {
    Claims {
        issuer: issuer.id.clone(),
        audience: domain(audience),
        issued: NOW,
        id: uuid::Builder::from_unix_timestamp_millis(NOW.millis(), &[7; 10]).into_uuid(),
        digest: Digest::of(about),
        statement,
    }
}

fn foo() -> Signer {
    signer("_cb.foo.test", 1)
}

fn bar() -> Signer {
    signer("_cb.bar.test", 2)
}

fn insurance() -> Signer {
    signer("_rra.insurance.test", 3)
}

const NOTIFICATION: &[u8] = b"a notification";
const MESSAGE: &[u8] = b"a message";

/// One token of each kind.
fn cases() -> [Case; 5] {
    let soon = NOW.plus(Duration::from_secs(240));
    let certificate = |signer: &Signer| Proved::Certificate {
        key: signer.key.hash(),
        name: signer.id.to_string(),
    };
    let channel = claims(
        &foo(),
        "bar.test",
        MESSAGE,
        Statement::Channel {
            sender: address("alice@foo.test"),
            recipients: vec![address("bob@bar.test"), address("carol@bar.test")],
            expires: soon,
        },
    );
    let notify = claims(
        &bar(),
        "mailbox.insurance.test",
        NOTIFICATION,
        Statement::Notify {
            recipient: address("bob@bar.test"),
            expires: soon,
        },
    );
    let token_0 = grip::issue(&foo().key, &channel).unwrap();
    let token_1 = grip::issue(&bar().key, &notify).unwrap();
    let peer = Proved::Peer {
        key: insurance().key.hash(),
    };
    let hospital = vec![domain("mailbox.hospital.test")];
    let outcomes = vec![Outcome::Accepted, Outcome::later(Duration::from_secs(60))];
    let of = |signer: Signer, claims: Claims, expectation: Expectation| Case {
        signer,
        claims,
        expectation,
    };
    [
        of(
            foo(),
            channel,
            Expectation::channel(vec![domain("bar.test")], certificate(&foo()), Digest::of(MESSAGE)),
        ),
        of(
            bar(),
            notify,
            Expectation::notify(
                vec![domain("mailbox.insurance.test")],
                certificate(&bar()),
                Digest::of(NOTIFICATION),
            ),
        ),
        of(
            insurance(),
            claims(
                &insurance(),
                "mailbox.hospital.test",
                NOTIFICATION,
                Statement::Fetch {
                    notify: token_1.clone(),
                    expires: soon,
                },
            ),
            Expectation::fetch(hospital.clone(), peer.clone(), Digest::of(NOTIFICATION)),
        ),
        of(
            insurance(),
            claims(
                &insurance(),
                "mailbox.hospital.test",
                NOTIFICATION,
                Statement::Receipt { notify: token_1 },
            ),
            Expectation::receipt(hospital, peer, Digest::of(NOTIFICATION)),
        ),
        of(
            bar(),
            claims(
                &bar(),
                "foo.test",
                MESSAGE,
                Statement::ChannelReceipt {
                    channel: token_0.clone(),
                    results: outcomes,
                },
            ),
            Expectation::channel_receipt(
                domain("foo.test"),
                &domain("bar.test"),
                &token_0,
                Digest::of(MESSAGE),
            ),
        ),
    ]
}

/// Drives the verification with a DNS in which the outermost token's issuer has this key, and the others their own.
fn verify(
    expectation: Expectation,
    token: &str,
    outermost: KeyHash,
) -> Result<Box<VerifiedChain>, GripError> {
    let mut verification = Verification::new(expectation, token, NOW);
    let mut bound = vec![outermost];
    bound.extend([foo(), bar(), insurance()].map(|signer| signer.key.hash()));
    let texts = bound.iter().map(|key| format!("v=grip1; h=sha256; p={key}"));
    let texts: Vec<String> = texts.collect();
    loop {
        match verification.poll()? {
            Step::LookUp(_) => verification.records(Ok(&texts)),
            Step::Remember { .. } => verification.fresh(true),
            Step::Done(chain) => return Ok(chain),
        }
    }
}

/// The claims of a token, as JSON.
fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

#[test]
fn what_another_library_signs_with_our_key_and_claims_is_verified_here() {
    for (name, library) in LIBRARIES {
        for case in cases() {
            let token = sign(library, &case.signer.private, case.typ(), &payload(&case.token()));
            let chain = case
                .verify(&token)
                .unwrap_or_else(|why| panic!("{name}, {}: {why}", case.typ()));
            assert_eq!(chain.token().claims(), &case.claims, "{name}");
            assert_eq!(chain.token().key(), case.signer.key.public(), "{name}");
        }
    }
}

#[test]
fn what_we_sign_is_verified_by_another_library() {
    for (name, library) in LIBRARIES {
        for case in cases() {
            let token = case.token();
            let claims = check(library, &case.public(), case.typ(), &token)
                .unwrap_or_else(|why| panic!("{name}, {}: {why}", case.typ()));
            assert_eq!(claims, payload(&token), "{name}");
        }
    }
}

#[test]
fn a_token_under_another_key_is_refused_by_everybody() {
    let [_, case, ..] = cases();
    let token = case.token();
    let (head, signature) = token.rsplit_once('.').unwrap();
    let mut octets = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    octets[0] ^= 1;
    let changed = format!("{head}.{}", BASE64URL_NOPAD.encode(&octets));
    assert_eq!(case.verify(&changed).unwrap_err().why, Why::BadSignature);
    let stranger = serde_json::to_value(insurance().key.public().jwk()).unwrap();
    for (name, library) in LIBRARIES {
        assert!(
            check(library, &case.public(), case.typ(), &changed).is_err(),
            "{name}"
        );
        assert!(check(library, &stranger, case.typ(), &token).is_err(), "{name}");
        assert!(
            check(library, &case.public(), "grip-fetch+jwt", &token).is_err(),
            "{name}"
        );
    }
}

#[test]
fn an_es256_token_of_another_library_is_verified_here() {
    // RFC 7515 appendix A.3
    let public = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let mut private = public.clone();
    private["d"] = json!("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
    let jwk: Jwk = serde_json::from_value(public.clone()).unwrap();
    let key = jwk.key().unwrap();
    for (name, library) in LIBRARIES {
        let [_, case, ..] = cases();
        let mut claims = payload(&case.token());
        claims["jwk"] = public.clone();
        let token = sign(library, &private, case.typ(), &claims);
        let expectation = Expectation::notify(
            vec![domain("mailbox.insurance.test")],
            Proved::Certificate {
                key: key.hash(),
                name: case.signer.id.to_string(),
            },
            Digest::of(NOTIFICATION),
        );
        let chain = verify(expectation, &token, key.hash()).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(chain.token().key(), &key, "{name}");
    }
}
