//! Every bound on size, count and time, each with its reason. Octets unless the name says otherwise.

use std::time::Duration;

/// A domain name in text form (RFC 1035 §2.3.4).
pub const NAME: usize = 253;
/// A domain name before conversion to A-labels: a U-label is at most four times as long in UTF-8.
pub const NAME_INPUT: usize = 1024;
/// The local part of an address (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART: usize = 64;

/// A leaf of a resource, by the profile `unixfs-v1-2025` (IPIP-499).
pub const LEAF: usize = 1024 * 1024;
/// Links of an interior node, by the same profile.
pub const LINKS: usize = 1024;
/// A block that is read: what libp2p implementations carry in one message.
pub const BLOCK: usize = 2 * 1024 * 1024;
/// An interior node: 1024 links of at most 49 octets, as many sizes of at most 7, and a head of 16.
pub const NODE: usize = 64 * 1024;
/// Levels of a DAG, the leaves' included: 1 MiB leaves and 1024 links a node hold a whole resource in four.
pub const DAG_DEPTH: usize = 8;
/// A DAG may have this many blocks, and one more for each [`DAG_GRAIN`] of its size: a DAG of tiny or self-similar
/// blocks costs no more steps than that.
pub const DAG_BLOCKS: u64 = 64;
/// Octets of a resource that allow one more block, see [`DAG_BLOCKS`]: 1/256 of a leaf.
pub const DAG_GRAIN: u64 = 4096;
/// A whole resource: 1 TiB, above which a mail is not the right carrier.
pub const RESOURCE: u64 = 1 << 40;

/// A certificate of another node: an Ed25519 one with one name needs some 300 octets.
pub const CERTIFICATE: usize = 4 * 1024;

/// One token in compact form (`spec/grip.md` §5).
pub const TOKEN: usize = 8 * 1024;
/// A token with the tokens nested in it (`spec/grip.md` §5).
pub const TOKEN_CHAIN: usize = 16 * 1024;
/// How many tokens deep a chain is: token 2 around token 1.
pub const TOKEN_DEPTH: usize = 2;
/// Clock skew between two nodes.
pub const SKEW: Duration = Duration::from_secs(60);
/// Longest life of a fetch token and of a channel token.
pub const SHORT_TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);
/// Longest life of a notification token: the retrieval window.
pub const NOTIFY_TOKEN_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// TXT records looked at for one name: more is somebody else's use of the name, or an attack.
pub const TXT_RECORDS: usize = 32;
/// One TXT record's text: a grip1 record needs 85 octets, room is left for tags to come.
pub const TXT_RECORD: usize = 1024;
/// A positive DNS answer is kept this long at most (`spec/grip.md` §3.3).
pub const DNS_POSITIVE: Duration = Duration::from_secs(5 * 60);
/// A negative DNS answer is kept this long at most (`spec/grip.md` §3.3).
pub const DNS_NEGATIVE: Duration = Duration::from_secs(30);
/// One DNS question, with all its retries, takes this long at most.
pub const DNS_QUERY: Duration = Duration::from_secs(5);

/// A notification's JSON (`spec/notification.md` §1).
pub const NOTIFICATION: usize = 1024 * 1024;
/// Resources of one message: what fits into a notification.
pub const RESOURCES: usize = 8192;

/// A placeholder message: text, headers and some 300 octets a resource.
pub const PLACEHOLDER: usize = 4 * 1024 * 1024;
/// A message that passes through or is submitted, the SIZE that the SMTP server announces by default.
pub const MESSAGE: usize = 64 * 1024 * 1024;
/// All header fields of a message.
pub const HEADERS: usize = 256 * 1024;
/// MIME parts of a message that is split.
pub const PARTS: usize = 1000;
/// How deep multiparts nest in a message that is split.
pub const PART_DEPTH: usize = 32;
/// Recipients of one SMTP transaction or web channel token: RFC 5321 §4.5.3.1.8 asks for at least 100.
pub const RECIPIENTS: usize = 100;
/// Received fields before a message counts as looping (RFC 5321 §6.3).
pub const HOPS: usize = 50;

/// A control frame of the exchange, other than the fetch.
pub const CONTROL_FRAME: usize = 64 * 1024;
/// A fetch frame: the notification, a token chain, and a want for each resource.
pub const FETCH_FRAME: usize = NOTIFICATION + TOKEN_CHAIN + RESOURCES * 64;
/// A granted frame: a root and a size for each want.
pub const GRANTED_FRAME: usize = 64 + RESOURCES * 64;
/// Exchange streams that one peer may hold open at an origin.
pub const STREAMS_PER_PEER: usize = 16;
/// Exchange streams in all.
pub const STREAMS: usize = 256;
/// Streams of HTTP that one peer may have served at once: a broker does a quarter of its 32 steps at one destination, of messages
/// and of notifications each.
pub const GRIP_STREAMS_PER_PEER: usize = 16;
/// Streams of HTTP in all: each holds a header and what its window lets in; bodies are counted by themselves, [`BODIES`].
pub const GRIP_STREAMS: usize = 256;
/// To open a stream to a peer, with all dialling: over a relay that takes several tries.
pub const STREAM_OPENING: Duration = Duration::from_secs(30);
/// libp2p connections in all: each may fill its flow-control windows.
pub const PEER_CONNECTIONS: usize = 256;
/// libp2p connections of one peer: one is enough, two cross when both dial, the rest are leftovers of a broken network.
pub const CONNECTIONS_PER_PEER: usize = 4;
/// libp2p connections that are being set up, in each direction.
pub const PEERS_PENDING: usize = 64;
/// Octets of blocks that an origin reads for one stream while it writes as many: a leaf, or as much in small blocks; one larger block
/// goes alone. Disk and line are busy at the same time, and a slow reader costs no more than twice this.
pub const READ_AHEAD: usize = LEAF;
/// Blocks that an origin reads for one stream at a time, however small they are.
pub const READ_AHEAD_BLOCKS: usize = 256;
/// Fetches and receipts of one issuer in a minute: fifty messages a second from one origin to one destination.
pub const FETCHES_PER_MINUTE: u32 = 6000;
/// A peer that neither reads nor writes for this long is cut off.
pub const STALLED: Duration = Duration::from_secs(30);

/// Messages of one web channel request.
pub const BATCH: usize = 100;
/// All octets of a web channel request of many messages: a hundred usual placeholders, or one of the largest; it is
/// held in memory while it is judged.
pub const BATCH_SIZE: usize = 8 * 1024 * 1024;
/// All octets of bodies of web channel requests that a broker holds in memory at once: some of the largest, or thousands of usual
/// placeholders.
pub const BODIES: usize = 64 * 1024 * 1024;
/// The answer to one message of the web channel: a receipt, which is a chain of tokens, and a few letters around it.
pub const ANSWER: usize = TOKEN_CHAIN + 64;
/// The longest wait that a broker asks of another, in seconds: a day. Longer ones would lose a mail by asking.
pub const LONGEST_WAIT: u32 = 86_400;
/// Recipients of one share: those of one mail, in as many SMTP transactions as it takes.
pub const SHARE_RECIPIENTS: usize = 1000;
/// How long sending is tried before a delivery status notification (RFC 5321 §4.5.4.1).
pub const SENDING: Duration = Duration::from_secs(5 * 24 * 3600);
/// The first pause between two tries.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// The longest pause between two tries.
pub const BACKOFF_LONGEST: Duration = Duration::from_secs(3600);
/// How long a share lasts when its author names no expiry.
pub const SHARE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Rules, and defaults, of one user's preferences.
pub const ROUTES: usize = 100;
/// Consecutive failures after which a destination is left alone for a while.
pub const BREAKER_FAILURES: u32 = 3;
/// The longest time for which a destination is left alone after failures: its mail waits no longer than this once it is back.
pub const BREAKER_LONGEST: Duration = Duration::from_secs(300);

/// The key of a record.
pub const RECORD_KEY: usize = 1024;
/// The value of a record: what is larger is a resource that a record refers to.
pub const RECORD: usize = 1024 * 1024;
/// Messages and notifications up to this stand in the records that refer to them, so that one sync makes both durable; larger
/// ones are resources.
pub const INLINE: usize = 16 * 1024;
/// All keys and values of one commit, which is held in memory and read as one.
pub const COMMIT: usize = 16 * 1024 * 1024;
/// What the store holds in memory until its index has it, about: some 80,000 blocks or records, a second's work of the
/// index; whoever writes more waits.
pub const STORE_FRESH: usize = 16 * 1024 * 1024;
/// Blocks and records that the index is told at once: larger ones keep readers of sled waiting.
pub const STORE_INDEX_BATCH: usize = 1000;
/// What is newer than the index waits so long for more, or until it is so many octets: what changes often is told to the index
/// once, and readers seldom meet it changing.
pub const STORE_INDEX_GATHER: Duration = Duration::from_millis(50);
/// See [`STORE_INDEX_GATHER`].
pub const STORE_INDEX_GATHERED: usize = 1024 * 1024;
/// The index is made durable after so many blocks and records: so many are read again after a stop that was not in order.
pub const STORE_SETTLE_ENTRIES: usize = 100_000;
/// The index is made durable so long after a change of it at the latest.
pub const STORE_SETTLE: Duration = Duration::from_secs(30);
/// An engine of the index that does not come back for so long hangs: nobody waits for it any longer.
pub const STORE_INDEX_STALLED: Duration = Duration::from_secs(60);
/// Up to so many blocks and records the view is made anew after a stop that was not in order: that takes some five seconds.
pub const STORE_ANEW: u64 = 400_000;
/// A request for a share: each resource in some 90 octets, each recipient in at most 320.
pub const SHARE: usize = 2 * 1024 * 1024;
/// Retrievals for one user that are on their way: what a month of mail to a busy user may bring at once.
pub const RETRIEVALS_PER_USER: u32 = 1000;
/// Those of them from one origin: one that never answers must not keep everybody else's mail away from a person. Who is over it is asked to
/// come again, so that a large origin that is away for a day loses nothing.
pub const RETRIEVALS_PER_USER_AND_ORIGIN: u32 = 100;
/// Retrievals from one origin at once: enough to fill a line, and too few to keep all others out.
pub const RETRIEVALS_PER_ORIGIN: usize = 4;
/// A retrieval has failed when what weighs against its origin comes to so much.
pub const MISHAPS: u32 = 24;
/// So much weighs that it does what it may not do: four times alone are enough.
pub const MISHAPS_VIOLATED: u32 = 6;
/// So much weighs that its name leads to nobody. With the pauses between tries it takes half a day until that alone is enough: a key that is changed
/// before it is published, and a DNS that is led astray, are mostly mended before.
pub const MISHAPS_UNUSABLE: u32 = 1;
/// A retrieval that is not done after so long ends, whenever its share does: a stranger says when that is, and what has come of it takes room
/// from its user.
pub const RETRIEVAL_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Notifications by which one recipient may fetch what one share names, each with an agent: one for each of the recipient's mailboxes that was
/// tried, with room for shares that several messages name.
pub const GRANTS_PER_SHARE: u32 = 32;
/// Fetches by one recipient from one share at once: of each, the ledger tells. A line that breaks all the time has as many tries.
pub const FETCHES_PER_SHARE: u32 = 200;
/// See [`FETCHES_PER_SHARE`]: after each such time one more.
pub const FETCHES_PAUSE: Duration = Duration::from_secs(60);
/// Slower than so many octets a second on average, after [`RETRIEVAL_GRACE`], a stream is given up: its place is wanted by others.
pub const RETRIEVAL_SLOWEST: u64 = 1024;
/// How long a stream may take beside the time for its octets.
pub const RETRIEVAL_GRACE: Duration = Duration::from_secs(120);
/// Origins of one resource that are remembered: of more, the newest.
pub const ORIGINS_REMEMBERED: usize = 16;
/// One command line of SMTP: RFC 5321 §4.5.3.1.4 asks for 512 octets, a long address and parameters need more.
pub const SMTP_LINE: usize = 2048;
/// One line of a message, with its CR LF (RFC 5321 §4.5.3.1.6).
pub const SMTP_TEXT_LINE: usize = 1000;
/// Commands of one SMTP session: some fifty transactions of the largest kind.
pub const SMTP_COMMANDS: u32 = 5000;
/// Commands that make no sense, before the client is sent away.
pub const SMTP_BAD_COMMANDS: u32 = 10;
/// One reply of an SMTP server to our client, with all its lines.
pub const SMTP_REPLY: usize = 16 * 1024;
/// SMTP connections in all.
pub const SMTP_CONNECTIONS: usize = 256;
/// SMTP connections from one IPv4 address or one IPv6 /48.
pub const SMTP_CONNECTIONS_PER_ADDRESS: usize = 32;
/// Memory that all messages which are coming in take together: a few of the largest, thousands of the usual ones.
pub const SMTP_MEMORY: usize = 4 * MESSAGE;
/// Of that memory one caller's messages get one part in so many, or one message of the largest kind where that is more; and large
/// messages together leave as much free for small ones, however many callers bring them.
pub const SMTP_MEMORY_PARTS: usize = 4;
/// Messages larger than [`SMTP_SMALL`] that a broker has in memory to give them away, all together: some five ordinary ones of the usual
/// largest size. A signature doubles that.
pub const LEAVING: usize = 2 * MESSAGE;
/// A small message: all but those with attachments in them.
pub const SMTP_SMALL: usize = 1024 * 1024;
/// A message that comes in brings so many octets a second in any [`SMTP_SILENCE`], on average: who is slower counts as silent, because
/// others want the memory.
pub const SMTP_SLOWEST: u64 = 1024;
/// An SMTP client may be silent for so long (RFC 5321 §4.5.3.2.7).
pub const SMTP_SILENCE: Duration = Duration::from_secs(5 * 60);
/// An SMTP session lasts so long at most: the largest message over a slow line.
pub const SMTP_SESSION: Duration = Duration::from_secs(3600);
/// Questions to the DNS for one message's SPF, DKIM and DMARC: SPF alone may need ten, and ten more for each of its MX.
pub const AUTHENTICATION_QUESTIONS: usize = 100;
/// All of one message's SPF, DKIM and DMARC.
pub const AUTHENTICATION: Duration = Duration::from_secs(30);
/// DKIM signatures of one message that are looked at; mailing lists and forwarders each add one.
pub const SIGNATURES: usize = 8;
/// A login or an account in JSON: an address, a password of 1,024 octets with each escaped, and their names.
pub const LOGIN: usize = 8 * 1024;
/// Entries of the ledger in one answer.
pub const LEDGER_PAGE: usize = 500;
/// Octets of such entries: what comes after that is the next page's.
pub const LEDGER_PAGE_SIZE: usize = 4 * 1024 * 1024;
/// How long a broker remembers what it accepted and sent, and an agent what it retrieved: twice as long as anybody tries to send.
pub const REMEMBERED: Duration = Duration::from_secs(10 * 24 * 3600);
/// How often a message may fail by the machine's own fault before it is put aside: an hour of growing pauses.
pub const STUMBLES: u32 = 10;
/// All messages that a broker has put aside for a person to look at: hundreds of large ones, thousands of the usual, and no disk full.
pub const ASIDE: u64 = 1024 * 1024 * 1024;
/// How long the body of a web channel request may take: its room in memory is wanted by others.
pub const BODY: Duration = Duration::from_secs(60);
/// How long such a body waits for that room: much less than a sender waits for an answer, so that it hears `Retry-After` rather
/// than nothing.
pub const ROOM_WAIT: Duration = Duration::from_secs(10);
/// Blocks that are looked at together when what nobody refers to is collected: their names take some 10 MiB of memory, and
/// every record is read once for each 128 GiB of full leaves.
pub const COLLECTED: usize = 128 * 1024;
/// Legal holds that stand at once: they are held in memory while blocks are collected.
pub const LEGAL_HOLDS: usize = 1000;
/// Why a legal hold was placed: a file number and a sentence or two.
pub const REASON: usize = 1000;
/// Records that are named when somebody asks why a block is kept: more would not be read.
pub const REFERENCES_SHOWN: usize = 1000;
