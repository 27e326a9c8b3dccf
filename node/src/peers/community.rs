//! A node in its community: it visits every introducer, learns whether others can dial it, holds a place at relays while they
//! cannot, and has peers found that it knows by their name only.
//!
//! A node that others can dial needs no lasting connection: it comes by from time to time, so that the table knows it. One that
//! holds a place stays connected for as long as it does. What always holds: who does not answer is asked again ever more seldom; an
//! introducer is believed nothing but where somebody may be, so that one that lies costs time (row L04).

mod finds;
mod places;
mod visits;
mod whereabouts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::address::Domain;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, identify};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::finds::Finds;
use self::places::Place;
use self::visits::Visits;
use self::whereabouts::{direct, is_end_of, show};
use super::PeerAddress;
use super::dialable::{ip_of, is_relayed};
use super::introducer::{Introducer, Relaying};
use super::members::{Members, ReachEvent};
use super::swarm::{Behaviour, BehaviourEvent};
use crate::dns::Dns;
use crate::network::AddressPolicy;

pub(super) use finds::Found;
pub(super) use whereabouts::{Shown, Whereabouts};

/// How long introducers have to say whether this node can be dialled; without an answer it is taken for unreachable.
const ANSWER: Duration = Duration::from_secs(20);
/// From one lookup of a name's introducers to the next.
const LOOKUP: Duration = Duration::from_secs(15 * 60);
/// The first wait for who does not answer, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// A connection, or a place, that lasted so long was none that failed.
const STEADY: Duration = Duration::from_secs(60);
/// Changes of this machine's addresses that come together are one.
const SETTLES: Duration = Duration::from_secs(30);

/// Which community a node joins.
#[derive(Clone)]
pub struct Joining {
    /// Its introducers; at least one.
    pub introducers: Vec<Introducer>,
    /// When they relay to this node.
    pub relay: Relaying,
    /// Where introducers that have a name are looked up.
    pub dns: Arc<dyn Dns>,
}

impl fmt::Debug for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Joining({:?}, {:?})", self.introducers, self.relay)
    }
}

/// What introducers say of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unknown,
    Reachable,
    Unreachable,
}

/// A name at which introducers are, and when it is looked up next.
struct Name {
    name: Domain,
    next: Instant,
    failures: u32,
}

/// Where introducers are at a name, by its number; none when the DNS did not say.
type LookedUp = (usize, Option<Vec<PeerAddress>>);

/// The state of a membership.
pub(super) struct Community {
    relay: Relaying,
    dns: Arc<dyn Dns>,
    policy: Arc<AddressPolicy>,
    shown: Shown,
    names: Vec<Name>,
    lookups: JoinSet<LookedUp>,
    looked_up: Vec<LookedUp>,
    visits: Visits,
    finds: Finds,
    verdict: Verdict,
    /// Until when an answer is awaited on whether this node can be dialled.
    awaited: Option<Instant>,
    moved: Option<Instant>,
}

/// Whom something concerns that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concern {
    /// Not the community.
    None,
    /// The community too.
    Shared,
    /// The community alone.
    Own,
}

/// A time from now, apart from that of others who begin at the same moment.
fn from_now(wait: Duration) -> Instant {
    Instant::now() + wait.mul_f64(rand::random_range(0.75..1.25))
}

/// When to try again after so many failures.
fn after(failures: u32) -> Instant {
    let (first, longest) = WAITS;
    from_now(longest.min(first * 2_u32.saturating_pow(failures.saturating_sub(1).min(16))))
}

fn members(swarm: &mut Swarm<Behaviour>) -> &mut Members {
    let membership = swarm.behaviour_mut().members.as_mut();
    membership.expect("a community exists only in a swarm that speaks its protocols")
}

impl Community {
    pub(super) fn new(joining: Joining, policy: Arc<AddressPolicy>, shown: Shown) -> Self {
        let mut community = Self {
            relay: joining.relay,
            dns: joining.dns,
            policy,
            shown,
            names: Vec::new(),
            lookups: JoinSet::new(),
            looked_up: Vec::new(),
            visits: Visits::default(),
            finds: Finds::default(),
            verdict: Verdict::Unknown,
            awaited: None,
            moved: None,
        };
        for introducer in joining.introducers {
            match introducer {
                Introducer::At(address) => community.visits.know(None, &[address], &community.policy),
                Introducer::Named(name) => community.names.push(Name {
                    name,
                    next: Instant::now(),
                    failures: 0,
                }),
            }
        }
        community
    }

    /// Returns when there is something to do: [`Community::act`].
    pub(super) async fn due(&mut self) {
        let names = self.names.iter().map(|name| name.next);
        let deadline = names
            .chain(self.visits.deadline(self.wants_places()))
            .chain(self.awaited)
            .chain(self.moved)
            .min();
        let looked_up = async {
            match self.lookups.join_next().await {
                Some(found) => found,
                None => std::future::pending().await,
            }
        };
        let passed = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(found) = looked_up => self.looked_up.push(found),
            () = passed => {}
        }
    }

    /// Does what is due.
    pub(super) fn act(&mut self, swarm: &mut Swarm<Behaviour>) {
        let now = Instant::now();
        for (number, addresses) in self.looked_up.drain(..) {
            let Some(name) = self.names.get_mut(number) else {
                continue;
            };
            match addresses {
                Some(addresses) => {
                    name.failures = 0;
                    self.visits.know(Some(number), &addresses, &self.policy);
                }
                None => {
                    name.failures = name.failures.saturating_add(1);
                    name.next = after(name.failures);
                }
            }
        }
        for (number, name) in self.names.iter_mut().enumerate() {
            if name.next <= now {
                name.next = from_now(LOOKUP);
                let (dns, name) = (self.dns.clone(), name.name.clone());
                self.lookups
                    .spawn(async move { (number, looked_up(dns.as_ref(), name.as_str()).await) });
            }
        }
        if self.awaited.is_some_and(|until| until <= now) {
            self.awaited = None;
            self.judge(Verdict::Unreachable);
        }
        if self.moved.is_some_and(|since| since <= now) {
            self.moved = None;
        }
        members(swarm).set_introducers(self.visits.names());
        if self.visits.is_alone() && self.visits.is_due(now) {
            self.ask_anew(swarm);
        }
        self.visits.visit(swarm, now);
        self.places(swarm, now);
        let places = self.visits.places();
        show(&self.shown, swarm, &places, self.wants_places());
    }

    /// Whether this node holds places at relays, or would.
    fn wants_places(&self) -> bool {
        match self.relay {
            Relaying::Always => true,
            Relaying::Never => false,
            Relaying::Auto => self.verdict == Verdict::Unreachable,
        }
    }

    fn places(&mut self, swarm: &mut Swarm<Behaviour>, now: Instant) {
        let wanted = self.wants_places();
        for (relay, known) in self.visits.known_mut() {
            // What is on its way over the relay goes on there.
            if !wanted && members(swarm).goes_over(relay) {
                continue;
            }
            known
                .place
                .hold(swarm, *relay, known.is_here_and_relays(), wanted, now);
        }
    }

    fn judge(&mut self, verdict: Verdict) {
        if self.verdict != verdict {
            tracing::info!(?verdict, "whether others can dial this node");
            self.verdict = verdict;
        }
    }

    /// Nothing is known any more of where others see this node.
    fn ask_anew(&mut self, swarm: &mut Swarm<Behaviour>) {
        self.awaited = None;
        let known: Vec<Multiaddr> = swarm
            .external_addresses()
            .filter(|at| !is_relayed(at))
            .cloned()
            .collect();
        for address in &known {
            swarm.remove_external_address(address);
        }
        members(swarm).ask_anew();
    }

    /// This machine has other addresses than before: introducers are looked up and met again, where `lost` says that connections may be dead.
    pub(super) fn moved(&mut self, swarm: &mut Swarm<Behaviour>, lost: bool) {
        let now = Instant::now();
        if self.moved.is_none() {
            self.moved = Some(now + SETTLES);
            self.visits.hurry(swarm, lost);
            for name in &mut self.names {
                name.failures = 0;
                name.next = name.next.min(from_now(WAITS.0));
            }
        }
    }

    /// Looks for a peer; the answer goes to `found`.
    pub(super) fn find(&mut self, swarm: &mut Swarm<Behaviour>, peer: PeerId, found: Found) {
        self.finds.begin(swarm, peer, found);
    }

    /// Takes note of what happens.
    pub(super) fn happened(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        event: &SwarmEvent<BehaviourEvent>,
    ) -> Concern {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            } => {
                self.visits.arrived(peer_id, *connection_id);
                self.finds.connected(swarm, peer_id);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id, error, ..
            } => self.visits.failed(*connection_id, error),
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => {
                let returns_soon = self.wants_places() || self.awaited.is_some();
                self.visits.left(peer_id, returns_soon);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                let policy = self.policy.clone();
                return match self.place(*listener_id) {
                    Some((relay, place)) => {
                        place.granted(address, |address| is_end_of(address, relay, &policy));
                        Concern::Own
                    }
                    None => Concern::None,
                };
            }
            SwarmEvent::ListenerClosed {
                listener_id, reason, ..
            } => {
                return match self.place(*listener_id) {
                    Some((relay, place)) => {
                        tracing::debug!(%relay, ?reason, "a place at a relay has ended");
                        place.ended();
                        Concern::Own
                    }
                    None => Concern::None,
                };
            }
            SwarmEvent::ExternalAddrConfirmed { .. } | SwarmEvent::ExternalAddrExpired { .. } => {
                let here = self.visits.here();
                swarm.behaviour_mut().identify.push(here);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => self.met(swarm, peer_id, info),
            SwarmEvent::Behaviour(BehaviourEvent::Members(event)) => self.told(swarm, event),
            _ => return Concern::None,
        }
        Concern::Shared
    }

    fn place(&mut self, listener: ListenerId) -> Option<(PeerId, &mut Place)> {
        let mut known = self.visits.known_mut();
        known
            .find(|(_, known)| known.place.is_at(listener))
            .map(|(relay, known)| (*relay, &mut known.place))
    }

    /// An introducer says who it is, and where it sees this node.
    fn met(&mut self, swarm: &mut Swarm<Behaviour>, peer: &PeerId, info: &identify::Info) {
        if !self.visits.met(peer, &info.protocols) {
            return;
        }
        if let Some(ip) = ip_of(&info.observed_addr).filter(|_| !is_relayed(&info.observed_addr)) {
            members(swarm).seen(ip);
        }
        if self.verdict != Verdict::Reachable || direct(swarm).is_empty() {
            self.awaited.get_or_insert_with(|| Instant::now() + ANSWER);
        }
    }

    fn told(&mut self, swarm: &mut Swarm<Behaviour>, event: &ReachEvent) {
        match event {
            ReachEvent::Autonat(tested) => {
                let is_introducer = self.visits.knows(&tested.server);
                match &tested.result {
                    Ok(()) if is_introducer => {
                        self.awaited = None;
                        self.judge(Verdict::Reachable);
                    }
                    Ok(()) => swarm.remove_external_address(&tested.tested_addr),
                    Err(why) => {
                        tracing::debug!(address = %tested.tested_addr, %why, "not dialled with success");
                        if is_introducer && direct(swarm).is_empty() {
                            self.awaited = None;
                            self.judge(Verdict::Unreachable);
                        }
                    }
                }
            }
            ReachEvent::Kademlia(event) => self.finds.told(swarm, event),
            ReachEvent::Dcutr(upgrade) => {
                tracing::debug!(peer = %upgrade.remote_peer_id, result = ?upgrade.result, "a direct connection was tried");
            }
            ReachEvent::Relay(event) => tracing::debug!(?event, "relay"),
        }
    }
}

async fn looked_up(dns: &dyn Dns, name: &str) -> Option<Vec<PeerAddress>> {
    super::lookup(dns, name)
        .await
        .inspect_err(|error| tracing::warn!(%error, name, "the introducers of a community are not found"))
        .ok()
}
