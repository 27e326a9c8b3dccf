//! Room that comes back: compaction of packs while they are read, written and swept.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cargomail_protocol::dag::VerifiedBlock;
use cid::Cid;

use super::files::{files, overwrite};
use super::open;
use crate::store::conformance::block;
use crate::store::{Compacted, Compaction, Embedded, StoreError, discard_view};

/// A block of so many octets that no other number has.
fn photo(n: usize, size: usize) -> VerifiedBlock {
    let mut octets = format!("photo {n} ").into_bytes();
    octets.resize(size.max(octets.len()), n as u8);
    block(octets)
}

fn names(blocks: &[VerifiedBlock]) -> Vec<Cid> {
    blocks.iter().map(|block| *block.cid()).collect()
}

fn octets(folder: &Path) -> u64 {
    let packs = fs::read_dir(folder.join("packs")).unwrap();
    packs.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

async fn sweep(store: &Embedded, names: &[Cid]) {
    store.blocks().condemn(names).await.unwrap();
    let swept = store.blocks().sweep(names).await.unwrap();
    assert_eq!(swept, vec![true; names.len()]);
}

async fn compact(store: &Embedded) -> Compacted {
    store.compact(Compaction::default(), |_| ()).await.unwrap()
}

async fn are_here(store: &Embedded, kept: &[VerifiedBlock], gone: &[VerifiedBlock]) {
    for block in kept {
        let found = store.blocks().get(block.cid()).await.unwrap();
        assert_eq!(found.unwrap(), *block.bytes());
    }
    let here = store.blocks().has(&names(gone)).await.unwrap();
    assert_eq!(here, vec![false; gone.len()]);
    assert_eq!(
        store.blocks().list(None, usize::MAX).await.unwrap().len(),
        kept.len()
    );
}

/// After what a crash or another program may leave.
async fn are_here_without_the_view(folder: &Path, kept: &[VerifiedBlock], gone: &[VerifiedBlock]) {
    discard_view(folder).await.unwrap();
    let store = open(folder).await;
    assert_eq!(store.damages(), []);
    are_here(&store, kept, gone).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q06_after_half_of_the_blocks_are_deleted_their_room_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let blocks: Vec<_> = (0..600).map(|n| photo(n, 2000 + n * 7 % 900)).collect();
    for some in blocks.chunks(16) {
        store.blocks().put(some.to_vec()).await.unwrap();
    }
    let before = octets(folder.path());
    let (gone, kept): (Vec<_>, Vec<_>) = blocks.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    let [gone, kept] = [gone, kept].map(|half| half.into_iter().map(|(_, block)| block).collect::<Vec<_>>());
    sweep(&store, &names(&gone)).await;
    let done = compact(&store).await;
    let size = |blocks: &[VerifiedBlock]| {
        blocks
            .iter()
            .map(|block| block.bytes().len() as u64 + 48)
            .sum::<u64>()
    };
    let freed = before - octets(folder.path());
    assert!(freed * 100 >= size(&gone) * 95, "{freed} of {}", size(&gone));
    assert!(done.packs > 0 && done.moved <= size(&kept), "{done:?}");
    are_here(&store, &kept, &gone).await;
    while compact(&store).await.packs > 0 {
        // What was said again of blocks that are gone need not be said any more.
    }
    store.close().await.unwrap();
    are_here_without_the_view(folder.path(), &kept, &gone).await;

    // And everything.
    let store = open(folder.path()).await;
    sweep(&store, &names(&kept)).await;
    compact(&store).await;
    assert!(octets(folder.path()) < 1000, "{}", octets(folder.path()));
    store.close().await.unwrap();
    are_here_without_the_view(folder.path(), &[], &kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn blocks_are_read_written_and_swept_while_packs_are_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let kept: Vec<_> = (0..200).map(|n| photo(n, 700)).collect();
    let mut gone = Vec::new();
    for (n, block) in kept.iter().enumerate() {
        let other = photo(1000 + n, 900);
        store
            .blocks()
            .put(vec![block.clone(), other.clone()])
            .await
            .unwrap();
        gone.push(other);
    }
    sweep(&store, &names(&gone)).await;
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (store, kept, over) = (store.clone(), kept.clone(), over.clone());
            tokio::spawn(async move {
                let mut n = reader;
                while !over.load(Ordering::Relaxed) {
                    n = (n + 37) % kept.len();
                    let found = store.blocks().get(kept[n].cid()).await.unwrap();
                    assert_eq!(found.unwrap(), *kept[n].bytes());
                }
            })
        })
        .collect();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut written = Vec::new();
            for n in 0..60 {
                let (stays, goes) = (photo(2000 + n, 800), photo(3000 + n, 800));
                store
                    .blocks()
                    .put(vec![stays.clone(), goes.clone()])
                    .await
                    .unwrap();
                sweep(&store, &[*goes.cid()]).await;
                written.push((stays, goes));
            }
            written
        }
    });
    let mut packs = 0;
    while !writer.is_finished() || packs == 0 {
        packs += compact(&store).await.packs;
    }
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    let (stay, went): (Vec<_>, Vec<_>) = writer.await.unwrap().into_iter().unzip();
    let (kept, gone) = ([kept, stay].concat(), [gone, went].concat());
    are_here(&store, &kept, &gone).await;
    store.close().await.unwrap();
    are_here_without_the_view(folder.path(), &kept, &gone).await;
}

#[tokio::test]
async fn a_deleted_block_stays_deleted_while_an_older_pack_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    // The first pack stays: most of it is wanted.
    let old: Vec<_> = (0..16).map(|n| photo(n, 1000)).collect();
    store.blocks().put(old.clone()).await.unwrap();
    let (gone, kept) = old.split_at(1);
    // The second one has the tombstone, and otherwise nothing that is wanted.
    let passing: Vec<_> = (100..118).map(|n| photo(n, 1000)).collect();
    store.blocks().put(passing.clone()).await.unwrap();
    sweep(&store, &names(gone)).await;
    sweep(&store, &names(&passing)).await;
    let passing = [&passing, gone].concat();
    let job = Compaction {
        below: 60,
        rate: None,
    };
    for _ in 0..3 {
        store.compact(job, |_| ()).await.unwrap();
    }
    let packs = files(folder.path(), "pack");
    assert!(
        packs[0].ends_with("00000001.pack") && !packs[1].ends_with("00000002.pack"),
        "{packs:?}"
    );
    store.close().await.unwrap();
    are_here_without_the_view(folder.path(), kept, &passing).await;
}

#[tokio::test]
async fn q07_a_pack_with_a_damaged_block_stays_until_the_block_is_brought_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let blocks: Vec<_> = (0..20).map(|n| photo(n, 1000)).collect();
    store.blocks().put(blocks.clone()).await.unwrap();
    let pack = files(folder.path(), "pack").remove(0);
    overwrite(&pack, b"photo 7 ", 100, b"?");
    sweep(&store, &names(&blocks[10..])).await;
    let done = compact(&store).await;
    assert_eq!((done.packs, pack.exists()), (0, true), "{done:?}");
    assert!(matches!(
        store.blocks().get(blocks[7].cid()).await,
        Err(StoreError::Damaged { .. })
    ));
    store.blocks().put(vec![blocks[7].clone()]).await.unwrap();
    compact(&store).await;
    assert!(!pack.exists());
    are_here(&store, &blocks[..10], &blocks[10..]).await;
    store.close().await.unwrap();
    are_here_without_the_view(folder.path(), &blocks[..10], &blocks[10..]).await;
}

#[tokio::test]
async fn a_pack_that_compaction_removed_is_not_reported_missing_and_another_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let blocks: Vec<_> = (0..60).map(|n| photo(n, 1000)).collect();
    for some in blocks.chunks(10) {
        store.blocks().put(some.to_vec()).await.unwrap();
    }
    sweep(&store, &names(&blocks[..20])).await;
    assert!(compact(&store).await.packs > 0);
    drop(store);
    let packs = files(folder.path(), "pack");
    fs::remove_file(&packs[0]).unwrap();
    let store = open(folder.path()).await;
    let named: Vec<_> = store.damages().iter().map(|damage| damage.file.clone()).collect();
    assert_eq!(named, [packs[0].display().to_string()]);
}
