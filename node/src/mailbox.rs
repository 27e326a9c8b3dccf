//! The Resource Mailbox: keeps resources and shares, serves blocks, takes notifications and retrieves.
//!
//! Each file is a step of the walk: `post` and `share` at the origin, `notified`, `retrieve` and `fetch` at the destination,
//! `serve` and `authorize` at the origin again, `receipt` at both, `read` at the destination. Behind the walk, `belongings` shows
//! a user what they hold and why it is kept, `delete` and `expire` end it, `forget` ends what was kept for others' questions, and `claims` tells the
//! collector. Not here: tokens, frames and
//! walks, which the protocol decides; addresses that may be dialled, which is the peer host's business.
//!
//! What always holds: blocks are durable before the record that names them; a record and the ledger entry that tells of
//! it are one commit; nothing is said to a peer, a broker or a user before it is durable; a resource is shown only to
//! who holds it, and what is not shown looks as if it were not there.
//!
//! Records of this module, all strict dag-cbor. `<who>` is an address in lower case; `<newest>` a UUID or a job behind its time
//! turned round, so that the newest comes first:
//!
//! | key | value |
//! |---|---|
//! | `resource/<cid>` | a resource that is here whole |
//! | `holding/<who>/<cid>` | that somebody posted it, or that it was retrieved for them; hidden when they deleted it under a legal hold |
//! | `usage/<who>` | octets that somebody holds, octets and jobs on their way |
//! | `share/<id>` | a share |
//! | `share-by/<who>/<newest>`, `share-of/<who>/<SHA-256 of the Message-ID>/<newest>` | which share of a sender it is |
//! | `share-to/<sender>/<recipient>/<newest>` | which share it is |
//! | `share-ends/<end>-<id>` | a share that has not ended yet, by its end |
//! | `share-last/<who>` | written with every share of somebody |
//! | `grant/<digest>/<agent>` | what an agent was allowed to fetch by a notification |
//! | `granted/<share>/<who>` | by how many notifications a recipient was allowed to fetch what a share names |
//! | `receipt/<digest>/<agent>` | the receipt for it |
//! | `received/<share>/<who>` | that a recipient's agent has acknowledged everything in a share |
//! | `job/<id>` | a retrieval |
//! | `job-place/<id>` | up to where its resources are durable, and up to where they were verified |
//! | `job-open/<id>` | that something is still to be done for it |
//! | `job-of/<who>/<newest>`, `job-message/<who>/<SHA-256 of the Message-ID>/<newest>` | whose it is |

mod agenda;
mod authorize;
mod belongings;
mod claims;
mod delete;
mod error;
mod expire;
mod fetch;
mod forget;
mod holdings;
mod import;
mod intake;
mod jobs;
mod line;
mod notified;
mod noting;
mod post;
mod read;
mod receipt;
mod reserve;
mod retrieve;
mod routes;
mod serve;
mod share;

use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::address::{Address, ClientId, Domain, Locator};
use cargomail_protocol::grip::{Digest, KeyHash};
use cargomail_protocol::limits;
use cargomail_protocol::timestamp::Timestamp;
use data_encoding::HEXLOWER;
use tokio_util::sync::CancellationToken;

use self::agenda::Agenda;
use self::holdings::Holdings;
use self::jobs::Jobs;
use self::reserve::Coming;
use crate::accounts::Accounts;
use crate::clock::{Clock, Randomness};
use crate::dns::Dns;
use crate::grip::{Signer, Verifier};
use crate::identity::Identity;
use crate::keeping::Shelters;
use crate::ledger::Ledger;
use crate::peers::Peers;
use crate::rate::Rate;
use crate::store::{BlockStore, RecordStore};

pub(crate) use self::claims::claim;
pub use self::error::MailboxError;
pub(crate) use self::holdings::{let_go, no_longer_whole, resource};
pub(crate) use self::import::import_file;

/// How often a commit is tried again when somebody else changed the same records.
const COMMITS: usize = 32;
/// Entries of a list that a user is shown, the newest.
const LISTED: usize = 200;
/// Fetches are counted over it, and the memory of who fetched is swept as often.
const MINUTE: Duration = Duration::from_secs(60);

/// Which Resource Mailbox this is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name.
    pub locator: Locator,
    /// The domain of its agent, `_rra.<service>`; the locator is this domain or below it.
    pub service: Domain,
    /// Retrievals at once.
    pub concurrent: usize,
}

/// What the Resource Mailbox works with.
pub struct Needs {
    /// This node's key.
    pub identity: Identity,
    /// Where blocks are kept.
    pub blocks: Arc<dyn BlockStore>,
    /// What is stored and not yet referred to.
    pub shelters: Shelters,
    /// Where records are kept.
    pub records: Arc<dyn RecordStore>,
    /// What happened.
    pub ledger: Ledger,
    /// Whose resources are kept.
    pub accounts: Accounts,
    /// Judges tokens.
    pub verifier: Verifier,
    /// Signs tokens.
    pub signer: Signer,
    /// Where origins are.
    pub dns: Arc<dyn Dns>,
    /// Streams to and from other Resource Mailboxes.
    pub peers: Arc<dyn Peers>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random octets.
    pub randomness: Arc<dyn Randomness>,
}

/// A Resource Mailbox.
pub struct Mailbox {
    options: Options,
    needs: Needs,
    holdings: Holdings,
    jobs: Jobs,
    agenda: Agenda,
    coming: Coming,
    issuers: Rate<ClientId>,
    /// By share and recipient.
    fetches: Rate<String>,
}

impl Mailbox {
    /// Opens the Resource Mailbox in these stores; what was on its way goes on once it [`run`](Self::run)s.
    ///
    /// # Errors
    /// [`MailboxError::Store`].
    pub async fn open(options: Options, needs: Needs) -> Result<Arc<Self>, MailboxError> {
        let jobs = Jobs::new(needs.records.clone());
        let agenda = Agenda::new(options.concurrent);
        jobs.each_open(|job| agenda.put(&job, job.tries.due)).await?;
        let fetches = limits::FETCHES_PER_MINUTE;
        Ok(Arc::new(Self {
            holdings: Holdings::new(needs.records.clone(), needs.accounts.clone()),
            jobs,
            agenda,
            coming: Coming::default(),
            issuers: Rate::new(fetches, MINUTE / fetches),
            fetches: Rate::new(limits::FETCHES_PER_SHARE, limits::FETCHES_PAUSE),
            options,
            needs,
        }))
    }

    /// Serves peers and retrieves until cancelled; returns when the last stream has ended. What was under way goes on at
    /// the next start.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let sweeping = async {
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(MINUTE) => {
                        self.issuers.tidy(0);
                        self.fetches.tidy(0);
                    }
                }
            }
        };
        tokio::join!(
            self.clone().serve(shutdown.clone()),
            self.clone().retrieve(shutdown.clone()),
            self.expire(&shutdown),
            self.forget(&shutdown),
            sweeping
        );
    }

    fn now(&self) -> Timestamp {
        self.needs.clock.now()
    }

    fn random(&self) -> u32 {
        let mut octets = [0; 4];
        self.needs.randomness.fill(&mut octets);
        u32::from_le_bytes(octets)
    }

    /// The hash of this node's own key.
    fn own_key(&self) -> KeyHash {
        KeyHash::from_bytes(self.needs.identity.spki_sha256())
    }

    /// The names by which tokens may address this Resource Mailbox.
    fn audience(&self) -> Vec<Domain> {
        vec![self.options.locator.domain().clone()]
    }

    /// Counts a request of an issuer that has proved who it is.
    fn count(&self, issuer: &ClientId) -> Result<(), MailboxError> {
        self.issuers.pass(issuer).map_err(MailboxError::TooOften)
    }
}

/// An address as it stands in keys: addresses that differ in case only are one account.
fn who(address: &Address) -> String {
    address.to_string().to_lowercase()
}

/// A Message-ID as it stands in keys.
fn hashed(message_id: &str) -> String {
    HEXLOWER.encode(Digest::of(message_id.as_bytes()).sha256())
}

/// A name behind its time turned round: the newest sorts first.
fn newest(time: Timestamp, name: impl std::fmt::Display) -> String {
    format!("{:016x}-{name}", u64::MAX - time.millis())
}

/// The name in the last segment of a key that [`newest`] made.
fn named(key: &str) -> Option<&str> {
    let (_, last) = key.rsplit_once('/')?;
    last.split_once('-').map(|(_, name)| name)
}
