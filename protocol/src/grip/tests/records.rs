//! TXT records: row D01's grammar, by vectors.

use super::super::{Bindings, SkipReason};
use super::*;
use crate::limits;

#[derive(Deserialize)]
struct TxtVectors {
    texts: Vec<Text>,
    names: Vec<Name>,
    written: Vec<Written>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    hash: Option<String>,
    skipped: Option<String>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
    texts: Vec<String>,
    hashes: Vec<String>,
}

#[derive(Deserialize)]
struct Written {
    hash: String,
    text: String,
}

fn txt() -> TxtVectors {
    serde_json::from_str(include_str!("../../../vectors/records.json")).unwrap()
}

#[test]
fn d01_a_text_binds_its_hash_or_says_why_not() {
    for vector in txt().texts {
        let read = Record::parse(&vector.text);
        let told = match &read {
            Ok(Record(hash)) => (Some(hash.to_string()), None),
            Err(why) => (None, Some(format!("{why:?}"))),
        };
        assert_eq!(told, (vector.hash, vector.skipped), "{:?}", vector.text);
    }
}

#[test]
fn d01_one_match_among_all_texts_of_a_name_is_enough() {
    for vector in txt().names {
        let bindings = Bindings::read(&vector.texts);
        let hashes: Vec<String> = bindings.hashes.iter().map(ToString::to_string).collect();
        assert_eq!(hashes, vector.hashes, "{}", vector.name);
        assert!(bindings.hashes.iter().all(|hash| bindings.bind(hash)));
        assert!(!bindings.bind(&key("stranger").hash()), "{}", vector.name);
    }
}

#[test]
fn d01_a_flood_of_texts_is_looked_at_up_to_a_bound() {
    let flood = vec!["x".repeat(65_535); 1000];
    let bindings = Bindings::read(&flood);
    assert!(bindings.hashes.is_empty());
    assert_eq!(bindings.skipped.len(), limits::TXT_RECORDS);
    assert!(
        bindings
            .skipped
            .iter()
            .all(|skipped| skipped.text.chars().count() <= 128)
    );
    let record = Record(key("bar").hash()).to_string();
    let many = Bindings::read(&vec![record; 1000]);
    assert_eq!(many.hashes.len(), limits::TXT_RECORDS);
    assert_eq!(many.skipped.first().unwrap().reason, SkipReason::TooMany);
}

#[test]
fn what_is_published_is_85_octets_and_is_read_back() {
    for vector in txt().written {
        let record = Record(KeyHash::parse(&vector.hash).unwrap());
        assert_eq!(record.to_string(), vector.text);
        assert_eq!(vector.text.len(), 85);
        assert_eq!(Record::parse(&vector.text), Ok(record));
    }
}

#[test]
fn the_specification_shows_the_vectors() {
    let shown: String = include_str!("../../../spec/grip.md").split_whitespace().collect();
    let bar = &vectors().keys["bar"];
    let notify = vectors()
        .issued
        .iter()
        .find(|issued| issued.kind == "notify")
        .unwrap();
    let record: String = bar.record.split_whitespace().collect();
    for text in [
        &bar.spki,
        &bar.hash,
        &notify.header,
        &notify.payload,
        &notify.token,
        &record,
    ] {
        assert!(shown.contains(text.as_str()), "{text}");
    }
    assert!(shown.contains(&format!("whichhas{}tokens", vectors().cases.len())));
    for case in &vectors().cases {
        let name = case.result.rsplit(": ").next().unwrap();
        assert!(
            name == "accepted" || shown.contains(&format!("`{name}`")),
            "{name}"
        );
    }
}
