//! What stands in a report, and that a page is well-formed whatever comes from mails and scenarios.
#![allow(clippy::unwrap_used)]

use cargomail_node::api::Channel;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::placeholder::Category;
use xml::reader::{EventReader, XmlEvent};

use super::*;
use crate::cost::{Phase, Work};
use crate::history::{Act, Fault, Mail, Reading};
use crate::hostile::Role;
use crate::path::Path;

/// Text that would be markup, break out of an attribute, or turn the line around.
const HOSTILE: &str = "\"><script>alert('1')</script><!-- & \u{0}\u{202e}]]>";

/// A page as a reader of XML sees it.
struct Page {
    octets: usize,
    elements: Vec<String>,
    attributes: Vec<(String, String)>,
    text: String,
}

impl Page {
    fn of(report: &Report) -> Self {
        let written = html::page(report).to_string();
        let mut page = Self {
            octets: written.len(),
            elements: Vec::new(),
            attributes: Vec::new(),
            text: String::new(),
        };
        for event in EventReader::new(written.as_bytes()) {
            match event.unwrap() {
                XmlEvent::StartElement { name, attributes, .. } => {
                    page.elements.push(name.local_name);
                    let named = attributes.into_iter().map(|one| (one.name.local_name, one.value));
                    page.attributes.extend(named);
                }
                XmlEvent::Characters(text) => page.text.push_str(&text),
                _ => {}
            }
        }
        page
    }

    fn count(&self, element: &str) -> usize {
        self.elements.iter().filter(|name| *name == element).count()
    }
}

fn scenario() -> Scenario {
    Scenario::find("four-domains").unwrap()
}

/// A mail from Alice to Bob that was read after `took` milliseconds.
fn mail(number: usize, took: u64) -> Mail {
    let at = number as u64;
    let fate = Fate {
        copies: 1,
        delivered_at: Some(at + took / 2),
        destination: Some(Locator::parse("mailbox.insurance.test").unwrap()),
        read_at: Some(at + took),
        reading: Reading::Equal { octets: 7 },
        acknowledged_at: Some(at + took),
        ..Fate::open(Address::parse("bob@bar.test").unwrap())
    };
    Mail {
        number,
        author: Address::parse("alice@foo.test").unwrap(),
        category: Category::parse("healthcare").unwrap(),
        channel: Channel::Web,
        files: 1,
        answers: None,
        sending: Sending::Accepted {
            message_id: format!("<{number}@foo.test>"),
            origin: Locator::parse("mailbox.hospital.test").unwrap(),
            resources: vec![format!("text-{number}"), "a file of all".to_owned()],
            octets: 7,
            at,
        },
        fates: vec![fate],
    }
}

fn cost() -> Cost {
    let phase = |cpu_seconds: f64, peak_memory: u64| Phase {
        seconds: 2.0 * cpu_seconds,
        cpu_seconds,
        peak_memory: Some(peak_memory),
    };
    Cost {
        memory_before: Some(10 << 20),
        laying_out: phase(0.5, 14 << 20),
        traffic: phase(6.0, 30 << 20),
        checks: phase(0.25, 32 << 20),
        nodes: 4,
        people: 4,
        mails: 24,
        memory_read: Some(250e-9),
        work: Some(Work {
            pieces: 2000,
            operations: 424,
        }),
        ..Cost::default()
    }
    .summed()
}

fn report_of(history: History) -> Report {
    Report::of(&scenario(), history, Duration::from_secs(9), "virtual", cost())
}

fn fault(what: &'static str, at: u64) -> Fault {
    Fault {
        site: "insurance.test".to_owned(),
        with: Vec::new(),
        what,
        before_mail: 1,
        at,
    }
}

#[test]
fn a_spread_of_nothing_is_nothing_and_of_twenty_the_nineteenth() {
    assert_eq!(Spread::of(Vec::new()), Spread::default());
    let spread = Spread::of((1..=20).rev().collect());
    assert_eq!((spread.median, spread.p95, spread.longest), (10, 19, 20));
}

#[test]
fn the_command_that_repeats_a_run_is_one_that_a_shell_takes() {
    let mut report = report_of(History::default());
    assert_eq!(
        report.command(),
        format!("cargomail-simulator run four-domains --seed {}", report.seed)
    );
    report.mode = "real";
    report.scenario = "my $(own)'s.toml".to_owned();
    assert_eq!(
        report.command(),
        format!(
            "cargomail-simulator run 'my $(own)'\\''s.toml' --seed {} --real",
            report.seed
        )
    );
}

#[test]
fn a_page_shows_the_outcome_the_plots_and_two_walks() {
    let history = History {
        mails: vec![mail(1, 4000), mail(2, 300), mail(3, 90_000)],
        faults: vec![fault("stopped", 10), fault("started", 500)],
        ..History::default()
    };
    let report = report_of(history);
    let page = Page::of(&report);
    // Latencies, the queue, two sorts of bars, two walks.
    assert_eq!(page.count("svg"), 6);
    assert_eq!(page.count("desc"), 6);
    for word in [
        "four-domains",
        &report.command(),
        "every-mail-is-accepted",
        "insurance.test stopped",
        "6 resources were sent, 4 of them different",
        "3 mails, content of 3",
        "+ 1.5 min",
        "by web channel",
    ] {
        assert!(page.text.contains(word), "{word}: {}", page.text);
    }
    let scopes = page.attributes.iter().filter(|(name, _)| name == "scope").count();
    assert_eq!(scopes, page.count("th"));
}

#[test]
fn a_page_shows_what_was_done_to_do_harm_and_which_ways_things_went() {
    let act = |refused| Act {
        role: Role::Forger,
        against: "bar.test".to_owned(),
        what: "a message in Alice's name".to_owned(),
        refused,
        answer: "250 taken".to_owned(),
        expected: "refused, or in junk".to_owned(),
        given: Vec::new(),
        at: 2500,
    };
    let mut scenario = scenario();
    scenario.paths = vec![Path::SentLater];
    let history = History {
        hostile: vec![act(false)],
        paths: [(Path::Smtp, 7)].into(),
        ..History::default()
    };
    let report = Report::of(&scenario, history, Duration::ZERO, "virtual", cost());
    let text = Page::of(&report).text;
    for row in [
        "forgerbar.testa message in Alice's namerefused, or in junk250 takenBROKEN2.5 s",
        "smtp7sent-later0yes",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
    let nothing = Page::of(&report_of(History::default())).text;
    assert!(!nothing.contains("done to do harm") && !nothing.contains("Ways that things went"));
}

#[test]
fn what_a_run_cost_stands_on_the_terminal_on_the_page_and_in_the_json() {
    let report = report_of(History::default());
    let told = report.to_string();
    let line = "it cost this machine 13.5 s and 6.75 s of CPU: 250 ms a mail, 125 ms a node to lay out and start; \
                32 MiB of memory, 1 MiB a node";
    assert!(told.contains(line), "{told}");
    let page = Page::of(&report).text;
    for word in [
        "What it cost to simulate",
        "for each of 24 mails",
        "250 ms",
        "14 MiB",
        "250 ns",
        "101.0",
    ] {
        assert!(page.contains(word), "{word}: {page}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["cost"]["traffic"]["cpu_seconds"], 6.0);
    assert_eq!(json["cost"]["peak_memory"], 32 << 20);
    let mut before = json["cost"].clone();
    for later in ["memory_read", "work"] {
        before.as_object_mut().unwrap().remove(later);
    }
    let before: Cost = serde_json::from_value(before).unwrap();
    assert_eq!(
        (before.memory_read, before.work),
        (None, None),
        "a report of before"
    );
    let unknown = costs::told(&Cost::default());
    assert!(
        unknown.ends_with("0 of CPU: – a mail, – a node to lay out and start; – of memory, – a node"),
        "{unknown}"
    );
}

#[test]
fn a_broker_knows_who_writes_and_has_no_content_and_a_mailbox_has_it() {
    let history = History {
        mails: vec![mail(1, 4000), mail(2, 300)],
        ..History::default()
    };
    let text = Page::of(&report_of(history)).text;
    // foo.test, bar.test: placeholders; hospital.test: posted; insurance.test: for the recipient. Alice and Bob each.
    assert_eq!(text.matches("2 mails, no content").count(), 4, "{text}");
    assert_eq!(text.matches("2 mails, content of 2").count(), 4, "{text}");
}

#[test]
fn a_destination_that_was_notified_of_what_never_came_has_no_content() {
    let mut reported = mail(1, 4000);
    reported.fates[0] = Fate {
        copies: 1,
        delivered_at: Some(2000),
        destination: reported.fates[0].destination.take(),
        reports: 1,
        reported_at: Some(4000),
        ..Fate::open(reported.fates[0].recipient.clone())
    };
    let text = Page::of(&report_of(History {
        mails: vec![reported],
        ..History::default()
    }))
    .text;
    // The brokers and the destination, of Alice and Bob; only the origin has it.
    assert_eq!(text.matches("1 mails, no content").count(), 6, "{text}");
    assert_eq!(text.matches("1 mails, content of 1").count(), 2, "{text}");
}

#[test]
fn hostile_text_stays_text() {
    let mut mail = mail(1, 4000);
    if let Sending::Accepted {
        message_id,
        resources,
        ..
    } = &mut mail.sending
    {
        HOSTILE.clone_into(message_id);
        resources.push(HOSTILE.to_owned());
    }
    mail.author = Address::parse("a&'lice@foo.test").unwrap();
    mail.category = Category::parse("&'#script").unwrap();
    mail.fates[0].copies = 2;
    let never_accepted = Mail {
        sending: Sending::Not {
            why: HOSTILE.to_owned(),
        },
        fates: Vec::new(),
        ..mail.clone()
    };
    let mut report = Report::of(
        &Scenario {
            name: HOSTILE.to_owned(),
            description: HOSTILE.to_owned(),
            ..scenario()
        },
        History {
            mails: vec![mail, never_accepted],
            faults: vec![Fault {
                site: HOSTILE.to_owned(),
                ..fault("stopped", 3)
            }],
            ..History::default()
        },
        Duration::ZERO,
        "real",
        cost(),
    );
    report.promises[0].what = HOSTILE.to_owned();
    let page = Page::of(&report);
    assert_eq!(page.count("script"), 0);
    assert!(
        page.text
            .contains("<script>alert('1')</script><!-- & \u{fffd}\u{fffd}]]>")
    );
    for (name, value) in &page.attributes {
        assert!(!name.starts_with("on"), "{name}");
        assert!(
            !["src", "href", "style"].contains(&name.as_str()),
            "{name}={value}"
        );
    }
}

#[test]
fn a_page_lets_nothing_be_loaded_or_run() {
    let page = Page::of(&report_of(History::default()));
    let mut policies = page.attributes.iter().filter(|(name, _)| name == "content");
    let (_, policy) = policies.next().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn a_run_without_mails_has_a_page_too() {
    let page = Page::of(&report_of(History::default()));
    assert_eq!(page.count("svg"), 0);
    for word in [
        "no times",
        "none was under way",
        "No resource",
        "no walk",
        "There were no mails",
    ] {
        assert!(page.text.contains(word), "{word}");
    }
}

#[test]
fn a_hundred_thousand_mails_make_a_page_of_bounded_size_with_what_is_broken_on_top() {
    let mut mails: Vec<Mail> = (1..=100_000)
        .map(|number| mail(number, number as u64 % 9973))
        .collect();
    mails[77_776].fates[0].copies = 2;
    let report = report_of(History {
        mails,
        faults: (0..3000).map(|at| fault("stopped", at)).collect(),
        ..History::default()
    });
    let page = Page::of(&report);
    assert!(page.octets < 400_000, "{} octets", page.octets);
    assert!(page.text.contains("The 200 most interesting of 100000"));
    let after = page.text.split("Mails and their recipients").nth(1).unwrap();
    let first = after.find("77777").unwrap();
    assert!(first < after.find("held").unwrap(), "{after}");
}

#[test]
fn a_folder_gets_a_page_and_tables_and_a_name_with_json_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let report = report_of(History {
        mails: vec![mail(1, 4000)],
        ..History::default()
    });
    let place = folder.path().join("a").join("b");
    let files = files::Files::open(&place).unwrap();
    assert!(files.shown().ends_with("report.html"));
    files.write(&report).unwrap();
    let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
    assert!(read("report.html").starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
    assert!(read("report.json").contains("\"format\": 1"));
    assert!(read("promises.csv").contains("every-mail-is-accepted,held,1,0,1 mails,\r\n"));
    let mails = read("mails.csv");
    let row = "1,,<1@foo.test>,alice@foo.test,bob@bar.test,healthcare,web,1,7,1,2001,4001,4001,1,0,equal,,\
               mailbox.insurance.test";
    assert_eq!(mails.lines().nth(1), Some(row));

    let one = folder.path().join("one.json");
    files::Files::open(&one).unwrap().write(&report).unwrap();
    assert!(one.is_file());
    let below_a_file = files::Files::open(&one.join("below")).unwrap_err();
    assert!(below_a_file.to_string().contains("below cannot be written"));
}
