//! Step 5 by the web channel: `POST /grip/v1/messages` (`spec/channel.md`).
//!
//! Not here: what is done with a message ([`super::accept`]). What always holds: no octet of a message is acted on before
//! its token 0 is believed, and no answer of success goes out before the message is durable.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use cargomail_protocol::channel::{self, Answer, Batch};
use cargomail_protocol::fault::Faulty;
use cargomail_protocol::grip::{self, Digest, Expectation, KeyHash, Proved, VerifiedChain};
use cargomail_protocol::limits;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::accept::{Arrival, Came};
use super::{Broker, BrokerError};
use crate::https::{self, HttpsError, PeerCertificate, refusal};

impl Broker {
    /// What other brokers ask of this one, behind mutual TLS.
    pub fn grip_routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route(channel::PATH, post(messages))
            .with_state(self.clone())
    }

    async fn take(
        &self,
        peer: &PeerCertificate,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Vec<u8>, BrokerError> {
        let _place = self.judging.try_acquire().map_err(|_| BrokerError::Busy)?;
        match media_type(headers) {
            channel::MESSAGE_TYPE => {
                let token = token(headers).ok_or(BrokerError::NoToken)?;
                let message = prompt(body, limits::PLACEHOLDER).await?;
                let receipt = self.take_one(peer, token, message).await?;
                Ok(Answer::Receipt(receipt).to_bytes())
            }
            channel::BATCH_TYPE => {
                let octets = prompt(body, limits::BATCH_SIZE).await?;
                let batch = Batch::parse(&octets)?;
                drop(octets);
                let mut answers = Vec::with_capacity(batch.parcels().len());
                for parcel in batch.into_parcels() {
                    let taken = self.take_one(peer, &parcel.token, parcel.message.into());
                    answers.push(match taken.await {
                        Ok(receipt) => Answer::Receipt(receipt),
                        Err(error) => {
                            note(peer, &error);
                            Answer::of(error.fault())
                        }
                    });
                }
                Ok(Answer::list_to_bytes(&answers))
            }
            _ => Err(BrokerError::Request(
                "the media type is not one that is taken here",
            )),
        }
    }

    /// Takes one message; its receipt.
    async fn take_one(
        &self,
        peer: &PeerCertificate,
        token: &str,
        message: Bytes,
    ) -> Result<String, BrokerError> {
        let proved = Proved::Certificate {
            key: KeyHash::of_spki(&peer.spki),
            name: peer.cn.clone(),
        };
        let audience = vec![self.options.domain.clone()];
        let expectation = Expectation::channel(audience, proved, Digest::of(&message));
        let chain: VerifiedChain = self.needs.verifier.verify(expectation, token).await?;
        let arrival = Arrival {
            message,
            sender: Some(chain.subject().clone()),
            came: Came::Channel(chain.issuer().clone()),
        };
        let outcomes = self.accept(arrival, chain.token().claims().recipients()).await?;
        let signer = &self.needs.signer;
        Ok(channel::receipt(signer.key(), &chain, outcomes, signer.stamp())?)
    }
}

async fn messages(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<PeerCertificate>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match broker.take(&peer, &headers, body).await {
        Ok(answer) => {
            let json = HeaderValue::from_static(channel::ANSWER_TYPE);
            (StatusCode::OK, [(header::CONTENT_TYPE, json)], answer).into_response()
        }
        Err(error) => {
            note(&peer, &error);
            refusal(error.fault())
        }
    }
}

/// The named error goes to the log; the stranger learns less.
fn note(peer: &PeerCertificate, error: &BrokerError) {
    tracing::info!(peer = %peer.cn.escape_debug(), %error, step = "accept", "a message was not taken");
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.split(';').next())
        .map(str::trim)
        .unwrap_or_default()
}

fn token(headers: &HeaderMap) -> Option<&str> {
    grip::token_in(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The body of another broker's request, when it is neither too large nor too slow.
async fn prompt(body: Body, limit: usize) -> Result<Bytes, BrokerError> {
    let late = |_| BrokerError::Request("the body took too long");
    tokio::time::timeout(limits::BODY, bounded(body, limit))
        .await
        .map_err(late)?
}

/// The body of a request, when it is not too large.
pub(super) async fn bounded(body: Body, limit: usize) -> Result<Bytes, BrokerError> {
    https::read(body, limit).await.map_err(|error| match error {
        HttpsError::TooLarge { limit } => BrokerError::TooLarge(limit),
        _ => BrokerError::Request("the body broke off"),
    })
}
