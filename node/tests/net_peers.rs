//! Peers over real QUIC and real TCP with TLS on loopback.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cargomail_node::dns::{Answer, Dns, DnsError, Mx, Srv};
use cargomail_node::identity::Identity;
use cargomail_node::network::AddressPolicy;
use cargomail_node::peers::{
    Host, HostOptions, Joining, PeerAddress, PeerError, PeerStream, Peers, Relaying, Spoken, StreamBounds,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn options() -> HostOptions {
    HostOptions {
        quic: Some(ANYWHERE),
        tcp: Some(ANYWHERE),
        policy: AddressPolicy::allowing_loopback(),
        ..HostOptions::default()
    }
}

async fn host(seed: u8) -> Host {
    Host::start(&Identity::from_seed(&[seed; 32]), options())
        .await
        .unwrap()
}

/// A host that serves so many streams of one peer at once.
async fn host_serving(seed: u8, exchange: usize) -> Host {
    let streams_per_peer = StreamBounds {
        exchange,
        ..StreamBounds::default()
    };
    let options = HostOptions {
        streams_per_peer,
        ..options()
    };
    Host::start(&Identity::from_seed(&[seed; 32]), options)
        .await
        .unwrap()
}

fn over(transport: &str, host: &Host) -> Vec<PeerAddress> {
    let chosen: Vec<PeerAddress> = host
        .addresses()
        .into_iter()
        .filter(|address| address.0.contains(transport))
        .collect();
    assert_eq!(chosen.len(), 1, "{:?}", host.addresses());
    chosen
}

/// Answers every stream with what it says, forever.
fn echo(host: &Host) {
    let host = host.clone();
    tokio::spawn(async move {
        while let Some(stream) = host.accept(Spoken::Exchange).await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream.io);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
}

async fn said(mut stream: PeerStream, word: &[u8]) -> Vec<u8> {
    stream.io.write_all(word).await.unwrap();
    stream.io.shutdown().await.unwrap();
    let mut heard = Vec::new();
    stream.io.read_to_end(&mut heard).await.unwrap();
    heard
}

#[tokio::test]
async fn both_transports_prove_both_keys() {
    let (alice, bob) = (host(1).await, host(2).await);
    for transport in ["/quic-v1", "/tcp/"] {
        let bob_sees = tokio::spawn({
            let bob = bob.clone();
            async move { bob.accept(Spoken::Exchange).await.unwrap() }
        });
        let mut stream = alice
            .open(Spoken::Exchange, &over(transport, &bob))
            .await
            .unwrap();
        assert_eq!(stream.key, Identity::from_seed(&[2; 32]).public());
        stream.io.write_all(b"hello").await.unwrap();
        stream.io.flush().await.unwrap();
        let mut seen = bob_sees.await.unwrap();
        assert_eq!(seen.key, Identity::from_seed(&[1; 32]).public());
        let mut word = [0; 5];
        seen.io.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"hello");
    }
}

#[tokio::test]
async fn l02_64_streams_at_once_to_a_peer_that_was_not_connected_are_all_served() {
    for transport in ["/quic-v1", "/tcp/"] {
        let (alice, bob) = (host(3).await, host(4).await);
        echo(&bob);
        let address = over(transport, &bob);
        let streams = (0..64).map(|number| {
            let (alice, address) = (alice.clone(), address.clone());
            tokio::spawn(async move {
                let word = format!("stream {number}").into_bytes();
                let stream = alice.open(Spoken::Exchange, &address).await.unwrap();
                assert_eq!(said(stream, &word).await, word);
            })
        });
        for stream in streams.collect::<Vec<_>>() {
            stream.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_host_that_listens_everywhere_is_reached_at_addresses_of_both_kinds() {
    let anywhere = Some("[::]:0".parse().unwrap());
    let everywhere = HostOptions {
        quic: anywhere,
        tcp: anywhere,
        ..options()
    };
    let (alice, bob) = (
        host(21).await,
        Host::start(&Identity::from_seed(&[22; 32]), everywhere)
            .await
            .unwrap(),
    );
    echo(&bob);
    for loopback in ["/ip4/127.0.0.1/", "/ip6/::1/"] {
        for transport in ["/quic-v1", "/tcp/"] {
            let is_here =
                |address: &PeerAddress| address.0.starts_with(loopback) && address.0.contains(transport);
            // The addresses of a machine come one after the other.
            let here = loop {
                match bob.addresses().into_iter().find(is_here) {
                    Some(here) => break [here],
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
            let stream = alice.open(Spoken::Exchange, &here).await.unwrap();
            assert_eq!(said(stream, b"hello").await, b"hello");
        }
    }
}

#[tokio::test]
async fn c06_a_peer_has_so_many_streams_at_once_and_the_next_waits_for_its_turn() {
    let (alice, bob) = (host(5).await, host_serving(6, 2).await);
    let address = over("/quic-v1", &bob);
    let mut opened = Vec::new();
    for _ in 0..3 {
        let mut stream = alice.open(Spoken::Exchange, &address).await.unwrap();
        stream.io.write_all(b"x").await.unwrap();
        stream.io.flush().await.unwrap();
        opened.push(stream);
    }
    let first = bob.accept(Spoken::Exchange).await.unwrap();
    let second = bob.accept(Spoken::Exchange).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), bob.accept(Spoken::Exchange))
            .await
            .is_err()
    );
    drop(first);
    assert!(bob.accept(Spoken::Exchange).await.is_some());
    drop(second);
}

#[tokio::test]
async fn l02_streams_over_the_connections_bound_are_broken_off_and_the_others_live() {
    let (alice, bob) = (host(7).await, host_serving(8, 64).await);
    assert_eq!(broken_of(140, &alice, &bob).await, 140 - 128);
    assert!(bob.accept(Spoken::Exchange).await.is_some());
}

#[tokio::test]
async fn l02_so_many_streams_of_one_peer_wait_and_the_next_are_broken_off() {
    let (alice, bob) = (host(25).await, host_serving(26, 2).await);
    assert_eq!(broken_of(20, &alice, &bob).await, 20 - (2 + 4 * 2));
    assert!(bob.accept(Spoken::Exchange).await.is_some());
}

/// Opens so many streams, of which nobody takes any, and tells how many are broken off.
async fn broken_of(number: usize, from: &Host, to: &Host) -> usize {
    let address = over("/quic-v1", to);
    let mut opened = Vec::new();
    for _ in 0..number {
        let mut stream = from.open(Spoken::Exchange, &address).await.unwrap();
        let _ = stream.io.write_all(b"x").await;
        let _ = stream.io.flush().await;
        opened.push(stream);
    }
    let mut broken = 0;
    for stream in &mut opened {
        let end = tokio::time::timeout(Duration::from_millis(20), stream.io.read_u8()).await;
        broken += usize::from(end.is_ok_and(|read| read.is_err()));
    }
    broken
}

/// A line whose first connection can be held up: nothing passes it any more, and nothing ends.
struct Line {
    at: PeerAddress,
    passes: watch::Sender<bool>,
}

impl Line {
    async fn to(host: &Host) -> Self {
        let inside = &over("/tcp/", host)[0].0;
        let (inside, peer) = inside.split_once("/p2p/").unwrap();
        let port: u16 = inside.rsplit('/').next().unwrap().parse().unwrap();
        let outside = TcpListener::bind(ANYWHERE).await.unwrap();
        let at = outside.local_addr().unwrap().port();
        let (passes, first) = watch::channel(true);
        let (_always, others) = watch::channel(true);
        tokio::spawn(async move {
            let mut gates = std::iter::once(first).chain(std::iter::repeat(others));
            while let Ok((near, _)) = outside.accept().await {
                let far = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                let (near, far) = (near.into_split(), far.into_split());
                let gate = gates.next().unwrap();
                tokio::spawn(pass(near.0, far.1, gate.clone()));
                tokio::spawn(pass(far.0, near.1, gate));
            }
        });
        Self {
            at: PeerAddress(format!("/ip4/127.0.0.1/tcp/{at}/p2p/{peer}")),
            passes,
        }
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut octets = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut octets).await {
        let _ = gate.wait_for(|passes| *passes).await;
        if to.write_all(&octets[..length]).await.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn a_connection_that_opens_no_stream_in_time_is_left_to_those_on_it_and_another_is_made() {
    let (alice, bob) = (host(27).await, host(28).await);
    echo(&bob);
    let line = Line::to(&bob).await;
    let at = [line.at.clone()];
    let mut first = alice.open(Spoken::Exchange, &at).await.unwrap();
    first.io.write_all(b"a").await.unwrap();
    assert_eq!(first.io.read_u8().await.unwrap(), b'a');
    line.passes.send_replace(false);
    let second = alice.open(Spoken::Exchange, &at).await.unwrap();
    assert_ne!(second.connection, first.connection);
    assert_eq!(said(second, b"hello").await, b"hello");
    line.passes.send_replace(true);
    assert_eq!(said(first, b"b").await, b"b");
}

#[tokio::test]
async fn l03_a_peer_with_another_key_than_the_address_says_is_refused() {
    let (alice, mallory) = (host(9).await, host(10).await);
    let bob = Identity::from_seed(&[11; 32]).peer_id();
    for address in mallory.addresses() {
        let (place, _) = address.0.rsplit_once("/p2p/").unwrap();
        let lie = PeerAddress(format!("{place}/p2p/{bob}"));
        let refused = alice.open(Spoken::Exchange, &[lie]).await;
        assert!(matches!(refused, Err(PeerError::Unreachable(_))));
    }
    assert!(alice.open(Spoken::Exchange, &mallory.addresses()).await.is_ok());
}

#[tokio::test]
async fn the_second_address_serves_where_nobody_is_at_the_first() {
    let (alice, bob) = (host(12).await, host(13).await);
    echo(&bob);
    let gone = format!(
        "/ip4/127.0.0.1/tcp/1/p2p/{}",
        Identity::from_seed(&[13; 32]).peer_id()
    );
    let mut addresses = vec![PeerAddress(gone)];
    addresses.extend(over("/tcp/", &bob));
    let stream = alice.open(Spoken::Exchange, &addresses).await.unwrap();
    assert_eq!(said(stream, b"found").await, b"found");
}

#[tokio::test]
async fn d04_addresses_of_other_kinds_and_of_forbidden_places_are_not_dialled() {
    let public = HostOptions {
        policy: AddressPolicy::public(),
        ..options()
    };
    let alice = Host::start(&Identity::from_seed(&[14; 32]), public)
        .await
        .unwrap();
    let bob = host(15).await;
    let peer = Identity::from_seed(&[15; 32]).peer_id();
    assert!(
        matches!(alice.open(Spoken::Exchange, &bob.addresses()).await, Err(PeerError::NoAddress(why)) if why.len() == 2)
    );
    for place in [
        "/ip4/127.0.0.1/tcp/4001",
        "/ip6/::1/udp/4001/quic-v1",
        "/ip6/::ffff:127.0.0.1/tcp/4001",
        "/ip6/64:ff9b::7f00:1/tcp/4001",
        "/ip4/169.254.169.254/tcp/80",
        "/ip4/10.0.0.1/udp/4001/quic-v1",
        "/dns4/localhost/tcp/4001",
        "/dnsaddr/bar.test",
        "/ip4/1.1.1.1/tcp/443/ws",
        "/ip4/1.1.1.1/udp/4001",
        "/unix/run/docker.sock",
        "/memory/1",
    ] {
        let address = PeerAddress(format!("{place}/p2p/{peer}"));
        assert!(
            matches!(
                alice.open(Spoken::Exchange, &[address]).await,
                Err(PeerError::NoAddress(_))
            ),
            "{place}"
        );
    }
    let relayed = PeerAddress(format!("/ip4/1.1.1.1/tcp/4001/p2p/{peer}/p2p-circuit/p2p/{peer}"));
    let nameless = PeerAddress("/ip4/1.1.1.1/tcp/4001".to_owned());
    assert!(
        matches!(alice.open(Spoken::Exchange, &[relayed, nameless]).await, Err(PeerError::NoAddress(why)) if why.len() == 2)
    );
}

#[tokio::test]
async fn a_megabyte_by_the_hundred_crosses_whole_in_both_transports() {
    const LENGTH: usize = 32 * 1024 * 1024;
    for transport in ["/quic-v1", "/tcp/"] {
        let (alice, bob) = (host(16).await, host(17).await);
        let serving = bob.clone();
        tokio::spawn(async move {
            let mut stream = serving.accept(Spoken::Exchange).await.unwrap();
            let block = vec![7_u8; 1024 * 1024];
            for _ in 0..LENGTH / block.len() {
                stream.io.write_all(&block).await.unwrap();
            }
            stream.io.shutdown().await.unwrap();
        });
        let mut stream = alice
            .open(Spoken::Exchange, &over(transport, &bob))
            .await
            .unwrap();
        stream.io.flush().await.unwrap();
        let mut buffer = vec![0_u8; 64 * 1024];
        let mut count = 0;
        loop {
            match stream.io.read(&mut buffer).await.unwrap() {
                0 => break,
                read => count += read,
            }
        }
        assert_eq!(count, LENGTH);
    }
}

#[tokio::test]
async fn a_stopped_host_accepts_and_opens_nothing_and_one_that_came_back_is_found_again() {
    let (alice, bob) = (host(18).await, host(19).await);
    echo(&bob);
    assert_eq!(
        said(
            alice.open(Spoken::Exchange, &over("/tcp/", &bob)).await.unwrap(),
            b"once"
        )
        .await,
        b"once"
    );
    bob.stop().await;
    assert!(bob.accept(Spoken::Exchange).await.is_none());
    assert!(matches!(
        bob.open(Spoken::Exchange, &alice.addresses()).await,
        Err(PeerError::Closed)
    ));
    let again = host(19).await;
    echo(&again);
    let stream = loop {
        // The first try may meet the connection that is just closing.
        match alice.open(Spoken::Exchange, &over("/quic-v1", &again)).await {
            Ok(stream) => break stream,
            Err(PeerError::Unreachable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(said(stream, b"twice").await, b"twice");
}

#[tokio::test]
async fn l06_only_what_is_served_is_agreed_to_and_neither_kind_keeps_the_other_waiting() {
    let alice = host(20).await;
    let serving = |served: &[Spoken]| HostOptions {
        served: served.to_vec(),
        streams_per_peer: StreamBounds {
            exchange: 1,
            ..StreamBounds::default()
        },
        ..options()
    };
    for (seed, served, other) in [
        (23, Spoken::Exchange, Spoken::Grip),
        (24, Spoken::Grip, Spoken::Exchange),
    ] {
        let bob = Host::start(&Identity::from_seed(&[seed; 32]), serving(&[served]))
            .await
            .unwrap();
        for transport in ["/quic-v1", "/tcp/"] {
            let refused = alice.open(other, &over(transport, &bob)).await;
            assert_eq!(refused.err(), Some(PeerError::Unsupported(other)));
            assert!(alice.open(served, &over(transport, &bob)).await.is_ok());
        }
    }
    let both = serving(&[Spoken::Exchange, Spoken::Grip]);
    let carol = Host::start(&Identity::from_seed(&[25; 32]), both).await.unwrap();
    let mut opened = Vec::new();
    for _ in 0..8 {
        opened.push(
            alice
                .open(Spoken::Exchange, &over("/tcp/", &carol))
                .await
                .unwrap(),
        );
    }
    let _first = carol.accept(Spoken::Exchange).await.unwrap();
    let mut stream = alice.open(Spoken::Grip, &over("/tcp/", &carol)).await.unwrap();
    stream.io.write_all(b"GET").await.unwrap();
    stream.io.flush().await.unwrap();
    let mut heard = [0; 3];
    let mut arrived = carol.accept(Spoken::Grip).await.unwrap();
    arrived.io.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"GET");
}

/// A DNS that says nothing, and counts the questions.
struct Silent(watch::Sender<usize>);

#[async_trait::async_trait]
impl Dns for Silent {
    async fn txt(&self, name: &str) -> Result<Answer<String>, DnsError> {
        self.0.send_modify(|asked| *asked += 1);
        Err(DnsError::Unavailable {
            name: name.to_owned(),
            kind: "TXT",
            why: "nobody is there".to_owned(),
        })
    }
    async fn srv(&self, _: &str) -> Result<Answer<Srv>, DnsError> {
        panic!("nobody asks for services")
    }
    async fn mx(&self, _: &str) -> Result<Answer<Mx>, DnsError> {
        panic!("nobody asks for mail")
    }
    async fn addresses(&self, _: &str) -> Result<Answer<IpAddr>, DnsError> {
        panic!("nobody asks for addresses")
    }
}

#[tokio::test]
async fn introducers_whose_name_the_dns_does_not_tell_are_asked_for_again_soon() {
    let (count, mut asked) = watch::channel(0);
    let joining = Joining {
        introducers: vec!["introducers.test".parse().unwrap()],
        relay: Relaying::Auto,
        dns: Arc::new(Silent(count)),
    };
    let joining = HostOptions {
        joining: Some(joining),
        ..options()
    };
    let _alice = Host::start(&Identity::from_seed(&[29; 32]), joining)
        .await
        .unwrap();
    let three_times = asked.wait_for(|asked| *asked >= 3);
    tokio::time::timeout(Duration::from_secs(20), three_times)
        .await
        .unwrap()
        .unwrap();
}
