//! What comes by the web channel: who is believed, and what is done once.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use bytes::Bytes;
use cargomail_node::https::{self, Client};
use cargomail_node::identity::Identity;
use cargomail_node::store::Op;
use cargomail_protocol::channel::{self, Answer, Batch, Outcome, Parcel};
use cargomail_protocol::grip::{self, Digest, Expectation, KeyHash, NodeKey, Proved};
use cargomail_protocol::limits;
use cargomail_protocol::notification::JobState;
use data_encoding::BASE64URL_NOPAD;
use futures::{StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt;

use crate::agents::{Agent, Says};
use crate::rig::{Letter, Node, Setting, World, address, clock, domain, note, stamp};

/// foo.test as a stranger sees it: a key, a name in the DNS, and a client.
struct Foo {
    key: NodeKey,
    client: Client,
}

impl Foo {
    fn new(world: &World) -> Self {
        let identity = Identity::from_seed(&[7; 32]);
        world.bind("_cb.foo.test", &identity);
        Self {
            key: NodeKey::from_seed(identity.seed()).unwrap(),
            client: world.client_of("foo.test", &identity),
        }
    }

    fn token(&self, message: &[u8], recipients: &[&str]) -> String {
        let recipients = recipients.iter().map(|text| address(text)).collect();
        let (alice, bar) = (address("alice@foo.test"), domain("bar.test"));
        channel::token(&self.key, &alice, &bar, recipients, Digest::of(message), stamp()).unwrap()
    }

    async fn post(&self, bar: &Node, token: &str, message: &[u8]) -> (StatusCode, Bytes) {
        post(
            &self.client,
            bar,
            Some(token),
            channel::MESSAGE_TYPE,
            message.to_vec(),
        )
        .await
    }

    async fn give(&self, bar: &Node, message: &[u8], recipients: &[&str]) -> (StatusCode, Bytes) {
        let token = self.token(message, recipients);
        self.post(bar, &token, message).await
    }
}

async fn post(
    client: &Client,
    bar: &Node,
    token: Option<&str>,
    kind: &str,
    body: Vec<u8>,
) -> (StatusCode, Bytes) {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(channel::PATH)
        .header(header::CONTENT_TYPE, kind);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, grip::authorization(token));
    }
    let request = request.body(Body::from(body)).unwrap();
    let response = client.send(&bar.server(), request).await.unwrap();
    let status = response.status();
    (status, https::read(response.into_body(), 1 << 20).await.unwrap())
}

/// The outcomes in a receipt, once it is verified as foo.test verifies it.
async fn outcomes(world: &World, body: &[u8], token: &str, message: &[u8]) -> Vec<Outcome> {
    let Answer::Receipt(receipt) = Answer::parse(body).unwrap() else {
        panic!("no receipt");
    };
    let disk = tempfile::tempdir().unwrap();
    let store = cargomail_node::store::Embedded::open(disk.path(), Default::default())
        .await
        .unwrap();
    let verifier = cargomail_node::grip::Verifier::new(world.dns.clone(), store.records(), clock());
    let expectation = Expectation::channel_receipt(
        domain("foo.test"),
        &domain("bar.test"),
        token,
        Digest::of(message),
    );
    let chain = verifier.verify(expectation, &receipt).await.unwrap();
    channel::results(&chain)
        .into_iter()
        .map(|(_, outcome)| outcome)
        .collect()
}

/// The same token with other claims, signed by the same key.
fn forged(key: &NodeKey, token: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut parts = token.split('.');
    let header = parts.next().unwrap();
    let claims = BASE64URL_NOPAD.decode(parts.next().unwrap().as_bytes()).unwrap();
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    change(&mut claims);
    let claims = BASE64URL_NOPAD.encode(&serde_json::to_vec(&claims).unwrap());
    let signed = format!("{header}.{claims}");
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn each_recipient_has_an_outcome_in_a_signed_receipt() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let bob = bar.user("bob").await;
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let token = foo.token(&message, &["bob@bar.test", "nobody@bar.test"]);
    let (status, body) = foo.post(&bar, &token, &message).await;
    assert_eq!(status, StatusCode::OK);
    let outcomes = outcomes(&world, &body, &token, &message).await;
    let shown: Vec<String> = outcomes.iter().map(Outcome::to_string).collect();
    assert_eq!(shown, ["accepted", "refused 5.1.1"]);
    let inbox = bob.holds("inbox", 1).await;
    assert_eq!(inbox[0].subject, "lunch?");
    assert_eq!(inbox[0].message_id, "<1@foo.test>");
    let raw = bob.raw(&inbox[0].id).await;
    assert!(
        raw.starts_with("Received: from _cb.foo.test by bar.test with HTTPS"),
        "{raw}"
    );
    assert!(raw.ends_with(std::str::from_utf8(&message).unwrap()));
}

#[tokio::test]
async fn t05_a_stranger_with_a_valid_certificate_is_refused() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let bob = bar.user("bob").await;
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let token = foo.token(&message, &["bob@bar.test"]);
    // eve's own certificate is in order, and in the DNS; the token is foo.test's
    let eve = Identity::from_seed(&[66; 32]);
    world.bind("_cb.evil.test", &eve);
    let kind = channel::MESSAGE_TYPE;
    for name in ["evil.test", "foo.test"] {
        let client = world.client_of(name, &eve);
        let (status, body) = post(&client, &bar, Some(&token), kind, message.clone()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}");
        assert!(body.is_empty(), "a stranger learns nothing");
    }
    // a name of her own, signed by her own key that nobody published
    let unknown = Identity::from_seed(&[67; 32]);
    let key = NodeKey::from_seed(unknown.seed()).unwrap();
    let (mallory, bar_test) = (address("mallory@nowhere.test"), domain("bar.test"));
    let to = vec![address("bob@bar.test")];
    let own = channel::token(&key, &mallory, &bar_test, to, Digest::of(&message), stamp()).unwrap();
    let client = world.client_of("nowhere.test", &unknown);
    let (status, _) = post(&client, &bar, Some(&own), kind, message.clone()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, _) = post(&foo.client, &bar, None, kind, message.clone()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "no token");
    let (status, _) = foo.post(&bar, &token, &message).await;
    assert_eq!(status, StatusCode::OK, "foo.test itself is still believed");
    bob.holds("inbox", 1).await;
}

#[tokio::test]
async fn t09_a_broker_speaks_for_its_own_users_only() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let bob = bar.user("bob").await;
    for subject in [
        "alice@baz.test",
        "alice@evilfoo.test",
        "alice@mail.foo.test",
        "alice@foo.test.evil.test",
    ] {
        let message = note(subject, "bob@bar.test", "1");
        let token = foo.token(&message, &["bob@bar.test"]);
        let token = forged(&foo.key, &token, |claims| claims["sub"] = subject.into());
        let (status, _) = foo.post(&bar, &token, &message).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{subject}");
    }
    assert!(bob.list("inbox").await.is_empty());
    // whom of its own users it names is its business
    for author in ["sales@foo.test", "Alice@foo.test"] {
        let message = note(author, "bob@bar.test", author);
        let (status, _) = foo.give(&bar, &message, &["bob@bar.test"]).await;
        assert_eq!(status, StatusCode::OK, "{author}");
    }
    bob.holds("inbox", 2).await;
}

#[tokio::test]
async fn s10_an_author_for_whom_the_broker_does_not_speak_is_not_believed() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let agent = Agent::start(&world, "mailbox.insurance.test", Says::Takes(JobState::Stored)).await;
    let bob = bar.user("bob").await;
    bob.wishes(r#"{"default":["mailbox.insurance.test"]}"#).await;
    let letter = Letter {
        from: "ceo@baz.test".to_owned(),
        ..Letter::new("1")
    };
    for message in [letter.bytes(), note("ceo@mail.foo.test", "bob@bar.test", "2")] {
        let (status, _) = foo.give(&bar, &message, &["bob@bar.test"]).await;
        assert_eq!(status, StatusCode::OK);
    }
    bob.holds("junk", 2).await;
    assert!(bob.list("inbox").await.is_empty() && agent.told().is_empty());
    // nor does it occupy the place of the author's own
    let baz = Node::start(&world, "baz.test", Setting::default()).await;
    let ceo = baz.user("ceo").await;
    ceo.send(&letter.bytes(), &[&["bob@bar.test"]]).await;
    bob.holds("inbox", 1).await;
    assert_eq!(agent.told().len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn t07_a_replayed_token_is_refused_after_a_restart_too() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    bar.user("bob").await;
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let token = foo.token(&message, &["bob@bar.test"]);
    assert_eq!(foo.post(&bar, &token, &message).await.0, StatusCode::OK);
    assert_eq!(foo.post(&bar, &token, &message).await.0, StatusCode::UNAUTHORIZED);
    let bar = bar.stop().await.start(&world).await;
    assert_eq!(foo.post(&bar, &token, &message).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn q03_the_same_message_again_has_the_same_answer_and_is_delivered_once() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let message = note("alice@foo.test", "bob@bar.test", "1");
    {
        let bob = bar.user("bob").await;
        for _ in 0..3 {
            let token = foo.token(&message, &["bob@bar.test"]);
            let (status, body) = foo.post(&bar, &token, &message).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(
                outcomes(&world, &body, &token, &message).await,
                [Outcome::Accepted]
            );
        }
        let again = (0..8).map(|_| foo.give(&bar, &message, &["bob@bar.test", "Bob@bar.test"]));
        for (status, _) in futures::future::join_all(again).await {
            assert_eq!(status, StatusCode::OK);
        }
        bob.holds("inbox", 1).await;
    }
    let bar = bar.stop().await.start(&world).await;
    let bob = bar.user("bob").await;
    assert_eq!(
        foo.give(&bar, &message, &["bob@bar.test"]).await.0,
        StatusCode::OK
    );
    // what comes behind it shows that the queue has passed it
    let next = note("alice@foo.test", "bob@bar.test", "2");
    assert_eq!(foo.give(&bar, &next, &["bob@bar.test"]).await.0, StatusCode::OK);
    bob.holds("inbox", 2).await;
}

#[tokio::test]
async fn s10_m02_a_message_with_two_meanings_is_refused() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let bob = bar.user("bob").await;
    let letter = String::from_utf8(Letter::new("1").bytes()).unwrap();
    let twice = format!("From: bob@bar.test\r\n{letter}");
    let (status, _) = foo.give(&bar, twice.as_bytes(), &["bob@bar.test"]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "two authors");
    let tree = letter.replace(
        "X-Cargomail-Structure:",
        "X-Cargomail-Structure: mixed(1 1)\r\nX-Was:",
    );
    let (status, _) = foo.give(&bar, tree.as_bytes(), &["bob@bar.test"]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "an ambiguous structure");
    let bare = letter.replace("Subject:", "X: a\nY: b\r\nSubject:");
    let (status, _) = foo.give(&bar, bare.as_bytes(), &["bob@bar.test"]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "a bare line feed");
    for ordinary in [
        "From: alice@foo.test, bob@bar.test\r\nMessage-ID: <2@foo.test>\r\n\r\n",
        "Message-ID: <2@foo.test>\r\n\r\n",
    ] {
        let (status, _) = foo.give(&bar, ordinary.as_bytes(), &["bob@bar.test"]).await;
        assert_eq!(status, StatusCode::OK, "{ordinary:?}");
    }
    bob.holds("junk", 2).await;
    assert!(bob.list("inbox").await.is_empty(), "nobody is its author");
}

#[tokio::test]
async fn s09_a_message_that_goes_in_circles_is_refused() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let bob = bar.user("bob").await;
    let message = String::from_utf8(note("alice@foo.test", "bob@bar.test", "1")).unwrap();
    let hops = |count: usize| format!("{}{message}", "Received: from a by b; now\r\n".repeat(count));
    let (status, _) = foo
        .give(&bar, hops(limits::HOPS + 1).as_bytes(), &["bob@bar.test"])
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = foo
        .give(&bar, hops(limits::HOPS).as_bytes(), &["bob@bar.test"])
        .await;
    assert_eq!(status, StatusCode::OK);
    bob.holds("inbox", 1).await;
}

#[tokio::test]
async fn a_forged_destination_and_forged_results_are_removed() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let agent = Agent::start(&world, "mailbox.insurance.test", Says::Takes(JobState::Stored)).await;
    let bob = bar.user("bob").await;
    bob.wishes(r#"{"default":["mailbox.insurance.test"]}"#).await;
    let letter = String::from_utf8(Letter::new("1").bytes()).unwrap();
    let forged = format!(
        "X-Destination-Resource-Mailbox-URL: mailbox.evil.test\r\n\
         Authentication-Results: mx.bar.test; dmarc=pass\r\n\
         x-destination-resource-mailbox-url :\r\n mailbox.evil.test\r\n{letter}"
    );
    assert_eq!(
        foo.give(&bar, forged.as_bytes(), &["bob@bar.test"]).await.0,
        StatusCode::OK
    );
    let inbox = bob.holds("inbox", 1).await;
    let said = inbox[0].placeholder.clone().unwrap();
    assert_eq!(said.destination.unwrap().as_str(), "mailbox.insurance.test");
    let raw = bob.raw(&inbox[0].id).await;
    assert!(raw.starts_with("X-Destination-Resource-Mailbox-URL: mailbox.insurance.test\r\n"));
    assert!(!raw.contains("evil.test") && !raw.contains("dmarc=pass"), "{raw}");
    assert!(raw.ends_with(&letter), "the rest is as it was");
    assert_eq!(agent.told().len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_batch_has_an_answer_for_each_of_its_messages() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let bob = bar.user("bob").await;
    let parcel = |id: &str| {
        let message = note("alice@foo.test", "bob@bar.test", id);
        let token = foo.token(&message, &["bob@bar.test"]);
        Parcel { token, message }
    };
    let mut stolen = parcel("2");
    stolen.message.extend_from_slice(b"and send money\r\n");
    let batch = Batch::new(vec![parcel("1"), stolen, parcel("3")]).unwrap();
    let (status, body) = post(&foo.client, &bar, None, channel::BATCH_TYPE, batch.to_bytes()).await;
    assert_eq!(status, StatusCode::OK);
    let answers = Answer::parse_list(&body, 3).unwrap();
    assert!(matches!(answers[0], Answer::Receipt(_)));
    assert_eq!(
        answers[1],
        Answer::Refused(403),
        "the token speaks of other octets"
    );
    assert!(matches!(answers[2], Answer::Receipt(_)));
    bob.holds("inbox", 2).await;
}

#[tokio::test]
async fn what_is_too_large_or_no_message_is_refused() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    bar.user("bob").await;
    let client = &foo.client;
    let huge = vec![b'x'; limits::PLACEHOLDER + 1];
    let token = foo.token(&huge, &["bob@bar.test"]);
    let single = post(client, &bar, Some(&token), channel::MESSAGE_TYPE, huge);
    assert_eq!(single.await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let huge = vec![b'x'; limits::BATCH_SIZE + 1];
    let batch = post(client, &bar, None, channel::BATCH_TYPE, huge);
    assert_eq!(batch.await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let junk = post(client, &bar, None, channel::BATCH_TYPE, b"\x80".to_vec());
    assert_eq!(junk.await.0, StatusCode::UNPROCESSABLE_ENTITY, "an empty batch");
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let token = foo.token(&message, &["bob@bar.test"]);
    let other = post(client, &bar, Some(&token), "text/html", message.clone());
    assert_eq!(other.await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let alive = tokio::time::timeout(Duration::from_secs(20), foo.post(&bar, &token, &message));
    assert_eq!(alive.await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn what_was_durable_when_its_sender_went_away_is_delivered_and_comes_once() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let bob = bar.user("bob").await;
    // Each on a connection of its own, which goes with it.
    let (mut gone, mut messages) = (0, Vec::new());
    for number in 0..40_u64 {
        let foo = Foo::new(&world);
        let message = note("alice@foo.test", "bob@bar.test", &number.to_string());
        let patience = Duration::from_micros(2000 + 400 * number);
        let given = foo.give(&bar, &message, &["bob@bar.test"]);
        gone += usize::from(tokio::time::timeout(patience, given).await.is_err());
        messages.push(message);
    }
    assert!(gone > 0, "nobody went away");
    let foo = Foo::new(&world);
    for message in &messages {
        assert_eq!(foo.give(&bar, message, &["bob@bar.test"]).await.0, StatusCode::OK);
    }
    bob.holds("inbox", messages.len()).await;
}

#[tokio::test]
async fn q03_the_answer_stays_the_same_when_the_recipient_is_no_longer_known() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    bar.user("bob").await;
    let both = ["bob@bar.test", "carol@bar.test"];
    let message = note("alice@foo.test", "bob@bar.test", "1");
    for _ in 0..2 {
        let token = foo.token(&message, &both);
        let (status, body) = foo.post(&bar, &token, &message).await;
        assert_eq!(status, StatusCode::OK);
        let outcomes = outcomes(&world, &body, &token, &message).await;
        assert_eq!(outcomes[0], Outcome::Accepted);
        assert_ne!(outcomes[1], Outcome::Accepted);
        for account in bar.store.records().list("account/", None, 9).await.unwrap() {
            let gone = Op::Delete(account.key);
            bar.store.records().commit(vec![], vec![gone]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn t07_what_is_replayed_or_repeated_leaves_nothing_on_the_disk() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    let bob = bar.user("bob").await;
    let mut letter = note("alice@foo.test", "bob@bar.test", "1");
    letter.extend(b"a line of a long letter\r\n".repeat(10_000));
    let token = foo.token(&letter, &["bob@bar.test"]);
    assert_eq!(foo.post(&bar, &token, &letter).await.0, StatusCode::OK);
    bob.holds("inbox", 1).await;
    let before = bar.store.statistics().await.unwrap().blocks;
    for _ in 0..3 {
        let replayed = foo.post(&bar, &token, &letter).await;
        assert_eq!(replayed.0, StatusCode::UNAUTHORIZED);
        let repeated = foo.give(&bar, &letter, &["bob@bar.test"]).await;
        assert_eq!(repeated.0, StatusCode::OK);
    }
    assert_eq!(bar.store.statistics().await.unwrap().blocks, before);
}

#[tokio::test]
async fn h01_a_message_that_comes_too_slowly_or_breaks_off_may_come_again() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    bar.user("bob").await;
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let begun = || stream::iter([Ok(Bytes::from_static(b"From: "))]);
    let stands = Body::from_stream(begun().chain(stream::pending::<std::io::Result<Bytes>>()));
    let late = Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let breaks = Body::from_stream(begun().chain(stream::iter([late])));
    let key = Identity::from_seed(&[7; 32]).spki_sha256();
    let proved = Proved::Certificate {
        key: KeyHash::from_bytes(key),
        name: "_cb.foo.test".to_owned(),
    };
    // Nothing is waited for but the time.
    tokio::time::pause();
    for body in [stands, breaks] {
        let request = Request::builder()
            .method(Method::POST)
            .uri(channel::PATH)
            .header(header::CONTENT_TYPE, channel::MESSAGE_TYPE)
            .header(
                header::AUTHORIZATION,
                grip::authorization(&foo.token(&message, &["bob@bar.test"])),
            )
            .body(body)
            .unwrap();
        let router = bar.broker.grip_routes().layer(Extension(proved.clone()));
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}

#[tokio::test]
async fn h01_bodies_that_are_only_announced_keep_nobody_out() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let foo = Foo::new(&world);
    bar.user("bob").await;
    let (client, server) = (foo.client.clone(), bar.server());
    let silent = (0..48).map(|_| {
        let (client, server) = (client.clone(), server.clone());
        tokio::spawn(async move {
            let body = Body::from_stream(futures::stream::pending::<std::io::Result<Bytes>>());
            let request = Request::builder()
                .method(Method::POST)
                .uri(channel::PATH)
                .header(header::CONTENT_TYPE, channel::BATCH_TYPE)
                .body(body)
                .unwrap();
            client.send(&server, request).await
        })
    });
    let silent: Vec<_> = silent.collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let given = foo.give(&bar, &message, &["bob@bar.test"]);
    let answered = tokio::time::timeout(Duration::from_secs(5), given).await;
    assert_eq!(answered.expect("room for it").0, StatusCode::OK);
    silent.into_iter().for_each(|silent| silent.abort());
}
