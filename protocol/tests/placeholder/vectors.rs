//! The golden vectors in `vectors/placeholder/`. With `WRITE_VECTORS=1` in the environment they are written anew.

use std::fs;
use std::path::PathBuf;

use cargomail_protocol::placeholder::{ContentId, Disposition, Placeholder, Split, split};
use serde_json::{Value, json};

use crate::people::{assert_strict, posted, written};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors/placeholder")
        .join(name)
}

fn vector(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// That `name` holds these octets.
fn assert_vector(name: &str, octets: &[u8]) {
    if std::env::var_os("WRITE_VECTORS").is_some() {
        fs::write(path(name), octets).unwrap();
    }
    assert_eq!(
        String::from_utf8_lossy(&vector(name)),
        String::from_utf8_lossy(octets),
        "{name}"
    );
}

fn assert_json(name: &str, value: &Value) {
    assert_vector(
        name,
        format!("{}\n", serde_json::to_string_pretty(value).unwrap()).as_bytes(),
    );
}

fn told(placeholder: &Placeholder) -> Value {
    let parts = placeholder.parts().iter().map(|part| {
        let description = &part.description;
        json!({
            "cid": part.resource.cid.to_string(),
            "size": part.resource.size,
            "sha256": part.resource.sha256.map(|digest| data_encoding::HEXLOWER.encode(&digest)),
            "media_type": description.media_type(),
            "disposition": description.disposition().map(|how| match how {
                Disposition::Inline => "inline",
                Disposition::Attachment => "attachment",
            }),
            "file_name": description.file_name(),
            "content_id": match description.content_id() {
                ContentId::Cid => Some(part.resource.cid.to_string()),
                ContentId::Own(id) => Some(id.clone()),
                ContentId::Absent => None,
            },
        })
    });
    json!({
        "origin": placeholder.origin().locator.as_str(),
        "expires": placeholder.origin().expires.map(|moment| moment.rfc3339()),
        "category": placeholder.category().as_str(),
        "destination": placeholder.destination().map(|locator| locator.as_str()),
        "message_id": placeholder.message_id(),
        "author": placeholder.author().address.to_string(),
        "author_name": placeholder.author().name,
        "subject": placeholder.subject(),
        "date": placeholder.date().map(|moment| moment.rfc3339()),
        "structure": placeholder.structure().to_string(),
        "ignored": placeholder.ignored(),
        "parts": parts.collect::<Vec<_>>(),
    })
}

fn bodies(split: &Split) -> Vec<Vec<u8>> {
    split.bodies.iter().map(|body| body.octets.clone()).collect()
}

#[test]
fn an_ordinary_letter_becomes_this_placeholder_and_this_letter_again() {
    let mut letter = split(&vector("letter.eml")).unwrap();
    assert_eq!(letter.template.category.take().unwrap().as_str(), "healthcare");
    let placeholder = posted(&letter);
    let encoded = placeholder.encode().unwrap();
    assert_strict(&encoded);
    assert_vector("letter.placeholder.eml", &encoded);
    assert_eq!(Placeholder::parse(&encoded).unwrap().unwrap(), placeholder);
    let mut expected = told(&placeholder);
    expected["bodies"] = bodies(&letter)
        .iter()
        .map(|octets| data_encoding::BASE64.encode(octets))
        .collect::<Vec<_>>()
        .into();
    assert_json("letter.json", &expected);
    let again = written(&placeholder.reconstruct(), &bodies(&letter), 1000);
    assert_vector("letter.reconstructed.eml", &again);
    assert_eq!(split(&again).unwrap(), letter);
}

#[test]
fn a_letter_from_scratch_becomes_this_placeholder() {
    let draft = crate::compose::draft();
    let placeholder = draft
        .into_placeholder(crate::people::hospital(), crate::people::healthcare())
        .unwrap();
    assert_vector("composed.placeholder.eml", &placeholder.encode().unwrap());
    assert_json("composed.json", &told(&placeholder));
}

#[test]
fn the_papers_figure_is_read_with_its_hex_digests_and_its_broken_date() {
    assert_json(
        "figure-2.json",
        &told(&Placeholder::parse(&vector("figure-2.eml")).unwrap().unwrap()),
    );
}

#[test]
fn everything_else_that_is_read_leniently() {
    assert_json(
        "lenient.json",
        &told(&Placeholder::parse(&vector("lenient.eml")).unwrap().unwrap()),
    );
}

#[test]
fn the_json_form_of_the_first_prototype_is_read() {
    let prototype = Placeholder::parse(&vector("prototype.json")).unwrap().unwrap();
    assert_json("prototype.expected.json", &told(&prototype));
    assert!(prototype.encode().is_err(), "it names no expiry");
    assert!(prototype.parts()[0].is_referred_to_as(&prototype.parts()[0].resource.cid.to_string()));
}

#[test]
fn the_refused_ones_are_refused_for_these_reasons() {
    let mut reasons = serde_json::Map::new();
    let mut names: Vec<_> = fs::read_dir(path("refused"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in names {
        let error = Placeholder::parse(&vector(&format!("refused/{name}"))).unwrap_err();
        reasons.insert(name, error.to_string().into());
    }
    assert!(reasons.len() >= 8);
    assert_json("refused.json", &Value::Object(reasons));
}

#[test]
fn the_example_of_the_specification_is_the_vector() {
    let specification = include_str!("../../spec/placeholder.md");
    let (_, example) = specification.split_once("## 10. Example").unwrap();
    let lines = example.lines().skip_while(|line| !line.starts_with("    "));
    let text: String = lines
        .map(|line| format!("{}\r\n", line.strip_prefix("    ").unwrap_or(line)))
        .collect();
    assert_eq!(text.as_bytes(), vector("composed.placeholder.eml"));
}
