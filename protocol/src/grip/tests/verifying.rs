//! What is accepted, what is asked for on the way, and what a stranger is told.

use std::time::Duration;

use super::super::{Position, Why, authorization, inspect, token_in};
use super::*;
use crate::fault::{Fault, Faulty};
use crate::limits;

#[test]
fn every_vector_comes_to_what_it_says() {
    for case in &vectors().cases {
        let (outcome, _) = Situation::of(case).verify(&case.token);
        assert_eq!(told(&outcome), case.result, "{}", case.name);
    }
}

#[test]
fn every_named_error_has_a_vector() {
    let all = [
        Why::TooDeep,
        Why::WrongType,
        Why::Algorithm,
        Why::BadSignature,
        Why::NotTheChannelKey,
        Why::NotTheIssuer,
        Why::WrongAudience,
        Why::Expired,
        Why::NotYetValid,
        Why::LifetimeTooLong,
        Why::NotBound,
        Why::DnsUnavailable,
        Why::Replayed,
        Why::BrokenChain,
        Why::ForeignSubject,
        Why::DigestMismatch,
    ];
    let names = all.map(Why::name).into_iter().chain(["Malformed"]);
    for name in names {
        let named = vectors()
            .cases
            .iter()
            .any(|case| case.result == format!("token: {name}"));
        assert!(named, "{name}");
    }
}

#[test]
fn alice_sends_bob_is_notified_the_agent_fetches_and_everybody_has_a_receipt() {
    for (kind, subject, nested) in [
        ("channel", "alice@foo.com", None),
        ("notify", "bob@bar.com", None),
        ("fetch", "bob@bar.com", Some("_cb.bar.com")),
        ("receipt", "bob@bar.com", Some("_cb.bar.com")),
        ("channel-receipt", "alice@foo.com", Some("_cb.foo.com")),
    ] {
        let vector = vectors()
            .issued
            .iter()
            .find(|issued| issued.kind == kind)
            .unwrap();
        let (outcome, _) = Situation::named(kind).verify(&vector.token);
        let chain = outcome.unwrap();
        assert_eq!(chain.subject().to_string(), subject, "{kind}");
        assert_eq!(chain.token().text(), vector.token, "{kind}");
        assert_eq!(chain.token().key(), key(&vector.key).public(), "{kind}");
        let inside = chain.nested().map(|token| token.issuer().to_string());
        assert_eq!(inside.as_deref(), nested, "{kind}");
        let spoken_of = if kind.starts_with("channel") {
            &vectors().message
        } else {
            &vectors().notification
        };
        assert_eq!(chain.digest(), &Digest::of(spoken_of.as_bytes()), "{kind}");
    }
}

#[test]
fn the_outer_key_is_looked_up_then_the_jti_then_the_inner_key() {
    let asked = |kind: &str| {
        let vector = vectors()
            .issued
            .iter()
            .find(|issued| issued.kind == kind)
            .unwrap();
        Situation::named(kind).verify(&vector.token).1
    };
    assert_eq!(asked("notify"), ["TXT _cb.bar.com", "jti _cb.bar.com"]);
    assert_eq!(
        asked("fetch"),
        [
            "TXT _rra.insurance.com",
            "jti _rra.insurance.com",
            "TXT _cb.bar.com"
        ]
    );
    assert_eq!(asked("receipt"), ["TXT _rra.insurance.com", "TXT _cb.bar.com"]);
    assert_eq!(asked("channel-receipt"), ["TXT _cb.bar.com", "TXT _cb.foo.com"]);
}

#[test]
fn nothing_is_asked_for_a_token_that_is_refused_without() {
    let cheap = [
        "TooLarge",
        "TooDeep",
        "Malformed",
        "WrongType",
        "Algorithm",
        "BadSignature",
        "NotTheChannelKey",
        "NotTheIssuer",
        "WrongAudience",
        "Expired",
        "NotYetValid",
        "LifetimeTooLong",
    ];
    for case in &vectors().cases {
        let (outcome, asked) = Situation::of(case).verify(&case.token);
        let Err(error) = outcome else { continue };
        match (error.position, error.why) {
            (Position::Outermost, why) if cheap.contains(&why.name()) => {
                assert!(asked.is_empty(), "{}: {asked:?}", case.name);
            }
            (Position::Outermost, Why::NotBound | Why::DnsUnavailable) => {
                assert_eq!(asked.len(), 1, "{}: nothing is remembered", case.name);
            }
            _ => assert!(asked.len() <= 3, "{}", case.name),
        }
    }
}

#[test]
fn a_question_is_repeated_until_it_is_answered_and_other_answers_are_ignored() {
    let token = &vectors()
        .issued
        .iter()
        .find(|issued| issued.kind == "notify")
        .unwrap()
        .token;
    let situation = Situation::named("notify");
    let mut verification = Verification::new(situation.expectation(), token, NOW);
    verification.fresh(true);
    let question = Step::LookUp("_cb.bar.com".to_owned());
    assert_eq!(verification.poll(), Ok(question.clone()));
    verification.fresh(false);
    assert_eq!(verification.poll(), Ok(question));
    verification.records(Ok(&["junk".to_owned(), vectors().keys["bar"].record.clone()]));
    assert_eq!(verification.skipped().len(), 1);
    verification.records(Err(NoRecords::NoSuchName));
    let Ok(Step::Remember { until, id: jti, .. }) = verification.poll() else {
        panic!("the identifier is remembered next");
    };
    assert_eq!(
        (until, jti),
        (NOW.plus(limits::NOTIFY_TOKEN_LIFE + limits::SKEW), id(1))
    );
    verification.fresh(true);
    let first = verification.poll();
    assert!(matches!(first, Ok(Step::Done(_))));
    assert_eq!(verification.poll(), first);
}

#[test]
fn t07_what_is_remembered_is_kept_as_long_as_the_token_could_be_taken() {
    let situation = Situation::named("channel");
    let token = &vectors()
        .issued
        .iter()
        .find(|issued| issued.kind == "channel")
        .unwrap()
        .token;
    let mut verification = Verification::new(situation.expectation(), token, NOW);
    let _ = verification.poll();
    verification.records(Ok(&[vectors().keys["foo"].record.clone()]));
    let Ok(Step::Remember { until, .. }) = verification.poll() else {
        panic!("the identifier is remembered next");
    };
    // At that moment, and not a second before it, the token is refused for its age.
    let mut later = situation.clone();
    later.now = until.seconds();
    assert_eq!(told(&later.verify(token).0), "token: Expired");
    later.now = until.seconds() - 1;
    assert_eq!(told(&later.verify(token).0), "accepted");
}

#[test]
fn a_stranger_learns_one_of_four_things() {
    for case in &vectors().cases {
        let Err(error) = Situation::of(case).verify(&case.token).0 else {
            continue;
        };
        let fault = error.fault();
        let expected = match case.result.split_once(": ").unwrap() {
            (_, "DnsUnavailable") => Fault::TryLater(Duration::from_secs(30)),
            (_, "Expired" | "NotYetValid" | "NotBound") => Fault::NotYetProved,
            ("nested token", _) | (_, "BrokenChain" | "ForeignSubject" | "DigestMismatch") => Fault::Refused,
            _ => Fault::Unauthenticated,
        };
        assert_eq!(fault, expected, "{}", case.name);
    }
}

#[test]
fn the_authorization_field_carries_one_token() {
    assert_eq!(token_in(&authorization("a.b.c")), Some("a.b.c"));
    assert_eq!(token_in("grip a.b.c"), Some("a.b.c"));
    for bad in [
        "",
        "GRIP",
        "GRIP ",
        "GRIP  a.b.c",
        "GRIP a.b.c d",
        "Bearer a.b.c",
        "GRIPa.b.c",
        " GRIP a.b.c",
    ] {
        assert_eq!(token_in(bad), None, "{bad:?}");
    }
}

#[test]
fn a_look_into_a_token_believes_nothing_and_fails_on_nothing() {
    for case in &vectors().cases {
        let Ok(seen) = inspect(&case.token) else {
            assert_eq!(case.result, "token: Malformed", "{}", case.name);
            continue;
        };
        assert!(seen.nested.len() <= 4, "{}", case.name);
        if case.result == "accepted" {
            assert_eq!(
                (seen.flaw, seen.signature),
                (None, super::super::Signature::Fits),
                "{}",
                case.name
            );
            assert_eq!(seen.cid, Digest::of(case.token.as_bytes()).to_string());
        }
    }
    let fetch = &vectors()
        .issued
        .iter()
        .find(|issued| issued.kind == "fetch")
        .unwrap()
        .token;
    let seen = inspect(fetch).unwrap();
    assert_eq!(seen.record.as_ref(), Some(&vectors().keys["insurance"].record));
    assert_eq!(seen.record_at.as_deref(), Some("_rra.insurance.com"));
    assert_eq!(seen.issued.as_deref(), Some("2026-12-04T13:06:01Z"));
    let inside = seen.nested.first().unwrap().as_ref().unwrap();
    assert_eq!(inside.kind, Some("token 1: a notification for an agent"));
    assert!(inspect(&"a".repeat(limits::TOKEN_CHAIN + 1)).is_err());
}
