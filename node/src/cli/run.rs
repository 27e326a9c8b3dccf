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
    let certificate = node.services().user_certificate().certificate();
    let fingerprint = data_encoding::HEXLOWER.encode(&certificate.spki_sha256());
    let (grip, user) = (node.services().grip_address(), node.services().user_address());
    let smtp = node.services().smtp_address();
    let out = everywhere.out();
    if everywhere.json {
        let event = json!({
            "event": "running", "grip": grip, "user": user, "fingerprint": fingerprint, "smtp": smtp, "peers": peers,
        });
        return out.text(&format!("{event}\n"));
    }
    let mut text = "running\n".to_owned();
    let mut line = |what: &str, place: &str| text.push_str(&format!("  {what:18} {place}\n"));
    match grip {
        Some(grip) => line("other nodes:", &format!("https://{grip}")),
        None => line("other nodes:", "over libp2p, as peers"),
    }
    line(
        "people's programs:",
        &format!("https://{user}, fingerprint {fingerprint}"),
    );
    if let Some(smtp) = smtp {
        line("mail:", &smtp.to_string());
    }
    for peer in &peers {
        line("peers:", peer);
    }
    if peers.is_empty() && node.is_in_community() {
        line(
            "peers:",
            "the log says it once the community has a place for this node",
        );
    }
    out.text(&text)
}
