//! A node in the real world: its store, its libp2p host and its resolver, and the [`Services`] that run on them.
//!
//! What always holds: every face listens before [`Node::start`] returns, or none does and the error names the one that
//! could not; [`Node::stop`] returns once everything that was begun is finished or cut off and the store is closed cleanly.

mod renewal;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::KeyError;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::accounts::PasswordCost;
use crate::accounts::door::TokenError;
use crate::broker::BrokerError;
use crate::clock::{Clock, SystemClock, SystemRandomness};
use crate::config::Settings;
use crate::dns::{Dns, DnsError, Resolver};
use crate::https::TlsError;
use crate::identity::{Identity, IdentityError};
use crate::mailbox::MailboxError;
use crate::network::Tcp;
use crate::peers::{Host, HostOptions, Joining, PeerAddress, PeerError, Peers, Relaying, Spoken};
use crate::services::{Environment, SPAN, Services};
use crate::store::{Embedded, StoreError};

pub use renewal::{RenewalError, fingerprint};

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
    /// What other nodes ask shall come over libp2p, and there is no libp2p node.
    #[error("[grip] over asks for libp2p, and this environment has no libp2p node")]
    NoPeers,
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
    /// What is told of the certificate for people's programs.
    #[error(transparent)]
    Renewal(#[from] RenewalError),
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

/// A running node.
pub struct Node {
    identity: Identity,
    store: Embedded,
    peers: Host,
    /// Whether others reach it over libp2p, or only it them.
    is_reached: bool,
    services: Services,
    /// Looks for a new certificate.
    _renewal: AbortOnDropHandle<()>,
}

impl Node {
    /// Opens the store, starts the roles and the faces that the settings ask for.
    ///
    /// # Errors
    /// [`NodeError`] names what could not be had; nothing is left running then.
    pub async fn start(settings: Settings) -> Result<Self, NodeError> {
        let identity = Identity::open_or_create(&settings.key, &SystemRandomness)?;
        let store = Embedded::open(&settings.store_folder(), settings.store.clone()).await?;
        let is_reached = settings.is_peer();
        match begin(settings.clone(), &identity, &store).await {
            Ok((peers, services)) => {
                let span = tracing::error_span!(SPAN, name = settings.name());
                let renewal = renewal::watch(settings, services.user_certificate().clone());
                Ok(Self {
                    identity,
                    store,
                    peers,
                    is_reached,
                    services,
                    _renewal: AbortOnDropHandle::new(tokio::spawn(renewal.instrument(span))),
                })
            }
            Err(error) => {
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

    /// The services that run on it.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Where its peers find it.
    #[must_use]
    pub fn peer_addresses(&self) -> Vec<PeerAddress> {
        self.peers.addresses()
    }

    /// Whether its peers may find it over a community.
    #[must_use]
    pub fn is_in_community(&self) -> bool {
        self.is_reached && self.peers.is_member()
    }

    /// Stops taking work, waits for what is under way, and closes the store.
    pub async fn stop(self) {
        self.services.end();
        self.peers.stop().await;
        self.services.stop().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store was not closed cleanly");
        }
    }
}

async fn begin(
    settings: Settings,
    identity: &Identity,
    store: &Embedded,
) -> Result<(Host, Services), NodeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dns = Arc::new(Resolver::new(&settings.dns, clock.clone())?);
    let span = tracing::error_span!(SPAN, name = settings.name());
    let peers = host(&settings, identity, dns.clone()).instrument(span).await?;
    let environment = Environment {
        clock,
        randomness: Arc::new(SystemRandomness),
        network: Arc::new(Tcp),
        dns,
        peers: Some(Arc::new(peers.clone())),
        blocks: store.blocks(),
        records: store.records(),
        password_cost: PasswordCost::default(),
    };
    let data = settings.data.clone();
    let started = Services::start(settings, identity.clone(), environment).await;
    let told = match started {
        Ok(services) => match renewal::tell(&data, services.user_certificate()) {
            Ok(()) => Ok(services),
            Err(error) => {
                services.stop().await;
                Err(error.into())
            }
        },
        Err(error) => Err(error),
    };
    match told {
        Ok(services) => Ok((peers, services)),
        Err(error) => {
            peers.stop().await;
            Err(error)
        }
    }
}

/// This node among its peers. A broker that only HTTPS leads to listens nowhere and holds no place at a relay, but reaches those that
/// only libp2p leads to.
async fn host(settings: &Settings, identity: &Identity, dns: Arc<dyn Dns>) -> Result<Host, NodeError> {
    let peers = &settings.peers;
    let is_reached = settings.is_peer();
    let joining = (!peers.communities.is_empty()).then(|| Joining {
        introducers: peers.communities.clone(),
        relay: match is_reached {
            true => peers.relay,
            false => Relaying::Never,
        },
        dns,
    });
    let mut served = Vec::new();
    if settings.mailbox.is_some() {
        served.push(Spoken::Exchange);
    }
    if settings.grip.over.is_libp2p() {
        served.push(Spoken::Grip);
    }
    let options = HostOptions {
        quic: peers.quic.filter(|_| is_reached),
        tcp: peers.tcp.filter(|_| is_reached),
        announce: match is_reached {
            true => peers.announce.clone(),
            false => Vec::new(),
        },
        joining,
        policy: peers.policy.clone(),
        served,
        ..HostOptions::default()
    };
    Ok(Host::start(identity, options).await?)
}
