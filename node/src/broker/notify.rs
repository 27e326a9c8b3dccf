//! Step 6: the chosen destination's agent is told of the resources, with token 1 (`spec/notification.md`).
//!
//! A destination in this same process is told the same octets with the same token, and makes the same checks; only the way there and the
//! look-up of its server are left out. What always holds: every destination and every try of one entry
//! is given the same octets, because they follow from the message and the time at which it came; a destination that refuses for
//! good is not asked again, the next choice is. Where the machine fails between an answer and the commit that notes it, the
//! destination is told again, and answers with the same job.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::grip::{self, Digest};
use cargomail_protocol::limits;
use cargomail_protocol::notification::{self, Taken};
use cargomail_protocol::queue::{Next, Tries};
use cargomail_protocol::timestamp::Timestamp;
use http::{Method, Request, StatusCode, header};
use uuid::Uuid;

use super::ask::Reached;
use super::change::Change;
use super::inbound::{End, Inbound, Job, Refusal, State, Wishes};
use super::queue::Touch;
use super::report::{Failure, Notice};
use super::work::After;
use super::{Broker, BrokerError};

/// A token 1 is renewed so long before its end: a day, in milliseconds.
const RENEWED_BEFORE: u64 = 24 * 3600 * 1000;

/// What a destination said to a notification.
pub(super) enum Told {
    /// The job is durable there.
    Taken(Job),
    /// Never; status and reason.
    Refused((u16, u16), String),
    /// Not now.
    Later(Option<Duration>, String),
    /// Nobody was there.
    Away(String),
}

impl Broker {
    pub(super) async fn notify(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
    ) -> Result<After, BrokerError> {
        let now = self.now();
        let Some(wishes) = &entry.wishes else {
            return self
                .refuse(id, version, entry, (3, 0), "its route was lost")
                .await;
        };
        if now >= wishes.expires {
            return self
                .none_left(id, version, entry, Some("the time of its share is over"))
                .await;
        }
        let Some(choice) = wishes.choice().cloned() else {
            return self.none_left(id, version, entry, None).await;
        };
        let octets = self.read(&wishes.notification).await?;
        let expires = wishes.expires;
        let told = self
            .tell(&choice.locator, &entry.recipient, octets, expires)
            .await?;
        let destination = &choice.locator;
        let (touch, refused) = match told {
            Told::Taken(job) => {
                tracing::info!(message_id = %entry.message_id, step = "notify", recipient = %entry.recipient,
                    %destination, job = job.name, "the destination has taken it");
                entry.job = Some(job);
                entry.state = State::Deliver;
                entry.tries = Tries::new(now, limits::SENDING);
                return self.go_on_to_deliver(id, version, entry, Touch::Answered).await;
            }
            Told::Refused(status, why) => (Touch::Answered, Some((status, why))),
            Told::Later(asked, why) => (Touch::Answered, self.again(&mut entry, asked, why, destination)),
            Told::Away(why) => (Touch::Away, self.again(&mut entry, None, why, destination)),
        };
        if let Some((status, why)) = refused {
            tracing::info!(message_id = %entry.message_id, step = "notify", recipient = %entry.recipient,
                %destination, why, "the destination does not take it; the next choice is asked");
            self.next_choice(&mut entry, status, why);
        }
        self.move_on(id, version, entry, Change::default(), touch).await
    }

    /// Waits for another try; a refusal when its time is over.
    fn again(
        &self,
        entry: &mut Inbound,
        asked: Option<Duration>,
        why: String,
        destination: &Locator,
    ) -> Option<((u16, u16), String)> {
        match entry.tries.failed(self.now(), asked, self.random()) {
            Next::At(due) => {
                tracing::warn!(message_id = %entry.message_id, step = "notify", recipient = %entry.recipient,
                    %destination, why, failed = entry.tries.failed, %due, "the destination could not be told yet");
                None
            }
            Next::GiveUp => Some(((4, 1), why)),
        }
    }

    /// Passes on to the next choice.
    pub(super) fn next_choice(&self, entry: &mut Inbound, status: (u16, u16), why: String) {
        let now = self.now();
        if let Some(wishes) = &mut entry.wishes {
            if let Some(choice) = wishes.choice() {
                let locator = choice.locator.clone();
                wishes.refused.push(Refusal { locator, status, why });
            }
            wishes.at += 1;
            entry.tries = Tries::new(now, limits::SENDING.min(wishes.expires.since(now)));
        }
        entry.job = None;
        entry.state = State::Notify;
    }

    /// Posts a notification to the agent of a locator, with a fresh token 1.
    pub(super) async fn tell(
        &self,
        locator: &Locator,
        recipient: &Address,
        octets: Bytes,
        expires: Timestamp,
    ) -> Result<Told, BrokerError> {
        let digest = Digest::of(&octets);
        let signer = &self.needs.signer;
        let mut token_until = self.now();
        let mut token = || {
            let stamp = signer.stamp();
            token_until = expires.min(stamp.now.plus(limits::NOTIFY_TOKEN_LIFE));
            notification::token(signer.key(), recipient, locator, digest, expires, stamp)
        };
        if let Some(agent) = self.own_agent(locator) {
            let told = agent.notify(&self.own, &token()?, octets).await;
            return Ok(match told {
                Ok(taken) => Told::taken(taken, token_until),
                Err(fault) => declined(fault.http(), fault.retry_after()),
            });
        }
        let reached = self.ask(locator.domain(), || {
            let token = token()?;
            let mut request = Request::new(Body::from(octets.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = http::Uri::from_static(notification::PATH);
            let headers = request.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                http::HeaderValue::from_static(notification::MEDIA_TYPE),
            );
            headers.insert(header::AUTHORIZATION, authorization(&token));
            Ok(request)
        });
        Ok(match Box::pin(reached).await? {
            Reached::Nowhere(why) => Told::Refused((4, 4), why),
            Reached::Away(why) => Told::Away(why),
            Reached::Answer {
                status,
                retry_after,
                body,
            } => judged(status, retry_after, &body, token_until),
        })
    }

    /// No destination takes the resources, or none can any more: the sender is told. A message that was delivered already
    /// stays, and names no destination any more.
    async fn none_left(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
        why: Option<&str>,
    ) -> Result<After, BrokerError> {
        let refused = entry
            .wishes
            .as_ref()
            .map(|wishes| wishes.refused.as_slice())
            .unwrap_or_default();
        let status = refused.last().map_or((4, 7), |refusal| refusal.status);
        let told: Vec<String> = refused
            .iter()
            .map(|refusal| format!("{}: {}", refusal.locator, refusal.why))
            .chain(why.map(str::to_owned))
            .collect();
        let text = format!(
            "no Resource Mailbox of the recipient takes its content ({})",
            told.join("; ")
        );
        if entry.delivered.is_none() {
            return self.refuse(id, version, entry, status, &text).await;
        }
        let mut change = Change::default();
        self.redirect(&entry, None, &mut change).await?;
        self.tell_sender(&entry, status, text, &mut change).await?;
        entry.state = State::Done(End::NotRetrieved);
        self.move_on(id, version, entry, change, Touch::Nothing).await
    }

    /// Ends an entry without delivering it; the sender is told why.
    pub(super) async fn refuse(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
        status: (u16, u16),
        why: &str,
    ) -> Result<After, BrokerError> {
        tracing::info!(message_id = %entry.message_id, step = "route", recipient = %entry.recipient, why,
            "not delivered");
        let mut change = Change::default();
        self.tell_sender(&entry, status, why.to_owned(), &mut change)
            .await?;
        entry.state = State::Done(End::Refused);
        self.move_on(id, version, entry, change, Touch::Nothing).await
    }

    /// A report to the sender of an entry, if there is one to tell.
    pub(super) async fn tell_sender(
        &self,
        entry: &Inbound,
        status: (u16, u16),
        text: String,
        change: &mut Change,
    ) -> Result<(), BrokerError> {
        let original = match self.read(&entry.message).await {
            Ok(octets) => Some(octets),
            Err(error) => {
                tracing::error!(message_id = %entry.message_id, step = "report", %error, "reported without the header");
                None
            }
        };
        let notice = Notice {
            to: entry.report_to.clone(),
            message_id: &entry.message_id,
            original,
            arrived: entry.received,
            failures: vec![Failure {
                recipient: entry.recipient.clone(),
                status,
                text,
            }],
        };
        self.report(notice, change).await
    }
}

impl Wishes {
    /// When the agent's token should be renewed: a day before its end, unless the share ends with it.
    pub(super) fn renews(&self, job: &Job) -> Option<Timestamp> {
        let early = job.token_until.millis().saturating_sub(RENEWED_BEFORE);
        (job.token_until < self.expires).then(|| Timestamp::from_millis(early))
    }
}

/// The value of an `Authorization` field; a compact JWS is always one.
pub(super) fn authorization(token: &str) -> http::HeaderValue {
    let mut value = http::HeaderValue::try_from(grip::authorization(token))
        .expect("base64url and dots may stand in a header field");
    value.set_sensitive(true);
    value
}

impl Told {
    fn taken(taken: Taken, token_until: Timestamp) -> Self {
        Self::Taken(Job {
            name: taken.job,
            token_until,
        })
    }
}

fn judged(status: StatusCode, retry_after: Option<Duration>, body: &[u8], token_until: Timestamp) -> Told {
    match status {
        StatusCode::ACCEPTED => match Taken::parse(body) {
            Ok(taken) => Told::taken(taken, token_until),
            Err(_) => Told::Later(None, "an answer that cannot be read".to_owned()),
        },
        status => declined(status.as_u16(), retry_after),
    }
}

/// What every other status means.
fn declined(status: u16, retry_after: Option<Duration>) -> Told {
    let refused = |status: (u16, u16), why: &str| Told::Refused(status, why.to_owned());
    match status {
        404 => refused((1, 1), "it does not know the recipient"),
        413 => refused((3, 4), "the content is too large for it"),
        422 => refused((6, 0), "it does not understand the notification"),
        507 => refused((2, 2), "the recipient's quota does not allow it"),
        // A key that one side is changing, or a clock that is wrong: that passes, where it says so.
        401 if retry_after.is_some() => Told::Later(
            retry_after,
            "it does not believe this broker's token (status 401); is the key in the DNS, and the clock right?".to_owned(),
        ),
        408 | 425 | 429 => Told::Later(retry_after, format!("it is busy (status {status})")),
        400..=499 => refused((7, 1), "it refuses"),
        _ => Told::Later(retry_after, format!("it failed (status {status})")),
    }
}
