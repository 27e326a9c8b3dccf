//! A disk that is full: a small file system of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cargomail_protocol::dag::VerifiedBlock;
use tempfile::TempDir;

use super::{KIND, small};
use crate::store::conformance::{block, put};
use crate::store::{CommitError, Compaction, Embedded, EmbeddedOptions, Op, StoreError};

const DISK: u64 = 16 * 1024 * 1024;
const RESERVE: u64 = 4 * 1024 * 1024;
const BLOCK: usize = 64 * 1024;

/// A disk of so many octets.
struct Disk(TempDir, u64);

impl Disk {
    fn new(octets: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={octets}"), "tmpfs"])
            .arg(folder.path())
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(
            mounted.status.success(),
            "a disk of its own needs the right to mount: {why}"
        );
        Self(folder, octets)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let path = self.path().join("others");
        let _ = fs::write(path, vec![1; self.1 as usize]);
    }

    fn give_back(&self) {
        fs::remove_file(self.path().join("others")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: files of a store that is still closing may be open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn open(disk: &Disk, reserve: u64) -> Embedded {
    let options = EmbeddedOptions {
        segment: 1024 * 1024,
        reserve,
        ..small(KIND)
    };
    Embedded::open(&disk.path().join("store"), options).await.unwrap()
}

fn photo(n: usize) -> VerifiedBlock {
    block(vec![n as u8; BLOCK + n])
}

/// Puts photos until one is refused, and tells which was.
async fn fill(store: &Embedded, from: usize) -> (usize, StoreError) {
    for n in from.. {
        if let Err(error) = store.blocks().put(vec![photo(n)]).await {
            return (n, error);
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q06_blocks_leave_a_reserve_in_which_deleting_goes_on_and_frees_room() {
    let disk = Disk::new(DISK);
    let store = open(&disk, RESERVE).await;
    let (first, error) = fill(&store, 0).await;
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(
        error.to_string().contains("4194304 are kept in reserve"),
        "{error}"
    );
    assert!(first as u64 * BLOCK as u64 >= (DISK - RESERVE) / 2);
    // What is here already needs no room, and what frees room is done.
    store.blocks().put(vec![photo(0)]).await.unwrap();
    let records = store.records();
    records.commit(vec![], vec![put("a", "state")]).await.unwrap();
    records
        .commit(vec![], vec![Op::Delete("a".to_owned())])
        .await
        .unwrap();
    let gone: Vec<_> = (0..first / 2).map(|n| *photo(n).cid()).collect();
    store.blocks().condemn(&gone).await.unwrap();
    store.blocks().sweep(&gone).await.unwrap();
    let done = store.compact(Compaction::default(), |_| ()).await.unwrap();
    assert!(done.after < done.before, "{done:?}");
    let (second, error) = fill(&store, first).await;
    assert!(
        matches!(error, StoreError::Full { .. }) && second > first,
        "{error}"
    );
    for n in first / 2..second {
        let found = store.blocks().get(photo(n).cid()).await.unwrap();
        assert_eq!(found.unwrap(), *photo(n).bytes());
    }
    store.close().await.unwrap();
}

/// Stores a block on a disk that has room again: at once, or once an index that the full disk had broken is made anew, which is tried
/// again by itself.
async fn put_soon(store: &Embedded, block: VerifiedBlock) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match store.blocks().put(vec![block.clone()]).await {
            Ok(()) => return,
            Err(StoreError::Damaged { what, .. }) if what == "the view" && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q06_a_disk_that_others_filled_refuses_clearly_and_writing_goes_on_when_there_is_room() {
    let disk = Disk::new(DISK);
    let store = open(&disk, 0).await;
    store.blocks().put(vec![photo(0)]).await.unwrap();
    store.records().commit(vec![], vec![put("a", "1")]).await.unwrap();
    let value = "x".repeat(16 * 1024);
    for round in 1..=3 {
        disk.fill();
        let mut refused = (None, None);
        for n in 0..256 {
            refused.0 = store.blocks().put(vec![photo(300 * round + n)]).await.err();
            refused.1 = match store.records().commit(vec![], vec![put("b", &value)]).await {
                Err(CommitError::Store(error)) => Some(error),
                _ => None,
            };
            if refused.0.is_some() && refused.1.is_some() {
                break;
            }
        }
        for error in [refused.0.unwrap(), refused.1.unwrap()] {
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            assert!(error.to_string().contains("No space left"), "{error}");
        }
        let found = store.blocks().get(photo(0).cid()).await.unwrap();
        assert_eq!(found.unwrap(), *photo(0).bytes(), "reading goes on");
        disk.give_back();
        put_soon(&store, photo(round)).await;
        store
            .records()
            .commit(vec![], vec![put("a", &round.to_string())])
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    let store = open(&disk, 0).await;
    assert_eq!(store.damages(), []);
    for n in 0..=3 {
        assert!(store.blocks().get(photo(n).cid()).await.unwrap().is_some());
    }
    let found = store.records().get(&["a".to_owned()]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().value, "3");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q06_what_is_on_its_way_when_others_fill_the_disk_has_its_place_and_nothing_more_is_asked_for() {
    let disk = Disk::new(64 * 1024 * 1024);
    let options = EmbeddedOptions {
        segment: 256 * 1024 * 1024,
        reserve: 0,
        ..small(KIND)
    };
    let store = Embedded::open(&disk.path().join("store"), options).await.unwrap();
    let (blocks, records) = (store.blocks(), store.records());
    let large = |n: usize| block(vec![n as u8; 1024 * 1024]);
    blocks.room(8 * 1024 * 1024).unwrap();
    blocks.put(vec![large(0)]).await.unwrap();
    records.commit(vec![], vec![put("place", "0")]).await.unwrap();
    disk.fill();
    let mut came = 1;
    while blocks.room(1024 * 1024).is_ok() {
        blocks.put(vec![large(came)]).await.unwrap();
        came += 1;
    }
    // The room that is set aside was asked for once more, in vain; everything that may be on its way still fits.
    for n in came..came + 7 {
        blocks.put(vec![large(n)]).await.unwrap();
        let note = put("place", &n.to_string());
        records.commit(vec![], vec![note]).await.unwrap();
    }
    let (first, error) = loop {
        match blocks.put(vec![large(came)]).await {
            Ok(()) if came < 64 => came += 1,
            done => break (came, done.unwrap_err()),
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(blocks.room(1024 * 1024).is_err());
    disk.give_back();
    blocks.room(1024 * 1024).unwrap();
    blocks.put(vec![large(first)]).await.unwrap();
    blocks.room(8 * 1024 * 1024).unwrap();
    for n in 0..=first {
        assert_eq!(blocks.get(large(n).cid()).await.unwrap().unwrap(), *large(n).bytes());
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_aside_is_given_back_when_the_store_is_closed_and_when_it_was_not() {
    use std::os::unix::fs::MetadataExt;
    let taken = |folder: &Path| -> u64 {
        let files = ["packs", "journal"].map(|name| fs::read_dir(folder.join(name)).unwrap());
        let files = files.into_iter().flatten();
        files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
    };
    let disk = Disk::new(64 * 1024 * 1024);
    let folder = disk.path().join("store");
    let options = EmbeddedOptions {
        reserve: 0,
        ..small(KIND)
    };
    let store = Embedded::open(&folder, options.clone()).await.unwrap();
    store.blocks().put(vec![photo(0)]).await.unwrap();
    assert!(taken(&folder) >= 16 * 1024 * 1024);
    store.close().await.unwrap();
    assert!(taken(&folder) < 1024 * 1024);
    let store = Embedded::open(&folder, options.clone()).await.unwrap();
    store.blocks().put(vec![photo(1)]).await.unwrap();
    assert!(taken(&folder) >= 16 * 1024 * 1024);
    drop(store);
    let store = Embedded::open(&folder, options).await.unwrap();
    assert!(taken(&folder) < 1024 * 1024);
    store.close().await.unwrap();
}

/// So many octets of records, one after the other, under `name`.
async fn records(store: &Embedded, name: &str, numbers: std::ops::Range<usize>, octets: usize) {
    for n in numbers {
        let put = put(&format!("{name}/{n:03}"), &"x".repeat(octets));
        store.records().commit(vec![], vec![put]).await.unwrap();
    }
}

async fn remove(store: &Embedded, name: &str, numbers: std::ops::Range<usize>) {
    let gone = numbers.map(|n| Op::Delete(format!("{name}/{n:03}")));
    store.records().commit(vec![], gone.collect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q06_a_journal_gives_room_back_where_there_is_room_for_what_holds_of_one_file_only() {
    let disk = Disk::new(64 * 1024 * 1024);
    let options = EmbeddedOptions {
        segment: 16 * 1024 * 1024,
        ..small(KIND)
    };
    let store = Embedded::open(&disk.path().join("store"), options).await.unwrap();
    const SIZE: usize = 512 * 1024;
    records(&store, "gone", 0..31, SIZE).await;
    // Behind what is removed, in files that are full of what holds.
    records(&store, "stays", 0..41, SIZE).await;
    remove(&store, "gone", 0..31).await;
    let free = rustix::fs::statvfs(disk.path()).unwrap();
    let free = free.f_bavail * free.f_frsize;
    assert!(free > 10 * 1024 * 1024, "{free}");
    fs::write(disk.path().join("others"), vec![1; free as usize - 10 * 1024 * 1024]).unwrap();
    let done = store.compact(Compaction::default(), |_| ()).await.unwrap();
    assert!(done.journal >= 1, "{done:?}");
    assert_eq!(store.records().list("", None, 99).await.unwrap().len(), 41);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q06_a_journal_that_had_no_room_to_give_room_back_does_so_once_there_is_some() {
    let disk = Disk::new(DISK);
    let options = small(KIND);
    let store = Embedded::open(&disk.path().join("store"), options).await.unwrap();
    records(&store, "stays", 0..1, 1024).await;
    records(&store, "gone", 0..40, 1024).await;
    remove(&store, "gone", 0..40).await;
    disk.fill();
    assert_eq!(store.shorten(0).await.unwrap(), 0);
    disk.give_back();
    // At once, or once an index that the full disk had broken is made anew.
    let until = Instant::now() + Duration::from_secs(20);
    while store.shorten(0).await.unwrap() == 0 {
        assert!(Instant::now() < until, "it is not tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!disk.path().join("store/journal/00000001.log").exists());
    assert_eq!(store.records().list("", None, 99).await.unwrap().len(), 1);
    store.close().await.unwrap();
}
