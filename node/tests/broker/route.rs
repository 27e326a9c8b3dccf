//! Where resources go: by category and wish, to the next choice when one refuses, and what the User Mailbox shows of it.

use std::time::Duration;

use cargomail_node::api::{Channel, Delivery};
use cargomail_protocol::fault::Fault;
use cargomail_protocol::notification::{JobState, Reason};
use cargomail_protocol::routing::Decision;

use crate::agents::{Agent, Own, Says};
use crate::rig::{Letter, Node, Setting, World, until};

const BOTH: &str = r#"{"rules":[{"category":"healthcare","locator":"mailbox.insurance.test"}],
    "default":["mailbox.bar.test"]}"#;

async fn nodes(world: &World) -> (Node, Node) {
    let web = || Setting {
        channel: Channel::Web,
        ..Setting::default()
    };
    let sending = Node::start(world, "foo.test", web()).await;
    (sending, Node::start(world, "bar.test", web()).await)
}

#[tokio::test]
async fn a_placeholder_goes_from_alice_to_bob_and_its_content_where_bob_wishes() {
    let world = World::new().await;
    let (foo, bar) = nodes(&world).await;
    let insurance = Agent::start(
        &world,
        "mailbox.insurance.test",
        Says::Takes(JobState::Retrieving { bytes: 1, of: 2 }),
    )
    .await;
    let own = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    bob.wishes(BOTH).await;
    let health = Letter::new("1");
    let queued = alice.send(&health.bytes(), &[&["bob@bar.test"]]).await;
    assert_eq!(queued.len(), 1);
    assert_eq!(queued[0].delivery, Delivery::Waiting);
    let personal = Letter {
        category: "personal".to_owned(),
        ..Letter::new("2")
    };
    alice.send(&personal.bytes(), &[&["bob@bar.test"]]).await;

    // step 8 does not wait for step 7: the insurance is still retrieving
    let inbox = bob.holds("inbox", 2).await;
    let find = |id: &str| inbox.iter().find(|message| message.message_id == id).unwrap();
    let said = find(&health.id).placeholder.clone().unwrap();
    assert_eq!(said.destination.unwrap().as_str(), "mailbox.insurance.test");
    assert_eq!(said.decided_by, Some(Decision::Rule(0)));
    assert_eq!((said.resources, said.octets), (1, health.size));
    let said = find(&personal.id).placeholder.clone().unwrap();
    assert_eq!(said.destination.unwrap().as_str(), "mailbox.bar.test");
    assert_eq!(said.decided_by, Some(Decision::Default(0)));

    let told = insurance.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].sender.to_string(), "alice@foo.test");
    assert_eq!(told[0].recipient.to_string(), "bob@bar.test");
    assert_eq!(told[0].origin.as_str(), "mailbox.hospital.test");
    assert_eq!(told[0].message_id, health.id);
    assert_eq!(told[0].expires.seconds(), health.expires.seconds());
    assert_eq!(own.told().len(), 1);

    // alice knows, with bar.test's signature in her node's ledger
    let sent = alice.sent().await;
    assert!(
        sent.iter().all(|entry| entry.delivery == Delivery::Accepted),
        "{sent:?}"
    );
    assert_eq!(alice.list("sent").await.len(), 2);
    let mut receipts = 0;
    foo.ledger
        .verify(|entry| receipts += usize::from(entry.event.message_id == health.id))
        .await
        .unwrap();
    assert_eq!(receipts, 1);
    until("the insurance is asked how far it is", async || {
        (insurance.asked() > 0).then_some(())
    })
    .await;
    insurance.says(Says::Takes(JobState::Stored));
    until("the insurance is asked until it has everything", async || {
        (insurance.asked() > 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_next_choice_is_asked_when_one_refuses() {
    let world = World::new().await;
    let (foo, bar) = nodes(&world).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let insurance = Agent::start(&world, "mailbox.insurance.test", Says::Status(403)).await;
    let own = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    bob.wishes(BOTH).await;
    for (number, status) in [401, 403, 404, 413, 422, 507].into_iter().enumerate() {
        insurance.says(Says::Status(status));
        let letter = Letter::new(&number.to_string());
        alice.send(&letter.bytes(), &[&["bob@bar.test"]]).await;
        let inbox = bob.holds("inbox", number + 1).await;
        let said = inbox[0].placeholder.clone().unwrap();
        assert_eq!(said.destination.unwrap().as_str(), "mailbox.bar.test", "{status}");
        assert_eq!(said.decided_by, Some(Decision::Default(0)));
        assert_eq!(insurance.told().len(), number + 1, "asked once, not again");
    }
    assert_eq!(own.told().len(), 6);
    assert!(alice.list("inbox").await.is_empty(), "nothing to report");
}

/// foo.test, and bar.test with the agent of mailbox.insurance.test in its own process.
async fn with_own(world: &World, own: &std::sync::Arc<Own>) -> (Node, Node) {
    let web = |agent| Setting {
        channel: Channel::Web,
        agent,
        ..Setting::default()
    };
    let sending = Node::start(world, "foo.test", web(None)).await;
    (
        sending,
        Node::start(world, "bar.test", web(Some(own.clone()))).await,
    )
}

#[tokio::test]
async fn a_resource_mailbox_in_the_same_process_is_told_and_asked_without_a_network() {
    let world = World::new().await;
    let retrieving = JobState::Retrieving { bytes: 1, of: 2 };
    let own = Own::new(&world, "mailbox.insurance.test", Ok(retrieving)).await;
    let (foo, bar) = with_own(&world, &own).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    bob.wishes(BOTH).await;
    alice.send(&Letter::new("1").bytes(), &[&["bob@bar.test"]]).await;
    let inbox = bob.holds("inbox", 1).await;
    let said = inbox[0].placeholder.clone().unwrap();
    assert_eq!(said.destination.unwrap().as_str(), "mailbox.insurance.test");
    until("it is asked how far it is", async || {
        (own.asked() > 0).then_some(())
    })
    .await;
    // It has lost its job, or changes its mind: as of any other destination.
    own.says(Err(Fault::NotFound));
    until("it is told again", async || (own.told().len() > 1).then_some(())).await;
    assert_eq!(own.told()[0], own.told()[1]);
    let other = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    own.says(Ok(JobState::Refused {
        reason: Reason::OverQuota,
    }));
    until("the header names the next choice", async || {
        let message = bob.list("inbox").await.into_iter().next()?;
        let destination = message.placeholder?.destination?;
        (destination.as_str() == "mailbox.bar.test").then_some(())
    })
    .await;
    assert_eq!(other.told().len(), 1);
}

#[tokio::test]
async fn what_a_resource_mailbox_in_the_same_process_refuses_has_the_outcome_that_it_has_by_https() {
    let world = World::new().await;
    let own = Own::new(&world, "mailbox.insurance.test", Err(Fault::Refused)).await;
    let (foo, bar) = with_own(&world, &own).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let other = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    bob.wishes(BOTH).await;
    let for_good = [
        Fault::Unauthenticated,
        Fault::Refused,
        Fault::NoSuchUser,
        Fault::NotFound,
        Fault::TooLarge,
        Fault::Malformed,
        Fault::OverQuota,
    ];
    for (number, fault) in for_good.into_iter().enumerate() {
        own.says(Err(fault));
        let letter = Letter::new(&number.to_string());
        alice.send(&letter.bytes(), &[&["bob@bar.test"]]).await;
        let inbox = bob.holds("inbox", number + 1).await;
        let said = inbox[0].placeholder.clone().unwrap();
        assert_eq!(
            said.destination.unwrap().as_str(),
            "mailbox.bar.test",
            "{fault:?}"
        );
        assert_eq!(own.told().len(), number + 1, "asked once, not again");
    }
    assert_eq!(other.told().len(), for_good.len());

    // What cannot be done now is done later.
    let wait = Duration::from_secs(1);
    own.says(Err(Fault::TryLater(wait)));
    alice
        .send(&Letter::new("later").bytes(), &[&["bob@bar.test"]])
        .await;
    let before = for_good.len();
    until("it is told", async || (own.told().len() > before).then_some(())).await;
    own.says(Ok(JobState::Stored));
    let inbox = bob.holds("inbox", before + 1).await;
    let said = inbox[0].placeholder.clone().unwrap();
    assert_eq!(said.destination.unwrap().as_str(), "mailbox.insurance.test");
    let octets = own.told().split_off(before);
    assert!(octets.len() > 1 && octets.iter().all(|other| *other == octets[0]));

    // Nobody is left: the sender is told why.
    own.says(Err(Fault::OverQuota));
    bob.wishes(r#"{"default":["mailbox.insurance.test"]}"#).await;
    alice
        .send(&Letter::new("none").bytes(), &[&["bob@bar.test"]])
        .await;
    let inbox = alice.holds("inbox", 1).await;
    let report = alice.raw(&inbox[0].id).await;
    assert!(
        report.contains("Final-Recipient: rfc822; bob@bar.test\r\nAction: failed\r\nStatus: 5.2.2"),
        "{report}"
    );
}

/// A key that one side is changing, or a clock that is wrong: not the next choice, for the mail is as good as before when that is over.
#[tokio::test]
async fn a_destination_that_does_not_believe_the_broker_is_asked_again() {
    let world = World::new().await;
    let (foo, bar) = nodes(&world).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let insurance = Agent::start(&world, "mailbox.insurance.test", Says::Later(401)).await;
    let own = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    bob.wishes(BOTH).await;
    alice.send(&Letter::new("1").bytes(), &[&["bob@bar.test"]]).await;
    until("it is asked twice", async || {
        (insurance.told().len() > 1).then_some(())
    })
    .await;
    insurance.says(Says::Takes(JobState::Stored));
    let inbox = bob.holds("inbox", 1).await;
    let said = inbox[0].placeholder.clone().unwrap();
    assert_eq!(said.destination.unwrap().as_str(), "mailbox.insurance.test");
    assert!(own.told().is_empty());
    assert!(alice.list("inbox").await.is_empty(), "nothing to report");
}

#[tokio::test]
async fn a_busy_destination_is_asked_again_with_the_same_octets() {
    let world = World::new().await;
    let (foo, bar) = nodes(&world).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let insurance = Agent::start(&world, "mailbox.insurance.test", Says::Later(503)).await;
    bob.wishes(r#"{"default":["mailbox.insurance.test"]}"#).await;
    // A failure, which may be a disk that is full at the moment, or too much at once.
    for (number, status) in [503, 429].into_iter().enumerate() {
        let before = insurance.told().len();
        insurance.says(Says::Later(status));
        let letter = Letter::new(&number.to_string());
        alice.send(&letter.bytes(), &[&["bob@bar.test"]]).await;
        until("it is asked", async || {
            (insurance.told().len() > before).then_some(())
        })
        .await;
        assert_eq!(bob.list("inbox").await.len(), number);
        insurance.says(Says::Takes(JobState::Stored));
        bob.holds("inbox", number + 1).await;
        let octets = insurance.octets().split_off(before);
        assert!(octets.len() > 1 && octets.iter().all(|other| *other == octets[0]));
    }
}

#[tokio::test]
async fn a_destination_that_changes_its_mind_is_replaced_in_the_delivered_message() {
    let world = World::new().await;
    let (foo, bar) = nodes(&world).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let refused = JobState::Refused {
        reason: Reason::OverQuota,
    };
    let insurance = Agent::start(&world, "mailbox.insurance.test", Says::Takes(refused)).await;
    let own = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    bob.wishes(BOTH).await;
    alice.send(&Letter::new("1").bytes(), &[&["bob@bar.test"]]).await;
    let message = until("the header names the next choice", async || {
        let inbox = bob.list("inbox").await;
        let message = inbox.into_iter().next()?;
        let destination = message.placeholder.as_ref()?.destination.clone()?;
        (destination.as_str() == "mailbox.bar.test").then_some(message)
    })
    .await;
    let raw = bob.raw(&message.id).await;
    assert_eq!(raw.matches("X-Destination-Resource-Mailbox-URL").count(), 1);
    assert_eq!(bob.list("inbox").await.len(), 1, "one message, not two");
    assert_eq!((insurance.told().len(), own.told().len()), (1, 1));
}

#[tokio::test]
async fn the_sender_is_told_when_the_origin_does_not_give_what_it_promised() {
    let world = World::new().await;
    let (foo, bar) = nodes(&world).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let failed = JobState::Failed {
        reason: Reason::Unverifiable,
    };
    let _agent = Agent::start(&world, "mailbox.bar.test", Says::Takes(failed)).await;
    bob.wishes(BOTH).await;
    alice.send(&Letter::new("1").bytes(), &[&["bob@bar.test"]]).await;
    let inbox = alice.holds("inbox", 1).await;
    let report = alice.raw(&inbox[0].id).await;
    assert!(
        report.contains("Final-Recipient: rfc822; bob@bar.test\r\nAction: failed\r\nStatus: 5.6.0"),
        "{report}"
    );
    assert_eq!(bob.list("inbox").await.len(), 1);
}

#[tokio::test]
async fn an_entry_goes_on_where_it_was_after_a_restart() {
    let world = World::new().await;
    let (foo, bar) = nodes(&world).await;
    let insurance = Agent::start(&world, "mailbox.insurance.test", Says::Later(503)).await;
    {
        let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
        bob.wishes(r#"{"default":["mailbox.insurance.test"]}"#).await;
        alice.send(&Letter::new("1").bytes(), &[&["bob@bar.test"]]).await;
        until("it is asked", async || {
            (!insurance.told().is_empty()).then_some(())
        })
        .await;
    }
    let bar = bar.stop().await;
    insurance.says(Says::Takes(JobState::Stored));
    let bar = bar.start(&world).await;
    let bob = bar.user("bob").await;
    let inbox = bob.holds("inbox", 1).await;
    assert!(inbox[0].placeholder.as_ref().unwrap().destination.is_some());
}

#[tokio::test]
async fn d04_a_destination_at_an_address_that_is_not_allowed_counts_as_refusing() {
    let world = World::new().await;
    let (foo, bar) = nodes(&world).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let own = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    let metadata = std::net::Ipv4Addr::new(169, 254, 169, 254);
    world.publish(
        "inside.test",
        cargomail_node::dns::Record::Address(metadata.into()),
    );
    world.publish(
        "_grip-notify._tcp.mailbox.insurance.test",
        cargomail_node::dns::Record::Srv(cargomail_node::dns::Srv {
            priority: 0,
            weight: 0,
            host: "inside.test".to_owned(),
            port: 443,
        }),
    );
    bob.wishes(BOTH).await;
    alice.send(&Letter::new("1").bytes(), &[&["bob@bar.test"]]).await;
    bob.holds("inbox", 1).await;
    assert_eq!(own.told().len(), 1);
}

#[tokio::test]
async fn wishes_are_checked_and_are_each_users_own() {
    use http::{Method, StatusCode};
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", Setting::default()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    bob.wishes(BOTH).await;
    let path = "/api/v1/preferences";
    let (_, theirs) = carol.ask(Method::GET, path, axum::body::Body::empty()).await;
    assert_eq!(theirs, r#"{"rules":[],"default":[]}"#);
    for bad in [
        "",
        "[]",
        r#"{"rules":[],"defaults":[]}"#,
        r#"{"default":["http://x"]}"#,
    ] {
        let (status, _) = bob.ask(Method::PUT, path, bad.to_owned()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{bad:?}");
    }
    let many = format!(
        r#"{{"default":[{}"m.bar.test"]}}"#,
        r#""m.bar.test","#.repeat(100)
    );
    let (status, _) = bob.ask(Method::PUT, path, many).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let quick = tokio::time::timeout(
        Duration::from_secs(10),
        bob.ask(Method::GET, path, axum::body::Body::empty()),
    );
    let (_, kept) = quick.await.unwrap();
    assert!(std::str::from_utf8(&kept).unwrap().contains("insurance"));
}
