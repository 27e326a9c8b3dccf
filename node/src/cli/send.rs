//! `cargomail send`.

use std::path::PathBuf;
use std::time::Duration;

use cargomail_protocol::address::Locator;
use cargomail_protocol::placeholder::Category;
use clap::Args;

use super::value::{self, Recipients};
use super::{Everywhere, progress};
use crate::api::Channel;
use crate::app::{Letter, Sent};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail send --to bob@bar.test --subject 'Your scan' --text 'As discussed.' --category healthcare scan.dcm
  cargomail send --to bob@bar.test --bcc carol@baz.test --html-file letter.html --inline logo.png
  cargomail send --to bob@bar.test --only-cargomail --subject 'For you alone' --text-file letter.txt
  echo Hello | cargomail send --to '\"Bob\" <bob@bar.test>' --subject Hi --text-file - --expires 30d

HTML refers to an inline image by its file name: <img src=\"cid:logo.png\">.

A recipient whose domain has no Cargomail gets an ordinary message, with the content in it.")]
pub(super) struct SendArgs {
    /// Files to send
    files: Vec<PathBuf>,
    /// A recipient; may stand several times, or list several with commas
    #[arg(long, value_parser = value::people, value_name = "ADDRESS")]
    to: Vec<Recipients>,
    /// A recipient of a copy
    #[arg(long, value_parser = value::people, value_name = "ADDRESS")]
    cc: Vec<Recipients>,
    /// A recipient whom the others do not see
    #[arg(long, value_parser = value::people, value_name = "ADDRESS")]
    bcc: Vec<Recipients>,
    /// The subject
    #[arg(long, short, default_value = "")]
    subject: String,
    /// The text
    #[arg(long, short)]
    text: Option<String>,
    /// A file with the text; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    text_file: Option<PathBuf>,
    /// A file with the text as HTML
    #[arg(long, value_name = "FILE")]
    html_file: Option<PathBuf>,
    /// An image that the HTML refers to as cid:<file name>
    #[arg(long, value_name = "FILE")]
    inline: Vec<PathBuf>,
    /// What kind of correspondence it is; the recipient's wishes go by it
    #[arg(long, short, default_value = "personal", value_parser = value::category)]
    category: Category,
    /// How long the content can be had
    #[arg(long, default_value = "7d", value_parser = value::duration, value_name = "TIME")]
    expires: Duration,
    /// The Message-ID of the message that this answers
    #[arg(long, value_name = "MESSAGE-ID")]
    in_reply_to: Option<String>,
    /// The Resource Mailbox that keeps the content; by default the first of the profile
    #[arg(long, value_name = "LOCATOR")]
    mailbox: Option<Locator>,
    /// How it travels: web, smtp or web-then-smtp; by default as the broker is configured
    #[arg(long, value_parser = value::channel)]
    channel: Option<Channel>,
    /// Send nothing when a recipient's domain has no Cargomail, rather than ordinary mail that providers can read
    #[arg(long)]
    only_cargomail: bool,
}

impl SendArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let app = everywhere.app()?;
        let text = match &self.text_file {
            Some(file) => Some(value::text_of(file)?),
            None => self.text,
        };
        let html = self.html_file.as_deref().map(value::text_of).transpose()?;
        let letter = Letter {
            to: value::everybody(self.to),
            cc: value::everybody(self.cc),
            bcc: value::everybody(self.bcc),
            subject: self.subject,
            text,
            html,
            inline: self.inline,
            files: self.files,
            life: self.expires,
            in_reply_to: self.in_reply_to,
            origin: self.mailbox,
            channel: self.channel,
            only_cargomail: self.only_cargomail,
            ..Letter::new(self.category)
        };
        let sent = app.send(&letter, &progress::bars()).await?;
        everywhere.out().one(&sent, people)
    }
}

fn people(sent: &Sent) -> String {
    let mut text = format!("{} is sent.\n", sent.message_id);
    let until = sent.expires.rfc3339();
    text.push_str(&match sent.shares.is_empty() {
        true => format!("Its content is kept at {}:\n", sent.origin),
        false => format!("Its content is at {} until {until}:\n", sent.origin),
    });
    for resource in &sent.resources {
        let posted = &resource.posted;
        let size = value::octets(posted.size);
        text.push_str(&format!("  {}  {size:>11}  {}\n", posted.cid, resource.name));
    }
    for recipient in &sent.ordinary {
        text.push_str(&format!(
            "{recipient} gets ordinary mail, with the content in it: {} has no Cargomail.\n",
            recipient.domain()
        ));
    }
    for queued in &sent.queued {
        text.push_str(&format!(
            "To {}: {}\n",
            queued.recipient,
            super::queue::state(queued)
        ));
    }
    text
}
