//! Answers that are no success: what a stranger is told, and what a user is told.

use axum::Json;
use axum::response::{IntoResponse, Response};
use cargomail_protocol::fault::{Fault, Faulty};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// The body of an answer to a user.
#[derive(Debug, Serialize)]
struct Explained {
    error: String,
}

/// What a stranger is told: the status, when to come back, and nothing else. The error itself goes to the log.
#[must_use]
pub fn refusal(fault: Fault) -> Response {
    dressed(fault, status(fault).into_response())
}

/// What a user of this node is told: what is wrong and what to do about it. What failed within the machine itself goes to
/// the log only.
#[must_use]
pub fn explanation(error: &(impl Faulty + ?Sized)) -> Response {
    let fault = error.fault();
    let text = match fault {
        Fault::Local => {
            tracing::error!(%error, "a request failed");
            "this node has a problem of its own; try again later, or ask its operator".to_owned()
        }
        Fault::Full => {
            tracing::warn!(%error, "a request was refused for want of room");
            "there is no room on this node at the moment; try again later, or ask its operator".to_owned()
        }
        _ => error.to_string(),
    };
    dressed(
        fault,
        (status(fault), Json(Explained { error: text })).into_response(),
    )
}

fn status(fault: Fault) -> StatusCode {
    StatusCode::from_u16(fault.http()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

fn dressed(fault: Fault, mut response: Response) -> Response {
    if let Some(wait) = fault.retry_after() {
        let seconds = wait.as_secs().max(1);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status(fault) == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer, GRIP");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}
