//! What the user-facing HTTPS face speaks, for the application and the command line: the shapes of requests and answers.
//!
//! Every path but `POST /api/v1/sessions` wants `Authorization: Bearer <token>`. Errors are
//! `{"error":"<what to do about it>"}` with the status of [`cargomail_protocol::fault::Fault::http`]. What is not the
//! caller's is answered as if it were not there (404).
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /api/v1/sessions` | [`Login`] | [`Session`] |
//! | `DELETE /api/v1/sessions` | | 204: the session of the token has ended |
//! | `GET /api/v1/me` | | [`Me`] |
//! | `POST /api/v1/resources` | octets | 201 [`Posted`] |
//! | `GET /api/v1/resources?after=&limit=` | | list of [`HeldView`] in the order of the CIDs |
//! | `GET /api/v1/resources/{cid}` | | octets; `Range: bytes=a-b` is honoured |
//! | `DELETE /api/v1/resources/{cid}?force=true` | | [`Deleted`]; 403 while one shares it, unless forced |
//! | `GET /api/v1/resources/{cid}/why` | | [`Why`]: of the caller's own |
//! | `GET /api/v1/usage` | | [`UsageView`] |
//! | `POST /api/v1/shares` | [`NewShare`] | 201 [`ShareView`] |
//! | `GET /api/v1/shares` | | list of [`ShareView`], newest first |
//! | `POST /api/v1/shares/{id}/revoke` | | [`ShareView`] |
//! | `GET /api/v1/retrievals?message_id=` | | list of [`Retrieval`], newest first; of one message, where one is named |
//! | `DELETE /api/v1/retrievals/{job}` | | [`Retrieval`]: nothing more of it is fetched |
//! | `POST /api/v1/domains` | [`AskedDomains`] | [`DomainsView`] |
//! | `POST /api/v1/messages` | [`NewMessage`] | 202 list of [`Queued`] |
//! | `GET /api/v1/messages?folder=inbox&after=&limit=` | | list of [`Message`], newest first |
//! | `GET /api/v1/messages/{id}` | | `message/rfc822` |
//! | `DELETE /api/v1/messages/{id}` | | [`DeletedMessage`] |
//! | `GET /api/v1/usage/messages` | | [`MessagesUsage`] |
//! | `GET /api/v1/preferences`, `PUT` | [`cargomail_protocol::routing::Preferences`] | the same |
//! | `GET /api/v1/events` | | server-sent events: `message` for new mail, `missed` after too many at once |
//! | `GET /api/v1/queue` | | list of [`Queued`], newest first |
//! | `GET /api/v1/admin/accounts`, `POST` | [`NewAccount`] | list of [`AccountView`], or one |
//! | `GET /api/v1/admin/queue` | | list of [`Queued`] of everybody |
//! | `GET /api/v1/admin/ledger?first=&limit=` | | [`LedgerPage`] |
//! | `GET /api/v1/admin/collection` | | [`CollectionView`] |
//! | `POST /api/v1/admin/collection?dry_run=true` | | 202 [`CollectionView`]: one is under way |
//! | `GET /api/v1/admin/why/{cid}` | | [`Why`]: of everybody |
//! | `GET /api/v1/admin/holds`, `POST` | [`NewHold`] | list of [`LegalHold`], or one |
//! | `POST /api/v1/admin/holds/{id}/release` | | [`LegalHold`] |

pub use crate::accounts::Quota;
pub use crate::keeping::{Collected, LegalHold, Subject};
use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::ledger::Head;
use cargomail_protocol::notification::JobState;
use cargomail_protocol::placeholder::Category;
use cargomail_protocol::routing::Decision;
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's address.
    pub address: Address,
    /// The user's password at this node.
    pub password: String,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// What to send as `Authorization: Bearer …`.
    pub token: String,
    /// Until when it is good, in milliseconds since the epoch.
    pub expires: Timestamp,
}

/// What this node is to the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// The caller.
    pub address: Address,
    /// The Resource Mailbox here, if this node is one.
    pub mailbox: Option<Locator>,
    /// The domain whose broker this node is, if it is one.
    pub broker: Option<Domain>,
}

/// A resource that was posted; it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The root.
    pub cid: String,
    /// Its octets.
    pub size: u64,
    /// SHA-256 over all its octets, 64 lower-case hex digits.
    pub sha256: String,
}

/// A resource that the caller holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldView {
    /// The root.
    pub cid: String,
    /// Its octets.
    pub size: u64,
    /// Since when.
    pub since: Timestamp,
}

/// A resource that the caller holds no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The root.
    pub cid: String,
    /// Octets of the quota that are free again.
    pub size: u64,
    /// Shares that were taken back.
    pub revoked: Vec<Uuid>,
}

/// What of the caller's quota is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageView {
    /// Octets of resources that they hold.
    pub held: u64,
    /// Octets that are kept free for what is on its way to them: all of what is coming at this moment, and of what waits what has come of it.
    pub claimed: u64,
    /// Retrievals on their way.
    pub retrievals: u32,
    /// What they may hold; none is no bound.
    pub quota: Option<u64>,
}

/// What the caller's messages take at their broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagesUsage {
    /// Octets of messages in the User Mailbox.
    pub held: u64,
    /// Octets of accepted messages that are not in it yet.
    pub waiting: u64,
    /// Octets of ordinary messages that the caller sent and that have not left: with these too, nothing more can be sent at the quota.
    #[serde(default)]
    pub leaving: u64,
    /// At how many of the first two together no more are taken; none is no bound.
    pub quota: Option<u64>,
}

/// A message that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedMessage {
    /// Its name.
    pub id: String,
    /// Its octets.
    pub size: u64,
}

/// Why a block is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The block, or the resource of which it is the root.
    pub cid: String,
    /// Whether it is here.
    pub here: bool,
    /// Everything that refers to it, at most [`cargomail_protocol::limits::REFERENCES_SHOWN`]; when there is nothing, it goes
    /// with the next collection.
    pub holders: Vec<HolderView>,
}

/// One record that refers to a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderView {
    /// `holding`, `share`, `retrieval`, `grant`, `arriving message`, `leaving message`, `message`, `legal hold`, or
    /// `under way` for what is being stored at this moment.
    pub kind: String,
    /// Whose matter it is; empty where it is nobody's.
    pub whose: String,
    /// Of which mail; empty where of none.
    pub message_id: String,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
    /// The record; empty for what is under way.
    pub record: String,
}

impl HolderView {
    /// Somebody stores it at this moment.
    #[must_use]
    pub fn under_way() -> Self {
        Self {
            kind: "under way".to_owned(),
            whose: String::new(),
            message_id: String::new(),
            until: None,
            record: String::new(),
        }
    }
}

/// How a collection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionView {
    /// Whether one is under way.
    pub under_way: bool,
    /// What the last one did, or would have done, unless it failed.
    pub done: Option<Collected>,
    /// Why the last one failed, if it did.
    pub failed: Option<String>,
}

/// A legal hold to place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    /// What is held.
    pub subject: Subject,
    /// Why, in the administrator's words.
    pub reason: String,
}

/// A share to make. The sender is the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewShare {
    /// With whom, hidden recipients included.
    pub recipients: Vec<Address>,
    /// Roots and sizes of resources that the caller posted or received here.
    pub resources: Vec<SharedResource>,
    /// What kind of correspondence it is.
    pub category: Category,
    /// The Message-ID of the placeholder, with its angle brackets.
    pub message_id: String,
    /// Until when, in milliseconds since the epoch.
    pub expires: Timestamp,
}

/// A share as its sender sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareView {
    /// Names the share.
    pub id: Uuid,
    /// With whom.
    pub recipients: Vec<Address>,
    /// What.
    pub resources: Vec<SharedResource>,
    /// What kind of correspondence it is.
    pub category: Category,
    /// The Message-ID of the placeholder.
    pub message_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// When it was taken back, if so.
    pub revoked: Option<Timestamp>,
    /// Recipients whose agents have acknowledged everything.
    pub received_by: Vec<Address>,
}

/// What is on its way to the caller, or has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Names the job.
    pub job: String,
    /// Where it comes from.
    pub origin: Locator,
    /// Who shared it.
    pub sender: Address,
    /// The Message-ID of the placeholder.
    pub message_id: String,
    /// How many resources.
    pub count: usize,
    /// Their octets.
    pub size: u64,
    /// How far it is.
    pub progress: JobState,
    /// When the notification came.
    pub since: Timestamp,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// Who gets it, in groups: the members of a group share one copy, and each hidden recipient is a group of one.
    pub envelopes: Vec<Vec<Address>>,
    /// The message, RFC 5322, in base64 (RFC 4648 §4).
    pub message: String,
    /// How it travels; none is the node's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The same for recipients whose domains have no Cargomail. The message itself is a placeholder then, and may have no recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinary: Option<OrdinaryMessage>,
}

/// A message with its content in it. It goes by SMTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdinaryMessage {
    /// Who gets it, in groups as in [`NewMessage`].
    pub envelopes: Vec<Vec<Address>>,
    /// The message, RFC 5322, in base64 (RFC 4648 §4); its author and its Message-ID are those of the placeholder.
    pub message: String,
}

/// Domains of recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedDomains {
    /// At most as many as a message has recipients, [`cargomail_protocol::limits::SHARE_RECIPIENTS`].
    pub domains: Vec<Domain>,
}

/// What those domains are, as far as the broker's DNS tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainsView {
    /// They have Cargomail: their recipients get placeholders.
    pub cargomail: Vec<Domain>,
    /// They have none: their recipients get ordinary messages.
    pub ordinary: Vec<Domain>,
    /// The DNS gives no answer, or none that the broker believes.
    pub unknown: Vec<Domain>,
    /// The largest ordinary message that leaves, octets; none leaves when it is 0.
    pub largest_ordinary: usize,
}

/// How a message travels to another domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// By the web channel only.
    Web,
    /// By SMTP only.
    Smtp,
    /// By the web channel where the domain has one, else by SMTP.
    #[default]
    WebThenSmtp,
}

/// How far a message is for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Names the entry of the queue.
    pub id: String,
    /// Who sent it; none for reports.
    pub sender: Option<Address>,
    /// For whom.
    pub recipient: Address,
    /// The Message-ID.
    pub message_id: String,
    /// When it was queued.
    pub queued: Timestamp,
    /// How it travels.
    pub channel: Channel,
    /// How far it is.
    pub delivery: Delivery,
    /// Tries that failed so far.
    pub failed: u32,
    /// When the next is due, while it waits.
    pub due: Option<Timestamp>,
    /// What the last try came to, in words.
    pub last: String,
}

/// Where a queued message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// It will be tried.
    Waiting,
    /// The recipient's broker has it: with a signed receipt, when it went by the web channel.
    Accepted,
    /// It was refused for good, and the sender was told.
    Refused,
    /// Its time is over, and the sender was told.
    Expired,
}

/// A message in the caller's User Mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Names it; later ones sort behind earlier ones.
    pub id: String,
    /// `inbox`, `sent` or `junk`.
    pub folder: String,
    /// The author, as written.
    pub from: String,
    /// The recipients, as written.
    pub to: String,
    /// The subject, decoded.
    pub subject: String,
    /// The Message-ID.
    pub message_id: String,
    /// When it was delivered, or stored as sent.
    pub since: Timestamp,
    /// Octets of the message itself.
    pub size: u64,
    /// For a placeholder: what it says.
    pub placeholder: Option<PlaceholderView>,
}

/// What a placeholder in the User Mailbox says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceholderView {
    /// The category of the correspondence.
    pub category: Category,
    /// Where the resources come from.
    pub origin: Locator,
    /// Where they can be had; none when no destination takes them.
    pub destination: Option<Locator>,
    /// Which wish decided.
    pub decided_by: Option<Decision>,
    /// How many resources.
    pub resources: usize,
    /// Octets of all of them.
    pub octets: u64,
    /// Until when they are shared.
    pub expires: Option<Timestamp>,
}

/// An account to make, or to give another password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// Whose.
    pub address: Address,
    /// The password; an account that exists gets this one instead of its old, and its sessions end.
    pub password: String,
    /// What bounds the resources that the account may hold. When it is absent, nothing bounds those of a new account, and one that
    /// exists keeps its quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// Whose.
    pub address: Address,
    /// Since when.
    pub created: Timestamp,
    /// Octets of resources that it may hold.
    pub quota: Option<u64>,
}

/// Some entries of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPage {
    /// The octets of each entry, in base64.
    pub entries: Vec<String>,
    /// The head.
    pub head: HeadView,
}

/// The head of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadView {
    /// How many entries there are.
    pub entries: u64,
    /// SHA-256 of the last, 64 lower-case hex digits.
    pub hash: String,
}

impl From<Head> for HeadView {
    fn from(head: Head) -> Self {
        Self {
            entries: head.entries,
            hash: data_encoding::HEXLOWER.encode(&head.hash),
        }
    }
}
