//! The web channel and notifications over streams of libp2p: between brokers and agents to which no server leads, and with strangers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cargomail_node::api::{Channel, Delivery};
use cargomail_node::https::{self, Client, HttpsError};
use cargomail_node::identity::Identity;
use cargomail_node::network::AddressPolicy;
use cargomail_node::peers::{Host, HostOptions, PeerAddress, Peers, Spoken};
use cargomail_protocol::channel;
use cargomail_protocol::grip::{self, Digest, NodeKey};
use cargomail_protocol::limits;
use cargomail_protocol::notification::JobState;
use http::{Method, Request, StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::agents::{Agent, Says};
use crate::rig::{
    ANYWHERE, Letter, Node, PLACES, SILENCE, Setting, Streams, World, address, domain, note, peer, stamp,
};

/// A broker to which only streams lead.
fn at_home() -> Setting {
    Setting {
        channel: Channel::Web,
        web: false,
        streams: Streams::Served,
        ..Setting::default()
    }
}

/// A broker with a server, which opens streams.
fn outside() -> Setting {
    Setting {
        channel: Channel::Web,
        streams: Streams::Opened,
        ..Setting::default()
    }
}

/// A broker as bar.test sees a stranger: a key, which is a peer's, and the names that it is bound to.
struct Stranger {
    key: NodeKey,
    host: Host,
    client: Client,
}

impl Stranger {
    async fn new(world: &World, seed: u8, bound: &[&str]) -> Self {
        let identity = Identity::from_seed(&[seed; 32]);
        for name in bound {
            world.bind(&format!("_cb.{name}"), &identity);
        }
        let host = peer(&identity, &[]).await;
        Self {
            key: NodeKey::from_seed(identity.seed()).unwrap(),
            client: world.client().with_peers(Arc::new(host.clone())),
            host,
        }
    }

    fn token(&self, sender: &str, message: &[u8]) -> String {
        let (bar, to) = (domain("bar.test"), vec![address("bob@bar.test")]);
        channel::token(
            &self.key,
            &address(sender),
            &bar,
            to,
            Digest::of(message),
            stamp(),
        )
        .unwrap()
    }

    async fn post(&self, bar: &Node, token: &str, message: &[u8]) -> Result<(StatusCode, Bytes), HttpsError> {
        let at = bar.host.as_ref().unwrap().addresses();
        self.post_at(at, token, message).await
    }

    async fn post_at(
        &self,
        at: Vec<PeerAddress>,
        token: &str,
        message: &[u8],
    ) -> Result<(StatusCode, Bytes), HttpsError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(channel::PATH)
            .header(header::CONTENT_TYPE, channel::MESSAGE_TYPE)
            .header(header::AUTHORIZATION, grip::authorization(token))
            .body(Body::from(message.to_vec()))
            .unwrap();
        let response = self.client.send_to_peer(&domain("bar.test"), at, request).await?;
        let status = response.status();
        Ok((status, https::read(response.into_body(), 1 << 20).await?))
    }

    async fn give(&self, bar: &Node, sender: &str, message: &[u8]) -> StatusCode {
        let token = self.token(sender, message);
        self.post(bar, &token, message).await.unwrap().0
    }
}

#[tokio::test]
async fn a_message_reaches_a_broker_to_which_only_a_stream_leads_and_is_signed_for() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", outside()).await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    for number in ["1", "2", "3"] {
        let message = note("alice@foo.test", "bob@bar.test", number);
        alice.send(&message, &[&["bob@bar.test"]]).await;
    }
    let inbox = bob.holds("inbox", 3).await;
    let raw = bob.raw(&inbox[0].id).await;
    assert!(
        raw.starts_with("Received: from _cb.foo.test by bar.test with LIBP2P"),
        "{raw}"
    );
    let sent = alice.sent().await;
    assert!(
        sent.iter().all(|entry| entry.delivery == Delivery::Accepted),
        "{sent:?}"
    );
    let mut receipts = 0;
    foo.ledger.verify(|_| receipts += 1).await.unwrap();
    assert_eq!(receipts, 3);
    // And back, to a broker that has both.
    let answer = note("bob@bar.test", "alice@foo.test", "4");
    bob.send(&answer, &[&["alice@foo.test"]]).await;
    let inbox = alice.holds("inbox", 1).await;
    assert!(alice.raw(&inbox[0].id).await.contains("with HTTPS"));
}

#[tokio::test]
async fn a_stream_is_opened_where_the_server_that_the_dns_names_stays_away() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", outside()).await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    // Nobody listens at that port.
    world.serve("bar.test", 1);
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let message = note("alice@foo.test", "bob@bar.test", "1");
    alice.send(&message, &[&["bob@bar.test"]]).await;
    let inbox = bob.holds("inbox", 1).await;
    assert!(bob.raw(&inbox[0].id).await.contains("with LIBP2P"));
    // Where there is one, it is asked.
    world.serve("bar.test", bar.port);
    let message = note("alice@foo.test", "bob@bar.test", "2");
    alice.send(&message, &[&["bob@bar.test"]]).await;
    let inbox = bob.holds("inbox", 2).await;
    assert!(bob.raw(&inbox[0].id).await.contains("with HTTPS"));
}

#[tokio::test]
async fn a_notification_and_the_questions_about_its_job_go_over_streams() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", outside()).await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    bob.wishes(r#"{"default":["mailbox.insurance.test"]}"#).await;
    let retrieving = Says::Takes(JobState::Retrieving { bytes: 1, of: 2 });
    let insurance = Agent::start_at_peer(&world, "mailbox.insurance.test", retrieving).await;
    let letter = Letter::new("1");
    alice.send(&letter.bytes(), &[&["bob@bar.test"]]).await;
    let inbox = bob.holds("inbox", 1).await;
    let placeholder = inbox[0].placeholder.clone().unwrap();
    assert_eq!(
        placeholder.destination.unwrap().as_str(),
        "mailbox.insurance.test"
    );
    assert_eq!(insurance.told()[0].message_id, letter.id);
    crate::rig::until("it was asked twice", async || {
        (insurance.asked() >= 2).then_some(())
    })
    .await;
    insurance.stop().await;
}

#[tokio::test]
async fn l03_nothing_is_said_to_a_peer_whose_key_is_not_pinned() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    bar.user("bob").await;
    let foo = Stranger::new(&world, 7, &["foo.test"]).await;
    let mallory = peer(&Identity::from_seed(&[66; 32]), &[Spoken::Grip]).await;
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let token = foo.token("alice@foo.test", &message);
    let refused = foo.post_at(mallory.addresses(), &token, &message).await;
    assert!(matches!(refused, Err(HttpsError::WrongPin { .. })), "{refused:?}");
    // Where mallory says that she is bar.test's peer, the handshake fails.
    let PeerAddress(hers) = mallory.addresses().remove(0);
    let PeerAddress(true_one) = bar.host.as_ref().unwrap().addresses().remove(0);
    let (place, _) = hers.rsplit_once('/').unwrap();
    let (_, name) = true_one.rsplit_once('/').unwrap();
    let lie = vec![PeerAddress(format!("{place}/{name}"))];
    let refused = foo.post_at(lie, &token, &message).await;
    assert!(matches!(refused, Err(HttpsError::Peer { .. })), "{refused:?}");
    // Without any pin no peer is believed, as a server would be by the web PKI.
    world.zone.remove("_grip.bar.test");
    let refused = foo.post(&bar, &token, &message).await;
    assert!(matches!(refused, Err(HttpsError::WrongPin { .. })), "{refused:?}");
    let heard = tokio::time::timeout(Duration::from_millis(200), mallory.accept(Spoken::Grip));
    assert!(heard.await.is_err(), "mallory heard something");
}

#[tokio::test]
async fn t05_a_token_over_the_stream_of_another_key_is_refused() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    let bob = bar.user("bob").await;
    let foo = Stranger::new(&world, 7, &["foo.test"]).await;
    // Both keys are bound to the name for which the token speaks.
    let second = Stranger::new(&world, 66, &["foo.test", "evil.test"]).await;
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let token = foo.token("alice@foo.test", &message);
    let (status, body) = second.post(&bar, &token, &message).await.unwrap();
    assert_eq!((status, body.len()), (StatusCode::UNAUTHORIZED, 0));
    let (status, _) = foo.post(&bar, &token, &message).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let (status, _) = foo.post(&bar, &token, &message).await.unwrap();
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a token is taken once");
    bob.holds("inbox", 1).await;
}

#[tokio::test]
async fn t03_a_stream_claims_no_name_so_the_key_has_to_be_bound_at_the_issuer() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    let bob = bar.user("bob").await;
    // One key speaks for two domains, as no certificate could.
    let both = Stranger::new(&world, 7, &["foo.test", "clinic.test"]).await;
    for (sender, id) in [("alice@foo.test", "1"), ("alice@clinic.test", "2")] {
        let message = note(sender, "bob@bar.test", id);
        assert_eq!(
            both.give(&bar, sender, &message).await,
            StatusCode::OK,
            "{sender}"
        );
    }
    let message = note("alice@evil.test", "bob@bar.test", "3");
    let status = both.give(&bar, "alice@evil.test", &message).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // And somebody whose key is bound to nothing.
    let nobody = Stranger::new(&world, 8, &[]).await;
    let message = note("alice@foo.test", "bob@bar.test", "4");
    let status = nobody.give(&bar, "alice@foo.test", &message).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(bob.list("inbox").await.len(), 2);
}

#[tokio::test]
async fn h01_a_message_that_is_too_large_is_refused_on_a_stream_too() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    let bob = bar.user("bob").await;
    let foo = Stranger::new(&world, 7, &["foo.test"]).await;
    let mut message = note("alice@foo.test", "bob@bar.test", "1");
    message.resize(limits::PLACEHOLDER + 1, b'x');
    let status = foo.give(&bar, "alice@foo.test", &message).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    message.truncate(limits::PLACEHOLDER);
    assert_eq!(foo.give(&bar, "alice@foo.test", &message).await, StatusCode::OK);
    bob.holds("inbox", 1).await;
}

#[tokio::test]
async fn h01_a_header_without_end_and_what_is_no_http_are_hung_up_on() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    let eve = Stranger::new(&world, 66, &[]).await;
    let at = bar.host.as_ref().unwrap().addresses();
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(64 * 1024));
    for said in [endless.as_bytes(), b"\x00\x01\x02 no HTTP\r\n\r\n"] {
        let mut stream = eve.host.open(Spoken::Grip, &at).await.unwrap();
        let _ = stream.io.write_all(said).await;
        let _ = stream.io.flush().await;
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.io.read_to_end(&mut heard));
        let _ = ended.await.expect("the stream ends");
        assert!(!heard.starts_with(b"HTTP/1.1 2"));
    }
}

#[tokio::test]
async fn h01_l02_silent_streams_of_one_peer_are_bounded_cut_off_and_delay_nobody_else() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    let bob = bar.user("bob").await;
    let (foo, eve) = (
        Stranger::new(&world, 7, &["foo.test"]).await,
        Stranger::new(&world, 66, &["evil.test"]).await,
    );
    let first = note("alice@foo.test", "bob@bar.test", "1");
    assert_eq!(foo.give(&bar, "alice@foo.test", &first).await, StatusCode::OK);
    let at = bar.host.as_ref().unwrap().addresses();
    let mut silent = Vec::new();
    for _ in 0..2 * PLACES {
        silent.push(eve.host.open(Spoken::Grip, &at).await.unwrap());
    }
    let second = note("alice@foo.test", "bob@bar.test", "2");
    let giving = foo.give(&bar, "alice@foo.test", &second);
    let given = tokio::time::timeout(SILENCE, giving).await;
    assert_eq!(given.expect("eve keeps nobody else out"), StatusCode::OK);
    bob.holds("inbox", 2).await;
    // Eve's own request waits for its turn, until those before it are cut off.
    let hers = note("eve@evil.test", "bob@bar.test", "3");
    let status = eve.give(&bar, "eve@evil.test", &hers).await;
    assert_eq!(status, StatusCode::OK);
    for mut stream in silent {
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(4 * SILENCE, stream.io.read_to_end(&mut heard));
        let _ = ended.await.expect("a silent stream is cut off");
        assert!(!heard.starts_with(b"HTTP/1.1 2"));
    }
}

#[tokio::test]
async fn q02_a_peer_that_takes_streams_and_never_answers_delays_nobody_else() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", outside()).await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    let mute = Identity::from_seed(&[66; 32]);
    let host = peer(&mute, &[Spoken::Grip]).await;
    world.bind("_grip.mute.test", &mute);
    world.leads("mute.test", &host.addresses());
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    for number in 0..20 {
        let message = note("alice@foo.test", "bob@mute.test", &format!("mute{number}"));
        alice.send(&message, &[&["bob@mute.test"]]).await;
    }
    // So many are held open there at once as one destination may have, and nothing comes back.
    let _held = host.accept(Spoken::Grip).await.unwrap();
    let message = note("alice@foo.test", "bob@bar.test", "1");
    alice.send(&message, &[&["bob@bar.test"]]).await;
    bob.holds("inbox", 1).await;
}

#[tokio::test]
async fn a_peer_that_speaks_only_the_exchange_is_no_server() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", outside()).await;
    let key = Identity::from_seed(&[9; 32]);
    let host = peer(&key, &[Spoken::Exchange]).await;
    world.bind("_grip.bar.test", &key);
    world.leads("bar.test", &host.addresses());
    let alice = foo.user("alice").await;
    let message = note("alice@foo.test", "bob@bar.test", "1");
    alice.send(&message, &[&["bob@bar.test"]]).await;
    let sent = alice.sent().await;
    assert_eq!(sent[0].delivery, Delivery::Refused);
    assert!(sent[0].last.contains("/cargomail/grip/1.0.0"), "{}", sent[0].last);
}

#[tokio::test]
async fn d04_a_peer_address_within_this_machine_is_not_dialled_for_a_message() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", at_home()).await;
    let foo = Stranger::new(&world, 7, &["foo.test"]).await;
    let options = HostOptions {
        tcp: Some(ANYWHERE),
        policy: AddressPolicy::public(),
        ..HostOptions::default()
    };
    let strict = Host::start(&Identity::from_seed(&[7; 32]), options)
        .await
        .unwrap();
    let strict = Stranger {
        client: world.client().with_peers(Arc::new(strict.clone())),
        host: strict,
        key: foo.key,
    };
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let token = strict.token("alice@foo.test", &message);
    let refused = strict.post(&bar, &token, &message).await.unwrap_err();
    assert!(refused.to_string().contains("no usable address"), "{refused}");
}
