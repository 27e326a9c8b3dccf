//! Recipients whose domains have no Cargomail: who they are, and what goes to them.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use cargomail_node::api::{
    Channel, Delivery, DomainsView, MessagesUsage, NewMessage, OrdinaryMessage, Queued,
};
use cargomail_node::dns::{Answer, Dns, DnsError, Mx, Record, Srv};
use cargomail_protocol::notification::JobState;
use data_encoding::BASE64;
use http::{Method, StatusCode};

use crate::agents::{Agent, Says};
use crate::rig::{Letter, Node, Setting, User, World, address, domain, note};

/// The DNS, which says nothing about away.test.
struct Mute(Arc<dyn Dns>);

#[async_trait]
impl Dns for Mute {
    async fn txt(&self, name: &str) -> Result<Answer<String>, DnsError> {
        match name.ends_with("away.test") {
            true => Err(DnsError::Unavailable {
                name: name.to_owned(),
                kind: "TXT",
                why: "nobody answers".to_owned(),
            }),
            false => self.0.txt(name).await,
        }
    }
    async fn srv(&self, name: &str) -> Result<Answer<Srv>, DnsError> {
        self.0.srv(name).await
    }
    async fn mx(&self, name: &str) -> Result<Answer<Mx>, DnsError> {
        self.0.mx(name).await
    }
    async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, DnsError> {
        self.0.addresses(name).await
    }
}

async fn domains(user: &User<'_>, asked: &str) -> (StatusCode, Option<DomainsView>) {
    let (status, body) = user.ask(Method::POST, "/api/v1/domains", asked.to_owned()).await;
    (status, serde_json::from_slice(&body).ok())
}

#[tokio::test]
async fn a_domain_has_cargomail_when_its_broker_has_any_record_and_nobody_guesses() {
    let mut world = World::new().await;
    world.dns = Arc::new(Mute(world.dns.clone()));
    let foo = Node::start(&world, "foo.test", Setting::default()).await;
    world.publish(
        "_cb.withdrawn.test",
        Record::Txt("v=grip1; h=sha256; p=".to_owned()),
    );
    world.publish("_grip.key.test", Record::Txt("v=grip2; x=1".to_owned()));
    world.serve("server.test", 443);
    world.publish("_cb.text.test", Record::Txt("v=spf1 -all".to_owned()));
    world.bind("_cb.bar.test", &foo.key);
    let alice = foo.user("alice").await;
    let asked = r#"{"domains":["foo.test","bar.test","withdrawn.test","text.test","key.test","server.test","old.test","away.test"]}"#;
    let (status, known) = domains(&alice, asked).await;
    let all = |names: &[&str]| names.iter().map(|name| domain(name)).collect::<Vec<_>>();
    let expected = DomainsView {
        cargomail: all(&[
            "foo.test",
            "bar.test",
            "withdrawn.test",
            "key.test",
            "server.test",
        ]),
        ordinary: all(&["text.test", "old.test"]),
        unknown: all(&["away.test"]),
        largest_ordinary: Setting::default().ordinary,
    };
    assert_eq!((status, known), (StatusCode::OK, Some(expected)));
    for bad in [
        "[]",
        "{}",
        r#"{"domains":["no domain"]}"#,
        r#"{"domains":[],"more":1}"#,
    ] {
        assert_eq!(
            domains(&alice, bad).await.0,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{bad}"
        );
    }
    let web = Node::start(
        &world,
        "web.test",
        Setting {
            channel: Channel::Web,
            ..Setting::default()
        },
    )
    .await;
    let (_, known) = domains(&web.user("alice").await, r#"{"domains":["old.test"]}"#).await;
    assert_eq!(known.unwrap().largest_ordinary, 0, "nothing leaves there by SMTP");
    let many: Vec<String> = (0..=1000).map(|number| format!("\"d{number}.test\"")).collect();
    let many = format!("{{\"domains\":[{}]}}", many.join(","));
    assert_eq!(domains(&alice, &many).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

/// A placeholder for bob, and the same with its content for carol at old.test.
fn both(ordinary: &[u8]) -> NewMessage {
    NewMessage {
        envelopes: vec![vec![address("bob@bar.test")]],
        message: BASE64.encode(&Letter::new("1").bytes()),
        channel: None,
        ordinary: Some(OrdinaryMessage {
            envelopes: vec![vec![address("carol@old.test")]],
            message: BASE64.encode(ordinary),
        }),
    }
}

async fn submit(user: &User<'_>, new: &NewMessage) -> (StatusCode, Vec<Queued>) {
    let body = serde_json::to_vec(new).unwrap();
    let (status, body) = user.ask(Method::POST, "/api/v1/messages", body).await;
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn usage(user: &User<'_>) -> MessagesUsage {
    let (_, body) = user
        .ask(Method::GET, "/api/v1/usage/messages", String::new())
        .await;
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn q09_an_ordinary_message_counts_for_its_author_until_it_has_left() {
    let world = World::new().await;
    let setting = || Setting {
        quota: Some(60_000),
        ..Setting::default()
    };
    // Nobody is there where mail for old.test goes to.
    world.mail_goes("old.test");
    let foo = Node::start(&world, "foo.test", setting()).await;
    let alice = foo.user("alice").await;
    let large = |id: &str| {
        let message = note("alice@foo.test", "carol@old.test", id);
        let message = [message.as_slice(), &b"x\r\n".repeat(20_000)].concat();
        let placeholder = BASE64.encode(&Letter::new(id).bytes());
        NewMessage {
            message: placeholder,
            envelopes: Vec::new(),
            ..both(&message)
        }
    };
    assert_eq!(submit(&alice, &large("1")).await.0, StatusCode::ACCEPTED);
    assert!(usage(&alice).await.leaving > 60_000);
    assert_eq!(
        submit(&alice, &large("2")).await.0,
        StatusCode::INSUFFICIENT_STORAGE
    );
    let own = note("dave@foo.test", "alice@foo.test", "3");
    foo.user("dave").await.send(&own, &[&["alice@foo.test"]]).await;
    alice.holds("inbox", 1).await;
    let whose = alice.whose.clone();
    let foo = foo.stop().await.start(&world).await;
    let alice = User { node: &foo, whose };
    assert!(usage(&alice).await.leaving > 60_000, "also after a restart");
}

/// A domain whose users get mail by SMTP, and which has no record of Cargomail; and one that sends mail there.
async fn old_and_foo(world: &World) -> (Node, Node) {
    let old = Node::start(
        world,
        "old.test",
        Setting {
            web: false,
            ..Setting::default()
        },
    )
    .await;
    for name in ["_cb", "_grip"] {
        world.zone.remove(&format!("{name}.old.test"));
    }
    let setting = Setting {
        smtp_port: old.smtp.port(),
        ..Setting::default()
    };
    let foo = Node::start(world, "foo.test", setting).await;
    (old, foo)
}

#[tokio::test]
async fn a_mail_goes_both_ways_in_one_step_and_the_author_keeps_the_placeholder() {
    let world = World::new().await;
    let (old, foo) = old_and_foo(&world).await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let (alice, bob, carol) = (
        foo.user("alice").await,
        bar.user("bob").await,
        old.user("carol").await,
    );
    let _agent = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    bob.wishes(r#"{"default":["mailbox.bar.test"]}"#).await;
    let message = note("alice@foo.test", "carol@old.test", "1");
    let message = [b"Bcc: hidden@old.test\r\n", message.as_slice()].concat();
    let (status, queued) = submit(&alice, &both(&message)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let ways: Vec<(String, Channel)> = queued
        .iter()
        .map(|one| (one.recipient.to_string(), one.channel))
        .collect();
    let expected = [
        ("bob@bar.test", Channel::WebThenSmtp),
        ("carol@old.test", Channel::Smtp),
    ];
    assert_eq!(ways, expected.map(|(who, how)| (who.to_owned(), how)));
    let hers = carol.holds("inbox", 1).await;
    assert_eq!(
        (hers[0].subject.as_str(), &hers[0].placeholder),
        ("lunch?", &None)
    );
    let raw = carol.raw(&hers[0].id).await;
    assert!(
        raw.contains("At noon.") && raw.contains("DKIM-Signature:"),
        "{raw}"
    );
    assert!(!raw.to_lowercase().contains("bcc"), "{raw}");
    let his = bob.holds("inbox", 1).await;
    assert!(his[0].placeholder.is_some());
    let sent = alice.list("sent").await;
    assert!(sent.len() == 1 && sent[0].placeholder.is_some(), "{sent:?}");
    let all = alice.sent().await;
    assert!(
        all.iter().all(|one| one.delivery == Delivery::Accepted),
        "{all:?}"
    );
    assert_eq!(usage(&alice).await.leaving, 0);
    let (status, again) = submit(&alice, &both(&message)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let ids = |queued: &[Queued]| queued.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&queued), "the same request is the same message");
}

#[tokio::test]
async fn a_mail_to_nobody_with_cargomail_is_kept_as_a_placeholder_and_leaves_with_its_content() {
    let world = World::new().await;
    let (old, foo) = old_and_foo(&world).await;
    let (alice, carol) = (foo.user("alice").await, old.user("carol").await);
    let new = NewMessage {
        envelopes: Vec::new(),
        ..both(&note("alice@foo.test", "carol@old.test", "1"))
    };
    let (status, queued) = submit(&alice, &new).await;
    assert_eq!((status, queued.len()), (StatusCode::ACCEPTED, 1));
    carol.holds("inbox", 1).await;
    assert!(alice.list("sent").await[0].placeholder.is_some());
    let nobody = NewMessage {
        ordinary: None,
        ..new
    };
    assert_eq!(submit(&alice, &nobody).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn an_ordinary_message_that_does_not_belong_to_its_placeholder_or_is_too_large_is_refused_whole() {
    let world = World::new().await;
    let foo = Node::start(
        &world,
        "foo.test",
        Setting {
            ordinary: 1000,
            ..Setting::default()
        },
    )
    .await;
    let alice = foo.user("alice").await;
    let fits = note("alice@foo.test", "carol@old.test", "1");
    let larger = [fits.as_slice(), &[b'x'; 1000], b"\r\n"].concat();
    let of_this_domain = |mut new: NewMessage| {
        new.ordinary.as_mut().unwrap().envelopes = vec![vec![address("dave@foo.test")]];
        new
    };
    let no_placeholder = NewMessage {
        message: BASE64.encode(&fits),
        ..both(&fits)
    };
    for (new, expected, why) in [
        (both(&larger), StatusCode::PAYLOAD_TOO_LARGE, "too large"),
        (
            both(&note("alice@foo.test", "carol@old.test", "2")),
            StatusCode::FORBIDDEN,
            "another Message-ID",
        ),
        (
            both(&note("mallory@foo.test", "carol@old.test", "1")),
            StatusCode::FORBIDDEN,
            "another author",
        ),
        (both(b"no message"), StatusCode::UNPROCESSABLE_ENTITY, "nothing"),
        (no_placeholder, StatusCode::FORBIDDEN, "no placeholder"),
        (
            NewMessage {
                channel: Some(Channel::Web),
                ..both(&fits)
            },
            StatusCode::FORBIDDEN,
            "the web channel only",
        ),
        (of_this_domain(both(&fits)), StatusCode::FORBIDDEN, "this domain"),
    ] {
        assert_eq!(submit(&alice, &new).await.0, expected, "{why}");
    }
    assert!(alice.list("sent").await.is_empty() && alice.queue().await.is_empty());
    let placeholder = Letter::new("1").bytes();
    let foo = Node::start(
        &world,
        "baz.test",
        Setting {
            ordinary: 1 << 20,
            ..Setting::default()
        },
    )
    .await;
    let alice = foo.user("alice").await;
    let twice = NewMessage {
        message: BASE64.encode(&placeholder),
        ..both(&placeholder)
    };
    assert_eq!(
        submit(&alice, &twice).await.0,
        StatusCode::FORBIDDEN,
        "a placeholder is not ordinary"
    );
}
