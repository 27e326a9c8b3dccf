//! The binary is started as a person starts it, dialled over both transports, asked, and stopped.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use libp2p::kad::store::MemoryStore;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, kad, yamux};

const KADEMLIA: StreamProtocol = StreamProtocol::new("/cargomail/kad/1.0.0");

struct Bootstrap {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Bootstrap {
    fn start(key: &std::path::Path, more: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_cargomail-bootstrap"))
            .args(["--quic", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "--json", "--key"])
            .arg(key)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn line(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn addresses(&mut self) -> Vec<Multiaddr> {
        let next = |line: serde_json::Value| {
            assert_eq!(line["event"], "listening");
            line["address"].as_str().unwrap().parse().unwrap()
        };
        vec![next(self.line()), next(self.line())]
    }

    /// Ends it as a service manager does.
    fn terminate(mut self) {
        assert!(
            Command::new("kill")
                .arg(self.process.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(self.line()["event"], "stopped");
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Bootstrap {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    kademlia: kad::Behaviour<MemoryStore>,
}

fn peer(mode: kad::Mode) -> Swarm<Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default(),
            libp2p::tls::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_quic()
        .with_behaviour(|keys| {
            let own = keys.public().to_peer_id();
            let mut kademlia =
                kad::Behaviour::with_config(own, MemoryStore::new(own), kad::Config::new(KADEMLIA));
            kademlia.set_mode(Some(mode));
            let identify = identify::Config::new("/test".to_owned(), keys.public());
            Behaviour {
                identify: identify::Behaviour::new(identify),
                kademlia,
            }
        })
        .unwrap()
        .build()
}

fn peer_of(address: &Multiaddr) -> PeerId {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => peer,
        other => panic!("{other:?}"),
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.unwrap()
}

/// Dials, and waits until the other side has told who it is.
async fn meet(swarm: &mut Swarm<Behaviour>, at: &Multiaddr) -> identify::Info {
    swarm.dial(at.clone()).unwrap();
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) => {
                return info;
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn it_is_dialled_over_both_transports_says_little_and_stops_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let mut bootstrap = Bootstrap::start(&folder.path().join("key.pem"), &[]);
    let addresses = bootstrap.addresses();
    assert_eq!(
        addresses
            .iter()
            .filter(|at| at.to_string().contains("/quic-v1/"))
            .count(),
        1
    );
    for address in &addresses {
        let info = soon(meet(&mut peer(kad::Mode::Client), address)).await;
        assert_eq!(info.agent_version, "cargomail-bootstrap");
        assert_eq!(info.public_key.to_peer_id(), peer_of(address));
        let mut protocols: Vec<String> = info.protocols.iter().map(ToString::to_string).collect();
        protocols.sort();
        let only = [
            "/cargomail/kad/1.0.0",
            "/ipfs/id/1.0.0",
            "/ipfs/id/push/1.0.0",
            "/ipfs/ping/1.0.0",
        ];
        assert_eq!(protocols, only);
    }
    bootstrap.terminate();
}

#[tokio::test]
async fn alice_finds_bob_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut bootstrap = Bootstrap::start(&folder.path().join("key.pem"), &["--allow-private"]);
    let address = bootstrap.addresses().remove(0);

    let mut bob = peer(kad::Mode::Server);
    let bob_is = *bob.local_peer_id();
    bob.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let bob_at = soon(async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = bob.select_next_some().await {
                return address;
            }
        }
    })
    .await;
    soon(meet(&mut bob, &address)).await;
    tokio::spawn(async move {
        loop {
            bob.select_next_some().await;
        }
    });

    let mut alice = peer(kad::Mode::Client);
    alice
        .behaviour_mut()
        .kademlia
        .add_address(&peer_of(&address), address.clone());
    let found = soon(async {
        loop {
            alice.behaviour_mut().kademlia.get_closest_peers(bob_is);
            let found = loop {
                if let SwarmEvent::Behaviour(BehaviourEvent::Kademlia(
                    kad::Event::OutboundQueryProgressed {
                        result: kad::QueryResult::GetClosestPeers(Ok(closest)),
                        ..
                    },
                )) = alice.select_next_some().await
                {
                    break closest.peers.into_iter().find(|peer| peer.peer_id == bob_is);
                }
            };
            // Bob's introduction may still be on its way.
            if let Some(found) = found {
                return found;
            }
        }
    })
    .await;
    assert!(
        found
            .addrs
            .iter()
            .any(|at| at.to_string().starts_with(&bob_at.to_string())),
        "{found:?}"
    );
    bootstrap.terminate();
}

#[tokio::test]
async fn its_key_is_kept_private_and_an_open_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    let mut first = Bootstrap::start(&key, &[]);
    let name = peer_of(&first.addresses()[0]);
    first.terminate();
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mut second = Bootstrap::start(&key, &[]);
    assert_eq!(peer_of(&second.addresses()[0]), name);
    second.terminate();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut third = Bootstrap::start(&key, &[]);
    assert!(third.lines.next().is_none());
    assert!(!third.process.wait().unwrap().success());
}

#[test]
fn an_unknown_key_in_the_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bootstrap.toml");
    std::fs::write(&config, "quick = \"127.0.0.1:0\"\n").unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_cargomail-bootstrap"))
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("quick"));
}
