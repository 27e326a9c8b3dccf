//! `cargomail share`.

use clap::Subcommand;
use uuid::Uuid;

use super::exit::NotThere;
use super::{Everywhere, value};
use crate::api::ShareView;
use crate::app::AppError;

#[derive(Debug, Subcommand)]
pub(super) enum ShareCommand {
    /// List what was shared, and who has received it
    #[command(after_help = "Example:\n  cargomail share list --json | jq 'select(.revoked == null)'")]
    List,
    /// Take a share back: who has not fetched its content yet cannot any more
    #[command(after_help = "Example:\n  cargomail share revoke 0192f3c1-6a5e-7c11-9d5c-2f6f3f1b7a10")]
    Revoke {
        /// Which share; `cargomail share list` shows them
        #[arg(value_parser = share)]
        id: Uuid,
    },
}

fn share(text: &str) -> Result<Uuid, String> {
    text.parse()
        .map_err(|_| "a share is named by a UUID, as `cargomail share list` shows it".to_owned())
}

impl ShareCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let app = everywhere.app()?;
        let mailboxes = &app.profile().mailboxes;
        match self {
            Self::List => {
                let mut all = Vec::new();
                for mailbox in mailboxes {
                    all.extend(app.mailbox(&mailbox.locator)?.shares().await?);
                }
                all.sort_by_key(|share| std::cmp::Reverse(share.created));
                everywhere.out().many(&all, "nothing is shared", line)
            }
            Self::Revoke { id } => {
                for mailbox in mailboxes {
                    match app.mailbox(&mailbox.locator)?.revoke(id).await {
                        Ok(share) => return everywhere.out().one(&share, line),
                        Err(AppError::Said { status: 404, .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                let text = format!(
                    "no mailbox of the profile has the share {id}: `cargomail share list` shows them"
                );
                Err(NotThere(text).into())
            }
        }
    }
}

fn line(share: &ShareView) -> String {
    let octets = share.resources.iter().map(|resource| resource.size()).sum();
    let state = match share.revoked {
        Some(when) => format!("taken back {}", when.rfc3339()),
        None => format!("until {}", share.expires.rfc3339()),
    };
    let whom: Vec<String> = share
        .recipients
        .iter()
        .map(|recipient| {
            let received = share.received_by.contains(recipient);
            format!("{recipient}{}", if received { " (received)" } else { "" })
        })
        .collect();
    format!(
        "{}  {}  {}  {state}  {}  {}\n",
        share.id,
        share.message_id,
        value::octets(octets),
        share.category,
        whom.join(", ")
    )
}
