//! One exchange stream: frames in and out, each with its time. What they mean, the protocol's machines decide.

use std::io;

use bytes::Bytes;
use cargomail_protocol::exchange::{Decoder, Expect, Frame, Heard};
use cargomail_protocol::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::network::ByteStream;

/// Octets read at a time.
const PIECE: usize = 64 * 1024;

/// A stream to a peer whose key is proved.
pub(super) struct Line {
    io: Box<dyn ByteStream>,
    decoder: Decoder,
    piece: Vec<u8>,
}

impl Line {
    pub(super) fn new(io: Box<dyn ByteStream>) -> Self {
        Self {
            io,
            decoder: Decoder::new(),
            piece: vec![0; PIECE],
        }
    }

    /// The next frame. One that is not whole in time ends the stream, as does everything that breaks it.
    pub(super) async fn hear(&mut self, expect: Expect) -> Heard {
        let until = Instant::now() + limits::STALLED;
        loop {
            match self.decoder.poll(expect) {
                Ok(Some(frame)) => return Heard::Frame(frame),
                Err(error) => return Heard::Malformed(error),
                Ok(None) => {}
            }
            match timeout_at(until, self.io.read(&mut self.piece)).await {
                Ok(Ok(read)) if read > 0 => self.decoder.push(self.piece.get(..read).unwrap_or_default()),
                Ok(Ok(_)) => return Heard::Ended,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a stream broke");
                    return Heard::Ended;
                }
                Err(_) => {
                    tracing::debug!("a stream stalled");
                    return Heard::Ended;
                }
            }
        }
    }

    /// Writes frames. A peer that does not take one in time is cut off.
    pub(super) async fn say(&mut self, frames: Vec<Frame>) -> io::Result<()> {
        for frame in frames {
            timeout(limits::STALLED, self.write(frame.encode())).await??;
        }
        Ok(())
    }

    async fn write(&mut self, parts: [Bytes; 2]) -> io::Result<()> {
        for part in parts {
            self.io.write_all(&part).await?;
        }
        self.io.flush().await
    }

    /// Closes the stream behind what was said.
    pub(super) async fn close(mut self) {
        let _ = timeout(limits::STALLED, self.io.shutdown()).await;
    }
}
