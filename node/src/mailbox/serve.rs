//! Step 7 at the origin, serve: takes the streams of other mailboxes' agents, and sends what they may have.
//!
//! What always holds: a grant and a receipt are in the ledger before the peer hears of them; a refusal looks the same
//! whatever its cause, also in time (row C07).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cargomail_protocol::exchange::{Frame, Heard, Origin, OriginAction, OriginEvent, Refused, Served};
use cargomail_protocol::fault::Faulty;
use cargomail_protocol::grip::{KeyHash, PublicKey};
use cargomail_protocol::limits;
use cid::Cid;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::line::Line;
use super::{Mailbox, MailboxError};
use crate::peers::{PeerStream, Spoken};
use crate::store::StoreError;

/// Refusals are told at whole multiples of this time after the request: longer than the look-ups differ by.
const PACE: Duration = Duration::from_millis(100);

impl Mailbox {
    /// Serves streams until cancelled, or until the peers stop.
    pub(super) async fn serve(self: Arc<Self>, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(limits::STREAMS));
        let tasks = TaskTracker::new();
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await.ok()?;
                Some((place, self.needs.peers.accept(Spoken::Exchange).await?))
            };
            let (place, stream) = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                next = next => match next {
                    Some(next) => next,
                    None => break,
                },
            };
            let (mailbox, shutdown) = (self.clone(), shutdown.clone());
            tasks.spawn(
                async move {
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => {}
                        () = mailbox.answer(stream) => {}
                    }
                    drop(place);
                }
                .in_current_span(),
            );
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn answer(&self, stream: PeerStream) {
        let Ok(key) = PublicKey::ed25519(stream.key).map(|key| key.hash()) else {
            return tracing::debug!("a peer's key is unusable");
        };
        let served = self.converse(key, Line::new(stream.io)).await;
        match served {
            Served::Whole(end) => {
                tracing::debug!(%key, blocks = end.blocks, bytes = end.bytes, "a fetch was served whole");
            }
            Served::Missing(_) | Served::Corrupt(..) => {
                tracing::error!(%key, ?served, "a shared resource cannot be read");
            }
            Served::Violated(_) | Served::Skip(_) => tracing::warn!(%key, ?served, "a peer was cut off"),
            Served::Noted | Served::Refused | Served::Broken => {
                tracing::debug!(%key, ?served, "a stream ended");
            }
        }
    }

    /// Drives the protocol's machine. The next blocks are read while the last ones are written.
    async fn converse(&self, key: KeyHash, mut line: Line) -> Served {
        let mut origin = Origin::new();
        let mut unsaid: Vec<Frame> = Vec::new();
        loop {
            let event = match origin.poll() {
                Some(OriginAction::Send(frame)) => {
                    unsaid.push(frame);
                    continue;
                }
                Some(OriginAction::Read(cids)) => {
                    let saying = line.say(std::mem::take(&mut unsaid));
                    let (said, blocks) = tokio::join!(saying, self.needs.blocks.get_many(&cids));
                    if let Err(error) = said {
                        tracing::debug!(%key, %error, "a peer does not take what it asked for");
                        origin.handle(OriginEvent::Ended);
                        continue;
                    }
                    for (cid, block) in cids.iter().zip(blocks) {
                        origin.handle(read(cid, block));
                    }
                    continue;
                }
                Some(OriginAction::Authorize(fetch)) => {
                    let began = Instant::now();
                    match self.authorize(&fetch, key).await {
                        Ok(sizes) => OriginEvent::Granted(sizes),
                        Err(error) => OriginEvent::Refused(refuse(began, key, &error).await),
                    }
                }
                Some(OriginAction::Note(token)) => {
                    let began = Instant::now();
                    match self.note(&token, key).await {
                        Ok(()) => OriginEvent::Noted,
                        Err(error) => OriginEvent::Refused(refuse(began, key, &error).await),
                    }
                }
                Some(OriginAction::Finish(served)) => {
                    if line.say(unsaid).await.is_ok() {
                        line.close().await;
                    }
                    return served;
                }
                None => match line.hear(origin.expect()).await {
                    Heard::Frame(frame) => OriginEvent::Frame(frame),
                    Heard::Malformed(error) => OriginEvent::Malformed(error),
                    Heard::Ended => OriginEvent::Ended,
                },
            };
            origin.handle(event);
        }
    }
}

/// What the machine is told of a block that was read.
fn read(cid: &Cid, block: Result<Option<Bytes>, StoreError>) -> OriginEvent {
    match block {
        Ok(Some(block)) => OriginEvent::Block(block),
        Ok(None) => OriginEvent::Missing,
        Err(error) => {
            tracing::error!(%cid, %error, "a block cannot be read");
            OriginEvent::Missing
        }
    }
}

/// What a refused peer is told, when it is told: why, only the log says.
async fn refuse(began: Instant, key: KeyHash, error: &MailboxError) -> Refused {
    let fault = error.fault();
    if fault.is_temporary() {
        tracing::warn!(%key, %error, step = "retrieve", "a peer was put off");
    } else {
        tracing::info!(%key, %error, step = "retrieve", "a peer was refused");
    }
    let steps = began.elapsed().as_millis() / PACE.as_millis() + 1;
    let pause = PACE.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
    tokio::time::sleep_until(began + pause).await;
    fault.stream().into()
}
