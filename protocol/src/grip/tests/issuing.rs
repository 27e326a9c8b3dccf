//! Issuing: the same octets as other hands write, and nothing that nobody would accept.

use super::super::{IssueError, Kind, Syntax};
use super::*;
use crate::channel::{self, Outcome};
use crate::{limits, notification, receipt};

#[test]
fn the_same_claims_and_key_give_the_octets_of_other_hands() {
    for vector in &vectors().issued {
        let claims = claims(&vector.kind);
        let told = serde_json::json!({
            "iss": claims.issuer.to_string(), "aud": claims.audience.as_str(), "jti": claims.id.to_string(),
            "iat": claims.issued.seconds(), "digest": claims.digest.to_string(),
        });
        for (claim, value) in told.as_object().unwrap() {
            assert_eq!(&vector.claims[claim], value, "{}: {claim}", vector.kind);
        }
        assert_eq!(
            issue(&key(&vector.key), &claims).unwrap(),
            vector.token,
            "{}",
            vector.kind
        );
        let segment = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
        let signed = format!("{}.{}.", segment(&vector.header), segment(&vector.payload));
        assert!(vector.token.starts_with(&signed), "{}", vector.kind);
    }
}

#[test]
fn what_the_services_issue_is_what_the_vectors_hold() {
    let text = |kind: &str| {
        vectors()
            .issued
            .iter()
            .find(|issued| issued.kind == kind)
            .unwrap()
            .token
            .clone()
    };
    let message = Digest::of(vectors().message.as_bytes());
    let notified = Digest::of(vectors().notification.as_bytes());
    let at = |number, later| Stamp {
        id: id(number),
        now: Timestamp::from_seconds(NOW.seconds() + later),
    };
    let recipients = vec![address("bob@bar.com"), address("carol@bar.com")];
    let sent = channel::token(
        &key("foo"),
        &address("alice@foo.com"),
        &domain("bar.com"),
        recipients,
        message,
        at(0, 0),
    );
    assert_eq!(sent.unwrap(), text("channel"));
    let far = NOW.plus(limits::NOTIFY_TOKEN_LIFE * 9);
    let bob = address("bob@bar.com");
    let notify = notification::token(
        &key("bar"),
        &bob,
        &locator("mailbox.insurance.com"),
        notified,
        far,
        at(1, 0),
    );
    assert_eq!(notify.unwrap(), text("notify"), "never longer than its kind may");
    let (service, origin) = (domain("insurance.com"), locator("mailbox.hospital.com"));
    let fetch = notification::fetch_token(
        &key("insurance"),
        &service,
        &origin,
        notified,
        &text("notify"),
        at(2, 60),
    );
    assert_eq!(fetch.unwrap(), text("fetch"));
    let done = receipt::token(
        &key("insurance"),
        &service,
        &origin,
        notified,
        &text("notify"),
        at(3, 120),
    );
    assert_eq!(done.unwrap(), text("receipt"));
    let chain = Situation::named("channel").verify(&text("channel")).0.unwrap();
    let results = vec![Outcome::Accepted, Outcome::parse("refused 5.1.1").unwrap()];
    let answer = channel::receipt(&key("bar"), &chain, results, at(4, 1));
    assert_eq!(answer.unwrap(), text("channel-receipt"));
}

#[test]
fn what_nobody_would_accept_is_not_issued() {
    let broker = key("foo");
    let refused = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims("channel");
        change(&mut claims);
        issue(&broker, &claims).unwrap_err()
    };
    let with = |rcpt: Vec<Address>, later: u64| Statement::Channel {
        sender: address("alice@foo.com"),
        recipients: rcpt,
        expires: Timestamp::from_seconds(NOW.seconds() + later),
    };
    let bob = || vec![address("bob@bar.com")];
    assert_eq!(refused(&|c| c.id = Uuid::nil()), IssueError::Claims(Syntax::Id));
    assert_eq!(
        refused(&|c| c.statement = with(Vec::new(), 1)),
        IssueError::Claims(Syntax::Recipients)
    );
    assert_eq!(
        refused(&|c| c.statement = with([bob(), bob()].concat(), 1)),
        IssueError::Claims(Syntax::Recipients)
    );
    assert_eq!(
        refused(&|c| c.statement = with(vec![address("bob@other.com")], 1)),
        IssueError::Claims(Syntax::Recipients)
    );
    assert_eq!(
        refused(&|c| c.statement = with(bob(), 0)),
        IssueError::Claims(Syntax::Times)
    );
    assert_eq!(
        refused(&|c| c.statement = with(bob(), 301)),
        IssueError::LifetimeTooLong
    );
    assert_eq!(
        refused(&|c| c.issuer = ClientId::broker(&domain("other.com"))),
        IssueError::ForeignSubject
    );
    let many = (0..100)
        .map(|n| address(&format!("{n:064}@bar.com")))
        .collect::<Vec<_>>();
    assert_eq!(
        refused(&|c| c.statement = with(many.clone(), 1)),
        IssueError::TooLarge
    );
}

#[test]
fn a_receipt_for_the_largest_token_0_keeps_within_the_bound() {
    let mut claims = claims("channel");
    let longest = |count: usize, length: usize| Statement::Channel {
        sender: address("alice@foo.com"),
        recipients: (0..count)
            .map(|n| address(&format!("{n:0length$}@bar.com")))
            .collect(),
        expires: NOW.plus(limits::SHORT_TOKEN_LIFE),
    };
    let mut token = String::new();
    for length in 2..=64 {
        claims.statement = longest(limits::RECIPIENTS, length);
        if let Ok(text) = issue(&key("foo"), &claims) {
            token = text;
        }
    }
    assert!(token.len() > limits::TOKEN - 200, "{}", token.len());
    let chain = Situation::named("channel").verify(&token).0.unwrap();
    let results = vec![Outcome::parse("refused 5.999.999").unwrap(); limits::RECIPIENTS];
    let receipt = channel::receipt(&key("bar"), &chain, results, stamp(4)).unwrap();
    assert!(receipt.len() <= limits::TOKEN_CHAIN, "{}", receipt.len());
}

#[test]
fn each_kind_has_its_type_and_its_longest_life() {
    let kinds = [
        Kind::Channel,
        Kind::Notify,
        Kind::Fetch,
        Kind::Receipt,
        Kind::ChannelReceipt,
    ];
    for (kind, vector) in kinds
        .into_iter()
        .zip(["channel", "notify", "fetch", "receipt", "channel-receipt"])
    {
        let claims = claims(vector);
        assert_eq!(claims.kind(), kind);
        assert_eq!(claims.expires().is_some(), kind.longest_life().is_some());
        assert_eq!(claims.nested().is_some(), kind.nested().is_some());
    }
}
