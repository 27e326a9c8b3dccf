//! Notifications by other hands, states of jobs, and everything that is neither.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::dag::Codec;

#[derive(Deserialize)]
struct Vectors {
    written: Vec<Written>,
    refused: Vec<Refused>,
    taken: Vec<String>,
    taken_refused: Vec<String>,
    states: Vec<String>,
    states_refused: Vec<String>,
}

#[derive(Deserialize)]
struct Written {
    name: String,
    octets: String,
    digest: String,
    total: u64,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    octets: String,
    error: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../vectors/notification.json")).unwrap()
}

fn told(error: NotificationError) -> String {
    match error {
        NotificationError::Json(_) => "Json".to_owned(),
        NotificationError::Name(member) => format!("Name({member})"),
        other => format!("{other:?}"),
    }
}

/// The notification of the vectors: two resources of one mail.
fn notification() -> Notification {
    Notification::parse(vectors().written.first().unwrap().octets.as_bytes()).unwrap()
}

fn resources(count: usize) -> Vec<SharedResource> {
    let digest = |n: usize| {
        let mut digest = [0xff; 32];
        digest[..8].copy_from_slice(&(n as u64).to_be_bytes());
        digest
    };
    (0..count)
        .map(|n| SharedResource::new(Codec::DagPb.cid(digest(n)), limits::RESOURCE).unwrap())
        .collect()
}

#[test]
fn notifications_of_other_hands_are_read_and_written_as_the_same_octets() {
    for vector in vectors().written {
        let octets = vector.octets.as_bytes();
        let read = Notification::parse(octets).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(read.to_bytes().unwrap(), octets, "{}", vector.name);
        assert_eq!(Digest::of(octets).to_string(), vector.digest, "{}", vector.name);
        assert_eq!(read.total_size(), vector.total, "{}", vector.name);
    }
}

#[test]
fn q09_a_notification_that_is_padded_or_written_otherwise_is_none() {
    let refused = vectors().refused;
    let others: Vec<_> = refused.iter().filter(|vector| vector.error == "Form").collect();
    assert!(others.len() > 4);
    // Of each of them somebody could make as many notifications as they like.
    for other in others {
        let read: serde_json::Value = serde_json::from_str(&other.octets).unwrap();
        assert_eq!(read["origin"], "mailbox.hospital.com", "{}", other.name);
    }
}

#[test]
fn what_is_no_notification_is_refused_with_its_reason() {
    for vector in vectors().refused {
        let error = Notification::parse(vector.octets.as_bytes()).expect_err(&vector.name);
        assert_eq!(told(error), vector.error, "{}", vector.name);
        assert_eq!(error.fault(), Fault::Malformed, "{}", vector.name);
    }
}

#[test]
fn d05_an_origin_is_a_name_and_nothing_that_could_lead_elsewhere() {
    let origins = vectors()
        .refused
        .into_iter()
        .filter(|vector| vector.name.contains("d05"));
    assert!(
        origins
            .map(|vector| assert_eq!(vector.error, "Name(origin)"))
            .count()
            > 10
    );
}

#[test]
fn a_reader_is_told_where_reading_ended_and_nothing_of_what_stood_there() {
    let error = Notification::parse(b"{\n\"origin\": 7}").unwrap_err();
    assert_eq!(error.to_string(), "malformed, at octet 13");
}

#[test]
fn the_largest_notification_is_read_and_one_that_is_larger_is_not() {
    let mut largest = notification();
    largest.message_id = format!("<{}>", "m".repeat(994));
    largest.resources = resources(limits::RESOURCES);
    let octets = largest.to_bytes().unwrap();
    assert!(octets.len() <= limits::NOTIFICATION);
    assert_eq!(Notification::parse(&octets).as_ref(), Ok(&largest));
    assert_eq!(largest.total_size(), limits::RESOURCE * limits::RESOURCES as u64);
    largest.resources = resources(limits::RESOURCES + 1);
    assert_eq!(largest.to_bytes(), Err(NotificationError::Resources));

    let mut padded = notification().to_bytes().unwrap();
    padded.resize(limits::NOTIFICATION, b' ');
    assert_eq!(Notification::parse(&padded), Err(NotificationError::Form));
    padded.push(b' ');
    assert_eq!(Notification::parse(&padded), Err(NotificationError::TooLarge));
    assert_eq!(NotificationError::TooLarge.fault(), Fault::TooLarge);
}

#[test]
fn t12_deep_json_is_refused_without_recursion() {
    for opening in [
        "[",
        "{\"origin\":",
        "{\"x\":",
        "{\"resources\":[",
        "{\"resources\":[{\"cid\":",
    ] {
        let bomb = opening.repeat(limits::NOTIFICATION / opening.len());
        assert!(matches!(
            Notification::parse(bomb.as_bytes()),
            Err(NotificationError::Json(_))
        ));
    }
}

#[test]
fn t11_a_notification_for_somebody_else_than_the_tokens_subject_is_refused() {
    let bob = Address::parse("bob@bar.com").unwrap();
    assert_eq!(notification().check_recipient(&bob), Ok(()));
    for other in ["Bob@bar.com", "carol@bar.com", "bob@foo.com"] {
        let other = Address::parse(other).unwrap();
        let error = notification().check_recipient(&other).unwrap_err();
        assert_eq!(
            (error, error.fault()),
            (NotificationError::ForeignRecipient, Fault::Refused)
        );
    }
}

#[test]
fn a_part_of_a_second_is_cut_off() {
    let mut late = notification();
    late.expires = Timestamp::from_millis(late.expires.millis() + 999);
    assert_eq!(late.to_bytes(), notification().to_bytes());
}

#[test]
fn an_answer_names_a_job_that_can_stand_in_a_path() {
    for text in vectors().taken {
        let taken = Taken::parse(text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&taken).unwrap(), text);
    }
    for text in vectors().taken_refused {
        assert!(Taken::parse(text.as_bytes()).is_err(), "{text}");
    }
    let long = format!("{{\"job\":\"a\"}}{}", " ".repeat(2000));
    assert_eq!(Taken::parse(long.as_bytes()), Err(ANSWER));
}

#[test]
fn states_of_jobs_are_read_back_and_nothing_else_is_one() {
    for text in vectors().states {
        let state = JobState::parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(state.to_bytes()).unwrap(), text);
        let moving = matches!(state, JobState::Queued | JobState::Retrieving { .. });
        assert_eq!(state.is_final(), !moving, "{text}");
    }
    for text in vectors().states_refused {
        assert!(JobState::parse(text.as_bytes()).is_err(), "{text}");
    }
    let long = format!("{{\"state\":\"queued\"}}{}", " ".repeat(2000));
    assert_eq!(JobState::parse(long.as_bytes()), Err(ANSWER));
}

fn any_notification() -> impl Strategy<Value = Notification> {
    let name = || "[a-z]{1,8}(\\.[a-z]{2,5}){1,2}";
    let person = || "[a-zA-Zäß0-9+-]{1,8}@[a-z]{1,8}\\.[a-z]{2,5}";
    let roots =
        proptest::collection::btree_map(any::<[u8; 32]>(), (0_u64..=limits::RESOURCE, 0_usize..3), 1..6);
    (
        name(),
        "<[!-;=?-~]{1,60}>",
        person(),
        person(),
        "[a-z][a-z0-9-]{0,20}",
        0_u64..253_402_300_800,
        roots,
    )
        .prop_map(
            |(origin, message_id, sender, recipient, category, expires, roots)| Notification {
                origin: Locator::parse(&origin).unwrap(),
                message_id,
                sender: Address::parse(&sender).unwrap(),
                recipient: Address::parse(&recipient).unwrap(),
                category: Category::parse(&category).unwrap(),
                expires: Timestamp::from_seconds(expires),
                resources: roots
                    .into_iter()
                    .map(|(digest, (size, codec))| {
                        let codec = [Codec::Raw, Codec::DagPb, Codec::DagCbor][codec];
                        SharedResource::new(codec.cid(digest), size).unwrap()
                    })
                    .collect(),
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_in_one_form(notification in any_notification()) {
        let octets = notification.to_bytes().unwrap();
        let read = Notification::parse(&octets).unwrap();
        prop_assert_eq!(&read, &notification);
        prop_assert_eq!(read.to_bytes().unwrap(), octets);
    }

    #[test]
    fn a_changed_octet_is_refused_or_says_something_else(
        notification in any_notification(), at in any::<Index>(), octet in any::<u8>(),
    ) {
        let octets = notification.to_bytes().unwrap();
        let mut changed = octets.clone();
        let at = at.index(changed.len());
        changed[at] = octet;
        prop_assume!(changed != octets);
        prop_assert_ne!(Digest::of(&changed), Digest::of(&octets));
        if let Ok(read) = Notification::parse(&changed) {
            prop_assert_ne!(read, notification);
        }
    }

    #[test]
    fn octets_by_chance_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Notification::parse(&octets), Taken::parse(&octets), JobState::parse(&octets));
    }
}

#[test]
fn the_specification_shows_the_vectors() {
    let shown: String = include_str!("../../spec/notification.md")
        .split_whitespace()
        .collect();
    let first = vectors().written.into_iter().next().unwrap();
    assert!(shown.contains(&first.octets));
    assert!(shown.contains(&first.digest));
    assert!(shown.contains(&format!("theseare{}octets", first.octets.len())));
    for state in vectors().states {
        let name = JobState::parse(state.as_bytes())
            .map(StateWire::from)
            .unwrap()
            .state;
        assert!(shown.contains(&format!("`{name}`")), "{name}");
    }
}
