//! A relay that lies: every circuit it is asked for, it joins to the peer that it likes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::identity::Keypair;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    Stream, SubstreamProtocol, SwarmEvent, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::introducer::{listen, swarm};

/// Circuit relay v2: a circuit stands (status 100), with its length before it.
const STANDS: [u8; 5] = [4, 0x08, 0x02, 0x28, 0x64];

/// Runs until the test ends; where it is, and its name.
pub(crate) async fn lying_relay(to: SocketAddr) -> (Multiaddr, PeerId) {
    let keys = Keypair::generate_ed25519();
    let mut relay = swarm(&keys, Hop::default());
    let [at] = listen(&mut relay, &["/ip4/127.0.0.1/tcp/0".to_owned()])
        .await
        .try_into()
        .unwrap();
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour(asked) = relay.select_next_some().await {
                tokio::spawn(join(asked, to));
            }
        }
    });
    (at, keys.public().to_peer_id())
}

async fn join(mut circuit: Stream, to: SocketAddr) {
    let mut length = [0];
    circuit.read_exact(&mut length).await.unwrap();
    let mut asked = vec![0; usize::from(length[0])];
    circuit.read_exact(&mut asked).await.unwrap();
    circuit.write_all(&STANDS).await.unwrap();
    circuit.flush().await.unwrap();
    let end = tokio::net::TcpStream::connect(to).await.unwrap().compat();
    let ((from_here, to_here), (from_there, to_there)) = (circuit.split(), end.split());
    futures::future::join(pass(from_here, to_there), pass(from_there, to_here)).await;
}

async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
    let mut octets = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut octets).await {
        if to.write_all(&octets[..count]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

#[derive(Default)]
struct Hop(VecDeque<Stream>);

impl NetworkBehaviour for Hop {
    type ConnectionHandler = Asked;
    type ToSwarm = Stream;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Asked::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Asked::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, asked: THandlerOutEvent<Self>) {
        self.0.push_back(asked);
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let asked = self.0.pop_front().map(ToSwarm::GenerateEvent);
        asked.map_or(Poll::Pending, Poll::Ready)
    }
}

#[derive(Default)]
struct Asked(VecDeque<Stream>);

impl ConnectionHandler for Asked {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = Stream;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        SubstreamProtocol::new(ReadyUpgrade::new(libp2p_relay::HOP_PROTOCOL_NAME), ())
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        let asked = self.0.pop_front().map(ConnectionHandlerEvent::NotifyBehaviour);
        asked.map_or(Poll::Pending, Poll::Ready)
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) = event {
            self.0.push_back(protocol);
        }
    }
}
