//! A node: the roles that its settings ask for, on the real ports, with every face that they need.
//!
//! Nothing is decided here. What always holds: every face listens before [`Node::start`] returns, or none does and the
//! error names the one that could not; [`Node::stop`] returns once everything that was begun is finished or cut off and
//! the store is closed cleanly.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use cargomail_protocol::address::ClientId;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::KeyError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::accounts::Accounts;
use crate::accounts::door::{self, AdminToken, Door, TokenError};
use crate::agent::Agent;
use crate::api::Queued;
use crate::broker::{self, Broker, BrokerError};
use crate::clock::{Clock, Randomness, SystemClock, SystemRandomness};
use crate::config::Settings;
use crate::dns::{Dns, DnsError, Resolver};
use crate::grip::{Signer, Verifier};
use crate::https::{self, Serving, ServingLimits, TlsError};
use crate::identity::{Identity, IdentityError};
use crate::keeping::{Collector, LegalHolds, Shelters};
use crate::ledger::Ledger;
use crate::mailbox::{self, Mailbox, MailboxError};
use crate::network::{Network, Tcp};
use crate::peers::{Host, HostOptions, PeerAddress, PeerError, Peers};
use crate::publish;
use crate::smtp::{self, SmtpServing};
use crate::store::{BlockStore, Embedded, RecordStore, StoreError};

/// The name of the span in which everything that a node does is logged; its one field names the node.
pub const SPAN: &str = "node";
/// How often used token identifiers are forgotten.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(600);

/// Why a node does not start. Always this machine's own matter.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key or a certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The key cannot sign.
    #[error("the node's key cannot sign tokens: {0}")]
    Key(#[from] KeyError),
    /// The resolver.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// A TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// libp2p.
    #[error(transparent)]
    Peers(#[from] PeerError),
    /// A face cannot listen.
    #[error("[{section}] listen = \"{at}\": {why}; is the port taken, or does it need more rights?")]
    Listen {
        /// The section of the configuration.
        section: &'static str,
        /// The address.
        at: SocketAddr,
        /// What the system said.
        why: io::Error,
    },
    /// The administrator's token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The mailbox.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl Faulty for NodeError {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

/// What every role of a node shares.
struct Common {
    settings: Settings,
    identity: Identity,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    network: Arc<dyn Network>,
    dns: Arc<dyn Dns>,
    blocks: Arc<dyn BlockStore>,
    records: Arc<dyn RecordStore>,
    shelters: Shelters,
    ledger: Ledger,
    accounts: Accounts,
    holds: LegalHolds,
    collector: Arc<Collector>,
    verifier: Verifier,
    signer: Signer,
}

/// A running node.
pub struct Node {
    identity: Identity,
    store: Embedded,
    peers: Option<Host>,
    grip: Serving,
    user: Serving,
    user_fingerprint: [u8; 32],
    smtp: Option<SmtpServing>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    /// Opens the store, starts the roles and the faces that the settings ask for.
    ///
    /// # Errors
    /// [`NodeError`] names what could not be had; nothing is left running then.
    pub async fn start(settings: Settings) -> Result<Self, NodeError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let randomness: Arc<dyn Randomness> = Arc::new(SystemRandomness);
        let identity = Identity::open_or_create(&settings.key, &*randomness)?;
        let store = Embedded::open(&settings.store_folder(), settings.store.clone()).await?;
        let common = Common::open(settings, identity, clock, randomness, &store).await?;
        let shutdown = CancellationToken::new();
        let name = common.settings.name();
        let begun = begin(&common, &shutdown)
            .instrument(tracing::error_span!(SPAN, name))
            .await;
        match begun {
            Ok(begun) => {
                begun
                    .tasks
                    .spawn(forget(common.verifier.clone(), shutdown.clone()));
                let (collector, every) = (common.collector.clone(), common.settings.collect_every);
                let (ending, span) = (shutdown.clone(), tracing::error_span!(SPAN, name));
                begun
                    .tasks
                    .spawn(async move { collector.run(every, ending).await }.instrument(span));
                Ok(Self {
                    identity: common.identity.clone(),
                    store,
                    peers: begun.peers,
                    grip: begun.grip,
                    user: begun.user,
                    user_fingerprint: begun.user_fingerprint,
                    smtp: begun.smtp,
                    shutdown,
                    tasks: begun.tasks,
                })
            }
            Err(error) => {
                shutdown.cancel();
                drop(common);
                if let Err(error) = store.close().await {
                    tracing::error!(%error, "the store was not closed cleanly");
                }
                Err(error)
            }
        }
    }

    /// The node's key.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where other nodes send notifications and messages.
    #[must_use]
    pub fn grip_address(&self) -> SocketAddr {
        self.grip.local_addr()
    }

    /// Where the programs of users connect.
    #[must_use]
    pub fn user_address(&self) -> SocketAddr {
        self.user.local_addr()
    }

    /// SHA-256 of the key of the certificate that users' programs see.
    #[must_use]
    pub fn user_fingerprint(&self) -> [u8; 32] {
        self.user_fingerprint
    }

    /// Where mail comes in by SMTP.
    #[must_use]
    pub fn smtp_address(&self) -> Option<SocketAddr> {
        self.smtp.as_ref().map(SmtpServing::local_addr)
    }

    /// Where the Resource Mailbox's peers find it.
    #[must_use]
    pub fn peer_addresses(&self) -> Vec<PeerAddress> {
        self.peers.as_ref().map(Peers::addresses).unwrap_or_default()
    }

    /// Stops taking work, waits for what is under way, and closes the store.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if let Some(peers) = &self.peers {
            peers.stop().await;
        }
        if let Some(smtp) = self.smtp {
            smtp.stopped().await;
        }
        self.grip.stopped().await;
        self.user.stopped().await;
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store was not closed cleanly");
        }
    }
}

impl Common {
    async fn open(
        settings: Settings,
        identity: Identity,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        store: &Embedded,
    ) -> Result<Self, NodeError> {
        let dns: Arc<dyn Dns> = Arc::new(Resolver::new(&settings.dns, clock.clone())?);
        let (blocks, records) = (store.blocks(), store.records());
        let ledger = Ledger::open(records.clone(), clock.clone()).await?;
        let accounts = Accounts::new(records.clone(), clock.clone(), randomness.clone());
        let shelters = Shelters::default();
        let holds = LegalHolds::new(
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
            network: Arc::new(Tcp),
            settings,
            identity,
            clock,
            randomness,
            dns,
            blocks,
            records,
        })
    }

    async fn mailbox(&self, peers: Arc<dyn Peers>) -> Result<Option<Arc<Mailbox>>, NodeError> {
        let Some(role) = &self.settings.mailbox else {
            return Ok(None);
        };
        let options = mailbox::Options {
            locator: role.locator.clone(),
            service: role.domain.clone(),
            concurrent: role.concurrent,
        };
        let needs = mailbox::Needs {
            identity: self.identity.clone(),
            blocks: self.blocks.clone(),
            shelters: self.shelters.clone(),
            records: self.records.clone(),
            ledger: self.ledger.clone(),
            accounts: self.accounts.clone(),
            verifier: self.verifier.clone(),
            signer: self.signer.clone(),
            dns: self.dns.clone(),
            peers,
            clock: self.clock.clone(),
            randomness: self.randomness.clone(),
        };
        Ok(Some(Mailbox::open(options, needs).await?))
    }

    async fn broker(&self, agent: Option<Arc<dyn Agent>>) -> Result<Option<Arc<Broker>>, NodeError> {
        let Some(role) = &self.settings.broker else {
            return Ok(None);
        };
        let certificate = self
            .identity
            .certificate(&ClientId::broker(&role.domain), self.clock.now())?;
        let https = https::Client::new(
            self.network.clone(),
            self.dns.clone(),
            self.clock.clone(),
            self.settings.policy.clone(),
        )
        .with_identity(&certificate)?;
        let smtp = smtp::Client::new(
            self.network.clone(),
            self.dns.clone(),
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
            concurrent: role.concurrent,
        };
        let needs = broker::Needs {
            identity: self.identity.clone(),
            blocks: self.blocks.clone(),
            shelters: self.shelters.clone(),
            records: self.records.clone(),
            ledger: self.ledger.clone(),
            accounts: self.accounts.clone(),
            verifier: self.verifier.clone(),
            signer: self.signer.clone(),
            dns: self.dns.clone(),
            clock: self.clock.clone(),
            randomness: self.randomness.clone(),
            https,
            smtp,
            dkim: smtp::Dkim::new(&self.identity, role.domain.clone(), publish::SELECTOR),
            authenticator: smtp::Authenticator::new(self.dns.clone(), self.settings.hostname.to_string()),
            agent,
        };
        Ok(Some(Broker::open(options, needs).await?))
    }
}

/// What was begun.
struct Begun {
    peers: Option<Host>,
    grip: Serving,
    user: Serving,
    user_fingerprint: [u8; 32],
    smtp: Option<SmtpServing>,
    tasks: TaskTracker,
}

async fn begin(common: &Common, shutdown: &CancellationToken) -> Result<Begun, NodeError> {
    let settings = &common.settings;
    let tasks = TaskTracker::new();
    let peers = match &settings.mailbox {
        Some(_) => Some(host(common).await?),
        None => None,
    };
    let mailbox = match &peers {
        Some(host) => common.mailbox(Arc::new(host.clone())).await?,
        None => None,
    };
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

    let smtp = match (&broker, settings.smtp.listen) {
        (Some(broker), Some(at)) => Some(smtp_face(common, broker.clone(), at, shutdown).await?),
        _ => None,
    };
    let grip = grip_face(common, grip_routes, shutdown).await?;
    let (user, user_fingerprint) = user_face(common, user_routes, broker.clone(), shutdown).await?;
    if let Some(mailbox) = mailbox {
        tasks.spawn(mailbox.run(shutdown.clone()).in_current_span());
    }
    if let Some(broker) = broker {
        tasks.spawn(broker.run(shutdown.clone()).in_current_span());
    }
    Ok(Begun {
        peers,
        grip,
        user,
        user_fingerprint,
        smtp,
        tasks,
    })
}

async fn host(common: &Common) -> Result<Host, NodeError> {
    let peers = &common.settings.peers;
    let options = HostOptions {
        quic: peers.quic,
        tcp: peers.tcp,
        announce: peers.announce.clone(),
        policy: peers.policy.clone(),
        ..HostOptions::default()
    };
    Ok(Host::start(&common.identity, options).await?)
}

async fn listen(
    common: &Common,
    section: &'static str,
    at: SocketAddr,
) -> Result<Box<dyn crate::network::Listener>, NodeError> {
    let listening = common.network.listen(at).await;
    listening.map_err(|why| NodeError::Listen { section, at, why })
}

async fn grip_face(
    common: &Common,
    routes: Router,
    shutdown: &CancellationToken,
) -> Result<Serving, NodeError> {
    let at = common.settings.grip.listen;
    let name = common.settings.hostname.to_string();
    let certificate = common.identity.server_certificate(&name, common.clock.now())?;
    let tls = https::grip_server(&certificate, common.clock.clone())?;
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
    shutdown: &CancellationToken,
) -> Result<(Serving, [u8; 32]), NodeError> {
    let at = common.settings.user.listen;
    let certificate = common.settings.user_certificate(common.clock.now())?;
    let door = Door {
        accounts: common.accounts.clone(),
        admin: AdminToken::open_or_create(&common.settings.data, &*common.randomness)?,
        mailbox: common.settings.mailbox.as_ref().map(|role| role.locator.clone()),
        broker: common.settings.broker.as_ref().map(|role| role.domain.clone()),
        ledger: common.ledger.clone(),
        queue: broker.map(|broker| broker as Arc<dyn door::Queue>),
        collector: common.collector.clone(),
        holds: common.holds.clone(),
    };
    let routes = door::door(routes, door);
    let tls = https::user_server(&certificate)?;
    let listener = listen(common, "user", at).await?;
    let serving = https::serve(listener, tls, routes, ServingLimits::default(), shutdown.clone());
    let serving = serving.map_err(|why| NodeError::Listen {
        section: "user",
        at,
        why,
    })?;
    Ok((serving, certificate.spki_sha256()))
}

async fn smtp_face(
    common: &Common,
    broker: Arc<Broker>,
    at: SocketAddr,
    shutdown: &CancellationToken,
) -> Result<SmtpServing, NodeError> {
    let options = smtp::ServerOptions {
        size: common.settings.smtp.size,
        tls: Some(https::user_server(
            &common.settings.user_certificate(common.clock.now())?,
        )?),
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
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        if let Err(error) = verifier.forget_expired().await {
            tracing::error!(%error, "the replay memory could not be swept");
        }
    }
}
