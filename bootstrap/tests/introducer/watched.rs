//! Metrics and health.

use crate::peer::{anybody, knock, soon};
use crate::started::Introducer;

#[tokio::test]
async fn it_says_that_it_is_well_and_what_it_counted() {
    let introducer = Introducer::start("");
    assert_eq!(introducer.page("/health"), (200, "ok\n".to_owned()));
    let mut alice = anybody();
    assert!(
        knock(&mut alice, introducer.tcp(), introducer.name())
            .await
            .is_some()
    );
    // What libp2p counts is told once it has counted.
    let mut text = String::new();
    soon(async {
        while !text.contains("libp2p_swarm_connections_established_total{") {
            let page = introducer.page("/metrics");
            assert_eq!(page.0, 200);
            text = page.1;
            tokio::task::yield_now().await;
        }
    })
    .await;
    for name in [
        "cargomail_bootstrap_connections ",
        "cargomail_bootstrap_table_peers ",
        "cargomail_bootstrap_relay_reservations ",
        "cargomail_bootstrap_relay_circuits ",
        "cargomail_bootstrap_resident_bytes ",
    ] {
        assert!(text.contains(name), "{name} is missing in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(
        !text.contains(&alice.local_peer_id().to_string()),
        "no peer is named"
    );
    // The gauges are set every ten seconds.
    soon(async {
        while introducer.counted("cargomail_bootstrap_connections") != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn it_serves_nothing_else_and_nothing_large() {
    let introducer = Introducer::start("");
    assert_eq!(introducer.page("/").0, 404);
    assert_eq!(introducer.page("/metrics/../key").0, 404);
    let answer = introducer.ask(b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.to_lowercase().contains("allow: get"));
    let long = format!("GET /health HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let answer = introducer.ask(long.as_bytes());
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(introducer.page("/health").0, 200);
}
