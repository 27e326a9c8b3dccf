//! Somebody who sees every stream of the exchange between two machines, and writes down which content came over it: independently of
//! what the machines themselves write down.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use cargomail_protocol::exchange::{Decoder, Expect, Frame, FrameError, Name};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What came from one machine to another.
#[derive(Debug, Clone, Default)]
pub(super) struct Came {
    /// Octets behind a grant.
    pub(super) octets: u64,
    /// The roots in those grants.
    pub(super) roots: BTreeSet<String>,
    /// Octets without a grant.
    pub(super) ungranted: u64,
}

/// What came from which machine to which. Clones write in the same place.
#[derive(Clone, Default)]
pub(super) struct Witness(Arc<Mutex<HashMap<(IpAddr, IpAddr), Came>>>);

impl Witness {
    /// The destination's end of a stream, of which what comes from the origin is seen.
    pub(super) fn sees<S>(&self, io: S, origin: IpAddr, destination: IpAddr) -> Seen<S> {
        Seen {
            io,
            ends: (origin, destination),
            heard: Heard::Nothing(Decoder::new(), 0),
            witness: self.clone(),
        }
    }

    /// What was seen.
    pub(super) fn came(&self) -> BTreeMap<(IpAddr, IpAddr), Came> {
        let came = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        came.iter().map(|(ends, came)| (*ends, came.clone())).collect()
    }

    fn note(&self, ends: (IpAddr, IpAddr), note: impl FnOnce(&mut Came)) {
        let mut came = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        note(came.entry(ends).or_default());
    }
}

/// What an origin has said so far.
enum Heard {
    /// So many octets, and no whole frame.
    Nothing(Decoder, u64),
    /// A grant of these roots, and nothing behind it.
    Grant(Vec<String>),
    /// Something behind a grant.
    Content,
    /// A refusal, or that a receipt is noted, of which so many octets are still to come; nothing may stand behind it.
    Answer(u64),
    /// What it may only say behind a grant.
    Ungranted,
}

/// A stream that is seen.
pub(super) struct Seen<S> {
    io: S,
    ends: (IpAddr, IpAddr),
    heard: Heard,
    witness: Witness,
}

impl<S> Seen<S> {
    /// The next octets that the origin has said.
    fn hear(&mut self, octets: &[u8]) {
        let count = octets.len() as u64;
        let Heard::Nothing(decoder, before) = &mut self.heard else {
            return self.behind(count);
        };
        *before += count;
        decoder.push(octets);
        let (said, heard) = (*before, decoder.poll(Expect::Answer));
        match heard {
            Ok(None) => {}
            Ok(Some(Frame::Granted(grants))) => {
                let roots = grants.iter().map(|grant| grant.root.to_string()).collect();
                self.heard = Heard::Grant(roots);
                self.behind(said.saturating_sub(length(Frame::Granted(grants))));
            }
            Ok(Some(answer)) => self.answered(said, answer),
            Err(FrameError::Unexpected(Name::Noted)) => self.answered(said, Frame::Noted),
            Err(_) => {
                self.heard = Heard::Ungranted;
                self.behind(said);
            }
        }
    }

    /// This answer began, of which, and of what stands behind it, so many octets came.
    fn answered(&mut self, said: u64, answer: Frame) {
        self.heard = Heard::Answer(length(answer));
        self.behind(said);
    }

    /// So many octets behind the first frame.
    fn behind(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        match &mut self.heard {
            Heard::Grant(roots) => {
                let roots = std::mem::take(roots);
                self.heard = Heard::Content;
                self.witness.note(self.ends, |came| {
                    came.octets += count;
                    came.roots.extend(roots);
                });
            }
            Heard::Content => self.witness.note(self.ends, |came| came.octets += count),
            Heard::Answer(rest) => {
                let ungranted = count.saturating_sub(*rest);
                *rest = rest.saturating_sub(count);
                if ungranted > 0 {
                    self.witness.note(self.ends, |came| came.ungranted += ungranted);
                }
            }
            Heard::Ungranted => self.witness.note(self.ends, |came| came.ungranted += count),
            Heard::Nothing(..) => {}
        }
    }
}

/// The octets of a frame.
fn length(frame: Frame) -> u64 {
    frame.encode().iter().map(|part| part.len() as u64).sum()
}

impl<S: AsyncRead + Unpin> AsyncRead for Seen<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        self.hear(fresh);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Seen<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
