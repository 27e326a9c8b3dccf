//! `cargomail run`: the node, until it is told to stop.

use anyhow::Context;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Everywhere;
use crate::node::Node;
use crate::peers::PeerAddress;

/// Starts the node, says where it listens, and stops it cleanly.
pub(super) async fn run(everywhere: &Everywhere) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let node = Node::start(everywhere.settings()?).await?;
    tell(everywhere, &node)?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("Ctrl-C cannot be waited for")?,
    }
    tracing::info!("stopping");
    node.stop().await;
    Ok(())
}

fn tell(everywhere: &Everywhere, node: &Node) -> anyhow::Result<()> {
    let peers: Vec<String> = node
        .peer_addresses()
        .into_iter()
        .map(|PeerAddress(text)| text)
        .collect();
    let fingerprint = data_encoding::HEXLOWER.encode(&node.services().user_fingerprint());
    if everywhere.json {
        println!(
            "{}",
            json!({
                "event": "running", "grip": node.services().grip_address(), "user": node.services().user_address(),
                "fingerprint": fingerprint, "smtp": node.services().smtp_address(), "peers": peers,
            })
        );
        return Ok(());
    }
    println!("running");
    match node.services().grip_address() {
        Some(grip) => println!("  other nodes:       https://{grip}"),
        None => println!("  other nodes:       over libp2p, as peers"),
    }
    println!(
        "  people's programs: https://{}, fingerprint {fingerprint}",
        node.services().user_address()
    );
    if let Some(smtp) = node.services().smtp_address() {
        println!("  mail:              {smtp}");
    }
    for peer in &peers {
        println!("  peers:             {peer}");
    }
    if peers.is_empty() && node.is_in_community() {
        println!("  peers:             the log says it once the community has a place for this node");
    }
    Ok(())
}
