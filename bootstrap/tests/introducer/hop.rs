//! The relay's own protocol, spoken octet by octet: for peers and relays that do not keep to it.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};

const HOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/hop");
/// Messages of circuit relay v2: to reserve, and that a circuit stands (status 100).
pub(crate) const RESERVE: [u8; 2] = [0x08, 0x00];
pub(crate) const STANDS: [u8; 4] = [0x08, 0x02, 0x28, 0x64];

/// Reads one message with its length before it.
pub(crate) async fn read(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let mut length = 0;
    for shift in [0, 7] {
        let mut octet = [0];
        stream.read_exact(&mut octet).await?;
        length |= usize::from(octet[0] & 0x7f) << shift;
        if octet[0] < 0x80 {
            break;
        }
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a short one.
pub(crate) async fn write(stream: &mut Stream, message: &[u8]) -> std::io::Result<()> {
    let length = u8::try_from(message.len()).unwrap();
    stream.write_all(&[&[length], message].concat()).await?;
    stream.flush().await
}

/// Which end of a stream this is.
#[derive(Debug)]
pub(crate) enum Hopped {
    /// A peer asks this one.
    Asked(Stream),
    /// This one may ask a peer.
    Asks(Stream),
}

/// Streams of the relay's protocol, in both directions.
#[derive(Default)]
pub(crate) struct Hop {
    todo: VecDeque<ToSwarm<Hopped, ()>>,
}

impl Hop {
    pub(crate) fn ask(&mut self, peer_id: PeerId) {
        self.todo.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::Any,
            event: (),
        });
    }
}

impl NetworkBehaviour for Hop {
    type ConnectionHandler = Streams;
    type ToSwarm = Hopped;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Streams::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Streams::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        self.todo.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.todo.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

#[derive(Default)]
pub(crate) struct Streams {
    wanted: usize,
    open: VecDeque<Hopped>,
}

impl ConnectionHandler for Streams {
    type FromBehaviour = ();
    type ToBehaviour = Hopped;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(HOP), ())
    }

    fn on_behaviour_event(&mut self, (): ()) {
        self.wanted += 1;
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if self.wanted > 0 {
            self.wanted -= 1;
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(HOP), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        let open = self.open.pop_front().map(ConnectionHandlerEvent::NotifyBehaviour);
        open.map_or(Poll::Pending, Poll::Ready)
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.open.push_back(Hopped::Asked(protocol));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.open.push_back(Hopped::Asks(protocol));
            }
            _ => {}
        }
    }
}
