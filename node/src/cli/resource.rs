//! `cargomail resource`: what a user holds at their Resource Mailboxes.

use cargomail_protocol::address::Locator;
use cid::Cid;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::NotThere;
use super::{Everywhere, collect, value};
use crate::api::{HeldView, UsageView};
use crate::app::{App, AppError, Session};

#[derive(Debug, Subcommand)]
pub(super) enum ResourceCommand {
    /// List what one holds
    #[command(after_help = "\
Examples:
  cargomail resource list
  cargomail resource list --mailbox mailbox.bar.test --json | jq .cid")]
    List(WhereArgs),
    /// Show how much of one's quota is used
    #[command(after_help = "Example:\n  cargomail resource usage")]
    Usage(WhereArgs),
    /// Delete a resource: one's quota is free at once, and nobody else's copy is touched
    #[command(after_help = "\
Examples:
  cargomail resource delete bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu
  cargomail resource delete bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu --force")]
    Delete(DeleteArgs),
    /// Show what of one's own refers to a resource
    #[command(
        after_help = "Example:\n  cargomail resource why bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu"
    )]
    Why(WhichArgs),
}

#[derive(Debug, Args)]
pub(super) struct WhereArgs {
    /// Only at this mailbox of the profile
    #[arg(long, value_name = "LOCATOR")]
    mailbox: Option<Locator>,
}

#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// Which resource; `cargomail resource list` shows them
    #[arg(value_parser = collect::root)]
    cid: Cid,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Also while one shares it: the shares are taken back first
    #[arg(long)]
    force: bool,
}

/// Something of one mailbox.
#[derive(Serialize)]
struct At<T> {
    mailbox: Locator,
    #[serde(flatten)]
    value: T,
}

impl WhereArgs {
    /// The mailboxes that are asked, with a session at each.
    fn sessions(&self, app: &App) -> anyhow::Result<Vec<(Locator, Session)>> {
        let all = app.profile().mailboxes.iter().map(|mailbox| &mailbox.locator);
        let wanted: Vec<&Locator> = match &self.mailbox {
            Some(locator) => vec![locator],
            None => all.collect(),
        };
        let mut sessions = Vec::with_capacity(wanted.len());
        for locator in wanted {
            sessions.push((locator.clone(), app.mailbox(locator)?));
        }
        Ok(sessions)
    }
}

impl ResourceCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let (app, out) = (everywhere.app()?, everywhere.out());
        match self {
            Self::List(place) => {
                let mut all = Vec::new();
                for (mailbox, session) in place.sessions(&app)? {
                    let mut after: Option<String> = None;
                    loop {
                        let page = session.holdings(after.as_deref()).await?;
                        let Some(last) = page.last() else { break };
                        after = Some(last.cid.clone());
                        let mailbox = &mailbox;
                        all.extend(page.into_iter().map(|value| At {
                            mailbox: mailbox.clone(),
                            value,
                        }));
                    }
                }
                out.many(&all, "no resources", held)
            }
            Self::Usage(place) => {
                let mut all = Vec::new();
                for (mailbox, session) in place.sessions(&app)? {
                    let value = session.usage().await?;
                    all.push(At { mailbox, value });
                }
                out.many(&all, "no mailbox in the profile", used)
            }
            Self::Delete(DeleteArgs { which, force }) => {
                for (mailbox, session) in which.place.sessions(&app)? {
                    match session.delete(&which.cid, force).await {
                        Ok(value) => {
                            return out.one(&At { mailbox, value }, |At { mailbox, value }| {
                                let octets = value::octets(value.size);
                                format!(
                                    "{} is deleted at {mailbox}: {octets} of the quota are free.\n",
                                    value.cid
                                )
                            });
                        }
                        Err(AppError::Said { status: 404, .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                nowhere(&which.cid)
            }
            Self::Why(which) => {
                for (_, session) in which.place.sessions(&app)? {
                    match session.why(&which.cid).await {
                        Ok(why) => return out.one(&why, collect::reasons),
                        Err(AppError::Said { status: 404, .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                nowhere(&which.cid)
            }
        }
    }
}

fn nowhere(cid: &Cid) -> anyhow::Result<()> {
    let text = format!(
        "you hold no {cid} at a mailbox of the profile: `cargomail resource list` shows what you hold"
    );
    Err(NotThere(text).into())
}

fn held(At { mailbox, value }: &At<HeldView>) -> String {
    format!(
        "{}  {}  {}  {mailbox}\n",
        value.cid,
        value::octets(value.size),
        value.since.rfc3339()
    )
}

fn used(At { mailbox, value }: &At<UsageView>) -> String {
    let quota = value.quota.map_or_else(
        || "no quota".to_owned(),
        |quota| format!("of {}", value::octets(quota)),
    );
    format!(
        "{mailbox}  {} held, {} kept free for {} retrievals, {quota}\n",
        value::octets(value.held),
        value::octets(value.claimed),
        value.retrievals
    )
}
