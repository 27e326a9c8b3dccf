//! The place that a node holds at a relay: asked for, renewed by libp2p, and asked for again when it ends.

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::time::Instant;

use super::{STEADY, after};
use crate::peers::dialable::{ADDRESSES, nameless};
use crate::peers::swarm::Behaviour;

/// A place, held or not.
#[derive(Default)]
pub(super) struct Place {
    listener: Option<ListenerId>,
    since: Option<Instant>,
    failures: u32,
    next: Option<Instant>,
    addresses: Vec<Multiaddr>,
}

impl Place {
    /// This node's addresses over the relay, without its own name.
    pub(super) fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    /// When it is asked for, if it is not held.
    pub(super) fn deadline(&self, wanted: bool) -> Option<Instant> {
        (wanted && self.listener.is_none()).then(|| self.next.unwrap_or_else(Instant::now))
    }

    /// Asks the relay for it where it is wanted, and gives it back where it is not. `at`: where the relay is, while it is here.
    pub(super) fn hold(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        relay: PeerId,
        at: Option<Multiaddr>,
        wanted: bool,
        now: Instant,
    ) {
        match (self.listener, at) {
            // The listener ends with the connection. Alone it must not: libp2p would panic over an answer that comes after.
            (Some(_), Some(_)) if !wanted => {
                let _ = swarm.disconnect_peer_id(relay);
            }
            (None, Some(at)) if wanted && self.next.is_none_or(|next| next <= now) => {
                match swarm.listen_on(at.with(Protocol::P2pCircuit)) {
                    Ok(listener) => self.listener = Some(listener),
                    Err(error) => {
                        tracing::warn!(%relay, %error, "no place at a relay");
                        self.fail();
                    }
                }
            }
            _ => {}
        }
    }

    fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.next = Some(after(self.failures));
    }

    /// Whether it is held, or asked for, by this listener.
    pub(super) fn is_at(&self, listener: ListenerId) -> bool {
        self.listener == Some(listener)
    }

    /// The relay says where this node is over it; what is not its own `end` of this relay does not count.
    pub(super) fn granted(&mut self, address: &Multiaddr, is_end: impl Fn(&Multiaddr) -> bool) {
        self.since.get_or_insert_with(Instant::now);
        let address = nameless(address.clone());
        let is_new = self.addresses.len() < ADDRESSES && !self.addresses.contains(&address);
        if is_new && is_end(&address) {
            self.addresses.push(address);
        }
    }

    /// It is gone.
    pub(super) fn ended(&mut self) {
        self.listener = None;
        self.addresses.clear();
        if self.since.take().is_some_and(|since| since.elapsed() >= STEADY) {
            self.failures = 0;
        }
        self.fail();
    }
}
