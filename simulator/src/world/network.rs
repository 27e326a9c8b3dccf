//! Everything that machines say to each other: byte streams between addresses, and the streams of peers, whose keys are proved
//! because nobody but a machine itself can be registered under its key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cargomail_node::network::{ByteStream, Listener, Network};
use cargomail_node::peers::{PeerAddress, PeerError, PeerStream, Peers, Spoken};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::line::{Breaker, Condition, Line, Quality, Stream, stream};
use super::trace::Trace;
use super::witness::Witness;

/// Streams that wait to be accepted at one address.
const WAITING: usize = 128;
/// How long is tried to reach a machine that does not answer: longer than anybody waits.
const SILENCE: Duration = Duration::from_secs(127);
/// The first port that is given to those who name none.
const FIRST: u16 = 49152;

type Arrived = (Stream, SocketAddr);

/// All lines, and who listens where.
#[derive(Clone)]
pub(super) struct Wires {
    state: Arc<Mutex<State>>,
    trace: Trace,
    /// Sees what origins send.
    pub(super) witness: Witness,
}

struct State {
    /// Of machines for which nothing else is said.
    quality: Quality,
    /// The lines of machines that have one of their own.
    own: BTreeMap<IpAddr, Condition>,
    /// What is said of the way between any of some machines and any of others; of several the last.
    links: Vec<(BTreeSet<IpAddr>, BTreeSet<IpAddr>, Condition)>,
    /// Machines whose lines are slow now.
    slow: BTreeSet<IpAddr>,
    lines: HashMap<(IpAddr, IpAddr), Arc<Line>>,
    listeners: HashMap<SocketAddr, mpsc::Sender<Arrived>>,
    peers: BTreeMap<([u8; 32], Spoken), (IpAddr, mpsc::Sender<PeerStream>)>,
    streams: Vec<(IpAddr, IpAddr, Breaker)>,
    /// So many streams are looked through for those that are over.
    crowded: usize,
    ports: BTreeMap<IpAddr, u16>,
    /// Machines between which and all others nothing travels.
    parted: Vec<BTreeSet<IpAddr>>,
    /// How many streams of peers there were.
    connections: u64,
}

impl Wires {
    /// Machines with such lines between any two.
    pub(super) fn new(quality: Quality, trace: Trace) -> Self {
        let state = State {
            quality,
            own: BTreeMap::new(),
            links: Vec::new(),
            slow: BTreeSet::new(),
            lines: HashMap::new(),
            listeners: HashMap::new(),
            peers: BTreeMap::new(),
            streams: Vec::new(),
            crowded: WAITING,
            ports: BTreeMap::new(),
            parted: Vec::new(),
            connections: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            trace,
            witness: Witness::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine at an address, while it is alive.
    pub(super) fn machine(&self, at: IpAddr, alive: &Arc<AtomicBool>) -> Machine {
        Machine {
            wires: self.clone(),
            at,
            alive: alive.clone(),
        }
    }

    /// How often octets were given to any line.
    pub(super) fn pieces(&self) -> u64 {
        self.state().lines.values().map(|line| line.pieces()).sum()
    }

    /// A machine is gone: nobody listens there, and all its streams break.
    pub(super) fn remove(&self, at: IpAddr) {
        let mut state = self.state();
        state.listeners.retain(|address, _| address.ip() != at);
        state.peers.retain(|_, (address, _)| *address != at);
        state.streams.retain(|(one, other, breaker)| {
            let is_theirs = *one == at || *other == at;
            if is_theirs {
                breaker.break_off();
            }
            !is_theirs
        });
    }

    /// Gives a machine a line of its own.
    pub(super) fn connect(&self, at: IpAddr, condition: Condition) {
        let mut state = self.state();
        state.own.insert(at, condition);
        state.renew(|one, other| one == at || other == at);
    }

    /// Says what the way from any of some machines to any of others is like, and the way back.
    pub(super) fn link(&self, from: BTreeSet<IpAddr>, to: BTreeSet<IpAddr>, condition: Condition) {
        let mut state = self.state();
        state.links.push((from, to, condition));
        state.renew(|_, _| true);
    }

    /// Makes all lines of a machine slow, or as fast as they were.
    pub(super) fn slow(&self, at: IpAddr, is_slow: bool) {
        let mut state = self.state();
        match is_slow {
            true => state.slow.insert(at),
            false => state.slow.remove(&at),
        };
        state.renew(|one, other| one == at || other == at);
    }

    /// Cuts the lines between some machines and all others, or mends those that nothing else cuts.
    pub(super) fn part(&self, some: &BTreeSet<IpAddr>, all: &[IpAddr], is_cut: bool) {
        let mut state = self.state();
        match is_cut {
            true => state.parted.push(some.clone()),
            // The same machines may have been cut off twice.
            false => {
                if let Some(place) = state.parted.iter().position(|parted| parted == some) {
                    state.parted.remove(place);
                }
            }
        }
        for one in some {
            for other in all.iter().filter(|other| !some.contains(other)) {
                let flows = state.flows(*one, *other);
                for line in [state.line(*one, *other), state.line(*other, *one)] {
                    match flows {
                        true => line.mend(),
                        false => line.cut(),
                    }
                }
            }
        }
    }
}

impl State {
    fn flows(&self, one: IpAddr, other: IpAddr) -> bool {
        let mut parted = self.parted.iter();
        parted.all(|parted| parted.contains(&one) == parted.contains(&other))
    }

    /// What the way from one machine to another is like.
    fn quality(&self, from: IpAddr, to: IpAddr) -> Quality {
        if from == to {
            return Quality::LOCAL;
        }
        let said = self.links.iter().rev().find_map(|(some, others, condition)| {
            if some.contains(&from) && others.contains(&to) {
                return Some(condition.up());
            }
            (some.contains(&to) && others.contains(&from)).then(|| condition.down())
        });
        let quality = said.unwrap_or_else(|| match (self.own.get(&from), self.own.get(&to)) {
            (None, None) => self.quality,
            (Some(own), None) => own.up().within(self.quality),
            (None, Some(own)) => own.down().within(self.quality),
            (Some(one), Some(other)) => one.up().behind(other.down()),
        });
        match self.slow.contains(&from) || self.slow.contains(&to) {
            true => quality.slowed(),
            false => quality,
        }
    }

    /// Has those lines that are there already be as they are said to be now.
    fn renew(&self, which: impl Fn(IpAddr, IpAddr) -> bool) {
        for ((from, to), line) in &self.lines {
            if which(*from, *to) {
                line.becomes(self.quality(*from, *to));
            }
        }
    }

    fn line(&mut self, from: IpAddr, to: IpAddr) -> Arc<Line> {
        let quality = self.quality(from, to);
        self.lines
            .entry((from, to))
            .or_insert_with(|| Line::new(quality))
            .clone()
    }

    fn stream(&mut self, from: IpAddr, to: IpAddr) -> (Stream, Stream) {
        let (there, back) = (self.line(from, to), self.line(to, from));
        let (near, far, breaker) = stream(&there, &back);
        if self.streams.len() >= self.crowded {
            self.streams.retain(|(_, _, breaker)| !breaker.is_over());
            self.crowded = (2 * self.streams.len()).max(WAITING);
        }
        self.streams.push((from, to, breaker));
        (near, far)
    }
}

/// A machine as it sees the others.
pub(super) struct Machine {
    wires: Wires,
    at: IpAddr,
    alive: Arc<AtomicBool>,
}

impl Machine {
    /// Waits as long as a greeting takes to come back; an error when it does not.
    async fn greet(&self, to: IpAddr) -> io::Result<()> {
        if !self.alive.load(Ordering::Relaxed) {
            // Whatever still runs of a machine that has crashed reaches nobody.
            std::future::pending::<()>().await;
        }
        let (there, back) = {
            let mut state = self.wires.state();
            (state.line(self.at, to), state.line(to, self.at))
        };
        if there.is_cut() || back.is_cut() {
            // It is said again and again, as a greeting is, until it arrives or nobody believes in it any more.
            let mended = async {
                there.mended().await;
                back.mended().await;
            };
            if timeout(SILENCE, mended).await.is_err() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        let takes = there.latency() + back.latency();
        if !takes.is_zero() {
            sleep(takes).await;
        }
        if !self.alive.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// Somebody who sits beside every machine that they connect to.
pub(super) struct Visitor(pub(super) Wires);

#[async_trait]
impl Network for Visitor {
    async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        self.0
            .machine(to.ip(), &Arc::new(AtomicBool::new(true)))
            .connect(to)
            .await
    }

    async fn listen(&self, _: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[async_trait]
impl Network for Machine {
    async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        self.greet(to.ip()).await?;
        let near = {
            let mut state = self.wires.state();
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let listener = state.listeners.get(&to).ok_or_else(refused)?.clone();
            let (near, far) = state.stream(self.at, to.ip());
            let from = SocketAddr::new(self.at, FIRST);
            listener.try_send((far, from)).map_err(|_| refused())?;
            near
        };
        self.wires
            .trace
            .line(&self.at.to_string(), format_args!("connects to {to}"));
        Ok(Box::new(near))
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let mut state = self.wires.state();
        let port = match at.port() {
            0 => {
                let port = state.ports.entry(at.ip()).or_insert(FIRST);
                *port += 1;
                *port
            }
            port => port,
        };
        let at = SocketAddr::new(at.ip(), port);
        if state
            .listeners
            .get(&at)
            .is_some_and(|listener| !listener.is_closed())
        {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, arrived) = mpsc::channel(WAITING);
        state.listeners.insert(at, sender);
        Ok(Box::new(Face { at, arrived }))
    }
}

/// An address that is listened at.
struct Face {
    at: SocketAddr,
    arrived: mpsc::Receiver<Arrived>,
}

#[async_trait]
impl Listener for Face {
    async fn accept(&mut self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)> {
        match self.arrived.recv().await {
            Some((stream, from)) => Ok((Box::new(stream), from)),
            // The machine is gone: nobody comes any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }
}

/// A machine among its peers.
pub(super) struct Peer {
    machine: Machine,
    key: [u8; 32],
    addresses: Vec<PeerAddress>,
    exchange: tokio::sync::Mutex<mpsc::Receiver<PeerStream>>,
    /// There once it was asked for: a machine that nobody asks does not speak it.
    grip: tokio::sync::Mutex<Option<mpsc::Receiver<PeerStream>>>,
}

impl Peer {
    /// Registers a machine under its key.
    pub(super) fn new(machine: Machine, key: [u8; 32], addresses: Vec<PeerAddress>) -> Self {
        let exchange = machine.speaks(key, Spoken::Exchange);
        Self {
            machine,
            key,
            addresses,
            exchange: tokio::sync::Mutex::new(exchange),
            grip: tokio::sync::Mutex::default(),
        }
    }
}

impl Machine {
    /// From now on peers may open streams for this.
    fn speaks(&self, key: [u8; 32], spoken: Spoken) -> mpsc::Receiver<PeerStream> {
        let (sender, arrived) = mpsc::channel(WAITING);
        let mut state = self.wires.state();
        state.peers.insert((key, spoken), (self.at, sender));
        arrived
    }
}

#[async_trait]
impl Peers for Peer {
    async fn open(&self, spoken: Spoken, at: &[PeerAddress]) -> Result<PeerStream, PeerError> {
        let unreachable = |why: &str| PeerError::Unreachable(why.to_owned());
        let mut keys = at.iter().filter_map(PeerAddress::key).peekable();
        if keys.peek().is_none() {
            let names = at.iter().map(|address| address.0.clone());
            return Err(PeerError::NoAddress(names.collect()));
        }
        // Of several the first that is there.
        let found = {
            let state = self.machine.wires.state();
            keys.find_map(|key| {
                let place = (key, Spoken::Exchange);
                state.peers.get(&place).map(|(to, _)| (place, *to))
            })
        };
        let (place, to) = found.ok_or_else(|| unreachable("nobody listens there"))?;
        let (key, _) = place;
        // One greeting of the transport, one of TLS.
        for _ in 0..2 {
            let greeted = self.machine.greet(to).await;
            greeted.map_err(|error| unreachable(&error.to_string()))?;
        }
        let stream = {
            let mut state = self.machine.wires.state();
            if !state.peers.contains_key(&place) {
                return Err(unreachable("nobody listens there"));
            }
            let listener = state.peers.get(&(key, spoken)).cloned();
            let (_, listener) = listener.ok_or(PeerError::Unsupported(spoken))?;
            let (near, far) = state.stream(self.machine.at, to);
            state.connections += 1;
            let connection = state.connections;
            let stream = |key, io: Box<dyn ByteStream>| PeerStream { key, connection, io };
            listener
                .try_send(stream(self.key, Box::new(far)))
                .map_err(|_| unreachable("it takes no more"))?;
            let (witness, here) = (&self.machine.wires.witness, self.machine.at);
            let near: Box<dyn ByteStream> = match spoken {
                Spoken::Exchange => Box::new(witness.sees(near, to, here)),
                Spoken::Grip => Box::new(near),
            };
            stream(key, near)
        };
        self.machine.wires.trace.line(
            &self.machine.at.to_string(),
            format_args!("opens stream {} to {to}", stream.connection),
        );
        Ok(stream)
    }

    async fn accept(&self, spoken: Spoken) -> Option<PeerStream> {
        let arrived = match spoken {
            Spoken::Exchange => self.exchange.lock().await.recv().await,
            Spoken::Grip => {
                let mut grip = self.grip.lock().await;
                let speaks = || self.machine.speaks(self.key, Spoken::Grip);
                grip.get_or_insert_with(speaks).recv().await
            }
        };
        match arrived {
            Some(stream) => Some(stream),
            None => std::future::pending().await,
        }
    }

    fn addresses(&self) -> Vec<PeerAddress> {
        self.addresses.clone()
    }
}

#[cfg(test)]
mod tests;
