//! A transport that dials only what is within reach: no stranger makes this machine connect to its neighbours.
//!
//! It stands below everything that dials (the table's questions, the dial-backs of AutoNAT), because the addresses come
//! from strangers by more than one way.

use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};

use crate::network::{Reach, is_direct};

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
        // libp2p's TCP reads an address from its end: what is checked has to be all that there is.
        if is_direct(&to) && self.reach.covers(&to) {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;
    use libp2p::tcp;

    use super::*;

    #[tokio::test]
    async fn d04_the_address_that_is_checked_is_the_one_that_is_dialled() {
        let mut outward = Outward::new(tcp::tokio::Transport::default(), Reach::Public);
        let peer = libp2p::PeerId::random();
        for (text, is_dialled) in [
            ("/ip4/9.9.9.9/tcp/1".to_owned(), true),
            (format!("/ip4/9.9.9.9/tcp/1/p2p/{peer}"), true),
            ("/ip4/10.0.0.1/tcp/1".to_owned(), false),
            ("/ip4/9.9.9.9/tcp/1/ip4/10.0.0.1/tcp/22".to_owned(), false),
            (
                format!("/ip4/9.9.9.9/tcp/1/p2p/{peer}/ip4/127.0.0.1/tcp/22"),
                false,
            ),
            ("/ip4/10.0.0.1/tcp/22/ip4/9.9.9.9/tcp/1".to_owned(), false),
        ] {
            let how = DialOpts {
                role: Endpoint::Dialer,
                port_use: PortUse::New,
            };
            // Nothing is sent as long as nobody waits for it.
            let dialled = outward.dial(text.parse().unwrap(), how);
            assert_eq!(dialled.is_ok(), is_dialled, "{text}");
        }
    }
}
