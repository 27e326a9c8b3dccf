//! `cargomail bench`: how fast this machine does what a node does, with real files, processes, sockets and syncs.
//!
//! Each benchmark is a file. What always holds: what is set up beforehand is not in the figures; everything that is written
//! lies in a folder of its own, which is removed at the end, also when it is interrupted; a run that did not do its work is an error,
//! never a figure.

mod figures;
mod import;
mod messages;
mod node;
mod scratch;
mod store;
mod transfer;

use anyhow::{Context, bail};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use super::Everywhere;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Store a file as a resource: hashed, cut into blocks, durable
    Import(import::ImportArgs),
    /// Move resources from one Resource Mailbox to another, from the notification to the receipt
    Transfer(transfer::TransferArgs),
    /// Messages by the web channel, accepted and taken through the whole path to the User Mailbox
    Messages(messages::MessagesArgs),
    /// Put, read and find blocks in the embedded store, beside a plain file that is synced at the same points
    Store(store::StoreArgs),
}

impl BenchCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
        tokio::select! {
            measured = self.measure(everywhere) => measured,
            _ = terminate.recv() => bail!("the benchmark was told to stop"),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("Ctrl-C cannot be waited for")?;
                bail!("the benchmark was interrupted")
            }
        }
    }

    async fn measure(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        match self {
            Self::Import(args) => args.run(everywhere).await,
            Self::Transfer(args) => args.run(everywhere).await,
            Self::Messages(args) => args.run(everywhere).await,
            Self::Store(args) => args.run(everywhere).await,
        }
    }
}
