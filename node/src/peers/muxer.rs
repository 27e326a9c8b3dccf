//! Many streams over one TCP connection: yamux, set for large transfers.
//!
//! It is what `libp2p-yamux` is, on the same crate `yamux`, but for one setting that it does not let through: how long the
//! frames are that data is sent in. Each frame costs two TLS records and two writes to the socket, one of them for its 12
//! octets of header, and 16 KiB is too little for that. What always holds: the peer needs to know nothing of it, for a frame is never
//! longer than the window that it granted; a connection that is closed here has ended soon, whether the peer reads or not.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use tokio::time::Sleep;
use yamux::{Config, Connection, Mode};

use super::streams::PER_CONNECTION;

/// Octets of one frame at most: a quarter of the window that every stream begins with, so that streams take turns.
const FRAME: usize = 64 * 1024;
/// What all streams of a connection may have on their way together, before it is read, beyond the 256 KiB that yamux gives each. It
/// grows as far as a long line needs it. What one stream gets so, and a block that is not written yet, come twice when this node is killed:
/// together they are less than two blocks of [`cargomail_protocol::limits::LEAF`] octets.
const WINDOW: usize = 640 * 1024;
/// Streams that the peer opened and that wait to be taken; those behind are dropped.
const WAITING: usize = 256;
/// To send what is left and the goodbye: a peer that does not read would keep the connection, and its place, for ever.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a connection becomes one of many streams.
#[derive(Debug, Clone)]
pub(super) struct Yamux(Config);

/// A connection of many streams.
pub(super) struct Muxer<C> {
    connection: Connection<C>,
    waiting: VecDeque<yamux::Stream>,
    /// Who waits for the next of them.
    taker: Option<Waker>,
    /// When it ends whatever the peer does, once it is being closed.
    ending: Option<Pin<Box<Sleep>>>,
}

impl Yamux {
    pub(super) fn new() -> Self {
        let mut config = Config::default();
        config.set_max_num_streams(2 * PER_CONNECTION);
        config.set_split_send_size(FRAME);
        config.set_max_connection_receive_window(Some(
            2 * PER_CONNECTION * yamux::DEFAULT_CREDIT as usize + WINDOW,
        ));
        Self(config)
    }

    fn over<C: AsyncRead + AsyncWrite + Unpin>(self, io: C, mode: Mode) -> Muxer<C> {
        Muxer {
            connection: Connection::new(io, self.0, mode),
            waiting: VecDeque::new(),
            taker: None,
            ending: None,
        }
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(self.over(io, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(self.over(io, Mode::Client)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> Muxer<C> {
    /// Moves everything on; the next stream that the peer opened.
    fn arrived(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        match ready!(self.connection.poll_next_inbound(cx)) {
            Some(stream) => Poll::Ready(stream.map_err(of_yamux)),
            None => Poll::Ready(Err(of_yamux(yamux::ConnectionError::Closed))),
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let arrived = self.arrived(cx);
        if arrived.is_pending() {
            self.taker = Some(cx.waker().clone());
        }
        arrived
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_new_outbound(cx).map_err(of_yamux)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(closed) = this.connection.poll_close(cx) {
            return Poll::Ready(closed.map_err(of_yamux));
        }
        let ending = this
            .ending
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
        ending.as_mut().poll(cx).map(Ok)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let stream = ready!(self.arrived(cx))?;
        if self.waiting.len() < WAITING {
            self.waiting.push_back(stream);
            self.taker.take().into_iter().for_each(Waker::wake);
        } else {
            tracing::debug!("a stream is dropped: too many wait");
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn of_yamux(error: yamux::ConnectionError) -> io::Error {
    match error {
        yamux::ConnectionError::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::poll_fn;

    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn l02_a_connection_whose_peer_does_not_read_is_closed_all_the_same() {
        // Less than the goodbye takes: it stays in the way for ever.
        let (here, _there) = tokio::io::duplex(1);
        let mut muxer = Yamux::new().over(here.compat(), Mode::Client);
        let closed = poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx));
        tokio::time::timeout(2 * FAREWELL, closed).await.unwrap().unwrap();
    }
}
