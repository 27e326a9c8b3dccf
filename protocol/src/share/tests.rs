//! Alice shares an X-ray with Bob and, hidden, with Carol.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::dag::Codec;

const NOON: Timestamp = Timestamp::from_seconds(1_796_389_501);
const LATER: Timestamp = Timestamp::from_seconds(1_796_389_501 + 3600);

fn person(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn root(number: u8) -> Cid {
    Codec::Raw.cid([number; 32])
}

fn resource(number: u8) -> SharedResource {
    SharedResource::new(root(number), u64::from(number)).unwrap()
}

fn parts() -> ShareParts {
    ShareParts {
        id: Uuid::from_u128(0x019a_e981_73c8_7000_8000_0000_0000_0001),
        sender: person("alice@foo.com"),
        recipients: vec![person("bob@bar.com"), person("carol@bar.com")],
        resources: vec![resource(1), resource(2), resource(3)],
        category: Category::parse("healthcare").unwrap(),
        message_id: "<b07d0cdf@foo.com>".to_owned(),
        created: NOON,
        expires: LATER,
        revoked: None,
    }
}

fn share() -> Share {
    Share::new(parts()).unwrap()
}

/// Whether Bob may fetch these of Alice's resources.
fn bob_may(share: &Share, roots: &[Cid], now: Timestamp) -> bool {
    share.may_fetch(roots, &person("alice@foo.com"), &person("bob@bar.com"), now)
}

#[test]
fn a_recipient_may_fetch_some_or_all_of_what_was_shared() {
    for roots in [
        vec![root(1)],
        vec![root(3), root(1)],
        vec![root(1), root(2), root(3)],
        vec![root(2), root(2)],
    ] {
        assert!(bob_may(&share(), &roots, NOON), "{roots:?}");
    }
}

#[test]
fn what_is_foreign_missing_expired_or_revoked_is_the_same_no() {
    let share = share();
    let mut revoked = share.clone();
    revoked.revoke(NOON);
    assert!(!bob_may(&share, &[], NOON), "nothing was asked for");
    assert!(!bob_may(&share, &[root(9)], NOON), "not shared");
    assert!(
        !bob_may(&share, &[root(1), root(9)], NOON),
        "one of them not shared"
    );
    assert!(
        !bob_may(&share, &[Codec::DagPb.cid([1; 32])], NOON),
        "the same digest under another codec"
    );
    assert!(!bob_may(&share, &[root(1)], LATER), "expired");
    assert!(!bob_may(&revoked, &[root(1)], NOON), "revoked");
    let (alice, bob) = (person("alice@foo.com"), person("bob@bar.com"));
    for (sender, recipient) in [
        (&alice, &person("dave@bar.com")),
        (&alice, &person("Bob@bar.com")),
        (&alice, &person("bob@mail.bar.com")),
        (&bob, &bob),
        (&person("alice@evilfoo.com"), &bob),
        (&bob, &alice),
    ] {
        assert!(
            !share.may_fetch(&[root(1)], sender, recipient, NOON),
            "{sender} to {recipient}"
        );
    }
}

#[test]
fn a_share_is_open_until_the_moment_it_expires_and_no_longer() {
    let share = share();
    assert!(share.is_open(Timestamp::from_millis(LATER.millis() - 1)));
    assert!(!share.is_open(LATER));
    assert!(!share.is_open(Timestamp::from_millis(u64::MAX)));
}

#[test]
fn a_share_is_revoked_once() {
    let mut share = share();
    share.revoke(LATER);
    share.revoke(NOON);
    assert_eq!(share.parts().revoked, Some(LATER));
    assert!(!share.is_open(NOON));
}

#[test]
fn nobody_sees_a_hidden_other() {
    let view = share().shown_to(&person("bob@bar.com")).unwrap();
    let shown = serde_json::to_string(&view).unwrap();
    assert!(
        shown.contains("bob@bar.com") && !shown.contains("carol"),
        "{shown}"
    );
    assert_eq!(view.resources, parts().resources);
    for other in ["dave@bar.com", "alice@foo.com", "BOB@bar.com"] {
        assert_eq!(share().shown_to(&person(other)), None, "{other}");
    }
}

#[test]
fn a_share_of_nothing_with_nobody_or_without_time_is_none() {
    let refused = |change: &dyn Fn(&mut ShareParts)| {
        let mut parts = parts();
        change(&mut parts);
        Share::new(parts).unwrap_err()
    };
    assert_eq!(refused(&|p| p.recipients.clear()), ShareError::Count);
    assert_eq!(refused(&|p| p.resources.clear()), ShareError::Count);
    assert_eq!(refused(&|p| p.resources.push(resource(1))), ShareError::Duplicate);
    assert_eq!(
        refused(&|p| p.recipients.push(person("bob@bar.com"))),
        ShareError::Duplicate
    );
    assert_eq!(refused(&|p| p.expires = NOON), ShareError::Expiry);
    assert_eq!(
        refused(&|p| p.created = LATER.plus(std::time::Duration::from_secs(1))),
        ShareError::Expiry
    );
    let everybody = |count: usize| {
        (0..count)
            .map(|n| person(&format!("u{n}@bar.com")))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        refused(&|p| p.recipients = everybody(limits::SHARE_RECIPIENTS + 1)),
        ShareError::Count
    );
    let mut most = parts();
    most.recipients = everybody(limits::SHARE_RECIPIENTS);
    assert!(Share::new(most).is_ok());
    assert_eq!(
        refused(&|p| p.resources = vec![resource(1); limits::RESOURCES + 1]),
        ShareError::Count
    );
}

#[test]
fn a_share_that_was_kept_is_checked_when_it_is_read() {
    let mut revoked = share();
    revoked.revoke(LATER);
    for kept in [share(), revoked] {
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Share>(&text).unwrap(), kept);
        assert!(
            serde_json::from_str::<Share>(
                &text.replace("\"recipients\":[", "\"recipients\":[\"bob@bar.com\",")
            )
            .is_err()
        );
        assert!(serde_json::from_str::<Share>(&text.replace("bob@bar.com", "bob")).is_err());
        assert!(serde_json::from_str::<Share>(&text.replace("\"id\"", "\"name\"")).is_err());
    }
}

#[test]
fn c01_c02_a_resource_has_a_cid_of_its_one_form_and_a_bounded_size() {
    let text = root(1).to_string();
    assert_eq!(parse_root(&text), Ok(root(1)));
    for bad in [
        "",
        &text.to_uppercase(),
        &text[..58],
        &format!("{text}a"),
        &format!("B{}", &text[1..]),
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
        "bafkqabtgn5xwyyi",
    ] {
        assert_eq!(parse_root(bad), Err(ShareError::Cid), "{bad}");
    }
    assert_eq!(
        SharedResource::new(root(1), limits::RESOURCE + 1),
        Err(ShareError::TooLarge)
    );
    assert!(SharedResource::new(root(1), limits::RESOURCE).is_ok());
    let other_hash = Cid::new_v1(0x55, multihash::Multihash::wrap(0x13, &[1; 32]).unwrap());
    assert_eq!(SharedResource::new(other_hash, 1), Err(ShareError::Cid));
    let other_codec = Cid::new_v1(0x51, *root(1).hash());
    assert_eq!(SharedResource::new(other_codec, 1), Err(ShareError::Cid));
}

#[test]
fn errors_name_the_culprit() {
    assert_eq!(ShareError::Count.fault(), Fault::TooLarge);
    assert_eq!(ShareError::TooLarge.fault(), Fault::TooLarge);
    for error in [ShareError::Cid, ShareError::Duplicate, ShareError::Expiry] {
        assert_eq!(error.fault(), Fault::Malformed);
    }
}

proptest! {
    #[test]
    fn exactly_what_was_shared_may_be_fetched(
        shared in proptest::collection::btree_set(0_u8..40, 1..20),
        asked in proptest::collection::vec(0_u8..40, 0..6),
    ) {
        let mut parts = parts();
        parts.resources = shared.iter().map(|number| resource(*number)).collect();
        let roots: Vec<Cid> = asked.iter().map(|number| root(*number)).collect();
        let may = !asked.is_empty() && asked.iter().all(|number| shared.contains(number));
        prop_assert_eq!(bob_may(&Share::new(parts).unwrap(), &roots, NOON), may);
    }

    #[test]
    fn a_resource_is_read_back(digest in any::<[u8; 32]>(), size in 0..=limits::RESOURCE) {
        let resource = SharedResource::new(Codec::DagPb.cid(digest), size).unwrap();
        let text = serde_json::to_string(&resource).unwrap();
        prop_assert_eq!(serde_json::from_str::<SharedResource>(&text).unwrap(), resource);
    }
}
