//! The services of a node: the roles that its settings ask for, with every face that they need, in the environment that they are
//! given. The real one is [`crate::node`]'s; a virtual one is the simulator's.
//!
//! Nothing is decided here. What always holds: every face listens before [`Services::start`] returns, or none does and the
//! error names the one that could not; [`Services::stop`] returns once everything that was begun is finished or cut off.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use cargomail_protocol::address::ClientId;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::accounts::door::{self, AdminToken, Door};
use crate::accounts::{Accounts, PasswordCost};
use crate::agent::Agent;
use crate::api::Queued;
use crate::broker::{self, Broker};
use crate::clock::{Clock, Randomness};
use crate::config::Settings;
use crate::dns::Dns;
use crate::grip::{Signer, Verifier};
use crate::https::{self, Renewable, Serving, ServingLimits};
use crate::identity::Identity;
use crate::keeping::{Collector, LegalHolds, Shelters};
use crate::ledger::Ledger;
use crate::mailbox::{self, Mailbox};
use crate::network::{Listener, Network};
use crate::node::NodeError;
use crate::peers::Peers;
use crate::publish;
use crate::smtp::{self, SmtpServing};
use crate::store::{BlockStore, RecordStore, StoreError};

/// The name of the span in which everything that a node does is logged; its one field names the node.
pub const SPAN: &str = "node";
/// How often used token identifiers are forgotten.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(600);

/// How often what is kept of sessions that have ended is removed.
const TIDY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// What the services of a node see of the outside.
#[derive(Clone)]
pub struct Environment {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub randomness: Arc<dyn Randomness>,
    /// Byte streams.
    pub network: Arc<dyn Network>,
    /// The DNS.
    pub dns: Arc<dyn Dns>,
    /// Streams to and from other nodes: none where there is no libp2p node. A Resource Mailbox needs it.
    pub peers: Option<Arc<dyn Peers>>,
    /// Blocks.
    pub blocks: Arc<dyn BlockStore>,
    /// Records.
    pub records: Arc<dyn RecordStore>,
    /// What it costs to try a password.
    pub password_cost: PasswordCost,
}

/// What every role of a node shares.
struct Common {
    settings: Settings,
    identity: Identity,
    environment: Environment,
    shelters: Shelters,
    ledger: Ledger,
    accounts: Accounts,
    holds: LegalHolds,
    collector: Arc<Collector>,
    verifier: Verifier,
    signer: Signer,
}

/// Running services.
pub struct Services {
    grip: Option<Serving>,
    user: Serving,
    user_certificate: Renewable,
    smtp: Option<SmtpServing>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Services {
    /// Starts the roles and the faces that the settings ask for.
    ///
    /// # Errors
    /// [`NodeError`] names what could not be had; nothing is left running then.
    pub async fn start(
        settings: Settings,
        identity: Identity,
        environment: Environment,
    ) -> Result<Self, NodeError> {
        let common = Common::open(settings, identity, environment).await?;
        let shutdown = CancellationToken::new();
        let span = tracing::error_span!(SPAN, name = common.settings.name());
        let begun = begin(&common, &shutdown).instrument(span.clone()).await;
        let services = begun.inspect_err(|_| shutdown.cancel())?;
        services
            .tasks
            .spawn(forget(common.verifier.clone(), shutdown.clone()));
        services
            .tasks
            .spawn(tidy(common.accounts.clone(), shutdown.clone()));
        let (collector, every) = (common.collector.clone(), common.settings.collect_every);
        services
            .tasks
            .spawn(async move { collector.run(every, shutdown).await }.instrument(span));
        Ok(services)
    }

    /// Where other nodes send notifications and messages by HTTPS, if they may.
    #[must_use]
    pub fn grip_address(&self) -> Option<SocketAddr> {
        self.grip.as_ref().map(Serving::local_addr)
    }

    /// Where the programs of users connect.
    #[must_use]
    pub fn user_address(&self) -> SocketAddr {
        self.user.local_addr()
    }

    /// The certificate that users' programs see.
    #[must_use]
    pub fn user_certificate(&self) -> &Renewable {
        &self.user_certificate
    }

    /// Where mail comes in by SMTP.
    #[must_use]
    pub fn smtp_address(&self) -> Option<SocketAddr> {
        self.smtp.as_ref().map(SmtpServing::local_addr)
    }

    /// Takes no more work.
    pub fn end(&self) {
        self.shutdown.cancel();
    }

    /// Stops taking work, and waits for what is under way.
    pub async fn stop(self) {
        self.end();
        if let Some(smtp) = self.smtp {
            smtp.stopped().await;
        }
        if let Some(grip) = self.grip {
            grip.stopped().await;
        }
        self.user.stopped().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Common {
    async fn open(
        settings: Settings,
        identity: Identity,
        environment: Environment,
    ) -> Result<Self, NodeError> {
        let Environment {
            clock,
            randomness,
            dns,
            blocks,
            records,
            password_cost,
            ..
        } = &environment;
        let ledger = Ledger::open(records.clone(), clock.clone()).await?;
        let accounts = Accounts::new(records.clone(), clock.clone(), randomness.clone())
            .with_password_cost(*password_cost);
        let shelters = Shelters::default();
        let holds = LegalHolds::new(
            blocks.clone(),
            records.clone(),
            ledger.clone(),
            accounts.clone(),
            clock.clone(),
            randomness.clone(),
        );
        let collector = Collector::new(
            blocks.clone(),
            records.clone(),
            shelters.clone(),
            holds.clone(),
            clock.clone(),
        );
        Ok(Self {
            ledger,
            accounts,
            shelters,
            holds,
            collector: Arc::new(collector),
            verifier: Verifier::new(dns.clone(), records.clone(), clock.clone()),
            signer: Signer::new(&identity, clock.clone(), randomness.clone())?,
            settings,
            identity,
            environment,
        })
    }

    async fn mailbox(&self) -> Result<Option<Arc<Mailbox>>, NodeError> {
        let (Some(role), Some(peers)) = (&self.settings.mailbox, &self.environment.peers) else {
            return Ok(None);
        };
        let options = mailbox::Options {
            locator: role.locator.clone(),
            service: role.domain.clone(),
            concurrent: role.concurrent,
        };
        let needs = mailbox::Needs {
            identity: self.identity.clone(),
            blocks: self.environment.blocks.clone(),
            shelters: self.shelters.clone(),
            records: self.environment.records.clone(),
            ledger: self.ledger.clone(),
            accounts: self.accounts.clone(),
            verifier: self.verifier.clone(),
            signer: self.signer.clone(),
            dns: self.environment.dns.clone(),
            peers: peers.clone(),
            clock: self.environment.clock.clone(),
            randomness: self.environment.randomness.clone(),
        };
        Ok(Some(Mailbox::open(options, needs).await?))
    }

    async fn broker(&self, agent: Option<Arc<dyn Agent>>) -> Result<Option<Arc<Broker>>, NodeError> {
        let Some(role) = &self.settings.broker else {
            return Ok(None);
        };
        let certificate = self
            .identity
            .certificate(&ClientId::broker(&role.domain), self.environment.clock.now())?;
        let https = https::Client::new(
            self.environment.network.clone(),
            self.environment.dns.clone(),
            self.environment.clock.clone(),
            self.settings.policy.clone(),
        )
        .with_identity(&certificate)?;
        let https = match &self.environment.peers {
            Some(peers) => https.with_peers(peers.clone()),
            None => https,
        };
        let smtp = smtp::Client::new(
            self.environment.network.clone(),
            self.environment.dns.clone(),
            smtp::ClientOptions {
                helo: self.settings.hostname.to_string(),
                port: self.settings.smtp.port,
                policy: self.settings.policy.clone(),
                smart_host: self.settings.smtp.smart_host.clone(),
            },
        );
        let options = broker::Options {
            domain: role.domain.clone(),
            channel: role.channel,
            deliver: role.deliver.clone(),
            trusted: self.settings.smtp.relays.clone(),
            quota: role.quota,
            ordinary: role.ordinary,
            concurrent: role.concurrent,
        };
        let needs = broker::Needs {
            identity: self.identity.clone(),
            blocks: self.environment.blocks.clone(),
            shelters: self.shelters.clone(),
            records: self.environment.records.clone(),
            ledger: self.ledger.clone(),
            accounts: self.accounts.clone(),
            verifier: self.verifier.clone(),
            signer: self.signer.clone(),
            dns: self.environment.dns.clone(),
            clock: self.environment.clock.clone(),
            randomness: self.environment.randomness.clone(),
            https,
            smtp,
            dkim: smtp::Dkim::new(&self.identity, role.domain.clone(), publish::SELECTOR),
            authenticator: smtp::Authenticator::new(
                self.environment.dns.clone(),
                self.settings.hostname.to_string(),
            ),
            agent,
        };
        Ok(Some(Broker::open(options, needs).await?))
    }
}

async fn begin(common: &Common, shutdown: &CancellationToken) -> Result<Services, NodeError> {
    let settings = &common.settings;
    let tasks = TaskTracker::new();
    let mailbox = common.mailbox().await?;
    let agent = mailbox.clone().map(|mailbox| mailbox as Arc<dyn Agent>);
    let broker = common.broker(agent).await?;

    let mut grip_routes = Router::new();
    let mut user_routes = Router::new();
    if let Some(mailbox) = &mailbox {
        grip_routes = grip_routes.merge(mailbox.grip_routes());
        user_routes = user_routes.merge(mailbox.user_routes());
    }
    if let Some(broker) = &broker {
        grip_routes = grip_routes.merge(broker.grip_routes());
        user_routes = user_routes.merge(broker.user_routes());
    }

    let user_certificate = Renewable::new(settings.user_certificate(common.environment.clock.now())?)?;
    let tls = https::user_server(&user_certificate)?;
    let smtp = match (&broker, settings.smtp.listen) {
        (Some(broker), Some(at)) => Some(smtp_face(common, broker.clone(), at, tls.clone(), shutdown).await?),
        _ => None,
    };
    let over = settings.grip.over;
    if over.is_libp2p() {
        let peers = common.environment.peers.clone().ok_or(NodeError::NoPeers)?;
        let serving = https::serve_peers(
            peers,
            grip_routes.clone(),
            ServingLimits::default(),
            shutdown.clone(),
        );
        tasks.spawn(serving.in_current_span());
    }
    let grip = match over.is_https() {
        true => Some(grip_face(common, grip_routes, shutdown).await?),
        false => None,
    };
    let user = user_face(common, user_routes, broker.clone(), tls, shutdown).await?;
    if let Some(mailbox) = mailbox {
        tasks.spawn(mailbox.run(shutdown.clone()).in_current_span());
    }
    if let Some(broker) = broker {
        tasks.spawn(broker.run(shutdown.clone()).in_current_span());
    }
    Ok(Services {
        grip,
        user,
        user_certificate,
        smtp,
        shutdown: shutdown.clone(),
        tasks,
    })
}

async fn listen(
    common: &Common,
    section: &'static str,
    at: SocketAddr,
) -> Result<Box<dyn Listener>, NodeError> {
    let listening = common.environment.network.listen(at).await;
    listening.map_err(|why| NodeError::Listen { section, at, why })
}

async fn grip_face(
    common: &Common,
    routes: Router,
    shutdown: &CancellationToken,
) -> Result<Serving, NodeError> {
    let at = common.settings.grip.listen;
    let name = common.settings.hostname.to_string();
    let certificate = common
        .identity
        .server_certificate(&name, common.environment.clock.now())?;
    let tls = https::grip_server(&certificate, common.environment.clock.clone())?;
    let listener = listen(common, "grip", at).await?;
    https::serve(listener, tls, routes, ServingLimits::default(), shutdown.clone()).map_err(|why| {
        NodeError::Listen {
            section: "grip",
            at,
            why,
        }
    })
}

async fn user_face(
    common: &Common,
    routes: Router,
    broker: Option<Arc<Broker>>,
    tls: Arc<ServerConfig>,
    shutdown: &CancellationToken,
) -> Result<Serving, NodeError> {
    let at = common.settings.user.listen;
    let door = Door {
        accounts: common.accounts.clone(),
        admin: AdminToken::open_or_create(&common.settings.data, &*common.environment.randomness)?,
        mailbox: common.settings.mailbox.as_ref().map(|role| role.locator.clone()),
        broker: common.settings.broker.as_ref().map(|role| role.domain.clone()),
        ledger: common.ledger.clone(),
        queue: broker.map(|broker| broker as Arc<dyn door::Queue>),
        collector: common.collector.clone(),
        holds: common.holds.clone(),
    };
    let routes = door::door(routes, door);
    let listener = listen(common, "user", at).await?;
    https::serve(listener, tls, routes, ServingLimits::default(), shutdown.clone()).map_err(|why| {
        NodeError::Listen {
            section: "user",
            at,
            why,
        }
    })
}

async fn smtp_face(
    common: &Common,
    broker: Arc<Broker>,
    at: SocketAddr,
    tls: Arc<ServerConfig>,
    shutdown: &CancellationToken,
) -> Result<SmtpServing, NodeError> {
    let options = smtp::ServerOptions {
        size: common.settings.smtp.size,
        tls: Some(tls),
        ..smtp::ServerOptions::new(common.settings.hostname.to_string())
    };
    let listener = listen(common, "smtp", at).await?;
    smtp::serve(listener, broker, options, shutdown.clone()).map_err(|why| NodeError::Listen {
        section: "smtp",
        at,
        why,
    })
}

#[async_trait]
impl door::Queue for Broker {
    async fn everybodys(&self) -> Result<Vec<Queued>, StoreError> {
        self.queue_of(None).await
    }
}

/// Forgets what the replay memory need not hold any more.
async fn forget(verifier: Verifier, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        if let Err(error) = verifier.forget_expired().await {
            tracing::error!(%error, "the replay memory could not be swept");
        }
    }
}

/// Removes what is kept of sessions that have ended, at the start and every day.
async fn tidy(accounts: Accounts, shutdown: CancellationToken) {
    loop {
        if let Err(error) = accounts.forget_ended().await {
            tracing::error!(%error, "sessions that have ended could not be removed");
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(TIDY) => {}
        }
    }
}
