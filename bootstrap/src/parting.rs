//! A connection that is closed here has ended soon, whether the peer reads or not.
//!
//! yamux sends what is left and its goodbye first, for as long as that takes: a peer that does not read would keep the connection, and its
//! place at the [door](crate::door), for ever. QUIC needs none of this.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use tokio::time::Sleep;

/// To send what is left and the goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection of many streams, `M`, with an end to its closing.
pub(crate) struct Parting<M> {
    muxer: M,
    ending: Option<Pin<Box<Sleep>>>,
}

impl<M> From<M> for Parting<M> {
    fn from(muxer: M) -> Self {
        Self { muxer, ending: None }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Parting<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.muxer).poll_inbound(cx)
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.muxer).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = &mut *self;
        if let Poll::Ready(closed) = Pin::new(&mut this.muxer).poll_close(cx) {
            return Poll::Ready(closed);
        }
        let ending = this
            .ending
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
        ending.as_mut().poll(cx).map(Ok)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;
    use std::future::poll_fn;

    use futures::io::Cursor;

    use super::*;

    /// A connection whose peer reads nothing.
    struct Stuck;

    impl StreamMuxer for Stuck {
        type Substream = Cursor<Vec<u8>>;
        type Error = Infallible;

        fn poll_inbound(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Result<Self::Substream, Infallible>> {
            Poll::Pending
        }

        fn poll_outbound(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Result<Self::Substream, Infallible>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Pending
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Infallible>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn l02_a_connection_whose_peer_does_not_read_is_closed_all_the_same() {
        let mut connection = Parting::from(Stuck);
        let closed = poll_fn(|cx| Pin::new(&mut connection).poll_close(cx));
        tokio::time::timeout(2 * FAREWELL, closed).await.unwrap().unwrap();
    }
}
