//! What is issued is verified as the same claims; whatever octet of a token is changed, it is refused.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{Bindings, inspect};
use super::*;
use crate::channel::Outcome;
use crate::limits;

fn any_domain() -> impl Strategy<Value = Domain> {
    "[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?(\\.[a-z]{2,6}){1,2}".prop_map(|text| domain(&text))
}

fn any_local() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9+_äßč-]{1,10}(\\.[a-z]{1,5})?"
}

fn any_claims() -> impl Strategy<Value = Claims> {
    let names = (
        any_domain(),
        any_domain(),
        proptest::collection::btree_set(any_local(), 1..5),
        any_local(),
    );
    (
        names,
        0_u64..300_000_000_000,
        any::<u64>(),
        any::<[u8; 32]>(),
        0_usize..2,
        1_u64..=300,
    )
        .prop_map(
            |((service, audience, recipients, sender), iat, number, hash, kind, life)| {
                let issued = Timestamp::from_seconds(iat % 250_000_000_000);
                let expires = Timestamp::from_seconds(issued.seconds() + life);
                let at = |local: &str, domain: &Domain| address(&format!("{local}@{domain}"));
                let statement = if kind == 0 {
                    Statement::Channel {
                        sender: at(&sender, &service),
                        recipients: recipients.iter().map(|local| at(local, &audience)).collect(),
                        expires,
                    }
                } else {
                    Statement::Notify {
                        recipient: at(&sender, &service),
                        expires,
                    }
                };
                Claims {
                    issuer: ClientId::broker(&service),
                    audience,
                    issued,
                    id: id(number >> 2),
                    digest: Digest::from_sha256(hash),
                    statement,
                }
            },
        )
}

/// Verifies a token of a broker where everything is as its claims say.
fn verified(claims: &Claims, token: &str) -> Result<VerifiedChain, GripError> {
    let proved = Proved::Certificate {
        key: key("foo").hash(),
        name: claims.issuer.to_string(),
    };
    let audience = vec![claims.audience.clone()];
    let expectation = match claims.kind() {
        super::super::Kind::Channel => Expectation::channel(audience, proved, claims.digest),
        _ => Expectation::notify(audience, proved, claims.digest),
    };
    let mut verification = Verification::new(expectation, token, claims.issued);
    loop {
        match verification.poll()? {
            Step::Done(chain) => return Ok(*chain),
            Step::LookUp(_) => verification.records(Ok(&[Record(key("foo").hash()).to_string()])),
            Step::Remember { .. } => verification.fresh(true),
        }
    }
}

proptest! {
    #[test]
    fn what_is_issued_is_verified_as_the_same(claims in any_claims()) {
        let token = issue(&key("foo"), &claims).unwrap();
        let chain = verified(&claims, &token).unwrap();
        prop_assert_eq!(chain.token().claims(), &claims);
        prop_assert_eq!(issue(&key("foo"), chain.token().claims()).unwrap(), token);
    }

    #[test]
    fn a_token_with_any_changed_character_is_refused(claims in any_claims(), at in any::<Index>(), to in "[A-Za-z0-9_.=+/ é-]") {
        let token = issue(&key("foo"), &claims).unwrap();
        let at = at.index(token.len());
        let changed: String = token.char_indices().map(|(i, c)| if i == at { to.clone() } else { c.to_string() }).collect();
        prop_assume!(changed != token);
        prop_assert!(verified(&claims, &changed).is_err());
    }

    #[test]
    fn a_token_that_is_cut_off_or_longer_is_refused(claims in any_claims(), at in any::<Index>(), more in "[A-Za-z0-9_.-]{1,4}") {
        let token = issue(&key("foo"), &claims).unwrap();
        prop_assert!(verified(&claims, &token[..at.index(token.len())]).is_err());
        let longer = format!("{token}{more}");
        prop_assert!(verified(&claims, &longer).is_err());
    }

    #[test]
    fn no_flipped_bit_of_a_chain_goes_unseen(kind in 0_usize..5, at in any::<Index>(), bit in 0_u8..7) {
        let vector = vectors().issued.get(kind).unwrap();
        let mut octets = vector.token.clone().into_bytes();
        let at = at.index(octets.len());
        octets[at] ^= 1 << bit;
        let changed = String::from_utf8(octets).unwrap();
        prop_assert!(Situation::named(&vector.kind).verify(&changed).0.is_err());
    }

    #[test]
    fn texts_by_chance_neither_pass_nor_panic(text in "\\PC{0,200}|[A-Za-z0-9_-]{1,90}\\.[A-Za-z0-9_-]{1,90}\\.[A-Za-z0-9_-]{86}", kind in 0_usize..5) {
        let kind = &vectors().issued.get(kind).unwrap().kind;
        prop_assert!(Situation::named(kind).verify(&text).0.is_err());
        drop(inspect(&text));
        prop_assert!(Bindings::read(&[text]).hashes.len() <= 1);
    }

    #[test]
    fn a_record_of_any_hash_is_read_back_and_no_changed_digit_is_the_same(hash in any::<[u8; 32]>(), at in 21_usize..85, digit in "[0-9a-f]") {
        let record = Record(KeyHash::from_bytes(hash));
        let text = record.to_string();
        prop_assert_eq!(Record::parse(&text), Ok(record));
        let mut changed = text.clone();
        changed.replace_range(at..=at, &digit);
        prop_assert_eq!(Record::parse(&changed) == Ok(record), changed == text);
    }

    #[test]
    fn results_are_written_and_read_back(subject in 0_u16..1000, detail in 0_u16..1000, wait in 1_u32..=Outcome::LONGEST_WAIT) {
        for outcome in [Outcome::Accepted, Outcome::parse(&format!("refused 5.{subject}.{detail}")).unwrap(), Outcome::Later(wait)] {
            let text = outcome.to_string();
            prop_assert!(text.len() <= 17);
            prop_assert_eq!(Outcome::parse(&text), Some(outcome));
        }
    }
}

#[test]
fn the_longest_tokens_are_read() {
    let mut claims = claims("channel");
    claims.issued = NOW;
    let local = |n: usize| format!("{n:060}");
    claims.statement = Statement::Channel {
        sender: address("alice@foo.com"),
        recipients: (0..70)
            .map(|n| address(&format!("{}@bar.com", local(n))))
            .collect(),
        expires: NOW.plus(limits::SHORT_TOKEN_LIFE),
    };
    let token = issue(&key("foo"), &claims).unwrap();
    assert!(token.len() <= limits::TOKEN);
    assert_eq!(verified(&claims, &token).unwrap().token().claims(), &claims);
}
