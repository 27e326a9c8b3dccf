//! The embedded store: what every store must do, and what becomes of it when its files are touched; the same over each
//! engine of the index.
#![allow(clippy::unwrap_used, clippy::duplicate_mod)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::conformance::conforms;
use super::folder::wait_for_lock;
use super::{BlockStore, Embedded, EmbeddedOptions, IndexKind, RecordStore};

type Fresh = ((TempDir, Embedded), Arc<dyn BlockStore>, Arc<dyn RecordStore>);

/// The same tests over one engine.
macro_rules! over {
    ($name:ident, $kind:expr) => {
        #[path = "tests"]
        mod $name {
            use super::*;

            mod files;
            mod full;
            mod journal_room;
            mod processes;
            mod room;
            mod scrub;
            mod view;

            const KIND: IndexKind = $kind;

            conforms!(fresh);

            async fn fresh() -> Fresh {
                let folder = tempfile::tempdir().unwrap();
                let store = open(folder.path()).await;
                let (blocks, records) = (store.blocks(), store.records());
                ((folder, store), blocks, records)
            }

            async fn open(folder: &Path) -> Embedded {
                Embedded::open(folder, small(KIND)).await.unwrap()
            }
        }
    };
}

/// Those of stops that are not in order, over one engine whose view is believed after them.
macro_rules! believing {
    ($name:ident, $kind:expr) => {
        #[path = "tests"]
        mod $name {
            use super::*;

            mod files;
            mod journal_room;
            mod processes;

            const KIND: IndexKind = $kind;

            async fn open(folder: &Path) -> Embedded {
                let options = EmbeddedOptions {
                    anew: 0,
                    ..small(KIND)
                };
                Embedded::open(folder, options).await.unwrap()
            }
        }
    };
}
over!(in_sled, IndexKind::Sled);
over!(in_redb, IndexKind::Redb);
believing!(believing_sled, IndexKind::Sled);
believing!(believing_redb, IndexKind::Redb);

/// Stops without order, and waits until nothing in the folder is written any more.
fn leave(store: Embedded, folder: &Path) {
    drop(store);
    let lock = File::options().write(true).open(folder.join("LOCK")).unwrap();
    assert!(wait_for_lock(&lock, Duration::from_secs(30)).unwrap());
}

/// Files are so small that each test goes through several.
fn small(index: IndexKind) -> EmbeddedOptions {
    EmbeddedOptions {
        index,
        cache: 1024 * 1024,
        segment: 16 * 1024,
        anew: u64::MAX,
        reserve: 0,
        compact_rate: None,
        scrub_rate: None,
        scrub_every: Duration::ZERO,
    }
}

#[tokio::test]
async fn another_engine_takes_over_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for (round, kind) in [IndexKind::Sled, IndexKind::Redb, IndexKind::Sled, IndexKind::Redb]
        .into_iter()
        .enumerate()
    {
        let store = Embedded::open(folder.path(), small(kind)).await.unwrap();
        let block = super::conformance::block(format!("block {round}"));
        let key = format!("record/{round}");
        store.blocks().put(vec![block.clone()]).await.unwrap();
        let put = super::conformance::put(&key, "");
        store.records().commit(vec![], vec![put]).await.unwrap();
        written.push(*block.cid());
        assert!(
            store
                .blocks()
                .has(&written)
                .await
                .unwrap()
                .iter()
                .all(|here| *here)
        );
        assert_eq!(
            store.records().list("", None, 9).await.unwrap().len(),
            written.len()
        );
        store.close().await.unwrap();
        for other in IndexKind::ALL {
            assert_eq!(other.path(folder.path()).exists(), other == kind);
        }
    }
}
