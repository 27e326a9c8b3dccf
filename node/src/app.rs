//! The email application: composes and shares at an origin, sends through a broker, reads, and gives the author's message back.
//!
//! A library over the user-facing HTTPS face ([`crate::api`]); the command line, the demonstration and tests use it. Not here:
//! anything that a node decides. What always holds: files stream, so memory does not grow with them; what is read is checked against
//! the hash in the placeholder; no file is overwritten or written outside the folder that was named.

pub mod administration;
pub mod compose;
pub mod profile;
pub mod read;
pub mod save;
pub mod session;
mod stream;
pub mod submit;

#[cfg(test)]
pub(crate) mod double;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::address::Locator;
use cargomail_protocol::fault::{Fault, Faulty};

use crate::clock::{Clock, Randomness, SystemClock, SystemRandomness};
use crate::dns::{Dns, DnsError, Resolver, ResolverOptions};
use crate::https::{Client, HttpsError};
use crate::network::{AddressPolicy, Network, Tcp};
pub use compose::{ComposeError, Letter, Sent};
pub use profile::{Access, Profile, Url};
pub use read::{Opened, ReadError};
pub use session::Session;

/// Why the application could not do it.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The node could not be asked.
    #[error("{url}: {why}{}", hint(.why))]
    Https {
        /// Which node.
        url: String,
        /// Why.
        why: Box<HttpsError>,
    },
    /// The node said no.
    #[error("{url} says: {text}")]
    Said {
        /// Which node.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// The node answered something else than expected.
    #[error("{url} gave an answer that cannot be used: {why}; is it a Cargomail node of this version?")]
    Answer {
        /// Which node.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The profile cannot be used.
    #[error("{path}: {why}")]
    Profile {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// There is no profile.
    #[error("{0}: there is no profile; `cargomail login ADDRESS --url URL` makes one")]
    NoProfile(PathBuf),
    /// A URL that is no node's.
    #[error("{0:?} is not the URL of a node: write it as https://node.example.test:8443")]
    Url(String),
    /// The profile has no broker.
    #[error("the profile has no broker: `cargomail login` at the node that is the broker of your domain")]
    NoBroker,
    /// The profile has no Resource Mailbox.
    #[error("the profile has no Resource Mailbox: `cargomail login` at the node that keeps your resources")]
    NoMailbox,
    /// The profile does not have this Resource Mailbox.
    #[error("{0} is not in the profile: `cargomail login` at the node of that name first")]
    UnknownMailbox(Locator),
    /// The profile's SMTP server is none.
    #[error("submission = {0:?} in the profile is not host:port")]
    Submission(String),
    /// The name is not one that a node gives.
    #[error("{0:?} is not the name of anything; the lists show the names")]
    Name(String),
}

fn hint(error: &HttpsError) -> &'static str {
    match error {
        HttpsError::WrongPin { .. } => {
            "; if the node has a new key, `cargomail login` again with the --fingerprint that it prints"
        }
        HttpsError::Tls { .. } => "; a node with a certificate of its own needs --fingerprint at login",
        HttpsError::Connect(_) => "; does the node run?",
        _ => "",
    }
}

impl Faulty for AppError {
    fn fault(&self) -> Fault {
        match self {
            AppError::Https { why, .. } => why.fault(),
            AppError::Said { status, .. } => fault_of(*status),
            AppError::Answer { .. } => Fault::TryLater(Duration::from_secs(60)),
            AppError::File { .. } | AppError::Profile { .. } => Fault::Local,
            AppError::Url(_) | AppError::Submission(_) | AppError::Name(_) => Fault::Malformed,
            AppError::NoProfile(_)
            | AppError::NoBroker
            | AppError::NoMailbox
            | AppError::UnknownMailbox(_) => Fault::Unauthenticated,
        }
    }
}

/// The fault behind a status, as [`Fault::http`] writes them.
fn fault_of(status: u16) -> Fault {
    match status {
        401 => Fault::Unauthenticated,
        403 => Fault::Refused,
        404 => Fault::NotFound,
        413 => Fault::TooLarge,
        507 => Fault::OverQuota,
        429 | 500.. => Fault::TryLater(Duration::from_secs(60)),
        _ => Fault::Malformed,
    }
}

/// Who is told how far a transfer is.
pub trait Watch: Send + Sync {
    /// A transfer of so many octets begins.
    fn begin(&self, what: &str, octets: u64);
    /// So many more octets have moved.
    fn moved(&self, octets: u64);
    /// It is over.
    fn end(&self);
}

/// Nobody is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _: &str, _: u64) {}
    fn moved(&self, _: u64) {}
    fn end(&self) {}
}

/// What the application needs of the world.
#[derive(Clone)]
pub struct World {
    /// Connects.
    pub network: Arc<dyn Network>,
    /// Resolves the names in URLs.
    pub dns: Arc<dyn Dns>,
    /// Dates letters.
    pub clock: Arc<dyn Clock>,
    /// Names letters.
    pub randomness: Arc<dyn Randomness>,
}

impl World {
    /// The real one.
    ///
    /// # Errors
    /// [`DnsError`] when there is no resolver.
    pub fn real() -> Result<Self, DnsError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // A machine without a resolver can still reach nodes at addresses.
        let nearest = ResolverOptions {
            servers: vec![SocketAddr::from(([127, 0, 0, 1], 53))],
            ..ResolverOptions::default()
        };
        let dns = Resolver::new(&ResolverOptions::default(), clock.clone())
            .or_else(|_| Resolver::new(&nearest, clock.clone()))?;
        Ok(Self {
            network: Arc::new(Tcp),
            dns: Arc::new(dns),
            clock,
            randomness: Arc::new(SystemRandomness),
        })
    }

    /// A client for nodes that the user named: whatever address they have.
    #[must_use]
    pub fn client(&self) -> Client {
        let everything = AddressPolicy::allowing(&["0.0.0.0/0", "::/0"]).unwrap_or_default();
        Client::new(
            self.network.clone(),
            self.dns.clone(),
            self.clock.clone(),
            everything,
        )
    }
}

/// A user at their nodes.
#[derive(Clone)]
pub struct App {
    profile: Profile,
    world: World,
    client: Client,
}

impl App {
    /// The application of a user.
    #[must_use]
    pub fn new(profile: Profile, world: World) -> Self {
        let client = world.client();
        Self {
            profile,
            world,
            client,
        }
    }

    /// Who the user is, and where.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The user's session at the broker.
    ///
    /// # Errors
    /// [`AppError::NoBroker`].
    pub fn broker(&self) -> Result<Session, AppError> {
        let access = self.profile.broker.as_ref().ok_or(AppError::NoBroker)?;
        Ok(Session::open(&self.client, access))
    }

    /// The user's session at this Resource Mailbox.
    ///
    /// # Errors
    /// [`AppError::UnknownMailbox`].
    pub fn mailbox(&self, locator: &Locator) -> Result<Session, AppError> {
        let found = self
            .profile
            .mailboxes
            .iter()
            .find(|mailbox| mailbox.locator == *locator);
        let mailbox = found.ok_or_else(|| AppError::UnknownMailbox(locator.clone()))?;
        Ok(Session::open(&self.client, &mailbox.access))
    }

    /// The Resource Mailbox that letters are posted to: this one, or the first of the profile.
    ///
    /// # Errors
    /// [`AppError::NoMailbox`], [`AppError::UnknownMailbox`].
    pub fn origin(&self, wanted: Option<&Locator>) -> Result<(Locator, Session), AppError> {
        let locator = match wanted {
            Some(locator) => locator,
            None => &self.profile.mailboxes.first().ok_or(AppError::NoMailbox)?.locator,
        };
        Ok((locator.clone(), self.mailbox(locator)?))
    }
}
