//! The order of the checks: a token that fails one of them and every later one is refused for that one.
//!
//! A ladder: each rung takes one flaw away from a token that has them all, from the last check's flaw to the first's
//! in the order of writing, so that what is named climbs from the first check to the last.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::*;

/// A token in the making, and what the verifier knows.
struct Attempt {
    typ: &'static str,
    alg: &'static str,
    payload: Value,
    signed_by: NodeKey,
    spoiled: bool,
    situation: Situation,
}

impl Attempt {
    fn told(&self) -> String {
        let header = json!({ "typ": self.typ, "alg": self.alg });
        let segment = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let text = format!("{}.{}", segment(&header), segment(&self.payload));
        let mut signature = self.signed_by.sign(text.as_bytes());
        signature[0] ^= u8::from(self.spoiled);
        let token = format!("{text}.{}", BASE64URL_NOPAD.encode(&signature));
        told(&self.situation.verify(&token).0)
    }
}

/// A fetch token with everything wrong about it that can be wrong, outermost and inside.
fn everything_wrong() -> Attempt {
    let stranger = key("stranger");
    let payload = json!({
        "iss": "_rra.evil.com", "aud": "mailbox.other.com", "jwk": stranger.public().jwk(),
        "iat": NOW.seconds() + 86_400, "exp": NOW.seconds() + 86_400 + 86_400, "jti": id(2).to_string(),
        "digest": Digest::of(b"another").to_string(), "tokens": [inner(&stranger, "carol@other.com", b"another")],
        "kid": "1",
    });
    let mut situation = Situation::named("fetch");
    situation.proved = Some(ProvedVector::Certificate {
        key: key("foo").hash().to_string(),
        name: "_rra.insurance.com".to_owned(),
    });
    situation.dns = HashMap::from([
        ("_rra.evil.com".to_owned(), None),
        ("_cb.bar.com".to_owned(), None),
    ]);
    situation.seen = vec![("_rra.evil.com".to_owned(), id(2).to_string())];
    Attempt {
        typ: "grip-notify+jwt",
        alg: "ES256",
        payload,
        signed_by: stranger,
        spoiled: true,
        situation,
    }
}

/// A notification token, as an attacker would sign it.
fn inner(signer: &NodeKey, subject: &str, spoken_of: &[u8]) -> String {
    signed_inner(
        signer,
        json!({
            "iss": "_cb.bar.com", "aud": "mailbox.other.com", "sub": subject, "jwk": signer.public().jwk(),
            "iat": NOW.seconds(), "exp": NOW.seconds() + 600, "jti": id(1).to_string(),
            "digest": Digest::of(spoken_of).to_string(),
        }),
    )
}

fn signed_inner(signer: &NodeKey, payload: Value) -> String {
    let header = json!({ "typ": "grip-notify+jwt", "alg": "EdDSA" });
    let segment = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let text = format!("{}.{}", segment(&header), segment(&payload));
    let signature = BASE64URL_NOPAD.encode(&signer.sign(text.as_bytes()));
    format!("{text}.{signature}")
}

#[test]
fn the_first_check_that_fails_decides() {
    let mut it = everything_wrong();
    assert_eq!(it.told(), "token: Malformed", "1: an unknown claim");
    it.payload.as_object_mut().unwrap().remove("kid");
    assert_eq!(it.told(), "token: WrongType", "1");
    it.typ = "grip-fetch+jwt";
    assert_eq!(it.told(), "token: Algorithm", "2");
    it.alg = "EdDSA";
    assert_eq!(it.told(), "token: BadSignature", "2");
    it.spoiled = false;
    assert_eq!(it.told(), "token: NotTheChannelKey", "3");
    let name = "_rra.insurance.com".to_owned();
    let key_hash = key("stranger").hash().to_string();
    it.situation.proved = Some(ProvedVector::Certificate {
        key: key_hash.clone(),
        name,
    });
    assert_eq!(it.told(), "token: NotTheIssuer", "3");
    it.situation.proved = Some(ProvedVector::Peer(key_hash));
    assert_eq!(it.told(), "token: WrongAudience", "4");
    it.payload["aud"] = "mailbox.hospital.com".into();
    assert_eq!(it.told(), "token: NotYetValid", "5");
    it.situation.now = NOW.seconds() + 86_400 * 3;
    assert_eq!(it.told(), "token: Expired", "5");
    it.situation.now = NOW.seconds();
    it.payload["iat"] = NOW.seconds().into();
    assert_eq!(it.told(), "token: LifetimeTooLong", "5");
    it.payload["exp"] = (NOW.seconds() + 300).into();
    assert_eq!(it.told(), "token: DnsUnavailable", "6");
    it.situation
        .dns
        .insert("_rra.evil.com".to_owned(), Some(Vec::new()));
    assert_eq!(it.told(), "token: NotBound", "6");
    let bound = Some(vec![vectors().keys["stranger"].record.clone()]);
    it.situation.dns.insert("_rra.evil.com".to_owned(), bound.clone());
    assert_eq!(it.told(), "token: Replayed", "7");
    it.situation.seen.clear();
    assert_eq!(
        it.told(),
        "nested token: DnsUnavailable",
        "8: 6 of the token inside"
    );
    it.situation.dns.insert("_cb.bar.com".to_owned(), bound);
    assert_eq!(it.told(), "token: BrokenChain", "8");
    it.payload["iss"] = "_rra.other.com".into();
    it.situation.dns.insert(
        "_rra.other.com".to_owned(),
        it.situation.dns["_rra.evil.com"].clone(),
    );
    assert_eq!(it.told(), "nested token: ForeignSubject", "9");
    let inside = inner(&key("stranger"), "bob@bar.com", b"another");
    it.payload["tokens"][0] = inside.into();
    assert_eq!(it.told(), "token: DigestMismatch", "10");
    let digest = Digest::of(vectors().notification.as_bytes()).to_string();
    it.payload["digest"] = digest.into();
    assert_eq!(it.told(), "nested token: DigestMismatch", "10");
    let inside = inner(&key("stranger"), "bob@bar.com", vectors().notification.as_bytes());
    it.payload["tokens"][0] = inside.into();
    assert_eq!(it.told(), "accepted");
}

#[test]
fn the_checks_of_the_token_inside_come_in_the_same_order() {
    let mut it = everything_wrong();
    it.typ = "grip-fetch+jwt";
    it.alg = "EdDSA";
    it.spoiled = false;
    it.payload.as_object_mut().unwrap().remove("kid");
    it.payload["aud"] = "mailbox.hospital.com".into();
    it.payload["iss"] = "_rra.other.com".into();
    it.payload["iat"] = NOW.seconds().into();
    it.payload["exp"] = (NOW.seconds() + 300).into();
    it.situation.now = NOW.seconds();
    it.situation.proved = Some(ProvedVector::Peer(key("stranger").hash().to_string()));
    let record = vectors().keys["stranger"].record.clone();
    it.situation
        .dns
        .insert("_rra.other.com".to_owned(), Some(vec![record]));
    let mut inside = json!({
        "iss": "_cb.bar.com", "aud": "mailbox.third.com", "sub": "carol@other.com", "jwk": key("foo").public().jwk(),
        "iat": NOW.seconds() + 86_400, "exp": NOW.seconds() + 86_400 * 30, "jti": id(1).to_string(),
        "digest": Digest::of(b"another").to_string(), "kid": "1",
    });
    let mut told = |inside: &Value, change: &dyn Fn(&mut Situation)| {
        change(&mut it.situation);
        it.payload["tokens"][0] = signed_inner(&key("stranger"), inside.clone()).into();
        it.told()
    };
    let same = |_: &mut Situation| {};
    assert_eq!(told(&inside, &same), "nested token: Malformed", "1");
    inside.as_object_mut().unwrap().remove("kid");
    assert_eq!(told(&inside, &same), "nested token: BadSignature", "2");
    inside["jwk"] = serde_json::to_value(key("stranger").public().jwk()).unwrap();
    assert_eq!(told(&inside, &same), "nested token: NotYetValid", "5");
    inside["iat"] = NOW.seconds().into();
    assert_eq!(told(&inside, &same), "nested token: LifetimeTooLong", "5");
    inside["exp"] = (NOW.seconds() + 600).into();
    assert_eq!(told(&inside, &same), "nested token: DnsUnavailable", "6");
    let bound = |situation: &mut Situation| {
        let record = vectors().keys["stranger"].record.clone();
        situation.dns.insert("_cb.bar.com".to_owned(), Some(vec![record]));
    };
    assert_eq!(told(&inside, &bound), "token: BrokenChain", "8");
}
