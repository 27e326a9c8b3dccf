//! What strangers, relays and tables cannot make a node do.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use cargomail_node::network::AddressPolicy;
use cargomail_node::peers::{Host, HostOptions, PeerAddress, PeerError, Peers, Relaying, Spoken};
use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, identify};

use crate::hop::lying_relay;
use crate::introducer::{Kind, start, swarm};
use crate::people::{alone, at, echo, host, identity, member, says, zone};

/// The socket behind the TCP address of a node.
fn socket(host: &Host) -> SocketAddr {
    let address = host.addresses().into_iter().find(|at| at.0.contains("/tcp/"));
    let address: Multiaddr = address.unwrap().0.parse().unwrap();
    let parts: Vec<_> = address.iter().collect();
    match parts[..] {
        [
            libp2p::multiaddr::Protocol::Ip4(ip),
            libp2p::multiaddr::Protocol::Tcp(port),
            ..,
        ] => SocketAddr::from((ip, port)),
        _ => panic!("{address}"),
    }
}

#[tokio::test]
async fn l03_l04_a_relay_that_joins_another_peer_under_bobs_name_is_refused() {
    let (introducer, zone) = (start(Kind::default()).await, zone().await);
    let (bob, mallory) = (host(20, alone()).await, host(21, alone()).await);
    echo(&bob);
    let alice = host(22, member(vec![introducer.over("/tcp/")], Relaying::Never, &zone)).await;
    let bob_is = identity(20).peer_id();
    let over = |(relay, name): (Multiaddr, libp2p::PeerId)| {
        [PeerAddress(format!(
            "{relay}/p2p/{name}/p2p-circuit/p2p/{bob_is}"
        ))]
    };
    let lie = over(lying_relay(socket(&mallory)).await);
    assert!(matches!(
        alice.open(Spoken::Exchange, &lie).await,
        Err(PeerError::Unreachable(_))
    ));
    // The same relay leads to Bob where it tells the truth.
    let truth = over(lying_relay(socket(&bob)).await);
    let mut stream = alice.open(Spoken::Exchange, &truth).await.unwrap();
    assert_eq!(stream.key, identity(20).public());
    assert!(says(&mut stream, b"himself").await);
}

#[tokio::test]
async fn d04_a_relay_is_dialled_only_where_the_policy_allows_and_only_by_a_member() {
    let (introducer, zone) = (start(Kind::default()).await, zone().await);
    let introducers = vec![introducer.over("/tcp/")];
    let strict = HostOptions {
        policy: AddressPolicy::public(),
        ..member(introducers.clone(), Relaying::Never, &zone)
    };
    let (strict, open, none) = (
        host(23, strict).await,
        host(24, member(introducers.clone(), Relaying::Never, &zone)).await,
        host(25, alone()).await,
    );
    let bob = host(26, member(introducers, Relaying::Always, &zone)).await;
    echo(&bob);
    let relayed = at(&bob, "/p2p-circuit/").await;
    assert!(matches!(
        strict.open(Spoken::Exchange, &relayed).await,
        Err(PeerError::NoAddress(_))
    ));
    match none.open(Spoken::Exchange, &relayed).await {
        Err(PeerError::NoAddress(why)) => assert!(why[0].contains("[peers] communities"), "{why:?}"),
        other => panic!("{:?}", other.err()),
    }
    assert!(
        says(
            &mut open.open(Spoken::Exchange, &relayed).await.unwrap(),
            b"a member"
        )
        .await
    );
    let (over, peer) = (introducer.name, identity(26).peer_id());
    for place in [
        format!("/ip4/127.0.0.1/tcp/1/p2p/{over}/p2p-circuit/p2p/{over}/p2p-circuit"),
        format!("/dns4/localhost/tcp/1/p2p/{over}/p2p-circuit"),
        "/ip4/127.0.0.1/tcp/1/p2p-circuit".to_owned(),
        format!("/ip4/10.0.0.1/tcp/1/p2p/{over}/p2p-circuit"),
        format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}/p2p-circuit"),
    ] {
        let address = PeerAddress(format!("{place}/p2p/{peer}"));
        assert!(
            matches!(
                open.open(Spoken::Exchange, &[address]).await,
                Err(PeerError::NoAddress(_))
            ),
            "{place}"
        );
    }
}

#[derive(NetworkBehaviour)]
struct Asks {
    identify: identify::Behaviour,
}

/// What a node says of itself to whoever connects, and what a stranger may open on it.
async fn told(host: &Host) -> identify::Info {
    let keys = Keypair::generate_ed25519();
    let identify = identify::Config::new("/test".to_owned(), keys.public());
    let mut stranger = swarm(
        &keys,
        Asks {
            identify: identify::Behaviour::new(identify),
        },
    );
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", socket(host).port())
        .parse()
        .unwrap();
    stranger.dial(address).unwrap();
    loop {
        if let SwarmEvent::Behaviour(AsksEvent::Identify(identify::Event::Received { info, .. })) =
            stranger.select_next_some().await
        {
            return info;
        }
    }
}

#[tokio::test]
async fn l06_c09_a_node_without_a_community_speaks_nothing_of_it_and_says_where_it_is_to_nobody() {
    let everybody = BTreeSet::from([
        "/cargomail/exchange/1.0.0",
        "/ipfs/id/1.0.0",
        "/ipfs/id/push/1.0.0",
        "/ipfs/ping/1.0.0",
    ]);
    let info = told(&host(27, alone()).await).await;
    let spoken: BTreeSet<&str> = info.protocols.iter().map(AsRef::as_ref).collect();
    assert_eq!(spoken, everybody);
    assert!(info.listen_addrs.is_empty(), "{:?}", info.listen_addrs);
    // A member says no more than that, and what others may open on it is not the relay, nor the server of AutoNAT.
    let (introducer, zone) = (start(Kind::default()).await, zone().await);
    let bob = host(28, member(vec![introducer.over("/tcp/")], Relaying::Never, &zone)).await;
    let info = told(&bob).await;
    assert_eq!(
        (info.protocol_version.as_str(), info.agent_version.as_str()),
        ("/cargomail/1.0.0", "cargomail")
    );
    let more: BTreeSet<&str> = info.protocols.iter().map(AsRef::as_ref).collect();
    assert!(more.is_superset(&everybody));
    for never in [
        "/libp2p/circuit/relay/0.2.0/hop",
        "/libp2p/autonat/2/dial-request",
        "/libp2p/autonat/1.0.0",
    ] {
        assert!(!more.contains(never), "{never}");
    }
}
