//! Alice's mail on its whole walk to Bob, in the paper's three topologies and over both channels, between whole nodes with
//! real DNS, TLS, libp2p, SMTP and disks.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use cargomail_node::api::Channel;
use cargomail_node::app::{App, Letter, Sent, Unwatched, Watch};
use cargomail_node::harness::{
    PATIENCE, SitePlan, Topology, Town, acknowledged, compare, delivered, verify_ledger,
};
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::notification::JobState;
use cargomail_protocol::placeholder::{Category, Mailbox};
use cargomail_protocol::routing::{Preferences, Rule};

fn unwatched() -> Arc<dyn Watch> {
    Arc::new(Unwatched)
}

fn to(address: &str) -> Mailbox {
    Mailbox::bare(Address::parse(address).unwrap())
}

/// A letter with every kind of part: text, HTML with an image, an empty file, a file of several leaves.
fn letter(folder: &Path, channel: Channel) -> Letter {
    let file = |name: &str, octets: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, octets).unwrap();
        path
    };
    let large: Vec<u8> = (0_u32..800_000).flat_map(u32::to_le_bytes).collect();
    let mut letter = Letter::new(Category::parse("healthcare").unwrap());
    letter.to = vec![to("bob@bar.test")];
    letter.subject = "Výsledky".to_owned();
    letter.text = Some("Dear Bob,\r\nsee below.\r\n".to_owned());
    letter.html = Some("<p>Dear Bob, <img src=\"cid:dot.png\"></p>".to_owned());
    letter.inline = vec![file("dot.png", b"not really a picture")];
    letter.files = vec![file("empty.txt", b""), file("skener №1.bin", &large)];
    letter.channel = Some(channel);
    letter
}

async fn send(author: &App, letter: &Letter) -> Sent {
    author.send(letter, &unwatched()).await.unwrap()
}

async fn arrives_equal(town: &Town, alice: &App, bob: &App, letter: &Letter) {
    let sent = send(alice, letter).await;
    let message = delivered(bob, "inbox", &sent.message_id).await.unwrap();
    let opened = bob.open(&message.id).await.unwrap();
    let into = town.folder.join("read");
    let compared = compare(bob, &opened, letter, &into, PATIENCE, &unwatched())
        .await
        .unwrap();
    assert_eq!(compared.parts, 5);
    acknowledged(alice, &sent.message_id).await.unwrap();
}

async fn journey(topology: Topology) {
    let folder = tempfile::tempdir().unwrap();
    let town = Town::start(folder.path(), &topology.plans()).await.unwrap();
    let alice = town.person("alice@foo.test").await.unwrap();
    let bob = town.person("bob@bar.test").await.unwrap();
    let wishes = topology.wishes().unwrap();
    bob.broker().unwrap().set_preferences(&wishes).await.unwrap();
    for channel in [Channel::Smtp, Channel::Web, Channel::WebThenSmtp] {
        let mut letter = letter(folder.path(), channel);
        letter.origin = Some(Locator::parse(topology.origin()).unwrap());
        arrives_equal(&town, &alice, &bob, &letter).await;
    }
    for site in town.sites() {
        let ledger = verify_ledger(&town.administration(site).unwrap()).await;
        assert!(ledger.is_ok(), "{}: {ledger:?}", site.plan.name);
    }
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_travels_between_four_domains() {
    journey(Topology::Four).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_travels_between_two_domains_with_mailboxes_of_their_own() {
    journey(Topology::Shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_to_the_same_mailbox_is_authorized_and_nothing_is_transferred() {
    journey(Topology::Single).await;
}

/// Bob's category rule names a mailbox where he has no account; his default takes it. Carol's wishes name nobody who
/// takes it: Alice gets a report.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_destination_is_followed_by_the_next_choice_and_the_last_by_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut plans = Topology::Four.plans();
    plans[3] = SitePlan::new("bar.test")
        .with_broker()
        .with("bob@bar.test")
        .with("carol@bar.test");
    let town = Town::start(folder.path(), &plans).await.unwrap();
    let alice = town.person("alice@foo.test").await.unwrap();
    let bob = town.person("bob@bar.test").await.unwrap();
    let carol = town.person("carol@bar.test").await.unwrap();
    let nowhere = Rule {
        category: Some(Category::parse("healthcare").unwrap()),
        sender: None,
        at_least: None,
        at_most: None,
        locator: Locator::parse("mailbox.hospital.test").unwrap(),
    };
    let mut wishes = Topology::Four.wishes().unwrap();
    wishes.rules = vec![nowhere.clone()];
    bob.broker().unwrap().set_preferences(&wishes).await.unwrap();
    let hopeless = Preferences {
        rules: vec![nowhere],
        default: Vec::new(),
    };
    carol.broker().unwrap().set_preferences(&hopeless).await.unwrap();

    let mut letter = letter(folder.path(), Channel::Web);
    arrives_equal(&town, &alice, &bob, &letter).await;

    letter.to = vec![to("carol@bar.test")];
    let sent = send(&alice, &letter).await;
    let broker = alice.broker().unwrap();
    let report = tokio::time::timeout(PATIENCE, async {
        loop {
            let inbox = broker.list("inbox", None, 10).await.unwrap();
            if let Some(report) = inbox.into_iter().next() {
                break broker.message(&report.id).await.unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let report = String::from_utf8(report.await.unwrap().to_vec()).unwrap();
    assert!(report.contains("message/delivery-status"), "{report}");
    assert!(report.contains("carol@bar.test"), "{report}");
    assert!(report.contains(&sent.message_id), "{report}");
    town.stop().await;
}

/// Nobody who is named learns of Carol, and Carol's own copy names nobody hidden either.
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_recipient_gets_the_mail_and_is_shown_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut plans = Topology::Four.plans();
    plans[2] = SitePlan::new("insurance.test")
        .with_mailbox()
        .with("bob@bar.test")
        .with("carol@bar.test");
    plans[3] = SitePlan::new("bar.test")
        .with_broker()
        .with("bob@bar.test")
        .with("carol@bar.test");
    let town = Town::start(folder.path(), &plans).await.unwrap();
    let alice = town.person("alice@foo.test").await.unwrap();
    let bob = town.person("bob@bar.test").await.unwrap();
    let carol = town.person("carol@bar.test").await.unwrap();
    for reader in [&bob, &carol] {
        let wishes = Topology::Four.wishes().unwrap();
        reader.broker().unwrap().set_preferences(&wishes).await.unwrap();
    }
    for channel in [Channel::Smtp, Channel::Web] {
        let mut letter = letter(folder.path(), channel);
        letter.bcc = vec![to("carol@bar.test")];
        let sent = send(&alice, &letter).await;
        for reader in [&bob, &carol] {
            let message = delivered(reader, "inbox", &sent.message_id).await.unwrap();
            let opened = reader.open(&message.id).await.unwrap();
            let into = folder.path().join(reader.profile().address.local());
            compare(reader, &opened, &letter, &into, PATIENCE, &unwatched())
                .await
                .unwrap();
            let text = String::from_utf8_lossy(&opened.message).to_lowercase();
            let trace = text
                .lines()
                .filter(|line| line.contains("carol") && !line.contains("for <carol"));
            assert_eq!(trace.collect::<Vec<_>>(), Vec::<&str>::new(), "{channel:?}");
        }
    }
    town.stop().await;
}

/// What was taken back before it was fetched is fetched by nobody; the recipient's broker says so, the reader sees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_was_revoked_in_time_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut town = Town::start(folder.path(), &Topology::Four.plans()).await.unwrap();
    let alice = town.person("alice@foo.test").await.unwrap();
    let bob = town.person("bob@bar.test").await.unwrap();
    let wishes = Topology::Four.wishes().unwrap();
    bob.broker().unwrap().set_preferences(&wishes).await.unwrap();
    // The destination's machine sleeps while Alice changes her mind.
    town.site_mut("insurance.test").stop().await;
    let sent = send(&alice, &letter(folder.path(), Channel::Web)).await;
    let origin = alice.mailbox(&sent.origin).unwrap();
    for share in &sent.shares {
        origin.revoke(share.id).await.unwrap();
    }
    town.site_mut("insurance.test").start().await.unwrap();
    let locator = Locator::parse("mailbox.insurance.test").unwrap();
    let destination = bob.mailbox(&locator).unwrap();
    let looking = async {
        loop {
            let retrievals = destination.retrievals().await.unwrap();
            if let Some(job) = retrievals.iter().find(|job| job.progress.is_final()) {
                break job.progress;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let state = tokio::time::timeout(PATIENCE, looking).await.unwrap();
    assert!(matches!(state, JobState::Refused { .. }), "{state:?}");
    town.stop().await;
}
