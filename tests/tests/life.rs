//! What a mail leaves behind: everything that it needs stays, everything else goes, and a collection that is killed anywhere
//! loses nothing.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use cargomail_node::api::Collected;
use cargomail_node::app::{App, Letter, Unwatched, Watch};
use cargomail_node::harness::{PATIENCE, Site, Topology, Town, acknowledged, compare, delivered};
use cargomail_node::store::{Embedded, EmbeddedOptions, Op};
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::placeholder::{Category, Mailbox};
use cargomail_tests::crash::{Driver, Moment};
use cargomail_tests::processes;

/// Kinds of records that refer to blocks, by the beginnings of their keys.
const HOLDERS: [&str; 8] = [
    "grant/",
    "holding/",
    "inbound/",
    "job/",
    "legal-hold/",
    "message/",
    "outbound/",
    "share/",
];

fn letter(folder: &Path, topology: Topology) -> Letter {
    let file = folder.join("scan.bin");
    let octets: Vec<u8> = (0_u32..600_000).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&file, octets).unwrap();
    let mut letter = Letter::new(Category::parse("personal").unwrap());
    letter.to = vec![Mailbox::bare(Address::parse("bob@bar.test").unwrap())];
    letter.subject = "A scan".to_owned();
    letter.text = Some("See the file.\r\n".to_owned());
    letter.files = vec![file];
    letter.origin = Some(Locator::parse(topology.origin()).unwrap());
    letter
}

async fn collect(town: &Town, site: &Site, dry_run: bool) -> Collected {
    let node = town.administration(site).unwrap();
    let mut view = node.collect(dry_run).await.unwrap();
    while view.under_way {
        tokio::task::yield_now().await;
        view = node.collection().await.unwrap();
    }
    view.done
        .unwrap_or_else(|| panic!("{}: {view:?}", site.plan.name))
}

async fn read(bob: &App, letter: &Letter, message_id: &str, folder: &Path) {
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let message = delivered(bob, "inbox", message_id).await.unwrap();
    let opened = bob.open(&message.id).await.unwrap();
    compare(bob, &opened, letter, folder, PATIENCE, &watch)
        .await
        .unwrap();
}

/// The walk of one mail; its Message-ID.
async fn walk(town: &Town, topology: Topology, letter: &Letter) -> (App, App, String) {
    let alice = town.person("alice@foo.test").await.unwrap();
    let bob = town.person("bob@bar.test").await.unwrap();
    let wishes = topology.wishes().unwrap();
    bob.broker().unwrap().set_preferences(&wishes).await.unwrap();
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let sent = alice.send(letter, &watch).await.unwrap();
    read(&bob, letter, &sent.message_id, &town.folder.join("read")).await;
    acknowledged(&alice, &sent.message_id).await.unwrap();
    (alice, bob, sent.message_id)
}

async fn every_block_has_its_reason(topology: Topology) {
    let folder = tempfile::tempdir().unwrap();
    let town = Town::start(folder.path(), &topology.plans()).await.unwrap();
    let letter = letter(folder.path(), topology);
    let (_, bob, message_id) = walk(&town, topology, &letter).await;
    // A node that is only a broker may have none: short messages lie in the records themselves.
    let mut blocks = 0;
    for site in town.sites() {
        let collected = collect(&town, site, false).await;
        assert_eq!(collected.freed_blocks, 0, "{}", site.plan.name);
        blocks += collected.blocks;
    }
    assert!(blocks > 3, "the file alone has three leaves: {blocks}");
    read(&bob, &letter, &message_id, &folder.path().join("again")).await;
    let stores: Vec<_> = town
        .sites()
        .iter()
        .map(|site| (site.folder.join("data/store"), site.config()))
        .collect();
    town.stop().await;
    for (store, config) in stores {
        forget_everything(&store).await;
        let collected = command(&config).output().unwrap();
        let collected: Collected = serde_json::from_slice(&collected.stdout).unwrap();
        assert_eq!(collected.freed_blocks, collected.blocks, "{}", store.display());
    }
}

/// Removes every record that refers to something.
async fn forget_everything(store: &Path) {
    let store = Embedded::open(store, EmbeddedOptions::default()).await.unwrap();
    for prefix in HOLDERS {
        let all = store.records().list(prefix, None, 10_000).await.unwrap();
        let gone = all.into_iter().map(|record| Op::Delete(record.key)).collect();
        store.records().commit(Vec::new(), gone).await.unwrap();
    }
    store.close().await.unwrap();
}

/// `cargomail collect` at a node that does not run.
fn command(config: &Path) -> Command {
    let mut run = Command::new(processes::cargomail().unwrap());
    run.args(["--json", "--config"]).arg(config).arg("collect");
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_of_a_walk_between_four_domains_is_referred_to_and_none_without_records() {
    every_block_has_its_reason(Topology::Four).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_of_a_walk_within_one_mailbox_is_referred_to_and_none_without_records() {
    every_block_has_its_reason(Topology::Single).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// Bob's mailbox holds one resource that he keeps and one that he deleted; the collection dies at every durable point.
#[tokio::test(flavor = "multi_thread")]
async fn c10_a_collection_that_is_killed_at_any_point_loses_nothing_and_the_next_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut town = Town::start(folder.path(), &Topology::Four.plans()).await.unwrap();
    let letter = letter(folder.path(), Topology::Four);
    let (_, bob, message_id) = walk(&town, Topology::Four, &letter).await;
    let locator = Locator::parse("mailbox.insurance.test").unwrap();
    let mailbox = bob.mailbox(&locator).unwrap();
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let unwanted: Vec<u8> = (0_u32..900_000).rev().flat_map(u32::to_le_bytes).collect();
    let size = unwanted.len() as u64;
    let posted = mailbox
        .post(std::io::Cursor::new(unwanted), size, &watch)
        .await
        .unwrap();
    let cid = cargomail_protocol::share::parse_root(&posted.cid).unwrap();
    mailbox.delete(&cid, false).await.unwrap();
    town.site_mut("insurance.test").stop().await;
    let site = town.site("insurance.test");
    let (config, data) = (site.config(), site.folder.join("data"));
    let before = folder.path().join("before");
    copy(&data, &before);
    let driver = Driver::build().unwrap();
    let whole = command(&config).output().unwrap();
    let whole: Collected = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(whole.freed_blocks, 5, "four leaves and the node above them");
    let mut points = 0;
    for moment in [Moment::Before, Moment::After] {
        for point in 1.. {
            std::fs::remove_dir_all(&data).unwrap();
            copy(&before, &data);
            let mut dying = command(&config);
            driver.kill(&mut dying, moment, point).unwrap();
            let ended = dying.output().unwrap().status;
            points = points.max(point);
            let again: Collected =
                serde_json::from_slice(&command(&config).output().unwrap().stdout).unwrap();
            // What went the first time is not there the second time; what stays is the same.
            assert_eq!(
                again.blocks - again.freed_blocks,
                whole.blocks - whole.freed_blocks
            );
            if ended.success() {
                assert_eq!(again.freed_blocks, 0);
                break;
            }
            assert!(point < 200, "a collection has an end");
        }
    }
    assert!(points > 3, "a collection passes durable points");
    town.site_mut("insurance.test").start().await.unwrap();
    read(&bob, &letter, &message_id, &folder.path().join("again")).await;
    town.stop().await;
}
