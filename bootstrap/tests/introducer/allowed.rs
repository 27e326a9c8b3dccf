//! The list of those who may connect.

use libp2p::swarm::SwarmEvent;

use crate::peer::{anybody, knock, soon, until};
use crate::started::Introducer;

#[tokio::test]
async fn only_those_on_the_list_connect_and_a_new_list_counts_at_once() {
    let (mut alice, mut bob) = (anybody(), anybody());
    let [alice_is, bob_is] = [&alice, &bob].map(|peer| *peer.local_peer_id());
    let introducer = Introducer::start(&format!("allow = [\"{alice_is}\"]\n"));
    assert!(
        knock(&mut alice, introducer.tcp(), introducer.name())
            .await
            .is_some()
    );
    for at in &introducer.addresses {
        assert!(knock(&mut bob, at, introducer.name()).await.is_none());
    }

    // A list that cannot be read changes nothing.
    std::fs::write(introducer.config(), "allow = [\"nobody\"]\n").unwrap();
    introducer.signal("HUP");
    assert!(
        knock(&mut bob, introducer.tcp(), introducer.name())
            .await
            .is_none()
    );
    assert!(
        knock(&mut alice, introducer.quic(), introducer.name())
            .await
            .is_some()
    );

    std::fs::write(introducer.config(), format!("allow = [\"{bob_is}\"]\n")).unwrap();
    introducer.signal("HUP");
    soon(until(&mut alice, |event| match event {
        SwarmEvent::ConnectionClosed {
            num_established: 0, ..
        } => Some(()),
        _ => None,
    }))
    .await;
    assert!(
        knock(&mut bob, introducer.tcp(), introducer.name())
            .await
            .is_some()
    );
    assert!(
        knock(&mut alice, introducer.tcp(), introducer.name())
            .await
            .is_none()
    );
    introducer.terminate();
}

#[tokio::test]
async fn an_empty_list_lets_nobody_in() {
    let introducer = Introducer::start("allow = []\n");
    assert!(
        knock(&mut anybody(), introducer.tcp(), introducer.name())
            .await
            .is_none()
    );
}
