//! What people's programs ask of the broker: send, read, delete, wish, and look at the queue (shapes in [`crate::api`]).
//!
//! Not here: who the caller is, which the door has settled. What always holds: every key that is read begins with the
//! caller's own address, so somebody else's message is not there (row H05).

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use cargomail_protocol::limits;
use cargomail_protocol::routing::Preferences;
use futures::Stream;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::channel::bounded;
use super::inbound::Folder;
use super::{Broker, BrokerError};
use crate::accounts::{Caller, During};
use crate::api::{AskedDomains, NewMessage};
use crate::https::explanation;

/// A message in base64, with its envelopes; or a placeholder and an ordinary one.
const SUBMISSION: usize = (limits::MESSAGE + limits::PLACEHOLDER) / 3 * 4 + limits::SHARE_RECIPIENTS * 400;
/// Domains in JSON.
const DOMAINS: usize = limits::SHARE_RECIPIENTS * (limits::NAME_INPUT + 8);
/// Preferences in JSON: names and numbers for [`limits::ROUTES`] rules and defaults.
const PREFERENCES: usize = limits::ROUTES * 2 * 1024;
/// Messages on a page when nobody says how many.
const PAGE: usize = 50;

/// Which messages are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    folder: Option<String>,
    after: Option<Uuid>,
    limit: Option<usize>,
}

impl Broker {
    /// What people's programs ask, behind the door.
    pub fn user_routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/api/v1/domains", post(domains))
            .route("/api/v1/messages", get(list).post(submit))
            .route("/api/v1/messages/{id}", get(read).delete(delete))
            .route("/api/v1/usage/messages", get(usage))
            .route("/api/v1/preferences", get(preferences).put(set_preferences))
            .route("/api/v1/queue", get(queue))
            .route("/api/v1/events", get(events))
            .with_state(self.clone())
    }
}

/// A JSON object; a list that would pass for one is none.
fn object<T: DeserializeOwned>(octets: &[u8]) -> Option<T> {
    let object = octets.trim_ascii_start().starts_with(b"{");
    object.then(|| serde_json::from_slice(octets).ok()).flatten()
}

fn answer<T: IntoResponse>(outcome: Result<T, BrokerError>) -> Response {
    match outcome {
        Ok(value) => value.into_response(),
        Err(error) => explanation(&error),
    }
}

async fn domains(State(broker): State<Arc<Broker>>, body: Body) -> Response {
    let known = async {
        let octets = bounded(body, DOMAINS).await?;
        let asked: AskedDomains =
            object(&octets).ok_or(BrokerError::Request("the body is not the JSON of domains"))?;
        broker.domains(asked.domains).await.map(Json)
    };
    answer(known.await)
}

async fn submit(
    State(broker): State<Arc<Broker>>,
    Extension(Caller(caller)): Extension<Caller>,
    body: Body,
) -> Response {
    let submitted = async {
        let octets = bounded(body, SUBMISSION).await?;
        let new: NewMessage = object(&octets).ok_or(BrokerError::Request(
            "the body is not the JSON of a message to send",
        ))?;
        drop(octets);
        let queued = broker.submit(&caller, new).await?;
        Ok((StatusCode::ACCEPTED, Json(queued)))
    };
    answer(submitted.await)
}

async fn list(
    State(broker): State<Arc<Broker>>,
    Extension(Caller(caller)): Extension<Caller>,
    Query(listing): Query<Listing>,
) -> Response {
    let listed = async {
        let name = listing.folder.as_deref().unwrap_or("inbox");
        let folder = Folder::named(name).ok_or(BrokerError::Request("a folder is inbox, sent or junk"))?;
        let limit = listing.limit.unwrap_or(PAGE);
        let messages = broker.messages(&caller, folder, listing.after, limit).await?;
        Ok(Json(messages))
    };
    answer(listed.await)
}

async fn read(
    State(broker): State<Arc<Broker>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let found = async {
        let id = Uuid::parse_str(&id).map_err(|_| BrokerError::NotFound)?;
        let kept = broker.message(&caller, id).await?;
        let octets = broker.read(&kept.octets).await?;
        let headers = [
            (header::CONTENT_TYPE, "message/rfc822"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                header::CONTENT_DISPOSITION,
                "attachment; filename=\"message.eml\"",
            ),
        ];
        Ok((
            headers.map(|(name, value)| (name, HeaderValue::from_static(value))),
            octets,
        ))
    };
    answer(found.await)
}

async fn delete(
    State(broker): State<Arc<Broker>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let deleted = async {
        let id = Uuid::parse_str(&id).map_err(|_| BrokerError::NotFound)?;
        broker.delete(&caller, id).await.map(Json)
    };
    answer(deleted.await)
}

async fn usage(State(broker): State<Arc<Broker>>, Extension(Caller(caller)): Extension<Caller>) -> Response {
    let usage = broker.messages_usage(&caller).await;
    answer(usage.map(Json).map_err(BrokerError::from))
}

async fn preferences(
    State(broker): State<Arc<Broker>>,
    Extension(Caller(caller)): Extension<Caller>,
) -> Response {
    answer(broker.preferences(&caller).await.map(Json))
}

async fn set_preferences(
    State(broker): State<Arc<Broker>>,
    Extension(Caller(caller)): Extension<Caller>,
    body: Body,
) -> Response {
    let set = async {
        let octets = bounded(body, PREFERENCES).await?;
        let wishes: Preferences =
            object(&octets).ok_or(BrokerError::Request("the body is not the JSON of preferences"))?;
        broker.set_preferences(&caller, &wishes).await?;
        Ok(Json(wishes))
    };
    answer(set.await)
}

async fn queue(State(broker): State<Arc<Broker>>, Extension(Caller(caller)): Extension<Caller>) -> Response {
    let queued = broker.queue_of(Some(&caller)).await;
    answer(queued.map(Json).map_err(BrokerError::from))
}

/// Server-sent events: `message`, with the JSON of [`crate::api::Message`], for each that came or changed; `missed`, when
/// the subscriber was too slow for some and has to list again. It ends with the session, before anything more is told.
async fn events(
    State(broker): State<Arc<Broker>>,
    Extension(caller): Extension<Caller>,
    Extension(during): Extension<During>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let arrivals = broker.arrivals.subscribe();
    let stream = futures::stream::unfold(
        (broker, caller, during, arrivals),
        async |(broker, caller, during, mut arrivals)| {
            loop {
                let event = match arrivals.recv().await {
                    Ok((whose, id)) if whose == caller.0 => match broker.message(&whose, id).await {
                        Ok(kept) => Event::default().event("message").json_data(kept.view).ok(),
                        Err(_) => None,
                    },
                    Ok(_) => None,
                    Err(RecvError::Lagged(_)) => Some(Event::default().event("missed").data("")),
                    Err(RecvError::Closed) => return None,
                };
                if let Some(event) = event {
                    if during.is_over().await {
                        return None;
                    }
                    return Some((Ok(event), (broker, caller, during, arrivals)));
                }
            }
        },
    );
    Sse::new(stream).keep_alive(KeepAlive::default())
}
