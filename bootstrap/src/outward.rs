//! A transport that dials only what is within reach: no stranger makes this machine connect to its neighbours.
//!
//! It stands below everything that dials (the table's questions, the dial-backs of AutoNAT), because the addresses come
//! from strangers by more than one way.

use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};

use crate::network::Reach;

/// Another transport, without the addresses out of reach.
pub(crate) struct Outward<T> {
    transport: T,
    reach: Reach,
}

impl<T> Outward<T> {
    pub(crate) fn new(transport: T, reach: Reach) -> Self {
        Self { transport, reach }
    }
}

impl<T: Transport + Unpin> Transport for Outward<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, at: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        self.transport.listen_on(id, at)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.transport.remove_listener(id)
    }

    fn dial(&mut self, to: Multiaddr, how: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        if self.reach.covers(&to) {
            self.transport.dial(to, how)
        } else {
            Err(TransportError::MultiaddrNotSupported(to))
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.transport).poll(cx)
    }
}
