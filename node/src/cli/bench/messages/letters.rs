//! The messages that are sent, written before the clock runs.

use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::channel;
use cargomail_protocol::grip::Digest;
use cargomail_protocol::placeholder::{
    Category, Description, Draft, Header, Headers, Mailbox, Origin, Part, Placeholder, ResourceRef,
};
use cargomail_protocol::timestamp::Timestamp;

use super::Path;
use super::receiver::{BAR, FOO, Receiver};
use crate::clock::{self, Clock, SystemClock, SystemRandomness};
use crate::grip::Signer;

/// A message and the token that speaks of it.
pub(super) struct Parcel {
    pub(super) token: String,
    pub(super) message: Bytes,
}

/// Messages to send.
pub(super) struct Letters {
    pub(super) parcels: Vec<Parcel>,
}

impl Letters {
    /// Writes so many messages of so many octets, divided among the recipients, and signs their tokens.
    pub(super) fn write(receiver: &Receiver, path: Path, count: usize, size: u64) -> anyhow::Result<Self> {
        let size = usize::try_from(size)?;
        let signer = Signer::new(
            receiver.town.site(FOO).identity(),
            std::sync::Arc::new(SystemClock),
            std::sync::Arc::new(SystemRandomness),
        )?;
        let alice = Address::parse(&format!("alice@{FOO}"))?;
        let bar = Domain::parse(BAR)?;
        let mut parcels = Vec::with_capacity(count);
        for number in 0..count {
            let recipient = receiver.recipient(number);
            let short = message(&alice, recipient, number, path, 0)?;
            let Some(missing) = size.checked_sub(short.len()) else {
                bail!(
                    "such a message has at least {} octets: --size {}",
                    short.len(),
                    short.len()
                );
            };
            let message = message(&alice, recipient, number, path, missing)?;
            let digest = Digest::of(&message);
            let recipients = vec![recipient.clone()];
            let token = channel::token(signer.key(), &alice, &bar, recipients, digest, signer.stamp())?;
            parcels.push(Parcel {
                token,
                message: message.into(),
            });
        }
        Ok(Self { parcels })
    }
}

/// A message with a comment that makes it so much longer, or a few octets more.
fn message(
    from: &Address,
    to: &Address,
    number: usize,
    path: Path,
    longer: usize,
) -> anyhow::Result<Vec<u8>> {
    let now = SystemClock.now();
    let id = clock::uuid(&SystemClock, &SystemRandomness);
    let message_id = format!("<{id}@{FOO}>");
    match path {
        Path::Deliver => Ok(format!(
            "From: {from}\r\nTo: {to}\r\nSubject: Message {number}\r\nDate: {}\r\nMessage-ID: {message_id}\r\n\r\n{}",
            now.rfc5322(),
            lines(longer),
        )
        .into_bytes()),
        Path::Notify => placeholder(from, to, number, now, message_id, longer),
    }
}

fn placeholder(
    from: &Address,
    to: &Address,
    number: usize,
    now: Timestamp,
    message_id: String,
    longer: usize,
) -> anyhow::Result<Vec<u8>> {
    let text = format!("This is message {number}.\r\n");
    let digest = Digest::of(text.as_bytes());
    let resource = ResourceRef {
        cid: digest.cid(),
        size: text.len() as u64,
        sha256: Some(*digest.sha256()),
    };
    let draft = Draft {
        from: Mailbox::bare(from.clone()),
        sender: None,
        reply_to: Vec::new(),
        to: vec![Mailbox::bare(to.clone())],
        cc: Vec::new(),
        subject: format!("Message {number}"),
        date: now,
        message_id,
        in_reply_to: None,
        references: Vec::new(),
        text: Some(Part {
            resource,
            description: Description::new("text/plain; charset=utf-8")?,
        }),
        html: None,
        inline: Vec::new(),
        attachments: Vec::new(),
    };
    let origin = Origin {
        locator: Locator::parse(&format!("mailbox.{FOO}"))?,
        expires: Some(Timestamp::from_seconds(
            now.plus(Duration::from_secs(24 * 3600)).seconds(),
        )),
    };
    let category = Category::parse("personal")?;
    let written = draft.into_placeholder(origin.clone(), category.clone())?;
    if longer < LINE {
        return Ok(written.encode()?);
    }
    let mut headers = Headers::new();
    written
        .headers()
        .iter()
        .for_each(|field| headers.push(field.clone()));
    headers.push(Header::folded(
        "Comments",
        words(longer - "Comments: \r\n".len()).trim_end(),
    )?);
    let longer = Placeholder::new(
        origin,
        category,
        headers,
        written.structure().clone(),
        written.parts().to_vec(),
    )?;
    Ok(longer.encode()?)
}

/// Octets of a line of text.
const LINE: usize = 72;

/// So many octets of text.
fn lines(octets: usize) -> String {
    let line = format!("{}\r\n", words(LINE - 2));
    line.repeat(octets / line.len() + 1)
        .chars()
        .take(octets)
        .collect()
}

/// So many octets of text without line ends.
fn words(octets: usize) -> String {
    "sixteen letters ".chars().cycle().take(octets).collect()
}
