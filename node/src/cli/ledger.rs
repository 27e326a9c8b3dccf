//! `cargomail ledger`: on the node's folder when it does not run, else through the node.

use std::sync::Arc;

use cargomail_protocol::ledger::{Checker, Entry, Head, LedgerError};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::exit::CheckFailed;
use super::{Everywhere, account};
use crate::api::HeadView;
use crate::app::administration::Administration;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::ledger::{Ledger, VerifyError};
use crate::store::Embedded;

#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Check that no entry was changed, taken out, put in or cut off
    #[command(after_help = "\
Examples:
  cargomail ledger verify
  cargomail ledger verify --config /srv/cargomail/cargomail.toml --json

Prints the head: whoever notes it elsewhere finds a ledger that was written anew as a whole.")]
    Verify,
    /// List entries, oldest first, checking each
    #[command(after_help = "Example:\n  cargomail ledger list --concerning bob@bar.test --json | jq .act")]
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Entries that name this address, locator, client identifier, Message-ID or CID
    #[arg(long, value_name = "NAME")]
    concerning: Option<String>,
}

/// An entry for people and programs.
#[derive(Serialize)]
struct EntryView {
    index: u64,
    time: String,
    act: cargomail_protocol::ledger::Act,
    parties: Vec<String>,
    message_id: String,
    resources: Vec<String>,
    evidence: String,
}

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        let event = &entry.event;
        Self {
            index: entry.index,
            time: entry.time.rfc3339(),
            act: event.act,
            parties: event.parties.clone(),
            message_id: event.message_id.clone(),
            resources: event.resources.iter().map(ToString::to_string).collect(),
            evidence: event.evidence.clone(),
        }
    }
}

impl EntryView {
    fn concerns(&self, name: &str) -> bool {
        self.message_id == name
            || self.parties.iter().any(|party| party.eq_ignore_ascii_case(name))
            || self.resources.iter().any(|resource| resource == name)
    }

    fn line(&self) -> String {
        let act = serde_json::to_value(self.act).ok();
        let act = act
            .as_ref()
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let mut text = format!(
            "{:>6}  {}  {act:9} {}",
            self.index,
            self.time,
            self.parties.join(", ")
        );
        if !self.message_id.is_empty() {
            text.push_str(&format!("  {}", self.message_id));
        }
        if let Some(first) = self.resources.first() {
            text.push_str(&format!("  {first}"));
        }
        if let Some(more) = self.resources.len().checked_sub(1).filter(|more| *more > 0) {
            text.push_str(&format!(" and {more} more"));
        }
        text + "\n"
    }
}

impl LedgerCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let settings = everywhere.settings()?;
        let out = everywhere.out();
        match self {
            Self::Verify => {
                let outcome = walk(&settings, |_| Ok(())).await?;
                let shown = match &outcome {
                    Ok(head) => json!({ "verified": true, "head": HeadView::from(*head) }),
                    Err(error) => json!({ "verified": false, "error": error.to_string() }),
                };
                out.one(&shown, |_| match &outcome {
                    Ok(head) => {
                        let head = HeadView::from(*head);
                        format!(
                            "{} entries, each in its place and unchanged.\nHead: {}\n",
                            head.entries, head.hash
                        )
                    }
                    Err(_) => String::new(),
                })?;
                outcome.map(drop).map_err(changed)
            }
            Self::List(args) => {
                let each = |entry: &Entry| {
                    let view = EntryView::from(entry);
                    if args.concerning.as_ref().is_none_or(|name| view.concerns(name)) {
                        out.many(&[view], "", EntryView::line)?;
                    }
                    Ok(())
                };
                walk(&settings, each).await?.map(drop).map_err(changed)
            }
        }
    }
}

fn changed(error: LedgerError) -> anyhow::Error {
    let text =
        format!("{error}: somebody or something changed this ledger; compare it with a copy of before");
    CheckFailed(text).into()
}

/// Checks the ledger from its beginning and gives each entry to `each`. The inner result is what the check found.
async fn walk(
    settings: &Settings,
    each: impl FnMut(&Entry) -> anyhow::Result<()>,
) -> anyhow::Result<Result<Head, LedgerError>> {
    match account::store(settings).await? {
        Some(store) => {
            let outcome = offline(&store, each).await;
            store.close().await?;
            outcome
        }
        None => online(&account::administration(settings)?, each).await,
    }
}

async fn offline(
    store: &Embedded,
    mut each: impl FnMut(&Entry) -> anyhow::Result<()>,
) -> anyhow::Result<Result<Head, LedgerError>> {
    let ledger = Ledger::open(store.records(), Arc::new(SystemClock)).await?;
    let mut shown = Ok(());
    let verified = ledger
        .verify(|entry| {
            if shown.is_ok() {
                shown = each(entry);
            }
        })
        .await;
    shown?;
    match verified {
        Ok(head) => Ok(Ok(head)),
        Err(VerifyError::Ledger(error)) => Ok(Err(error)),
        Err(VerifyError::Store(error)) => Err(error.into()),
    }
}

async fn online(
    administration: &Administration,
    mut each: impl FnMut(&Entry) -> anyhow::Result<()>,
) -> anyhow::Result<Result<Head, LedgerError>> {
    let mut checker = Checker::new();
    let mut next = 0;
    loop {
        let (entries, head) = administration.ledger(next).await?;
        for octets in &entries {
            match checker.push(octets) {
                Ok(entry) => each(&entry)?,
                Err(error) => return Ok(Err(error)),
            }
            next += 1;
        }
        if entries.is_empty() || next >= head.entries {
            return Ok(checker.finish(&head).map(|()| head));
        }
    }
}
