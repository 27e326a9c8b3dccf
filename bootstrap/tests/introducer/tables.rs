//! The table: gives addresses, and stores nothing.

use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm};
use libp2p_kad as kad;

use crate::peer::{Behaviour, BehaviourEvent, Kind, anybody, knock, listen, live, peer, soon, until};
use crate::started::Introducer;

/// Asks through the introducer where a peer is, until it is told.
async fn find(alice: &mut Swarm<Behaviour>, introducer: &Introducer, name: PeerId) -> Vec<Multiaddr> {
    let at = introducer.tcp().clone();
    alice.behaviour_mut().kademlia.add_address(&introducer.name(), at);
    soon(async {
        loop {
            alice.behaviour_mut().kademlia.get_closest_peers(name);
            // Its introduction may still be on its way.
            let found = until(alice, |event| match event {
                SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
                    result: kad::QueryResult::GetClosestPeers(Ok(closest)),
                    ..
                })) => Some(closest.peers.into_iter().find(|peer| peer.peer_id == name)),
                _ => None,
            });
            if let Some(found) = found.await {
                return found.addrs;
            }
        }
    })
    .await
}

fn server() -> Swarm<Behaviour> {
    peer(Kind {
        mode: kad::Mode::Server,
        ..Kind::default()
    })
}

#[tokio::test]
async fn it_is_dialled_over_both_transports_says_little_and_stops_cleanly() {
    let introducer = Introducer::start("");
    let mut alice = anybody();
    for at in [introducer.quic(), introducer.tcp()] {
        let info = knock(&mut alice, at, introducer.name()).await.unwrap();
        assert_eq!(info.agent_version, "cargomail-bootstrap");
        assert_eq!(info.public_key.to_peer_id(), introducer.name());
        let mut protocols: Vec<String> = info.protocols.iter().map(ToString::to_string).collect();
        protocols.sort();
        let only = [
            "/cargomail/kad/1.0.0",
            "/ipfs/id/1.0.0",
            "/ipfs/id/push/1.0.0",
            "/ipfs/ping/1.0.0",
            "/libp2p/autonat/2/dial-request",
        ];
        assert_eq!(protocols, only);
    }
    introducer.terminate();
    // She was told, and does not have to wait for a time-out.
    soon(until(&mut alice, |event| match event {
        SwarmEvent::ConnectionClosed {
            num_established: 0, ..
        } => Some(()),
        _ => None,
    }))
    .await;
}

#[tokio::test]
async fn alice_finds_bob_through_it() {
    let introducer = Introducer::start("allow-private = true\n");
    let mut bob = server();
    let bob_is = *bob.local_peer_id();
    let bob_at = listen(&mut bob).await;
    assert!(
        knock(&mut bob, introducer.tcp(), introducer.name())
            .await
            .is_some()
    );
    live(bob);
    let found = find(&mut anybody(), &introducer, bob_is).await;
    assert!(found.contains(&bob_at.with_p2p(bob_is).unwrap()), "{found:?}");
    introducer.terminate();
}

#[tokio::test]
async fn alice_finds_bob_behind_the_relay() {
    let introducer = Introducer::relay("");
    let mut bob = server();
    let bob_is = *bob.local_peer_id();
    bob.listen_on(introducer.circuit()).unwrap();
    live(bob);
    let found = find(&mut anybody(), &introducer, bob_is).await;
    let circuit = introducer.circuit().with(Protocol::P2p(bob_is));
    assert!(found.contains(&circuit), "{found:?}");
}

#[tokio::test]
async fn c09_no_record_and_no_provider_is_stored() {
    let introducer = Introducer::start("allow-private = true\n");
    let (mut alice, key) = (server(), kad::RecordKey::new(b"a CID"));
    listen(&mut alice).await;
    let kademlia = &mut alice.behaviour_mut().kademlia;
    kademlia.add_address(&introducer.name(), introducer.tcp().clone());
    let record = kad::Record::new(key.clone(), b"content".to_vec());
    let put = kademlia.put_record(record, kad::Quorum::One).unwrap();
    let provide = kademlia.start_providing(key.clone()).unwrap();
    let mut open = vec![put, provide];
    soon(until(&mut alice, |event| {
        if let SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
            id,
            step,
            ..
        })) = event
            && step.last
        {
            open.retain(|query| *query != id);
        }
        open.is_empty().then_some(())
    }))
    .await;
    // Alice is gone: whoever answers now is the introducer.
    drop(alice);

    let mut carol = anybody();
    let kademlia = &mut carol.behaviour_mut().kademlia;
    kademlia.add_address(&introducer.name(), introducer.tcp().clone());
    kademlia.get_record(key.clone());
    soon(until(&mut carol, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
            result: kad::QueryResult::GetRecord(result),
            ..
        })) => {
            assert!(
                matches!(result, Err(kad::GetRecordError::NotFound { .. })),
                "{result:?}"
            );
            Some(())
        }
        _ => None,
    }))
    .await;
    carol.behaviour_mut().kademlia.get_providers(key);
    soon(until(&mut carol, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
            result: kad::QueryResult::GetProviders(Ok(result)),
            step,
            ..
        })) => {
            let found = matches!(&result, kad::GetProvidersOk::FoundProviders { providers, .. } if !providers.is_empty());
            assert!(!found, "{result:?}");
            step.last.then_some(())
        }
        _ => None,
    }))
    .await;
}
