//! Agents of Resource Mailboxes that say what a test wants them to say: one that serves by HTTPS, and one in the broker's own process.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use cargomail_node::clock::{Clock, SystemClock};
use cargomail_node::grip::Verifier;
use cargomail_node::https::{self, Serving, ServingLimits};
use cargomail_node::identity::Identity;
use cargomail_node::network::{Network, Tcp};
use cargomail_node::peers::{Peers, Spoken};
use cargomail_node::store::{Embedded, EmbeddedOptions};
use cargomail_protocol::address::Locator;
use cargomail_protocol::fault::Fault;
use cargomail_protocol::grip::{self as rules, Digest, Expectation, Proved};
use cargomail_protocol::notification::{JobState, Notification, PATH, Taken};
use http::StatusCode;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::rig::{ANYWHERE, World, peer};

/// What the agent of a Resource Mailbox says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Says {
    /// 202, and afterwards this of the job.
    Takes(JobState),
    /// This status, for good.
    Status(u16),
    /// This status, and to come again in a second.
    Later(u16),
}

/// The agent of a Resource Mailbox, which verifies its token 1 for real and then says what it was told to say.
pub(crate) struct Agent {
    state: Arc<Behaviour>,
    serving: Serving,
    shutdown: CancellationToken,
    _disk: TempDir,
}

/// The agent in a broker's own process: no DNS record says where it is.
pub(crate) struct Own {
    locator: Locator,
    verifier: Verifier,
    says: Mutex<Result<JobState, Fault>>,
    told: Mutex<Vec<Bytes>>,
    asked: Mutex<usize>,
    _disk: TempDir,
}

impl Own {
    pub(crate) async fn new(world: &World, locator: &str, says: Result<JobState, Fault>) -> Arc<Self> {
        let disk = tempfile::tempdir().unwrap();
        let store = Embedded::open(disk.path(), EmbeddedOptions::default())
            .await
            .unwrap();
        Arc::new(Self {
            locator: Locator::parse(locator).unwrap(),
            verifier: Verifier::new(world.dns.clone(), store.records(), world.clock()),
            says: Mutex::new(says),
            told: Mutex::default(),
            asked: Mutex::default(),
            _disk: disk,
        })
    }

    pub(crate) fn says(&self, says: Result<JobState, Fault>) {
        *self.says.lock().unwrap() = says;
    }

    /// The octets of the notifications that it was told of.
    pub(crate) fn told(&self) -> Vec<Bytes> {
        self.told.lock().unwrap().clone()
    }

    /// How often it was asked for a job.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

#[async_trait::async_trait]
impl cargomail_node::agent::Agent for Own {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    async fn notify(&self, broker: &Proved, token: &str, notification: Bytes) -> Result<Taken, Fault> {
        believe(&self.verifier, &self.locator, broker, token, &notification).await;
        self.told.lock().unwrap().push(notification);
        let says = *self.says.lock().unwrap();
        says.map(|_| Taken {
            job: "job-1".to_owned(),
        })
    }

    async fn progress(&self, broker: &Proved, job: &str) -> Result<JobState, Fault> {
        assert_eq!((broker.to_string().as_str(), job), ("_cb.bar.test", "job-1"));
        *self.asked.lock().unwrap() += 1;
        *self.says.lock().unwrap()
    }
}

struct Behaviour {
    locator: Locator,
    verifier: Verifier,
    says: Mutex<Says>,
    told: Mutex<Vec<(Notification, Bytes)>>,
    asked: Mutex<usize>,
}

impl Agent {
    pub(crate) async fn start(world: &World, locator: &str, says: Says) -> Self {
        let key = Identity::from_seed(Digest::of(locator.as_bytes()).sha256());
        let disk = tempfile::tempdir().unwrap();
        let store = Embedded::open(disk.path(), EmbeddedOptions::default())
            .await
            .unwrap();
        let state = Arc::new(Behaviour {
            locator: Locator::parse(locator).unwrap(),
            verifier: Verifier::new(world.dns.clone(), store.records(), world.clock()),
            says: Mutex::new(says),
            told: Mutex::default(),
            asked: Mutex::default(),
        });
        let certificate = key.server_certificate(locator, SystemClock.now()).unwrap();
        let tls = https::grip_server(&certificate, world.clock()).unwrap();
        let listener = Tcp.listen(ANYWHERE).await.unwrap();
        let shutdown = CancellationToken::new();
        let limits = ServingLimits::default();
        let serving = https::serve(listener, tls, router(state.clone()), limits, shutdown.clone()).unwrap();
        world.bind(&format!("_grip.{locator}"), &key);
        world.serve(locator, serving.local_addr().port());
        Self {
            state,
            serving,
            shutdown,
            _disk: disk,
        }
    }

    /// The same, to which only streams lead.
    pub(crate) async fn start_at_peer(world: &World, locator: &str, says: Says) -> Self {
        let agent = Self::start(world, locator, says).await;
        world.zone.remove(&format!("_grip-notify._tcp.{locator}"));
        let key = Identity::from_seed(Digest::of(locator.as_bytes()).sha256());
        let host = peer(&key, &[Spoken::Grip]).await;
        world.leads(locator, &host.addresses());
        let limits = ServingLimits::default();
        let router = router(agent.state.clone());
        tokio::spawn(https::serve_peers(
            Arc::new(host),
            router,
            limits,
            agent.shutdown.clone(),
        ));
        agent
    }

    pub(crate) fn says(&self, says: Says) {
        *self.state.says.lock().unwrap() = says;
    }

    /// The notifications that it took.
    pub(crate) fn told(&self) -> Vec<Notification> {
        let told = self.state.told.lock().unwrap();
        told.iter()
            .map(|(notification, _)| notification.clone())
            .collect()
    }

    /// Their octets.
    pub(crate) fn octets(&self) -> Vec<Bytes> {
        let told = self.state.told.lock().unwrap();
        told.iter().map(|(_, octets)| octets.clone()).collect()
    }

    /// How often it was asked for a job.
    pub(crate) fn asked(&self) -> usize {
        *self.state.asked.lock().unwrap()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.serving.stopped().await;
    }
}

fn router(agent: Arc<Behaviour>) -> Router {
    Router::new()
        .route(PATH, post(notified))
        .route(&format!("{PATH}/{{job}}"), get(progress))
        .with_state(agent)
}

/// The notification that a token 1 authorizes.
async fn believe(
    verifier: &Verifier,
    locator: &Locator,
    broker: &Proved,
    token: &str,
    octets: &[u8],
) -> Notification {
    let audience = vec![locator.domain().clone()];
    let expectation = Expectation::notify(audience, broker.clone(), Digest::of(octets));
    let chain = verifier.verify(expectation, token).await.unwrap();
    let notification = Notification::parse(octets).unwrap();
    notification.check_recipient(chain.subject()).unwrap();
    notification
}

async fn notified(
    State(agent): State<Arc<Behaviour>>,
    Extension(peer): Extension<Proved>,
    headers: http::HeaderMap,
    body: Bytes,
) -> Response {
    let value = headers.get(http::header::AUTHORIZATION).unwrap();
    let token = rules::token_in(value.to_str().unwrap()).unwrap();
    let notification = believe(&agent.verifier, &agent.locator, &peer, token, &body).await;
    agent.told.lock().unwrap().push((notification, body));
    let says = *agent.says.lock().unwrap();
    match says {
        Says::Takes(_) => (StatusCode::ACCEPTED, "{\"job\":\"job-1\"}").into_response(),
        Says::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Says::Later(status) => {
            let retry = [(http::header::RETRY_AFTER, "1")];
            (StatusCode::from_u16(status).unwrap(), retry).into_response()
        }
    }
}

async fn progress(State(agent): State<Arc<Behaviour>>, Path(job): Path<String>) -> Response {
    assert_eq!(job, "job-1");
    *agent.asked.lock().unwrap() += 1;
    let says = *agent.says.lock().unwrap();
    match says {
        Says::Takes(state) => state.to_bytes().into_response(),
        Says::Status(status) | Says::Later(status) => StatusCode::from_u16(status).unwrap().into_response(),
    }
}
