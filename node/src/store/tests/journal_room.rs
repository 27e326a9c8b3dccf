//! Room that comes back in the journal: records are overwritten, removed and read while its oldest files go.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::files::overwrite;
use super::{KIND, leave, open};
use crate::store::checkpoint::Checkpoint;
use crate::store::conformance::put;
use crate::store::index;
use crate::store::{Compaction, Cond, Embedded, Op, Record, StoreError, discard_view};

async fn compact(store: &Embedded) -> u64 {
    store
        .compact(Compaction::default(), |_| ())
        .await
        .unwrap()
        .journal
}

fn octets(folder: &Path) -> u64 {
    let files = fs::read_dir(folder.join("journal")).unwrap();
    files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

async fn all(store: &Embedded) -> Vec<Record> {
    store.records().list("", None, usize::MAX).await.unwrap()
}

/// Writes 300 records, most of them again and again, and removes every fifth.
async fn fill(store: &Embedded) {
    for round in 0..6 {
        for n in 0..300 {
            if round == 0 || n % 10 != 0 {
                let value = format!("{round} of {n} {}", "x".repeat(n));
                let put = put(&format!("record/{n:03}"), &value);
                store.records().commit(vec![], vec![put]).await.unwrap();
            }
        }
    }
    for n in (0..300).step_by(5) {
        let delete = Op::Delete(format!("record/{n:03}"));
        store.records().commit(vec![], vec![delete]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q06_the_room_of_overwritten_and_removed_records_comes_back_and_the_others_keep_their_versions() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    let before = all(&store).await;
    assert_eq!(before.len(), 240);
    let counted = store.statistics().await.unwrap();
    assert!(counted.journal_dead > counted.journal / 2, "{counted:?}");
    let took = octets(folder.path());
    assert!(compact(&store).await > 3);
    assert!(octets(folder.path()) < took / 3, "{} of {took}", octets(folder.path()));
    assert_eq!(all(&store).await, before);
    // What a program read before, it may build on.
    let first = &before[0];
    let when = vec![Cond::Is(first.key.clone(), first.version)];
    let then = vec![put(&first.key, "changed on condition")];
    let last = store.records().commit(when, then).await.unwrap();
    let changes = store.records().changes(last - 1, 10).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].key, first.key);
    // What was carried on is no change, and what is forgotten is not told of in part.
    assert!(matches!(store.records().changes(0, 10).await, Err(StoreError::Compacted)));
    let expected = all(&store).await;
    leave(store, folder.path());
    let store = open(folder.path()).await;
    assert_eq!(store.damages(), []);
    assert_eq!(all(&store).await, expected);
    store.close().await.unwrap();
    discard_view(folder.path()).await.unwrap();
    let store = open(folder.path()).await;
    assert_eq!(store.damages(), []);
    assert_eq!(all(&store).await, expected);
    // And again, with what was carried on once already.
    fill(&store).await;
    let before = all(&store).await;
    assert!(compact(&store).await > 3);
    assert_eq!(all(&store).await, before);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_of_which_everything_holds_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..40 {
        let put = put(&format!("record/{n}"), &"x".repeat(3000));
        store.records().commit(vec![], vec![put]).await.unwrap();
    }
    assert_eq!(compact(&store).await, 0);
    assert_eq!(store.records().changes(0, 100).await.unwrap().len(), 40);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q07_a_file_of_the_journal_with_a_damaged_record_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let rotten = put("record/rotten", "what somebody wrote once");
    store.records().commit(vec![], vec![rotten]).await.unwrap();
    fill(&store).await;
    let first = folder.path().join("journal/00000001.log");
    overwrite(&first, b"what somebody wrote", 5, b"b");
    assert_eq!(compact(&store).await, 0);
    assert!(first.exists());
    assert!(store.records().get(&["record/rotten".to_owned()]).await.is_err());
    // Overwritten, nobody needs it any more: but the file cannot be trusted to tell what else was in it.
    assert_eq!(store.records().list("record/0", None, 999).await.unwrap().len(), 80);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_and_writes_while_the_journal_is_compacted_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    let reading = {
        let records = store.records();
        tokio::spawn(async move {
            for n in 0..2000 {
                let key = format!("record/{:03}", n % 300);
                let found = records.get(&[key]).await.unwrap();
                assert_eq!(found[0].is_some(), n % 300 % 5 != 0, "{n}");
                let page = records.list("record/", None, 500).await.unwrap();
                assert_eq!(page.len(), 240);
                if n % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    let writing = {
        let records = store.records();
        tokio::spawn(async move {
            for n in 0..1500_u64 {
                let key = format!("count/{}", n % 3);
                let put = put(&key, &n.to_string());
                records.commit(vec![], vec![put]).await.unwrap();
            }
        })
    };
    let mut files = 0;
    while !reading.is_finished() || !writing.is_finished() {
        files += compact(&store).await;
    }
    reading.await.unwrap();
    writing.await.unwrap();
    assert!(files > 3, "{files}");
    for (n, last) in [1497, 1498, 1499].into_iter().enumerate() {
        let found = store.records().get(&[format!("count/{n}")]).await.unwrap();
        assert_eq!(found[0].as_ref().unwrap().value, Bytes::from(last.to_string()));
    }
    store.close().await.unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u16),
    Delete(u8),
    Compact,
    Reopen,
    Crash,
    Anew,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0_u8..12, 0_u16..2000).prop_map(|(key, size)| Step::Put(key, size)),
        6 => (0_u8..12).prop_map(Step::Delete),
        2 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => Just(Step::Anew),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_happens_between_the_records_are_those_that_were_written_last(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async move {
            let folder = tempfile::tempdir().unwrap();
            let mut store = open(folder.path()).await;
            let mut model: BTreeMap<String, (u64, Bytes)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(key, size) => {
                        let (key, value) = (format!("key/{key:02}"), "v".repeat(size.into()));
                        let version = store.records().commit(vec![], vec![put(&key, &value)]).await.unwrap();
                        model.insert(key, (version, value.into()));
                    }
                    Step::Delete(key) => {
                        let key = format!("key/{key:02}");
                        store.records().commit(vec![], vec![Op::Delete(key.clone())]).await.unwrap();
                        model.remove(&key);
                    }
                    Step::Compact => {
                        compact(&store).await;
                    }
                    Step::Reopen => {
                        store.close().await.unwrap();
                        store = open(folder.path()).await;
                    }
                    Step::Crash => {
                        leave(store, folder.path());
                        store = open(folder.path()).await;
                    }
                    Step::Anew => {
                        store.close().await.unwrap();
                        discard_view(folder.path()).await.unwrap();
                        store = open(folder.path()).await;
                    }
                }
                assert_eq!(store.damages(), []);
                let found: BTreeMap<_, _> = all(&store)
                    .await
                    .into_iter()
                    .map(|record| (record.key, (record.version, record.value)))
                    .collect();
                assert_eq!(found, model);
            }
            store.close().await.unwrap();
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_view_forgets_places_in_files_that_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    assert!(compact(&store).await > 3);
    let last = store.records().commit(vec![], vec![put("last", "")]).await.unwrap();
    store.close().await.unwrap();
    let checkpoint = Checkpoint::read(&folder.path().join("CHECKPOINT")).unwrap().unwrap();
    let view = index::open(KIND, folder.path(), 1024 * 1024, checkpoint.index.unwrap().stamp).unwrap();
    assert_eq!(view.mark(1).unwrap(), None);
    assert!(view.mark(last).unwrap().is_some());
    view.close().unwrap();
}
