//! The wire between destination and origin: a TCP proxy that counts what the origin sends, holds a rate, and can be cut.
//!
//! What always holds: an octet is counted when it is given to the destination's side, so what waits in buffers of the origin's
//! is not; a cut ends every connection, and the next one is taken at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a wait that lasted too long may be made up for.
const SLACK: Duration = Duration::from_millis(10);
/// Octets that are handed on at once.
const PIECE: usize = 16 * 1024;

/// The wire. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    counted: Arc<Counted>,
    cuts: watch::Sender<u64>,
    connections: Arc<Mutex<Vec<Connected>>>,
    task: JoinHandle<()>,
}

/// A connection that was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connected {
    /// When.
    pub(super) at: OffsetDateTime,
    /// Octets that had come from the origin until then.
    pub(super) counted: u64,
}

#[derive(Debug, Default)]
struct Counted {
    octets: AtomicU64,
    more: Notify,
}

impl Link {
    /// Listens beside the origin and leads to it; `rate` is in octets a second.
    pub(super) async fn start(origin: SocketAddr, rate: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::new(origin.ip(), 0)).await?;
        let address = listener.local_addr()?;
        let counted = Arc::new(Counted::default());
        let (cuts, cut) = watch::channel(0);
        let counting = counted.clone();
        let connections = Arc::<Mutex<Vec<Connected>>>::default();
        let connected = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((destination, _)) = listener.accept().await {
                lock(&connected).push(Connected {
                    at: OffsetDateTime::now_utc(),
                    counted: counting.octets.load(Ordering::Relaxed),
                });
                let (counted, mut cut) = (counting.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.changed() => {}
                        _ = lead(destination, origin, rate, &counted) => {}
                    }
                });
            }
        });
        Ok(Self {
            address,
            counted,
            cuts,
            connections,
            task,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Octets that came from the origin so far.
    pub(super) fn counted(&self) -> u64 {
        self.counted.octets.load(Ordering::Relaxed)
    }

    /// The connections that were made so far.
    pub(super) fn connections(&self) -> Vec<Connected> {
        lock(&self.connections).clone()
    }

    /// Returns once so many octets have come.
    pub(super) async fn reaches(&self, octets: u64, patience: Duration) -> anyhow::Result<()> {
        let waiting = async {
            loop {
                let more = self.counted.more.notified();
                if self.counted() >= octets {
                    return;
                }
                more.await;
            }
        };
        tokio::time::timeout(patience, waiting)
            .await
            .with_context(|| format!("{} octets came, and no more", self.counted()))
    }
}

fn lock(connections: &Mutex<Vec<Connected>>) -> MutexGuard<'_, Vec<Connected>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn lead(
    destination: TcpStream,
    origin: SocketAddr,
    rate: u64,
    counted: &Counted,
) -> std::io::Result<()> {
    let origin = TcpStream::connect(origin).await?;
    destination.set_nodelay(true)?;
    origin.set_nodelay(true)?;
    let (from_destination, to_destination) = destination.into_split();
    let (from_origin, to_origin) = origin.into_split();
    tokio::select! {
        ended = hand_on(from_destination, to_origin, u64::MAX, None) => ended,
        ended = hand_on(from_origin, to_destination, rate, Some(counted)) => ended,
    }
}

async fn hand_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    rate: u64,
    counted: Option<&Counted>,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut due = Instant::now();
    loop {
        let count = from.read(&mut piece).await?;
        let octets = piece.get(..count).unwrap_or_default();
        if octets.is_empty() {
            return to.shutdown().await;
        }
        to.write_all(octets).await?;
        if let Some(counted) = counted {
            counted.octets.fetch_add(count as u64, Ordering::Relaxed);
            counted.more.notify_one();
        }
        due = due.max(Instant::now() - SLACK) + Duration::from_secs_f64(count as f64 / rate as f64);
        // A sleep shorter than the timer's step would only cost.
        if due > Instant::now() + Duration::from_millis(2) {
            tokio::time::sleep_until(due).await;
        }
    }
}
