//! What failed for good is told to the sender: a delivery status notification (RFC 3464 in RFC 6522's multipart/report).
//!
//! What always holds: nobody is told who was not proved to be the sender, no reporter and no program (row S09,
//! RFC 3834); the report is queued in the same commit that ends the entry which it is about, and an entry ends also when no report
//! can be written (row Q01).

use std::fmt::Write as _;

use bytes::Bytes;
use cargomail_protocol::address::Address;
use cargomail_protocol::channel;
use cargomail_protocol::limits;
use cargomail_protocol::placeholder::{Header, HeaderError, Mailbox};
use cargomail_protocol::queue::Tries;
use cargomail_protocol::timestamp::Timestamp;

use super::change::Change;
use super::fields::{Fields, Shown};
use super::fill::{Move, signed};
use super::inbound::{Folder, Inbound, State};
use super::outbound::{Outbound, Recipient};
use super::{Broker, BrokerError};

/// How much of the original header is given back: what any reader needs to know the message again.
const ORIGINAL: usize = 64 * 1024;
/// How much a stranger may say in a report.
const SAID: usize = 512;
/// Characters of the original subject that are given back: on one line of a header they fit also where nothing folds them.
const SUBJECT: usize = 200;

/// What is to be told.
pub(super) struct Notice<'a> {
    /// To whom; nobody is told when there is nobody.
    pub(super) to: Option<Address>,
    pub(super) message_id: &'a str,
    /// The message, of which only the header is given back.
    pub(super) original: Option<Bytes>,
    /// When it was taken.
    pub(super) arrived: Timestamp,
    pub(super) failures: Vec<Failure>,
}

/// For whom it failed, and why.
pub(super) struct Failure {
    pub(super) recipient: Address,
    /// Subject and detail of RFC 3463's code of class 5.
    pub(super) status: (u16, u16),
    pub(super) text: String,
}

impl Broker {
    /// Queues the report about what failed.
    pub(super) async fn report(&self, notice: Notice<'_>, change: &mut Change) -> Result<(), BrokerError> {
        let automatic = notice.original.as_ref().is_some_and(|original| {
            Fields::read(original, |_, _| false).is_ok_and(|(_, fields)| fields.automatic)
        });
        let reporter = |to: &Address| *to == channel::reporter(to.domain());
        let Some(to) = notice.to.clone().filter(|to| !automatic && !reporter(to)) else {
            tracing::info!(
                message = notice.message_id,
                step = "report",
                "it failed, and there is nobody to tell"
            );
            return Ok(());
        };
        let (message, message_id) = match self.written(&to, &notice) {
            Ok(written) => written,
            Err(error) => {
                tracing::error!(message = notice.message_id, step = "report", %to, %error, "a report cannot be written");
                return Ok(());
            }
        };
        let message = self.store(message.into(), 1, change).await?;
        let (id, now) = (self.fresh(), self.now());
        tracing::info!(message_id = notice.message_id, step = "report", %to, report = message_id, "the sender is told");
        if *to.domain() == self.options.domain {
            let entry = Inbound {
                recipient: to,
                sender: None,
                report_to: None,
                message_id,
                message,
                folder: Folder::Inbox,
                received: now,
                state: State::Deliver,
                tries: Tries::new(now, limits::SENDING),
                stumbles: 0,
                wishes: None,
                job: None,
                delivered: None,
            };
            change.put(Inbound::key(id), &entry);
            change.moves(Move::waits(&entry.recipient, signed(entry.message.size)));
            change.wake_inbound(id, entry.lane(), now);
        } else {
            let entry = Outbound {
                sender: None,
                domain: to.domain().clone(),
                channel: self.options.channel,
                message,
                message_id,
                queued: now,
                recipients: vec![Recipient::waiting(to)],
                tries: Tries::new(now, limits::SENDING),
                away: 0,
                stumbles: 0,
                finished: None,
                charged: 0,
            };
            change.put(Outbound::key(id), &entry);
            change.wake_outbound(id, &entry);
        }
        Ok(())
    }

    /// The report, and its Message-ID.
    fn written(&self, to: &Address, notice: &Notice<'_>) -> Result<(Vec<u8>, String), HeaderError> {
        let domain = &self.options.domain;
        let boundary = format!("report-{}", self.fresh().simple());
        let message_id = format!("<{}@{domain}>", self.fresh());
        let subject = match notice
            .original
            .as_deref()
            .map(|original| Shown::of(original).subject)
        {
            Some(subject) if !subject.is_empty() => {
                format!(
                    "Not delivered: {}",
                    subject.chars().take(SUBJECT).collect::<String>()
                )
            }
            _ => "Not delivered".to_owned(),
        };
        let from = Mailbox::named("Mail delivery", channel::reporter(domain));
        let mut fields = vec![
            Mailbox::header("From", &[from])?,
            Mailbox::header("To", &[Mailbox::bare(to.clone())])?,
            Header::new("Subject", &subject)?,
            Header::folded("Date", &self.now().rfc5322())?,
            Header::folded("Message-ID", &message_id)?,
            Header::folded("Auto-Submitted", "auto-replied")?,
            Header::folded("MIME-Version", "1.0")?,
        ];
        if let Ok(field) = Header::folded("References", notice.message_id) {
            fields.push(field);
        }
        let kind = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
        fields.push(Header::folded("Content-Type", &kind)?);
        let mut out = String::new();
        for field in &fields {
            let _ = write!(out, "{}:{}\r\n", field.name(), field.raw());
        }
        let _ = write!(
            out,
            "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        );
        let _ = write!(
            out,
            "Content-Transfer-Encoding: 8bit\r\n\r\n{}",
            for_people(notice)
        );
        let _ = write!(
            out,
            "\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n"
        );
        let _ = write!(
            out,
            "Reporting-MTA: dns; {domain}\r\nArrival-Date: {}\r\n",
            notice.arrived.rfc5322()
        );
        for failure in &notice.failures {
            out.push_str(&for_programs(failure));
        }
        let mut out = out.into_bytes();
        if let Some(original) = &notice.original {
            let head = header_of(original);
            let encoding = if head.is_ascii() { "7bit" } else { "8bit" };
            out.extend_from_slice(
                format!("\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n")
                    .as_bytes(),
            );
            out.extend_from_slice(head);
        }
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Ok((out, message_id))
    }
}

fn for_people(notice: &Notice<'_>) -> String {
    let mut text = "Your message could not be delivered, or its content could not:\r\n".to_owned();
    for failure in &notice.failures {
        let _ = write!(text, "\r\n  {}\r\n", failure.recipient);
        for line in wrapped(&said(&failure.text)) {
            let _ = write!(text, "    {line}\r\n");
        }
    }
    text.push_str("\r\nIt will not be tried again. The header of your message follows.\r\n");
    text
}

fn for_programs(failure: &Failure) -> String {
    let (subject, detail) = failure.status;
    let recipient = failure.recipient.to_string();
    // RFC 6533 §3: an address outside ASCII has a type of its own.
    let kind = if recipient.is_ascii() { "rfc822" } else { "utf-8" };
    let text: String = said(&failure.text)
        .chars()
        .map(|c| if c.is_ascii() { c } else { '?' })
        .collect();
    let text = wrapped(&text).join("\r\n ");
    format!(
        "\r\nFinal-Recipient: {kind}; {recipient}\r\nAction: failed\r\nStatus: 5.{subject}.{detail}\r\n\
         Diagnostic-Code: x-cargomail; {text}\r\n"
    )
}

/// What somebody else's server said, on one line and not too long.
fn said(text: &str) -> String {
    let line: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .collect();
    let line = line
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    line.chars().take(SAID).collect()
}

/// Lines of some seventy characters, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < 70 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The header of a message, whole lines of it, as far as it is given back.
fn header_of(message: &[u8]) -> &[u8] {
    let mut end = 0;
    loop {
        let rest = message.get(end..).unwrap_or_default();
        if rest.is_empty() || rest.starts_with(b"\r\n") {
            break;
        }
        let Some(line) = rest.iter().position(|octet| *octet == b'\n') else {
            break;
        };
        if end + line + 1 > ORIGINAL {
            break;
        }
        end += line + 1;
    }
    message.get(..end).unwrap_or_default()
}
