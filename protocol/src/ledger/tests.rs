//! Chains by other hands, and chains that somebody changed.
#![allow(clippy::unwrap_used)]

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::limits;

#[derive(Deserialize)]
struct Vectors {
    entries: Vec<Written>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Written {
    time: Timestamp,
    event: Told,
    octets: String,
    hash: String,
}

#[derive(Deserialize)]
struct Told {
    act: Act,
    parties: Vec<String>,
    message_id: String,
    resources: Vec<String>,
    evidence: String,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    entries: Vec<String>,
    error: String,
    head: Option<ToldHead>,
}

#[derive(Deserialize)]
struct ToldHead {
    entries: u64,
    hash: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../vectors/ledger.json")).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn entries_of_other_hands_are_written_the_same_and_found_whole() {
    let mut head = Head::default();
    let mut checker = Checker::new();
    for vector in vectors().entries {
        let event = Event {
            act: vector.event.act,
            parties: vector.event.parties,
            message_id: vector.event.message_id,
            resources: vector
                .event
                .resources
                .iter()
                .map(|text| crate::share::parse_root(text).unwrap())
                .collect(),
            evidence: vector.event.evidence,
        };
        let (octets, next) = head.next(vector.time, event.clone());
        assert_eq!(HEXLOWER.encode(&octets), vector.octets);
        assert_eq!(HEXLOWER.encode(&next.hash), vector.hash);
        let entry = checker.push(&octets).unwrap();
        assert_eq!(
            (entry.index, entry.time, entry.event),
            (head.entries, vector.time, event)
        );
        head = next;
    }
    assert_eq!(checker.finish(&head), Ok(()));
}

#[test]
fn chains_that_are_not_whole_are_refused_with_their_reason() {
    for vector in vectors().refused {
        let mut checker = Checker::new();
        let outcome = vector
            .entries
            .iter()
            .try_for_each(|octets| checker.push(&hex(octets)).map(drop));
        let outcome = outcome.and_then(|()| {
            vector.head.map_or(Ok(()), |head| {
                checker.finish(&Head {
                    entries: head.entries,
                    hash: hex(&head.hash).try_into().unwrap(),
                })
            })
        });
        let error = outcome.expect_err(&vector.name);
        assert_eq!(format!("{error:?}"), vector.error, "{}", vector.name);
        assert_eq!(error.fault(), Fault::Local);
    }
}

#[test]
fn the_largest_event_makes_an_entry_that_is_read() {
    let digest = |n: usize| {
        let mut digest = [0xff; 32];
        digest[..8].copy_from_slice(&(n as u64).to_be_bytes());
        digest
    };
    let mut largest = event(Act::Granted);
    largest.message_id = format!("<{}>", "m".repeat(994));
    largest.parties = vec!["p".repeat(320); 4];
    largest.resources = (0..limits::RESOURCES)
        .map(|n| crate::dag::Codec::DagPb.cid(digest(n)))
        .collect();
    largest.evidence = "e".repeat(limits::TOKEN_CHAIN);
    let (octets, _) = Head::default().next(Timestamp::from_millis(u64::MAX), largest);
    assert!(octets.len() <= ENTRY, "{}", octets.len());
    assert!(Checker::new().push(&octets).is_ok());
    assert_eq!(
        Checker::new().push(&vec![0; ENTRY + 1]),
        Err(LedgerError::Malformed(0))
    );
}

#[test]
fn an_entry_is_refused_without_a_change_of_the_checker() {
    let (entries, head) = chain();
    let mut checker = Checker::new();
    for octets in &entries {
        assert!(checker.push(b"junk").is_err());
        assert!(checker.push(octets).is_ok());
    }
    assert_eq!(checker.finish(&head), Ok(()));
}

fn any_event() -> impl Strategy<Value = Event> {
    let acts = [
        Act::Posted,
        Act::Shared,
        Act::Revoked,
        Act::Notified,
        Act::Granted,
        Act::Retrieved,
        Act::Receipt,
        Act::Expired,
        Act::Deleted,
        Act::Access,
    ];
    let parties = proptest::collection::vec("\\PC{0,20}", 0..4);
    let roots = proptest::collection::vec(any::<[u8; 32]>(), 0..4);
    (
        proptest::sample::select(acts.to_vec()),
        parties,
        "\\PC{0,20}",
        roots,
        "\\PC{0,40}",
    )
        .prop_map(|(act, parties, message_id, roots, evidence)| Event {
            act,
            parties,
            message_id,
            resources: roots
                .into_iter()
                .map(|digest| crate::dag::Codec::Raw.cid(digest))
                .collect(),
            evidence,
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_a_changed_octet_is_found(
        events in proptest::collection::vec((any_event(), any::<u64>()), 1..5), which in any::<Index>(), at in any::<Index>(), octet in any::<u8>(),
    ) {
        let mut head = Head::default();
        let mut entries = Vec::new();
        for (event, time) in &events {
            let (octets, next) = head.next(Timestamp::from_millis(*time), event.clone());
            entries.push(octets);
            head = next;
        }
        let mut checker = Checker::new();
        for (octets, (event, time)) in entries.iter().zip(&events) {
            let entry = checker.push(octets).unwrap();
            prop_assert_eq!((&entry.event, entry.time.millis()), (event, *time));
        }
        prop_assert_eq!(checker.finish(&head), Ok(()));
        let which = which.index(entries.len());
        let at = at.index(entries[which].len());
        prop_assume!(entries[which][at] != octet);
        entries[which][at] = octet;
        prop_assert!(check(&entries, &head).is_err());
    }

    #[test]
    fn octets_by_chance_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Checker::new().push(&octets).is_err());
    }
}

fn event(act: Act) -> Event {
    Event {
        act,
        parties: vec!["alice@foo.test".to_owned(), "mailbox.hospital.test".to_owned()],
        message_id: "<1@foo.test>".to_owned(),
        resources: vec![crate::dag::Codec::Raw.cid([7; 32])],
        evidence: "a.b.c".to_owned(),
    }
}

fn chain() -> (Vec<Vec<u8>>, Head) {
    let mut head = Head::default();
    let mut entries = Vec::new();
    for act in [Act::Posted, Act::Shared, Act::Granted, Act::Receipt] {
        let (octets, next) = head.next(Timestamp::from_seconds(1_796_389_501), event(act));
        entries.push(octets);
        head = next;
    }
    (entries, head)
}

fn check(entries: &[Vec<u8>], head: &Head) -> Result<(), LedgerError> {
    let mut checker = Checker::new();
    for octets in entries {
        checker.push(octets)?;
    }
    checker.finish(head)
}

#[test]
fn an_untouched_chain_is_found_whole() {
    let (entries, head) = chain();
    assert_eq!(check(&entries, &head), Ok(()));
    assert_eq!(check(&[], &Head::default()), Ok(()));
}

#[test]
fn every_changed_octet_is_found() {
    let (entries, head) = chain();
    for which in 0..entries.len() {
        for at in 0..entries[which].len() {
            let mut changed = entries.clone();
            changed[which][at] ^= 1;
            assert!(check(&changed, &head).is_err(), "entry {which}, octet {at}");
        }
    }
}

#[test]
fn a_missing_repeated_or_swapped_entry_is_found() {
    let (entries, head) = chain();
    for which in 0..entries.len() {
        let mut missing = entries.clone();
        missing.remove(which);
        assert!(check(&missing, &head).is_err(), "without {which}");
        let mut twice = entries.clone();
        twice.insert(which, entries[which].clone());
        assert!(check(&twice, &head).is_err(), "twice {which}");
    }
    let mut swapped = entries.clone();
    swapped.swap(1, 2);
    assert_eq!(
        check(&swapped, &head),
        Err(LedgerError::OutOfPlace {
            expected: 1,
            found: 2
        })
    );
    let cut = entries.get(..3).unwrap();
    assert_eq!(check(cut, &head), Err(LedgerError::Head { found: 3, said: 4 }));
}

#[test]
fn the_specification_shows_the_vectors() {
    let text = include_str!("../../spec/ledger.md");
    let first = vectors().entries.into_iter().next().unwrap();
    assert_eq!(crate::dag::tests::examples(text), [first.octets, first.hash]);
    assert!(text.contains("548,864"));
    assert_eq!(ENTRY, 548_864);
}
