//! The view after stops that were not in order, and what the check of a store that is not open finds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{KIND, leave, small};
use crate::store::checkpoint::{Checkpoint, Known};
use crate::store::conformance::{block, put};
use crate::store::index::{self, Changes};
use crate::store::{Embedded, EmbeddedOptions, StoreError, check, discard_view};

const BLOCKS: usize = 300;

/// Believes a view after a stop that was not in order, however little there is.
fn believing() -> EmbeddedOptions {
    EmbeddedOptions {
        anew: 0,
        ..small(KIND)
    }
}

fn text(n: usize) -> String {
    format!("block {n} {}", "x".repeat(n))
}

async fn write(store: &Embedded, numbers: std::ops::Range<usize>) {
    for n in numbers {
        store.blocks().put(vec![block(text(n))]).await.unwrap();
        let ops = vec![put(&format!("mail/{n:04}"), "a mail"), put("last", &n.to_string())];
        store.records().commit(vec![], ops).await.unwrap();
    }
}

async fn sweep_the_seventh(store: &Embedded) {
    let gone = [*block(text(7)).cid()];
    store.blocks().condemn(&gone).await.unwrap();
    assert_eq!(store.blocks().sweep(&gone).await.unwrap(), [true]);
}

/// What the checkpoint knows of the view, once it knows of one that holds so many commits.
async fn known(folder: &Path, version: u64) -> Known {
    let begin = Instant::now();
    loop {
        let checkpoint = Checkpoint::read(&folder.join("CHECKPOINT")).unwrap();
        if let Some(known) = checkpoint.and_then(|checkpoint| checkpoint.index)
            && known.covered.version >= version
        {
            return known;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "the view never settles");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A store that was not closed, whose view was made durable on the way.
async fn left_open(folder: &Path) -> Known {
    let store = Embedded::open(folder, believing()).await.unwrap();
    write(&store, 0..BLOCKS).await;
    known(folder, 50).await;
    sweep_the_seventh(&store).await;
    leave(store, folder);
    known(folder, 50).await
}

async fn everything_is_there(store: &Embedded) {
    assert_eq!(store.damages(), []);
    for n in 0..BLOCKS {
        let found = store.blocks().get(block(text(n)).cid()).await.unwrap();
        assert_eq!(found.is_some(), n != 7, "block {n}");
    }
    assert_eq!(store.blocks().list(None, 1000).await.unwrap().len(), BLOCKS - 1);
    assert_eq!(
        store.records().list("", None, 1000).await.unwrap().len(),
        BLOCKS + 1
    );
    assert_eq!(store.records().changes(0, usize::MAX).await.unwrap().len(), 2 * BLOCKS);
}

fn identity(folder: &Path) -> u64 {
    fs::metadata(KIND.path(folder)).unwrap().ino()
}

#[tokio::test]
async fn a_view_that_holds_what_it_should_is_told_only_what_came_since() {
    let folder = tempfile::tempdir().unwrap();
    left_open(folder.path()).await;
    let before = identity(folder.path());
    let store = Embedded::open(folder.path(), believing()).await.unwrap();
    assert_eq!(identity(folder.path()), before, "the view was not made anew");
    everything_is_there(&store).await;
    store.close().await.unwrap();
    let checked = check(folder.path(), believing(), |_| {}).await.unwrap();
    assert_eq!(checked.damages, []);
    assert!(checked.is_view_compared);
}

#[tokio::test]
async fn a_view_that_lost_something_is_made_anew() {
    let lost: [fn() -> Changes; 3] = [
        || Changes {
            blocks: vec![(crate::store::frame::sha256(text(3).as_bytes()), None)],
            ..Changes::default()
        },
        || Changes {
            records: vec![("mail/0004".to_owned(), None)],
            ..Changes::default()
        },
        || Changes {
            blocks: vec![(
                crate::store::frame::sha256(b"nobody's"),
                Some(crate::store::log::Place {
                    file: 1,
                    offset: 48,
                    length: 8,
                }),
            )],
            ..Changes::default()
        },
    ];
    for lost in lost {
        let folder = tempfile::tempdir().unwrap();
        let known = left_open(folder.path()).await;
        let view = index::open(KIND, folder.path(), 1024 * 1024, known.stamp).unwrap();
        view.apply(&lost()).unwrap();
        view.settle(known.stamp).unwrap();
        view.close().unwrap();
        let store = Embedded::open(folder.path(), believing()).await.unwrap();
        everything_is_there(&store).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn q07_a_check_finds_what_is_damaged_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), small(KIND)).await.unwrap();
    write(&store, 0..20).await;
    assert!(matches!(
        check(folder.path(), small(KIND), |_| {}).await,
        Err(StoreError::Locked(_))
    ));
    store.close().await.unwrap();
    let checked = check(folder.path(), small(KIND), |_| {}).await.unwrap();
    assert_eq!((checked.blocks, checked.commits), (20, 20));
    assert_eq!(checked.damages, []);
    for (file, what) in [
        ("packs/00000001.pack", "block 5"),
        ("journal/00000001.log", "a mail"),
    ] {
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        let mut spoilt = whole.clone();
        let at = whole
            .windows(what.len())
            .position(|some| some == what.as_bytes())
            .unwrap();
        spoilt[at] ^= 1;
        fs::write(&path, spoilt).unwrap();
        let checked = check(folder.path(), small(KIND), |_| {}).await.unwrap();
        assert_eq!(checked.damages.len(), 1, "{:?}", checked.damages);
        let damage = &checked.damages[0];
        assert!(damage.file.ends_with(file));
        assert!(damage.from <= at as u64 && (at as u64) < damage.to);
        fs::write(&path, whole).unwrap();
    }
}

#[tokio::test]
async fn a_check_finds_a_view_that_differs_and_a_rebuild_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), small(KIND)).await.unwrap();
    write(&store, 0..BLOCKS).await;
    sweep_the_seventh(&store).await;
    store.close().await.unwrap();
    let stamp = known(folder.path(), 1).await.stamp;
    let view = index::open(KIND, folder.path(), 1024 * 1024, stamp).unwrap();
    let lost = Changes {
        blocks: vec![(crate::store::frame::sha256(text(3).as_bytes()), None)],
        ..Changes::default()
    };
    view.apply(&lost).unwrap();
    view.settle(stamp).unwrap();
    view.close().unwrap();
    let checked = check(folder.path(), small(KIND), |_| {}).await.unwrap();
    assert_eq!(checked.damages.len(), 1, "{:?}", checked.damages);
    discard_view(folder.path()).await.unwrap();
    let store = Embedded::open(folder.path(), small(KIND)).await.unwrap();
    everything_is_there(&store).await;
    let counted = store.statistics().await.unwrap();
    assert_eq!(counted.blocks, BLOCKS as u64 - 1);
    assert_eq!(counted.records, BLOCKS as u64 + 1);
    assert!(counted.dead >= text(7).len() as u64 && counted.free > 0 && counted.index_octets > 0);
    store.close().await.unwrap();
    assert_eq!(
        check(folder.path(), small(KIND), |_| {}).await.unwrap().damages,
        []
    );
}
