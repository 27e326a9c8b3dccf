//! Step 4 by the web channel: token 0, the message, and the signed receipt that comes back.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::address::Address;
use cargomail_protocol::channel::{self, Answer, Outcome};
use cargomail_protocol::grip::{Digest, Expectation, IssueError};
use cargomail_protocol::receipt::Receipt;
use http::{HeaderValue, Method, Request, StatusCode, header};

use super::ask::Reached;
use super::notify::authorization;
use super::outbound::Outbound;
use super::transmit::{Given, Tried};
use super::{Broker, BrokerError};

impl Broker {
    /// Gives a message to the recipients' broker.
    pub(super) async fn by_web(
        &self,
        entry: &Outbound,
        message: &Bytes,
        waiting: &[Address],
    ) -> Result<Tried, BrokerError> {
        let mut groups = VecDeque::from([waiting.to_vec()]);
        let mut results = Vec::new();
        let mut receipts = Vec::new();
        while let Some(group) = groups.pop_front() {
            let tried = match Box::pin(self.post(entry, message, &group)).await {
                Err(BrokerError::Issue(IssueError::TooLarge)) if group.len() > 1 => {
                    let half = group.len() / 2;
                    let (first, second) = group.split_at_checked(half).unwrap_or((&group, &[]));
                    groups.push_front(second.to_vec());
                    groups.push_front(first.to_vec());
                    continue;
                }
                tried => tried?,
            };
            match tried {
                Tried::Answered {
                    results: more,
                    receipts: kept,
                } => {
                    results.extend(more);
                    receipts.extend(kept);
                }
                // Some were decided already; the rest waits for the next try.
                _ if !results.is_empty() => break,
                tried => return Ok(tried),
            }
        }
        let decided = |address: &&Address| results.iter().any(|(other, _)| other == *address);
        let rest: Vec<Address> = waiting
            .iter()
            .filter(|address| !decided(address))
            .cloned()
            .collect();
        let later = |address| (address, Given::Later(None, "not tried yet".to_owned()));
        results.extend(rest.into_iter().map(later));
        Ok(Tried::Answered { results, receipts })
    }

    async fn post(&self, entry: &Outbound, message: &Bytes, group: &[Address]) -> Result<Tried, BrokerError> {
        let signer = &self.needs.signer;
        let digest = Digest::of(message);
        let reporter = channel::reporter(&self.options.domain);
        let sender = entry.sender.as_ref().unwrap_or(&reporter);
        let mut sent = String::new();
        let reached = self.ask(&entry.domain, || {
            let recipients = group.to_vec();
            sent = channel::token(
                signer.key(),
                sender,
                &entry.domain,
                recipients,
                digest,
                signer.stamp(),
            )?;
            let mut request = Request::new(Body::from(message.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = http::Uri::from_static(channel::PATH);
            let kind = HeaderValue::from_static(channel::MESSAGE_TYPE);
            request.headers_mut().insert(header::CONTENT_TYPE, kind);
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, authorization(&sent));
            Ok(request)
        });
        Ok(match reached.await? {
            Reached::Nowhere(why) => Tried::Nowhere(why),
            Reached::Away(why) => Tried::Away(why),
            Reached::Answer {
                status: StatusCode::OK,
                body,
                ..
            } => self.answered(entry, &sent, digest, &body).await?,
            Reached::Answer {
                status, retry_after, ..
            } => refused(status, retry_after),
        })
    }

    /// Reads the answer to a message, and believes its receipt only when the recipients' broker has signed it.
    async fn answered(
        &self,
        entry: &Outbound,
        sent: &str,
        digest: Digest,
        body: &[u8],
    ) -> Result<Tried, BrokerError> {
        let token = match Answer::parse(body) {
            Ok(Answer::Receipt(token)) => token,
            Ok(Answer::Refused(status)) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
                return Ok(refused(status, None));
            }
            Ok(Answer::Later(seconds)) => {
                let wait = Duration::from_secs(seconds.min(u64::from(Outcome::LONGEST_WAIT)));
                return Ok(Tried::Later(Some(wait), "it asks to come back later".to_owned()));
            }
            Err(error) => return Ok(Tried::Later(None, error.to_string())),
        };
        let own = self.options.domain.clone();
        let expectation = Expectation::channel_receipt(own, &entry.domain, sent, digest);
        let chain = match self.needs.verifier.verify(expectation, &token).await {
            Ok(chain) => chain,
            Err(error) => {
                tracing::warn!(message_id = %entry.message_id, step = "send", domain = %entry.domain, %error,
                    "a receipt is not believed");
                return Ok(Tried::Later(
                    None,
                    format!("its receipt is not believed: {error}"),
                ));
            }
        };
        let results = channel::results(&chain).into_iter().map(|(address, outcome)| {
            let given = match outcome {
                Outcome::Accepted => Given::Accepted,
                Outcome::Refused(code) => {
                    Given::Refused(code.parts(), format!("{} refused it", entry.domain))
                }
                Outcome::Later(seconds) => {
                    let wait = Duration::from_secs(seconds.into());
                    Given::Later(Some(wait), "it asks to come back later".to_owned())
                }
            };
            (address, given)
        });
        Ok(Tried::Answered {
            results: results.collect(),
            receipts: Receipt::of(&chain).into_iter().collect(),
        })
    }
}

/// What an answer without a receipt comes to.
fn refused(status: StatusCode, retry_after: Option<Duration>) -> Tried {
    let never = |code| {
        Tried::Never(
            code,
            format!("the recipients' broker refused the message (status {status})"),
        )
    };
    match status.as_u16() {
        413 => never((3, 4)),
        422 => never((6, 0)),
        507 => never((2, 2)),
        // Another service stands at the domain's name: a Resource Mailbox, for one.
        404 | 405 => Tried::Nowhere(format!("its server knows no web channel (status {status})")),
        // A key that one side is changing, or a clock that is wrong: the message is as good as before when that is over.
        401 => Tried::Later(
            retry_after,
            format!(
                "the recipients' broker does not believe this one's token (status {status}); is the key in the DNS, and the clock right?"
            ),
        ),
        408 | 425 | 429 => Tried::Later(retry_after, format!("the broker is busy (status {status})")),
        400..=499 => never((7, 1)),
        _ => Tried::Later(retry_after, format!("the broker failed (status {status})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_not_believed_now_is_no_refusal_of_the_message() {
        assert!(matches!(
            refused(StatusCode::UNAUTHORIZED, None),
            Tried::Later(None, _)
        ));
    }

    #[test]
    fn what_the_other_broker_will_never_take_is_not_tried_again() {
        for (status, code) in [(403, (7, 1)), (413, (3, 4)), (422, (6, 0)), (507, (2, 2))] {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            assert!(
                matches!(refused(status, None), Tried::Never(given, _) if given == code),
                "{status}"
            );
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_path_is_no_web_channel() {
        for status in [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED] {
            assert!(matches!(refused(status, None), Tried::Nowhere(_)), "{status}");
        }
    }

    #[test]
    fn what_is_asked_for_is_waited() {
        let wait = Some(Duration::from_secs(30));
        for status in [
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ] {
            assert!(matches!(refused(status, wait), Tried::Later(asked, _) if asked == wait));
        }
    }
}
