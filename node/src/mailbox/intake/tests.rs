#![allow(clippy::unwrap_used)]
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_protocol::dag::{Codec, Walk};
use cid::Cid;
use tokio::sync::Semaphore;

use super::*;

/// A disk that makes a batch durable for each permit, and writes one for each of the others.
struct Slow {
    permits: Arc<Semaphore>,
    writes: Semaphore,
    put: Mutex<Vec<Cid>>,
}

impl Slow {
    fn new(permits: usize, writes: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(permits)),
            writes: Semaphore::new(writes),
            put: Mutex::default(),
        })
    }
}

#[async_trait]
impl BlockStore for Slow {
    async fn put(&self, batch: Vec<VerifiedBlock>) -> Result<(), StoreError> {
        self.write(batch).await?.await
    }
    async fn write(&self, batch: Vec<VerifiedBlock>) -> Result<Settling<StoreError>, StoreError> {
        self.writes.acquire().await.unwrap().forget();
        let mut put = self.put.lock().unwrap();
        put.extend(batch.iter().map(VerifiedBlock::cid));
        let permits = self.permits.clone();
        Ok(Box::pin(async move {
            permits.acquire().await.unwrap().forget();
            Ok(())
        }))
    }
    async fn get(&self, _: &Cid) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
    async fn has(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError> {
        Ok(vec![false; cids.len()])
    }
    async fn keep(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError> {
        Ok(vec![false; cids.len()])
    }
    async fn condemn(&self, _: &[Cid]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn sweep(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError> {
        Ok(vec![false; cids.len()])
    }
    async fn list(&self, _: Option<[u8; 32]>, _: usize) -> Result<Vec<([u8; 32], u32)>, StoreError> {
        Ok(Vec::new())
    }
}

/// A block of one leaf as it comes from a stream: of these octets, said to be the block of those.
fn claimed(octets: Vec<u8>, said: &[u8]) -> ClaimedBlock {
    let said = VerifiedBlock::hash(Codec::Raw, Bytes::copy_from_slice(said)).unwrap();
    let mut walk = Walk::new(*said.cid(), octets.len() as u64).unwrap();
    walk.claim(octets.into()).unwrap()
}

fn good(octets: Vec<u8>) -> ClaimedBlock {
    let said = octets.clone();
    claimed(octets, &said)
}

fn place(leaves: u64) -> Option<Place> {
    Some(Place { resource: 0, leaves })
}

const GROUP: usize = limits::LEAF;

#[tokio::test]
async fn q04_one_block_is_at_risk_at_a_time_until_it_is_written_and_noted() {
    let disk = Slow::new(0, 1);
    let mut intake = Intake::new(disk.clone());
    let room = |intake: &Intake, block, noted| intake.has_room(block, noted);
    assert!(room(&intake, limits::BLOCK, 0));
    intake.take(good(vec![1; GROUP]), place(1));
    assert!(!room(&intake, 1, 0));
    assert!(matches!(
        intake.next().await.unwrap().unwrap(),
        Settled::Verified { octets: GROUP, .. }
    ));
    assert!(
        !room(&intake, 1, GROUP as u64),
        "it is noted, but nowhere written"
    );
    assert!(matches!(intake.next().await.unwrap().unwrap(), Settled::Written));
    assert!(!room(&intake, 1, 0), "it is written, but not noted");
    assert!(room(&intake, GROUP, GROUP as u64));
    // Of small ones so many as make a large one.
    intake.take(good(vec![2; GROUP / 2]), place(2));
    assert!(room(&intake, GROUP / 2, GROUP as u64));
    intake.take(good(vec![3; GROUP / 2]), place(3));
    assert!(!room(&intake, 1, GROUP as u64));
}

#[tokio::test]
async fn a_disk_that_syncs_too_slowly_stops_the_reading_and_memory_is_bounded() {
    let disk = Slow::new(0, 100);
    let mut intake = Intake::new(disk.clone());
    let (mut taken, mut verified, mut durable) = (0, 0, 0);
    let mut noted = 0;
    while intake.has_room(GROUP, noted) {
        intake.take(good(vec![taken as u8; GROUP]), place(taken));
        taken += 1;
        noted += GROUP as u64;
        let settled = [intake.next().await, intake.next().await].map(|settled| settled.unwrap().unwrap());
        assert!(matches!(
            settled,
            [Settled::Verified { failed: None, .. }, Settled::Written]
        ));
        verified += 1;
    }
    assert_eq!(taken as usize, ROOM / GROUP);
    disk.permits.add_permits(taken as usize);
    while let Some(settled) = intake.next().await {
        let Settled::Durable(at) = settled.unwrap() else {
            panic!("everything was written");
        };
        durable += 1;
        assert_eq!(at.unwrap().leaves + 1, durable);
    }
    assert_eq!(
        (verified, durable, disk.put.lock().unwrap().len() as u64),
        (taken, taken, taken)
    );
    assert!(intake.has_room(GROUP, noted));
}

#[tokio::test]
async fn c05_nothing_behind_a_block_that_is_none_is_stored_or_told_of() {
    let disk = Slow::new(100, 100);
    let mut intake = Intake::new(disk.clone());
    intake.take(good(vec![1; GROUP]), place(1));
    intake.take(claimed(vec![2; GROUP], &[3; 10]), place(2));
    intake.take(good(vec![4; GROUP]), place(3));
    intake.send_off();
    let (mut told, mut failures) = (Vec::new(), 0);
    while let Some(settled) = intake.next().await {
        match settled.unwrap() {
            Settled::Verified { failed, place, .. } => {
                failures += usize::from(failed.is_some());
                told.extend(place);
            }
            Settled::Durable(place) => told.extend(place),
            Settled::Written => {}
        }
    }
    assert_eq!(failures, 1);
    assert_eq!(told, [place(1), place(1)].map(Option::unwrap));
    assert_eq!(disk.put.lock().unwrap().len(), 1);
}
