//! The administrator's paths. What looks at or changes a user's matter stands in the ledger before it is done (`spec/ledger.md`).

mod keeping;

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::limits;
use data_encoding::BASE64;
use http::StatusCode;
use serde::Deserialize;

use super::{Administrator, Guard, unread};
use crate::accounts::Account;
use crate::api::{AccountView, LedgerPage, NewAccount};
use crate::https::explanation;
use crate::store::CommitError;

/// Why the administrator gets no answer.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// There is no queue.
    #[error("this node is no broker, so it has no queue")]
    NoQueue,
    /// The ledger cannot be written.
    #[error("the ledger: {0}")]
    Ledger(#[from] CommitError),
}

impl Faulty for Refused {
    fn fault(&self) -> Fault {
        match self {
            Refused::NoQueue => Fault::NotFound,
            Refused::Ledger(_) => Fault::Local,
        }
    }
}

pub(super) fn routes() -> Router<Arc<Guard>> {
    Router::new()
        .route("/api/v1/admin/accounts", get(accounts).post(account))
        .route("/api/v1/admin/queue", get(queue))
        .route("/api/v1/admin/ledger", get(ledger))
        .merge(keeping::routes())
}

/// Notes that the administrator looked at or changed what concerns these.
async fn note(guard: &Guard, what: &str, whom: Option<String>) -> Result<(), Refused> {
    let parties = std::iter::once("administrator".to_owned()).chain(whom).collect();
    let event = Event {
        act: Act::Access,
        parties,
        message_id: String::new(),
        resources: Vec::new(),
        evidence: String::new(),
    };
    guard
        .door
        .ledger
        .commit(Vec::new(), Vec::new(), vec![event])
        .await?;
    tracing::info!(what, "the administrator acted");
    Ok(())
}

async fn accounts(_: Extension<Administrator>, State(guard): State<Arc<Guard>>) -> Response {
    match guard.door.accounts.list().await {
        Ok(accounts) => Json(accounts.into_iter().map(AccountView::from).collect::<Vec<_>>()).into_response(),
        Err(error) => explanation(&error),
    }
}

async fn account(
    _: Extension<Administrator>,
    State(guard): State<Arc<Guard>>,
    new: Result<Json<NewAccount>, JsonRejection>,
) -> Response {
    let Json(new) = match new {
        Ok(new) => new,
        Err(rejection) => return unread(&rejection),
    };
    if let Err(error) = note(&guard, "account", Some(new.address.to_string())).await {
        return explanation(&error);
    }
    match guard
        .door
        .accounts
        .set(&new.address, &new.password, new.quota)
        .await
    {
        Ok(account) => (StatusCode::CREATED, Json(AccountView::from(account))).into_response(),
        Err(error) => explanation(&error),
    }
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            address: account.address,
            created: account.created,
            quota: account.quota,
        }
    }
}

async fn queue(_: Extension<Administrator>, State(guard): State<Arc<Guard>>) -> Response {
    let Some(queue) = &guard.door.queue else {
        return explanation(&Refused::NoQueue);
    };
    if let Err(error) = note(&guard, "queue", None).await {
        return explanation(&error);
    }
    match queue.everybodys().await {
        Ok(queued) => Json(queued).into_response(),
        Err(error) => explanation(&error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    first: u64,
    limit: Option<usize>,
}

/// Some entries. This look alone is not noted: a reader who goes through the pages would never come to their end.
async fn ledger(
    _: Extension<Administrator>,
    State(guard): State<Arc<Guard>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Response {
    let Query(page) = match page {
        Ok(page) => page,
        Err(rejection) => {
            let text = serde_json::json!({ "error": rejection.body_text() });
            return (rejection.status(), Json(text)).into_response();
        }
    };
    let limit = page.limit.unwrap_or(limits::LEDGER_PAGE).min(limits::LEDGER_PAGE);
    let head = guard.door.ledger.head().await;
    let entries = match guard.door.ledger.entries(page.first, limit).await {
        Ok(entries) => entries,
        Err(error) => return explanation(&error),
    };
    let mut octets = 0;
    let fits = |entry: &Vec<u8>| {
        let first = octets == 0;
        octets += entry.len();
        first || octets <= limits::LEDGER_PAGE_SIZE
    };
    // What was written after the head was read belongs to the next head.
    let known = usize::try_from(head.entries.saturating_sub(page.first)).unwrap_or(usize::MAX);
    let entries = entries.into_iter().take(known).take_while(fits);
    Json(LedgerPage {
        entries: entries.map(|entry| BASE64.encode(&entry)).collect(),
        head: head.into(),
    })
    .into_response()
}
