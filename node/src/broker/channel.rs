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
use bytes::{Bytes, BytesMut};
use cargomail_protocol::channel::{self, Answer, Batch};
use cargomail_protocol::fault::Faulty;
use cargomail_protocol::grip::{self, Digest, Expectation, Proved};
use cargomail_protocol::limits;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::SemaphorePermit;

use super::accept::{Arrival, Came, Over};
use super::{Broker, BrokerError, ROOM};
use crate::https::{self, HttpsError, refusal};

/// Room in memory that is taken until this is dropped.
type Room<'a> = SemaphorePermit<'a>;

impl Broker {
    /// What other brokers ask of this one; requests carry `Extension<Proved>`.
    pub fn grip_routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route(channel::PATH, post(messages))
            .with_state(self.clone())
    }

    async fn take(&self, peer: &Proved, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, BrokerError> {
        match media_type(headers) {
            channel::MESSAGE_TYPE => {
                let token = token(headers).ok_or(BrokerError::NoToken)?;
                let (message, _room) = self.prompt(body, limits::PLACEHOLDER).await?;
                let receipt = self.take_one(peer, token, message).await?;
                Ok(Answer::Receipt(receipt).to_bytes())
            }
            channel::BATCH_TYPE => {
                let (octets, _room) = self.prompt(body, limits::BATCH_SIZE).await?;
                let batch = Batch::parse(&octets)?;
                drop(octets);
                // All at once, so that they become durable together.
                let taken = batch.into_parcels().into_iter().map(|parcel| async move {
                    match self.take_one(peer, &parcel.token, parcel.message.into()).await {
                        Ok(receipt) => Answer::Receipt(receipt),
                        Err(error) => {
                            note(peer, &error);
                            Answer::of(error.fault())
                        }
                    }
                });
                let answers = futures::future::join_all(taken).await;
                Ok(Answer::list_to_bytes(&answers))
            }
            _ => Err(BrokerError::Request(
                "the media type is not one that is taken here",
            )),
        }
    }

    /// The body of another broker's request, when it is neither too large nor too slow, and its room in memory. That is taken as
    /// the octets come: who only announces them keeps nobody else out.
    async fn prompt(&self, body: Body, limit: usize) -> Result<(Bytes, Option<Room<'_>>), BrokerError> {
        tokio::time::timeout(limits::BODY, self.gather(body, limit))
            .await
            .map_err(|_| BrokerError::Unfinished)?
    }

    async fn gather(&self, mut body: Body, limit: usize) -> Result<(Bytes, Option<Room<'_>>), BrokerError> {
        if body.size_hint().lower() > limit as u64 {
            return Err(BrokerError::TooLarge(limit));
        }
        let mut octets = BytesMut::new();
        let mut room: Option<Room<'_>> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BrokerError::Unfinished)?;
            let Ok(more) = frame.into_data() else { continue };
            let length = octets.len() + more.len();
            if length > limit {
                return Err(BrokerError::TooLarge(limit));
            }
            let pages = length.div_ceil(ROOM) - octets.len().div_ceil(ROOM);
            if pages > 0 {
                let more = self.room(pages).await?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
            octets.extend_from_slice(&more);
        }
        Ok((octets.freeze(), room))
    }

    /// Waits for so many pages of room. Whoever waits holds what the connection's windows let in.
    async fn room(&self, pages: usize) -> Result<Room<'_>, BrokerError> {
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        match tokio::time::timeout(limits::ROOM_WAIT, self.judging.acquire_many(pages)).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(BrokerError::Busy),
        }
    }

    /// Takes one message; its receipt.
    async fn take_one(&self, peer: &Proved, token: &str, message: Bytes) -> Result<String, BrokerError> {
        let audience = vec![self.options.domain.clone()];
        let expectation = Expectation::channel(audience, peer.clone(), Digest::of(&message));
        let (chain, uses) = self.needs.verifier.verify_unused(expectation, token).await?;
        let arrival = Arrival {
            message,
            sender: Some(chain.subject().clone()),
            came: Came::Channel {
                issuer: chain.issuer().clone(),
                over: match peer {
                    Proved::Peer { .. } => Over::Stream,
                    _ => Over::Https,
                },
            },
        };
        let recipients = chain.token().claims().recipients();
        let outcomes = self.accept(arrival, recipients, Some(uses)).await?;
        let signer = &self.needs.signer;
        Ok(channel::receipt(signer.key(), &chain, outcomes, signer.stamp())?)
    }
}

async fn messages(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Proved>,
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
fn note(peer: &Proved, error: &BrokerError) {
    tracing::info!(%peer, %error, step = "accept", "a message was not taken");
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

/// The body of a request, when it is not too large.
pub(super) async fn bounded(body: Body, limit: usize) -> Result<Bytes, BrokerError> {
    https::read(body, limit).await.map_err(|error| match error {
        HttpsError::TooLarge { limit } => BrokerError::TooLarge(limit),
        _ => BrokerError::Unfinished,
    })
}
