//! Somebody with whom a mail is shared, and who takes next to nothing of it: the streams of an origin are not theirs for ever.

use std::sync::Arc;
use std::time::Duration;

use cargomail_node::app::{Letter, Unwatched, Watch};
use cargomail_node::network::ByteStream;
use cargomail_protocol::address::{Domain, Locator};
use cargomail_protocol::exchange::{Fetch, Frame, Want};
use cargomail_protocol::limits;
use cargomail_protocol::notification::{self, Notification};
use cargomail_protocol::placeholder::{Category, Mailbox};
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};

use super::acts::{Doing, Done, Told};
use super::{VILLAIN, Written};
use crate::world::tell;

/// Streams that are held.
const STREAMS: usize = 64;
/// Octets of what is shared: more than is on its way to somebody who does not read.
const OCTETS: usize = 8 * 1024 * 1024;
/// From one octet that is taken to the next, and how often one is: longer than anybody waits for a peer.
const SIP: Duration = Duration::from_secs(10);
const SIPS: u32 = 12;
/// How long the rest is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is shared with the villain, and by which notification.
struct Shared {
    notification: Notification,
    at: Locator,
}

impl Doing<'_> {
    /// Fetches what is shared with it many times at once, and takes an octet of each now and then. Meanwhile one who reads is served.
    pub(super) async fn sip(&self) -> anyhow::Result<Done> {
        let shared = self.shared_with_me().await?;
        let peers = self.world.peers_of(self.site.name.as_str())?;
        let mut held = Vec::new();
        for _ in 0..STREAMS {
            let mut stream = self.villain.open(&peers).await?;
            tell(&mut stream, self.fetch_of(&shared)?).await?;
            held.push(tokio::spawn(sipped(stream)));
        }
        sleep(SIP).await;
        let begun = Instant::now();
        let mut stream = self.villain.open(&peers).await?;
        tell(&mut stream, self.fetch_of(&shared)?).await?;
        let whole = all(&mut stream).await >= OCTETS;
        let took = begun.elapsed();
        let session = self.stage.app(self.victim()?).mailbox(&shared.at)?;
        let served = session.shares().await;
        let mut left = 0;
        for stream in held {
            left += usize::from(stream.await?);
        }
        let refused = whole && served.is_ok() && left == 0 && took < limits::STALLED;
        let answer = format!(
            "{left} of {STREAMS} streams were served to their end; one who reads was served whole: {whole}; its people are served: {}",
            served.is_ok()
        );
        let mut told = Told::new(
            refused,
            answer,
            "none of those is served to its end, one who reads is, and its people are",
        );
        let resources = shared.notification.resources.iter();
        told.given = resources.map(|resource| resource.cid().to_string()).collect();
        Ok(vec![(
            format!("{STREAMS} fetches at once of which nearly nothing is taken"),
            told,
        )])
    }

    /// Has somebody of the site share a file with the villain, as if they were friends.
    async fn shared_with_me(&self) -> anyhow::Result<Shared> {
        let (at, mallory) = (self.mailbox()?, Self::mallory()?);
        let author = self.victim()?;
        let file = self.stage.folder.join("files").join("for-mallory.bin");
        std::fs::write(&file, self.villain.garbage(OCTETS))?;
        let mut letter = Letter::new(Category::parse("personal")?);
        letter.to = vec![Mailbox::bare(mallory.clone())];
        letter.files = vec![file];
        letter.origin = Some(at.clone());
        let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
        let composed = self.stage.app(author).compose(&letter, &unwatched).await?;
        let resources = composed.shares.iter().flat_map(|share| &share.resources);
        Ok(Shared {
            notification: Notification {
                origin: at.clone(),
                message_id: composed.message_id.clone(),
                sender: author.clone(),
                recipient: mallory,
                category: letter.category,
                expires: Timestamp::from_seconds(composed.expires.seconds()),
                resources: resources.cloned().collect(),
            },
            at,
        })
    }

    /// A fetch that the origin has to grant.
    fn fetch_of(&self, shared: &Shared) -> anyhow::Result<Frame> {
        let (key, villain) = (&self.villain.key, Domain::parse(VILLAIN)?);
        let own = Locator::parse(&format!("mailbox.{VILLAIN}"))?;
        let written = Written::of(&shared.notification)?;
        let (recipient, stamp) = (&shared.notification.recipient, || self.villain.stamp());
        let notify = notification::token(key, recipient, &own, written.digest, written.expires, stamp())?;
        let token = notification::fetch_token(key, &villain, &shared.at, written.digest, &notify, stamp())?;
        let want = |resource: &SharedResource| Want {
            root: *resource.cid(),
            skip: 0,
        };
        Ok(Frame::Fetch(Fetch {
            token,
            notification: written.octets,
            wants: shared.notification.resources.iter().map(want).collect(),
        }))
    }
}

/// Takes an octet of a stream now and then, and then all that still comes; whether all came.
async fn sipped(mut stream: Box<dyn ByteStream>) -> bool {
    let mut octets = 0;
    for _ in 0..SIPS {
        sleep(SIP).await;
        octets += usize::from(stream.read_u8().await.is_ok());
    }
    octets + all(&mut stream).await >= OCTETS
}

/// The octets that still come.
async fn all(stream: &mut Box<dyn ByteStream>) -> usize {
    let (mut octets, mut piece) = (0, vec![0; 64 * 1024]);
    while let Ok(Ok(read)) = timeout(PATIENCE, stream.read(&mut piece)).await
        && read > 0
    {
        octets += read;
    }
    octets
}
