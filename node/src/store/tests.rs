//! The embedded store: what every store must do, and what becomes of it when its files are touched.
#![allow(clippy::unwrap_used)]

mod files;
mod processes;

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::conformance::conforms;
use super::{BlockStore, Embedded, EmbeddedOptions, RecordStore};

conforms!(fresh);

async fn fresh() -> ((TempDir, Embedded), Arc<dyn BlockStore>, Arc<dyn RecordStore>) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (blocks, records) = (store.blocks(), store.records());
    ((folder, store), blocks, records)
}

/// Files are so small that each test goes through several.
async fn open(folder: &Path) -> Embedded {
    let options = EmbeddedOptions {
        cache: 1024 * 1024,
        segment: 16 * 1024,
    };
    Embedded::open(folder, options).await.unwrap()
}
