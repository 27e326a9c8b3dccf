//! Row Q04: a node is killed at every durable point that it passes while a mail is on its walk, one point after the other, and
//! started again as an operator would. The mail arrives exactly once, and nothing that was acknowledged is lost.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cargomail_node::api::Channel;
use cargomail_node::app::{App, Letter, Unwatched, Watch};
use cargomail_node::harness::{PATIENCE, Topology, Town, acknowledged, compare, delivered};
use cargomail_protocol::address::Address;
use cargomail_protocol::ledger::Checker;
use cargomail_protocol::placeholder::{Category, Mailbox};
use cargomail_tests::crash::{Driver, Moment};
use cargomail_tests::processes::{self, Process};

/// No walk passes more durable points at one node than this; more means that something never ends.
const POINTS: usize = 200;

struct Village {
    town: Town,
    nodes: HashMap<String, Process>,
    driver: Driver,
}

impl Village {
    async fn start(folder: &std::path::Path) -> Self {
        let town = Town::build(folder, &Topology::Four.plans()).await.unwrap();
        let driver = Driver::build().unwrap();
        let mut nodes = HashMap::new();
        for site in town.sites() {
            let node = Process::start(processes::command(&site.config()).unwrap()).await;
            nodes.insert(
                site.plan.name.clone(),
                node.unwrap().expect("a healthy node runs"),
            );
        }
        Self { town, nodes, driver }
    }

    /// Restarts a node so that it dies at this point; none when it died while it started.
    async fn infect(&mut self, victim: &str, moment: Moment, point: usize) -> Option<Process> {
        self.nodes.remove(victim).unwrap().stop().await.unwrap();
        let mut command = processes::command(&self.town.site(victim).config()).unwrap();
        self.driver.kill(&mut command, moment, point).unwrap();
        Process::start(command).await.unwrap()
    }

    async fn heal(&mut self, victim: &str) {
        let command = processes::command(&self.town.site(victim).config()).unwrap();
        let node = Process::start(command)
            .await
            .unwrap()
            .expect("a node starts after any crash");
        self.nodes.insert(victim.to_owned(), node);
    }
}

/// Does something as a person would who tries again when it does not work.
async fn insist<T, E: std::fmt::Display>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let insisting = async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => {
                    eprintln!("{what}: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, insisting)
        .await
        .unwrap_or_else(|_| panic!("{what}: never"))
}

fn letter(folder: &std::path::Path, point: usize, channel: Channel) -> Letter {
    let file = folder.join("file.bin");
    std::fs::write(&file, format!("{point} ").repeat(30_000)).unwrap();
    let mut letter = Letter::new(Category::parse("personal").unwrap());
    letter.to = vec![Mailbox::bare(Address::parse("bob@bar.test").unwrap())];
    letter.subject = format!("Point {point}");
    letter.text = Some(format!("This is {point}.\r\n"));
    letter.files = vec![file];
    letter.channel = Some(channel);
    letter
}

async fn walk(alice: &App, bob: &App, letter: &Letter, into: &std::path::Path) -> String {
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let composed = insist("compose", async || alice.compose(letter, &watch).await).await;
    insist("send", async || alice.hand_over(&composed, letter.channel).await).await;
    let id = composed.message_id;
    insist("deliver", async || delivered(bob, "inbox", &id).await).await;
    insist("acknowledge", async || acknowledged(alice, &id).await).await;
    let message = insist("find", async || delivered(bob, "inbox", &id).await).await;
    let opened = insist("open", async || bob.open(&message.id).await).await;
    insist("read", async || {
        compare(bob, &opened, letter, into, PATIENCE, &watch).await
    })
    .await;
    id
}

/// Visits the points of `share`: every `share.1`-th, from `share.0` on, so that several tests can do it at once.
async fn crash_everywhere(victim: &str, channel: Channel, moment: Moment, share: (usize, usize)) {
    let folder = tempfile::tempdir().unwrap();
    let mut village = Village::start(folder.path()).await;
    let alice = village.town.person("alice@foo.test").await.unwrap();
    let bob = village.town.person("bob@bar.test").await.unwrap();
    let wishes = Topology::Four.wishes().unwrap();
    bob.broker().unwrap().set_preferences(&wishes).await.unwrap();
    let into = folder.path().join("read");
    let mut sent = Vec::new();
    for point in (share.0..=POINTS).step_by(share.1) {
        let letter = letter(folder.path(), point, channel);
        let mut infected = village.infect(victim, moment, point).await;
        let walking = walk(&alice, &bob, &letter, &into);
        tokio::pin!(walking);
        let died = match &mut infected {
            None => true,
            Some(node) => tokio::select! {
                ended = node.ended() => { ended.unwrap(); true }
                id = &mut walking => { sent.push(id); false }
            },
        };
        if !died {
            // It passed fewer points than this while it started and the mail was on its walk: all were visited.
            infected.unwrap().stop().await.unwrap();
            eprintln!("{victim}: {} durable points", point - 1);
            village.heal(victim).await;
            assert!(point > 3, "{victim} passes durable points");
            everything_is_there(&village, &bob, &sent).await;
            return;
        }
        village.heal(victim).await;
        sent.push(walking.await);
    }
    panic!("{victim} passes more than {POINTS} durable points");
}

/// Every mail is there once, the ledgers are whole.
async fn everything_is_there(village: &Village, bob: &App, sent: &[String]) {
    for id in sent {
        insist("still there", async || delivered(bob, "inbox", id).await).await;
    }
    for site in village.town.sites() {
        let administration = village.town.administration(site).unwrap();
        let (entries, head) = administration.ledger(0).await.unwrap();
        let mut checker = Checker::new();
        let mut next = 0;
        let mut page = entries;
        while !page.is_empty() {
            for entry in &page {
                checker.push(entry).unwrap();
                next += 1;
            }
            page = administration.ledger(next).await.unwrap().0;
        }
        checker.finish(&head).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn q04_the_senders_broker_is_killed_at_every_durable_point() {
    crash_everywhere("foo.test", Channel::Web, Moment::After, (1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q04_the_origin_is_killed_at_every_odd_durable_point() {
    crash_everywhere("hospital.test", Channel::Web, Moment::After, (1, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q04_the_origin_is_killed_at_every_even_durable_point() {
    crash_everywhere("hospital.test", Channel::Web, Moment::After, (2, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q04_the_destination_is_killed_at_every_durable_point() {
    crash_everywhere("insurance.test", Channel::Smtp, Moment::After, (1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q04_the_recipients_broker_is_killed_at_every_durable_point() {
    crash_everywhere("bar.test", Channel::Web, Moment::After, (1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q04_the_recipients_broker_is_killed_before_every_durable_point_with_mail_by_smtp() {
    crash_everywhere("bar.test", Channel::Smtp, Moment::Before, (1, 1)).await;
}
