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

use anyhow::{Context, bail, ensure};
use cid::Cid;
use clap::Parser;
use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, identity, tcp, tls, yamux};
use tokio::task::JoinSet;

use folder::Folder;

/// Receivers that share the list, each with an identity and a connection of its own, so that one hashes and writes what came while
/// the other's next blocks come: beetswap answers every list of wants with one message.
const SESSIONS: usize = 2;
/// Octets that each of them asks for ahead.
const AHEAD: u64 = 2 * 1024 * 1024;
/// Blocks that are asked for over one connection. The server of beetswap keeps on its list of a peer's wants what it has sent, and
/// drops without a word what would be more than this; only a full list replaces its own, and the client sends one at the beginning of
/// a connection and every 30 seconds.
const PER_CONNECTION: usize = 1024;

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
        /// The folder, which must be there and empty
        folder: PathBuf,
    },
}

type Behaviour = beetswap::Behaviour<64, Folder>;

fn swarm(blocks: Arc<Folder>) -> anyhow::Result<Swarm<Behaviour>> {
    Ok(
        SwarmBuilder::with_existing_identity(identity::Keypair::generate_ed25519())
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                tls::Config::new,
                yamux::Config::default,
            )?
            .with_behaviour(|_| Behaviour::new(blocks))?
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
    let mut swarm = swarm(Arc::new(blocks))?;
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
    let blocks = Arc::new(Folder::empty(folder.clone()));
    let begin = Instant::now();
    let mut sessions = JoinSet::new();
    for number in 0..SESSIONS {
        let share = wanted.iter().copied().skip(number).step_by(SESSIONS).collect();
        sessions.spawn(session(address.clone(), share, blocks.clone()));
    }
    while let Some(session) = sessions.join_next().await {
        session??;
    }
    // What a blockstore fails to write, the library does not tell.
    ensure!(
        blocks.written() == wanted.len(),
        "not every block could be written"
    );
    rustix::fs::syncfs(File::open(folder)?)?;
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({ "seconds": seconds, "octets": octets, "receiver_kib": peak_kib()? })
    );
    Ok(())
}

/// Takes blocks, over one connection after another. Those of a connection are written once it is closed: the swarm, which puts
/// them into the folder only after it has told of them, is polled until then.
async fn session(address: Multiaddr, wanted: Vec<(Cid, u64)>, blocks: Arc<Folder>) -> anyhow::Result<()> {
    let mut swarm = swarm(blocks)?;
    let mut wanted = wanted.into_iter().peekable();
    while wanted.peek().is_some() {
        let dial = DialOpts::from(address.clone());
        let connection = dial.connection_id();
        swarm.dial(dial)?;
        let mut asked = HashMap::new();
        let (mut ahead, mut room) = (0, PER_CONNECTION);
        loop {
            while room > 0
                && let Some((cid, size)) = wanted.next_if(|(_, size)| ahead == 0 || ahead + size <= AHEAD)
            {
                asked.insert(swarm.behaviour_mut().get(&cid), size);
                ahead += size;
                room -= 1;
            }
            if asked.is_empty() {
                swarm.close_connection(connection);
            }
            match swarm.select_next_some().await {
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
                SwarmEvent::Behaviour(beetswap::Event::GetQueryResponse { query_id, .. }) => {
                    ahead -= asked.remove(&query_id).unwrap_or_default();
                }
                SwarmEvent::Behaviour(beetswap::Event::GetQueryError { error, .. }) => bail!("{error}"),
                SwarmEvent::ConnectionClosed { .. } if asked.is_empty() => break,
                SwarmEvent::ConnectionClosed { cause, .. } => bail!("closed too early: {cause:?}"),
                _ => {}
            }
        }
    }
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
