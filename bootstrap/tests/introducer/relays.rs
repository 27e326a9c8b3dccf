//! The relay: peers meet over it and prove their keys to each other, and nobody takes more of it than the bounds.

use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, identify, ping};

use crate::hop::{Hop, Hopped, RESERVE, read, write};
use crate::peer::{
    Behaviour, BehaviourEvent, Kind, anybody, dial, knock, live, peer, soon, swarm_with, until,
};
use crate::started::Introducer;

/// Asks for a reservation, and says whether it was granted.
async fn reserve(swarm: &mut Swarm<Behaviour>, at: Multiaddr) -> bool {
    let listener = swarm.listen_on(at).unwrap();
    soon(until(swarm, |event| match event {
        SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == listener => Some(true),
        SwarmEvent::ListenerClosed { listener_id, .. } if listener_id == listener => Some(false),
        _ => None,
    }))
    .await
}

/// Begins a circuit, and says whether the peer at its end proved its name.
async fn reach(swarm: &mut Swarm<Behaviour>, relay: &Introducer, name: PeerId) -> bool {
    let id = dial(swarm, &relay.circuit().with(Protocol::P2p(name)), name);
    soon(until(swarm, |event| match event {
        SwarmEvent::ConnectionEstablished {
            connection_id,
            peer_id,
            ..
        } if connection_id == id => {
            assert_eq!(peer_id, name);
            Some(true)
        }
        SwarmEvent::OutgoingConnectionError { connection_id, .. } if connection_id == id => Some(false),
        _ => None,
    }))
    .await
}

async fn is_closed(swarm: &mut Swarm<Behaviour>, name: PeerId) {
    soon(until(swarm, |event| match event {
        SwarmEvent::ConnectionClosed { peer_id, .. } if peer_id == name => Some(()),
        _ => None,
    }))
    .await;
}

#[tokio::test]
async fn alice_meets_bob_over_it_and_both_prove_their_keys() {
    let relay = Introducer::relay("");
    let (mut alice, mut bob) = (
        anybody(),
        peer(Kind {
            agent: "bob",
            ..Kind::default()
        }),
    );
    let [alice_is, bob_is] = [&alice, &bob].map(|peer| *peer.local_peer_id());
    assert!(reserve(&mut bob, relay.circuit()).await);
    let met = tokio::spawn(async move {
        let found = until(&mut bob, |event| match event {
            SwarmEvent::ConnectionEstablished {
                peer_id, endpoint, ..
            } if endpoint.is_relayed() => Some(peer_id),
            _ => None,
        });
        let found = found.await;
        (found, live(bob))
    });
    assert!(reach(&mut alice, &relay, bob_is).await);
    let agent = soon(until(&mut alice, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
            peer_id, info, ..
        })) if peer_id == bob_is => Some(info.agent_version),
        _ => None,
    }));
    assert_eq!(agent.await, "bob");
    assert_eq!(soon(met).await.unwrap().0, alice_is);
    relay.terminate();
}

#[tokio::test]
async fn without_an_external_address_nothing_is_relayed_and_with_one_it_is_told() {
    let closed = Introducer::start("allow-private = true\n");
    assert!(!reserve(&mut anybody(), closed.circuit()).await);
    let off = Introducer::relay("[relay]\nreservations = 0\n");
    assert!(!reserve(&mut anybody(), off.circuit()).await);
    let open = Introducer::relay("");
    let told = knock(&mut anybody(), open.tcp(), open.name()).await.unwrap();
    assert!(
        told.protocols
            .iter()
            .any(|name| name.as_ref() == "/libp2p/circuit/relay/0.2.0/hop")
    );
}

#[tokio::test]
async fn a_circuit_to_a_peer_without_a_reservation_is_refused() {
    let relay = Introducer::relay("");
    let bob = anybody();
    let bob_is = *bob.local_peer_id();
    live(bob);
    assert!(!reach(&mut anybody(), &relay, bob_is).await);
}

#[tokio::test]
async fn one_network_holds_so_many_reservations_and_one_that_ends_makes_room() {
    let relay = Introducer::relay("[relay]\nreservations-per-network = 1\n");
    let (mut alice, mut bob) = (anybody(), anybody());
    assert!(reserve(&mut alice, relay.circuit()).await);
    assert!(!reserve(&mut bob, relay.circuit()).await);
    assert_eq!(
        relay.counted("libp2p_relay_events_total{event=\"ReservationReqDenied\"}"),
        1
    );
    drop(alice);
    soon(async { while !reserve(&mut bob, relay.circuit()).await {} }).await;
}

#[tokio::test]
async fn reservations_in_all_are_bounded_and_who_holds_one_may_renew_it_when_all_are_taken() {
    let relay = Introducer::relay("[relay]\nreservations = 1\nreservation-seconds = 4\n");
    let mut alice = anybody();
    assert!(reserve(&mut alice, relay.circuit()).await);
    assert!(!reserve(&mut anybody(), relay.circuit()).await);
    soon(until(&mut alice, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Relay(
            libp2p_relay::client::Event::ReservationReqAccepted { renewal: true, .. },
        )) => Some(()),
        SwarmEvent::ListenerClosed { reason, .. } => panic!("{reason:?}"),
        _ => None,
    }))
    .await;
}

#[tokio::test]
async fn one_peer_and_one_network_begin_so_many_circuits() {
    for (bounds, reached) in [
        ("circuits-per-peer = 2", 2),
        ("circuits-per-network = 1", 1),
        ("circuits = 3", 3),
    ] {
        let relay = Introducer::relay(&format!("[relay]\n{bounds}\n"));
        let mut alice = anybody();
        for number in 0..4 {
            let mut bob = anybody();
            let bob_is = *bob.local_peer_id();
            assert!(reserve(&mut bob, relay.circuit()).await);
            live(bob);
            assert_eq!(
                reach(&mut alice, &relay, bob_is).await,
                number < reached,
                "{bounds}: {number}"
            );
        }
    }
}

#[tokio::test]
async fn a_circuit_ends_after_its_octets_and_after_its_time() {
    let quickly = Duration::from_millis(1);
    for (bound, ping) in [
        ("circuit-bytes = 60000", quickly),
        ("circuit-seconds = 2", Duration::from_secs(15)),
    ] {
        let relay = Introducer::relay(&format!("[relay]\n{bound}\n"));
        let (mut alice, mut bob) = (
            peer(Kind {
                ping,
                ..Kind::default()
            }),
            anybody(),
        );
        let bob_is = *bob.local_peer_id();
        assert!(reserve(&mut bob, relay.circuit()).await);
        live(bob);
        assert!(reach(&mut alice, &relay, bob_is).await);
        // It carries something first.
        soon(until(&mut alice, |event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event {
                peer, result: Ok(_), ..
            })) if peer == bob_is => Some(()),
            _ => None,
        }))
        .await;
        is_closed(&mut alice, bob_is).await;
    }
}

/// What would end the whole process in libp2p's relay: see `src/relay.rs`.
#[tokio::test]
async fn a_renewal_that_is_read_after_the_reservation_has_ended_does_no_harm() {
    let relay = Introducer::relay("[relay]\nreservation-seconds = 1\n");
    let keys = libp2p::identity::Keypair::generate_ed25519();
    // Room for the name of the protocol, and not for an answer that stands long unread.
    let mut narrow = libp2p::quic::Config::new(&keys);
    narrow.max_stream_data = 80;
    let mut mallory = swarm_with(&keys, narrow, |_| Hop::default());
    let name = relay.name();
    dial(&mut mallory, relay.quic(), name);
    let mut streams = Vec::new();
    soon(until(&mut mallory, |event| {
        matches!(event, SwarmEvent::ConnectionEstablished { .. }).then_some(())
    }))
    .await;
    for _ in 0..2 {
        mallory.behaviour_mut().ask(name);
        let stream = until(&mut mallory, |event| match event {
            SwarmEvent::Behaviour(Hopped::Asks(stream)) => Some(stream),
            _ => None,
        });
        streams.push(soon(stream).await);
    }
    let [mut first, mut second] = <[_; 2]>::try_from(streams).unwrap();
    live(mallory);
    write(&mut first, &RESERVE).await.unwrap();
    soon(read(&mut first)).await.unwrap();
    write(&mut second, &RESERVE).await.unwrap();
    let timed_out = "libp2p_relay_events_total{event=\"ReservationTimedOut\"}";
    soon(async {
        while relay.counted(timed_out) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(read(&mut second)).await.unwrap();
    let granted = "libp2p_relay_events_total{event=\"ReservationReqAccepted\"}";
    soon(async {
        while relay.counted(granted) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(knock(&mut anybody(), relay.tcp(), name).await.is_some());
    relay.terminate();
}
