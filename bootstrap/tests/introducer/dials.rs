//! AutoNAT: a peer learns what others can dial, and has this machine dial nobody but itself.

use std::net::TcpListener;

use libp2p::Multiaddr;
use libp2p::swarm::SwarmEvent;
use libp2p_autonat::v2::client::Event;

use crate::peer::{BehaviourEvent, Kind, dial, listen, peer, soon, until};
use crate::started::Introducer;

/// What a peer is told about an address that it claims; it listens on loopback.
async fn told(introducer: &Introducer, claim: Multiaddr) -> Event {
    let mut alice = peer(Kind {
        claim: Some(claim.clone()),
        ..Kind::default()
    });
    listen(&mut alice).await;
    dial(&mut alice, introducer.quic(), introducer.name());
    soon(until(&mut alice, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Autonat(event)) if event.tested_addr == claim => Some(event),
        _ => None,
    }))
    .await
}

#[tokio::test]
async fn an_address_at_which_alice_listens_is_confirmed() {
    let introducer = Introducer::start("allow-private = true\n");
    // A port that is free now, for Alice to listen at and to claim.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let at: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let mut alice = peer(Kind {
        claim: Some(at.clone()),
        ..Kind::default()
    });
    alice.listen_on(at.clone()).unwrap();
    dial(&mut alice, introducer.quic(), introducer.name());
    let event = soon(until(&mut alice, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Autonat(event)) if event.tested_addr == at => Some(event),
        _ => None,
    }))
    .await;
    assert!(event.result.is_ok(), "{event:?}");
    // She had to send more than she made this machine send.
    assert!(event.bytes_sent >= 30_000);
}

#[tokio::test]
async fn an_address_at_which_nobody_listens_is_not_confirmed() {
    let introducer = Introducer::start("allow-private = true\n");
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let event = told(&introducer, format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()).await;
    assert!(event.result.is_err());
}

#[tokio::test]
async fn an_address_in_another_network_or_out_of_reach_is_not_even_dialled() {
    let other_network = ("allow-private = true\n", "127.0.1.1");
    let out_of_reach = ("", "127.0.0.1");
    for (config, ip) in [other_network, out_of_reach] {
        let introducer = Introducer::start(config);
        let victim = TcpListener::bind((ip, 0)).unwrap();
        let port = victim.local_addr().unwrap().port();
        let event = told(&introducer, format!("/ip4/{ip}/tcp/{port}").parse().unwrap()).await;
        assert!(event.result.is_err());
        victim.set_nonblocking(true).unwrap();
        assert_eq!(
            victim.accept().unwrap_err().kind(),
            std::io::ErrorKind::WouldBlock
        );
    }
}

#[tokio::test]
async fn dials_to_one_network_are_paced() {
    let introducer = Introducer::start("allow-private = true\n[autonat]\ndials-per-minute-per-network = 1\n");
    let victim = TcpListener::bind("127.0.0.1:0").unwrap();
    victim.set_nonblocking(true).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    told(
        &introducer,
        format!("/ip4/127.0.0.1/tcp/{closed}").parse().unwrap(),
    )
    .await;
    let port = victim.local_addr().unwrap().port();
    let event = told(&introducer, format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()).await;
    assert!(event.result.is_err());
    assert_eq!(
        victim.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    // And so were the other addresses at which she was seen.
    assert!(introducer.counted("cargomail_bootstrap_dials_refused_total{why=\"Pace\"}") >= 1);
}
