//! `cargomail inbox`, `cargomail read` and `cargomail delete`.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use uuid::Uuid;

use super::{Everywhere, progress, value};
use crate::api::{DeletedMessage, Message, MessagesUsage};
use crate::app::read::{Shown, on_one_line};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail inbox
  cargomail inbox --sent --limit 5
  cargomail inbox --json | jq -r .id
  cargomail inbox --usage")]
pub(super) struct InboxArgs {
    /// What was sent, instead of what came
    #[arg(long, conflicts_with = "junk")]
    sent: bool,
    /// What came and was not believed
    #[arg(long)]
    junk: bool,
    /// How many
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Older ones than this message
    #[arg(long, value_name = "ID", value_parser = message)]
    after: Option<Uuid>,
    /// Nothing but how full the User Mailbox is
    #[arg(long, conflicts_with_all = ["sent", "junk", "limit", "after"])]
    usage: bool,
}

fn message(text: &str) -> Result<Uuid, String> {
    text.parse()
        .map_err(|_| "a message is named by a UUID, as `cargomail inbox` shows it".to_owned())
}

impl InboxArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let folder = match (self.sent, self.junk) {
            (true, _) => "sent",
            (_, true) => "junk",
            _ => "inbox",
        };
        let broker = everywhere.app()?.broker()?;
        if self.usage {
            return everywhere.out().one(&broker.messages_usage().await?, used);
        }
        let after = self.after.map(|id| id.to_string());
        let messages = broker.list(folder, after.as_deref(), self.limit).await?;
        everywhere
            .out()
            .many(&messages, &format!("{folder}: no messages"), line)
    }
}

fn used(usage: &MessagesUsage) -> String {
    let waiting = match usage.waiting {
        0 => String::new(),
        octets => format!(", {} on their way into it", value::octets(octets)),
    };
    let leaving = match usage.leaving {
        0 => String::new(),
        octets => format!(", {} sent and not gone yet", value::octets(octets)),
    };
    let quota = usage.quota.map_or_else(
        || "no quota".to_owned(),
        |quota| format!("of {}", value::octets(quota)),
    );
    format!("{} held{waiting}{leaving}, {quota}\n", value::octets(usage.held))
}

fn line(message: &Message) -> String {
    let whom = match message.folder.as_str() {
        "sent" => &message.to,
        _ => &message.from,
    };
    let subject = on_one_line(&message.subject);
    let what = match &message.placeholder {
        None => String::new(),
        Some(placeholder) => {
            let octets = value::octets(placeholder.octets);
            let place = match &placeholder.destination {
                Some(destination) => format!("at {destination}"),
                None => format!("from {}", placeholder.origin),
            };
            format!("  [{}, {octets} {place}]", placeholder.category)
        }
    };
    let whom = on_one_line(whom);
    format!(
        "{}  {}  {whom}  {subject}{what}\n",
        message.id,
        message.since.rfc3339()
    )
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail read 0192f3c1-…
  cargomail read 0192f3c1-… --wait 10m

`cargomail inbox` shows the names of messages.")]
pub(super) struct ReadArgs {
    /// Which message
    id: String,
    /// How long to wait for what is still on its way
    #[arg(long, default_value = "60s", value_parser = value::duration, value_name = "TIME")]
    wait: Duration,
}

impl ReadArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let app = everywhere.app()?;
        let opened = app.open(&self.id).await?;
        let shown = app.show(&opened, self.wait, &progress::bars()).await?;
        everywhere.out().one(&shown, people)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail delete 0192f3c1-…
  cargomail inbox --junk --json | jq -r .id | xargs cargomail delete

What came with a message stays at its Resource Mailbox; `cargomail resource delete` ends that.")]
pub(super) struct DeleteArgs {
    /// Which messages
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

impl DeleteArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let broker = everywhere.app()?.broker()?;
        for id in &self.ids {
            let deleted = broker.delete_message(id).await;
            let deleted = deleted.with_context(|| format!("{id} was not deleted"))?;
            everywhere.out().many(&[deleted], "", gone)?;
        }
        Ok(())
    }
}

fn gone(deleted: &DeletedMessage) -> String {
    format!(
        "{} is deleted: {} are free\n",
        deleted.id,
        value::octets(deleted.size)
    )
}

fn people(shown: &Shown) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{name:12} {value}\n"));
        }
    };
    field("From", &shown.from);
    field("To", &shown.to);
    field("Cc", &shown.cc);
    field("Subject", &shown.subject);
    field("Date", shown.date.as_deref().unwrap_or_default());
    field("Category", shown.category.as_deref().unwrap_or_default());
    let locator = |locator: &Option<cargomail_protocol::address::Locator>| {
        locator.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    field("Origin", &locator(&shown.origin));
    field("Destination", &locator(&shown.destination));
    text.push_str(&format!("\n{}\n", shown.text.trim_end()));
    if !shown.parts.is_empty() {
        text.push('\n');
    }
    for part in &shown.parts {
        let name = part.name.as_deref().unwrap_or("-");
        let size = value::octets(part.size);
        text.push_str(&format!(
            "{:>3}  {size:>11}  {}  {name}\n",
            part.part,
            on_one_line(&part.media_type)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::app::read::ShownPart;

    #[test]
    fn what_a_stranger_calls_a_part_cannot_steer_the_terminal() {
        let shown = Shown {
            from: String::new(),
            to: String::new(),
            cc: String::new(),
            subject: String::new(),
            date: None,
            message_id: String::new(),
            category: None,
            origin: None,
            destination: None,
            text: String::new(),
            parts: vec![ShownPart {
                part: 1,
                name: None,
                media_type: "image/\u{1b}]0;gone\u{7}\npng".to_owned(),
                size: 1,
                cid: None,
            }],
        };
        let text = people(&shown);
        assert!(text.ends_with("image/]0;gone png  -\n"), "{text:?}");
    }
}
