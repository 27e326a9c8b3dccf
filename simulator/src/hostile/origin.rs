//! Those who share resources with people, and send others than they have said: everything that an origin may get wrong.
//!
//! The mail with which it begins is as it should be: a placeholder from the villain's own domain, by its own broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use cargomail_node::https;
use cargomail_node::network::ByteStream;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::channel;
use cargomail_protocol::dag::{Codec, Importer, VerifiedBlock, Walk};
use cargomail_protocol::exchange::{Decoder, End, Expect, Frame, Grant, Want};
use cargomail_protocol::grip::Digest;
use cargomail_protocol::notification::JobState;
use cargomail_protocol::placeholder::{Category, Description, Draft, Mailbox, Origin, Part, ResourceRef};
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use http::StatusCode;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::VILLAIN;
use super::acts::{Doing, Done, Told};
use crate::world::{hear, tell};

/// Octets of what is shared: three leaves and a bit.
const OCTETS: usize = 3 * 1024 * 1024 + 4096;
/// How long it is shared: who never sends it has people wait for so long.
const LIFE: Duration = Duration::from_secs(600);
/// How long it is waited for an end of a retrieval, and from one look to the next.
const PATIENCE: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_secs(5);
/// Nodes above each other: more than anybody follows.
const DEEP: usize = 20;
/// From one octet to the next of a block that never ends.
const DRIBBLE: Duration = Duration::from_secs(5);

/// A resource at the villain's mailbox.
struct Resource {
    root: Cid,
    size: u64,
    blocks: BTreeMap<Cid, Bytes>,
}

impl Resource {
    fn of(octets: Vec<u8>) -> Self {
        let mut importer = Importer::new();
        let mut blocks = importer.push(octets.into());
        let done = importer.finish();
        blocks.extend(done.blocks);
        Self {
            root: done.root,
            size: done.size,
            blocks: blocks
                .into_iter()
                .map(|block| (*block.cid(), block.into_bytes()))
                .collect(),
        }
    }

    /// The blocks behind so many leaves, in the order in which they are sent.
    fn in_order(&self, skip: u64) -> Vec<Bytes> {
        let mut sent = Vec::new();
        let Ok(mut walk) = Walk::resume(self.root, self.size, skip) else {
            return sent;
        };
        while let Some(block) = walk.next().and_then(|next| self.blocks.get(&next.cid)) {
            if walk.trust(block).is_err() {
                break;
            }
            sent.push(block.clone());
        }
        sent
    }
}

/// What is sent instead of what was said.
enum Lie {
    /// What another resource is made of.
    Other(Resource),
    /// One octet less than was said.
    Less(Resource),
    /// Nodes above nodes, from the top.
    Deep(Vec<Bytes>),
    /// The beginning of a block, octet by octet.
    Endless,
    /// The same with one bit turned in each block.
    Turned(Resource),
    /// The same with one bit turned in each block, unless that was done before.
    TurnedOnce(Resource, AtomicBool),
}

/// How a retrieval of a lie has ended.
struct Ended<'a> {
    what: &'a str,
    state: JobState,
    root: Cid,
    /// Blocks on the disk of the destination that were sent and are none of what was said.
    held: usize,
}

/// What is sent to whoever fetches it, by its root.
type Lies = BTreeMap<Cid, Lie>;

/// One stream at the villain's mailbox.
async fn answer(lies: Arc<Lies>, mut stream: Box<dyn ByteStream>) {
    let said = hear(&mut stream, &mut Decoder::new(), Expect::Request).await;
    // Whoever does not listen any longer has understood.
    let _ = match said {
        Some(Frame::Fetch(fetch)) => {
            let told = fetch
                .wants
                .first()
                .and_then(|want| Some((want, lies.get(&want.root)?)));
            match told {
                Some((want, lie)) => lie.tell(want, &mut stream).await,
                None => tell(&mut stream, Frame::Granted(Vec::new())).await,
            }
        }
        Some(Frame::Receipt(_)) => tell(&mut stream, Frame::Noted).await,
        _ => Ok(()),
    };
    let _ = stream.shutdown().await;
}

impl Lie {
    /// The size that the placeholder tells.
    fn size(&self) -> u64 {
        match self {
            Self::Other(resource) | Self::Turned(resource) | Self::TurnedOnce(resource, _) => resource.size,
            Self::Less(resource) => resource.size + 1,
            Self::Deep(_) => 1,
            Self::Endless => OCTETS as u64,
        }
    }

    /// The blocks that are sent and are none of what was said, by the SHA-256 of their octets.
    fn sent(&self) -> Vec<[u8; 32]> {
        let blocks = match self {
            Self::Other(resource) | Self::Less(resource) => resource.in_order(0),
            Self::Deep(blocks) => blocks.clone(),
            Self::Endless => Vec::new(),
            Self::Turned(resource) | Self::TurnedOnce(resource, _) => {
                resource.in_order(0).iter().map(turned).collect()
            }
        };
        blocks.iter().map(|block| Sha256::digest(block).into()).collect()
    }

    async fn tell(&self, want: &Want, stream: &mut Box<dyn ByteStream>) -> std::io::Result<()> {
        let grant = Grant {
            root: want.root,
            size: self.size(),
        };
        tell(stream, Frame::Granted(vec![grant])).await?;
        let blocks = match self {
            Self::Other(resource) | Self::Less(resource) => resource.in_order(0),
            Self::Deep(blocks) => blocks.clone(),
            Self::Endless => return dribble(stream).await,
            Self::TurnedOnce(resource, done) if done.swap(true, Ordering::Relaxed) => {
                resource.in_order(want.skip)
            }
            Self::Turned(resource) | Self::TurnedOnce(resource, _) => {
                resource.in_order(want.skip).iter().map(turned).collect()
            }
        };
        let mut end = End::default();
        for block in blocks {
            end.blocks += 1;
            end.bytes += block.len() as u64;
            tell(stream, Frame::Block(block.into())).await?;
        }
        tell(stream, Frame::End(end)).await
    }
}

/// One bit of a block, in its middle, is another.
fn turned(block: &Bytes) -> Bytes {
    let mut octets = block.to_vec();
    let middle = octets.len() / 2;
    if let Some(octet) = octets.get_mut(middle) {
        *octet ^= 1;
    }
    octets.into()
}

/// Says that a block comes, and then an octet of it now and then.
async fn dribble(stream: &mut Box<dyn ByteStream>) -> std::io::Result<()> {
    let [head, _] = Frame::Block(vec![0; 64].into()).encode();
    stream.write_all(&head).await?;
    loop {
        stream.write_all(&[0]).await?;
        stream.flush().await?;
        sleep(DRIBBLE).await;
    }
}

/// A leaf of one octet below so many nodes of one link each, from the top; and the name of the topmost.
fn deep(nodes: usize) -> anyhow::Result<(Cid, Vec<Bytes>)> {
    let leaf = VerifiedBlock::hash(Codec::Raw, Bytes::from_static(b"!"))?;
    let (mut below, mut all) = (leaf.cid().to_bytes(), 1_u64);
    let mut blocks = vec![leaf.bytes().clone()];
    let mut top = *leaf.cid();
    for _ in 0..nodes {
        let block = VerifiedBlock::hash(Codec::DagPb, above(&below, all).into())?;
        (below, top) = (block.cid().to_bytes(), *block.cid());
        all += block.bytes().len() as u64;
        blocks.push(block.bytes().clone());
    }
    blocks.reverse();
    Ok((top, blocks))
}

/// A UnixFS node of one octet with one link, in dag-pb: whose octets with all below it are so many.
fn above(link: &[u8], all: u64) -> Vec<u8> {
    let mut size = Vec::new();
    let mut rest = all;
    while rest > 0x7f {
        size.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    size.push(rest as u8);
    let field = |tag: u8, octets: &[u8]| [&[tag, octets.len() as u8], octets].concat();
    let link = [field(0x0a, link), field(0x12, &[]), vec![0x18], size].concat();
    // A file of one octet, in one block of one octet.
    let file = [0x08, 0x02, 0x18, 0x01, 0x20, 0x01];
    [field(0x12, &link), field(0x0a, &file)].concat()
}

impl Doing<'_> {
    /// Shares resources with somebody, and sends others.
    pub(super) async fn lie(&self) -> anyhow::Result<Done> {
        let resource = |octets| Resource::of(self.villain.garbage(octets));
        let (top, nodes) = deep(DEEP)?;
        let short = resource(4096);
        let lies = [
            (
                "other content than it has said",
                resource(OCTETS).root,
                Lie::Other(resource(OCTETS)),
            ),
            ("an octet less than it has said", short.root, Lie::Less(short)),
            ("a tree that is too deep", top, Lie::Deep(nodes)),
            ("a block that never ends", resource(OCTETS).root, Lie::Endless),
        ];
        let mut done = Done::new();
        for ended in self.share(lies).await? {
            let is_read = self.read(&ended).await?.is_some();
            let Ended {
                what,
                state,
                root,
                held,
            } = ended;
            // Each block of a tree is what its name says; they go with the next collection.
            let (is_kept, expected) = match root == top {
                true => (false, "the retrieval ends, and nothing can be read"),
                false => (held > 0, "the retrieval ends, and nothing is stored"),
            };
            let told = Told::new(
                state != JobState::Stored && !is_read && !is_kept,
                format!("{state:?}, read: {is_read}, and {held} of its blocks are stored"),
                expected,
            );
            done.push((format!("an origin that sends {what}"), told));
        }
        Ok(done)
    }

    /// What the recipient can read of it.
    async fn read(&self, ended: &Ended<'_>) -> anyhow::Result<Option<Bytes>> {
        let session = self.stage.app(self.victim()?).mailbox(&self.mailbox()?)?;
        match session.resource(&ended.root, None).await {
            Ok(body) => Ok(Some(https::read(body, 2 * OCTETS).await?)),
            Err(_) => Ok(None),
        }
    }

    /// Shares resources with somebody, and changes them on their way: always, or once.
    pub(super) async fn corrupt(&self) -> anyhow::Result<Done> {
        let written = self.villain.garbage(OCTETS);
        let (always, once) = (
            Resource::of(self.villain.garbage(OCTETS)),
            Resource::of(written.clone()),
        );
        let lies = [
            ("always", always.root, Lie::Turned(always)),
            ("once", once.root, Lie::TurnedOnce(once, AtomicBool::default())),
        ];
        let mut done = Done::new();
        for ended in self.share(lies).await? {
            let read = self.read(&ended).await?;
            let Ended {
                what, state, held, ..
            } = ended;
            // What is changed once comes in the end, and as it was written; what is always changed never does.
            let (refused, expected) = match what {
                "always" => (
                    state != JobState::Stored && read.is_none() && held == 0,
                    "the retrieval ends, and nothing is stored",
                ),
                _ => (
                    state == JobState::Stored && read.is_some_and(|read| read == written) && held == 0,
                    "Stored, and as it was written",
                ),
            };
            let answer = format!("{state:?}, and {held} of the blocks that were changed are stored");
            let told = Told::new(refused, answer, expected);
            done.push((format!("an origin that turns a bit of each block, {what}"), told));
        }
        Ok(done)
    }

    /// Writes a mail to somebody about each resource, and sends its lie to whoever fetches it; how the retrievals end.
    async fn share<'a>(
        &self,
        lies: impl IntoIterator<Item = (&'a str, Cid, Lie)>,
    ) -> anyhow::Result<Vec<Ended<'a>>> {
        let (at, victim) = (self.mailbox()?, self.victim()?.clone());
        self.world.receive(VILLAIN).await?;
        let (mut names, mut all) = (Vec::new(), Lies::new());
        for (what, root, lie) in lies {
            names.push((what, root, lie.size(), lie.sent()));
            all.insert(root, lie);
        }
        let all = Arc::new(all);
        self.villain.serve(move |stream| answer(all.clone(), stream));
        let mut written = Vec::new();
        for (what, root, size, sent) in names {
            let resource = ResourceRef {
                cid: root,
                size,
                sha256: None,
            };
            let (message_id, message) = self.placeholder(&victim, resource, LIFE)?;
            let status = self.write_to(&victim, message).await?.0;
            anyhow::ensure!(status == StatusCode::OK, "the placeholder is answered {status}");
            written.push((what, message_id, root, sent));
        }
        let disk = self.world.disk(self.site.name.as_str())?;
        let mut ended = Vec::new();
        for (what, message_id, root, sent) in written {
            let state = self.end_of(&victim, &at, &message_id).await?;
            ended.push(Ended {
                what,
                state,
                root,
                held: disk.held(&sent),
            });
        }
        Ok(ended)
    }

    /// The mailbox of the site.
    pub(super) fn mailbox(&self) -> anyhow::Result<Locator> {
        self.site.locator().context("a checked scenario has the mailbox")
    }

    /// A placeholder of the villain's own, as it should be, and its Message-ID.
    pub(super) fn placeholder(
        &self,
        to: &Address,
        resource: ResourceRef,
        life: Duration,
    ) -> anyhow::Result<(String, Vec<u8>)> {
        let stamp = self.villain.stamp();
        let message_id = format!("<{}@{VILLAIN}>", stamp.id);
        let draft = Draft {
            from: Mailbox::bare(Self::mallory()?),
            sender: None,
            reply_to: Vec::new(),
            to: vec![Mailbox::bare(to.clone())],
            cc: Vec::new(),
            subject: "Please read".to_owned(),
            date: stamp.now,
            message_id: message_id.clone(),
            in_reply_to: None,
            references: Vec::new(),
            text: Some(Part {
                resource,
                description: Description::new("text/plain; charset=utf-8")?,
            }),
            html: None,
            inline: Vec::new(),
            attachments: Vec::new(),
        };
        let origin = Origin {
            locator: Locator::parse(&format!("mailbox.{VILLAIN}"))?,
            expires: Some(Timestamp::from_seconds(stamp.now.plus(life).seconds())),
        };
        let placeholder = draft.into_placeholder(origin, Category::parse("personal")?)?;
        Ok((message_id, placeholder.encode()?))
    }

    /// Gives a message of the villain's own to somebody's broker, as its own broker does; the status of the answer, and the answer.
    pub(super) async fn write_to(
        &self,
        to: &Address,
        message: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let (villain, mallory) = (self.villain, Self::mallory()?);
        let digest = Digest::of(&message);
        let (domain, to) = (to.domain(), vec![to.clone()]);
        let token = channel::token(&villain.key, &mallory, domain, to, digest, villain.stamp())?;
        let (path, kind) = (channel::PATH, channel::MESSAGE_TYPE);
        villain
            .post_from_afar(&villain.certificate, domain, path, kind, &token, message)
            .await
    }

    /// How the retrieval of a mail ends.
    async fn end_of(&self, whose: &Address, at: &Locator, message_id: &str) -> anyhow::Result<JobState> {
        let session = self.stage.app(whose).mailbox(at)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let retrievals = session.retrievals().await?;
            let found = retrievals.iter().find(|one| one.message_id == message_id);
            match found.map(|found| found.progress) {
                Some(state) if state.is_final() => return Ok(state),
                state if Instant::now() >= until => {
                    anyhow::bail!("a retrieval does not end: {state:?}");
                }
                _ => sleep(LOOK).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cargomail_protocol::dag::{WalkError, children};

    use super::*;

    #[test]
    fn a_tree_that_is_too_deep_is_wrong_in_nothing_else() {
        let (top, blocks) = deep(DEEP).unwrap();
        assert_eq!(blocks.len(), DEEP + 1);
        for node in &blocks[..DEEP] {
            assert_eq!(children(node).unwrap().len(), 1);
        }
        let mut walk = Walk::new(top, 1).unwrap();
        let wrong = blocks.into_iter().find_map(|block| walk.verify(block).err());
        assert!(matches!(wrong, Some(WalkError::TooDeep)), "{wrong:?}");
        let (top, blocks) = deep(2).unwrap();
        let mut walk = Walk::new(top, 1).unwrap();
        for block in blocks {
            walk.verify(block).unwrap();
        }
        assert!(walk.is_complete());
    }

    #[test]
    fn a_turned_block_has_another_name_and_the_same_length() {
        let resource = Resource::of(vec![7; OCTETS]);
        for block in resource.in_order(0) {
            let other = turned(&block);
            assert!(other != block && other.len() == block.len());
        }
        assert_eq!(resource.in_order(0).len(), 5);
        assert_eq!(resource.in_order(3).len(), 2);
    }
}
