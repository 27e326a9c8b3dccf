//! For each promise: a history that keeps it, and each way to break it.
#![allow(clippy::unwrap_used)]

use cargomail_node::api::Channel;
use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::placeholder::Category;

use super::*;
use crate::history::{Act, Fate, Fault, Ledger, Left, Mail, Provider, Reading, Sending, Transfer};
use crate::hostile::Role;

fn fate() -> Fate {
    Fate {
        copies: 1,
        delivered_at: Some(2),
        destination: Locator::parse("mailbox.insurance.test").ok(),
        read_at: Some(3),
        reading: Reading::Equal { octets: 7 },
        acknowledged_at: Some(4),
        ..Fate::open(Address::parse("bob@bar.test").unwrap())
    }
}

/// A mail of Alice's that Bob has read.
fn good() -> History {
    let mail = Mail {
        number: 1,
        author: Address::parse("alice@foo.test").unwrap(),
        category: Category::parse("healthcare").unwrap(),
        channel: Channel::Web,
        files: 0,
        answers: None,
        sending: Sending::Accepted {
            message_id: "<1@foo.test>".to_owned(),
            origin: Locator::parse("mailbox.hospital.test").unwrap(),
            resources: vec!["bafy".to_owned()],
            octets: 7,
            at: 1,
        },
        fates: vec![fate()],
    };
    History {
        mails: vec![mail],
        ledgers: vec![Ledger {
            site: "hospital.test".to_owned(),
            entries: 3,
            wrong: None,
        }],
        queues: vec![Left {
            place: "broker of foo.test".to_owned(),
            waiting: Vec::new(),
        }],
        providers: vec![Provider {
            site: "foo.test".to_owned(),
            asked: 1,
            roots: 1,
            searched: 1000,
            ..Provider::default()
        }],
        content_found: vec!["hospital.test".to_owned()],
        faults: Vec::new(),
        hostile: vec![Act {
            role: Role::Forger,
            against: "bar.test".to_owned(),
            what: "a message of alice@foo.test".to_owned(),
            refused: true,
            answer: "550".to_owned(),
            expected: "refused".to_owned(),
            given: Vec::new(),
            at: 2,
        }],
        transfers: vec![transfer("hospital.test", "insurance.test")],
        paths: [(Path::WebChannel, 1)].into(),
    }
}

#[test]
fn an_answer_to_a_mail_that_never_came_is_not_missed() {
    let mut history = good();
    let answer = Mail {
        number: 2,
        answers: Some(1),
        sending: Sending::NotDue,
        fates: Vec::new(),
        ..history.mails[0].clone()
    };
    history.mails.push(Mail {
        author: Address::parse("bob@bar.test").unwrap(),
        ..answer
    });
    // Bob has read what he was to answer.
    let judged = judge(Promise::EveryMailIsAccepted, &history);
    assert_eq!(judged.verdict, Verdict::Broken, "{judged:?}");
    history.mails[0].fates[0].reading = Reading::NotTried;
    let judged = judge(Promise::EveryMailIsAccepted, &history);
    assert_eq!((judged.verdict, judged.checked), (Verdict::Held, 1));
}

/// The content of Alice's mail, on its way.
fn transfer(origin: &str, destination: &str) -> Transfer {
    Transfer {
        origin: origin.to_owned(),
        destination: destination.to_owned(),
        octets: 7,
        roots: ["bafy".to_owned()].into(),
        ungranted: 0,
    }
}

fn site(name: &str, person: &str) -> Site {
    Site {
        name: Domain::parse(name).unwrap(),
        broker: false,
        mailbox: Locator::parse(&format!("mailbox.{name}")).ok(),
        people: vec![Address::parse(person).unwrap()],
    }
}

fn judge(promise: Promise, history: &History) -> Judged {
    let sites = [
        site("hospital.test", "alice@foo.test"),
        site("insurance.test", "bob@bar.test"),
        site("others.test", "carol@bar.test"),
    ];
    let terms = Terms {
        sites: &sites,
        promptly: 60,
        paths: &[Path::WebChannel],
        troubles: &Troubles::of(history),
    };
    promise.judge(history, terms)
}

/// The promises that are broken after a change to the good history, with what is told.
fn broken_by(change: impl FnOnce(&mut History)) -> Vec<(&'static str, String)> {
    let mut history = good();
    change(&mut history);
    let judged = Promise::standard()
        .into_iter()
        .map(|promise| judge(promise, &history));
    judged
        .filter(|judged| judged.verdict == Verdict::Broken)
        .map(|judged| (judged.promise.name(), judged.against.join("\n")))
        .collect()
}

fn names(broken: &[(&'static str, String)]) -> Vec<&'static str> {
    broken.iter().map(|(name, _)| *name).collect()
}

/// The promises that are broken after a change to Bob's fate.
fn broken_by_fate(change: impl FnOnce(&mut Fate)) -> Vec<&'static str> {
    names(&broken_by(|history| change(&mut history.mails[0].fates[0])))
}

#[test]
fn a_mail_that_arrives_keeps_every_promise() {
    let history = good();
    for promise in Promise::standard() {
        assert_eq!(judge(promise, &history).verdict, Verdict::Held, "{promise}");
    }
    assert_eq!(judge(Promise::NothingIsReported, &history).verdict, Verdict::Held);
}

#[test]
fn a_mail_whose_content_never_comes_and_is_reported_keeps_them_too() {
    let change = |fate: &mut Fate| {
        fate.reports = 1;
        fate.acknowledged_at = None;
        fate.reading = Reading::Unreadable {
            why: "the origin does not give them".to_owned(),
        };
    };
    assert_eq!(broken_by_fate(change), Vec::<&str>::new());
    let mut history = good();
    change(&mut history.mails[0].fates[0]);
    let judged = judge(Promise::NothingIsReported, &history);
    assert_eq!(judged.verdict, Verdict::Broken);
    assert_eq!(
        judged.against,
        ["mail 1 <1@foo.test> to bob@bar.test was reported to alice@foo.test"]
    );
}

#[test]
fn a_mail_that_nobody_takes_breaks_a_promise() {
    let broken = broken_by(|history| {
        history.mails[0].fates.clear();
        history.transfers.clear();
        history.mails[0].sending = Sending::Not {
            why: "no node".to_owned(),
        };
    });
    assert_eq!(names(&broken), ["every-mail-is-accepted"]);
    assert!(broken[0].1.contains("alice@foo.test was not accepted: no node"));
}

#[test]
fn a_mail_that_is_lost_delivered_twice_or_reported_wrongly_has_not_one_final_state() {
    let lost = |fate: &mut Fate| *fate = Fate::open(fate.recipient.clone());
    assert_eq!(broken_by_fate(lost), ["one-final-state"]);
    assert_eq!(broken_by_fate(|fate| fate.copies = 2), ["one-final-state"]);
    assert_eq!(broken_by_fate(|fate| fate.reports = 1), ["one-final-state"]);
    let told_twice = |fate: &mut Fate| {
        *fate = Fate::open(fate.recipient.clone());
        fate.reports = 2;
    };
    assert_eq!(broken_by_fate(told_twice), ["one-final-state"]);
}

#[test]
fn what_differs_or_cannot_be_read_breaks_a_promise() {
    let why = || "part 1".to_owned();
    for reading in [
        Reading::Different { why: why() },
        Reading::Unreadable { why: why() },
        Reading::NotTried,
    ] {
        assert_eq!(
            broken_by_fate(|fate| fate.reading = reading),
            ["read-equals-written"]
        );
    }
    // A report does not excuse it.
    let different = |fate: &mut Fate| {
        fate.reports = 1;
        fate.reading = Reading::Different { why: why() };
    };
    assert_eq!(broken_by_fate(different), ["read-equals-written"]);
}

#[test]
fn a_receipt_that_is_missing_at_the_origin_breaks_a_promise() {
    assert_eq!(
        broken_by_fate(|fate| fate.acknowledged_at = None),
        ["delivered-is-acknowledged"]
    );
}

#[test]
fn a_ledger_that_does_not_verify_breaks_a_promise() {
    let broken = broken_by(|history| history.ledgers[0].wrong = Some("entry 2".to_owned()));
    assert_eq!(broken, [("ledgers-verify", "hospital.test: entry 2".to_owned())]);
}

#[test]
fn a_provider_that_gives_or_holds_content_breaks_a_promise() {
    for broken in [
        broken_by(|history| history.providers[0].answered.push("it gave it".to_owned())),
        broken_by(|history| history.providers[0].found.push("content".to_owned())),
        // A search that finds nothing even where content must be proves nothing.
        broken_by(|history| history.content_found.clear()),
    ] {
        assert_eq!(names(&broken), ["provider-holds-no-content"]);
    }
    let mut history = good();
    history.providers.clear();
    let judged = judge(Promise::ProviderHoldsNoContent, &history);
    assert_eq!(judged.verdict, Verdict::NothingToCheck);
}

#[test]
fn what_still_waits_breaks_a_promise() {
    let broken = broken_by(|history| history.queues[0].waiting.push("<1@foo.test>".to_owned()));
    assert_eq!(
        broken,
        [("queues-drain", "broker of foo.test: <1@foo.test>".to_owned())]
    );
}

#[test]
fn harm_that_was_not_refused_breaks_a_promise() {
    let broken = broken_by(|history| history.hostile[0].refused = false);
    let told = "forger against bar.test: a message of alice@foo.test was answered 550, expected refused";
    assert_eq!(broken, [("harm-is-refused", told.to_owned())]);
}

#[test]
fn much_evidence_is_counted_and_its_beginning_shown() {
    let mut history = good();
    history.queues[0].waiting = vec!["a mail".to_owned(); SHOWN + 5];
    let judged = judge(Promise::QueuesDrain, &history);
    assert_eq!((judged.broken, judged.against.len()), (SHOWN + 5, SHOWN));
}

#[test]
fn content_that_no_mail_sends_there_breaks_a_promise() {
    let told = |history: &mut History, transfer: Transfer| history.transfers.push(transfer);
    for (origin, destination) in [
        // Carol is no recipient, and Alice's content is nowhere else.
        ("hospital.test", "others.test"),
        ("insurance.test", "hospital.test"),
        ("hospital.test", "villain.test"),
    ] {
        let broken = broken_by(|history| told(history, transfer(origin, destination)));
        let against = format!("{origin} sent {destination} bafy, and no mail says so");
        assert_eq!(broken, [("no-byte-without-a-grant", against)]);
    }
    let other = Transfer {
        roots: ["another".to_owned()].into(),
        ..transfer("hospital.test", "insurance.test")
    };
    assert_eq!(
        names(&broken_by(|history| told(history, other))),
        ["no-byte-without-a-grant"]
    );
    let ungranted = Transfer {
        roots: Default::default(),
        ungranted: 3,
        ..transfer("hospital.test", "insurance.test")
    };
    let broken = broken_by(|history| told(history, ungranted));
    assert!(broken[0].1.contains("3 octets without any grant"), "{broken:?}");
    // What somebody gave to a villain as to a friend, and what a villain sends, is no breach.
    let given = broken_by(|history| {
        told(history, transfer("villain.test", "insurance.test"));
        let mut friend = transfer("hospital.test", "villain.test");
        friend.roots = ["a gift".to_owned()].into();
        told(history, friend);
        history.hostile[0].given.push("a gift".to_owned());
    });
    assert_eq!(given, []);
    // But it was given to nobody else.
    let elsewhere = broken_by(|history| {
        told(history, transfer("hospital.test", "others.test"));
        history.hostile[0].given.push("bafy".to_owned());
    });
    assert_eq!(names(&elsewhere), ["no-byte-without-a-grant"]);
}

fn fault(site: &str, at: u64) -> Fault {
    Fault {
        site: site.to_owned(),
        with: Vec::new(),
        what: "failed",
        before_mail: 1,
        at,
    }
}

/// The promises that are broken when the mail takes ten minutes and these faults happen.
fn slow_while(faults: Vec<Fault>) -> Vec<&'static str> {
    let broken = broken_by(|history| {
        history.mails[0].fates[0].delivered_at = Some(600_001);
        history.faults = faults;
    });
    names(&broken)
}

#[test]
fn a_mail_that_waits_although_everybody_whom_it_needs_is_well_breaks_a_promise() {
    let late = ["others-are-served"];
    assert_eq!(slow_while(Vec::new()), late);
    // Nobody of these has to do with it.
    assert_eq!(slow_while(vec![fault("others.test", 0)]), late);
    let long_ago = vec![fault("foo.test", 700_000), fault("foo.test", 800_000)];
    assert_eq!(slow_while(long_ago), late);
    for site in ["foo.test", "hospital.test", "bar.test", "insurance.test"] {
        assert_eq!(slow_while(vec![fault(site, 30_000)]), Vec::<&str>::new());
        // It should have been there long before.
        assert_eq!(slow_while(vec![fault(site, 300_000)]), late);
        let over = vec![fault(site, 0), fault(site, 1)];
        assert_eq!(slow_while(over), Vec::<&str>::new());
    }
    let region = Fault {
        with: vec!["bar.test".to_owned()],
        ..fault("others.test", 5)
    };
    assert_eq!(slow_while(vec![region]), Vec::<&str>::new());
}

#[test]
fn a_mail_that_is_reported_although_everybody_whom_it_needs_is_well_breaks_a_promise() {
    let reported = |faults: Vec<Fault>, destination: Option<Locator>| {
        let broken = broken_by(|history| {
            history.faults = faults;
            history.mails[0].fates[0] = Fate {
                reports: 1,
                reported_at: Some(600_001),
                destination,
                ..Fate::open(Address::parse("bob@bar.test").unwrap())
            };
        });
        names(&broken)
    };
    let late = ["others-are-served"];
    let destination = || Locator::parse("mailbox.insurance.test").ok();
    for destination in [None, destination()] {
        assert_eq!(reported(Vec::new(), destination.clone()), late);
        let later = vec![fault("insurance.test", 300_000)];
        assert_eq!(reported(later, destination.clone()), late);
        let others = vec![fault("others.test", 5)];
        assert_eq!(reported(others, destination.clone()), late);
        // Also where it is not known that somebody chose it.
        let before = vec![fault("insurance.test", 5)];
        assert_eq!(reported(before, destination), Vec::<&str>::new());
    }
}

#[test]
fn what_was_there_once_and_is_there_no_more_breaks_a_promise() {
    let broken = broken_by(|history| history.mails[0].fates[0].copies = 0);
    let against = "mail 1 <1@foo.test> to bob@bar.test was delivered or reported, and that is there no more";
    assert_eq!(broken, [("one-final-state", against.to_owned())]);
}

#[test]
fn a_way_that_nothing_went_breaks_a_promise() {
    let broken = broken_by(|history| history.paths.clear());
    let against = "nothing went this way: web-channel".to_owned();
    assert_eq!(broken, [("paths-are-taken", against)]);
    let terms = Terms {
        sites: &[],
        promptly: 60,
        paths: &[],
        troubles: &Troubles::default(),
    };
    let judged = Promise::PathsAreTaken.judge(&good(), terms);
    assert_eq!(judged.verdict, Verdict::NothingToCheck);
}
