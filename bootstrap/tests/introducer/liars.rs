//! A relay that lies, and a table that was filled by a liar: they can delay, and neither impersonate nor read.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{DialError, Stream, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify};
use libp2p_kad as kad;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::hop::{Hop, Hopped, STANDS, read, write};
use crate::peer::{Behaviour, BehaviourEvent, Kind, dial, knock, listen, live, peer, soon, swarm, until};
use crate::started::Introducer;

/// What went through the relay, in both directions.
type Seen = Arc<Mutex<Vec<u8>>>;

/// A relay that connects every circuit to the peer it likes, and keeps what passes.
async fn lying_relay(to: SocketAddr) -> (Multiaddr, PeerId, Seen) {
    let keys = Keypair::generate_ed25519();
    let mut relay = swarm(&keys, |_| Hop::default());
    relay.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let at = soon(until(&mut relay, |event| match event {
        SwarmEvent::NewListenAddr { address, .. } => Some(address),
        _ => None,
    }))
    .await;
    let seen = Seen::default();
    let keeps = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour(Hopped::Asked(stream)) = relay.select_next_some().await {
                tokio::spawn(join(stream, to, Arc::clone(&keeps)));
            }
        }
    });
    (at, keys.public().to_peer_id(), seen)
}

async fn join(mut circuit: Stream, to: SocketAddr, seen: Seen) {
    read(&mut circuit).await.unwrap();
    write(&mut circuit, &STANDS).await.unwrap();
    let end = tokio::net::TcpStream::connect(to).await.unwrap().compat();
    let (from_here, to_here) = circuit.split();
    let (from_there, to_there) = end.split();
    futures::future::join(pass(from_here, to_there, &seen), pass(from_there, to_here, &seen)).await;
}

async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, seen: &Seen) {
    let mut octets = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut octets).await {
        seen.lock().unwrap().extend_from_slice(&octets[..count]);
        if to.write_all(&octets[..count]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

fn socket(address: &Multiaddr) -> SocketAddr {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    match parts[..] {
        [Protocol::Ip4(ip), Protocol::Tcp(port)] => SocketAddr::from((ip, port)),
        _ => panic!("{address}"),
    }
}

/// Carol listens, and says so that it would be recognized.
async fn carol() -> (Multiaddr, PeerId) {
    let mut carol = peer(Kind {
        agent: "nobody but alice should read this",
        ..Kind::default()
    });
    let at = listen(&mut carol).await;
    let name = *carol.local_peer_id();
    live(carol);
    (at, name)
}

async fn met(alice: &mut libp2p::Swarm<Behaviour>, at: Multiaddr, name: PeerId) -> Result<String, DialError> {
    dial(alice, &at, name);
    soon(until(alice, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
            peer_id, info, ..
        })) if peer_id == name => Some(Ok(info.agent_version)),
        SwarmEvent::OutgoingConnectionError { error, .. } => Some(Err(error)),
        _ => None,
    }))
    .await
}

#[tokio::test]
async fn l04_a_relay_cannot_read_what_it_passes_on() {
    let (carol_at, carol_is) = carol().await;
    let (relay, relay_is, seen) = lying_relay(socket(&carol_at)).await;
    let circuit = relay.with(Protocol::P2p(relay_is)).with(Protocol::P2pCircuit);
    let mut alice = peer(Kind::default());
    let said = met(&mut alice, circuit.with(Protocol::P2p(carol_is)), carol_is)
        .await
        .unwrap();
    assert_eq!(said, "nobody but alice should read this");
    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() > said.len());
    assert!(
        !seen
            .windows(6)
            .any(|octets| said.as_bytes().windows(6).any(|word| word == octets))
    );
}

#[tokio::test]
async fn l04_a_relay_that_connects_another_peer_under_carols_name_is_refused() {
    let (_, carol_is) = carol().await;
    let (bob_at, bob_is) = carol().await;
    let (relay, relay_is, _) = lying_relay(socket(&bob_at)).await;
    let circuit = relay.with(Protocol::P2p(relay_is)).with(Protocol::P2pCircuit);
    let mut alice = peer(Kind::default());
    match met(&mut alice, circuit.with(Protocol::P2p(carol_is)), carol_is).await {
        Err(DialError::WrongPeerId { obtained, .. }) => assert_eq!(obtained, bob_is),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn l04_a_table_that_a_liar_filled_leads_to_nobody_under_a_false_name() {
    let introducer = Introducer::start("allow-private = true\n");
    let (bob_at, bob_is) = carol().await;
    // Mallory says that she listens where Bob does.
    let mut mallory = peer(Kind {
        mode: kad::Mode::Server,
        ..Kind::default()
    });
    let mallory_is = *mallory.local_peer_id();
    mallory.add_external_address(bob_at);
    knock(&mut mallory, introducer.tcp(), introducer.name())
        .await
        .unwrap();
    live(mallory);
    // Alice asks for her, is sent to Bob, and sees that it is he.
    let mut alice = peer(Kind::default());
    let kademlia = &mut alice.behaviour_mut().kademlia;
    kademlia.add_address(&introducer.name(), introducer.tcp().clone());
    kademlia.get_closest_peers(mallory_is);
    let mut refused = None;
    while refused.is_none() {
        refused = soon(until(&mut alice, |event| match event {
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(name),
                error: DialError::WrongPeerId { obtained, .. },
                ..
            } => Some(Some((name, obtained))),
            // Her introduction may still be on its way.
            SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
                ..
            })) => Some(None),
            _ => None,
        }))
        .await;
        alice.behaviour_mut().kademlia.get_closest_peers(mallory_is);
    }
    assert_eq!(refused, Some((mallory_is, bob_is)));
}
