//! The Cargo Broker: takes placeholders for the users of its domain, has their resources sent where each user wishes,
//! delivers, and sends what its users write.
//!
//! The files are the steps of the walk, in their order:
//!
//! | file | step |
//! |---|---|
//! | `send` | 4: a user's message is queued, one entry for each recipient domain |
//! | `transmit` | 4: a queued message is given to the recipients' broker, by the web channel (`web`) or by SMTP |
//! | `channel`, `receive` | 5: a message comes, by the web channel or by SMTP |
//! | `accept` | 5: it is judged and made durable, once, whichever way and however often it comes |
//! | `route` | 5: the recipient's wishes decide about its resources |
//! | `notify`, `follow` | 6: a destination is told of them, and asked how far it is |
//! | `deliver`, `inbox`, `fill` | 8: it is put into the User Mailbox, which has so much room |
//! | `report` | what failed for good is told to the sender |
//! | `work`, `queue`, `change`, `unnoted` | one step after the other, one commit for each, and what waits for a commit |
//!
//! Not here: SMTP, HTTPS and streams themselves, the checks of tokens, resources (a broker never sees one).
//!
//! What always holds: nobody is told that a message was accepted before it and its entry are durable; each entry moves by
//! one commit at a time, over one step or over several that need not wait, so a crash before it repeats them and loses nothing; a
//! message that fails costs the others nothing. A placeholder whose resources no destination takes is not delivered: its sender is told why, and its
//! recipient is not shown a message that cannot be read.
//!
//! Records: `inbound/<id>`, `outbound/<id>`, `queued/<sender>/<id, inverted>`, `seen/<domain>/<hash>/<recipient>`,
//! `submitted/<sender>/<hash>`, `message/<user>/<id>`, `hidden-message/<user>/<id>`, `folder/<user>/<folder>/<id, inverted>`,
//! `preferences/<user>`, `sent-receipt/<sender>/<entry>/<token>`.

mod accept;
mod ask;
mod change;
mod channel;
mod claims;
mod deliver;
mod domains;
mod fields;
mod fill;
mod follow;
mod inbound;
mod inbox;
mod notify;
mod outbound;
mod queue;
mod receive;
mod report;
mod room;
mod route;
mod send;
mod transmit;
mod unnoted;
mod user_routes;
mod web;
mod work;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use cargomail_protocol::address::{Address, ClientId, Domain, Locator};
use cargomail_protocol::channel::ChannelError;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::{IssueError, KeyHash, Proved};
use cargomail_protocol::limits;
use cargomail_protocol::placeholder::{Broken, HeaderError};
use cargomail_protocol::routing::RoutingError;
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use tokio::sync::{OnceCell, Semaphore, broadcast};
use uuid::Uuid;

use crate::accounts::Accounts;
use crate::agent::Agent;
use crate::api::Channel;
use crate::clock::{self, Clock, Randomness};
use crate::dns::Dns;
use crate::grip::{Signer, Verifier, VerifyError};
use crate::identity::Identity;
use crate::keeping::Shelters;
use crate::ledger::Ledger;
use crate::network::Cidr;
use crate::store::typed::Stored;
use crate::store::{BlockStore, CommitError, RecordStore, StoreError};
use crate::{https, smtp};

use change::Change;
use deliver::Taken;
use fill::Fill;
use queue::Queue;
use room::Room;
use transmit::Tried;
use unnoted::Unnoted;

pub(crate) use claims::claim;
pub(crate) use inbox::let_go;

/// Octets of memory in which bodies of web channel requests are counted.
const ROOM: usize = 16 * 1024;
/// Arrivals that a slow subscriber may be behind before it misses some.
const ARRIVALS: usize = 256;

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct Options {
    /// The domain whose users' mail this is.
    pub domain: Domain,
    /// How messages travel to other domains when their sender does not say.
    pub channel: Channel,
    /// Where mail is delivered.
    pub deliver: Deliver,
    /// MTAs in front of this broker, which have authenticated what they pass on.
    pub trusted: Vec<Cidr>,
    /// Octets of messages of one user after which no more are taken; none is no bound. Where mail is delivered to another mail store, that one's
    /// bounds count.
    pub quota: Option<u64>,
    /// The largest ordinary message that leaves for domains without Cargomail, octets; none leaves when it is 0.
    pub ordinary: usize,
    /// Steps at once, of arriving and of leaving messages each.
    pub concurrent: usize,
}

/// Where mail is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deliver {
    /// Into the User Mailboxes of this node.
    BuiltIn,
    /// To a mail store, by LMTP (RFC 2033).
    Lmtp {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// What a broker works with.
pub struct Needs {
    /// The node's key.
    pub identity: Identity,
    /// Where messages and notifications are kept.
    pub blocks: Arc<dyn BlockStore>,
    /// What is stored and not yet referred to.
    pub shelters: Shelters,
    /// Where entries are kept.
    pub records: Arc<dyn RecordStore>,
    /// Where receipts are noted.
    pub ledger: Ledger,
    /// The users of the domain.
    pub accounts: Accounts,
    /// Judges tokens.
    pub verifier: Verifier,
    /// Signs tokens.
    pub signer: Signer,
    /// The DNS.
    pub dns: Arc<dyn Dns>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub randomness: Arc<dyn Randomness>,
    /// A client with the certificate of `_cb.<domain>`, and with this node's peers if it has some.
    pub https: https::Client,
    /// Gives messages to other mail servers.
    pub smtp: smtp::Client,
    /// Signs messages for SMTP.
    pub dkim: smtp::Dkim,
    /// Says what SPF, DKIM and DMARC say.
    pub authenticator: smtp::Authenticator,
    /// The agent of the Resource Mailbox that is in this process, if one is.
    pub agent: Option<Arc<dyn Agent>>,
}

/// Why the broker did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else changed the same record.
    #[error("{0} was changed by somebody else")]
    Conflict(String),
    /// A message or a notification that a record refers to is not in the store.
    #[error("{0} is not in the store")]
    Missing(Cid),
    /// The header of a message cannot be read.
    #[error("the header of the message: {0}")]
    Header(#[from] HeaderError),
    /// A placeholder that is refused.
    #[error("the placeholder: {0}")]
    Broken(#[from] Broken),
    /// More Received fields than a message collects on its way.
    #[error("the message is going in a loop")]
    Loop,
    /// The author that From names is not the sender, or From names nobody or several.
    #[error("the From field does not name the sender as the one author")]
    Author,
    /// A message without exactly one Message-ID of the form `<…>`.
    #[error("the message needs one Message-ID of the form <…>")]
    MessageId,
    /// The sender is not of this broker's domain.
    #[error("{0} is not an address of this domain")]
    Foreign(Address),
    /// The envelope names nobody or too many.
    #[error("a message needs between 1 and {most} recipients", most = cargomail_protocol::limits::SHARE_RECIPIENTS)]
    Recipients,
    /// A body of a request that broke off or came too slowly: it may be as good as any.
    #[error("the body did not come whole in time")]
    Unfinished,
    /// A body of a request that is not what it should be.
    #[error("{0}")]
    Request(&'static str),
    /// A request or a message above its bound.
    #[error("larger than {0} octets")]
    TooLarge(usize),
    /// A batch that is refused.
    #[error(transparent)]
    Batch(#[from] ChannelError),
    /// A token was not believed.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A request without a token.
    #[error("no token")]
    NoToken,
    /// A token could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// Preferences that are refused.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// A message could not be signed.
    #[error("DKIM: {0}")]
    Dkim(String),
    /// An ordinary message that does not belong to its placeholder, or may not leave.
    #[error("the ordinary message: {0}")]
    Ordinary(&'static str),
    /// There is no such thing for this user.
    #[error("there is no such message")]
    NotFound,
    /// The user's own mailbox is full.
    #[error(
        "your User Mailbox, with what you sent and has not left, is full: make room with `cargomail delete`, or wait; then send again"
    )]
    Full,
    /// Too much at once.
    #[error("too many requests at once; try again soon")]
    Busy,
    /// What SPF, DKIM and DMARC say is not known now.
    #[error("the sender cannot be authenticated now")]
    NotNow,
}

impl Faulty for BrokerError {
    fn fault(&self) -> Fault {
        match self {
            BrokerError::Store(error) => error.fault(),
            BrokerError::Conflict(_) | BrokerError::Missing(_) | BrokerError::Dkim(_) => Fault::Local,
            BrokerError::Header(error) => error.fault(),
            BrokerError::Broken(error) => error.fault(),
            BrokerError::Loop | BrokerError::Author | BrokerError::Foreign(_) | BrokerError::Ordinary(_) => {
                Fault::Refused
            }
            BrokerError::MessageId | BrokerError::Recipients | BrokerError::Request(_) => Fault::Malformed,
            BrokerError::TooLarge(_) => Fault::TooLarge,
            BrokerError::Batch(error) => error.fault(),
            BrokerError::Verify(error) => error.fault(),
            BrokerError::NoToken => Fault::Unauthenticated,
            BrokerError::Issue(error) => error.fault(),
            BrokerError::Routing(error) => error.fault(),
            BrokerError::NotFound => Fault::NotFound,
            BrokerError::Full => Fault::OverQuota,
            BrokerError::Busy | BrokerError::Unfinished => Fault::TryLater(Duration::from_secs(5)),
            BrokerError::NotNow => Fault::TryLater(Duration::from_secs(60)),
        }
    }
}

impl From<CommitError> for BrokerError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(key) => BrokerError::Conflict(key),
            CommitError::Store(error) => BrokerError::Store(error),
        }
    }
}

/// The Cargo Broker of a domain.
pub struct Broker {
    options: Options,
    needs: Needs,
    inbound: Arc<Queue>,
    outbound: Arc<Queue>,
    judging: Semaphore,
    /// Room in memory for large messages that leave.
    leaving: Room,
    arrivals: broadcast::Sender<(Address, Uuid)>,
    fill: Arc<Fill>,
    /// Whether the store took the last change that was to be made.
    writable: Arc<AtomicBool>,
    /// What a leaving message's last try came to, and what the mail store said of an arriving one.
    tried: Unnoted<Tried>,
    taken: Unnoted<Taken>,
    /// Whose account of the domain is the oldest; accounts stay.
    oldest: OnceCell<Address>,
    /// As which this broker asks an agent in this process: what its certificate would prove.
    own: Proved,
}

impl Broker {
    /// Opens the broker and takes up every entry where it was left. Nothing moves before [`Broker::run`].
    ///
    /// # Errors
    /// [`BrokerError::Store`].
    pub async fn open(options: Options, needs: Needs) -> Result<Arc<Self>, BrokerError> {
        let places = options.concurrent.max(1);
        let broker = Arc::new(Self {
            inbound: Arc::new(Queue::new(places)),
            outbound: Arc::new(Queue::new(places)),
            judging: Semaphore::new(limits::BODIES / ROOM),
            leaving: Room::new(limits::LEAVING),
            arrivals: broadcast::Sender::new(ARRIVALS),
            fill: Arc::default(),
            writable: Arc::new(AtomicBool::new(true)),
            tried: Unnoted::default(),
            taken: Unnoted::default(),
            oldest: OnceCell::new(),
            own: Proved::Certificate {
                key: KeyHash::from_bytes(needs.identity.spki_sha256()),
                name: ClientId::broker(&options.domain).to_string(),
            },
            options,
            needs,
        });
        broker.take_up().await?;
        Ok(broker)
    }

    fn records(&self) -> &dyn RecordStore {
        &*self.needs.records
    }

    /// The agent of this locator, when it is in this process.
    fn own_agent(&self, locator: &Locator) -> Option<&dyn Agent> {
        let agent = self.needs.agent.as_deref();
        agent.filter(|agent| agent.locator() == locator)
    }

    fn now(&self) -> Timestamp {
        self.needs.clock.now()
    }

    /// A fresh name that sorts behind the earlier ones.
    fn fresh(&self) -> Uuid {
        clock::uuid(&*self.needs.clock, &*self.needs.randomness)
    }

    /// For the jitter of a pause.
    fn random(&self) -> u32 {
        let mut octets = [0_u8; 4];
        self.needs.randomness.fill(&mut octets);
        u32::from_le_bytes(octets)
    }

    /// Octets for so many records that this change writes: durable on return and sheltered until it is made, or with the records
    /// themselves.
    async fn store(&self, octets: Bytes, records: usize, change: &mut Change) -> Result<Stored, BrokerError> {
        if let Some(within) = Stored::within(&octets, records) {
            return Ok(within);
        }
        let shelter = change.shelter(&self.needs.shelters);
        Ok(Stored::put(&*self.needs.blocks, shelter, octets).await?)
    }

    async fn read(&self, stored: &Stored) -> Result<Bytes, BrokerError> {
        let octets = stored.read(&*self.needs.blocks).await?;
        octets.ok_or(BrokerError::Missing(stored.cid))
    }
}

/// A user as keys name them: local parts that differ only in case are one user, as they are one account.
fn user(address: &Address) -> String {
    address.to_string().to_lowercase()
}

/// An identifier that sorts the other way round: newest first.
fn inverted(id: Uuid) -> Uuid {
    Uuid::from_u128(!id.as_u128())
}
