//! `cargomail hold`: directly in the node's records when it does not run, else through the node.

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::{Everywhere, account, collect};
use crate::api::{LegalHold, NewHold, Subject};
use crate::config::Settings;

#[derive(Debug, Subcommand)]
pub(super) enum HoldCommand {
    /// Keep what an account has, or one resource, until further notice
    #[command(after_help = "\
Examples:
  cargomail hold place bob@bar.test --reason 'court order 12/2026'
  cargomail hold place bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu --reason 'complaint 7'

What the account deletes from now on is hidden from its user and counts no longer for their quota, but stays until the hold is
released; so does what it shared when the share ends. Its user is not told. The node may run or not.")]
    Place(PlaceArgs),
    /// Let a hold end; what was deleted meanwhile goes with the next collection
    #[command(after_help = "Example:\n  cargomail hold release 0192f3c1-6a5e-7c11-9d5c-2f6f3f1b7a10")]
    Release {
        /// Which hold; `cargomail hold list` shows them
        id: Uuid,
    },
    /// List the holds that stand, and those that were released
    List,
}

#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// The account's address, or the CID of a resource
    subject: Subject,
    /// Why: it stands in the list, and nowhere else
    #[arg(long)]
    reason: String,
}

impl HoldCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let settings = everywhere.settings()?;
        let out = everywhere.out();
        match self {
            Self::Place(PlaceArgs { subject, reason }) => {
                let hold = NewHold { subject, reason };
                out.one(&place(&settings, hold).await?, line)
            }
            Self::Release { id } => out.one(&release(&settings, id).await?, line),
            Self::List => out.many(&list(&settings).await?, "no legal holds", line),
        }
    }
}

async fn place(settings: &Settings, new: NewHold) -> anyhow::Result<LegalHold> {
    let Some(store) = account::store(settings).await? else {
        return Ok(account::administration(settings)?.place_hold(&new).await?);
    };
    let placed = match collect::holds(&store).await {
        Ok(holds) => holds.place(new.subject, &new.reason).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    store.close().await?;
    placed
}

async fn release(settings: &Settings, id: Uuid) -> anyhow::Result<LegalHold> {
    let Some(store) = account::store(settings).await? else {
        return Ok(account::administration(settings)?.release_hold(id).await?);
    };
    let released = match collect::holds(&store).await {
        Ok(holds) => holds.release(id).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    store.close().await?;
    released
}

async fn list(settings: &Settings) -> anyhow::Result<Vec<LegalHold>> {
    let Some(store) = account::store(settings).await? else {
        return Ok(account::administration(settings)?.holds().await?);
    };
    let listed = match collect::holds(&store).await {
        Ok(holds) => holds.list().await.map_err(Into::into),
        Err(error) => Err(error),
    };
    store.close().await?;
    listed
}

fn line(hold: &LegalHold) -> String {
    let state = match hold.released {
        Some(when) => format!("released {}", when.rfc3339()),
        None => "stands".to_owned(),
    };
    format!(
        "{}  {}  {}  {state}  {}\n",
        hold.id,
        hold.placed.rfc3339(),
        hold.subject,
        crate::app::read::on_one_line(&hold.reason)
    )
}
