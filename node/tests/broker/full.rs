//! Full User Mailboxes: strangers cannot fill the disk with messages (row Q09), and people make room.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cargomail_node::api::{Channel, DeletedMessage, Delivery, MessagesUsage, Queued};
use cargomail_node::clock::SystemRandomness;
use cargomail_node::keeping::{Collector, LegalHolds, Mode, Shelters, Subject};
use cargomail_node::smtp::Receiver;
use cargomail_protocol::fault::Fault;
use cargomail_protocol::notification::{JobState, Reason};
use http::{Method, StatusCode};

use crate::agents::{Agent, Own, Says};
use crate::rig::{Letter, Node, Setting, User, World, address, note, until};

/// Octets of a User Mailbox here: one message of [`large`] fits, and the second fills it.
const QUOTA: u64 = 100_000;

fn small() -> Setting {
    Setting {
        channel: Channel::Web,
        quota: Some(QUOTA),
        ..Setting::default()
    }
}

fn unbounded() -> Setting {
    Setting {
        quota: None,
        ..small()
    }
}

/// An ordinary message of some 60,000 octets.
fn large(from: &str, to: &str, id: &str) -> Vec<u8> {
    let mut message = note(from, to, id);
    for _ in 0..1000 {
        message.extend_from_slice(b"At noon, or a little later, or not at all, as you like it.\r\n");
    }
    message
}

async fn usage(user: &User<'_>) -> MessagesUsage {
    let (status, body) = user
        .ask(Method::GET, "/api/v1/usage/messages", Body::empty())
        .await;
    assert_eq!(status, StatusCode::OK);
    serde_json::from_slice(&body).unwrap()
}

async fn delete(user: &User<'_>, id: &str) -> (StatusCode, Bytes) {
    user.ask(Method::DELETE, &format!("/api/v1/messages/{id}"), Body::empty())
        .await
}

/// What is listed, in octets.
async fn listed(user: &User<'_>) -> u64 {
    let mut octets = 0;
    for folder in ["inbox", "junk", "sent"] {
        octets += user
            .list(folder)
            .await
            .iter()
            .map(|message| message.size)
            .sum::<u64>();
    }
    octets
}

/// Waits until what is counted is what is listed: a message can be seen a moment before it is counted.
async fn is_exact(user: &User<'_>) {
    until("what is counted is what is listed", async || {
        let counted = usage(user).await;
        (counted.waiting == 0 && counted.held == listed(user).await).then_some(())
    })
    .await;
}

/// What became of the message of that name, once nothing waits.
async fn fate(sender: &User<'_>, id: &str) -> Queued {
    let sent = sender.sent().await;
    let found = sent
        .into_iter()
        .find(|entry| entry.message_id == format!("<{id}@foo.test>"));
    found.unwrap()
}

#[tokio::test]
async fn q09_a_full_user_mailbox_takes_no_more_until_its_user_makes_room() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", unbounded()).await;
    let bar = Node::start(&world, "bar.test", small()).await;
    let (alice, bob, carol) = (
        foo.user("alice").await,
        bar.user("bob").await,
        bar.user("carol").await,
    );
    let give = async |id: &str, to: &str| {
        alice.send(&large("alice@foo.test", to, id), &[&[to]]).await;
        fate(&alice, id).await
    };
    assert_eq!(give("1", "bob@bar.test").await.delivery, Delivery::Accepted);
    bob.holds("inbox", 1).await;
    assert_eq!(give("2", "bob@bar.test").await.delivery, Delivery::Accepted);
    let inbox = bob.holds("inbox", 2).await;
    let refused = give("3", "bob@bar.test").await;
    assert_eq!(refused.delivery, Delivery::Refused, "{refused:?}");
    assert!(refused.last.contains("5.2.2"), "{}", refused.last);
    let report = alice.holds("inbox", 1).await;
    assert!(alice.raw(&report[0].id).await.contains("Status: 5.2.2\r\n"));
    // The same by SMTP, before anything is said; nobody else is concerned.
    let client: SocketAddr = "192.0.2.1:25".parse().unwrap();
    let ask = async |bar: &Node, to: &str| bar.broker.recipient(client, None, &address(to)).await;
    assert_eq!(ask(&bar, "bob@bar.test").await, Err(Fault::OverQuota));
    assert_eq!(ask(&bar, "carol@bar.test").await, Ok(()));
    assert_eq!(give("4", "carol@bar.test").await.delivery, Delivery::Accepted);
    carol.holds("inbox", 1).await;
    // Whoever does not know the mailbox from before counts the same.
    is_exact(&bob).await;
    let counted = usage(&bob).await;
    assert_eq!(counted.quota, Some(QUOTA));
    let bar = bar.stop().await.start(&world).await;
    let bob = bar.user("bob").await;
    assert_eq!(usage(&bob).await, counted);
    assert_eq!(ask(&bar, "bob@bar.test").await, Err(Fault::OverQuota));
    // He makes room.
    let (status, body) = delete(&bob, &inbox[0].id).await;
    assert_eq!(status, StatusCode::OK);
    let deleted: DeletedMessage = serde_json::from_slice(&body).unwrap();
    assert_eq!((&deleted.id, deleted.size), (&inbox[0].id, inbox[0].size));
    assert_eq!(usage(&bob).await.held, counted.held - deleted.size);
    is_exact(&bob).await;
    assert_eq!(give("5", "bob@bar.test").await.delivery, Delivery::Accepted);
    bob.holds("inbox", 2).await;
    is_exact(&bob).await;
}

#[tokio::test]
async fn q09_what_waits_counts_as_what_is_kept_and_no_longer_once_it_is_refused() {
    let world = World::new().await;
    let agent = Own::new(
        &world,
        "mailbox.bar.test",
        Err(Fault::TryLater(Duration::from_secs(1))),
    )
    .await;
    let setting = Setting {
        quota: Some(100),
        agent: Some(agent.clone()),
        ..small()
    };
    let foo = Node::start(&world, "foo.test", unbounded()).await;
    let bar = Node::start(&world, "bar.test", setting).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    bob.wishes(r#"{"default":["mailbox.bar.test"]}"#).await;
    alice.send(&Letter::new("1").bytes(), &[&["bob@bar.test"]]).await;
    assert_eq!(fate(&alice, "1").await.delivery, Delivery::Accepted);
    let waits = usage(&bob).await;
    assert!(waits.waiting > 100 && waits.held == 0, "{waits:?}");
    alice.send(&Letter::new("2").bytes(), &[&["bob@bar.test"]]).await;
    assert_eq!(fate(&alice, "2").await.delivery, Delivery::Refused);
    let bar = bar.stop().await.start(&world).await;
    let bob = bar.user("bob").await;
    assert_eq!(usage(&bob).await, waits, "also after a restart");
    // The destination refuses, and nothing is delivered.
    agent.says(Err(Fault::OverQuota));
    until("nothing waits for bob", async || {
        (usage(&bob).await.waiting == 0).then_some(())
    })
    .await;
    assert_eq!(usage(&bob).await.held, 0);
    assert!(bob.list("inbox").await.is_empty());
    // What is delivered counts once.
    agent.says(Ok(JobState::Stored));
    alice.send(&Letter::new("3").bytes(), &[&["bob@bar.test"]]).await;
    assert_eq!(fate(&alice, "3").await.delivery, Delivery::Accepted);
    let inbox = bob.holds("inbox", 1).await;
    let now = usage(&bob).await;
    assert_eq!((now.held, now.waiting), (inbox[0].size, 0));
}

#[tokio::test]
async fn q09_who_sends_from_a_full_mailbox_is_told_to_make_room_and_nothing_is_sent() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", small()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let to: &[&[&str]] = &[&["carol@bar.test"]];
    let message = |id: &str| large("bob@bar.test", "carol@bar.test", id);
    bob.send(&message("1"), to).await;
    let again = bob.send(&message("2"), to).await;
    carol.holds("inbox", 2).await;
    let (status, body) = bob.try_send(&message("3"), to, None).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE);
    let told = String::from_utf8(body.to_vec()).unwrap();
    assert!(told.contains("cargomail delete"), "{told}");
    assert_eq!((bob.queue().await.len(), bob.list("sent").await.len()), (2, 2));
    // What was sent before is answered as it was.
    assert_eq!(bob.send(&message("2"), to).await, again);
    let sent = bob.list("sent").await;
    assert_eq!(delete(&bob, &sent[0].id).await.0, StatusCode::OK);
    // Now it is the recipient whose mailbox is full; here that is known at once.
    let queued = bob.send(&message("3"), to).await;
    assert_eq!(queued[0].delivery, Delivery::Refused);
    assert!(
        queued[0].last.contains("the mailbox is full"),
        "{}",
        queued[0].last
    );
    bob.holds("inbox", 1).await;
    is_exact(&bob).await;
}

#[tokio::test]
async fn a_deleted_message_is_gone_and_only_its_user_can_delete_it() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", unbounded()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    bob.send(
        &note("bob@bar.test", "carol@bar.test", "1"),
        &[&["carol@bar.test"]],
    )
    .await;
    let inbox = carol.holds("inbox", 1).await;
    let id = &inbox[0].id;
    for (user, id) in [
        (&bob, id.as_str()),
        (&carol, "x"),
        (&carol, "0192f3c1-6a5e-7c11-9d5c-2f6f3f1b7a10"),
    ] {
        assert_eq!(delete(user, id).await.0, StatusCode::NOT_FOUND, "{id}");
    }
    assert_eq!(carol.list("inbox").await.len(), 1);
    assert_eq!(delete(&carol, id).await.0, StatusCode::OK);
    assert!(carol.list("inbox").await.is_empty());
    let path = format!("/api/v1/messages/{id}");
    assert_eq!(
        carol.ask(Method::GET, &path, Body::empty()).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(delete(&carol, id).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        bob.list("sent").await.len(),
        1,
        "the sender's copy is the sender's"
    );
}

#[tokio::test]
async fn a_destination_that_gives_up_does_not_bring_a_deleted_message_back() {
    let world = World::new().await;
    let agent = Own::new(
        &world,
        "mailbox.bar.test",
        Ok(JobState::Retrieving { bytes: 1, of: 2 }),
    )
    .await;
    let insurance = Agent::start(&world, "mailbox.insurance.test", Says::Takes(JobState::Stored)).await;
    let setting = Setting {
        agent: Some(agent.clone()),
        ..small()
    };
    let bar = Node::start(&world, "bar.test", setting).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    bob.wishes(r#"{"default":["mailbox.bar.test","mailbox.insurance.test"]}"#)
        .await;
    let letter = Letter {
        from: "carol@bar.test".to_owned(),
        ..Letter::new("1")
    };
    carol.send(&letter.bytes(), &[&["bob@bar.test"]]).await;
    let inbox = bob.holds("inbox", 1).await;
    assert_eq!(delete(&bob, &inbox[0].id).await.0, StatusCode::OK);
    agent.says(Ok(JobState::Refused {
        reason: Reason::OverQuota,
    }));
    until("the next destination is told", async || {
        (!insurance.told().is_empty()).then_some(())
    })
    .await;
    assert!(bob.list("inbox").await.is_empty());
    assert_eq!(usage(&bob).await.held, 0);
}

#[tokio::test]
async fn a_message_that_is_deleted_under_a_legal_hold_is_hidden_and_goes_after_it() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", small()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let records = bar.store.records();
    let randomness = Arc::new(SystemRandomness);
    let holds = LegalHolds::new(
        bar.store.blocks(),
        records.clone(),
        bar.ledger.clone(),
        bar.accounts.clone(),
        world.clock(),
        randomness,
    );
    let collector = Collector::new(
        bar.store.blocks(),
        records.clone(),
        Shelters::default(),
        holds.clone(),
        world.clock(),
    );
    let to: &[&[&str]] = &[&["bob@bar.test"]];
    for id in ["1", "2"] {
        carol.send(&large("carol@bar.test", "bob@bar.test", id), to).await;
    }
    let inbox = bob.holds("inbox", 2).await;
    let hold = holds
        .place(Subject::Account(address("bob@bar.test")), "court order 12")
        .await
        .unwrap();
    for message in &inbox {
        assert_eq!(delete(&bob, &message.id).await.0, StatusCode::OK);
    }
    assert!(bob.list("inbox").await.is_empty());
    assert_eq!(delete(&bob, &inbox[0].id).await.0, StatusCode::NOT_FOUND);
    assert_eq!(usage(&bob).await.held, 0, "what is hidden does not count");
    let hidden = async || {
        records
            .list("hidden-message/bob@bar.test/", None, 10)
            .await
            .unwrap()
            .len()
    };
    collector.collect(Mode::Brisk).await.unwrap();
    assert_eq!(hidden().await, 2);
    let before = bar.store.blocks().list(None, 1000).await.unwrap().len();
    holds.release(hold.id).await.unwrap();
    collector.collect(Mode::Brisk).await.unwrap();
    assert_eq!(hidden().await, 0);
    assert!(bar.store.blocks().list(None, 1000).await.unwrap().len() <= before);
}

#[tokio::test]
async fn what_arrives_while_it_is_counted_counts_once() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", unbounded()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let to: &[&[&str]] = &[&["bob@bar.test"]];
    for number in 0..20 {
        carol
            .send(&note("carol@bar.test", "bob@bar.test", &number.to_string()), to)
            .await;
    }
    bob.holds("inbox", 20).await;
    // Nobody has asked yet, and all ask at once now, while more arrives and some is deleted.
    let inbox = bob.list("inbox").await;
    let more = (20..40).map(async |number| {
        let message = note("carol@bar.test", "bob@bar.test", &number.to_string());
        carol.send(&message, to).await;
        usage(&bob).await;
    });
    let less = inbox.iter().take(10).map(async |message| {
        assert_eq!(delete(&bob, &message.id).await.0, StatusCode::OK);
        usage(&bob).await;
    });
    futures::join!(futures::future::join_all(more), futures::future::join_all(less));
    bob.holds("inbox", 30).await;
    is_exact(&bob).await;
}
