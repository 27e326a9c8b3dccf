//! The process that writes. It says on its standard output what was acknowledged, a line each: `block W N`, `record W N`,
//! `receipt W N`, and `sweeping W N` before it removes something.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use cargomail_node::clock::SystemClock;
use cargomail_node::ledger::Ledger;
use cargomail_node::store::{Embedded, Op};
use cargomail_protocol::dag::{Codec, VerifiedBlock};
use cargomail_protocol::ledger::{Act, Event};
use tokio::task::JoinSet;

const WRITERS: usize = 8;

/// What somebody writes: a few octets up to a quarter of a MiB, different for each.
pub(super) fn content(round: usize, writer: usize, n: usize, kind: &str) -> Bytes {
    let phrase = format!("{round} {writer} {n} {kind} ");
    let size = (round * 31 + writer * 7919 + n * 104_729) % (256 * 1024);
    phrase.repeat(size / phrase.len() + 1).into()
}

pub(super) fn block(round: usize, writer: usize, n: usize, kind: &str) -> anyhow::Result<VerifiedBlock> {
    Ok(VerifiedBlock::hash(Codec::Raw, content(round, writer, n, kind))?)
}

/// The keys of one writing.
pub(super) fn key(of: &str, round: usize, writer: usize, n: usize) -> String {
    format!("{of}/{round:05}/{writer}/{n:07}")
}

/// Writes until the process is killed or the disk fails. Nothing comes twice: contents and keys have the round in them.
///
/// # Errors
/// When the store cannot be opened, or takes no more.
pub async fn load(folder: &Path, round: usize) -> anyhow::Result<()> {
    let store = Embedded::open(folder, super::options(round)).await?;
    let ledger = Ledger::open(store.records(), Arc::new(SystemClock)).await?;
    println!("open");
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(store.clone(), ledger.clone(), round, writer));
    }
    let ended = writers.join_next().await.context("there are writers")?;
    ended?
}

async fn write(store: Embedded, ledger: Ledger, round: usize, writer: usize) -> anyhow::Result<()> {
    for n in 0.. {
        let (kept, swept) = (
            block(round, writer, n, "kept")?,
            block(round, writer, n, "swept")?,
        );
        let cid = *swept.cid();
        store.blocks().put(vec![kept, swept]).await?;
        println!("block {writer} {n}");
        let small = format!("{round} {writer} {n}");
        let ops = vec![
            Op::Put(key("mail", round, writer, n), small.clone().into()),
            Op::Put(format!("last/{writer}"), small.clone().into()),
        ];
        store.records().commit(vec![], ops).await?;
        println!("record {writer} {n}");
        if n % 3 == 0 {
            let receipt = Op::Put(key("receipt", round, writer, n), small.into());
            let event = Event {
                act: Act::Receipt,
                parties: vec!["bob@bar.test".to_owned()],
                message_id: key("receipt", round, writer, n),
                resources: vec![cid],
                evidence: "e".repeat(500),
            };
            ledger.commit(vec![], vec![receipt], vec![event]).await?;
            println!("receipt {writer} {n}");
        }
        // One of them collects: who condemns takes back what others had condemned.
        if writer == 0 && n % 2 == 0 {
            println!("sweeping {writer} {n}");
            store.blocks().condemn(&[cid]).await?;
            store.blocks().sweep(&[cid]).await?;
        }
    }
    bail!("so much was never written")
}
