//! What a user sends: who gets it, by which way, and what leaves.

use axum::body::Body;
use cargomail_node::api::{Channel, Delivery, Queued};
use cargomail_protocol::notification::JobState;
use http::{Method, StatusCode};

use crate::agents::{Agent, Says};
use crate::rig::{Letter, Node, Setting, World, address, note, until};

fn over(channel: Channel) -> Setting {
    Setting {
        channel,
        ..Setting::default()
    }
}

#[tokio::test]
async fn a_hidden_recipient_gets_a_copy_and_nobody_sees_it() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", over(Channel::Web)).await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let alice = foo.user("alice").await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let text = String::from_utf8(note("alice@foo.test", "bob@bar.test", "1")).unwrap();
    let message = format!("Bcc: carol@bar.test\r\nresent-bcc:\r\n carol@bar.test\r\n{text}");
    let queued = alice
        .send(message.as_bytes(), &[&["bob@bar.test"], &["carol@bar.test"]])
        .await;
    assert_eq!(queued.len(), 2);
    for user in [&bob, &carol] {
        let inbox = user.holds("inbox", 1).await;
        let raw = user.raw(&inbox[0].id).await;
        assert!(
            !raw.to_lowercase().contains("bcc:") && !raw.contains("carol"),
            "{raw}"
        );
    }
    let sent = alice.sent().await;
    assert_eq!(sent.len(), 2);
    assert_eq!(alice.list("sent").await.len(), 1, "one copy of one's own");
    // no receipt shows bob's and carol's broker that there was another
    let mut evidence = Vec::new();
    foo.ledger
        .verify(|entry| evidence.push(entry.event.evidence.clone()))
        .await
        .unwrap();
    assert_eq!(evidence.len(), 2);
    for token in evidence {
        let inspected = cargomail_protocol::grip::inspect(&token).unwrap();
        let inside = inspected.nested[0].as_ref().unwrap();
        assert_eq!(inside.claims["rcpt"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn recipients_of_the_same_domain_need_no_network() {
    let world = World::new().await;
    let bar = Node::start(
        &world,
        "bar.test",
        Setting {
            web: false,
            ..Setting::default()
        },
    )
    .await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let message = note("bob@bar.test", "carol@bar.test", "1");
    let queued = bob
        .send(&message, &[&["carol@bar.test", "nobody@bar.test"]])
        .await;
    let states: Vec<Delivery> = queued.iter().map(|entry| entry.delivery).collect();
    assert_eq!(states, [Delivery::Accepted, Delivery::Refused]);
    carol.holds("inbox", 1).await;
    let report = bob.holds("inbox", 1).await;
    assert!(report[0].subject.starts_with("Not delivered"));
    assert!(
        bob.raw(&report[0].id)
            .await
            .contains("Final-Recipient: rfc822; nobody@bar.test")
    );
}

#[tokio::test]
async fn the_same_request_again_is_the_same_message() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let message = note("bob@bar.test", "carol@bar.test", "1");
    let first = bob.send(&message, &[&["carol@bar.test"]]).await;
    let again = bob.send(&message, &[&["carol@bar.test"]]).await;
    let id = |queued: &[Queued]| queued[0].id.clone();
    assert_eq!(id(&first), id(&again));
    assert_eq!(bob.list("sent").await.len(), 1);
    carol.holds("inbox", 1).await;
    assert_eq!(bob.queue().await.len(), 1);
}

#[tokio::test]
async fn s02_s03_what_is_no_message_of_the_callers_is_refused() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let bob = bar.user("bob").await;
    let good = String::from_utf8(note("bob@bar.test", "carol@bar.test", "1")).unwrap();
    let to: &[&[&str]] = &[&["carol@bar.test"]];
    let cases = [
        (good.replace("From: bob", "From: carol"), StatusCode::FORBIDDEN),
        (
            good.replace("From: bob@bar.test", "From: bob@bar.test, carol@bar.test"),
            StatusCode::FORBIDDEN,
        ),
        (
            good.replace("Message-ID", "X-ID"),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            good.replace("At noon.", "At noon.\n.\r\nMAIL FROM:<x@y.test>"),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (good.replace("At", "\0"), StatusCode::UNPROCESSABLE_ENTITY),
    ];
    for (message, expected) in cases {
        let (status, _) = bob.try_send(message.as_bytes(), to, None).await;
        assert_eq!(status, expected, "{message}");
    }
    let (status, _) = bob.try_send(good.as_bytes(), &[], None).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "nobody");
    let body = r#"{"envelopes":[["carol@bar.test\r\nRCPT TO:<x@y.test>"]],"message":""}"#;
    let (status, _) = bob.ask(Method::POST, "/api/v1/messages", body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(bob.queue().await.is_empty() && bob.list("sent").await.is_empty());
}

#[tokio::test]
async fn h05_somebody_elses_message_is_not_there() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    bob.send(
        &note("bob@bar.test", "carol@bar.test", "1"),
        &[&["carol@bar.test"]],
    )
    .await;
    let theirs = carol.holds("inbox", 1).await;
    let ask = async |path: String| bob.ask(Method::GET, &path, Body::empty()).await;
    let foreign = ask(format!("/api/v1/messages/{}", theirs[0].id)).await;
    let missing = ask("/api/v1/messages/01890000-0000-7000-8000-000000000000".to_owned()).await;
    assert_eq!(foreign.0, StatusCode::NOT_FOUND);
    assert_eq!(foreign, missing);
    let sideways = ask(format!("/api/v1/messages/..%2Fcarol@bar.test%2F{}", theirs[0].id)).await;
    assert_eq!(sideways.0, StatusCode::NOT_FOUND);
    assert!(carol.queue().await.is_empty(), "the queue is its sender's");
}

#[tokio::test]
async fn h06_pages_are_bounded_and_newest_first() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let bob = bar.user("bob").await;
    for number in 0..5 {
        let message = note("bob@bar.test", "bob@bar.test", &number.to_string());
        bob.send(&message, &[&["bob@bar.test"]]).await;
        bob.holds("inbox", number + 1).await;
    }
    let page = async |query: &str| {
        let path = format!("/api/v1/messages?{query}");
        let (status, body) = bob.ask(Method::GET, &path, Body::empty()).await;
        assert_eq!(status, StatusCode::OK, "{query}");
        let messages: Vec<cargomail_node::api::Message> = serde_json::from_slice(&body).unwrap();
        messages
    };
    let shown = |messages: &[cargomail_node::api::Message]| -> Vec<String> {
        messages
            .iter()
            .map(|message| message.message_id.clone())
            .collect()
    };
    let first = page("folder=inbox&limit=2").await;
    assert_eq!(shown(&first), ["<4@bar.test>", "<3@bar.test>"]);
    let next = page(&format!("limit=2&after={}", first[1].id)).await;
    assert_eq!(shown(&next), ["<2@bar.test>", "<1@bar.test>"]);
    assert_eq!(page("limit=1000000000").await.len(), 5);
    for bad in ["folder=trash", "limit=-1", "limit=x", "after=x", "other=1"] {
        let path = format!("/api/v1/messages?{bad}");
        let (status, _) = bob.ask(Method::GET, &path, Body::empty()).await;
        assert!(status.is_client_error(), "{bad}: {status}");
    }
}

#[tokio::test]
async fn a_domain_without_a_web_channel_gets_smtp() {
    let world = World::new().await;
    let bar = Node::start(
        &world,
        "bar.test",
        Setting {
            web: false,
            ..Setting::default()
        },
    )
    .await;
    let foo = Node::start(
        &world,
        "foo.test",
        Setting {
            smtp_port: bar.smtp.port(),
            ..Setting::default()
        },
    )
    .await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    alice
        .send(
            &note("alice@foo.test", "bob@bar.test", "1"),
            &[&["bob@bar.test", "nobody@bar.test"]],
        )
        .await;
    let inbox = bob.holds("inbox", 1).await;
    let raw = bob.raw(&inbox[0].id).await;
    assert!(
        raw.contains("DKIM-Signature:") && raw.contains("Authentication-Results:"),
        "{raw}"
    );
    let sent = alice.sent().await;
    let states: Vec<Delivery> = sent.iter().map(|entry| entry.delivery).collect();
    assert_eq!(states, [Delivery::Accepted, Delivery::Refused]);
    let report = alice.holds("inbox", 1).await;
    assert!(alice.raw(&report[0].id).await.contains("Status: 5.1.1"));
}

#[tokio::test]
async fn q11_a_web_channel_that_stays_away_is_replaced_by_smtp_and_never_where_that_is_forbidden() {
    let world = World::new().await;
    let bar = Node::start(
        &world,
        "bar.test",
        Setting {
            web: false,
            ..Setting::default()
        },
    )
    .await;
    // the record stands, nobody answers: the port is taken, and not listened at
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind(crate::rig::ANYWHERE).unwrap();
    world.serve("bar.test", silent.local_addr().unwrap().port());
    let foo = Node::start(
        &world,
        "foo.test",
        Setting {
            smtp_port: bar.smtp.port(),
            ..Setting::default()
        },
    )
    .await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let strict = note("alice@foo.test", "bob@bar.test", "web-only");
    let to: &[&[&str]] = &[&["bob@bar.test"]];
    let (status, _) = alice.try_send(&strict, to, Some(Channel::Web)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    alice.send(&note("alice@foo.test", "bob@bar.test", "1"), to).await;
    let inbox = bob.holds("inbox", 1).await;
    assert_eq!(inbox[0].message_id, "<1@foo.test>");
    // what has arrived there may be noted here a moment later
    let waiting = until("one waits alone", async || {
        let mut queue = alice.queue().await;
        queue.retain(|entry| entry.delivery == Delivery::Waiting);
        (queue.len() < 2).then_some(queue)
    })
    .await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].message_id, "<web-only@foo.test>");
    assert_eq!(waiting[0].recipient, address("bob@bar.test"));
}

#[tokio::test]
async fn web_only_mail_for_a_domain_without_a_web_channel_comes_back() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", over(Channel::Web)).await;
    let alice = foo.user("alice").await;
    alice
        .send(&Letter::new("1").bytes(), &[&["bob@nowhere.test"]])
        .await;
    let sent = alice.sent().await;
    assert_eq!(sent[0].delivery, Delivery::Refused);
    let report = alice.holds("inbox", 1).await;
    assert!(alice.raw(&report[0].id).await.contains("Status: 5.4.4"));
}

#[tokio::test]
async fn a_resource_mailbox_at_the_domains_own_name_is_no_web_channel() {
    let world = World::new().await;
    let without = Setting {
        web: false,
        ..Setting::default()
    };
    let bar = Node::start(&world, "bar.test", without).await;
    let mailbox = Agent::start(&world, "bar.test", Says::Takes(JobState::Stored)).await;
    let smtp = Setting {
        smtp_port: bar.smtp.port(),
        ..Setting::default()
    };
    let foo = Node::start(&world, "foo.test", smtp).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let to: &[&[&str]] = &[&["bob@bar.test"]];
    alice.send(&note("alice@foo.test", "bob@bar.test", "1"), to).await;
    let inbox = bob.holds("inbox", 1).await;
    assert!(bob.raw(&inbox[0].id).await.contains("by bar.test with ESMTP"));
    let strict = note("alice@foo.test", "bob@bar.test", "2");
    alice.try_send(&strict, to, Some(Channel::Web)).await;
    let report = alice.holds("inbox", 1).await;
    assert!(alice.raw(&report[0].id).await.contains("Status: 5.4.4"));
    mailbox.stop().await;
}

#[tokio::test]
async fn new_mail_is_told_by_server_sent_events() {
    use cargomail_node::accounts::{Caller, During};
    use futures::StreamExt;
    use tower::ServiceExt;
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let session = bar.accounts.log_in(&carol.whose, "a password").await.unwrap();
    let router = bar
        .broker
        .user_routes()
        .layer(axum::Extension(During::session(&bar.accounts, &session.0)))
        .layer(axum::Extension(Caller(carol.whose.clone())));
    let request = http::Request::get("/api/v1/events").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut events = response.into_body().into_data_stream();
    bob.send(&note("bob@bar.test", "bob@bar.test", "own"), &[&["bob@bar.test"]])
        .await;
    bob.send(
        &note("bob@bar.test", "carol@bar.test", "1"),
        &[&["carol@bar.test"]],
    )
    .await;
    let told = until("carol is told", async || {
        let chunk = events.next().await.unwrap().unwrap();
        let text = String::from_utf8(chunk.to_vec()).unwrap();
        text.starts_with("event: message").then_some(text)
    })
    .await;
    assert!(told.contains("<1@bar.test>") && !told.contains("own"), "{told}");
    // Whoever has taken her session hears nothing more once she has another password.
    bar.accounts.set(&carol.whose, "another", None).await.unwrap();
    bob.send(
        &note("bob@bar.test", "carol@bar.test", "2"),
        &[&["carol@bar.test"]],
    )
    .await;
    while let Some(chunk) = events.next().await {
        let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
        assert!(!text.contains("<2@bar.test>"), "{text}");
    }
}
