//! Verdicts of two runs, and files that are no reports.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::history::{History, Ledger};
use crate::report::Report;
use crate::scenario::Scenario;

/// A report as another program reads it.
fn outcome(change: impl FnOnce(&mut Scenario, &mut History)) -> Outcome {
    let mut scenario = Scenario::find("four-domains").unwrap();
    let mut history = History {
        ledgers: vec![Ledger {
            site: "foo.test".to_owned(),
            entries: 3,
            wrong: None,
        }],
        ..History::default()
    };
    change(&mut scenario, &mut history);
    let report = Report::of(
        &scenario,
        history,
        Duration::from_secs(2),
        "real",
        Cost::default(),
    );
    serde_json::from_value(serde_json::to_value(report).unwrap()).unwrap()
}

fn good() -> Outcome {
    outcome(|_, _| {})
}

fn broken() -> Outcome {
    outcome(|_, history| history.ledgers[0].wrong = Some("entry 2".to_owned()))
}

#[test]
fn two_runs_that_say_the_same_differ_in_nothing() {
    let comparison = Comparison::of(good(), good());
    assert!(comparison.kept && comparison.differing.is_empty());
    assert_eq!(comparison.rows[0].ratio, Some(1.0));
    assert!(comparison.to_string().contains("the same verdict in both"));
    // A broken promise that stays broken is not lost.
    assert!(Comparison::of(broken(), broken()).kept);
}

#[test]
fn a_promise_that_held_and_is_broken_is_named_first_and_is_lost() {
    let comparison = Comparison::of(good(), broken());
    assert!(!comparison.kept);
    let told = comparison.to_string();
    let (differing, totals) = told.split_once("total").unwrap();
    assert!(differing.contains("ledgers-verify"), "{told}");
    assert!(
        differing.contains("held") && differing.contains("BROKEN"),
        "{told}"
    );
    assert!(totals.contains("to acknowledged, 95 of 100"), "{told}");
    assert!(Comparison::of(broken(), good()).kept);
}

#[test]
fn a_promise_that_held_and_is_checked_no_more_is_lost_too() {
    let unchecked = outcome(|scenario, _| scenario.promises = vec![Promise::QueuesDrain]);
    let comparison = Comparison::of(good(), unchecked);
    assert!(!comparison.kept);
    assert!(comparison.to_string().contains("not checked"));
    assert!(!Comparison::of(good(), outcome(|_, history| history.ledgers.clear())).kept);
}

#[test]
fn a_ratio_to_nothing_is_none() {
    let comparison = Comparison::of(good(), good());
    let mails = comparison.rows.iter().find(|row| row.name == "mails").unwrap();
    assert_eq!((mails.a, mails.ratio), (Some(Amount::Count(0)), None));
    let median = comparison
        .rows
        .iter()
        .find(|row| row.name == "to read, median")
        .unwrap();
    assert_eq!((median.a, median.ratio), (None, None));
}

#[test]
fn a_report_from_before_costs_were_measured_is_compared_without_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let mut old = serde_json::to_value(good()).unwrap();
    let told = old.as_object_mut().unwrap();
    told.remove("cost");
    told.insert("format".to_owned(), FORMAT.into());
    std::fs::write(&file, old.to_string()).unwrap();
    let comparison = Comparison::of(Outcome::read(&file).unwrap(), good());
    assert!(comparison.kept);
    let cpu = comparison
        .rows
        .iter()
        .find(|row| row.name == "CPU seconds")
        .unwrap();
    assert_eq!(
        (cpu.a, cpu.b, cpu.ratio),
        (None, Some(Amount::Seconds(0.0)), None)
    );
}

#[test]
fn what_is_no_report_is_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let said = |path: &Path| Outcome::read(path).unwrap_err().to_string();
    // A folder is asked for its report.
    assert!(said(folder.path()).ends_with("report.json cannot be read"));
    for (text, why) in [
        ("", "report.json is no report: EOF while parsing"),
        (
            "7",
            "report.json is no report: invalid type: integer `7`, expected a report",
        ),
        (
            "{ \"seed\": 3 }",
            "report.json is no report: missing field `format`",
        ),
        (
            "{ \"format\": 1 }",
            "report.json is no report: missing field `scenario`",
        ),
        (
            "{ \"format\": 2 }",
            "report.json is a report of format 2, and this program compares format 1",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        assert!(said(folder.path()).contains(why), "{text}: {}", said(&file));
    }
}
