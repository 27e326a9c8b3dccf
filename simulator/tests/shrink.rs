//! Scenarios that break a promise in the virtual world, and what is left of them.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Carol wishes her mail where she has no account, so that it is reported; and a domain goes away for ever. Around that many people write who
/// have nothing to do with either.
const TOWN: &str = r#"
description = "a town with much that does not matter"
seed = 7
every = 0.5
patience = 15
promises = ["one-final-state", "read-equals-written", "nothing-is-reported"]

[[sites]]
name = "foo.test"
broker = true
mailbox = true
people = ["alice@foo.test", "dave@foo.test", "erin@foo.test"]

[[sites]]
name = "bar.test"
broker = true
mailbox = true
people = ["bob@bar.test", "carol@bar.test"]

[[sites]]
name = "baz.test"
broker = true
mailbox = true
people = ["frank@baz.test", "grace@baz.test"]

[[wishes]]
person = "carol@bar.test"
default = ["mailbox.foo.test"]

[[wishes]]
person = "frank@baz.test"
default = ["mailbox.baz.test"]

[[traffic]]
count = 6
from = ["alice@foo.test", "dave@foo.test"]
to = ["bob@bar.test", "erin@foo.test"]
recipients = 2
category = "personal"
files = [0, 2]
sizes = ["3 KiB", 700]

[[traffic]]
count = 4
from = ["alice@foo.test", "bob@bar.test"]
to = ["carol@bar.test", "erin@foo.test"]
recipients = 2
category = "healthcare"

[[traffic]]
count = 4
from = ["alice@foo.test", "dave@foo.test"]
to = ["frank@baz.test", "grace@baz.test"]
category = "personal"

[[faults]]
site = "foo.test"
stop_before = 2
start_before = 4

[[faults]]
site = "baz.test"
stop_before = 10
"#;

fn simulator(folder: &Path, words: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_cargomail-simulator");
    Command::new(program)
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|octets| String::from_utf8_lossy(octets));
    format!("{out}{error}")
}

/// Shrinks the town and runs what is left; what shrinking told, and the report of what is left.
fn shrunk(folder: &Path, promise: &str) -> (Value, Value) {
    let into = format!("{promise}.toml");
    let words = [
        "shrink",
        "town.toml",
        "--promise",
        promise,
        "--tries",
        "150",
        "--into",
        &into,
        "--json",
    ];
    let shrunk = simulator(folder, &words);
    assert_eq!(shrunk.status.code(), Some(0), "{}", said(&shrunk));
    assert!(simulator(folder, &["check", &into]).status.success());
    let ran = simulator(folder, &["run", &into, "--json"]);
    assert_eq!(ran.status.code(), Some(1), "{}", said(&ran));
    let told = serde_json::from_slice(&shrunk.stdout).unwrap();
    (told, serde_json::from_slice(&ran.stdout).unwrap())
}

#[test]
fn a_scenario_that_breaks_a_promise_becomes_a_few_mails_that_break_the_same() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("town.toml"), TOWN).unwrap();
    let ran = simulator(folder.path(), &["run", "town.toml"]);
    assert_eq!(ran.status.code(), Some(1), "{}", said(&ran));
    let command = "cargomail-simulator shrink town.toml --seed 7 --into smaller.toml";
    assert!(said(&ran).contains(command), "{}", said(&ran));

    // Carol's mail is reported: neither a fault nor the third domain's people are needed for that.
    let (told, report) = shrunk(folder.path(), "nothing-is-reported");
    assert_eq!(told["promise"], "nothing-is-reported");
    assert_eq!(report["promises"].as_array().unwrap().len(), 1);
    assert_eq!(report["promises"][0]["promise"], "nothing-is-reported");
    assert_eq!(report["promises"][0]["verdict"], "broken");
    assert!(report["totals"]["mails"].as_u64().unwrap() <= 2, "{told}");
    let text = std::fs::read_to_string(folder.path().join("nothing-is-reported.toml")).unwrap();
    assert!(
        text.starts_with("# What is left of town.toml that still breaks nothing-is-reported with seed 7.\n"),
        "{text}"
    );
    assert!(
        text.contains("carol@bar.test") && !text.contains("[[faults]]"),
        "{text}"
    );
    assert!(
        !text.contains("frank@baz.test") && !text.contains("grace@baz.test"),
        "{text}"
    );

    // A domain that is never back leaves mail in no final state: the wishes are not needed for that.
    let (told, report) = shrunk(folder.path(), "one-final-state");
    assert_eq!(report["promises"][0]["promise"], "one-final-state");
    assert_eq!(report["promises"][0]["verdict"], "broken");
    assert!(report["totals"]["mails"].as_u64().unwrap() <= 2, "{told}");
    let text = std::fs::read_to_string(folder.path().join("one-final-state.toml")).unwrap();
    assert_eq!(text.matches("[[faults]]").count(), 1, "{text}");
}

#[test]
fn what_cannot_be_shrunk_is_told_before_or_instead() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("town.toml"), TOWN).unwrap();
    // Nobody stays away, and Carol wishes what can be had.
    let good = TOWN
        .replace("stop_before = 10", "stop_before = 10\nstart_before = 13")
        .replacen("mailbox.foo.test", "mailbox.bar.test", 1)
        .replace("patience = 15", "patience = 300");
    std::fs::write(folder.path().join("good.toml"), good).unwrap();
    let cases: [(&[&str], &str); 4] = [
        (
            &["town.toml", "--into", "town.toml"],
            "town.toml is there already",
        ),
        (
            &["town.toml", "--into", "nowhere/s.toml"],
            "nowhere/s.toml cannot be written",
        ),
        (
            &["atlantis", "--into", "s.toml"],
            "atlantis is no shipped scenario",
        ),
        (
            &["good.toml", "--into", "s.toml"],
            "good.toml breaks no promise with seed 7",
        ),
    ];
    for (words, why) in cases {
        let output = simulator(folder.path(), &[&["shrink"], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(why), "{why}: {}", said(&output));
    }
    assert!(!folder.path().join("s.toml").exists());
    assert_eq!(
        std::fs::read_to_string(folder.path().join("town.toml")).unwrap(),
        TOWN
    );
}
