//! Waiting for what a mail brings about, as an application sees it.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::api::Message;
use crate::app::App;

/// How long anything in a town may take.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(50);

/// The message in the reader's folder, once it is there.
///
/// # Errors
/// When it does not come, or the node does not answer.
pub async fn delivered(reader: &App, folder: &str, message_id: &str) -> anyhow::Result<Message> {
    let broker = reader.broker()?;
    let looking = async {
        loop {
            let messages = broker.list(folder, None, 200).await?;
            let mut same = messages
                .into_iter()
                .filter(|message| message.message_id == message_id);
            match (same.next(), same.next()) {
                (Some(message), None) => return anyhow::Ok(message),
                (Some(_), Some(_)) => bail!("{message_id} was delivered twice"),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .with_context(|| format!("{message_id} was not delivered"))?
}

/// Returns once every recipient of a mail has acknowledged its resources to the author's Resource Mailbox.
///
/// # Errors
/// When a receipt does not come, or the node does not answer.
pub async fn acknowledged(author: &App, message_id: &str) -> anyhow::Result<()> {
    let (_, origin) = author.origin(None)?;
    let looking = async {
        loop {
            let shares = origin.shares().await?;
            let ours: Vec<_> = shares
                .iter()
                .filter(|share| share.message_id == message_id)
                .collect();
            let whole = ours
                .iter()
                .all(|share| share.received_by.len() == share.recipients.len());
            if whole && !ours.is_empty() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .with_context(|| format!("{message_id} was not acknowledged"))?
}
