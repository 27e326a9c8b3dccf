//! One exchange stream: frames in and out, each with its time. What they mean, the protocol's machines decide.

use std::io;
use std::pin::pin;

use bytes::BytesMut;
use cargomail_protocol::exchange::{Decoder, Expect, Frame, Heard};
use cargomail_protocol::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use crate::network::ByteStream;

/// What is smaller is gathered before it is written: many small frames go out together.
const GATHERED: usize = 64 * 1024;

/// A stream to a peer whose key is proved.
pub(super) struct Line {
    io: Box<dyn ByteStream>,
    decoder: Decoder,
    gathered: BytesMut,
}

impl Line {
    pub(super) fn new(io: Box<dyn ByteStream>) -> Self {
        Self {
            io,
            decoder: Decoder::new(),
            gathered: BytesMut::new(),
        }
    }

    /// The next frame. One that is not whole in time ends the stream, as does everything that breaks it. What came of it
    /// is kept when the caller stops waiting.
    pub(super) async fn hear(&mut self, expect: Expect) -> Heard {
        let mut stalled = pin!(sleep_until(Instant::now() + limits::STALLED));
        loop {
            match self.decoder.poll(expect) {
                Ok(Some(frame)) => return Heard::Frame(frame),
                Err(error) => return Heard::Malformed(error),
                Ok(None) => {}
            }
            let read = tokio::select! {
                biased;
                read = self.io.read(self.decoder.room()) => read,
                () = &mut stalled => {
                    tracing::debug!("a stream stalled");
                    return Heard::Ended;
                }
            };
            match read {
                Ok(0) => return Heard::Ended,
                Ok(read) => self.decoder.fill(read),
                Err(error) => {
                    tracing::debug!(%error, "a stream broke");
                    return Heard::Ended;
                }
            }
        }
    }

    /// Writes frames. A peer that does not take one in time is cut off.
    pub(super) async fn say(&mut self, frames: Vec<Frame>) -> io::Result<()> {
        for mut part in frames.into_iter().flat_map(Frame::encode) {
            let room = GATHERED.saturating_sub(self.gathered.len());
            if part.len() < room {
                self.gathered.extend_from_slice(&part);
                continue;
            }
            self.gathered.extend_from_slice(&part.split_to(room));
            self.write_gathered().await?;
            if part.len() < GATHERED {
                self.gathered.extend_from_slice(&part);
            } else {
                timeout(limits::STALLED, self.io.write_all(&part)).await??;
            }
        }
        self.write_gathered().await?;
        timeout(limits::STALLED, self.io.flush()).await?
    }

    async fn write_gathered(&mut self) -> io::Result<()> {
        if !self.gathered.is_empty() {
            timeout(limits::STALLED, self.io.write_all(&self.gathered)).await??;
            self.gathered.clear();
        }
        Ok(())
    }

    /// Closes the stream behind what was said.
    pub(super) async fn close(mut self) {
        let _ = timeout(limits::STALLED, self.io.shutdown()).await;
    }
}
