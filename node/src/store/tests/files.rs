//! Stops, deletions and damage.

use std::fs;
use std::path::{Path, PathBuf};

use super::open;
use crate::store::conformance::{block, put};
use crate::store::{CommitError, Embedded, Op, StoreError};

const BLOCKS: usize = 60;
const COMMITS: usize = 60;

fn text(n: usize) -> String {
    format!("block {n} {}", "x".repeat(n * 40))
}

async fn fill(store: &Embedded) {
    for n in 0..BLOCKS {
        store.blocks().put(vec![block(text(n))]).await.unwrap();
    }
    for n in 0..COMMITS {
        let ops = vec![
            put(&format!("mail/{n:03}"), &text(n)),
            put("last", &n.to_string()),
        ];
        store.records().commit(vec![], ops).await.unwrap();
    }
    let gone: Vec<_> = (0..5).map(|n| *block(text(n)).cid()).collect();
    store.blocks().sweep(&gone).await.unwrap();
    store.blocks().put(vec![block(text(0))]).await.unwrap();
    let ops = vec![
        Op::Delete("mail/003".to_owned()),
        Op::Delete("mail/004".to_owned()),
        put("mail/003", "again"),
    ];
    store.records().commit(vec![], ops).await.unwrap();
}

/// Everything that [`fill`] left is there, and nothing else.
async fn check(store: &Embedded) {
    let blocks = store.blocks();
    for n in 0..BLOCKS {
        let found = blocks.get(block(text(n)).cid()).await.unwrap();
        assert_eq!(found.is_some(), n == 0 || n >= 5, "block {n}");
        assert!(found.is_none_or(|found| found == text(n)));
    }
    assert_eq!(blocks.list(None, 1000).await.unwrap().len(), BLOCKS - 4);
    let records = store.records();
    let mails = records.list("mail/", None, 1000).await.unwrap();
    assert_eq!(mails.len(), COMMITS - 1);
    for mail in mails {
        let n: usize = mail.key[5..].parse().unwrap();
        let expected = if n == 3 { "again".to_owned() } else { text(n) };
        assert_eq!(mail.value, expected);
        assert_eq!(
            mail.version,
            if n == 3 { COMMITS as u64 + 1 } else { n as u64 + 1 }
        );
    }
    let changes = records.changes(0, usize::MAX).await.unwrap();
    assert_eq!(changes.len(), 2 * COMMITS + 3);
    assert_eq!(changes.last().unwrap().version, COMMITS as u64 + 1);
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = ["packs", "journal"]
        .iter()
        .flat_map(|name| fs::read_dir(folder.join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().unwrap() == extension)
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn everything_is_there_after_an_orderly_stop() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    store.close().await.unwrap();
    for _ in 0..3 {
        let store = open(folder.path()).await;
        check(&store).await;
        store.close().await.unwrap();
    }
    assert!(files(folder.path(), "pack").len() > 2);
    assert!(files(folder.path(), "log").len() > 2);
}

#[tokio::test]
async fn everything_is_there_when_it_was_not_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    drop(store);
    for _ in 0..2 {
        let store = open(folder.path()).await;
        check(&store).await;
        assert_eq!(store.damages(), []);
    }
    let store = open(folder.path()).await;
    let next = store
        .records()
        .commit(vec![], vec![put("next", "")])
        .await
        .unwrap();
    assert_eq!(next, COMMITS as u64 + 2);
}

#[tokio::test]
async fn whoever_holds_a_port_of_a_closed_store_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (blocks, records) = (store.blocks(), store.records());
    store.close().await.unwrap();
    assert!(matches!(
        blocks.put(vec![block("late")]).await,
        Err(StoreError::Closed)
    ));
    assert!(matches!(
        blocks.get(block("late").cid()).await,
        Err(StoreError::Closed)
    ));
    let refused = records.commit(vec![], vec![put("late", "")]).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Closed))));
    open(folder.path()).await.close().await.unwrap();
}
