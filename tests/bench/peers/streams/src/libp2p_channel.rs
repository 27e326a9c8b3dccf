//! One stream of libp2p, over TCP with TLS or over QUIC, with the settings of `node/src/peers/host.rs`.

use std::path::Path;

use anyhow::{Context, anyhow};
use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, StreamProtocol, Swarm, SwarmBuilder, identity, yamux};
use libp2p_stream as stream;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use crate::copy;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench/copy/1.0.0");
/// The project's windows: octets on their way on one QUIC stream, and on one QUIC connection.
const WINDOWS: (u32, u32) = (1024 * 1024, 3 * 1024 * 1024);

fn swarm(default_windows: bool) -> anyhow::Result<Swarm<stream::Behaviour>> {
    let swarm = SwarmBuilder::with_existing_identity(identity::Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default().nodelay(true),
            libp2p::tls::Config::new,
            yamux::Config::default,
        )?
        .with_quic_config(|mut config| {
            if !default_windows {
                (config.max_stream_data, config.max_connection_data) = WINDOWS;
            }
            config
        })
        .with_behaviour(|_| stream::Behaviour::new())?
        .with_swarm_config(|config| config.with_idle_connection_timeout(std::time::Duration::from_secs(60)))
        .build();
    Ok(swarm)
}

pub(crate) async fn serve(quic: bool, default_windows: bool, folder: &Path) -> anyhow::Result<()> {
    let mut swarm = swarm(default_windows)?;
    let at = if quic {
        "/ip4/127.0.0.1/udp/0/quic-v1"
    } else {
        "/ip4/127.0.0.1/tcp/0"
    };
    swarm.listen_on(at.parse()?)?;
    let mut incoming = swarm.behaviour().new_control().accept(PROTOCOL)?;
    let folder = folder.to_owned();
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            if let Err(error) = copy::send(stream.compat(), &folder).await {
                eprintln!("a stream failed: {error:#}");
            }
        }
    });
    let peer = *swarm.local_peer_id();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            println!("{}", address.with(Protocol::P2p(peer)));
        }
    }
}

pub(crate) async fn connect(address: &str, default_windows: bool) -> anyhow::Result<Compat<libp2p::Stream>> {
    let address: Multiaddr = address.parse()?;
    let Some(Protocol::P2p(peer)) = address.iter().last() else {
        return Err(anyhow!("{address} does not end in /p2p/…"));
    };
    let mut swarm = swarm(default_windows)?;
    swarm.dial(address)?;
    let mut control = swarm.behaviour().new_control();
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } => break,
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let stream = control.open_stream(peer, PROTOCOL).await;
    Ok(stream
        .map_err(|why| anyhow!("{why}"))
        .context("no stream")?
        .compat())
}
