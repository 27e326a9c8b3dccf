#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicUsize;

use tempfile::TempDir;

use super::super::frame::Digest;
use super::super::index::Entry;
use super::super::log::{Place, Position};
use super::*;

const PACKS: Position = Position { file: 1, offset: 0 };

/// The records of one change, with their versions.
type Told = Vec<(String, Version)>;

/// An index that holds nothing, fails as often as it is to, and notes what it is told of records then.
#[derive(Default)]
struct Double {
    fails: AtomicUsize,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Double {
    /// One that fails so many times.
    fn failing(times: usize) -> Self {
        Self {
            fails: AtomicUsize::new(times),
            ..Self::default()
        }
    }
}

impl Index for Double {
    fn block(&self, _: &Digest) -> Result<Option<Place>, StoreError> {
        Ok(None)
    }
    fn blocks_after(&self, _: Option<&Digest>, _: usize) -> Result<Vec<(Digest, Place)>, StoreError> {
        Ok(Vec::new())
    }
    fn record(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        Ok(None)
    }
    fn records_after(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<(String, Entry)>, StoreError> {
        Ok(Vec::new())
    }
    fn mark(&self, _: Version) -> Result<Option<Position>, StoreError> {
        Ok(None)
    }
    fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        let left = self.fails.load(Ordering::SeqCst);
        if left > 0 {
            self.fails.store(left - 1, Ordering::SeqCst);
            return Err(no_view());
        }
        let records = changes.records.iter();
        let told = records.map(|(key, entry)| (key.clone(), entry.map_or(0, |entry| entry.version)));
        self.told.lock().unwrap().push(told.collect());
        Ok(())
    }
    fn stamps(&self) -> Result<Option<[u64; 2]>, StoreError> {
        Ok(None)
    }
    fn settle(&self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What is kept of an empty store with that index.
fn kept(index: impl Index + 'static) -> (TempDir, Kept) {
    let (folder, opening) = opening(Box::new(index));
    (folder, Kept::new(opening))
}

/// An empty store that nothing is asked of.
pub(in crate::store) fn empty() -> (TempDir, Opening) {
    opening(Box::new(Double::default()))
}

fn opening(index: Box<dyn Index>) -> (TempDir, Opening) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::open(temporary.path()).unwrap();
    let log = |name, extension| Arc::new(Log::new(folder.join(name), extension, folder.salt));
    let (packs, journal) = (log("packs", "pack"), log("journal", "log"));
    for log in [&packs, &journal] {
        std::fs::write(log.path(1), b"").unwrap();
    }
    let opening = Opening {
        packs,
        journal,
        folder,
        index,
        kind: IndexKind::Redb,
        cache: 1024 * 1024,
        checkpoint: Checkpoint {
            left: Left::Open,
            packs: PACKS,
            pack_records: 0,
            journal: PACKS,
            version: 0,
            index: None,
        },
    };
    (temporary, opening)
}

fn change() -> (Changes, Reached) {
    let mut changes = Changes::default();
    changes.blocks.push(([7; 32], None));
    (changes, Reached::Packs(PACKS, 0))
}

fn pause(kept: &Kept, until: Instant) {
    let mut open = kept.open.write().unwrap();
    open.as_mut().unwrap().pause = Some(until);
}

fn left(folder: &TempDir) -> Option<Left> {
    let checkpoint = Checkpoint::read(&folder.path().join("CHECKPOINT")).unwrap();
    checkpoint.map(|checkpoint| checkpoint.left)
}

#[test]
fn an_index_that_failed_is_never_used_again_not_even_until_it_may_be_made_anew() {
    let (folder, kept) = kept(Double::failing(1));
    pause(&kept, Instant::now() + Duration::from_secs(3600));
    let (changes, reached) = change();
    kept.add(changes, Some(reached)).unwrap();
    let generation = kept.step().unwrap_err();
    assert!(kept.mend(generation).is_err());
    // It would take what comes next, and what it lacks would never be missed.
    let (changes, reached) = change();
    kept.add(changes, Some(reached)).unwrap();
    assert!(kept.step().is_err());
    assert!(kept.read(|_, _| Ok(())).is_err());
    pause(&kept, Instant::now());
    kept.read(|view, _| view.block(&[7; 32])).unwrap();
    assert_eq!(kept.flow().applied, 4);
    kept.close(true).unwrap();
    assert!(matches!(left(&folder), Some(Left::Closed { .. })));
}

#[test]
fn what_could_not_be_shown_has_the_index_made_anew_before_anybody_is_told_anything() {
    for mended in [true, false] {
        let (folder, kept) = kept(Double::default());
        kept.flow().end = End::Done;
        kept.flow().weight = limits::STORE_FRESH;
        let (changes, reached) = change();
        assert!(matches!(
            kept.add(changes, Some(reached)),
            Err(StoreError::Closed)
        ));
        assert!(kept.read_at_once(|_| Ok(())).is_none());
        if mended {
            kept.read(|_, _| Ok(())).unwrap();
            assert_eq!(kept.open.read().unwrap().as_ref().unwrap().generation, 1);
        } else {
            assert!(kept.step().is_err());
        }
        kept.close(true).unwrap();
        assert_eq!(left(&folder).is_some(), mended);
    }
}

fn put(key: &str, version: Version) -> (Changes, Reached) {
    let mut changes = Changes::default();
    let place = Place {
        file: 1,
        offset: 0,
        length: 9,
    };
    changes
        .records
        .push((key.to_owned(), Some(Entry { version, place })));
    (changes, Reached::Journal(PACKS, version))
}

#[test]
fn the_index_waits_for_more_and_is_told_of_what_came_last_only() {
    let index = Double::default();
    let told = index.told.clone();
    let (_folder, kept) = kept(index);
    kept.flow().asked = None;
    assert_eq!(kept.flow().gathering(), Duration::MAX);
    for (key, version) in [("head", 1), ("job", 2), ("head", 3)] {
        let (changes, reached) = put(key, version);
        kept.add(changes, Some(reached)).unwrap();
        let waits = kept.flow().gathering();
        assert!(waits <= limits::STORE_INDEX_GATHER, "{waits:?}");
    }
    // What it was not told yet is seen all the same.
    let seen = kept.read(|view, _| view.record("head")).unwrap();
    assert_eq!(seen.unwrap().version, 3);
    kept.step().unwrap();
    assert_eq!(
        *told.lock().unwrap(),
        [[("job".to_owned(), 2), ("head".to_owned(), 3)]]
    );
    assert_eq!(kept.flow().covered.version, 3);
    assert_eq!(kept.flow().weight, 0);
    assert_eq!(kept.flow().gathering(), Duration::MAX);
    // Enough of it is not kept waiting.
    kept.flow().weight = limits::STORE_INDEX_GATHERED;
    let (changes, reached) = put("job", 4);
    kept.add(changes, Some(reached)).unwrap();
    assert!(kept.flow().gathering().is_zero());
}

#[test]
fn who_waits_for_room_while_the_index_is_made_anew_waits_on_and_is_shown() {
    let (_folder, kept) = kept(Double::failing(1));
    let (changes, reached) = change();
    kept.add(changes, Some(reached)).unwrap();
    let generation = kept.step().unwrap_err();
    let (changes, reached) = change();
    kept.add(changes, Some(reached)).unwrap();
    kept.flow().weight = limits::STORE_FRESH;
    std::thread::scope(|scope| {
        // Without the folder it does not get on.
        let folder = kept.folder.lock().unwrap();
        let mending = scope.spawn(|| kept.mend(generation));
        while !kept.making.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let adding = scope.spawn(|| {
            let (changes, reached) = change();
            kept.add(changes, Some(reached))
        });
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(300) {
            assert!(!adding.is_finished(), "it does not wait");
            std::thread::yield_now();
        }
        drop(folder);
        mending.join().unwrap().unwrap();
        adding.join().unwrap().unwrap();
    });
    assert!(!kept.is_torn());
    kept.read(|view, _| view.block(&[7; 32])).unwrap();
    assert_eq!(kept.open.read().unwrap().as_ref().unwrap().generation, 1);
}
