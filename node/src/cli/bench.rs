//! `cargomail bench`: how fast this machine does what a node does, with real files, processes, sockets and syncs.
//!
//! Each benchmark is a file. What always holds: what is set up beforehand is not in the figures; everything that is written
//! lies in a folder of its own, which is removed at the end unless it was named; a run that did not do its work is an error,
//! never a figure.

mod messages;
mod scratch;
mod store;

use clap::Subcommand;

use super::Everywhere;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Messages by the web channel, accepted and taken through the whole path to the User Mailbox
    Messages(messages::MessagesArgs),
    /// Put, read and find blocks in the embedded store, beside a plain file that is synced at the same points
    Store(store::StoreArgs),
}

impl BenchCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        match self {
            Self::Messages(args) => args.run(everywhere).await,
            Self::Store(args) => args.run(everywhere).await,
        }
    }
}
