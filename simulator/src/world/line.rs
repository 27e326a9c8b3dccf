//! Lines between machines, and streams over them: octets arrive in order, after the line's latency, at its speed, and stand still
//! while it is cut.
//!
//! What always holds: a stream holds at most [`WINDOW`] octets on their way; what was written before a machine's end may arrive
//! after it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Octets of one stream that are on their way, or wait to be read: what an operating system holds.
const WINDOW: usize = 1024 * 1024;

/// What a line is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// From one end to the other.
    pub latency: Duration,
    /// Octets a second, of all streams together; none is as many as there are.
    pub speed: Option<u64>,
}

impl Quality {
    /// A machine's own: nothing is waited for.
    pub const LOCAL: Self = Self {
        latency: Duration::ZERO,
        speed: None,
    };
    /// Two machines in one region, at good lines.
    pub const FIBRE: Self = Self {
        latency: Duration::from_millis(8),
        speed: Some(62_500_000),
    };

    /// Behind each other: the latencies of both, and the speed of the slower one.
    pub(super) fn behind(self, other: Self) -> Self {
        Self {
            latency: self.latency + other.latency,
            speed: slower(self.speed, other.speed),
        }
    }

    /// As good as both at the most: of a line that ends at a machine without one of its own.
    pub(super) fn within(self, other: Self) -> Self {
        Self {
            latency: self.latency.max(other.latency),
            speed: slower(self.speed, other.speed),
        }
    }

    /// With a hundredth of its speed, and ten times its latency.
    pub(super) fn slowed(self) -> Self {
        Self {
            latency: self.latency * 10,
            speed: self.speed.map(|speed| (speed / 100).max(1)),
        }
    }
}

fn slower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What real lines are like, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Two machines in one data centre.
    DataCentre,
    /// Good lines in one region: [`Quality::FIBRE`].
    Fibre,
    /// A telephone line.
    Dsl,
    /// A mobile network.
    Mobile,
    /// A geostationary satellite.
    Satellite,
}

/// What an end of a line of some condition gets: from one end to the other, and octets a second away from it and towards it.
struct Typical {
    latency: Duration,
    up: u64,
    down: u64,
}

impl Condition {
    /// The table. Latencies are those of one direction: half of what is measured there and back.
    const fn typical(self) -> Typical {
        let (micros, up, down) = match self {
            // Half a millisecond there and back (J. Dean, "Numbers everyone should know"); 10 Gbit/s Ethernet (IEEE 802.3ae).
            Self::DataCentre => (250, 1_250_000_000, 1_250_000_000),
            // 500 Mbit/s both ways, as GPON (ITU-T G.984) is sold; 16 ms there and back.
            Self::Fibre => return Self::FIBRE,
            // 50 and 10 Mbit/s, as VDSL2 (ITU-T G.993.2) is sold; 30 ms there and back (FCC, Measuring Broadband America, DSL).
            Self::Dsl => (15_000, 1_250_000, 6_250_000),
            // 30 and 10 Mbit/s and 50 ms there and back: what LTE is measured to give (Ofcom, Mobile Matters).
            Self::Mobile => (25_000, 1_250_000, 3_750_000),
            // 239 ms for 35,786 km up and down again at the speed of light, and the rest in the stations: 600 ms there and back;
            // 25 and 3 Mbit/s (FCC, Measuring Broadband America, satellite).
            Self::Satellite => (300_000, 375_000, 3_125_000),
        };
        Typical {
            latency: Duration::from_micros(micros),
            up,
            down,
        }
    }

    const FIBRE: Typical = Typical {
        latency: Quality::FIBRE.latency,
        up: 62_500_000,
        down: 62_500_000,
    };

    /// Away from who has such a line.
    pub(super) const fn up(self) -> Quality {
        let typical = self.typical();
        Quality {
            latency: typical.latency,
            speed: Some(typical.up),
        }
    }

    /// Towards who has such a line.
    pub(super) const fn down(self) -> Quality {
        let typical = self.typical();
        Quality {
            latency: typical.latency,
            speed: Some(typical.down),
        }
    }
}

/// One direction between two machines.
pub(super) struct Line(Mutex<State>);

struct State {
    quality: Quality,
    /// When the last octet that was given to it has left.
    free: Instant,
    is_cut: bool,
    /// How often octets were given to it.
    pieces: u64,
    /// Who waits for the line to be mended.
    waiting: Vec<Waker>,
}

impl Line {
    pub(super) fn new(quality: Quality) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            quality,
            free: Instant::now(),
            is_cut: false,
            pieces: 0,
            waiting: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When so many octets arrive that are given to it now.
    fn carry(&self, octets: usize) -> Instant {
        let mut state = self.state();
        state.pieces += 1;
        let now = Instant::now();
        if let Some(speed) = state.quality.speed {
            // In whole KiB: certificates and dates differ by a few octets from run to run.
            let octets = octets.next_multiple_of(1024) as u64;
            let takes = Duration::from_nanos(octets * 1_000_000_000 / speed.max(1));
            state.free = state.free.max(now) + takes;
        } else {
            state.free = now;
        }
        state.free + state.quality.latency
    }

    /// From now on; what was given to it before arrives as it would have.
    pub(super) fn becomes(&self, quality: Quality) {
        self.state().quality = quality;
    }

    pub(super) fn latency(&self) -> Duration {
        self.state().quality.latency
    }

    /// How often octets were given to it.
    pub(super) fn pieces(&self) -> u64 {
        self.state().pieces
    }

    pub(super) fn is_cut(&self) -> bool {
        self.state().is_cut
    }

    pub(super) fn cut(&self) {
        self.state().is_cut = true;
    }

    pub(super) fn mend(&self) {
        let waiting = {
            let mut state = self.state();
            state.is_cut = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits while it is cut.
    pub(super) async fn mended(&self) {
        std::future::poll_fn(|context| match self.flows(context) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// Whether octets come out of it; if not, who asks is woken when they do again.
    fn flows(&self, context: &Context<'_>) -> bool {
        let mut state = self.state();
        if state.is_cut && !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        !state.is_cut
    }
}

/// One direction of a stream.
struct Pipe {
    /// What is on its way, and when it arrives.
    coming: VecDeque<(Instant, Bytes)>,
    octets: usize,
    /// The writer has said everything.
    is_ended: bool,
    /// One of the two is gone.
    is_broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Wakes the reader when the next octets arrive.
    arrival: Pin<Box<Sleep>>,
}

impl Pipe {
    fn new() -> Self {
        Self {
            coming: VecDeque::new(),
            octets: 0,
            is_ended: false,
            is_broken: false,
            reader: None,
            writer: None,
            arrival: Box::pin(sleep_until(Instant::now())),
        }
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// Has the reader, if it waits, be woken at that time and not before: a look at a stream of which nothing has arrived costs as much
    /// as one at a stream of which something has.
    fn wake_reader_at(&mut self, arrives: Instant) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        if arrives > Instant::now() {
            self.arrival.as_mut().reset(arrives);
            let mut context = Context::from_waker(&reader);
            if self.arrival.as_mut().poll(&mut context).is_pending() {
                return;
            }
        }
        reader.wake();
    }
}

type Shared = Arc<Mutex<Pipe>>;

fn lock(pipe: &Shared) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a stream.
pub(super) struct Stream {
    incoming: Shared,
    outgoing: Shared,
    /// Over which the incoming octets come, and the outgoing ones go.
    lines: (Arc<Line>, Arc<Line>),
}

/// Breaks a stream.
#[derive(Clone)]
pub(super) struct Breaker([std::sync::Weak<Mutex<Pipe>>; 2]);

impl Breaker {
    /// Both ends are told that the other is gone; whether there was anything to break.
    pub(super) fn break_off(&self) -> bool {
        let pipes = self.0.iter().filter_map(std::sync::Weak::upgrade);
        pipes
            .map(|pipe| {
                let mut pipe = lock(&pipe);
                pipe.is_broken = true;
                pipe.wake();
            })
            .count()
            > 0
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.iter().all(|pipe| pipe.strong_count() == 0)
    }
}

/// Both ends of a stream over these two lines, one for each direction.
pub(super) fn stream(there: &Arc<Line>, back: &Arc<Line>) -> (Stream, Stream, Breaker) {
    let pipe = || Arc::new(Mutex::new(Pipe::new()));
    let (one, other) = (pipe(), pipe());
    let breaker = Breaker([Arc::downgrade(&one), Arc::downgrade(&other)]);
    let end = |incoming: &Shared, outgoing: &Shared, lines: (&Arc<Line>, &Arc<Line>)| Stream {
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        lines: (lines.0.clone(), lines.1.clone()),
    };
    (
        end(&other, &one, (back, there)),
        end(&one, &other, (there, back)),
        breaker,
    )
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.lines.0.flows(context) {
            return Poll::Pending;
        }
        let mut pipe = lock(&this.incoming);
        pipe.reader = Some(context.waker().clone());
        let Some((arrives, octets)) = pipe.coming.front_mut() else {
            return match (pipe.is_broken, pipe.is_ended) {
                (true, _) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                (false, true) => Poll::Ready(Ok(())),
                (false, false) => Poll::Pending,
            };
        };
        if *arrives > Instant::now() {
            let arrives = *arrives;
            pipe.wake_reader_at(arrives);
            return Poll::Pending;
        }
        let length = octets.len().min(buffer.remaining());
        buffer.put_slice(octets.get(..length).unwrap_or_default());
        octets.advance(length);
        if octets.is_empty() {
            pipe.coming.pop_front();
        }
        pipe.octets -= length;
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.outgoing);
        if pipe.is_broken || pipe.is_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if octets.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let length = octets.len().min(WINDOW - pipe.octets);
        if length == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let arrives = self.lines.1.carry(length);
        let octets = Bytes::copy_from_slice(octets.get(..length).unwrap_or_default());
        pipe.octets += length;
        pipe.coming.push_back((arrives, octets));
        pipe.wake_reader_at(arrives);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.outgoing);
        pipe.is_ended = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        {
            let mut pipe = lock(&self.outgoing);
            pipe.is_ended = true;
            pipe.wake();
        }
        let mut pipe = lock(&self.incoming);
        // Whoever still writes learns that nobody reads.
        pipe.is_broken = true;
        pipe.coming.clear();
        pipe.octets = 0;
        pipe.wake();
    }
}

#[cfg(test)]
mod tests;
