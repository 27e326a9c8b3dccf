//! What comes by SMTP: no relay, no belief without proof, and once with the web channel together.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use cargomail_node::api::Channel;
use cargomail_node::dns::Record;
use cargomail_node::network::{AddressPolicy, Tcp};
use cargomail_node::smtp::{Client, ClientOptions, Delivery, Dkim, Mail, Receiver, Said};
use cargomail_node::store::Op;
use cargomail_protocol::address::Address;
use cargomail_protocol::fault::Fault;
use cargomail_protocol::notification::JobState;

use crate::agents::{Agent, Says};
use crate::rig::{Letter, Node, Setting, World, address, domain, note};

fn client(world: &World) -> Client {
    let options = ClientOptions {
        helo: "mx.foo.test".to_owned(),
        port: 25,
        policy: AddressPolicy::allowing_loopback(),
        smart_host: None,
    };
    Client::new(Arc::new(Tcp), world.dns.clone(), options)
}

async fn give(world: &World, bar: &Node, from: Option<&str>, message: &[u8], to: &[&str]) -> Vec<Said> {
    let delivery = Delivery {
        sender: from.map(address),
        recipients: to.iter().map(|to| address(to)).collect(),
        message: message.to_vec().into(),
    };
    client(world)
        .smtp("127.0.0.1", bar.smtp.port(), &delivery)
        .await
        .unwrap()
}

fn signed(key: &cargomail_node::identity::Identity, message: &[u8]) -> Vec<u8> {
    Dkim::new(key, domain("foo.test"), "cargomail")
        .sign(message)
        .unwrap()
}

#[tokio::test]
async fn s04_mail_for_other_domains_and_unknown_users_is_refused() {
    let world = World::new().await;
    let trusting = Setting {
        trusted: vec!["127.0.0.1"],
        ..Setting::default()
    };
    let bar = Node::start(&world, "bar.test", trusting).await;
    bar.user("bob").await;
    let client: SocketAddr = "192.0.2.1:25".parse().unwrap();
    let ask = async |to: &str| bar.broker.recipient(client, None, &address(to)).await;
    assert_eq!(ask("bob@bar.test").await, Ok(()));
    assert_eq!(ask("alice@foo.test").await, Err(Fault::Refused));
    assert_eq!(ask("bob@mail.bar.test").await, Err(Fault::Refused));
    assert_eq!(ask("nobody@bar.test").await, Err(Fault::NoSuchUser));
    assert_eq!(Fault::Refused.smtp().code, 550);
    assert_eq!(Fault::Refused.smtp().enhanced, (5, 7, 1));
    assert_eq!(Fault::NoSuchUser.smtp().enhanced, (5, 1, 1));
    // not even for those who may vouch for what they bring
    let message = note("alice@foo.test", "carol@baz.test", "1");
    let said = give(
        &world,
        &bar,
        Some("alice@foo.test"),
        &message,
        &["carol@baz.test", "nobody@bar.test"],
    )
    .await;
    assert!(matches!(&said[0], Said::Refused { status, .. } if status.parts() == (7, 1)));
    assert!(matches!(&said[1], Said::Refused { status, .. } if status.parts() == (1, 1)));
}

#[tokio::test]
async fn a_placeholder_whose_author_is_not_proved_is_not_acted_on() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let bob = bar.user("bob").await;
    let agent = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    bob.wishes(r#"{"default":["mailbox.bar.test"]}"#).await;
    let letter = Letter::new("1").bytes();
    let said = give(&world, &bar, Some("alice@foo.test"), &letter, &["bob@bar.test"]).await;
    assert!(matches!(said[0], Said::Accepted));
    let junk = bob.holds("junk", 1).await;
    assert_eq!(junk[0].placeholder.as_ref().unwrap().destination, None);
    assert!(agent.told().is_empty() && bob.list("inbox").await.is_empty());
}

#[tokio::test]
async fn a_signed_placeholder_and_one_from_a_trusted_mta_are_acted_on() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", Setting::default()).await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let relayed = Setting {
        trusted: vec!["127.0.0.0/8"],
        ..Setting::default()
    };
    let baz = Node::start(&world, "baz.test", relayed).await;
    let agent = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    let (bob, carol) = (bar.user("bob").await, baz.user("carol").await);
    for user in [&bob, &carol] {
        user.wishes(r#"{"default":["mailbox.bar.test"]}"#).await;
    }
    let letter = Letter::new("1").bytes();
    let from = Some("alice@foo.test");
    give(&world, &bar, from, &signed(&foo.key, &letter), &["bob@bar.test"]).await;
    give(&world, &baz, from, &letter, &["carol@baz.test"]).await;
    for user in [&bob, &carol] {
        let inbox = user.holds("inbox", 1).await;
        assert!(inbox[0].placeholder.as_ref().unwrap().destination.is_some());
    }
    assert_eq!(agent.told().len(), 2);
}

#[tokio::test]
async fn q03_the_same_message_by_both_channels_is_delivered_once() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
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
    let message = note("alice@foo.test", "bob@bar.test", "1");
    let to: &[&[&str]] = &[&["bob@bar.test"]];
    for channel in [Channel::Smtp, Channel::Web] {
        // the second time with one recipient more, so that it is another request
        let to: &[&[&str]] = if channel == Channel::Smtp {
            to
        } else {
            &[&["bob@bar.test", "nobody@bar.test"]]
        };
        alice.try_send(&message, to, Some(channel)).await;
        alice.sent().await;
    }
    let last = note("alice@foo.test", "bob@bar.test", "2");
    alice.send(&last, to).await;
    let inbox = bob.holds("inbox", 2).await;
    assert_eq!(inbox[0].message_id, "<2@foo.test>");
    assert_eq!(inbox[1].message_id, "<1@foo.test>");
}

#[tokio::test]
async fn nobody_can_occupy_the_place_of_somebody_elses_message() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", Setting::default()).await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    // eve knows the Message-ID before bob has the message
    let text = String::from_utf8(note("alice@foo.test", "bob@bar.test", "1")).unwrap();
    let forged = text.replace("At noon.", "Never.");
    for _ in 0..2 {
        give(
            &world,
            &bar,
            Some("eve@evil.test"),
            forged.as_bytes(),
            &["bob@bar.test"],
        )
        .await;
    }
    bob.holds("inbox", 1).await;
    alice.send(text.as_bytes(), &[&["bob@bar.test"]]).await;
    let inbox = bob.holds("inbox", 2).await;
    assert!(bob.raw(&inbox[0].id).await.contains("At noon."));
}

#[tokio::test]
async fn q03_who_knows_a_colleagues_message_id_cannot_make_the_message_vanish() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let smtp = Setting {
        smtp_port: bar.smtp.port(),
        ..Setting::default()
    };
    let foo = Node::start(&world, "foo.test", smtp).await;
    let (alice, eve, bob) = (
        foo.user("alice").await,
        foo.user("eve").await,
        bar.user("bob").await,
    );
    let to: &[&[&str]] = &[&["bob@bar.test"]];
    let (first, second) = (
        note("eve@foo.test", "bob@bar.test", "1"),
        note("alice@foo.test", "bob@bar.test", "1"),
    );
    eve.try_send(&first, to, Some(Channel::Web)).await;
    bob.holds("inbox", 1).await;
    alice.try_send(&second, to, Some(Channel::Web)).await;
    let inbox = bob.holds("inbox", 2).await;
    assert_eq!(inbox[0].message_id, inbox[1].message_id);
    assert_eq!(inbox[0].from, "alice@foo.test");
    // Hers is hers by SMTP, too, and comes once.
    let proved = signed(&foo.key, &second);
    give(&world, &bar, Some("alice@foo.test"), &proved, &["bob@bar.test"]).await;
    let last = signed(&foo.key, &note("alice@foo.test", "bob@bar.test", "2"));
    give(&world, &bar, Some("alice@foo.test"), &last, &["bob@bar.test"]).await;
    let inbox = bob.holds("inbox", 3).await;
    assert_eq!(inbox[0].message_id, "<2@foo.test>");
}

#[tokio::test]
async fn somebody_gets_what_is_written_to_the_postmaster() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let client: SocketAddr = "192.0.2.1:25".parse().unwrap();
    let ask = async |to: &str| bar.broker.recipient(client, None, &address(to)).await;
    // Whoever has an account here for the Resource Mailbox only is not of the domain.
    let dave = address("dave@baz.test");
    bar.accounts.set(&dave, "a password", None).await.unwrap();
    assert_eq!(ask("postmaster@bar.test").await, Err(Fault::NoSuchUser));
    let (bob, anna) = (bar.user("bob").await, bar.user("anna").await);
    assert_eq!(ask("postmaster@bar.test").await, Ok(()));
    assert_eq!(ask("postmaster@foo.test").await, Err(Fault::Refused));
    let write = async |id: &str| {
        let message = note("alice@foo.test", "postmaster@bar.test", id);
        let to = ["Postmaster@bar.test", "bob@bar.test"];
        let said = give(&world, &bar, Some("alice@foo.test"), &message, &to).await;
        assert_eq!(said, [Said::Accepted, Said::Accepted]);
    };
    write("1").await;
    bob.holds("inbox", 1).await;
    assert!(anna.list("inbox").await.is_empty());
    // What is shared with the postmaster is not shared with him.
    let letter = Letter {
        to: vec!["postmaster@bar.test".to_owned()],
        ..Letter::new("3")
    };
    let said = give(
        &world,
        &bar,
        Some("alice@foo.test"),
        &letter.bytes(),
        &["postmaster@bar.test"],
    )
    .await;
    assert!(matches!(said[0], Said::Refused { .. }), "{said:?}");
    let postmaster = bar.user("postmaster").await;
    write("2").await;
    assert_eq!(postmaster.holds("inbox", 1).await[0].message_id, "<2@foo.test>");
    bob.holds("inbox", 2).await;
}

#[tokio::test]
async fn s09_s10_null_senders_are_taken_and_two_authors_are_junk() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let bob = bar.user("bob").await;
    let report = note("postmaster@foo.test", "bob@bar.test", "1");
    give(&world, &bar, None, &report, &["bob@bar.test"]).await;
    bob.holds("inbox", 1).await;
    let text = String::from_utf8(note("alice@foo.test", "bob@bar.test", "2")).unwrap();
    let twice = format!("From: ceo@bar.test\r\n{text}");
    give(
        &world,
        &bar,
        Some("alice@foo.test"),
        twice.as_bytes(),
        &["bob@bar.test"],
    )
    .await;
    bob.holds("junk", 1).await;
    // a placeholder with resources for a recipient without wishes, from nobody in particular: nobody is told
    let letter = Letter::new("3").bytes();
    give(&world, &bar, Some("victim@foo.test"), &letter, &["bob@bar.test"]).await;
    bob.holds("junk", 2).await;
    assert!(
        bar.broker.queue_of(None).await.unwrap().is_empty(),
        "no backscatter"
    );
}

#[tokio::test]
async fn s10_an_ordinary_message_goes_to_junk_when_its_authors_domain_disowns_it() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let bob = bar.user("bob").await;
    let to = ["bob@bar.test"];
    let message = |from, id| note(from, "bob@bar.test", id);
    // fox.test has said nothing about itself: a message like any other
    let plain = message("ann@fox.test", "1");
    give(&world, &bar, Some("ann@fox.test"), &plain, &to).await;
    bob.holds("inbox", 1).await;
    world.publish("foo.test", Record::Txt("v=spf1 -all".to_owned()));
    world.publish("_dmarc.foo.test", Record::Txt("v=DMARC1; p=reject".to_owned()));
    let forged = message("alice@foo.test", "2");
    let said = give(&world, &bar, Some("alice@foo.test"), &forged, &to).await;
    assert!(
        matches!(said[0], Said::Accepted),
        "it may have come through a list"
    );
    bob.holds("junk", 1).await;
}

#[tokio::test]
async fn a_recipient_that_is_gone_since_rcpt_is_not_lost_silently() {
    let world = World::new().await;
    let trusting = Setting {
        trusted: vec!["127.0.0.1"],
        ..Setting::default()
    };
    let bar = Node::start(&world, "bar.test", trusting).await;
    let bob = bar.user("bob").await;
    let recipients: Vec<Address> = vec![address("bob@bar.test"), address("gone@bar.test")];
    let mail = Mail {
        client: "127.0.0.1:25".parse().unwrap(),
        helo: "mx.foo.test".to_owned(),
        tls: false,
        sender: Some(address("alice@foo.test")),
        recipients,
        message: note("alice@foo.test", "bob@bar.test", "1").into(),
    };
    let again = bar.broker.message(mail.clone()).await.unwrap_err();
    assert!(again.is_temporary(), "the client comes back and is told at RCPT");
    let only = Mail {
        recipients: vec![address("bob@bar.test")],
        ..mail
    };
    assert_eq!(bar.broker.message(only).await, Ok(()));
    bob.holds("inbox", 1).await;
}

#[tokio::test]
async fn recipients_who_cannot_be_looked_up_now_are_not_refused_for_good() {
    let world = World::new().await;
    let trusting = Setting {
        trusted: vec!["127.0.0.1"],
        ..Setting::default()
    };
    let bar = Node::start(&world, "bar.test", trusting).await;
    let damaged = Op::Put("account/bob@bar.test".to_owned(), Bytes::from_static(b"?"));
    bar.store.records().commit(vec![], vec![damaged]).await.unwrap();
    let mail = |to: &[&str]| Mail {
        client: "127.0.0.1:25".parse().unwrap(),
        helo: "mx.foo.test".to_owned(),
        tls: false,
        sender: Some(address("alice@foo.test")),
        recipients: to.iter().map(|to| address(to)).collect(),
        message: note("alice@foo.test", "bob@bar.test", "1").into(),
    };
    for to in [&["bob@bar.test"][..], &["bob@bar.test", "nobody@bar.test"]] {
        let again = bar.broker.message(mail(to)).await.unwrap_err();
        assert!(again.is_temporary(), "{to:?}: {again:?}");
    }
    let refused = bar.broker.message(mail(&["nobody@bar.test"])).await;
    assert_eq!(refused, Err(Fault::NoSuchUser));
}
