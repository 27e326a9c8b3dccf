#![allow(clippy::unwrap_used)]
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_protocol::dag::{Codec, Walk};
use cid::Cid;
use tokio::sync::Semaphore;

use super::*;

/// A disk that makes a batch durable for each permit.
struct Slow {
    permits: Semaphore,
    put: Mutex<Vec<Cid>>,
}

impl Slow {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(permits),
            put: Mutex::default(),
        })
    }
}

#[async_trait]
impl BlockStore for Slow {
    async fn put(&self, batch: Vec<VerifiedBlock>) -> Result<(), StoreError> {
        self.permits.acquire().await.unwrap().forget();
        let mut put = self.put.lock().unwrap();
        put.extend(batch.iter().map(VerifiedBlock::cid));
        Ok(())
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

#[tokio::test]
async fn a_disk_that_does_not_keep_up_stops_the_reading_and_memory_is_bounded() {
    let disk = Slow::new(0);
    let mut intake = Intake::new(disk.clone());
    let mut taken = 0;
    while intake.has_room() {
        intake.take(good(vec![taken as u8; GROUP]), place(taken));
        taken += 1;
    }
    assert_eq!(taken as usize, ROOM / GROUP);
    let mut durable = 0;
    disk.permits.add_permits(taken as usize);
    let mut verified = 0;
    while let Some(settled) = intake.next().await {
        match settled.unwrap() {
            Settled::Verified { blocks, failed, .. } => {
                assert!(failed.is_none());
                verified += blocks.len() as u64;
            }
            Settled::Durable(at) => {
                durable += 1;
                assert!(at.unwrap().leaves < verified);
            }
        }
    }
    assert!(durable > 1);
    assert_eq!((verified, disk.put.lock().unwrap().len() as u64), (taken, taken));
    assert!(intake.has_room());
}

#[tokio::test]
async fn c05_nothing_behind_a_block_that_is_none_is_stored_or_told_of() {
    let disk = Slow::new(100);
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
        }
    }
    assert_eq!(failures, 1);
    assert_eq!(told, [place(1), place(1)].map(Option::unwrap));
    assert_eq!(disk.put.lock().unwrap().len(), 1);
}
