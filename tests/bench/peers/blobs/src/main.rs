//! Copies a folder by iroh-blobs: QUIC, BLAKE3 over every chunk group, its own store on disk at both ends.
//!
//! `serve` imports the folder's files into a store and prints a ticket; `fetch` ends when all of them are in a store of its own
//! and synced, and prints one JSON object: seconds from before the connection to after the sync, octets, and its own peak of
//! memory. No relay and no look-up: the ticket holds the address.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, RelayMode, TransportAddr};
use iroh_blobs::format::collection::Collection;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::ticket::BlobTicket;
use iroh_blobs::{BlobFormat, BlobsProtocol};

#[derive(Parser)]
#[command(about = "Copies a folder by iroh-blobs, durable at the receiver")]
enum Arguments {
    /// Imports a folder's files into a store, gives them to everybody, and prints a ticket
    Serve {
        /// The folder
        folder: PathBuf,
        /// The store's folder
        store: PathBuf,
    },
    /// Takes what a ticket names into a store
    Fetch {
        /// What `serve` printed
        ticket: BlobTicket,
        /// The store's folder
        store: PathBuf,
    },
}

async fn endpoint() -> anyhow::Result<Endpoint> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr(loopback)?
        .bind()
        .await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse() {
        Arguments::Serve { folder, store } => serve(folder, store).await,
        Arguments::Fetch { ticket, store } => fetch(&ticket, store).await,
    }
}

async fn serve(folder: PathBuf, store: PathBuf) -> anyhow::Result<()> {
    let store = FsStore::load(store).await?;
    let mut names = Vec::new();
    let mut held = Vec::new();
    for entry in std::fs::read_dir(std::path::absolute(folder)?)? {
        let entry = entry?;
        let tag = store.blobs().add_path(entry.path()).temp_tag().await?;
        names.push((entry.file_name().to_string_lossy().into_owned(), tag.hash()));
        held.push(tag);
    }
    let collection = Collection::from_iter(names).store(&store).await?;
    store.sync_db().await?;
    let endpoint = endpoint().await?;
    let at = endpoint.bound_sockets().into_iter().map(TransportAddr::Ip);
    let address = EndpointAddr::from_parts(endpoint.id(), at);
    let blobs = BlobsProtocol::new(&store, None);
    let router = Router::builder(endpoint).accept(iroh_blobs::ALPN, blobs).spawn();
    println!(
        "{}",
        BlobTicket::new(address, collection.hash(), BlobFormat::HashSeq)
    );
    std::future::pending::<()>().await;
    drop((router, held));
    Ok(())
}

async fn fetch(ticket: &BlobTicket, folder: PathBuf) -> anyhow::Result<()> {
    let store = FsStore::load(&folder).await?;
    let endpoint = endpoint().await?;
    let begin = Instant::now();
    let connection = endpoint.connect(ticket.addr().clone(), iroh_blobs::ALPN).await?;
    let stats = store
        .remote()
        .fetch(connection, ticket.hash_and_format())
        .complete()
        .await?;
    store.sync_db().await?;
    rustix::fs::syncfs(File::open(&folder)?)?;
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(
        store
            .remote()
            .local(ticket.hash_and_format())
            .await?
            .is_complete(),
        "something is missing"
    );
    println!(
        "{}",
        serde_json::json!({
            "seconds": seconds,
            "octets": stats.payload_bytes_read,
            "receiver_kib": peak_kib()?,
        })
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
