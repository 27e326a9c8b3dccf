//! Step 6, afterwards: the destination is asked how far it is until it has everything or never will.
//!
//! The message is in the User Mailbox already (step 8 does not wait for step 7). Here a token 1 is renewed before its end,
//! and a destination that changes its mind makes the broker ask the next one.

use std::time::Duration;

use axum::body::Body;
use cargomail_protocol::limits;
use cargomail_protocol::notification::{self, JobState, Reason};
use cargomail_protocol::queue::Tries;
use cargomail_protocol::timestamp::Timestamp;
use http::{Request, StatusCode};
use uuid::Uuid;

use super::ask::Reached;
use super::change::Change;
use super::inbound::{End, Inbound, Job, State, Wishes};
use super::notify::Told;
use super::queue::{Kind, Touch};
use super::work::After;
use super::{Broker, BrokerError};

/// How long after the end of the share an answer is still waited for.
const AFTERWARDS: Duration = Duration::from_secs(24 * 3600);
/// From the delivery to the first question, and between two questions at least.
const FIRST: Duration = Duration::from_secs(1);

/// What the destination says of its job.
enum Said {
    State(JobState),
    /// It knows no such job.
    Unknown,
    /// Nothing that can be used; whether it answered.
    Nothing(Touch, String),
}

impl Broker {
    /// From now on the job is followed.
    pub(super) fn begin_to_follow(&self, entry: &mut Inbound, end: Timestamp) {
        let now = self.now();
        entry.state = State::Follow;
        entry.tries = Tries::new(now, end.since(now) + AFTERWARDS);
        entry.tries.due = now.plus(FIRST);
    }

    pub(super) async fn follow(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
    ) -> Result<After, BrokerError> {
        let (Some(wishes), Some(job)) = (entry.wishes.clone(), entry.job.clone()) else {
            entry.state = State::Done(End::Unknown);
            return self
                .move_on(id, version, entry, Change::default(), Touch::Nothing)
                .await;
        };
        let Some(choice) = wishes.choice().cloned() else {
            entry.state = State::Done(End::Unknown);
            return self
                .move_on(id, version, entry, Change::default(), Touch::Nothing)
                .await;
        };
        let renewed = wishes.renews(&job).is_some_and(|when| when <= self.now());
        if renewed {
            self.renew(&mut entry, &wishes).await?;
        }
        let said = self.progress(&wishes, &job).await?;
        let mut change = Change::default();
        let destination = &choice.locator;
        let touch = match said {
            Said::State(state) if !state.is_final() => {
                tracing::debug!(message_id = %entry.message_id, step = "notify", %destination, ?state, "on its way");
                if self.ask_again(&mut entry) && !renewed {
                    // That nothing is new need not be durable: after a restart it is asked at once.
                    self.inbound.put(id, &entry.lane(), Kind::Mail, entry.tries.due);
                    return Ok(After(Touch::Answered));
                }
                Touch::Answered
            }
            Said::State(state) => {
                tracing::info!(message_id = %entry.message_id, step = "notify", recipient = %entry.recipient,
                    %destination, ?state, "the destination has finished");
                self.ended(&mut entry, state, &mut change).await?;
                Touch::Answered
            }
            // It has lost its job, or has never heard of it: told again, it begins again.
            Said::Unknown => {
                if self.ask_again(&mut entry) {
                    self.renew(&mut entry, &wishes).await?;
                }
                Touch::Answered
            }
            Said::Nothing(touch, why) => {
                tracing::debug!(message_id = %entry.message_id, step = "notify", %destination, why, "no answer");
                self.ask_again(&mut entry);
                touch
            }
        };
        self.move_on(id, version, entry, change, touch).await
    }

    /// Whether it will be asked again; else the entry has ended.
    fn ask_again(&self, entry: &mut Inbound) -> bool {
        let now = self.now();
        if now >= entry.tries.until {
            tracing::warn!(message_id = %entry.message_id, step = "notify", recipient = %entry.recipient,
                "the destination never said whether it has everything");
            entry.state = State::Done(End::Unknown);
            return false;
        }
        // Pauses grow with the age of the message, so that the questions need not be counted.
        let pause = now.since(entry.received) / 2;
        let due = now.plus(pause.clamp(FIRST, limits::BACKOFF_LONGEST));
        entry.tries.due = due.min(entry.tries.until);
        true
    }

    async fn ended(
        &self,
        entry: &mut Inbound,
        state: JobState,
        change: &mut Change,
    ) -> Result<(), BrokerError> {
        let (status, why) = match state {
            JobState::Stored => {
                entry.state = State::Done(End::Stored);
                return Ok(());
            }
            JobState::Refused {
                reason: reason @ (Reason::NoSuchUser | Reason::OverQuota | Reason::Policy),
            } => {
                let (status, why) = told(reason);
                self.next_choice(entry, status, why.to_owned());
                return Ok(());
            }
            JobState::Refused { reason } | JobState::Failed { reason } => told(reason),
            JobState::Expired => ((4, 7), "its share ended before everything had been retrieved"),
            JobState::Queued | JobState::Retrieving { .. } => return Ok(()),
        };
        let text = format!("the message was delivered, but not its content: {why}");
        self.tell_sender(entry, status, text, change).await?;
        entry.state = State::Done(End::NotRetrieved);
        Ok(())
    }

    /// Posts the same notification with a fresh token; the job stays what it is unless the destination says another.
    async fn renew(&self, entry: &mut Inbound, wishes: &Wishes) -> Result<(), BrokerError> {
        let Some(choice) = wishes.choice() else {
            return Ok(());
        };
        let octets = self.read(&wishes.notification).await?;
        match self
            .tell(&choice.locator, &entry.recipient, octets, wishes.expires)
            .await?
        {
            Told::Taken(job) => entry.job = Some(job),
            Told::Refused(_, why) | Told::Later(_, why) | Told::Away(why) => {
                tracing::warn!(message_id = %entry.message_id, step = "notify", destination = %choice.locator, why,
                    "a token could not be renewed");
            }
        }
        Ok(())
    }

    async fn progress(&self, wishes: &Wishes, job: &Job) -> Result<Said, BrokerError> {
        let Some(choice) = wishes.choice() else {
            return Ok(Said::Unknown);
        };
        if let Some(agent) = self.own_agent(&choice.locator) {
            return Ok(match agent.progress(&self.own, &job.name).await {
                Ok(state) => Said::State(state),
                Err(fault) => unsaid(fault.http()),
            });
        }
        let path = format!("{}/{}", notification::PATH, job.name);
        let uri = http::Uri::try_from(path).unwrap_or_default();
        let reached = self.ask(choice.locator.domain(), || {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = uri.clone();
            Ok(request)
        });
        Ok(match Box::pin(reached).await? {
            Reached::Nowhere(why) | Reached::Away(why) => Said::Nothing(Touch::Away, why),
            Reached::Answer {
                status: StatusCode::OK,
                body,
                ..
            } => match JobState::parse(&body) {
                Ok(state) => Said::State(state),
                Err(_) => Said::Nothing(Touch::Answered, "an answer that cannot be read".to_owned()),
            },
            Reached::Answer { status, .. } => unsaid(status.as_u16()),
        })
    }
}

/// What an answer means that tells no state.
fn unsaid(status: u16) -> Said {
    match status {
        404 => Said::Unknown,
        status => Said::Nothing(Touch::Answered, format!("status {status}")),
    }
}

/// What the sender is told of a job's end.
fn told(reason: Reason) -> ((u16, u16), &'static str) {
    match reason {
        Reason::NoSuchUser => ((1, 1), "the Resource Mailbox does not know the recipient"),
        Reason::OverQuota => ((2, 2), "the recipient's quota does not allow it"),
        Reason::Policy => ((7, 1), "the Resource Mailbox does not want it"),
        Reason::OriginRefused => ((7, 1), "the origin does not give it to this recipient"),
        Reason::OriginUnreachable => ((4, 1), "the origin could not be reached"),
        Reason::Unverifiable => ((6, 0), "what the origin sent does not fit what was announced"),
        Reason::Local => ((3, 0), "the Resource Mailbox failed"),
    }
}
