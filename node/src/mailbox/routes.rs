//! The paths of the Resource Mailbox: those for brokers and those for people.
//!
//! What always holds: a stranger is told a status and nothing else, a user what to do about it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use cargomail_protocol::grip::Proved;
use cargomail_protocol::limits;
use cargomail_protocol::notification;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::delete::Shares;
use super::notified::{body_of, check_media_type, not_taken, not_told};
use super::{Mailbox, MailboxError};
use crate::accounts::Caller;
use crate::api::NewShare;
use crate::https::{explanation, refusal};

impl Mailbox {
    /// What brokers ask, on the faces for other nodes; requests carry `Extension<Proved>`.
    pub fn grip_routes(self: &Arc<Self>) -> Router {
        let one = format!("{}/{{job}}", notification::PATH);
        Router::new()
            .route(notification::PATH, post(notify))
            .route(&one, get(progress))
            .with_state(self.clone())
    }

    /// What people's programs ask, behind the door; requests carry `Extension<Caller>`.
    pub fn user_routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/api/v1/resources", get(list_resources).post(post_resource))
            .route(
                "/api/v1/resources/{cid}",
                get(read_resource).delete(delete_resource),
            )
            .route("/api/v1/resources/{cid}/why", get(why_resource))
            .route("/api/v1/usage", get(usage))
            .route("/api/v1/shares", get(list_shares).post(make_share))
            .route("/api/v1/shares/{id}/revoke", post(revoke_share))
            .route("/api/v1/retrievals", get(list_retrievals))
            .route("/api/v1/retrievals/{job}", delete(cancel_retrieval))
            .with_state(self.clone())
    }
}

type Place = State<Arc<Mailbox>>;
type Peer = Option<Extension<Proved>>;
type User = Extension<Caller>;

async fn notify(State(mailbox): Place, peer: Peer, headers: HeaderMap, body: Body) -> Response {
    let peer = peer.as_ref().map(|Extension(peer)| peer);
    match mailbox.notified(peer, &headers, body).await {
        Ok(taken) => (StatusCode::ACCEPTED, Json(taken)).into_response(),
        Err(error) => refusal(not_taken(peer, &error)),
    }
}

async fn progress(State(mailbox): Place, peer: Peer, Path(job): Path<String>) -> Response {
    let peer = peer.as_ref().map(|Extension(peer)| peer);
    match mailbox.progress(peer, &job).await {
        Ok(state) => (
            [(header::CONTENT_TYPE, notification::MEDIA_TYPE)],
            state.to_bytes(),
        )
            .into_response(),
        Err(error) => refusal(not_told(&error)),
    }
}

/// What a user is answered.
fn answer(outcome: Result<Response, MailboxError>) -> Response {
    outcome.unwrap_or_else(|error| explanation(&error))
}

/// Which of what one holds is listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    after: Option<String>,
    limit: Option<usize>,
}

async fn list_resources(
    State(mailbox): Place,
    Extension(Caller(caller)): User,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Response {
    let Query(listing) = match listing {
        Ok(listing) => listing,
        Err(rejection) => return answer(Err(MailboxError::Body(rejection.body_text()))),
    };
    let held = mailbox
        .listed(&caller, listing.after.as_deref(), listing.limit)
        .await;
    answer(held.map(|held| Json(held).into_response()))
}

/// How something is deleted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deleting {
    #[serde(default)]
    force: bool,
}

async fn delete_resource(
    State(mailbox): Place,
    Extension(Caller(caller)): User,
    Path(cid): Path<String>,
    how: Result<Query<Deleting>, QueryRejection>,
) -> Response {
    let shares = match how {
        Ok(Query(Deleting { force: true })) => Shares::TakenBack,
        Ok(Query(Deleting { force: false })) => Shares::Respected,
        Err(rejection) => return answer(Err(MailboxError::Body(rejection.body_text()))),
    };
    let deleted = mailbox.delete(&caller, &cid, shares).await;
    answer(deleted.map(|deleted| Json(deleted).into_response()))
}

async fn why_resource(
    State(mailbox): Place,
    Extension(Caller(caller)): User,
    Path(cid): Path<String>,
) -> Response {
    let why = mailbox.why(&caller, &cid).await;
    answer(why.map(|why| Json(why).into_response()))
}

async fn usage(State(mailbox): Place, Extension(Caller(caller)): User) -> Response {
    let usage = mailbox.usage(&caller).await;
    answer(usage.map(|usage| Json(usage).into_response()))
}

async fn post_resource(
    State(mailbox): Place,
    Extension(Caller(caller)): User,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let posted = mailbox.post(&caller, announced, body).await;
    answer(posted.map(|posted| (StatusCode::CREATED, Json(posted)).into_response()))
}

async fn read_resource(
    State(mailbox): Place,
    Extension(Caller(caller)): User,
    Path(cid): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(mailbox.read(&caller, &cid, &headers).await)
}

async fn make_share(
    State(mailbox): Place,
    Extension(Caller(caller)): User,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let made = async {
        check_media_type(&headers, "application/json")?;
        let octets = body_of(body, limits::SHARE).await?;
        let new: NewShare =
            serde_json::from_slice(&octets).map_err(|error| MailboxError::Body(error.to_string()))?;
        mailbox.share(&caller, new).await
    };
    answer(
        made.await
            .map(|view| (StatusCode::CREATED, Json(view)).into_response()),
    )
}

async fn list_shares(State(mailbox): Place, Extension(Caller(caller)): User) -> Response {
    answer(
        mailbox
            .shares(&caller)
            .await
            .map(|views| Json(views).into_response()),
    )
}

async fn revoke_share(
    State(mailbox): Place,
    Extension(Caller(caller)): User,
    Path(id): Path<String>,
) -> Response {
    answer(
        mailbox
            .revoke(&caller, &id)
            .await
            .map(|view| Json(view).into_response()),
    )
}

/// Which retrievals are listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retrievals {
    message_id: Option<String>,
}

async fn list_retrievals(
    State(mailbox): Place,
    Extension(Caller(caller)): User,
    which: Result<Query<Retrievals>, QueryRejection>,
) -> Response {
    let Query(which) = match which {
        Ok(which) => which,
        Err(rejection) => return answer(Err(MailboxError::Body(rejection.body_text()))),
    };
    let list = mailbox.retrievals(&caller, which.message_id.as_deref()).await;
    answer(list.map(|list| Json(list).into_response()))
}

async fn cancel_retrieval(
    State(mailbox): Place,
    Extension(Caller(caller)): User,
    Path(job): Path<String>,
) -> Response {
    let cancelled = mailbox.cancel(&caller, &job).await;
    answer(cancelled.map(|retrieval| Json(retrieval).into_response()))
}
