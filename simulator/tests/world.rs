//! One mail's walk in virtual time: with everything well, with a machine that crashes, and twice with the same seed.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use cargomail_node::api::Channel;
use cargomail_node::app::{App, Letter, Unwatched, Watch};
use cargomail_node::harness::{SitePlan, Topology, verify_ledger};
use cargomail_protocol::address::Address;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::placeholder::{Category, Mailbox};
use cargomail_simulator::hostile::VILLAIN;
use cargomail_simulator::world::{self, Condition, Quality, Trace, World};
use tokio::time::{Instant, sleep};

/// What is waited for happens within this time, or not at all.
const PATIENCE: Duration = Duration::from_secs(3600);

struct Two {
    world: World,
    alice: App,
    bob: App,
    _folder: tempfile::TempDir,
}

async fn two(seed: u64, trace: &Trace) -> Two {
    let folder = tempfile::tempdir().unwrap();
    let plans = Topology::Four.plans();
    let villain = SitePlan::new(VILLAIN).with_mailbox().with_broker();
    let all: Vec<SitePlan> = plans.iter().cloned().chain([villain]).collect();
    let mut world = World::build(folder.path(), &all, seed, Quality::FIBRE, trace).unwrap();
    for plan in &plans {
        world.start(&plan.name).await.unwrap();
    }
    let [alice, bob] = ["alice@foo.test", "bob@bar.test"].map(|name| Address::parse(name).unwrap());
    let (alice, bob) = (
        world.person(&alice).await.unwrap(),
        world.person(&bob).await.unwrap(),
    );
    let wishes = Topology::Four.wishes().unwrap();
    bob.broker().unwrap().set_preferences(&wishes).await.unwrap();
    Two {
        world,
        alice,
        bob,
        _folder: folder,
    }
}

fn letter(text: &str, channel: Channel) -> Letter {
    let mut letter = Letter::new(Category::parse("personal").unwrap());
    letter.to = vec![Mailbox::bare(Address::parse("bob@bar.test").unwrap())];
    letter.subject = "Hello".to_owned();
    letter.text = Some(text.to_owned());
    letter.channel = Some(channel);
    letter
}

async fn send(two: &Two, text: &str, channel: Channel) -> String {
    let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
    let sent = two.alice.send(&letter(text, channel), &unwatched).await.unwrap();
    sent.message_id
}

/// Waits until something is there.
async fn wait<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "it never happened");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until Bob has the mail and its receipt is with Alice; how often Bob has it, and what he reads.
async fn arrives(two: &Two, message_id: &str) -> (usize, String) {
    let inbox = async || {
        let broker = two.bob.broker().ok()?;
        let all = broker.list("inbox", None, 100).await.ok()?;
        let his: Vec<_> = all
            .into_iter()
            .filter(|one| one.message_id == message_id)
            .collect();
        (!his.is_empty()).then_some(his)
    };
    let his = wait(inbox).await;
    wait(async || {
        let (_, origin) = two.alice.origin(None).ok()?;
        let shares = origin.shares().await.ok()?;
        let mut shares = shares.into_iter().filter(|share| share.message_id == message_id);
        shares.any(|share| !share.received_by.is_empty()).then_some(())
    })
    .await;
    let opened = two.bob.open(&his[0].id).await.unwrap();
    let part = &opened.placeholder.as_ref().unwrap().parts()[0];
    let at = "mailbox.insurance.test".parse().unwrap();
    let body = two
        .bob
        .mailbox(&at)
        .unwrap()
        .resource(&part.resource.cid, None)
        .await
        .unwrap();
    let read = cargomail_node::https::read(body, 1024).await.unwrap();
    (his.len(), String::from_utf8(read.to_vec()).unwrap())
}

async fn ledgers(two: &Two) {
    for site in Topology::Four.plans() {
        verify_ledger(&two.world.administration(&site.name).unwrap())
            .await
            .unwrap();
    }
}

#[test]
fn a_mail_walks_between_four_domains_by_either_channel_in_virtual_time() {
    world::run(None, async |trace| {
        let two = two(1, &trace).await;
        for channel in [Channel::Web, Channel::Smtp] {
            let begun = Instant::now();
            let message_id = send(&two, "by either channel", channel).await;
            let (copies, text) = arrives(&two, &message_id).await;
            assert_eq!((copies, text.as_str()), (1, "by either channel"));
            // Lines of 8 milliseconds: it takes a while, and not long.
            assert!(
                begun.elapsed() > Duration::from_millis(50),
                "{:?}",
                begun.elapsed()
            );
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        }
        ledgers(&two).await;
    })
    .unwrap();
}

/// What people see at their nodes, its marks tell: which are the node's records, by name.
#[test]
fn whatever_becomes_of_a_mail_changes_the_marks_of_whom_it_concerns() {
    world::run(None, async |trace| {
        let two = two(1, &trace).await;
        let marks = |person: &str| {
            let person = Address::parse(person).unwrap();
            let homes: Vec<_> = two.world.homes_of(&person).collect();
            let of = |is_broker: bool| {
                homes
                    .iter()
                    .find(|home| home.is_broker == is_broker)
                    .unwrap()
                    .marks()
            };
            (of(true), of(false))
        };
        let before = ["alice@foo.test", "bob@bar.test"].map(marks);
        let message_id = send(&two, "seen", Channel::Web).await;
        assert_eq!(arrives(&two, &message_id).await.0, 1);
        sleep(Duration::from_secs(5)).await;
        let [alice, bob] = ["alice@foo.test", "bob@bar.test"].map(marks);
        let [alice_before, bob_before] = before;
        assert_ne!(alice.1.receipts, alice_before.1.receipts);
        let [inbox, junk] = bob.0.folders;
        assert!(inbox.is_set() && inbox != bob_before.0.folders[0]);
        assert!(!junk.is_set());
        // Its name as each has one, though a new one does not change the mark of all.
        let at_his_broker = |kind: &str| two.world.disk("bar.test").unwrap().mark(kind).is_set();
        assert!(at_his_broker("message") && !at_his_broker("message/bob@bar.test"));
        // What she wrote is among what was sent, where nobody looks.
        assert_eq!(alice.0.folders, alice_before.0.folders);
        assert_eq!(alice.0.messages, alice_before.0.messages);
        assert_ne!(bob.1.retrievals, bob_before.1.retrievals);
    })
    .unwrap();
}

#[test]
fn a_mail_that_was_accepted_survives_a_crash_of_every_machine() {
    for site in Topology::Four.plans() {
        for after in [0, 3, 10, 30, 70] {
            world::run(None, async |trace| {
                let mut two = two(after, &trace).await;
                let message_id = send(&two, "it survives", Channel::Web).await;
                sleep(Duration::from_millis(after)).await;
                two.world.crash(&site.name).unwrap();
                sleep(Duration::from_secs(90)).await;
                two.world.start(&site.name).await.unwrap();
                let (copies, text) = arrives(&two, &message_id).await;
                assert_eq!(
                    (copies, text.as_str()),
                    (1, "it survives"),
                    "{} after {after} ms",
                    site.name
                );
                ledgers(&two).await;
            })
            .unwrap();
        }
    }
}

#[test]
fn the_end_of_a_ledger_is_known_from_when_its_machine_stopped_and_crashed() {
    world::run(None, async |trace| {
        let mut two = two(3, &trace).await;
        let site = "hospital.test";
        let message_id = send(&two, "it is noted", Channel::Web).await;
        arrives(&two, &message_id).await;
        assert!(two.world.heads(site).is_empty());
        let head = async |two: &Two| {
            let administration = two.world.administration(site).unwrap();
            administration.ledger(0).await.unwrap().1
        };
        let before = head(&two).await;
        assert!(before.entries > 0);
        two.world.crash(site).unwrap();
        assert_eq!(two.world.heads(site), [before]);
        two.world.start(site).await.unwrap();
        let before = [before, head(&two).await];
        two.world.stop(site).await.unwrap();
        assert_eq!(two.world.heads(site), before);
    })
    .unwrap();
}

#[test]
fn a_day_without_the_recipients_domain_costs_a_day_and_nothing_else() {
    world::run(None, async |trace| {
        let two = two(2, &trace).await;
        two.world.part(&["bar.test"], true).unwrap();
        let begun = Instant::now();
        let message_id = send(&two, "late", Channel::Web).await;
        sleep(Duration::from_secs(24 * 3600)).await;
        two.world.part(&["bar.test"], false).unwrap();
        let (copies, text) = arrives(&two, &message_id).await;
        assert_eq!((copies, text.as_str()), (1, "late"));
        assert!(begun.elapsed() > Duration::from_secs(24 * 3600));
    })
    .unwrap();
}

#[test]
fn the_same_seed_makes_the_same_trace() {
    let traced = |seed| {
        world::run(None, async |trace| {
            let mut two = two(seed, &trace).await;
            let first = send(&two, "one", Channel::Web).await;
            two.world.crash("insurance.test").unwrap();
            sleep(Duration::from_secs(60)).await;
            two.world.start("insurance.test").await.unwrap();
            let second = send(&two, "two", Channel::Smtp).await;
            arrives(&two, &first).await;
            arrives(&two, &second).await;
            trace.sum()
        })
        .unwrap()
    };
    let (lines, sum) = traced(7);
    assert!(lines > 50, "{lines}");
    for _ in 0..3 {
        assert_eq!(traced(7), (lines, sum.clone()));
    }
    assert_ne!(traced(8).1, sum);
}

/// A trace that can be read while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Shared {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn q06_a_disk_that_stays_tight_puts_a_retrieval_off_and_says_so_and_it_arrives_when_there_is_room() {
    let shared = Shared::default();
    world::run(Some(Box::new(shared.clone())), async |trace| {
        let two = two(3, &trace).await;
        two.world.disk("insurance.test").unwrap().set_tight(true);
        let message_id = send(&two, "it waits for room", Channel::Web).await;
        sleep(Duration::from_secs(120)).await;
        let said = shared.text();
        assert!(said.contains("this node failed"), "{said}");
        assert!(said.contains("there is no room for the virtual disk"), "{said}");
        assert!(!said.contains("everything is stored"), "{said}");
        two.world.disk("insurance.test").unwrap().set_tight(false);
        let (copies, text) = arrives(&two, &message_id).await;
        assert_eq!((copies, text.as_str()), (1, "it waits for room"));
    })
    .unwrap();
}

#[test]
fn q06_what_is_here_already_needs_no_room() {
    world::run(None, async |trace| {
        let two = two(5, &trace).await;
        let first = send(&two, "the same octets", Channel::Web).await;
        arrives(&two, &first).await;
        two.world.disk("insurance.test").unwrap().set_tight(true);
        let begun = Instant::now();
        let second = send(&two, "the same octets", Channel::Web).await;
        let (copies, text) = arrives(&two, &second).await;
        assert_eq!((copies, text.as_str()), (1, "the same octets"));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    })
    .unwrap();
}

#[test]
fn a_full_disk_holds_up_whoever_needs_it_and_nothing_is_lost() {
    for site in ["bar.test", "insurance.test"] {
        let shared = Shared::default();
        world::run(Some(Box::new(shared.clone())), async |trace| {
            let two = two(6, &trace).await;
            two.world.disk(site).unwrap().set_full(true);
            let message_id = send(&two, "it waits for room", Channel::Web).await;
            sleep(Duration::from_secs(300)).await;
            let said = shared.text();
            assert!(said.contains("there is no room for the virtual disk"), "{said}");
            assert!(!said.contains("everything is stored"), "{said}");
            two.world.disk(site).unwrap().set_full(false);
            let (copies, text) = arrives(&two, &message_id).await;
            assert_eq!((copies, text.as_str()), (1, "it waits for room"), "{site}");
            ledgers(&two).await;
        })
        .unwrap();
    }
}

#[test]
fn whoever_writes_to_a_full_disk_is_told_to_come_again_and_can() {
    for site in ["foo.test", "hospital.test"] {
        world::run(None, async |trace| {
            let two = two(6, &trace).await;
            two.world.disk(site).unwrap().set_full(true);
            let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
            let refused = two.alice.send(&letter("again", Channel::Web), &unwatched).await;
            let fault = refused.unwrap_err().fault();
            assert!(matches!(fault, Fault::TryLater(_)), "{site}: {fault:?}");
            two.world.disk(site).unwrap().set_full(false);
            let message_id = send(&two, "again", Channel::Web).await;
            assert_eq!(arrives(&two, &message_id).await.1, "again");
        })
        .unwrap();
    }
}

#[test]
fn a_senders_broker_with_a_wrong_clock_is_not_believed_until_it_is_right() {
    for by in [600, -600] {
        let shared = Shared::default();
        world::run(Some(Box::new(shared.clone())), async |trace| {
            let two = two(7, &trace).await;
            two.world.mistime("foo.test", by).unwrap();
            let message_id = send(&two, "in time", Channel::Web).await;
            sleep(Duration::from_secs(60)).await;
            let said = shared.text();
            let why = if by > 0 { "NotYetValid" } else { "Expired" };
            assert!(said.contains(&format!("error=token: {why}")), "{said}");
            assert!(!said.contains("step=accept recipient"), "{said}");
            two.world.mistime("foo.test", 0).unwrap();
            let begun = Instant::now();
            assert_eq!(arrives(&two, &message_id).await, (1, "in time".to_owned()));
            // A clock that was fast has written down times that are late.
            assert!(
                begun.elapsed() < Duration::from_secs(1200),
                "{:?}",
                begun.elapsed()
            );
            ledgers(&two).await;
        })
        .unwrap();
    }
}

#[test]
fn who_is_misled_says_nothing_to_whoever_is_there_instead() {
    let shared = Shared::default();
    world::run(Some(Box::new(shared.clone())), async |trace| {
        let two = two(8, &trace).await;
        two.world.mislead("foo.test", VILLAIN).await.unwrap();
        let message_id = send(&two, "not for you", Channel::Web).await;
        sleep(Duration::from_secs(60)).await;
        assert!(shared.text().contains("connects to 127.128.0.4:7443"));
        assert!(!shared.text().contains("step=accept recipient"));
        two.world.lead("foo.test").unwrap();
        assert_eq!(arrives(&two, &message_id).await, (1, "not for you".to_owned()));
        assert_eq!(two.world.ears().heard(), Vec::<String>::new());
    })
    .unwrap();
}

#[test]
fn an_agent_that_is_misled_opens_no_stream_to_whoever_is_there_instead() {
    let shared = Shared::default();
    world::run(Some(Box::new(shared.clone())), async |trace| {
        let two = two(8, &trace).await;
        two.world.mislead("insurance.test", VILLAIN).await.unwrap();
        send(&two, "not for you", Channel::Web).await;
        sleep(Duration::from_secs(600)).await;
        let said = shared.text();
        assert!(
            said.contains("no peer address with a key that is pinned"),
            "{said}"
        );
        assert!(
            !said.contains("127.128.0.2 opens stream") && !said.contains("everything is stored"),
            "{said}"
        );
        assert_eq!(two.world.ears().heard(), Vec::<String>::new());
    })
    .unwrap();
}

/// Otherwise silence would show nothing: whoever speaks to that machine is heard.
#[test]
fn what_is_said_to_the_machine_to_which_others_are_misled_is_heard() {
    world::run(None, async |trace| {
        let two = two(8, &trace).await;
        two.world.mislead("foo.test", VILLAIN).await.unwrap();
        let villain = two.world.villain(VILLAIN).unwrap();
        let (shown, to) = (&villain.certificate, VILLAIN.parse().unwrap());
        let told = villain.post(shown, &to, "/grip/v1/messages", "text/plain", "t", vec![1]);
        assert_eq!(told.await.unwrap(), 403);
        assert_eq!(two.world.ears().heard(), ["POST /grip/v1/messages"]);
    })
    .unwrap();
}

#[test]
fn a_mail_over_poor_lines_takes_its_time_and_arrives() {
    let took = |prepare: fn(&World)| {
        world::run(None, async |trace| {
            let two = two(9, &trace).await;
            prepare(&two.world);
            let begun = Instant::now();
            let message_id = send(&two, "by and by", Channel::Web).await;
            assert_eq!(arrives(&two, &message_id).await.0, 1);
            begun.elapsed()
        })
        .unwrap()
    };
    let well = took(|_| {});
    let satellite = took(|world| {
        world.connect("insurance.test", Condition::Satellite).unwrap();
    });
    let link = took(|world| {
        let (near, far) = (["bar.test", "insurance.test"], ["foo.test", "hospital.test"]);
        world.link(&near, &far, Condition::Satellite).unwrap();
    });
    let slow = took(|world| world.slow("insurance.test", true).unwrap());
    let data_centre = took(|world| {
        let all = ["foo.test", "hospital.test", "insurance.test", "bar.test"];
        world.link(&all, &all, Condition::DataCentre).unwrap();
    });
    assert!(well < Duration::from_secs(1), "{well:?}");
    for poor in [satellite, link] {
        assert!(poor > 4 * well && poor < Duration::from_secs(30), "{poor:?}");
    }
    assert!(slow > 2 * well, "{slow:?} and {well:?}");
    assert!(data_centre < well, "{data_centre:?} and {well:?}");
}

#[test]
fn a_site_that_is_not_there_is_named() {
    world::run(None, async |trace| {
        let two = two(9, &trace).await;
        let world = &two.world;
        let far = "far.test";
        for refused in [
            world.connect(far, Condition::Dsl),
            world.link(&["foo.test"], &[far], Condition::Dsl),
            world.slow(far, true),
            world.mistime(far, 1),
            world.mislead(far, VILLAIN).await,
            world.mislead("foo.test", far).await,
            world.lead(far),
        ] {
            let told = refused.unwrap_err().to_string();
            assert!(told.contains(far), "{told}");
        }
    })
    .unwrap();
}
