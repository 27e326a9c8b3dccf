//! What one person sees at their nodes at one moment.

use std::collections::{BTreeMap, BTreeSet};

use cargomail_node::api::{Message, Retrieval, ShareView};
use cargomail_node::app::{App, AppError, Session};
use cargomail_protocol::address::Locator;

use crate::world::FOLDERS;

/// Messages on a page.
const PAGE: usize = 500;

/// What a person's nodes are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// The messages in these folders at their broker; all in which there can be any, or one that came twice would count once.
    pub(crate) folders: Vec<&'static str>,
    /// What they shared, at these mailboxes.
    pub(crate) shares: Vec<Locator>,
    /// What is on its way to these.
    pub(crate) retrievals: Vec<Locator>,
}

impl Wanted {
    /// Whatever says what became of mails, at all nodes that a person has.
    pub(crate) fn news(app: &App) -> Self {
        let mailboxes = app.profile().mailboxes.iter();
        Self {
            folders: FOLDERS.to_vec(),
            shares: mailboxes.map(|mailbox| mailbox.locator.clone()).collect(),
            retrievals: Vec::new(),
        }
    }

    /// And what is on its way.
    pub(crate) fn everything(app: &App) -> Self {
        let news = Self::news(app);
        Self {
            retrievals: news.shares.clone(),
            ..news
        }
    }
}

/// What a person sees at the nodes that were asked. A part that could not be had is none: its node may be stopped.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Everything in the inbox and in junk; none when neither was asked for.
    pub(crate) messages: Option<Vec<Message>>,
    /// Reports that were not known before, by the name of their message.
    pub(crate) reports: BTreeMap<String, Report>,
    /// What the person shared, at mailboxes that answered.
    pub(crate) shares: Vec<ShareView>,
    /// Whether some of what was wanted could not be had.
    pub(crate) is_partial: bool,
    /// What is on its way to each of the mailboxes.
    pub(crate) retrievals: Vec<(Locator, Option<Vec<Retrieval>>)>,
}

/// A delivery status notification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The Message-ID of the mail that it is about.
    pub(crate) about: String,
    /// For whom it failed.
    pub(crate) recipients: Vec<String>,
}

/// Asks nodes of a person.
pub(crate) async fn ask(app: &App, wanted: Wanted, known: &BTreeSet<String>) -> Seen {
    let mut seen = Seen::default();
    if !wanted.folders.is_empty()
        && let Ok(broker) = app.broker()
    {
        let found = async {
            let mut messages = Vec::new();
            for folder in wanted.folders {
                messages.extend(everything(&broker, folder).await?);
            }
            let mut reports = BTreeMap::new();
            for message in messages.iter().filter(|message| message.placeholder.is_none()) {
                if !known.contains(&message.id) {
                    let octets = broker.message(&message.id).await?;
                    reports.insert(
                        message.id.clone(),
                        Report::read(&String::from_utf8_lossy(&octets)),
                    );
                }
            }
            Ok::<_, AppError>((messages, reports))
        };
        match found.await {
            Ok((messages, reports)) => {
                seen.messages = Some(messages);
                seen.reports = reports;
            }
            Err(_) => seen.is_partial = true,
        }
    }
    for locator in wanted.shares {
        let Ok(session) = app.mailbox(&locator) else {
            continue;
        };
        match session.shares().await {
            Ok(shares) => seen.shares.extend(shares),
            Err(_) => seen.is_partial = true,
        }
    }
    for locator in wanted.retrievals {
        if let Ok(session) = app.mailbox(&locator) {
            seen.retrievals.push((locator, session.retrievals().await.ok()));
        }
    }
    seen
}

/// All messages of a folder.
async fn everything(broker: &Session, folder: &str) -> Result<Vec<Message>, AppError> {
    let mut all: Vec<Message> = Vec::new();
    loop {
        let after = all.last().map(|message| message.id.clone());
        let page = broker.list(folder, after.as_deref(), PAGE).await?;
        let last = page.len() < PAGE;
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

impl Report {
    /// Reads the fields of RFC 3464 that name the recipients, and the header field that names the mail.
    fn read(text: &str) -> Self {
        let unfolded = text.replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut report = Self::default();
        for line in unfolded.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if name.eq_ignore_ascii_case("References") && report.about.is_empty() {
                value.trim().clone_into(&mut report.about);
            } else if name.eq_ignore_ascii_case("Final-Recipient")
                && let Some((_, address)) = value.split_once(';')
            {
                report.recipients.push(address.trim().to_owned());
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_which_mail_did_not_reach_whom() {
        let text = "From: Mail delivery <reporter@bar.test>\r\nReferences:\r\n <1@foo.test>\r\n\r\n--b\r\n\r\n\
                    Reporting-MTA: dns; bar.test\r\n\r\nFinal-Recipient: rfc822; carol@bar.test\r\nAction: failed\r\n\
                    \r\nFinal-Recipient: rfc822;\r\n dave@bar.test\r\n\r\nReferences: <2@foo.test>\r\n";
        let report = Report::read(text);
        assert_eq!(report.about, "<1@foo.test>");
        assert_eq!(report.recipients, ["carol@bar.test", "dave@bar.test"]);
    }

    #[test]
    fn an_ordinary_message_is_a_report_about_nothing() {
        assert_eq!(
            Report::read("Subject: Hello\r\n\r\nHow are you?\r\n"),
            Report::default()
        );
    }
}
