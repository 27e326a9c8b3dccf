//! Connections and bodies that stand still or crawl (row H01).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Octets that a connection has moved, in both directions.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    fn moved(&self, octets: usize) {
        self.0.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// Returns once nothing has moved for `limit`; at the latest after twice that time.
    pub(super) async fn stalled(&self, limit: Duration) {
        loop {
            let before = self.0.load(Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            if self.0.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// The requests of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<Requests>);

#[derive(Debug, Default)]
struct Requests {
    open: AtomicUsize,
    begun: AtomicU64,
}

/// A request whose answer is not sent yet; dropped when it is, or will not be.
#[derive(Debug)]
pub(super) struct Open(Arc<Requests>);

impl Asked {
    /// One more has come.
    pub(super) fn one_more(&self) -> Open {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Open(self.0.clone())
    }

    /// Returns once there was no request for `limit`; at the latest after twice that time. What else moves, such as the frames by which
    /// HTTP/2 asks whether somebody is there, does not count.
    pub(super) async fn nothing(&self, limit: Duration) {
        loop {
            let before = self.0.begun.load(Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            let is_idle = self.0.open.load(Ordering::Relaxed) == 0;
            if is_idle && self.0.begun.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose progress is seen.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    progress: Progress,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, progress: Progress) -> Self {
        Self { stream, progress }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.progress.moved(buf.filled().len().saturating_sub(before));
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(octets)) = &polled {
            self.progress.moved(*octets);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(octets)) = &polled {
            self.progress.moved(*octets);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// For so long a body may crawl.
const GRACE: Duration = Duration::from_secs(20);
/// After that it must have come at this speed on average: octets a second.
const SLOWEST: u64 = 512;

/// A request's body that is given up when it crawls.
pub(super) struct Paced<B> {
    body: B,
    since: Option<Instant>,
    octets: u64,
}

impl<B> Paced<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    pub(super) fn wrap(body: B) -> Body {
        Body::new(Self {
            body,
            since: None,
            octets: 0,
        })
    }
}

impl<B> HttpBody for Paced<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.octets += frame.data_ref().map_or(0, |data| data.len() as u64);
            let elapsed = since.elapsed();
            if elapsed > GRACE && self.octets < SLOWEST * elapsed.as_secs() {
                return Poll::Ready(Some(Err(Box::new(io::Error::from(io::ErrorKind::TimedOut)))));
            }
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that tells, by dropping its guard, that it was sent or given up.
pub(super) struct Guarded<Guard> {
    body: Body,
    _guard: Guard,
}

impl<Guard: Send + Unpin + 'static> Guarded<Guard> {
    pub(super) fn wrap(body: Body, guard: Guard) -> Body {
        Body::new(Self { body, _guard: guard })
    }
}

impl<Guard: Unpin> HttpBody for Guarded<Guard> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
