//! The loop: what peers do, what the operator orders, and what nobody asks for.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::mpsc;

use crate::boxed::Boxed;
use crate::introducer::Introducer;
use crate::settings::Settings;
use crate::swarm::Behaviour;

/// How often the loop looks after what nobody asks for.
const ROUND: Duration = Duration::from_secs(10);
/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// End.
    Stop,
    /// Read again who may connect.
    ReadAllow,
}

/// What there is to tell.
pub(crate) enum News {
    /// Peers can be sent here; ends in `/p2p/<peer id>`.
    Listening(Multiaddr),
    /// Metrics and health are served here.
    Watched(SocketAddr),
    /// Everything is closed.
    Stopped,
}

/// Serves until it is told to stop.
///
/// # Errors
/// It cannot listen where it should, or a listener ended.
pub(crate) async fn serve(
    settings: &Settings,
    mut orders: mpsc::Receiver<Order>,
    tell: impl Fn(News),
) -> anyhow::Result<()> {
    let mut introducer = Introducer::start(settings, &tell).await?;
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::ReadAllow) => introducer.read_allow(),
                Some(Order::Stop) | None => break,
            },
            _ = round.tick() => introducer.look_after(),
            event = introducer.swarm.select_next_some() => introducer.on_event(event, &tell)?,
        }
    }
    introducer.health.listens(false);
    close(&mut introducer.swarm).await;
    tell(News::Stopped);
    Ok(())
}

/// Says goodbye to every peer, for a second at most.
async fn close(swarm: &mut Swarm<Boxed<Behaviour>>) {
    let peers: Vec<PeerId> = swarm.connected_peers().copied().collect();
    for peer in peers {
        let _ = swarm.disconnect_peer_id(peer);
    }
    let farewell = async {
        while swarm.connected_peers().next().is_some() {
            swarm.select_next_some().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
}
