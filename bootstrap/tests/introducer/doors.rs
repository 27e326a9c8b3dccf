//! The door: too many connections are refused, one that ends makes room, and garbage harms nobody else.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::peer::{anybody, knock, live, soon};
use crate::started::Introducer;

const REFUSED: &str = "cargomail_bootstrap_connections_refused_total";

fn socket(address: &Multiaddr) -> SocketAddr {
    match address.iter().take(2).collect::<Vec<_>>()[..] {
        [Protocol::Ip4(ip), Protocol::Tcp(port) | Protocol::Udp(port)] => SocketAddr::from((ip, port)),
        _ => panic!("{address}"),
    }
}

#[tokio::test]
async fn l02_one_peer_has_so_many_connections() {
    let introducer = Introducer::start("[connections]\nper-peer = 2\n");
    let mut alice = anybody();
    for at in [introducer.tcp(), introducer.quic()] {
        assert!(knock(&mut alice, at, introducer.name()).await.is_some());
    }
    for at in [introducer.tcp(), introducer.quic()] {
        assert!(knock(&mut alice, at, introducer.name()).await.is_none());
    }
    assert_eq!(introducer.counted(&format!("{REFUSED}{{why=\"Peer\"}}")), 2);
    assert!(
        knock(&mut anybody(), introducer.tcp(), introducer.name())
            .await
            .is_some()
    );
}

#[tokio::test]
async fn l02_one_network_and_all_together_have_so_many_and_one_that_ends_makes_room() {
    for (bound, why) in [("per-network = 2", "Network"), ("total = 2", "Full")] {
        let introducer = Introducer::start(&format!("[connections]\n{bound}\n"));
        let (mut alice, mut bob, mut carol) = (anybody(), anybody(), anybody());
        assert!(
            knock(&mut alice, introducer.tcp(), introducer.name())
                .await
                .is_some()
        );
        assert!(
            knock(&mut bob, introducer.quic(), introducer.name())
                .await
                .is_some()
        );
        for at in &introducer.addresses {
            assert!(
                knock(&mut carol, at, introducer.name()).await.is_none(),
                "{bound}"
            );
        }
        assert_eq!(introducer.counted(&format!("{REFUSED}{{why=\"{why}\"}}")), 2);
        let alice = live(alice);
        alice.abort();
        soon(async {
            while knock(&mut carol, introducer.tcp(), introducer.name())
                .await
                .is_none()
            {}
        })
        .await;
    }
}

#[tokio::test]
async fn l02_connections_that_never_get_anywhere_take_no_more_than_their_share() {
    let introducer = Introducer::start("[connections]\npending-per-network = 4\n");
    let silent: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect(socket(introducer.tcp())).unwrap())
        .collect();
    let refused = format!("{REFUSED}{{why=\"Network\"}}");
    let mut alice = anybody();
    soon(async {
        while introducer.counted(&refused) == 0 {
            knock(&mut alice, introducer.tcp(), introducer.name()).await;
        }
    })
    .await;
    drop(silent);
    soon(async {
        while knock(&mut alice, introducer.tcp(), introducer.name())
            .await
            .is_none()
        {}
    })
    .await;
}

#[tokio::test]
async fn l01_garbage_on_both_transports_harms_nobody_else() {
    let introducer = Introducer::start("");
    let garbage: Vec<u8> = (0..20_000_u32)
        .map(|number| ((number * 7919) >> 5) as u8)
        .collect();
    let never_ending = b"\x13/multistream/1.0.0\n".repeat(2000);
    for octets in [&garbage, &never_ending] {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(socket(introducer.tcp())).unwrap();
            let _ = stream.write_all(octets);
        }
    }
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    for part in garbage.chunks(1200).cycle().take(500) {
        let long_header = [&[0xc3, 0, 0, 0, 1, 8], part].concat();
        from.send_to(&long_header, socket(introducer.quic())).unwrap();
        from.send_to(part, socket(introducer.quic())).unwrap();
    }
    for at in [introducer.tcp(), introducer.quic()] {
        let mut alice = anybody();
        soon(async { while knock(&mut alice, at, introducer.name()).await.is_none() {} }).await;
    }
    introducer.terminate();
}
