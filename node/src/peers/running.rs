//! The task that owns the swarm: it takes orders, hands over what arrives, and keeps note of where this node is.

use std::sync::{PoisonError, RwLockWriteGuard};
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, ping};
use tokio::sync::{mpsc, oneshot};

use super::PeerError;
use super::admission::Admission;
use super::community::{Community, Concern, Found, Shown, Whereabouts};
use super::dialable::is_routed;
use super::streams::Opening;
use super::swarm::{Behaviour, BehaviourEvent, cannot_listen};

/// What the task is asked for.
pub(super) enum Command {
    /// A stream to a peer, at one of these addresses if it is not connected.
    Open(PeerId, Vec<Multiaddr>, Opening),
    /// Where a peer is that is known by its name only.
    Find(PeerId, Found),
    Stop,
}

/// Listeners without an address yet, and who waits for them.
pub(super) type Starting = (Vec<ListenerId>, oneshot::Sender<Result<(), PeerError>>);

pub(super) struct Running {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) orders: mpsc::Receiver<Command>,
    pub(super) shown: Shown,
    pub(super) admission: Admission,
    pub(super) community: Option<Community>,
    pub(super) starting: Option<Starting>,
}

impl Running {
    pub(super) async fn run(mut self) {
        self.started(None);
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Command::Open(peer, addresses, opening)) => {
                        self.swarm.behaviour_mut().streams.open(peer, addresses, opening);
                    }
                    Some(Command::Find(peer, found)) => self.find(peer, found),
                    Some(Command::Stop) | None => break,
                },
                event = self.swarm.select_next_some() => self.happened(event),
                () = due(&mut self.community) => {
                    if let Some(community) = &mut self.community {
                        community.act(&mut self.swarm);
                    }
                }
            }
        }
        self.part().await;
    }

    /// Takes leave of everybody.
    async fn part(mut self) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        // The goodbyes go out before the sockets close.
        let farewell = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    }

    fn find(&mut self, peer: PeerId, found: Found) {
        match &mut self.community {
            Some(community) => community.find(&mut self.swarm, peer, found),
            None => {
                let why = "this node has joined no community that could find it";
                let _ = found.send(Err(PeerError::Unreachable(why.to_owned())));
            }
        }
    }

    fn happened(&mut self, event: SwarmEvent<BehaviourEvent>) {
        if let Some(community) = &mut self.community {
            let concern = community.happened(&mut self.swarm, &event);
            if concern != Concern::None {
                // What has happened may be a reason to act at once.
                community.act(&mut self.swarm);
            }
            if concern == Concern::Own {
                return;
            }
        }
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(arrived)) => self.admission.arrived(arrived),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event {
                peer,
                connection,
                result: Err(ping::Failure::Timeout | ping::Failure::Other { .. }),
                ..
            })) => {
                tracing::debug!(%connection, "a peer does not answer any more");
                self.swarm.behaviour_mut().streams.give_up(peer, connection);
                self.swarm.close_connection(connection);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                if is_routed(&address) {
                    self.moved(false);
                }
                self.whereabouts().listening.push(address);
                self.started(Some(listener_id));
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.whereabouts().listening.retain(|other| *other != address);
                if is_routed(&address) {
                    self.moved(true);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a peer listener failed"),
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => self.closed(&addresses, reason),
            SwarmEvent::ConnectionClosed {
                num_established: 0, ..
            } => self.admission.tidy(),
            SwarmEvent::IncomingConnectionError {
                error,
                send_back_addr,
                ..
            } => {
                tracing::debug!(%error, from = %send_back_addr, "an incoming connection failed");
            }
            _ => {}
        }
    }

    fn whereabouts(&self) -> RwLockWriteGuard<'_, Whereabouts> {
        self.shown.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// This machine's addresses change while the node runs. `lost`: one is gone.
    fn moved(&mut self, lost: bool) {
        if let (Some(community), None) = (&mut self.community, &self.starting) {
            community.moved(&mut self.swarm, lost);
        }
    }

    /// A listener has its first address; tells whoever started this host once all have.
    fn started(&mut self, listener: Option<ListenerId>) {
        if let Some((listeners, _)) = &mut self.starting {
            listeners.retain(|other| Some(*other) != listener);
        }
        if let Some((_, ready)) = self.starting.take_if(|(listeners, _)| listeners.is_empty()) {
            let _ = ready.send(Ok(()));
        }
    }

    fn closed(&mut self, addresses: &[Multiaddr], reason: Result<(), std::io::Error>) {
        let why = reason
            .err()
            .map_or_else(|| "closed".to_owned(), |error| error.to_string());
        tracing::error!(?addresses, why, "a peer listener is gone");
        if let Some((_, ready)) = self.starting.take() {
            let at = addresses
                .first()
                .map_or_else(|| "the peer address".to_owned(), ToString::to_string);
            let _ = ready.send(Err(cannot_listen(at, why)));
        }
    }
}

async fn due(community: &mut Option<Community>) {
    match community {
        Some(community) => community.due().await,
        None => std::future::pending().await,
    }
}
