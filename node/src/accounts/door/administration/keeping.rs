//! The administrator's paths about what is kept: collections, why a block is kept, legal holds.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::share::parse_root;
use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::super::{Administrator, Guard, unread};
use super::note;
use crate::api::NewHold;
use crate::https::explanation;
use crate::keeping::Mode;

/// The path names nothing.
#[derive(Debug, thiserror::Error)]
enum Misnamed {
    #[error("{0:?} is not the CID of a block")]
    Block(String),
    #[error("{0:?} is not the name of a legal hold, which is a UUID")]
    Hold(String),
}

impl Faulty for Misnamed {
    fn fault(&self) -> Fault {
        Fault::Malformed
    }
}

pub(super) fn routes() -> Router<Arc<Guard>> {
    Router::new()
        .route("/api/v1/admin/collection", get(collection).post(collect))
        .route("/api/v1/admin/why/{cid}", get(why))
        .route("/api/v1/admin/holds", get(holds).post(place))
        .route("/api/v1/admin/holds/{id}/release", post(release))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Collecting {
    #[serde(default)]
    dry_run: bool,
}

async fn collect(
    _: Extension<Administrator>,
    State(guard): State<Arc<Guard>>,
    how: Result<Query<Collecting>, QueryRejection>,
) -> Response {
    let mode = match how {
        Ok(Query(Collecting { dry_run: true })) => Mode::Dry,
        Ok(Query(Collecting { dry_run: false })) => Mode::Brisk,
        Err(rejection) => {
            let text = serde_json::json!({ "error": rejection.body_text() });
            return (rejection.status(), Json(text)).into_response();
        }
    };
    let collector = &guard.door.collector;
    match collector.ask(mode) {
        Ok(()) => (StatusCode::ACCEPTED, Json(collector.view())).into_response(),
        Err(error) => explanation(&error),
    }
}

async fn collection(_: Extension<Administrator>, State(guard): State<Arc<Guard>>) -> Response {
    Json(guard.door.collector.view()).into_response()
}

/// It shows who has what, so it is noted.
async fn why(
    _: Extension<Administrator>,
    State(guard): State<Arc<Guard>>,
    Path(cid): Path<String>,
) -> Response {
    let Ok(block) = parse_root(&cid) else {
        return explanation(&Misnamed::Block(cid));
    };
    if let Err(error) = note(&guard, "why", Some(cid)).await {
        return explanation(&error);
    }
    match guard.door.collector.why(&block).await {
        Ok(why) => Json(why).into_response(),
        Err(error) => explanation(&error),
    }
}

async fn holds(_: Extension<Administrator>, State(guard): State<Arc<Guard>>) -> Response {
    match guard.door.holds.list().await {
        Ok(holds) => Json(holds).into_response(),
        Err(error) => explanation(&error),
    }
}

async fn place(
    _: Extension<Administrator>,
    State(guard): State<Arc<Guard>>,
    new: Result<Json<NewHold>, JsonRejection>,
) -> Response {
    let Json(new) = match new {
        Ok(new) => new,
        Err(rejection) => return unread(&rejection),
    };
    match guard.door.holds.place(new.subject, &new.reason).await {
        Ok(hold) => (StatusCode::CREATED, Json(hold)).into_response(),
        Err(error) => explanation(&error),
    }
}

async fn release(
    _: Extension<Administrator>,
    State(guard): State<Arc<Guard>>,
    Path(id): Path<String>,
) -> Response {
    let Ok(id) = id.parse::<Uuid>() else {
        return explanation(&Misnamed::Hold(id));
    };
    match guard.door.holds.release(id).await {
        Ok(hold) => Json(hold).into_response(),
        Err(error) => explanation(&error),
    }
}
