//! `cargomail bench`: how fast this machine is at what a node does. One file a benchmark.
//!
//! What always holds: a benchmark runs the code that a node runs, on the disk that is named, and prints figures that it has seen
//! itself; what is left on the disk is removed, unless a folder was named.

mod messages;
mod scratch;

use clap::Subcommand;

use super::Everywhere;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Messages by the web channel, accepted and taken through the whole path to the User Mailbox
    Messages(messages::MessagesArgs),
}

impl BenchCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        match self {
            Self::Messages(args) => args.run(everywhere).await,
        }
    }
}
