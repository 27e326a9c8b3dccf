//! What comes back: reports to senders who are proved, and to nobody else.

use axum::body::Body;
use cargomail_node::api::Channel;
use cargomail_protocol::ledger::{Act, Entry};
use cargomail_protocol::notification::JobState;
use http::Method;

use crate::agents::{Agent, Says};
use crate::rig::{Letter, Node, Setting, World, note, until};

fn web() -> Setting {
    Setting {
        channel: Channel::Web,
        ..Setting::default()
    }
}

#[tokio::test]
async fn the_sender_is_told_why_when_no_destination_is_left() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", web()).await;
    let bar = Node::start(&world, "bar.test", web()).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let _insurance = Agent::start(&world, "mailbox.insurance.test", Says::Status(507)).await;
    let _own = Agent::start(&world, "mailbox.bar.test", Says::Status(404)).await;
    bob.wishes(r#"{"default":["mailbox.insurance.test","mailbox.bar.test","mailbox.nowhere.test"]}"#)
        .await;
    let letter = Letter::new("1");
    alice.send(&letter.bytes(), &[&["bob@bar.test"]]).await;
    let inbox = alice.holds("inbox", 1).await;
    assert_eq!(inbox[0].subject, "Not delivered: Your x-ray");
    assert_eq!(inbox[0].from, "Mail delivery <postmaster@bar.test>");
    let report = alice.raw(&inbox[0].id).await;
    for part in [
        "Auto-Submitted: auto-replied\r\n",
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; bar.test\r\n",
        "\r\n\r\nFinal-Recipient: rfc822; bob@bar.test\r\nAction: failed\r\nStatus: 5.4.4\r\n",
        "mailbox.insurance.test: the recipient's quota",
        "Content-Type: text/rfc822-headers\r\n",
        &letter.id,
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    let lines = report.split("\r\n");
    assert!(
        lines
            .clone()
            .all(|line| line.len() <= 998 && !line.contains('\n'))
    );
    assert!(
        bob.list("inbox").await.is_empty(),
        "what cannot be read is not delivered"
    );
    // the report came by the web channel, with a receipt, and caused no other
    until("the queue of bar.test is empty", async || {
        let queue = bar.broker.queue_of(None).await.unwrap();
        (queue.len() == 1 && queue[0].delivery == cargomail_node::api::Delivery::Accepted).then_some(())
    })
    .await;
    assert!(foo.broker.queue_of(None).await.unwrap().len() == 1);
    // and nothing of it is kept: strangers decide how many reports there are
    let receipts = bar.store.records().list("sent-receipt/", None, 10).await.unwrap();
    assert!(receipts.is_empty());
    let mut receipts = 0;
    let count = |entry: &Entry| receipts += usize::from(entry.event.act == Act::Receipt);
    bar.ledger.verify(count).await.unwrap();
    assert_eq!(receipts, 0);
}

/// A subject of words that are one when they are read: 1,200 letters, and nowhere a place to fold them.
fn endless() -> String {
    let word = format!("=?utf-8?q?{}?=", "x".repeat(60));
    vec![word.as_str(); 20].join("\r\n ")
}

#[tokio::test]
async fn q01_a_subject_that_cannot_be_folded_keeps_nobody_from_being_told() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", web()).await;
    let bar = Node::start(&world, "bar.test", web()).await;
    let alice = foo.user("alice").await;
    bar.user("bob").await;
    // refused behind bar.test's receipt, for want of wishes, and before it, for want of a user
    let letter = String::from_utf8(Letter::new("1").bytes()).unwrap();
    let letter = letter.replace("Your x-ray", &endless());
    alice.send(letter.as_bytes(), &[&["bob@bar.test"]]).await;
    let text = String::from_utf8(note("alice@foo.test", "nobody@bar.test", "2")).unwrap();
    let text = text.replace("lunch?", &endless());
    alice.send(text.as_bytes(), &[&["nobody@bar.test"]]).await;
    for report in alice.holds("inbox", 2).await {
        let cut = format!("Not delivered: {}", "x".repeat(200));
        assert_eq!(report.subject, cut);
    }
    let left = bar.broker.queue_of(None).await.unwrap();
    assert_eq!(left.len(), 1, "one report left bar.test");
}

#[tokio::test]
async fn a_recipient_without_wishes_is_reported_and_an_expired_share_too() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", web()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let agent = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    let mine = |id: &str| Letter {
        from: "bob@bar.test".to_owned(),
        to: vec!["carol@bar.test".to_owned()],
        ..Letter::new(id)
    };
    bob.send(&mine("1").bytes(), &[&["carol@bar.test"]]).await;
    let report = bob.holds("inbox", 1).await;
    assert!(
        bob.raw(&report[0].id)
            .await
            .contains("has named no Resource Mailbox")
    );
    carol.wishes(r#"{"default":["mailbox.bar.test"]}"#).await;
    let over = Letter {
        expires: cargomail_protocol::timestamp::Timestamp::from_seconds(1_700_000_000),
        ..mine("2")
    };
    bob.send(&over.bytes(), &[&["carol@bar.test"]]).await;
    let report = bob.holds("inbox", 2).await;
    assert!(bob.raw(&report[0].id).await.contains("Status: 5.4.7"));
    assert!(agent.told().is_empty() && carol.list("inbox").await.is_empty());
}

#[tokio::test]
async fn s09_programs_and_reporters_are_never_told() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", web()).await;
    let bar = Node::start(&world, "bar.test", web()).await;
    let alice = foo.user("alice").await;
    let reporter = foo.user("postmaster").await;
    bar.user("bob").await;
    let to: &[&[&str]] = &[&["nobody@bar.test"]];
    let text = String::from_utf8(note("alice@foo.test", "nobody@bar.test", "1")).unwrap();
    let automatic = format!("Auto-Submitted: auto-generated\r\n{text}");
    alice.send(automatic.as_bytes(), to).await;
    reporter
        .send(&note("postmaster@foo.test", "nobody@bar.test", "2"), to)
        .await;
    alice.sent().await;
    reporter.sent().await;
    alice
        .send(&note("alice@foo.test", "nobody@bar.test", "3"), to)
        .await;
    let inbox = alice.holds("inbox", 1).await;
    assert!(alice.raw(&inbox[0].id).await.contains("<3@foo.test>"));
    assert!(reporter.list("inbox").await.is_empty());
    assert!(bar.broker.queue_of(None).await.unwrap().is_empty());
    let (_, events) = reporter.ask(Method::GET, "/api/v1/queue", Body::empty()).await;
    assert!(std::str::from_utf8(&events).unwrap().contains("5.1.1"));
}
