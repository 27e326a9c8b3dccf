//! In which order the steps of a walk stand, and between whom.
#![allow(clippy::unwrap_used)]

use cargomail_protocol::address::Address;
use cargomail_protocol::placeholder::Category;

use super::*;
use crate::history::{Fault, Reading};

/// A mail from Alice, posted to a mailbox of her hospital and accepted at 100.
fn mail(to: &str, destination: Option<&str>) -> Mail {
    let fate = Fate {
        copies: 1,
        delivered_at: Some(200),
        destination: destination.map(|locator| Locator::parse(locator).unwrap()),
        read_at: Some(400),
        reading: Reading::Equal { octets: 7 },
        acknowledged_at: Some(300),
        ..Fate::open(Address::parse(to).unwrap())
    };
    Mail {
        number: 1,
        author: Address::parse("alice@foo.test").unwrap(),
        category: Category::parse("healthcare").unwrap(),
        channel: Channel::Smtp,
        files: 0,
        answers: None,
        sending: Sending::Accepted {
            message_id: "<1@foo.test>".to_owned(),
            origin: Locator::parse("mailbox.hospital.test").unwrap(),
            resources: Vec::new(),
            octets: 7,
            at: 100,
        },
        fates: vec![fate],
    }
}

fn fault(site: &str, what: &'static str, at: u64) -> Fault {
    Fault {
        site: site.to_owned(),
        with: Vec::new(),
        what,
        before_mail: 1,
        at,
    }
}

/// The steps from first to last: whence, whither, what; those without a time of their own in brackets.
fn steps(mail: Mail, faults: Vec<Fault>) -> Vec<String> {
    let history = History {
        mails: vec![mail],
        faults,
        ..History::default()
    };
    let chosen = longest_and_median(&history);
    let (_, walk) = chosen.first().unwrap();
    let cast = Cast::of(walk);
    let name = |party: usize| cast.parties[party].name.as_str();
    let tell = |row: Row| {
        let step = match &row.step {
            Step::Passes { from, to, what } => format!("{} > {}: {what}", name(*from), name(*to)),
            Step::Befalls { whom, what } => format!("{} {what}", name(*whom)),
        };
        match row.known {
            Known::Seen => step,
            Known::Shown => format!("({step})"),
        }
    };
    walk.rows(&cast, &history).into_iter().map(tell).collect()
}

#[test]
fn what_has_no_time_stands_just_before_what_shows_it() {
    let faults = vec![
        fault("bar.test", "stopped", 50),
        fault("elsewhere.test", "stopped", 120),
        fault("bar.test", "started", 150),
        fault("hospital.test", "stopped", 900),
    ];
    assert_eq!(
        steps(mail("bob@bar.test", Some("mailbox.insurance.test")), faults),
        [
            "bar.test stopped",
            "(alice@foo.test > mailbox.hospital.test: text, share)",
            "alice@foo.test > foo.test: placeholder",
            "bar.test well again",
            "(foo.test > bar.test: by SMTP)",
            "(bar.test > mailbox.insurance.test: notification)",
            "bar.test > bob@bar.test: delivered",
            "(mailbox.hospital.test > mailbox.insurance.test: resources)",
            "mailbox.insurance.test > mailbox.hospital.test: receipt",
            "mailbox.insurance.test > bob@bar.test: read as written",
        ]
    );
}

#[test]
fn who_has_two_roles_has_one_lifeline_and_nothing_is_moved_within_a_mailbox() {
    let steps = steps(mail("bob@foo.test", Some("mailbox.hospital.test")), Vec::new());
    assert_eq!(
        steps,
        [
            "(alice@foo.test > mailbox.hospital.test: text, share)",
            "alice@foo.test > foo.test: placeholder",
            "(foo.test > mailbox.hospital.test: notification)",
            "foo.test > bob@foo.test: delivered",
            "(mailbox.hospital.test > mailbox.hospital.test: nothing is moved)",
            "mailbox.hospital.test > mailbox.hospital.test: receipt",
            "mailbox.hospital.test > bob@foo.test: read as written",
        ]
    );
}

#[test]
fn what_went_to_an_unknown_place_is_not_drawn() {
    let steps = steps(mail("bob@bar.test", None), Vec::new());
    assert!(
        steps
            .iter()
            .all(|step| !step.contains("resources") && !step.contains("receipt"))
    );
    assert!(steps.contains(&"bar.test > bob@bar.test: delivered".to_owned()));
}

#[test]
fn the_longest_comes_first_then_the_median_one() {
    let took = |number: usize, took: u64| {
        let mut mail = mail("bob@bar.test", None);
        mail.number = number;
        mail.fates[0].acknowledged_at = Some(100 + took);
        mail
    };
    let mut history = History {
        mails: vec![took(1, 50), took(2, 900), took(3, 70)],
        ..History::default()
    };
    let numbers = |history: &History| -> Vec<usize> {
        let chosen = longest_and_median(history);
        chosen.iter().map(|(_, walk)| walk.mail.number).collect()
    };
    assert_eq!(numbers(&history), [2, 3]);
    history.mails.truncate(1);
    assert_eq!(numbers(&history), [1]);
    history.mails.clear();
    assert!(numbers(&history).is_empty());
}
