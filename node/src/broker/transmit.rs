//! Step 4, second half: a queued message is given to the recipients' broker, by the web channel, by SMTP, or by the second
//! where the first is not to be had (`spec/channel.md`).
//!
//! What always holds: a message that may go by the web channel only never goes by SMTP; what was refused by the web
//! channel does not try its luck by SMTP; the fall back to SMTP is in the log (row Q11); nothing is given while what comes of it
//! could not be noted (row Q06), and nobody is waited for longer than for an honest server.

use std::time::Duration;

use bytes::Bytes;
use cargomail_protocol::address::Address;
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::limits;
use cargomail_protocol::queue::Next;
use cargomail_protocol::receipt::Receipt;
use uuid::Uuid;

use super::change::Change;
use super::outbound::Outbound;
use super::queue::Touch;
use super::report::{Failure, Notice};
use super::work::After;
use super::{Broker, BrokerError, user};
use crate::api::{Channel, Delivery};
use crate::smtp::{self, Said};

/// Receipts of other brokers, for what people send: `sent-receipt/<sender>/<entry>/<jti>` → [`Receipt`].
const RECEIPTS: &str = "sent-receipt/";
/// Tries for which nobody was there at the web channel, before SMTP is taken.
const AWAY: u32 = 3;
/// How long one message is given to a domain by SMTP, whatever its servers are: honest ones answer in a few minutes.
const GIVING: Duration = Duration::from_secs(15 * 60);
/// Beside that, so many octets of the message a second: the largest one then has as long as an SMTP session.
const SLOWEST: usize = 16 * 1024;

/// What a try came to.
pub(super) enum Tried {
    /// The other side decided, for each of these.
    Answered {
        results: Vec<(Address, Given)>,
        receipts: Vec<Receipt>,
    },
    /// Never, for all.
    Never((u16, u16), String),
    /// Not now, for all.
    Later(Option<Duration>, String),
    /// Nobody was there.
    Away(String),
    /// There is no such way to the domain.
    Nowhere(String),
}

/// What became of the message for one recipient.
pub(super) enum Given {
    Accepted,
    Refused((u16, u16), String),
    Later(Option<Duration>, String),
}

impl Broker {
    pub(super) async fn transmit(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Outbound,
    ) -> Result<After, BrokerError> {
        let message = self.read(&entry.message).await?;
        let tried = match self.tried.take(id) {
            Some(tried) => tried,
            None if !self.is_writable() => {
                return self
                    .move_out(id, version, entry, Change::default(), Touch::Nothing)
                    .await;
            }
            None => self.give(&mut entry, &message).await?,
        };
        let noted = self.note_down(id, version, entry, message, &tried).await;
        if noted.is_err() {
            self.tried.keep(id, tried);
        }
        noted
    }

    async fn give(&self, entry: &mut Outbound, message: &Bytes) -> Result<Tried, BrokerError> {
        let waiting = entry.waiting();
        match entry.channel {
            Channel::Smtp => self.by_smtp(entry, message, &waiting).await,
            Channel::Web => Ok(match self.by_web(entry, message, &waiting).await? {
                Tried::Nowhere(why) => Tried::Never((4, 4), why),
                tried => tried,
            }),
            Channel::WebThenSmtp => self.by_either(entry, message, &waiting).await,
        }
    }

    async fn note_down(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Outbound,
        message: Bytes,
        tried: &Tried,
    ) -> Result<After, BrokerError> {
        let touch = match tried {
            Tried::Away(_) => Touch::Away,
            Tried::Nowhere(_) => Touch::Nothing,
            _ => Touch::Answered,
        };
        let mut change = Change::default();
        self.apply(id, &mut entry, message, tried, &mut change).await?;
        self.move_out(id, version, entry, change, touch).await
    }

    async fn by_either(
        &self,
        entry: &mut Outbound,
        message: &Bytes,
        waiting: &[Address],
    ) -> Result<Tried, BrokerError> {
        if message.len() > limits::PLACEHOLDER {
            return self.by_smtp(entry, message, waiting).await;
        }
        match self.by_web(entry, message, waiting).await? {
            Tried::Nowhere(why) => {
                tracing::info!(message_id = %entry.message_id, step = "send", domain = %entry.domain, why,
                    "no web channel: SMTP");
                self.by_smtp(entry, message, waiting).await
            }
            Tried::Away(why) => {
                entry.away = entry.away.saturating_add(1);
                if entry.away < AWAY {
                    return Ok(Tried::Away(why));
                }
                tracing::warn!(message_id = %entry.message_id, step = "send", domain = %entry.domain, why,
                    tries = entry.away, "the web channel that the DNS names stays away: SMTP");
                self.by_smtp(entry, message, waiting).await
            }
            tried => Ok(tried),
        }
    }

    async fn by_smtp(
        &self,
        entry: &Outbound,
        message: &Bytes,
        waiting: &[Address],
    ) -> Result<Tried, BrokerError> {
        let signed = self.needs.dkim.sign(message);
        let delivery = smtp::Delivery {
            sender: entry.sender.clone(),
            recipients: waiting.to_vec(),
            message: signed
                .map_err(|error| BrokerError::Dkim(error.to_string()))?
                .into(),
        };
        let sending = Box::pin(self.needs.smtp.send(&entry.domain, &delivery));
        let said = match in_time(message.len(), sending).await {
            None => return Ok(Tried::Away(format!("{} takes too long", entry.domain))),
            Some(Ok(said)) => said,
            Some(Err(error)) => {
                let text = error.to_string();
                return Ok(match error.status() {
                    None => Tried::Away(text),
                    Some(status) => Tried::Never(status.parts(), text),
                });
            }
        };
        let given = said.into_iter().map(|said| match said {
            Said::Accepted => Given::Accepted,
            Said::Refused { status, text } => Given::Refused(status.parts(), text),
            Said::Later { text } => Given::Later(None, text),
        });
        Ok(Tried::Answered {
            results: waiting.iter().cloned().zip(given).collect(),
            receipts: Vec::new(),
        })
    }

    /// Notes what a try came to, and tells the sender of what failed for good.
    async fn apply(
        &self,
        id: Uuid,
        entry: &mut Outbound,
        message: Bytes,
        tried: &Tried,
        change: &mut Change,
    ) -> Result<(), BrokerError> {
        let mut asked = None;
        let mut failures = Vec::new();
        match tried {
            Tried::Answered { results, receipts } => {
                for (address, given) in results {
                    asked = asked.max(self.note(entry, address, given, &mut failures));
                }
                for receipt in receipts {
                    self.keep_receipt(id, entry, receipt, change);
                }
            }
            Tried::Never(status, why) => {
                let given = Given::Refused(*status, why.clone());
                for address in entry.waiting() {
                    self.note(entry, &address, &given, &mut failures);
                }
            }
            Tried::Later(wait, why) => {
                asked = *wait;
                let given = Given::Later(*wait, why.clone());
                for address in entry.waiting() {
                    self.note(entry, &address, &given, &mut failures);
                }
            }
            Tried::Away(why) | Tried::Nowhere(why) => {
                let given = Given::Later(None, why.clone());
                for address in entry.waiting() {
                    self.note(entry, &address, &given, &mut failures);
                }
            }
        }
        if !entry.waiting().is_empty() {
            match entry.tries.failed(self.now(), asked, self.random()) {
                Next::At(due) => {
                    tracing::warn!(message_id = %entry.message_id, step = "send", domain = %entry.domain,
                        waiting = entry.waiting().len(), failed = entry.tries.failed, %due, "not given yet");
                }
                Next::GiveUp => self.give_up(entry, &mut failures),
            }
        }
        if entry.waiting().is_empty() {
            entry.finished = Some(self.now());
        }
        if failures.is_empty() {
            return Ok(());
        }
        let notice = Notice {
            to: entry.sender.clone(),
            message_id: &entry.message_id,
            original: Some(message),
            arrived: entry.queued,
            failures,
        };
        self.report(notice, change).await
    }

    /// Notes the outcome for one recipient; how long it is to be waited, if it says so.
    fn note(
        &self,
        entry: &mut Outbound,
        address: &Address,
        given: &Given,
        failures: &mut Vec<Failure>,
    ) -> Option<Duration> {
        let (message, domain) = (entry.message_id.clone(), entry.domain.clone());
        let recipient = entry
            .recipients
            .iter_mut()
            .find(|recipient| recipient.address == *address)?;
        match given {
            Given::Accepted => {
                tracing::info!(message_id = %message, step = "send", %domain, recipient = %address, "accepted");
                recipient.delivery = Delivery::Accepted;
                "accepted".clone_into(&mut recipient.last);
                None
            }
            Given::Refused(status, text) => {
                tracing::info!(message_id = %message, step = "send", %domain, recipient = %address, ?status, text, "refused");
                recipient.delivery = Delivery::Refused;
                recipient.last = format!("refused (5.{}.{}): {text}", status.0, status.1);
                failures.push(Failure {
                    recipient: address.clone(),
                    status: *status,
                    text: text.clone(),
                });
                None
            }
            Given::Later(asked, text) => {
                recipient.last.clone_from(text);
                *asked
            }
        }
    }

    fn give_up(&self, entry: &mut Outbound, failures: &mut Vec<Failure>) {
        tracing::warn!(message_id = %entry.message_id, step = "send", domain = %entry.domain, "its time is over");
        for recipient in &mut entry.recipients {
            if recipient.delivery == Delivery::Waiting {
                recipient.delivery = Delivery::Expired;
                failures.push(Failure {
                    recipient: recipient.address.clone(),
                    status: (4, 7),
                    text: format!("it was tried for five days; the last time: {}", recipient.last),
                });
            }
        }
    }

    fn keep_receipt(&self, id: Uuid, entry: &Outbound, receipt: &Receipt, change: &mut Change) {
        // Nobody asks what became of a report, and strangers decide how many there are (row Q09).
        let Some(sender) = &entry.sender else {
            return;
        };
        let key = format!("{RECEIPTS}{}/{id}/{}", user(sender), receipt.id);
        change.put(key, receipt);
        change.note(Event {
            act: Act::Receipt,
            parties: vec![sender.to_string(), receipt.issuer.to_string()],
            message_id: entry.message_id.clone(),
            resources: Vec::new(),
            evidence: receipt.token.clone(),
        });
    }
}

/// What it came to, when it came to something while a message of so many octets may be given.
async fn in_time<T>(octets: usize, giving: impl Future<Output = T>) -> Option<T> {
    let octets = Duration::from_secs((octets / SLOWEST) as u64);
    tokio::time::timeout(GIVING + octets, giving).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn q02_whoever_never_comes_to_an_end_is_left_after_a_quarter_of_an_hour() {
        let began = tokio::time::Instant::now();
        assert_eq!(in_time(70_000, std::future::pending::<()>()).await, None);
        assert!(began.elapsed() <= GIVING + Duration::from_secs(10), "a report");
        let slow = tokio::time::sleep(Duration::from_secs(3600));
        assert_eq!(
            in_time(limits::MESSAGE, slow).await,
            Some(()),
            "the largest message over a slow line"
        );
    }
}
