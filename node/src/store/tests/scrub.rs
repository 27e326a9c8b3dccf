//! Bit rot that is found before anybody asks for the block.

use std::fs;
use std::time::Duration;

use super::files::{files, overwrite};
use super::open;
use crate::store::Embedded;
use crate::store::conformance::block;
use crate::store::scrub::Scrubbed;

/// As often as anybody wants.
const AT_ONCE: Duration = Duration::ZERO;

/// To the end of a round; how many steps it took.
async fn round(store: &Embedded) -> (Scrubbed, usize) {
    for steps in 1..1000 {
        let scrubbed = store.scrub(AT_ONCE).await.unwrap();
        if scrubbed.next.is_none() {
            return (scrubbed, steps);
        }
    }
    panic!("the round does not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q07_a_block_that_rots_is_found_by_reading_on_and_is_mended_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let blocks: Vec<_> = (0..60).map(|n| block(format!("photo {n} ").repeat(200))).collect();
    for some in blocks.chunks(4) {
        store.blocks().put(some.to_vec()).await.unwrap();
    }
    let (sound, packs) = round(&store).await;
    assert_eq!(sound.damaged, 0);
    assert!(sound.octets > 0 && sound.ended.is_some() && packs > 3);
    // One flips in the first pack, while the store is open, and nobody reads it.
    let pack = folder.path().join("packs/00000001.pack");
    overwrite(&pack, b"photo 3 photo 3", 6, b"8");
    let rotten = &blocks[3];
    assert_eq!(store.blocks().has(&[*rotten.cid()]).await.unwrap(), [true]);
    let first = store.scrub(AT_ONCE).await.unwrap();
    assert_eq!((first.next, first.damaged), (Some(2), 1));
    assert_eq!(store.blocks().has(&[*rotten.cid()]).await.unwrap(), [false]);
    store.close().await.unwrap();
    let store = open(folder.path()).await;
    let (found, more) = round(&store).await;
    // What was found is found again, so that it is known.
    assert_eq!((found.damaged, more), (1, packs));
    assert_eq!(store.statistics().await.unwrap().scrub, found);
    // Not again before it is due.
    let long = Duration::from_secs(3600);
    assert_eq!(store.scrub(long).await.unwrap(), found);
    assert!(store.blocks().get(rotten.cid()).await.is_err());
    store.blocks().put(vec![rotten.clone()]).await.unwrap();
    assert_eq!(store.blocks().get(rotten.cid()).await.unwrap().unwrap(), *rotten.bytes());
    assert_eq!(round(&store).await.0.damaged, 0);
    // A note that cannot be read begins anew.
    fs::write(folder.path().join("SCRUB"), "nonsense").unwrap();
    assert_eq!(store.scrub(AT_ONCE).await.unwrap().next, Some(2));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q07_of_more_damaged_blocks_than_are_remembered_each_may_be_stored_anew() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let blocks: Vec<_> = (0..4100).map(|n| block(format!("photo {n}"))).collect();
    for some in blocks.chunks(100) {
        store.blocks().put(some.to_vec()).await.unwrap();
    }
    for pack in files(folder.path(), "pack") {
        let octets = fs::read(&pack).unwrap();
        let file = fs::File::options().write(true).open(&pack).unwrap();
        for (at, _) in octets.windows(6).enumerate().filter(|(_, some)| *some == b"photo ") {
            file.write_all_at(b"P", at as u64).unwrap();
        }
    }
    for block in &blocks {
        assert!(store.blocks().get(block.cid()).await.is_err());
    }
    // There is a place again for one that is remembered; those that were not are still not known.
    store.blocks().put(vec![blocks[0].clone()]).await.unwrap();
    for block in [&blocks[4098], &blocks[4099]] {
        assert_eq!(store.blocks().has(&[*block.cid()]).await.unwrap(), [false]);
        store.blocks().put(vec![block.clone()]).await.unwrap();
        assert_eq!(store.blocks().get(block.cid()).await.unwrap().unwrap(), *block.bytes());
    }
    store.close().await.unwrap();
}
