//! The door of the user-facing face: who comes in, and as whom.
//!
//! Behind it every request carries a [`Caller`], so that no route looks at `Authorization`. Not here: what a caller may reach.
//! What always holds: without a session's or the administrator's token nothing but a login is answered; no cookie is set or read,
//! so no other site can act for a user (row H04); guessing is slowed down for each address and each place it comes
//! from, alike for addresses that exist and for those that do not (H07); every answer forbids browsers to guess its type, to keep it
//! and to let it run anything.

mod administration;
mod brake;
mod token;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use cargomail_protocol::address::{Domain, Locator};
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::limits;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{AccountError, Accounts, Caller, During};
use crate::api::{Login, Me, Queued, Session};
use crate::https::{RemoteAddress, explanation};
use crate::keeping::{Collector, LegalHolds};
use crate::ledger::Ledger;
use crate::store::StoreError;
use brake::Brake;
pub use token::{AdminToken, TokenError};

/// Where sessions are begun, which alone asks for no token, and ended.
const SESSIONS: &str = "/api/v1/sessions";
/// What lies below it is the administrator's.
const ADMIN: &str = "/api/v1/admin/";

/// Whoever can tell how every message of everybody stands: the broker.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// All entries, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn everybodys(&self) -> Result<Vec<Queued>, StoreError>;
}

/// What the door needs.
#[derive(Clone)]
pub struct Door {
    /// The accounts of this node.
    pub accounts: Accounts,
    /// What the administrator shows.
    pub admin: AdminToken,
    /// The Resource Mailbox here, if this node is one.
    pub mailbox: Option<Locator>,
    /// The domain whose broker this node is, if it is one.
    pub broker: Option<Domain>,
    /// The ledger, in which the administrator's acts stand too.
    pub ledger: Ledger,
    /// The queue, if this node has one.
    pub queue: Option<Arc<dyn Queue>>,
    /// Removes what nobody refers to, and says why the rest is kept.
    pub collector: Arc<Collector>,
    /// What is kept whatever happens.
    pub holds: LegalHolds,
}

/// The administrator, in the extensions of every request with the administrator's token.
#[derive(Debug, Clone, Copy)]
struct Administrator;

/// Why the door stays closed.
#[derive(Debug, thiserror::Error)]
enum Closed {
    /// No token, or not the right one.
    #[error("a token is missing or not valid any more: log in again")]
    Unauthenticated,
    /// Too many guesses.
    #[error("too many logins; try again in {} s", .0.as_secs().max(1))]
    TooManyLogins(Duration),
}

impl Faulty for Closed {
    fn fault(&self) -> Fault {
        match self {
            Closed::Unauthenticated => Fault::Unauthenticated,
            Closed::TooManyLogins(wait) => Fault::TryLater(*wait),
        }
    }
}

struct Guard {
    door: Door,
    brake: Brake,
}

/// The user face: logins, `me`, the administrator's paths, and behind the door everything of `inner`.
pub fn door(inner: Router, door: Door) -> Router {
    let guard = Arc::new(Guard {
        door,
        brake: Brake::new(),
    });
    let own = Router::new()
        .route(SESSIONS, post(log_in).delete(log_out))
        .route("/api/v1/me", get(me))
        .merge(administration::routes())
        .layer(DefaultBodyLimit::max(limits::LOGIN))
        .with_state(guard.clone());
    own.merge(inner)
        .layer(middleware::from_fn_with_state(guard, admit))
        .layer(middleware::map_response(dress))
}

/// Puts who it is into the request's extensions, or sends it away.
async fn admit(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path == SESSIONS && request.method() == Method::POST {
        return next.run(request).await;
    }
    let Some(token) = bearer(request.headers()) else {
        return explanation(&Closed::Unauthenticated);
    };
    if path.starts_with(ADMIN) {
        if !guard.door.admin.is(token) {
            return explanation(&Closed::Unauthenticated);
        }
        request.extensions_mut().insert(Administrator);
        return next.run(request).await;
    }
    match guard.door.accounts.caller(token).await {
        Ok(address) => {
            let during = During::session(&guard.door.accounts, token);
            request.extensions_mut().insert(during);
            request.extensions_mut().insert(Caller(address));
            next.run(request).await
        }
        Err(error) => explanation(&error),
    }
}

/// The token of the one `Authorization: Bearer …`; the scheme is compared without case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// What forbids a browser to do anything with an answer but to give it to whoever asked (row H04, M07).
async fn dress(mut response: Response) -> Response {
    const FIELDS: [(header::HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; sandbox",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in FIELDS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn log_in(
    State(guard): State<Arc<Guard>>,
    from: Option<Extension<RemoteAddress>>,
    login: Result<Json<Login>, JsonRejection>,
) -> Response {
    let Json(login) = match login {
        Ok(login) => login,
        Err(rejection) => return unread(&rejection),
    };
    let from = from.map(|Extension(RemoteAddress(from))| from.ip());
    if let Err(wait) = guard.brake.pass(from, &login.address) {
        tracing::warn!(address = %login.address, ?from, "too many logins");
        return explanation(&Closed::TooManyLogins(wait));
    }
    match guard.door.accounts.log_in(&login.address, &login.password).await {
        Ok((token, expires)) => {
            tracing::info!(address = %login.address, ?from, "logged in");
            Json(Session { token, expires }).into_response()
        }
        Err(error) => {
            if matches!(error, AccountError::Unauthenticated) {
                tracing::warn!(address = %login.address, ?from, "a login with a wrong address or password");
            }
            explanation(&error)
        }
    }
}

/// Ends the session whose token the door has just taken; the account's others go on.
async fn log_out(
    State(guard): State<Arc<Guard>>,
    Extension(Caller(address)): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    let Some(token) = bearer(&headers) else {
        return explanation(&Closed::Unauthenticated);
    };
    match guard.door.accounts.log_out(token).await {
        Ok(()) => {
            tracing::info!(%address, "logged out");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => explanation(&error),
    }
}

async fn me(State(guard): State<Arc<Guard>>, Extension(Caller(address)): Extension<Caller>) -> Json<Me> {
    Json(Me {
        address,
        mailbox: guard.door.mailbox.clone(),
        broker: guard.door.broker.clone(),
    })
}

/// What a request's body lacks.
fn unread(rejection: &JsonRejection) -> Response {
    let text = serde_json::json!({ "error": rejection.body_text() });
    (rejection.status(), Json(text)).into_response()
}

#[cfg(test)]
mod tests;
