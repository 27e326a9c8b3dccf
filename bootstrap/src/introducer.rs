//! One introducer: listens, introduces, and counts what happens.
//!
//! What always holds: no record and no provider is stored, whoever asks for it; a peer's addresses are its own words, so
//! they are introductions and never trust: whoever dials one checks the key (row L04 of the threats).

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, identify, ping};
use libp2p_metrics::{Metrics, Recorder};
use libp2p_relay as relay;
use tokio::net::TcpListener;

use crate::boxed::Boxed;
use crate::metrics::{Counts, DialBack};
use crate::serve::News;
use crate::settings::{External, Settings};
use crate::slots::Slots;
use crate::swarm::{Behaviour, BehaviourEvent, swarm};
use crate::table::Table;
use crate::watch::{self, Health, Watch};

/// What is kept beside the swarm.
pub(crate) struct Introducer<'a> {
    settings: &'a Settings,
    pub(crate) swarm: Swarm<Boxed<Behaviour>>,
    table: Table,
    slots: Slots,
    counts: Counts,
    libp2p: Metrics,
    pub(crate) health: Arc<Health>,
    /// Listeners that have not said yet where they listen.
    silent: HashSet<ListenerId>,
}

impl<'a> Introducer<'a> {
    pub(crate) async fn start(settings: &'a Settings, tell: impl Fn(News)) -> anyhow::Result<Self> {
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

    pub(crate) fn on_event(
        &mut self,
        event: SwarmEvent<BehaviourEvent>,
        tell: impl Fn(News),
    ) -> anyhow::Result<()> {
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
                anyhow::bail!("the listener at {addresses:?} has closed");
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
                let kademlia = &mut self.swarm.behaviour_mut().0.kademlia;
                self.table.introduce(kademlia, peer_id, info, now);
            }
            BehaviourEvent::Ping(event) => {
                self.libp2p.record(&event);
                if let ping::Event {
                    connection,
                    result: Err(ping::Failure::Timeout | ping::Failure::Other { .. }),
                    ..
                } = event
                {
                    // Over TCP it would hold its places for a quarter of an hour, and a peer that came back from another address would be
                    // called on the way on which it is not any more.
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
                self.slots.connected(src_peer_id, dst_peer_id, now);
            }
            // One that was denied for its bounds was never counted: it must not free the place of another that is still asked for.
            relay::Event::CircuitReqDenied {
                src_peer_id, status, ..
            } if !matches!(status, relay::StatusCode::ResourceLimitExceeded) => {
                self.slots.failed(src_peer_id)
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

    pub(crate) fn look_after(&mut self) {
        let now = Instant::now();
        self.health.beat();
        let Behaviour { door, kademlia, .. } = &mut *self.swarm.behaviour_mut().0;
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
    pub(crate) fn read_allow(&mut self) {
        let behaviour = &mut *self.swarm.behaviour_mut().0;
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

fn listen(swarm: &mut Swarm<Boxed<Behaviour>>, settings: &Settings) -> anyhow::Result<HashSet<ListenerId>> {
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

/// Memory of this process, octets (proc_pid_status(5)).
fn resident() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
