//! `cargomail queue` and `cargomail retrievals`.

use anyhow::bail;
use cargomail_protocol::notification::JobState;
use clap::Args;

use super::{Everywhere, account, value};
use crate::api::{Delivery, Queued, Retrieval};
use crate::app::AppError;
use crate::app::read::on_one_line;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail queue
  cargomail queue --everybody --config /srv/cargomail/cargomail.toml   for whoever runs the node")]
pub(super) struct QueueArgs {
    /// Everybody's messages at the node of --config, which has to run
    #[arg(long)]
    everybody: bool,
}

impl QueueArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let queued = if self.everybody {
            account::administration(&everywhere.settings()?)?.queue().await?
        } else {
            everywhere.app()?.broker()?.queue().await?
        };
        everywhere.out().many(&queued, "the queue is empty", line)
    }
}

fn line(queued: &Queued) -> String {
    let sender = queued
        .sender
        .as_ref()
        .map_or_else(|| "<>".to_owned(), ToString::to_string);
    format!(
        "{}  {sender} → {}  {}  {}\n",
        queued.queued.rfc3339(),
        queued.recipient,
        queued.message_id,
        state(queued)
    )
}

/// How far a message is, for people.
pub(super) fn state(queued: &Queued) -> String {
    let state = match queued.delivery {
        Delivery::Waiting => "waiting",
        Delivery::Accepted => "accepted",
        Delivery::Refused => "refused",
        Delivery::Expired => "given up",
    };
    let mut text = state.to_owned();
    if queued.failed > 0 {
        text.push_str(&format!(" after {} tries", queued.failed));
    }
    if let Some(due) = queued
        .due
        .filter(|_| queued.delivery == Delivery::Waiting && queued.failed > 0)
    {
        text.push_str(&format!(", the next at {}", due.rfc3339()));
    }
    if !queued.last.is_empty() {
        text.push_str(&format!(": {}", on_one_line(&queued.last)));
    }
    text
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail retrievals
  cargomail retrievals --cancel 5f0c9b7e2d8a4c61b3f7e0a9d4c2816e")]
pub(super) struct RetrievalsArgs {
    /// Fetch nothing more of this one; what has come of it is dropped
    #[arg(long, value_name = "ID")]
    cancel: Option<String>,
}

impl RetrievalsArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let app = everywhere.app()?;
        let mailboxes = &app.profile().mailboxes;
        let Some(id) = self.cancel else {
            let mut all = Vec::new();
            for mailbox in mailboxes {
                all.extend(app.mailbox(&mailbox.locator)?.retrievals().await?);
            }
            all.sort_by_key(|retrieval| std::cmp::Reverse(retrieval.since));
            return everywhere.out().many(&all, "nothing came yet", arriving);
        };
        for mailbox in mailboxes {
            match app.mailbox(&mailbox.locator)?.cancel_retrieval(&id).await {
                Ok(retrieval) => return everywhere.out().one(&retrieval, arriving),
                Err(AppError::Said { status: 404, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bail!("no mailbox of the profile has the retrieval {id}: `cargomail retrievals` shows them")
    }
}

fn arriving(retrieval: &Retrieval) -> String {
    let state = match &retrieval.progress {
        JobState::Queued => "waiting".to_owned(),
        JobState::Retrieving { bytes, of } => {
            format!("{} of {}", value::octets(*bytes), value::octets(*of))
        }
        JobState::Stored => format!("here, {}", value::octets(retrieval.size)),
        JobState::Refused { reason } => format!("refused: {reason:?}"),
        JobState::Expired => "expired".to_owned(),
        JobState::Failed { reason } => format!("failed: {reason:?}"),
    };
    format!(
        "{}  {}  {} from {}  {}  {state}\n",
        retrieval.job,
        retrieval.since.rfc3339(),
        retrieval.sender,
        retrieval.origin,
        retrieval.message_id
    )
}
