//! Sweeps through the program and the shell: emitted, run, interrupted, run again and collected.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Alice writes to Bob, whose mailbox is in his own domain.
const TOWN: &str = r#"
description = "two domains"
seed = 1
patience = 60

[[sites]]
name = "foo.test"
broker = true
mailbox = true
people = ["alice@foo.test"]

[[sites]]
name = "bar.test"
broker = true
mailbox = true
people = ["bob@bar.test"]

[[traffic]]
count = 2
from = ["alice@foo.test"]
to = ["bob@bar.test"]
category = "personal"
"#;

/// Bob's domain is never there.
const AWAY: &str = "\n[[faults]]\nsite = \"bar.test\"\nstop_before = 1\n";

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

fn run(sweep: &Path) -> Output {
    // From anywhere: the script finds its own folder.
    Command::new(sweep.join("run")).current_dir("/").output().unwrap()
}

#[test]
fn a_sweep_runs_here_and_runs_again_only_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (town, sweep) = ("it's a \"small\" town.toml", folder.path().join("my sweep"));
    std::fs::write(folder.path().join(town), TOWN).unwrap();
    let emit = [
        "sweep",
        "emit",
        "xargs",
        town,
        "--seeds",
        "3-4",
        "--parallel",
        "2",
        "--into",
        "my sweep",
    ];
    let emitted = simulator(folder.path(), &emit);
    assert!(
        said(&emitted).contains("2 jobs, 0 of which have a report already"),
        "{}",
        said(&emitted)
    );
    assert!(
        said(&emitted).contains("  'my sweep/run'\n"),
        "{}",
        said(&emitted)
    );
    let collect = || simulator(folder.path(), &["sweep", "collect", "my sweep", "--json"]);
    let before = collect();
    assert_eq!(before.status.code(), Some(2), "{}", said(&before));

    let ran = run(&sweep);
    assert!(ran.status.success(), "{}", said(&ran));
    assert_eq!(
        said(&ran).matches("no promise was broken\n").count(),
        2,
        "{}",
        said(&ran)
    );
    let report = |seed: u64| sweep.join(format!("reports/{town}/seed-{seed}"));
    assert!(report(3).join("report.html").exists());
    let collected = collect();
    assert_eq!(collected.status.code(), Some(0), "{}", said(&collected));
    let told: Value = serde_json::from_slice(&collected.stdout).unwrap();
    assert_eq!(told["scenarios"][0]["scenario"], format!("scenarios/{town}"));
    assert_eq!(told["scenarios"][0]["runs"], 2);
    assert_eq!(told["scenarios"][0]["nodes"], 2);
    assert!(told["scenarios"][0]["to_acknowledged"].as_u64().unwrap() > 0);
    assert!(told["scenarios"][0]["cpu_per_mail"].as_f64().unwrap() > 0.0);
    for name in ["sweep.html", "sweep.csv", "sweep.json"] {
        assert!(sweep.join(name).exists(), "{name}");
    }

    // One run was killed while it wrote its report.
    let whole = std::fs::read(report(3).join("report.json")).unwrap();
    std::fs::write(report(4).join("report.json"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(collect().status.code(), Some(2));
    let again = simulator(folder.path(), &emit);
    assert!(said(&again).contains("2 jobs, 2 of which"), "{}", said(&again));
    let ran = run(&sweep);
    assert!(ran.status.success(), "{}", said(&ran));
    assert_eq!(said(&ran).matches("(it was there)").count(), 1, "{}", said(&ran));
    assert_eq!(std::fs::read(report(3).join("report.json")).unwrap(), whole);
    assert_eq!(collect().status.code(), Some(0));
}

#[test]
fn a_broken_promise_is_a_result_and_a_run_that_cannot_be_made_is_none() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("away.toml"),
        TOWN.replace("patience = 60", "patience = 2") + AWAY,
    )
    .unwrap();
    // The author's broker is away from the beginning, so there is no mail to abuse.
    let hostile = "\n[[faults]]\nsite = \"foo.test\"\nstop_before = 1\n\n[[hostile]]\nrole = \"cid-prober\"\nagainst = \"bar.test\"\n\
                   before = 2\n";
    let hostile = TOWN.replace("patience = 60", "patience = 1") + hostile;
    std::fs::write(folder.path().join("hostile.toml"), hostile).unwrap();
    let emit = [
        "sweep",
        "emit",
        "xargs",
        "away.toml",
        "--seeds",
        "1",
        "--into",
        "s",
    ];
    assert!(simulator(folder.path(), &emit).status.success());
    let sweep = folder.path().join("s");
    let ran = run(&sweep);
    assert!(ran.status.success(), "{}", said(&ran));
    assert!(
        said(&ran).contains("scenarios/away.toml, seed 1: BROKEN: "),
        "{}",
        said(&ran)
    );
    let collected = simulator(folder.path(), &["sweep", "collect", "s"]);
    assert_eq!(collected.status.code(), Some(1), "{}", said(&collected));
    assert!(
        said(&collected).contains("queues-drain was BROKEN with seed 1"),
        "{}",
        said(&collected)
    );

    let emit = [
        "sweep",
        "emit",
        "xargs",
        "hostile.toml",
        "--seeds",
        "1",
        "--into",
        "h",
    ];
    assert!(simulator(folder.path(), &emit).status.success());
    let sweep = folder.path().join("h");
    let ran = run(&sweep);
    assert!(!ran.status.success(), "{}", said(&ran));
    let collected = simulator(folder.path(), &["sweep", "collect", "h"]);
    assert_eq!(collected.status.code(), Some(2), "{}", said(&collected));
    assert!(
        said(&collected).contains("cid-prober against bar.test"),
        "{}",
        said(&collected)
    );
}

#[test]
fn odd_words_are_refused_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 5] = [
        (
            &["emit", "xargs", "storm", "--seeds", "9-1", "--into", "s"],
            "1 is before 9: write 1-9",
        ),
        (
            &[
                "emit",
                "xargs",
                "storm",
                "--seeds",
                "1-999999999999",
                "--into",
                "s",
            ],
            "are more than 100000",
        ),
        (
            &["emit", "xargs", "--seeds", "1", "--size", "many", "--into", "s"],
            "DOMAINSxMAILBOXESxPEOPLExMAILS",
        ),
        (
            &["emit", "kubernetes", "storm", "--seeds", "1", "--into", "s"],
            "--image",
        ),
        (&["collect", "nowhere"], "nowhere cannot be read"),
    ];
    for (words, why) in cases {
        let words = [&["sweep"], words].concat();
        let output = simulator(folder.path(), &words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(said(&output).contains(why), "{why}: {}", said(&output));
    }
    assert!(!folder.path().join("s").exists());
}
