//! What a member of a community can do.

use std::net::SocketAddr;
use std::time::Duration;

use cargomail_node::dns::Record;
use cargomail_node::peers::{Introducer, PeerAddress, PeerError, Peers, Relaying, Spoken};

use crate::introducer::{Kind, start};
use crate::people::{alone, at, echo, host, identity, member, says, until, zone};

#[tokio::test]
async fn bob_holds_a_place_at_a_relay_and_alice_meets_him_there_and_both_prove_their_keys() {
    let (relay, zone) = (
        start(Kind {
            place: Duration::from_secs(4),
            ..Kind::default()
        })
        .await,
        zone().await,
    );
    let bob = host(2, member(vec![relay.over("/tcp/")], Relaying::Always, &zone)).await;
    let relayed = at(&bob, "/p2p-circuit/").await;
    let bob_is = identity(2);
    for address in &relayed {
        assert!(address.0.contains(&relay.name.to_string()), "{address:?}");
        assert!(
            address
                .0
                .ends_with(&format!("/p2p-circuit/p2p/{}", bob_is.peer_id())),
            "{address:?}"
        );
        assert_eq!(address.key(), Some(bob_is.public()));
    }
    let sees = tokio::spawn({
        let bob = bob.clone();
        async move { bob.accept(Spoken::Exchange).await.unwrap() }
    });
    let alice = host(1, member(vec![relay.over("/quic-v1")], Relaying::Auto, &zone)).await;
    let mut stream = alice.open(Spoken::Exchange, &relayed).await.unwrap();
    assert_eq!(stream.key, bob_is.public());
    tokio::io::AsyncWriteExt::flush(&mut stream.io).await.unwrap();
    assert_eq!(sees.await.unwrap().key, identity(1).public());
    // The place is renewed for as long as it is held, and the address stays.
    until(async || (relay.renewals() >= 2).then_some(())).await;
    let now = bob.addresses();
    assert!(relayed.iter().all(|address| now.contains(address)), "{now:?}");
    echo(&bob);
    assert!(
        says(
            &mut alice.open(Spoken::Exchange, &relayed).await.unwrap(),
            b"again"
        )
        .await
    );
}

#[tokio::test]
async fn a_relayed_connection_becomes_direct_and_the_stream_that_is_open_goes_on() {
    let (relay, zone) = (start(Kind::default()).await, zone().await);
    let introducers = vec![relay.over("/tcp/"), relay.over("/quic-v1")];
    let bob = host(4, member(introducers.clone(), Relaying::Always, &zone)).await;
    echo(&bob);
    let relayed = at(&bob, "/p2p-circuit/").await;
    let alice = host(3, member(introducers, Relaying::Always, &zone)).await;
    at(&alice, "/p2p-circuit/").await;
    let mut first = alice.open(Spoken::Exchange, &relayed).await.unwrap();
    assert!(says(&mut first, b"over the relay").await);
    let mut second = until(async || {
        let stream = alice.open(Spoken::Exchange, &relayed).await.unwrap();
        (stream.connection != first.connection).then_some(stream)
    })
    .await;
    assert!(says(&mut first, b"still there").await);
    assert!(says(&mut second, b"direct").await);
    // What is direct does not need the relay.
    relay.end().await;
    assert!(says(&mut second, b"without it").await);
    assert!(
        says(
            &mut alice.open(Spoken::Exchange, &relayed).await.unwrap(),
            b"anew"
        )
        .await
    );
    assert!(!says(&mut first, b"gone").await);
}

#[tokio::test]
async fn a_peer_that_is_known_by_its_name_only_is_found_by_members_and_by_nobody_else() {
    let (relay, zone) = (start(Kind::default()).await, zone().await);
    let bob = host(6, member(vec![relay.over("/tcp/")], Relaying::Always, &zone)).await;
    echo(&bob);
    at(&bob, "/p2p-circuit/").await;
    let name = [PeerAddress(format!("/p2p/{}", identity(6).peer_id()))];
    let alice = host(5, member(vec![relay.over("/tcp/")], Relaying::Auto, &zone)).await;
    // His introduction may still be on its way.
    let mut stream = until(async || alice.open(Spoken::Exchange, &name).await.ok()).await;
    assert_eq!(stream.key, identity(6).public());
    assert!(says(&mut stream, b"found").await);
    let carol = host(7, alone()).await;
    match carol.open(Spoken::Exchange, &name).await {
        Err(PeerError::NoAddress(why)) => assert!(why[0].contains("[peers] communities"), "{why:?}"),
        other => panic!("{:?}", other.err()),
    }
    let nobody = [PeerAddress(format!("/p2p/{}", identity(99).peer_id()))];
    match alice.open(Spoken::Exchange, &nobody).await {
        Err(PeerError::Unreachable(why)) => assert!(why.contains("no introducer"), "{why}"),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn when_one_introducer_dies_the_other_is_used_and_the_first_is_met_again() {
    let (zone, kind) = (zone().await, Kind::default());
    let (first, second) = (start(kind.clone()).await, start(Kind::default()).await);
    let port = first.port();
    let name = first.name.to_string();
    let introducers = vec![first.over("/tcp/"), second.over("/tcp/")];
    let bob = host(8, member(introducers, Relaying::Always, &zone)).await;
    echo(&bob);
    at(&bob, &name).await;
    at(&bob, &second.name.to_string()).await;
    first.end().await;
    let left = until(async || {
        let addresses = bob.addresses();
        let gone = addresses.iter().all(|address| !address.0.contains(&name));
        gone.then_some(addresses)
    })
    .await;
    let alice = host(9, member(vec![second.over("/tcp/")], Relaying::Never, &zone)).await;
    assert!(
        says(
            &mut alice.open(Spoken::Exchange, &left).await.unwrap(),
            b"by the other"
        )
        .await
    );
    let _again = start(Kind { port, ..kind }).await;
    at(&bob, &name).await;
}

#[tokio::test]
async fn introducers_are_found_by_their_name_in_the_dns() {
    let (relay, zone) = (start(Kind::default()).await, zone().await);
    let introducer = relay.over("/tcp/").to_string();
    zone.add(
        "_dnsaddr.community.test",
        Record::Txt(format!("dnsaddr={introducer}")),
    );
    let named: Introducer = "community.test".parse().unwrap();
    let bob = host(10, member(vec![named], Relaying::Always, &zone)).await;
    at(&bob, &relay.name.to_string()).await;
}

#[tokio::test]
async fn who_can_be_dialled_takes_no_place_and_names_the_address_that_was_dialled() {
    let (relay, zone) = (start(Kind::default()).await, zone().await);
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let options = member(vec![relay.over("/tcp/")], Relaying::Auto, &zone);
    let bob = host(
        11,
        cargomail_node::peers::HostOptions {
            tcp: Some(everywhere),
            quic: None,
            ..options
        },
    )
    .await;
    echo(&bob);
    // Of all the machine's addresses the one is left that the introducer has dialled.
    let addresses = until(async || {
        let addresses = bob.addresses();
        let only = addresses.len() == 1 && addresses[0].0.starts_with("/ip4/127.0.0.1/tcp/");
        only.then_some(addresses)
    })
    .await;
    assert!(!addresses[0].0.contains("p2p-circuit"));
    let alice = host(12, alone()).await;
    assert!(
        says(
            &mut alice.open(Spoken::Exchange, &addresses).await.unwrap(),
            b"direct"
        )
        .await
    );
}

#[tokio::test]
async fn who_cannot_be_dialled_is_told_so_and_takes_a_place() {
    let (relay, zone) = (start(Kind::default()).await, zone().await);
    let options = member(vec![relay.over("/quic-v1")], Relaying::Auto, &zone);
    // Nobody listens at the port from which the introducer sees this node come.
    let bob = host(
        13,
        cargomail_node::peers::HostOptions {
            quic: None,
            ..options
        },
    )
    .await;
    echo(&bob);
    let relayed = at(&bob, "/p2p-circuit/").await;
    assert!(
        relayed.iter().all(|address| address.0.contains("/p2p-circuit/")),
        "{relayed:?}"
    );
    let alice = host(14, member(vec![relay.over("/tcp/")], Relaying::Never, &zone)).await;
    assert!(
        says(
            &mut alice.open(Spoken::Exchange, &relayed).await.unwrap(),
            b"over it"
        )
        .await
    );
}
