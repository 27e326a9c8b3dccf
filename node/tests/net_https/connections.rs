//! Which connections are used again, and which are not.

use super::*;

/// Lets so many seconds pass at once.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn requests_to_one_server_share_a_connection_and_other_identities_do_not() {
    let world = serve(ServingLimits::default()).await;
    world.pin(insurance().spki_sha256());
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let server = world.server().await;
    let first = text(&client, &server, "/where").await;
    assert_eq!(text(&client, &server, "/where").await, first);
    let other = client.with_identity(&broker()).unwrap();
    assert_ne!(text(&other, &server, "/where").await, first);
}

#[tokio::test]
async fn a_connection_is_used_again_as_long_as_servers_wait_for_the_next_request() {
    let world = serve(ServingLimits::default()).await;
    world.pin(insurance().spki_sha256());
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let server = world.server().await;
    let first = text(&client, &server, "/where").await;
    for _ in 0..3 {
        pass(40).await;
        assert_eq!(text(&client, &server, "/where").await, first);
    }
    pass(46).await;
    assert_ne!(text(&client, &server, "/where").await, first);
}

/// What a client is told that has an open connection to a server of which the pin was withdrawn, and another one is published or none.
async fn after_a_pin_was_withdrawn(another: Option<[u8; 32]>) -> HttpsError {
    let world = serve(ServingLimits::default()).await;
    let hex = data_encoding::HEXLOWER.encode(&insurance().spki_sha256());
    let record = Record::Txt(format!("v=grip1; h=sha256; p={hex}"));
    world
        .zone
        .add_with_ttl("_grip.mailbox.insurance.test", record, Duration::ZERO);
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let server = world.server().await;
    assert_eq!(text(&client, &server, "/who").await, "_cb.bar.test");
    world.zone.remove("_grip.mailbox.insurance.test");
    if let Some(another) = another {
        world.pin(another);
    }
    client.send(&server, get_request("/who")).await.unwrap_err()
}

#[tokio::test]
async fn a_pin_that_was_withdrawn_ends_the_use_of_an_open_connection() {
    let refused = after_a_pin_was_withdrawn(Some([9; 32])).await;
    assert!(matches!(refused, HttpsError::WrongPin { .. }), "{refused}");
}

#[tokio::test]
async fn a_connection_that_a_pin_alone_has_proved_is_not_used_once_there_is_no_pin() {
    let refused = after_a_pin_was_withdrawn(None).await;
    assert!(matches!(refused, HttpsError::Tls { .. }), "{refused}");
}

#[tokio::test]
async fn a_connection_over_which_an_answer_did_not_come_is_not_used_again() {
    let world = serve(ServingLimits::default()).await;
    world.pin(insurance().spki_sha256());
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let server = world.server().await;
    let first = text(&client, &server, "/where").await;
    let unanswered = client.send(&server, get_request("/never"));
    tokio::pin!(unanswered);
    let sent = tokio::time::timeout(Duration::from_millis(200), unanswered.as_mut()).await;
    assert!(sent.is_err());
    assert_eq!(text(&client, &server, "/where").await, first);
    pass(40).await;
    assert_eq!(text(&client, &server, "/where").await, first);
    pass(21).await;
    assert!(matches!(unanswered.await, Err(HttpsError::Timeout { .. })));
    assert_ne!(text(&client, &server, "/where").await, first);
}

#[tokio::test]
async fn of_more_servers_than_are_kept_the_one_makes_room_that_was_not_asked_for_longest() {
    let world = serve(ServingLimits {
        per_address: 1024,
        ..ServingLimits::default()
    })
    .await;
    let client = world
        .client(AddressPolicy::public())
        .with_identity(&broker())
        .unwrap();
    let insurance = insurance().spki_sha256();
    // As many names for one as there are servers.
    let servers: Vec<Server> = (0..65)
        .map(|number| Server::at(world.serving.local_addr(), vec![insurance, [number; 32]]))
        .collect();
    let mut first = Vec::new();
    for server in servers.iter().take(64) {
        first.push(text(&client, server, "/where").await);
    }
    assert_eq!(text(&client, &servers[0], "/where").await, first[0]);
    let last = text(&client, &servers[64], "/where").await;
    assert_eq!(text(&client, &servers[64], "/where").await, last);
    assert_eq!(text(&client, &servers[0], "/where").await, first[0]);
    assert_ne!(text(&client, &servers[1], "/where").await, first[1]);
}

#[tokio::test]
async fn a_server_without_http_2_is_reached_and_its_connection_used_again_once_a_body_was_read() {
    let world = serve(ServingLimits::default()).await;
    let certificate = insurance()
        .server_certificate(name().as_str(), SystemClock.now())
        .unwrap();
    let mut tls = (*https::user_server(&Renewable::new(certificate.clone()).unwrap()).unwrap()).clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = Tcp.listen(ANYWHERE).await.unwrap();
    let limits = ServingLimits::default();
    let serving = https::serve(
        listener,
        Arc::new(tls),
        router(),
        limits,
        CancellationToken::new(),
    )
    .unwrap();
    let client = world.client(AddressPolicy::public());
    let server = Server::at(serving.local_addr(), vec![certificate.spki_sha256()]);
    let upload = Request::post("/count").body(flood().await).unwrap();
    let response = client.send(&server, upload).await.unwrap();
    assert_eq!(https::read(response.into_body(), 100).await.unwrap(), "16777216");
    let first = text(&client, &server, "/where").await;
    pass(9).await;
    assert_eq!(text(&client, &server, "/where").await, first);
    pass(11).await;
    let second = text(&client, &server, "/where").await;
    assert_ne!(second, first);
    let unread = client.send(&server, get_request("/flood")).await.unwrap();
    assert_ne!(text(&client, &server, "/where").await, second);
    assert_eq!(count(unread.into_body()).await, "16777216");
}
