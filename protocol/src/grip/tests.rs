//! Tokens of foo.com's and bar.com's brokers and of the insurance's agent, and strangers who would like to be one of them.
//!
//! `vectors/grip.json` was made by other hands; its cases carry the ids of the attacks that they prove.
#![allow(clippy::unwrap_used)]

mod attacks;
mod issuing;
mod keys;
mod order;
mod properties;
mod records;
mod verifying;

use std::collections::HashMap;
use std::sync::OnceLock;

use data_encoding::HEXLOWER;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Claims, Digest, Expectation, GripError, Jwk, KeyHash, NoRecords, NodeKey, Proved, Record, Stamp,
    Statement, Step, Verification, VerifiedChain, issue,
};
use crate::address::{Address, ClientId, Domain, Locator};
use crate::timestamp::Timestamp;

/// 2026-12-04T13:05:01Z, when the vectors' tokens were issued.
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_796_389_501);

#[derive(Deserialize)]
pub(super) struct Vectors {
    pub(super) keys: HashMap<String, KeyVector>,
    pub(super) message: String,
    pub(super) notification: String,
    pub(super) issued: Vec<Issued>,
    situations: HashMap<String, Situation>,
    pub(super) cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(super) struct KeyVector {
    pub(super) r#type: String,
    pub(super) secret: String,
    pub(super) spki: String,
    pub(super) hash: String,
    pub(super) jwk: Jwk,
    pub(super) record: String,
}

#[derive(Deserialize)]
pub(super) struct Issued {
    pub(super) kind: String,
    pub(super) key: String,
    pub(super) claims: serde_json::Value,
    pub(super) header: String,
    pub(super) payload: String,
    pub(super) token: String,
}

/// TXT texts by name; none where the DNS does not answer.
type Texts = HashMap<String, Option<Vec<String>>>;

#[derive(Deserialize, Clone)]
pub(super) struct Situation {
    kind: String,
    audience: Vec<String>,
    proved: Option<ProvedVector>,
    answers: Option<AnswersVector>,
    digest: String,
    now: u64,
    dns: Texts,
    seen: Vec<(String, String)>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "lowercase")]
enum ProvedVector {
    Certificate { key: String, name: String },
    Peer(String),
}

#[derive(Deserialize, Clone)]
struct AnswersVector {
    from: String,
    token: String,
}

#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    situation: String,
    pub(super) token: String,
    pub(super) result: String,
    audience: Option<Vec<String>>,
    /// What stands in the case, be it null: then the connection proved nothing.
    #[serde(default, deserialize_with = "crate::json::present")]
    proved: Option<Option<ProvedVector>>,
    digest: Option<String>,
    now: Option<u64>,
    dns: Option<Texts>,
    seen: Option<Vec<(String, String)>>,
}

pub(super) fn vectors() -> &'static Vectors {
    static VECTORS: OnceLock<Vectors> = OnceLock::new();
    VECTORS.get_or_init(|| serde_json::from_str(include_str!("../../vectors/grip.json")).unwrap())
}

pub(super) fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// The private key of that name in the vectors.
pub(super) fn key(name: &str) -> NodeKey {
    NodeKey::from_seed(&hex(&vectors().keys[name].secret).try_into().unwrap()).unwrap()
}

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(super) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(super) fn locator(text: &str) -> Locator {
    Locator::parse(text).unwrap()
}

pub(super) fn id(number: u64) -> Uuid {
    Uuid::from_u128(0x019a_e981_73c8_7000_8000_0000_0000_0000 + u128::from(number))
}

pub(super) fn stamp(number: u64) -> Stamp {
    Stamp {
        id: id(number),
        now: NOW,
    }
}

impl Situation {
    pub(super) fn named(name: &str) -> Self {
        vectors().situations[name].clone()
    }

    /// The situation of a case, with what is different in it.
    pub(super) fn of(case: &Case) -> Self {
        let mut situation = Self::named(&case.situation);
        if let Some(audience) = &case.audience {
            situation.audience.clone_from(audience);
        }
        if let Some(proved) = &case.proved {
            situation.proved.clone_from(proved);
        }
        if let Some(digest) = &case.digest {
            situation.digest.clone_from(digest);
        }
        if let Some(seen) = &case.seen {
            situation.seen.clone_from(seen);
        }
        situation.now = case.now.unwrap_or(situation.now);
        situation.dns.extend(case.dns.clone().unwrap_or_default());
        situation
    }

    pub(super) fn expectation(&self) -> Expectation {
        let hash = |text: &str| KeyHash::parse(text).unwrap();
        let proved = match &self.proved {
            Some(ProvedVector::Certificate { key, name }) => Proved::Certificate {
                key: hash(key),
                name: name.clone(),
            },
            Some(ProvedVector::Peer(key)) => Proved::Peer { key: hash(key) },
            None => Proved::Nothing,
        };
        let audience: Vec<Domain> = self.audience.iter().map(|name| domain(name)).collect();
        let digest = Digest::parse(&self.digest).unwrap();
        match self.kind.as_str() {
            "channel" => Expectation::channel(audience, proved, digest),
            "notify" => Expectation::notify(audience, proved, digest),
            "fetch" => Expectation::fetch(audience, proved, digest),
            "receipt" => Expectation::receipt(audience, proved, digest),
            _ => {
                let asked = self.answers.as_ref().unwrap();
                let own = audience.first().unwrap().clone();
                Expectation::channel_receipt(own, &domain(&asked.from), &asked.token, digest)
            }
        }
    }

    /// Verifies a token in this situation; what was asked on the way stands in the second place.
    pub(super) fn verify(&self, token: &str) -> (Result<VerifiedChain, GripError>, Vec<String>) {
        let mut verification =
            Verification::new(self.expectation(), token, Timestamp::from_seconds(self.now));
        let mut asked = Vec::new();
        loop {
            match verification.poll() {
                Err(error) => return (Err(error), asked),
                Ok(Step::Done(chain)) => return (Ok(*chain), asked),
                Ok(Step::LookUp(name)) => {
                    verification.records(match self.dns.get(&name) {
                        Some(Some(texts)) => Ok(texts),
                        Some(None) => Err(NoRecords::Unavailable),
                        None => Err(NoRecords::NoSuchName),
                    });
                    asked.push(format!("TXT {name}"));
                }
                Ok(Step::Remember { issuer, id, .. }) => {
                    let seen = (issuer.to_string(), id.to_string());
                    verification.fresh(!self.seen.contains(&seen));
                    asked.push(format!("jti {issuer}"));
                }
            }
        }
    }
}

/// What a case comes to, in the words of the vectors.
pub(super) fn told(outcome: &Result<VerifiedChain, GripError>) -> String {
    match outcome {
        Ok(_) => "accepted".to_owned(),
        Err(error) => format!("{}: {}", error.position, error.why.name()),
    }
}

/// Runs all vectors whose names say that they prove this row.
pub(super) fn row(id: &str) {
    let cases: Vec<_> = vectors()
        .cases
        .iter()
        .filter(|case| case.name.split(' ').any(|word| word == id))
        .collect();
    assert!(!cases.is_empty(), "no vector proves {id}");
    for case in cases {
        let (outcome, _) = Situation::of(case).verify(&case.token);
        assert_eq!(told(&outcome), case.result, "{}", case.name);
    }
}

/// The claims of a token of this kind with which tests begin.
pub(super) fn claims(kind: &str) -> Claims {
    let vector = vectors()
        .issued
        .iter()
        .find(|issued| issued.kind == kind)
        .unwrap();
    let (outcome, _) = Situation::named(kind).verify(&vector.token);
    outcome.unwrap().token().claims().clone()
}
