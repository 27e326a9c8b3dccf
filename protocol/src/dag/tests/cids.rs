//! CIDs: rows C01 and C02.

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use serde::Deserialize;

use crate::dag::cid::{self, BYTES, CidError, Codec, TEXT};

#[derive(Deserialize)]
struct Vectors {
    read: Vec<Read>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Read {
    text: String,
    octets: String,
    codec: String,
    digest: String,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    octets: Option<String>,
    text: Option<String>,
    error: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../vectors/cids.json")).expect("the vectors are JSON")
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).expect("the vectors are hex")
}

#[test]
fn a_name_is_read_and_written_in_one_form() {
    for vector in vectors().read {
        let name = cid::from_text(&vector.text).expect(&vector.text);
        assert_eq!(name.to_string(), vector.text);
        assert_eq!(name.to_bytes(), hex(&vector.octets));
        assert_eq!(cid::from_bytes(&hex(&vector.octets)), Ok(name));
        assert_eq!((name.to_bytes().len(), vector.text.len()), (BYTES, TEXT));
        let codec = cid::check(&name).expect("it was read");
        assert_eq!(format!("{codec:?}"), vector.codec);
        assert_eq!(
            cid::digest(&name).expect("it was read").to_vec(),
            hex(&vector.digest)
        );
    }
}

#[test]
fn c01_c02_every_other_name_is_refused_with_its_reason() {
    for vector in vectors().refused {
        let read = match (&vector.octets, &vector.text) {
            (Some(octets), None) => cid::from_bytes(&hex(octets)),
            (None, Some(text)) => cid::from_text(text),
            _ => panic!("{} has neither octets nor text", vector.name),
        };
        let error = read.expect_err(&vector.name);
        assert_eq!(format!("{error:?}"), vector.error, "{}", vector.name);
    }
}

#[test]
fn c01_c02_a_name_that_another_parser_read_is_checked() {
    for vector in vectors().refused {
        let Some(octets) = vector.octets else { continue };
        // What the cid crate makes of the octets: it reads some of them, and must not smuggle them in.
        let Ok(lenient) = ::cid::Cid::try_from(hex(&octets).as_slice()) else {
            continue;
        };
        assert!(
            cid::check(&lenient).is_err() || lenient.to_bytes() != hex(&octets),
            "{}",
            vector.name
        );
    }
}

#[test]
fn a_name_in_json_is_strict_text() {
    #[derive(serde::Serialize, Deserialize)]
    struct Holder {
        #[serde(with = "crate::dag::cid")]
        cid: ::cid::Cid,
    }
    let text = &vectors().read[0].text;
    let json = format!("{{\"cid\":\"{text}\"}}");
    let holder: Holder = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(serde_json::to_string(&holder).expect("it can be written"), json);
    assert!(serde_json::from_str::<Holder>(&json.to_uppercase().replace("CID", "cid")).is_err());
    assert!(serde_json::from_str::<Holder>("{\"cid\":{\"/\":\"x\"}}").is_err());
}

proptest! {
    #[test]
    fn c02_what_is_read_is_written_the_same(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(name) = cid::from_bytes(&octets) {
            prop_assert_eq!(name.to_bytes(), octets);
        }
    }

    #[test]
    fn c02_any_text_is_refused_or_written_the_same(text in "[a-z2-7b]{0,70}|\\PC{0,80}") {
        if let Ok(name) = cid::from_text(&text) {
            prop_assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn c02_no_change_of_a_letter_is_the_same_name(at in 0usize..TEXT, letter in any::<char>()) {
        let text = Codec::Raw.cid([7; 32]).to_string();
        let changed: String = text.chars().enumerate().map(|(i, c)| if i == at { letter } else { c }).collect();
        prop_assume!(changed != text);
        match cid::from_text(&changed) {
            Ok(other) => prop_assert_ne!(other, Codec::Raw.cid([7; 32])),
            Err(CidError::NotBase32Lower | CidError::Codec(_) | CidError::Version(_) | CidError::VersionZero
                | CidError::Hash(_) | CidError::Identity | CidError::DigestLength(_) | CidError::Varint
                | CidError::Truncated | CidError::Trailing) => {}
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }
}
