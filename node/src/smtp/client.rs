//! The client: finds the next server (RFC 5321 §5.1), and gives it a message.
//!
//! Not here: queues and retries; each call is one try. What always holds: an address that a stranger's DNS names is
//! connected to only when the policy allows it; a message is given to one server, and to the next one only when the first
//! has not seen a byte of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::address::Domain;
use cargomail_protocol::channel::StatusCode;
use cargomail_protocol::fault::{Fault, Faulty};
use rustls::ClientConfig;

use super::delivery::{Delivery, Needs, Said, Unclean};
use super::dialogue::{Dialogue, Protocol, Step};
use super::reply::{Broken, Reply};
use super::tls;
use crate::dns::{Dns, DnsError};
use crate::network::{AddressPolicy, ByteStream, ConnectError, Network, reach};

/// How many of a domain's mail exchangers are tried.
const EXCHANGERS: usize = 5;
/// One connection to one address.
const CONNECT: Duration = Duration::from_secs(30);

/// How the client introduces itself, and where it may go.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// What the client calls itself: a host name.
    pub helo: String,
    /// The port of mail exchangers: 25.
    pub port: u16,
    /// Which addresses a domain's mail exchangers may have.
    pub policy: AddressPolicy,
    /// Everything goes to this host and port instead, wherever it is.
    pub smart_host: Option<(String, u16)>,
}

/// Why a message went to nobody.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The domain takes no mail (RFC 7505).
    #[error("{0} takes no mail")]
    NullMx(Domain),
    /// The domain has neither mail exchangers nor addresses.
    #[error("{0} does not exist as a mail domain")]
    NoSuchDomain(Domain),
    /// The best mail exchanger of the domain is this node itself, which does not know the recipient (RFC 5321 §5.1).
    #[error("mail for {0} loops back to this node")]
    Loop(Domain),
    /// The DNS did not answer.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// No connection to a mail exchanger.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No connection to a host that this node's own configuration names.
    #[error("the configured {host} cannot be reached: {why}")]
    Configured {
        /// The host.
        host: String,
        /// Why.
        why: ConnectError,
    },
    /// The message has octets that are not sent.
    #[error("the message has {0}")]
    Unclean(#[from] Unclean),
    /// The server does not talk to this node.
    #[error("{host} turned this node away: {text}")]
    TurnedAway {
        /// The server.
        host: String,
        /// Its reply's code.
        code: u16,
        /// Its words.
        text: String,
    },
    /// The dialogue broke off; whether the server has the message is not known when it broke off behind it.
    #[error("{host}: {why}")]
    Broken {
        /// The server.
        host: String,
        /// Why.
        why: Broken,
    },
}

impl ClientError {
    /// The code of RFC 3463 for a report to the sender; none when it is worth trying again.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        if self.fault().is_temporary() {
            return None;
        }
        let (subject, detail) = match self {
            ClientError::NullMx(_) => (1, 10),
            ClientError::NoSuchDomain(_) => (1, 2),
            ClientError::Loop(_) => (4, 6),
            ClientError::Unclean(_) => (6, 0),
            ClientError::TurnedAway { .. } => (3, 2),
            ClientError::Dns(_)
            | ClientError::Connect(_)
            | ClientError::Configured { .. }
            | ClientError::Broken { .. } => (4, 4),
        };
        StatusCode::new(subject, detail)
    }

    fn is_temporary(&self) -> bool {
        self.fault().is_temporary()
    }
}

impl Faulty for ClientError {
    fn fault(&self) -> Fault {
        match self {
            ClientError::NullMx(_) | ClientError::NoSuchDomain(_) => Fault::NotFound,
            ClientError::Loop(_) => Fault::Refused,
            ClientError::Dns(error) => error.fault(),
            ClientError::Connect(error) => error.fault(),
            ClientError::Configured { .. } => Fault::Local,
            ClientError::Unclean(_) => Fault::Malformed,
            ClientError::TurnedAway { code: 500.., .. } => Fault::Refused,
            ClientError::TurnedAway { .. } | ClientError::Broken { .. } => {
                Fault::TryLater(Duration::from_secs(60))
            }
        }
    }
}

/// Gives messages to other servers. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    network: Arc<dyn Network>,
    dns: Arc<dyn Dns>,
    options: Arc<ClientOptions>,
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// One server to try.
struct Target<'a> {
    host: &'a str,
    port: u16,
    protocol: Protocol,
    /// None for a host that this node's own configuration names.
    policy: Option<&'a AddressPolicy>,
}

impl Client {
    /// A client; nothing is connected yet.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, dns: Arc<dyn Dns>, options: ClientOptions) -> Self {
        Self {
            network,
            dns,
            options: Arc::new(options),
            tls: tls::opportunistic(),
        }
    }

    /// Gives the message to the domain's mail exchangers, or to the smart host; what was said of each recipient, in order.
    ///
    /// # Errors
    /// [`ClientError`] when no server said anything of any recipient; of several servers' failures the one that makes it
    /// worth trying again.
    pub async fn send(&self, to: &Domain, delivery: &Delivery) -> Result<Vec<Said>, ClientError> {
        if let Some((host, port)) = &self.options.smart_host {
            return self.smtp(host, *port, delivery).await;
        }
        let needs = Needs::of(delivery)?;
        let mut failure = None;
        for host in self.exchangers(to).await?.iter().take(EXCHANGERS) {
            let target = Target {
                host,
                port: self.options.port,
                protocol: Protocol::Smtp,
                policy: Some(&self.options.policy),
            };
            let error = match Box::pin(self.give(&target, delivery, needs)).await {
                Ok(said) => return Ok(said),
                Err(Failed::AfterMessage(error)) => return Err(error),
                Err(Failed::BeforeMessage(error)) => error,
            };
            tracing::info!(%host, %error, "a mail exchanger did not take the message");
            let replace = failure
                .as_ref()
                .is_none_or(|old: &ClientError| !old.is_temporary() && error.is_temporary());
            if replace {
                failure = Some(error);
            }
        }
        Err(match failure {
            Some(ClientError::Connect(ConnectError::Dns(DnsError::NoRecord { .. }))) => {
                ClientError::NoSuchDomain(to.clone())
            }
            Some(error) => error,
            None => ClientError::NoSuchDomain(to.clone()),
        })
    }

    /// Gives the message to this server, which this node's own configuration names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn smtp(&self, host: &str, port: u16, delivery: &Delivery) -> Result<Vec<Said>, ClientError> {
        self.configured(host, port, Protocol::Smtp, delivery).await
    }

    /// Gives the message by LMTP to this mail store, which this node's own configuration names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn lmtp(&self, host: &str, port: u16, delivery: &Delivery) -> Result<Vec<Said>, ClientError> {
        self.configured(host, port, Protocol::Lmtp, delivery).await
    }

    async fn configured(
        &self,
        host: &str,
        port: u16,
        protocol: Protocol,
        delivery: &Delivery,
    ) -> Result<Vec<Said>, ClientError> {
        let needs = Needs::of(delivery)?;
        let target = Target {
            host,
            port,
            protocol,
            policy: None,
        };
        let given = Box::pin(self.give(&target, delivery, needs)).await;
        given.map_err(|failed| match failed {
            Failed::BeforeMessage(error) | Failed::AfterMessage(error) => error,
        })
    }

    /// The hosts that take a domain's mail, best first.
    async fn exchangers(&self, to: &Domain) -> Result<Vec<String>, ClientError> {
        let records = match self.dns.mx(to.as_str()).await {
            Ok(answer) => answer.records,
            // No MX: the domain itself (RFC 5321 §5.1).
            Err(DnsError::NoRecord { .. }) => return Ok(vec![to.to_string()]),
            Err(error) => return Err(error.into()),
        };
        let own = |host: &str| host.eq_ignore_ascii_case(&self.options.helo);
        let ours = records.iter().find(|mx| own(&mx.host)).map(|mx| mx.preference);
        let named: Vec<_> = records.into_iter().filter(|mx| !mx.host.is_empty()).collect();
        if named.is_empty() {
            return Err(ClientError::NullMx(to.clone()));
        }
        let better: Vec<_> = named
            .into_iter()
            .filter(|mx| ours.is_none_or(|ours| mx.preference < ours))
            .map(|mx| mx.host)
            .collect();
        if better.is_empty() {
            return Err(ClientError::Loop(to.clone()));
        }
        Ok(better)
    }

    /// One server: with TLS where it is offered, and once more without when the handshake fails.
    async fn give(
        &self,
        target: &Target<'_>,
        delivery: &Delivery,
        needs: Needs,
    ) -> Result<Vec<Said>, Failed> {
        let mut without_tls = false;
        loop {
            let stream = self.connect(target).await.map_err(Failed::BeforeMessage)?;
            let broken = |why| {
                Failed::BeforeMessage(ClientError::Broken {
                    host: target.host.to_owned(),
                    why,
                })
            };
            let opened = Dialogue::open(stream).await.map_err(broken)?;
            let mut dialogue = done(opened, target)?;
            let helo = &self.options.helo;
            let hello = dialogue.hello(target.protocol, helo).await.map_err(broken)?;
            let mut offered = done(hello, target)?;
            if offered.starttls && !without_tls && dialogue.starttls().await.map_err(broken)? {
                dialogue = match dialogue.secure(target.host, self.tls.clone()).await {
                    Ok(secured) => secured,
                    Err(error) => {
                        tracing::info!(host = target.host, %error, "TLS failed; once more without it");
                        without_tls = true;
                        continue;
                    }
                };
                let hello = dialogue.hello(target.protocol, helo).await.map_err(broken)?;
                offered = done(hello, target)?;
            }
            let given = dialogue.transact(target.protocol, offered, delivery, needs).await;
            match given {
                Ok(said) => {
                    dialogue.quit().await;
                    return Ok(said);
                }
                Err(why) => {
                    let host = target.host.to_owned();
                    let error = ClientError::Broken { host, why };
                    return Err(if dialogue.has_begun() {
                        Failed::AfterMessage(error)
                    } else {
                        Failed::BeforeMessage(error)
                    });
                }
            }
        }
    }

    async fn connect(&self, target: &Target<'_>) -> Result<Box<dyn ByteStream>, ClientError> {
        let (dns, network) = (&*self.dns, &*self.network);
        if let Some(policy) = target.policy {
            return Ok(reach(dns, network, policy, target.host, target.port, CONNECT)
                .await?
                .0);
        }
        let configured = |why| ClientError::Configured {
            host: target.host.to_owned(),
            why,
        };
        let literal = match target.host {
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host => host.parse().ok(),
        };
        let Some(address) = literal else {
            let reached = reach(dns, network, &anywhere(), target.host, target.port, CONNECT).await;
            return Ok(reached.map_err(configured)?.0);
        };
        let connecting = network.connect(SocketAddr::new(address, target.port));
        let connected = match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        connected.map_err(|why| {
            configured(ConnectError::Unreachable {
                host: target.host.to_owned(),
                port: target.port,
                why,
            })
        })
    }
}

/// Whether another server may be tried.
enum Failed {
    BeforeMessage(ClientError),
    AfterMessage(ClientError),
}

fn done<T>(step: Step<T>, target: &Target<'_>) -> Result<T, Failed> {
    match step {
        Step::Done(done) => Ok(done),
        Step::Declined(reply) => Err(Failed::BeforeMessage(turned_away(target, &reply))),
    }
}

fn turned_away(target: &Target<'_>, reply: &Reply) -> ClientError {
    ClientError::TurnedAway {
        host: target.host.to_owned(),
        code: reply.code,
        text: reply.text(),
    }
}

/// For hosts that this node's own configuration names.
fn anywhere() -> AddressPolicy {
    AddressPolicy::allowing(&["0.0.0.0/0", "::/0"]).expect("both are networks")
}
