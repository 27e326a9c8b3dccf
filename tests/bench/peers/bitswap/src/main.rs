//! Copies a folder by bitswap 1.2 as beetswap speaks it, over TCP with TLS: blocks of 1 MiB at most, each hashed with SHA-256 at
//! the receiver, from files into one file a block.
//!
//! `serve` writes the list of blocks and prints its address. `fetch` ends when it has every block of the list in its folder and
//! synced, and prints one JSON object: seconds from before the connection to after the sync, octets, its own peak of memory.

mod folder;

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cid::Cid;
use clap::Parser;
use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, identity, tcp, tls, yamux};

use folder::Folder;

/// Octets that are asked for ahead, and blocks.
const AHEAD: (u64, usize) = (64 * 1024 * 1024, 2048);

#[derive(Parser)]
#[command(about = "Copies a folder by bitswap, durable at the receiver")]
enum Arguments {
    /// Gives the blocks of a folder's files to everybody, and prints where
    Serve {
        /// The folder
        folder: PathBuf,
        /// Where the list of blocks is written: a CID and its size in each line
        list: PathBuf,
    },
    /// Takes the blocks of a list into a folder
    Fetch {
        /// What `serve` printed
        address: Multiaddr,
        /// What `serve` wrote
        list: PathBuf,
        /// The folder, which must be there
        folder: PathBuf,
    },
}

type Behaviour = beetswap::Behaviour<64, Folder>;

fn swarm(blocks: Folder) -> anyhow::Result<Swarm<Behaviour>> {
    Ok(
        SwarmBuilder::with_existing_identity(identity::Keypair::generate_ed25519())
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                tls::Config::new,
                yamux::Config::default,
            )?
            .with_behaviour(|_| Behaviour::new(Arc::new(blocks)))?
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
            .build(),
    )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse() {
        Arguments::Serve { folder, list } => {
            let (blocks, written) = Folder::of_files(&folder)?;
            std::fs::write(list, written)?;
            serve(blocks).await
        }
        Arguments::Fetch {
            address,
            list,
            folder,
        } => fetch(address, &std::fs::read_to_string(list)?, folder).await,
    }
}

async fn serve(blocks: Folder) -> anyhow::Result<()> {
    let mut swarm = swarm(blocks)?;
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let peer = *swarm.local_peer_id();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            println!("{}", address.with(Protocol::P2p(peer)));
        }
    }
}

async fn fetch(address: Multiaddr, list: &str, folder: PathBuf) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    for line in list.lines() {
        let (cid, size) = line.split_once(' ').context("a line without a size")?;
        wanted.push((cid.parse::<Cid>()?, size.parse::<u64>()?));
    }
    let octets: u64 = wanted.iter().map(|(_, size)| size).sum();
    let mut swarm = swarm(Folder::empty(folder.clone()))?;
    let begin = Instant::now();
    swarm.dial(address)?;
    let mut wanted = wanted.into_iter().peekable();
    let mut asked = HashMap::new();
    let mut ahead = 0;
    let mut connected = false;
    loop {
        while connected
            && let Some((cid, size)) =
                wanted.next_if(|(_, size)| asked.len() < AHEAD.1 && ahead + size <= AHEAD.0)
        {
            asked.insert(swarm.behaviour_mut().get(&cid), size);
            ahead += size;
        }
        if connected && asked.is_empty() {
            break;
        }
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } => connected = true,
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
            SwarmEvent::Behaviour(beetswap::Event::GetQueryResponse { query_id, .. }) => {
                ahead -= asked.remove(&query_id).unwrap_or_default();
            }
            SwarmEvent::Behaviour(beetswap::Event::GetQueryError { error, .. }) => bail!("{error}"),
            _ => {}
        }
    }
    rustix::fs::syncfs(File::open(folder)?)?;
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({ "seconds": seconds, "octets": octets, "receiver_kib": peak_kib()? })
    );
    Ok(())
}

/// The most memory that this process has had resident, from the kernel.
fn peak_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number
        .and_then(|number| number.parse().ok())
        .context("the kernel does not tell the peak of memory")
}
