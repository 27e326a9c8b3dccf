//! A node for tests: the real door over real HTTPS on loopback, and behind it a mailbox and a broker that keep everything in
//! memory.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::dag::Importer;
use cargomail_protocol::routing::Preferences;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::profile::Fingerprint;
use super::{App, Profile, Session, Unwatched, Url, Watch, World};
use crate::accounts::door::{AdminToken, Door, door};
use crate::accounts::{Accounts, Caller};
use crate::api::{AskedDomains, DomainsView, NewMessage, NewShare, Posted, Queued, Retrieval, ShareView};
use crate::clock::{self, Clock, SystemClock, SystemRandomness};
use crate::https::{self, Renewable, ServingLimits};
use crate::identity::Certificate;
use crate::keeping::{Collector, LegalHolds, Shelters};
use crate::ledger::Ledger;
use crate::network::{Network, Tcp};
use crate::store::{Embedded, EmbeddedOptions};

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn nobody_watches() -> Arc<dyn Watch> {
    Arc::new(Unwatched)
}

/// What the mailbox and the broker hold.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) resources: HashMap<String, Bytes>,
    pub(crate) shares: Vec<ShareView>,
    pub(crate) sent: Vec<(Address, NewMessage)>,
    pub(crate) messages: HashMap<String, Vec<u8>>,
    pub(crate) retrievals: Vec<Retrieval>,
    pub(crate) preferences: Preferences,
    /// Domains without Cargomail, and how large an ordinary message may be.
    pub(crate) ordinary: (Vec<Domain>, usize),
    /// Domains of which it knows nothing.
    pub(crate) unknown: Vec<Domain>,
}

type Shared = Arc<Mutex<Kept>>;

/// A running node.
pub(crate) struct Node {
    pub(crate) kept: Shared,
    pub(crate) url: Url,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) admin: AdminToken,
    pub(crate) accounts: Accounts,
    pub(crate) ledger: Ledger,
    pub(crate) local: SocketAddr,
    pub(crate) folder: TempDir,
    _stop: tokio_util::sync::DropGuard,
}

pub(crate) fn world() -> World {
    World::real().unwrap()
}

impl Node {
    /// The node of foo.test, where alice has an account.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(&folder.path().join("store"), EmbeddedOptions::default())
            .await
            .unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let accounts = Accounts::new(store.records(), clock.clone(), Arc::new(SystemRandomness));
        accounts
            .set(&address("alice@foo.test"), PASSWORD, None)
            .await
            .unwrap();
        let ledger = Ledger::open(store.records(), clock.clone()).await.unwrap();
        let admin = AdminToken::open_or_create(folder.path(), &SystemRandomness).unwrap();
        let kept = Shared::default();
        let holds = LegalHolds::new(
            store.blocks(),
            store.records(),
            ledger.clone(),
            accounts.clone(),
            clock.clone(),
            Arc::new(SystemRandomness),
        );
        let collector = Arc::new(Collector::new(
            store.blocks(),
            store.records(),
            Shelters::default(),
            holds.clone(),
            clock.clone(),
        ));
        let router = door(
            inner(kept.clone()),
            Door {
                accounts: accounts.clone(),
                admin: admin.clone(),
                mailbox: Some(Locator::parse("mailbox.foo.test").unwrap()),
                broker: Some(Domain::parse("foo.test").unwrap()),
                ledger: ledger.clone(),
                queue: None,
                collector,
                holds,
            },
        );
        let names = ["127.0.0.1".to_owned()];
        let certificate = Certificate::for_people(folder.path(), &names, clock.now()).unwrap();
        let listener = Tcp
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let tls = https::user_server(&Renewable::new(certificate.clone()).unwrap()).unwrap();
        let limits = ServingLimits::default();
        let serving = https::serve(listener, tls, router, limits, stop.clone()).unwrap();
        Self {
            kept,
            url: Url::new("127.0.0.1", serving.local_addr().port()),
            fingerprint: Fingerprint(certificate.spki_sha256()),
            admin,
            accounts,
            ledger,
            local: serving.local_addr(),
            folder,
            _stop: stop.drop_guard(),
        }
    }

    /// Alice, logged in at this node for everything.
    pub(crate) async fn alice(&self) -> App {
        let alice = address("alice@foo.test");
        let client = world().client();
        let access = Session::log_in(&client, &self.url, Some(self.fingerprint), &alice, PASSWORD)
            .await
            .unwrap();
        let mut profile = Profile::new(alice);
        profile.broker = Some(access.clone());
        profile.set_mailbox(Locator::parse("mailbox.foo.test").unwrap(), access);
        App::new(profile, world())
    }
}

fn inner(kept: Shared) -> Router {
    Router::new()
        .route("/api/v1/resources", post(take))
        .route("/api/v1/resources/{cid}", get(give))
        .route("/api/v1/shares", post(share).get(shares))
        .route("/api/v1/retrievals", get(retrievals))
        .route("/api/v1/domains", post(domains))
        .route("/api/v1/messages", post(send))
        .route("/api/v1/messages/{id}", get(message))
        .route("/api/v1/preferences", get(preferences).put(set_preferences))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(kept)
}

async fn take(State(kept): State<Shared>, body: Bytes) -> (StatusCode, Json<Posted>) {
    let mut importer = Importer::new();
    importer.push(body.clone());
    let imported = importer.finish();
    let posted = Posted {
        cid: imported.root.to_string(),
        size: body.len() as u64,
        sha256: data_encoding::HEXLOWER.encode(&Sha256::digest(&body)),
    };
    kept.lock().unwrap().resources.insert(posted.cid.clone(), body);
    (StatusCode::CREATED, Json(posted))
}

async fn give(
    State(kept): State<Shared>,
    Path(cid): Path<String>,
    headers: HeaderMap,
) -> Result<Body, StatusCode> {
    let octets = kept.lock().unwrap().resources.get(&cid).cloned();
    let octets = octets.ok_or(StatusCode::NOT_FOUND)?;
    let range = headers.get(header::RANGE).map(|range| range.to_str().unwrap());
    let last = range.and_then(|range| range.strip_prefix("bytes=0-")?.parse::<usize>().ok());
    Ok(Body::from(match last {
        Some(last) => octets.slice(..octets.len().min(last + 1)),
        None => octets,
    }))
}

async fn share(State(kept): State<Shared>, Json(new): Json<NewShare>) -> (StatusCode, Json<ShareView>) {
    let view = ShareView {
        id: clock::uuid(&SystemClock, &SystemRandomness),
        recipients: new.recipients,
        resources: new.resources,
        category: new.category,
        message_id: new.message_id,
        created: SystemClock.now(),
        expires: new.expires,
        revoked: None,
        received_by: Vec::new(),
    };
    kept.lock().unwrap().shares.push(view.clone());
    (StatusCode::CREATED, Json(view))
}

async fn shares(State(kept): State<Shared>) -> Json<Vec<ShareView>> {
    Json(kept.lock().unwrap().shares.clone())
}

async fn retrievals(
    State(kept): State<Shared>,
    Query(which): Query<HashMap<String, String>>,
) -> Json<Vec<Retrieval>> {
    let mut retrievals = kept.lock().unwrap().retrievals.clone();
    retrievals.retain(|one| which.get("message_id") == Some(&one.message_id));
    Json(retrievals)
}

async fn domains(State(kept): State<Shared>, Json(asked): Json<AskedDomains>) -> Json<DomainsView> {
    let kept = kept.lock().unwrap();
    let (without, largest_ordinary) = kept.ordinary.clone();
    let (unknown, known): (Vec<_>, Vec<_>) = asked
        .domains
        .into_iter()
        .partition(|domain| kept.unknown.contains(domain));
    let (ordinary, cargomail) = known.into_iter().partition(|domain| without.contains(domain));
    Json(DomainsView {
        cargomail,
        ordinary,
        unknown,
        largest_ordinary,
    })
}

async fn send(
    State(kept): State<Shared>,
    Extension(Caller(from)): Extension<Caller>,
    Json(new): Json<NewMessage>,
) -> (StatusCode, Json<Vec<Queued>>) {
    kept.lock().unwrap().sent.push((from, new));
    (StatusCode::ACCEPTED, Json(Vec::new()))
}

async fn message(State(kept): State<Shared>, Path(id): Path<String>) -> Result<Vec<u8>, StatusCode> {
    let found = kept.lock().unwrap().messages.get(&id).cloned();
    found.ok_or(StatusCode::NOT_FOUND)
}

async fn preferences(State(kept): State<Shared>) -> Json<Preferences> {
    Json(kept.lock().unwrap().preferences.clone())
}

async fn set_preferences(State(kept): State<Shared>, Json(new): Json<Preferences>) -> Json<Preferences> {
    kept.lock().unwrap().preferences = new.clone();
    Json(new)
}
