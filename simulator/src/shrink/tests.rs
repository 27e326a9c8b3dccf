//! What a search leaves, with judges that need no world.
#![allow(clippy::unwrap_used)]

use cargomail_protocol::address::Address;

use super::*;
use crate::scenario::Fault;

fn storm() -> Scenario {
    Scenario::find("storm").unwrap()
}

/// Searches with a judge that says whether queues do not drain.
fn searched(scenario: &Scenario, tries: usize, judge: impl Fn(&Scenario) -> bool) -> anyhow::Result<Shrunk> {
    search(scenario, None, tries, |candidate, _, _| {
        candidate.check().expect("only what can be run is run");
        assert_eq!(candidate.seed, scenario.seed);
        Ok(if judge(candidate) {
            vec![Promise::QueuesDrain]
        } else {
            Vec::new()
        })
    })
}

fn count(shrunk: &Shrunk, what: &str) -> Option<(usize, usize)> {
    let left = shrunk.left_out.iter().find(|left| left.what == what)?;
    Some((left.before, left.after))
}

#[test]
fn what_has_nothing_to_do_with_it_is_left_out() {
    let bob = Address::parse("bob@bar.test").unwrap();
    let no_dns =
        |fault: &Fault| fault.site.as_str() == "bar.test" && fault.how == crate::scenario::How::NoDns;
    let judge = |scenario: &Scenario| {
        let gets = scenario.traffic.iter().any(|traffic| traffic.to.contains(&bob));
        gets && scenario.faults.iter().any(no_dns)
    };
    let shrunk = searched(&storm(), 1000, judge).unwrap();
    let left = &shrunk.scenario;
    assert!(!shrunk.is_spent);
    assert_eq!(
        (left.mails(), left.traffic.len(), left.faults.len()),
        (1, 1, 1),
        "{left:?}"
    );
    // Bob has a broker and a mailbox, somebody else writes to him, and nobody else is there.
    assert_eq!(left.everybody().len(), 2, "{left:?}");
    assert!(left.sites.len() <= 4, "{left:?}");
    assert_eq!(left.traffic[0].files, [0, 0]);
    assert_eq!(
        (left.promises.clone(), left.also.len()),
        (vec![Promise::QueuesDrain], 0)
    );
    assert_eq!(count(&shrunk, "mails"), Some((50, 1)));
    assert_eq!(count(&shrunk, "faults"), Some((8, 1)));
    let written = shrunk.text().unwrap();
    assert!(
        written.starts_with("# What is left of storm that still breaks queues-drain with seed 4.\n"),
        "{written}"
    );
    Scenario::read("smaller.toml", &written).unwrap();
    let told = shrunk.to_string();
    assert!(told.contains("still broken by 1 mail, 1 fault and "), "{told}");
    assert!(
        told.lines()
            .any(|line| line.split_whitespace().eq(["mails", "50", "→", "1"])),
        "{told}"
    );
}

#[test]
fn as_many_mails_are_kept_as_are_needed() {
    let shrunk = searched(&storm(), 1000, |scenario| scenario.mails() >= 7).unwrap();
    assert_eq!(shrunk.scenario.mails(), 7);
    assert!(shrunk.scenario.faults.is_empty());
}

#[test]
fn faults_and_harm_move_to_the_mails_that_are_left() {
    let hostile = Scenario::find("hostile").unwrap();
    let acts = hostile.hostile.len();
    let shrunk = searched(&hostile, 1000, |scenario| scenario.hostile.len() == acts).unwrap();
    // Some of them abuse a mail that was written before.
    assert_eq!(shrunk.scenario.mails(), 2);
    assert!(shrunk.scenario.hostile.iter().all(|hostile| hostile.before <= 2));
    let forgers = |scenario: &Scenario| {
        let mut roles = scenario.hostile.iter().map(|hostile| hostile.role);
        roles.any(|role| role == crate::hostile::Role::Forger)
    };
    let shrunk = searched(&hostile, 1000, forgers).unwrap();
    assert_eq!((shrunk.scenario.mails(), shrunk.scenario.hostile.len()), (1, 1));
    assert_eq!(shrunk.scenario.hostile[0].before, 1);
    // Eight faults that do not meet each other need so many mails.
    let shrunk = searched(&storm(), 1000, |scenario| scenario.faults.len() == 8).unwrap();
    assert!(shrunk.scenario.mails() < 20, "{:?}", shrunk.scenario);
}

#[test]
fn there_are_no_more_tries_than_allowed_and_nothing_is_tried_twice() {
    let seen = std::cell::RefCell::new(HashSet::new());
    let judge = |scenario: &Scenario| {
        let is_new = seen.borrow_mut().insert(format!("{scenario:?}"));
        assert!(is_new || scenario.promises.len() > 1, "{scenario:?}");
        scenario.mails() >= 7
    };
    let shrunk = searched(&storm(), 3, judge).unwrap();
    assert_eq!((shrunk.tries, shrunk.is_spent), (3, true));
    assert_eq!(seen.borrow().len(), 4);
    assert!(shrunk.to_string().contains("There was more to try"));
}

#[test]
fn what_only_breaks_as_it_is_stays_as_it_is() {
    let storm = storm();
    let same = format!("{:?}{:?}{:?}", storm.sites, storm.traffic, storm.faults);
    let shrunk = searched(&storm, 1000, |scenario| {
        format!("{:?}{:?}{:?}", scenario.sites, scenario.traffic, scenario.faults) == same
    })
    .unwrap();
    assert!(shrunk.left_out.is_empty() && !shrunk.is_spent);
    assert!(shrunk.to_string().contains("Nothing could be left out."));
}

#[test]
fn the_promise_that_is_asked_for_must_be_broken() {
    let told = searched(&storm(), 9, |_| false).unwrap_err().to_string();
    assert!(
        told.contains("storm breaks no promise with seed 4") && told.contains("--seeds"),
        "{told}"
    );
    let breaks =
        |_: &Scenario, _: &Scenario, _: usize| Ok(vec![Promise::QueuesDrain, Promise::OneFinalState]);
    let told = search(&storm(), Some(Promise::LedgersVerify), 9, breaks)
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("storm does not break ledgers-verify with seed 4"),
        "{told}"
    );
    let shrunk = search(&storm(), Some(Promise::OneFinalState), 9, breaks).unwrap();
    assert_eq!(shrunk.scenario.promises, [Promise::OneFinalState]);
}

#[test]
fn a_run_that_cannot_be_made_breaks_nothing_but_the_first_must_be_made() {
    let first_only = |_: &Scenario, _: &Scenario, number: usize| match number {
        0 => Ok(vec![Promise::QueuesDrain]),
        _ => anyhow::bail!("nothing to abuse"),
    };
    assert!(
        search(&storm(), None, 20, first_only)
            .unwrap()
            .left_out
            .is_empty()
    );
    let never = |_: &Scenario, _: &Scenario, _: usize| anyhow::bail!("no world to be had");
    assert_eq!(
        search(&storm(), None, 20, never).unwrap_err().to_string(),
        "no world to be had"
    );
}

#[test]
fn a_search_that_is_stopped_leaves_nothing() {
    let stopped = |_: &Scenario, _: &Scenario, number: usize| match number {
        0 => Ok(vec![Promise::QueuesDrain]),
        _ => Err(anyhow::Error::from(Stopped).context("a run of many")),
    };
    let error = search(&storm(), None, 20, stopped).unwrap_err();
    assert_eq!(format!("{error:#}"), "a run of many: stopped by Ctrl-C");
}

#[test]
fn ways_that_nothing_went_are_not_looked_for_with_less() {
    let breaks = |broken: &'static [Promise]| {
        move |_: &Scenario, _: &Scenario, number: usize| {
            assert!(number == 0 || !broken.ends_with(&[Promise::PathsAreTaken]));
            Ok(broken.to_vec())
        }
    };
    for promise in [None, Some(Promise::PathsAreTaken)] {
        let told = search(&storm(), promise, 9, breaks(&[Promise::PathsAreTaken])).unwrap_err();
        assert!(told.to_string().contains("always goes fewer ways"), "{told}");
    }
    let both = breaks(&[Promise::PathsAreTaken, Promise::OneFinalState]);
    let shrunk = search(&storm(), None, 9, both).unwrap();
    assert_eq!(shrunk.promise, Promise::OneFinalState);
}

#[test]
fn a_name_with_line_breaks_makes_no_other_file() {
    let mut named = storm();
    named.name = "a\nseed = 7\u{7}.toml".to_owned();
    let shrunk = searched(&named, 1, |_| true).unwrap();
    let again = Scenario::read("again", &shrunk.text().unwrap()).unwrap();
    assert_eq!(again.seed, 4);
}

#[test]
fn answers_are_left_out_also_where_something_fails_late() {
    let churn = Scenario::find("churn").unwrap();
    let judge = |scenario: &Scenario| !scenario.faults.is_empty();
    let shrunk = searched(&churn, 1000, judge).unwrap();
    let [traffic] = &*shrunk.scenario.traffic else {
        panic!("{:?}", shrunk.scenario.traffic);
    };
    assert_eq!((traffic.count, traffic.replies), (1, 0));
    assert_eq!(shrunk.scenario.faults.len(), 1);
    let judge =
        |scenario: &Scenario| scenario.mails() > 10 && scenario.traffic.iter().any(|all| all.replies > 0);
    let shrunk = searched(&churn, 1000, judge).unwrap();
    assert_eq!(shrunk.scenario.mails(), 11);
}

#[test]
fn a_key_that_is_withdrawn_is_one_that_was_changed() {
    let keys = Scenario::find("keys").unwrap();
    let judge = |scenario: &Scenario| {
        let mut faults = scenario.faults.iter();
        faults.any(|fault| fault.how == crate::scenario::How::OldKeyWithdrawn)
    };
    let shrunk = searched(&keys, 1000, judge).unwrap();
    assert_eq!(shrunk.scenario.faults.len(), 2, "{:?}", shrunk.scenario.faults);
}
