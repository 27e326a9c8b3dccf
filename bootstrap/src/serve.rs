//! The loop: listens, introduces, counts, and ends when it is told to.
//!
//! What always holds: no record and no provider is stored, whoever asks for it; a peer's addresses are its own words, so
//! they are introductions and never trust: whoever dials one checks the key (row L04 of the threats).

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, identify, ping};
use libp2p_metrics::{Metrics, Recorder};
use libp2p_relay as relay;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::metrics::{Counts, DialBack};
use crate::settings::{External, Settings};
use crate::slots::Slots;
use crate::swarm::{Behaviour, BehaviourEvent, swarm};
use crate::table::Table;
use crate::watch::{self, Health, Watch};

/// How often the loop looks after what nobody asks for.
const ROUND: Duration = Duration::from_secs(10);
/// Octets of a page of memory as the kernel counts them, on all machines that this is built for.
const PAGE: i64 = 4096;

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// End.
    Stop,
    /// Read again who may connect.
    ReadAllow,
}

/// What there is to tell.
pub(crate) enum News {
    /// Peers can be sent here; ends in `/p2p/<peer id>`.
    Listening(Multiaddr),
    /// Metrics and health are served here.
    Watched(SocketAddr),
    /// Everything is closed.
    Stopped,
}

/// Serves until it is told to stop.
///
/// # Errors
/// It cannot listen where it should, or a listener ended.
pub(crate) async fn serve(
    settings: &Settings,
    mut orders: mpsc::Receiver<Order>,
    tell: impl Fn(News),
) -> anyhow::Result<()> {
    let mut introducer = Introducer::start(settings, &tell).await?;
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::ReadAllow) => introducer.read_allow(),
                Some(Order::Stop) | None => break,
            },
            _ = round.tick() => introducer.look_after(),
            event = introducer.swarm.select_next_some() => introducer.on_event(event, &tell)?,
        }
    }
    introducer.health.listens(false);
    close(&mut introducer.swarm).await;
    tell(News::Stopped);
    Ok(())
}

struct Introducer<'a> {
    settings: &'a Settings,
    swarm: Swarm<Behaviour>,
    table: Table,
    slots: Slots,
    counts: Counts,
    libp2p: Metrics,
    health: Arc<Health>,
    /// Listeners that have not said yet where they listen.
    silent: HashSet<ListenerId>,
}

impl<'a> Introducer<'a> {
    async fn start(settings: &'a Settings, tell: impl Fn(News)) -> anyhow::Result<Self> {
        let (counts, slots) = (Counts::default(), Slots::new(settings.relay.clone()));
        let (registry, libp2p) = counts.registry();
        let health = Arc::new(Health::new());
        if let Some(at) = settings.metrics {
            let listener = TcpListener::bind(at).await;
            let listener = listener.with_context(|| format!("metrics: cannot listen at {at}"))?;
            tell(News::Watched(listener.local_addr()?));
            let health = Arc::clone(&health);
            tokio::spawn(watch::serve(listener, Watch { health, registry }));
        }
        let mut swarm = swarm(settings, settings.keys()?, &slots, counts.clone())?;
        let silent = listen(&mut swarm, settings)?;
        if settings.relay.reservations > 0 {
            for external in &settings.external {
                if let External::Whole(address) = external {
                    swarm.add_external_address(address.clone());
                }
            }
        }
        let table = Table::new(*swarm.local_peer_id(), settings.reach, settings.forget);
        Ok(Self {
            settings,
            swarm,
            table,
            slots,
            counts,
            libp2p,
            health,
            silent,
        })
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>, tell: impl Fn(News)) -> anyhow::Result<()> {
        self.libp2p.record(&event);
        match event {
            SwarmEvent::NewListenAddr { address, listener_id } => {
                self.silent.remove(&listener_id);
                self.health.listens(self.silent.is_empty());
                self.announce(&address);
                tell(News::Listening(
                    address.with(Protocol::P2p(*self.swarm.local_peer_id())),
                ));
            }
            SwarmEvent::ListenerClosed {
                reason, addresses, ..
            } => {
                reason.with_context(|| format!("the listener at {addresses:?} is gone"))?;
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a connection was not taken"),
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => self.slots.left(&peer_id),
            SwarmEvent::Behaviour(event) => self.on_peer(event),
            _ => {}
        }
        Ok(())
    }

    fn on_peer(&mut self, event: BehaviourEvent) {
        let now = Instant::now();
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                let kademlia = &mut self.swarm.behaviour_mut().kademlia;
                self.table.introduce(kademlia, peer_id, info, now);
            }
            BehaviourEvent::Ping(event) => {
                self.libp2p.record(&event);
                if let ping::Event {
                    connection,
                    result: Err(ping::Failure::Timeout),
                    ..
                } = event
                {
                    self.swarm.close_connection(connection);
                }
            }
            BehaviourEvent::Kademlia(event) => self.libp2p.record(&event),
            BehaviourEvent::Relay(event) => self.on_relay(event, now),
            BehaviourEvent::Autonat(event) => {
                tracing::debug!(peer = %event.client, address = %event.tested_addr, "asked for a dial-back");
                self.counts.dialled_back(match event.result {
                    Ok(()) => DialBack::Answered,
                    Err(_) => DialBack::Broken,
                });
            }
            _ => {}
        }
    }

    fn on_relay(&mut self, event: relay::Event, now: Instant) {
        self.libp2p.record(&event);
        tracing::debug!(?event, "relay");
        match event {
            relay::Event::CircuitReqAccepted {
                src_peer_id,
                dst_peer_id,
            } => {
                if let Some(network) = self.swarm.behaviour().door.network_of(&src_peer_id) {
                    self.slots.connected(src_peer_id, dst_peer_id, network, now);
                }
            }
            relay::Event::CircuitClosed {
                src_peer_id,
                dst_peer_id,
                ..
            } => {
                self.slots.disconnected(src_peer_id, dst_peer_id);
            }
            _ => {}
        }
    }

    /// An external IP address stands for what is listened at in its family.
    fn announce(&mut self, listening: &Multiaddr) {
        if self.settings.relay.reservations == 0 {
            return;
        }
        let family = listening.iter().next();
        for external in &self.settings.external {
            let ip = match (external, &family) {
                (External::Ip(IpAddr::V4(ip)), Some(Protocol::Ip4(_))) => Protocol::Ip4(*ip),
                (External::Ip(IpAddr::V6(ip)), Some(Protocol::Ip6(_))) => Protocol::Ip6(*ip),
                _ => continue,
            };
            let address = std::iter::once(ip).chain(listening.iter().skip(1)).collect();
            self.swarm.add_external_address(address);
        }
    }

    fn look_after(&mut self) {
        let now = Instant::now();
        self.health.beat();
        let Behaviour { door, kademlia, .. } = self.swarm.behaviour_mut();
        let here = |peer: &PeerId| door.network_of(peer).is_some();
        let standing = self.table.sweep(kademlia, here, now);
        let (reservations, circuits) = self.slots.held(now);
        for (gauge, count) in [
            (&self.counts.connections, door.established()),
            (&self.counts.peers, door.peers()),
            (&self.counts.table, standing),
            (&self.counts.reservations, reservations),
            (&self.counts.circuits, circuits),
        ] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.counts.resident.set(resident().unwrap_or_default());
    }

    /// Takes over the list of those who may connect; who no longer stands in it is disconnected and forgotten.
    fn read_allow(&mut self) {
        let behaviour = self.swarm.behaviour_mut();
        let Some(list) = behaviour.allow.as_mut() else {
            tracing::warn!("everybody may connect since the start; a restart makes that otherwise");
            return;
        };
        let allowed = match self.settings.allow_now() {
            Ok(Some(allowed)) => allowed,
            Ok(None) => {
                tracing::error!("there is no list of those who may connect any more; the old one stays");
                return;
            }
            Err(why) => {
                tracing::error!("{why:#}; the old list of those who may connect stays");
                return;
            }
        };
        let gone: Vec<PeerId> = list.allowed_peers().difference(&allowed).copied().collect();
        for peer in &allowed {
            list.allow_peer(*peer);
        }
        for peer in &gone {
            list.disallow_peer(*peer);
            self.table.forget(&mut behaviour.kademlia, peer);
        }
        tracing::info!(
            peers = allowed.len(),
            gone = gone.len(),
            "read again who may connect"
        );
    }
}

fn listen(swarm: &mut Swarm<Behaviour>, settings: &Settings) -> anyhow::Result<HashSet<ListenerId>> {
    let over_quic = settings.quic.iter().map(|at| ("quic", at));
    let over_tcp = settings.tcp.iter().map(|at| ("tcp", at));
    let listen = |(key, at): (&str, &SocketAddr)| {
        let address = match key {
            "quic" => Multiaddr::from(at.ip())
                .with(Protocol::Udp(at.port()))
                .with(Protocol::QuicV1),
            _ => Multiaddr::from(at.ip()).with(Protocol::Tcp(at.port())),
        };
        swarm
            .listen_on(address)
            .with_context(|| format!("{key}: cannot listen at {at}"))
    };
    over_quic.chain(over_tcp).map(listen).collect()
}

/// Memory of this process, octets (proc_pid_statm(5)).
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

/// Says goodbye to every peer, for a second at most.
async fn close(swarm: &mut Swarm<Behaviour>) {
    let peers: Vec<PeerId> = swarm.connected_peers().copied().collect();
    for peer in peers {
        let _ = swarm.disconnect_peer_id(peer);
    }
    let farewell = async {
        while swarm.connected_peers().next().is_some() {
            swarm.select_next_some().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
}
