#![allow(clippy::unwrap_used)]
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use cargomail_protocol::dag::{Codec, VerifiedBlock};
use cargomail_protocol::limits;
use cid::Cid;
use tempfile::TempDir;
use uuid::Uuid;

use super::references::{Holder, References, Root};
use super::*;
use crate::accounts::Accounts;
use crate::clock::{Clock, SystemClock, SystemRandomness};
use crate::ledger::Ledger;
use crate::store::{BlockStore, Embedded, EmbeddedOptions, Op, RecordStore, typed};

struct Store {
    _folder: TempDir,
    embedded: Embedded,
    shelters: Shelters,
    collector: Collector,
}

impl Store {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(folder.path(), EmbeddedOptions::default())
            .await
            .unwrap();
        let (blocks, records) = (embedded.blocks(), embedded.records());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let randomness = Arc::new(SystemRandomness);
        let shelters = Shelters::default();
        let holds = LegalHolds::new(
            blocks.clone(),
            records.clone(),
            Ledger::open(records.clone(), clock.clone()).await.unwrap(),
            Accounts::new(records.clone(), clock.clone(), randomness.clone()),
            clock.clone(),
            randomness,
        );
        let mut collector = Collector::new(blocks, records, shelters.clone(), holds, clock);
        // So that every store here takes several slices.
        collector.slice = 3;
        Self {
            _folder: folder,
            embedded,
            shelters,
            collector,
        }
    }

    fn blocks(&self) -> Arc<dyn BlockStore> {
        self.embedded.blocks()
    }

    fn records(&self) -> Arc<dyn RecordStore> {
        self.embedded.records()
    }

    async fn count(&self) -> usize {
        self.blocks().list(None, 10_000).await.unwrap().len()
    }

    /// Stores octets and then the record that refers to them, as every service does.
    async fn store(&self, name: u128, octets: &Bytes) -> (Cid, u64) {
        let shelter = self.shelters.open();
        let (cid, size) = typed::put_octets(&*self.blocks(), &shelter, octets.clone())
            .await
            .unwrap();
        self.records()
            .commit(vec![], vec![refer(name, cid, size)])
            .await
            .unwrap();
        (cid, size)
    }

    async fn forget(&self, name: u128) {
        let gone = vec![Op::Delete(key(name))];
        self.records().commit(vec![], gone).await.unwrap();
    }

    async fn check(&self, (cid, size): (Cid, u64), octets: &Bytes) {
        let found = typed::read_octets(&*self.blocks(), &cid, size).await.unwrap();
        assert_eq!(found.as_ref(), Some(octets));
    }
}

fn key(name: u128) -> String {
    format!("{}{}", Holder::LegalHold.prefix(), Uuid::from_u128(name))
}

/// A record that refers to a resource, of the kind that is simplest to write.
fn refer(name: u128, cid: Cid, size: u64) -> Op {
    let hold = LegalHold {
        id: Uuid::from_u128(name),
        subject: Subject::Resource(cid.to_string()),
        size: Some(size),
        reason: "a test".to_owned(),
        placed: SystemClock.now(),
        released: None,
    };
    Op::Put(key(name), typed::encode(&hold))
}

fn octets(seed: u8, length: usize) -> Bytes {
    (0..length)
        .map(|at| seed ^ (at / 1000) as u8)
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn what_a_record_refers_to_stays_and_the_rest_goes_slice_by_slice() {
    let store = Store::new().await;
    let kept = octets(1, 3_500_000);
    let stored = store.store(1, &kept).await;
    for name in 10..30 {
        store.store(name, &octets(name as u8, 5000)).await;
    }
    let all = store.count().await;
    assert_eq!(store.collector.collect(Mode::Dry).await.unwrap().freed_blocks, 0);
    for name in 10..30 {
        store.forget(name).await;
    }
    let dry = store.collector.collect(Mode::Dry).await.unwrap();
    assert_eq!(
        (dry.blocks, dry.freed_blocks, dry.freed_octets),
        (all as u64, 20, 100_000)
    );
    assert_eq!(store.count().await, all);
    let done = store.collector.collect(Mode::Gentle).await.unwrap();
    assert_eq!((done.freed_blocks, done.freed_octets), (20, 100_000));
    assert_eq!(store.count().await, all - 20);
    store.check(stored, &kept).await;
    store.forget(1).await;
    store.collector.collect(Mode::Brisk).await.unwrap();
    assert_eq!(store.count().await, 0);
}

#[tokio::test]
async fn what_is_in_a_shelter_stays_with_everything_below_it() {
    let store = Store::new().await;
    let shelter = store.shelters.open();
    let letter = octets(1, 3_500_000);
    let (cid, size) = typed::put_octets(&*store.blocks(), &shelter, letter.clone())
        .await
        .unwrap();
    assert_eq!(
        store.collector.collect(Mode::Brisk).await.unwrap().freed_blocks,
        0
    );
    assert_eq!(
        store.collector.why(&cid).await.unwrap().holders[0].kind,
        "under way"
    );
    store.check((cid, size), &letter).await;
    drop(shelter);
    assert_eq!(
        store.collector.collect(Mode::Brisk).await.unwrap().freed_blocks,
        5
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_storing_and_forgetting_the_same_octets_races_collecting() {
    let store = Store::new().await;
    let (same, large) = (octets(1, 9000), octets(2, 2_200_000));
    let acting = async {
        for round in 0..150 {
            let stored = store.store(round % 3, &same).await;
            store.check(stored, &same).await;
            let other = store.store(10 + round % 2, &large).await;
            store.check(stored, &same).await;
            store.check(other, &large).await;
            store.forget(10 + round % 2).await;
            store.forget(round % 3).await;
        }
    };
    let collecting = async {
        loop {
            store.collector.collect(Mode::Brisk).await.unwrap();
        }
    };
    tokio::select! {
        () = acting => {}
        _ = collecting => {}
    }
    store.collector.collect(Mode::Brisk).await.unwrap();
    assert_eq!(store.count().await, 0);
}

/// A reference moves before and behind what is read of the records, and nobody puts the octets again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_a_reference_that_moves_while_it_is_looked_for_is_not_missed() {
    let store = Store::new().await;
    let letter = octets(1, 2_200_000);
    let stored = store.store(0, &letter).await;
    // So many records between that the move overtakes the reading.
    let (other, size) = store.store(500, &octets(2, 10)).await;
    let between: Vec<Op> = (1..1000).map(|name| refer(name, other, size)).collect();
    store.records().commit(vec![], between).await.unwrap();
    let moving = async {
        for round in 0..300_u128 {
            let (from, to) = if round % 2 == 0 { (0, 2000) } else { (2000, 0) };
            let then = vec![Op::Delete(key(from)), refer(to, stored.0, stored.1)];
            store.records().commit(vec![], then).await.unwrap();
            store.check(stored, &letter).await;
        }
    };
    let collecting = async {
        loop {
            let done = store.collector.collect(Mode::Brisk).await.unwrap();
            assert_eq!(done.freed_blocks, 0);
        }
    };
    tokio::select! {
        () = moving => {}
        () = collecting => {}
    }
    store.check(stored, &letter).await;
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    while value >= 0x80 {
        octets.push(value as u8 | 0x80);
        value >>= 7;
    }
    octets.push(value as u8);
    octets
}

fn field(tag: u8, octets: &[u8]) -> Vec<u8> {
    [&[tag], varint(octets.len() as u64).as_slice(), octets].concat()
}

/// A block, what it covers of a resource, and the octets of all blocks on all ways below it.
struct Below(VerifiedBlock, u64, u64);

/// A node that links so many times to the same block.
fn again_and_again(Below(child, size, tsize): &Below, count: u64) -> Below {
    let link = [
        field(0x0a, &child.cid().to_bytes()),
        field(0x12, b""),
        [vec![0x18], varint(*tsize)].concat(),
    ];
    let link = field(0x12, &link.concat());
    let mut file = [vec![0x08, 2, 0x18], varint(size * count)].concat();
    let mut node = Vec::new();
    for _ in 0..count {
        node.extend(&link);
        file.extend([vec![0x20], varint(*size)].concat());
    }
    node.extend(field(0x0a, &file));
    let tsize = node.len() as u64 + tsize * count;
    let node = VerifiedBlock::hash(Codec::DagPb, node.into()).unwrap();
    Below(node, size * count, tsize)
}

#[tokio::test]
async fn c04_a_resource_of_a_few_blocks_in_very_many_places_is_read_once() {
    let store = Store::new().await;
    let leaf = VerifiedBlock::hash(Codec::Raw, octets(1, 4096)).unwrap();
    let leaf = Below(leaf, 4096, 4096);
    let lower = again_and_again(&leaf, 1024);
    let upper = again_and_again(&lower, 1024);
    let root = again_and_again(&upper, 256);
    let size = root.1;
    assert_eq!(size, limits::RESOURCE);
    let blocks = [root, upper, lower, leaf].map(|Below(block, ..)| block);
    let names = blocks.each_ref().map(|block| *block.cid());
    store.blocks().put(blocks.to_vec()).await.unwrap();
    let references = References {
        blocks: store.blocks(),
        records: store.records(),
    };
    let [cid, ..] = names;
    for whole in [true, false] {
        let (mut steps, mut seen) = (0, HashSet::new());
        let each = |cid: &Cid| {
            steps += 1;
            assert!(steps < 10_000, "on all ways there are 2^28");
            seen.insert(*cid);
        };
        references.below(Root { cid, size, whole }, each).await.unwrap();
        assert_eq!(seen, HashSet::from(names));
    }
    store
        .records()
        .commit(vec![], vec![refer(1, cid, size)])
        .await
        .unwrap();
    assert_eq!(
        store.collector.collect(Mode::Brisk).await.unwrap().freed_blocks,
        0
    );
}

#[tokio::test]
async fn a_record_that_nobody_knows_stops_the_collection_before_it_begins() {
    let store = Store::new().await;
    store.store(1, &octets(1, 10)).await;
    store.forget(1).await;
    for strange in ["new-thing/1", "share", "ledger-header", "zzz"] {
        let put = Op::Put(strange.to_owned(), Bytes::new());
        store.records().commit(vec![], vec![put]).await.unwrap();
        match store.collector.collect(Mode::Brisk).await {
            Err(CollectError::Unknown(key)) => assert_eq!(key, strange),
            other => panic!("{other:?}"),
        }
        let gone = vec![Op::Delete(strange.to_owned())];
        store.records().commit(vec![], gone).await.unwrap();
    }
    assert_eq!(store.count().await, 1);
    assert_eq!(
        store.collector.collect(Mode::Brisk).await.unwrap().freed_blocks,
        1
    );
}

#[tokio::test]
async fn a_reference_that_cannot_be_read_stops_it_and_is_named() {
    let store = Store::new().await;
    let (cid, _) = store.store(1, &octets(1, 3_000_000)).await;
    store.store(2, &octets(2, 10)).await;
    store.forget(2).await;
    let before = store.count().await;
    store.blocks().condemn(&[cid]).await.unwrap();
    assert_eq!(store.blocks().sweep(&[cid]).await.unwrap(), [true]);
    let stopped = store.collector.collect(Mode::Brisk).await.unwrap_err();
    assert!(matches!(&stopped, CollectError::Lost { root, .. } if *root == cid.to_string()));
    assert!(stopped.to_string().contains(&key(1)), "{stopped}");
    let rubbish = Op::Put(key(1), "rubbish".into());
    store.records().commit(vec![], vec![rubbish]).await.unwrap();
    let stopped = store.collector.collect(Mode::Brisk).await.unwrap_err();
    assert!(matches!(stopped, CollectError::Damaged(_)), "{stopped}");
    assert_eq!(store.count().await, before - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_collection_is_made_at_a_time_and_whoever_asked_is_told() {
    let store = Store::new().await;
    store.store(1, &octets(1, 10)).await;
    store.forget(1).await;
    let collector = Arc::new(store.collector);
    let stop = tokio_util::sync::CancellationToken::new();
    collector.ask(Mode::Dry).unwrap();
    assert!(matches!(collector.ask(Mode::Dry), Err(CollectError::Running)));
    assert!(collector.view().under_way);
    let running = tokio::spawn({
        let (collector, stop) = (collector.clone(), stop.clone());
        async move { collector.run(None, stop).await }
    });
    let ended = async || {
        while collector.view().under_way {
            tokio::task::yield_now().await;
        }
        collector.view().done.unwrap()
    };
    let dry = ended().await;
    assert!(dry.dry_run && dry.freed_blocks == 1);
    collector.ask(Mode::Brisk).unwrap();
    assert_eq!(ended().await.freed_blocks, 1);
    stop.cancel();
    running.await.unwrap();
}
