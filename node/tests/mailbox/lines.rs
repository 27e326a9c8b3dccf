//! Lines that can be cut.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use cargomail_node::network::AddressPolicy;
use cargomail_node::peers::{Host, PeerAddress, PeerError, PeerStream, Peers, Spoken};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What becomes of the streams that a node opens, in their order; further ones are left alone.
#[derive(Clone)]
pub(crate) struct Lines {
    rules: Arc<Mutex<VecDeque<Rule>>>,
    /// Octets that came over all of them.
    pub(crate) heard: Arc<AtomicU64>,
    pub(crate) policy: AddressPolicy,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            rules: Arc::default(),
            heard: Arc::default(),
            policy: AddressPolicy::allowing_loopback(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// Ends after so many octets.
    Cut(u64),
    /// Says nothing more after so many octets.
    Stall(u64),
    /// Is not opened.
    Closed,
    /// Is left alone.
    Open,
}

impl Lines {
    /// Of the same policy, and without rules.
    pub(crate) fn anew(&self) -> Self {
        Self {
            policy: self.policy.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn rule(&self, rules: impl IntoIterator<Item = Rule>) {
        self.rules.lock().unwrap().extend(rules);
    }

    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::SeqCst)
    }
}

/// A host whose streams obey them.
pub(crate) struct Cuttable {
    pub(crate) host: Host,
    pub(crate) lines: Lines,
}

#[async_trait]
impl Peers for Cuttable {
    async fn open(&self, spoken: Spoken, at: &[PeerAddress]) -> Result<PeerStream, PeerError> {
        let rule = self.lines.rules.lock().unwrap().pop_front().unwrap_or(Rule::Open);
        if matches!(rule, Rule::Closed) {
            return Err(PeerError::Unreachable("a rule of the test".to_owned()));
        }
        let stream = self.host.open(spoken, at).await?;
        let io = Line {
            io: stream.io,
            left: match rule {
                Rule::Cut(octets) | Rule::Stall(octets) => octets,
                Rule::Open | Rule::Closed => u64::MAX,
            },
            stalls: matches!(rule, Rule::Stall(_)),
            heard: self.lines.heard.clone(),
        };
        Ok(PeerStream {
            io: Box::new(io),
            ..stream
        })
    }

    async fn accept(&self, spoken: Spoken) -> Option<PeerStream> {
        self.host.accept(spoken).await
    }

    fn addresses(&self) -> Vec<PeerAddress> {
        self.host.addresses()
    }
}

struct Line {
    io: Box<dyn cargomail_node::network::ByteStream>,
    left: u64,
    stalls: bool,
    heard: Arc<AtomicU64>,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.left == 0 {
            return if self.stalls {
                Poll::Pending
            } else {
                Poll::Ready(Ok(()))
            };
        }
        // Not one octet more, however large a piece is asked for.
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(room.min(buf.remaining())));
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut piece);
        let read = piece.filled().len();
        buf.advance(read);
        self.left -= read as u64;
        self.heard.fetch_add(read as u64, Ordering::SeqCst);
        polled
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
