//! `cargomail grip verify`: the protocol's own verification, driven with real DNS answers, and each check told.

use cargomail_protocol::address::Domain;
use cargomail_protocol::grip::{
    Digest, Expectation, GripError, Jwk, KeyHash, NoRecords, Position, Proved, Step, Verification, Why,
    inspect,
};
use serde::Serialize;
use serde_json::Value;

use super::super::exit::CheckFailed;
use super::super::out::Out;
use crate::clock::{Clock, SystemClock};
use crate::dns::{Dns, DnsError};

/// The checks of the specification, in their order.
const CHECKS: [&str; 10] = [
    "form: size, depth, grammar, type",
    "signature: the algorithm fits the key inside, and the key signed this",
    "connection: its key is the key inside (not seen here: taken as given)",
    "audience",
    "time: issued and expiring within the bounds",
    "binding: the DNS says that the key may speak for the issuer",
    "used once (not seen here: only the receiving node remembers)",
    "chain: the token inside is sound and was given to this issuer",
    "subject: of the domain whose broker speaks",
    "digest: of the octets that came with it",
];

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Passed,
    Failed,
    NotReached,
}

#[derive(Debug, Serialize)]
struct Told {
    check: usize,
    what: &'static str,
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
struct Report {
    verified: bool,
    /// The named error, if one check failed.
    error: Option<String>,
    /// What helps to mend it.
    hint: Option<&'static str>,
    checks: Vec<Told>,
    /// Names that were looked up, and whether DNSSEC validated the answers.
    looked_up: Vec<(String, bool)>,
}

/// What the token says of itself where nothing else is known.
struct Claimed {
    typ: String,
    audience: Option<Domain>,
    issuer: Option<String>,
    key: Option<KeyHash>,
    digest: Option<Digest>,
    nested: Option<String>,
    is_channel_receipt: bool,
}

impl Claimed {
    fn read(token: &str) -> anyhow::Result<Self> {
        let seen = inspect(token)?;
        let claim = |name: &str| seen.claims.get(name).and_then(Value::as_str);
        let jwk = seen.claims.get("jwk").cloned();
        let jwk: Option<Jwk> = jwk.and_then(|jwk| serde_json::from_value(jwk).ok());
        let nested = seen
            .claims
            .get("tokens")
            .and_then(|tokens| tokens.get(0)?.as_str());
        let typ = seen.header.get("typ").and_then(Value::as_str);
        Ok(Self {
            typ: typ.unwrap_or_default().to_owned(),
            audience: claim("aud").and_then(|name| Domain::parse(name).ok()),
            issuer: claim("iss").map(str::to_owned),
            key: jwk.and_then(|jwk| jwk.key().ok()).map(|key| key.hash()),
            digest: claim("digest").and_then(Digest::parse),
            nested: nested.map(str::to_owned),
            is_channel_receipt: seen.claims.get("results").is_some(),
        })
    }

    fn expectation(self, audience: Option<Domain>, digest: Option<Digest>) -> Expectation {
        let audience: Vec<Domain> = audience.or(self.audience).into_iter().collect();
        let digest = digest.or(self.digest).unwrap_or(Digest::of(b""));
        let key = self.key.unwrap_or(KeyHash::from_bytes([0; 32]));
        let proved = Proved::Peer { key };
        let from = self.issuer.as_deref().and_then(|issuer| issuer.split_once('.'));
        let from = from.and_then(|(_, domain)| Domain::parse(domain).ok());
        match (self.typ.as_str(), from, audience.first()) {
            ("grip-receipt+jwt", Some(from), Some(to)) if self.is_channel_receipt => {
                let sent = self.nested.unwrap_or_default();
                Expectation::channel_receipt(to.clone(), &from, &sent, digest)
            }
            ("grip-channel+jwt", ..) => Expectation::channel(audience, proved, digest),
            ("grip-fetch+jwt", ..) => Expectation::fetch(audience, proved, digest),
            ("grip-receipt+jwt", ..) => Expectation::receipt(audience, proved, digest),
            _ => Expectation::notify(audience, proved, digest),
        }
    }
}

pub(super) async fn run(
    out: Out,
    dns: &dyn Dns,
    token: &str,
    audience: Option<Domain>,
    digest: Option<Digest>,
) -> anyhow::Result<()> {
    let expectation = Claimed::read(token)?.expectation(audience, digest);
    let mut looked_up = Vec::new();
    let outcome = drive(dns, expectation, token, &mut looked_up).await;
    let failed = outcome.as_ref().err();
    let report = Report {
        verified: failed.is_none(),
        error: failed.map(ToString::to_string),
        hint: failed.and_then(|error| hint(error.why)),
        checks: told(failed),
        looked_up,
    };
    out.one(&report, people)?;
    match report.error {
        None => Ok(()),
        Some(error) => Err(CheckFailed(format!("the token is not to be believed: {error}")).into()),
    }
}

async fn drive(
    dns: &dyn Dns,
    expectation: Expectation,
    token: &str,
    looked_up: &mut Vec<(String, bool)>,
) -> Result<(), GripError> {
    let mut verification = Verification::new(expectation, token, SystemClock.now());
    loop {
        match verification.poll()? {
            Step::Done(_) => return Ok(()),
            Step::Remember { .. } => verification.fresh(true),
            Step::LookUp(name) => match dns.txt(&name).await {
                Ok(answer) => {
                    looked_up.push((name, answer.authenticated));
                    verification.records(Ok(&answer.records));
                }
                Err(error) => {
                    looked_up.push((name, false));
                    verification.records(Err(match error {
                        DnsError::Unavailable { .. } => NoRecords::Unavailable,
                        _ => NoRecords::NoSuchName,
                    }));
                }
            },
        }
    }
}

/// The number of the check that an error names; what is wrong with the token inside is check 8.
fn number(error: &GripError) -> usize {
    if error.position == Position::Nested
        && error.why != Why::ForeignSubject
        && error.why != Why::DigestMismatch
    {
        return 8;
    }
    match error.why {
        Why::TooLarge | Why::TooDeep | Why::Malformed(_) | Why::WrongType => 1,
        Why::Algorithm | Why::BadSignature => 2,
        Why::NotTheChannelKey | Why::NotTheIssuer => 3,
        Why::WrongAudience => 4,
        Why::Expired | Why::NotYetValid | Why::LifetimeTooLong => 5,
        Why::NotBound | Why::DnsUnavailable => 6,
        Why::Replayed => 7,
        Why::BrokenChain => 8,
        Why::ForeignSubject => 9,
        Why::DigestMismatch => 10,
    }
}

fn told(failed: Option<&GripError>) -> Vec<Told> {
    let failed = failed.map(number);
    let told = |(index, what): (usize, &&'static str)| {
        let check = index + 1;
        let outcome = match failed {
            Some(failed) if check == failed => Outcome::Failed,
            Some(failed) if check > failed => Outcome::NotReached,
            _ => Outcome::Passed,
        };
        Told { check, what, outcome }
    };
    CHECKS.iter().enumerate().map(told).collect()
}

fn hint(why: Why) -> Option<&'static str> {
    Some(match why {
        Why::NotBound => {
            "publish the record that `cargomail grip inspect` shows at the issuer's name, or wait one TTL"
        }
        Why::DnsUnavailable => "the DNS did not answer: try again, or name a server with --dns",
        Why::Expired => "make a new one; if it was made just now, compare the clocks of both machines",
        Why::NotYetValid => "the issuer's clock is ahead of this machine's",
        Why::WrongAudience => "it is for another service than --audience",
        Why::DigestMismatch => "the octets of --digest-of are not those that it was made for",
        Why::ForeignSubject => "a broker speaks for people of its own domain only",
        Why::BrokenChain => "the token inside was given to another service",
        _ => return None,
    })
}

fn people(report: &Report) -> String {
    let mut text = String::new();
    for told in &report.checks {
        let mark = match told.outcome {
            Outcome::Passed => "ok  ",
            Outcome::Failed => "FAIL",
            Outcome::NotReached => "-   ",
        };
        text.push_str(&format!("{mark} {:>2}  {}\n", told.check, told.what));
    }
    for (name, validated) in &report.looked_up {
        let dnssec = if *validated {
            "validated by DNSSEC"
        } else {
            "not validated by DNSSEC"
        };
        text.push_str(&format!("looked up {name} TXT, {dnssec}\n"));
    }
    if let Some(hint) = report.hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}
