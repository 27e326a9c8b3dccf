//! The queues: what fails costs the others nothing.

use std::time::Duration;

use cargomail_node::api::{Channel, Delivery};
use cargomail_node::store::typed;
use cargomail_protocol::limits;
use cargomail_protocol::notification::JobState;
use cid::Cid;

use crate::agents::{Agent, Says};
use crate::rig::{Letter, Node, Setting, World, note, until};

fn web() -> Setting {
    Setting {
        channel: Channel::Web,
        ..Setting::default()
    }
}

/// A port where connections are taken and never answered.
async fn silent() -> (tokio::net::TcpListener, u16) {
    let listener = tokio::net::TcpListener::bind(crate::rig::ANYWHERE).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn q02_a_dead_destination_does_not_delay_the_others() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", web()).await;
    let bar = Node::start(&world, "bar.test", web()).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let (_held, port) = silent().await;
    world.serve("dead.test", port);
    for number in 0..20 {
        let message = note("alice@foo.test", "x@dead.test", &format!("dead-{number}"));
        alice.send(&message, &[&["x@dead.test"]]).await;
    }
    let message = note("alice@foo.test", "bob@bar.test", "1");
    alice.send(&message, &[&["bob@bar.test"]]).await;
    let soon = tokio::time::timeout(Duration::from_secs(8), bob.holds("inbox", 1));
    soon.await.expect("bob's mail does not wait for dead.test");
    until("bob's mail is noted as given, and the others wait", async || {
        let queue = alice.queue().await;
        let waiting = queue.iter().filter(|entry| entry.delivery == Delivery::Waiting);
        (waiting.count() == 20).then_some(())
    })
    .await;
}

#[tokio::test]
async fn q02_a_dead_resource_mailbox_does_not_delay_the_others() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", web()).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let (_held, port) = silent().await;
    world.serve("mailbox.dead.test", port);
    let _own = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    bob.wishes(r#"{"default":["mailbox.dead.test"]}"#).await;
    carol.wishes(r#"{"default":["mailbox.bar.test"]}"#).await;
    let letter = |id: String, to: &str| {
        let letter = Letter {
            from: "bob@bar.test".to_owned(),
            to: vec![to.to_owned()],
            ..Letter::new(&id)
        };
        letter.bytes()
    };
    for number in 0..20 {
        bob.send(
            &letter(format!("dead-{number}"), "bob@bar.test"),
            &[&["bob@bar.test"]],
        )
        .await;
    }
    bob.send(&letter("1".to_owned(), "carol@bar.test"), &[&["carol@bar.test"]])
        .await;
    let soon = tokio::time::timeout(Duration::from_secs(8), carol.holds("inbox", 1));
    soon.await.expect("carol's mail does not wait for bob's mailbox");
}

#[tokio::test]
async fn mail_that_cannot_be_given_for_five_days_comes_back() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", web()).await;
    let alice = foo.user("alice").await;
    // taken, and not listened at
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind(crate::rig::ANYWHERE).unwrap();
    world.serve("dead.test", silent.local_addr().unwrap().port());
    let message = note("alice@foo.test", "x@dead.test", "1");
    alice.send(&message, &[&["x@dead.test"]]).await;
    until("it is tried", async || {
        let queue = alice.queue().await;
        queue.last().is_some_and(|entry| entry.failed > 0).then_some(())
    })
    .await;
    world.passes(limits::SENDING);
    // whatever else is sent wakes the queue
    let other = note("alice@foo.test", "x@nowhere.test", "2");
    alice.send(&other, &[&["x@nowhere.test"]]).await;
    let sent = alice.sent().await;
    assert_eq!(sent[1].delivery, Delivery::Expired);
    let inbox = alice.holds("inbox", 2).await;
    let mut reports = Vec::new();
    for message in &inbox {
        reports.push(alice.raw(&message.id).await);
    }
    let about = |id: &str| reports.iter().find(|report| report.contains(id)).unwrap();
    assert!(about("<1@foo.test>").contains("Status: 5.4.7"));
    assert!(about("<2@foo.test>").contains("Status: 5.4.4"));
}

#[tokio::test]
async fn the_agents_token_is_renewed_before_it_ends() {
    let world = World::new().await;
    let bar = Node::start(&world, "bar.test", web()).await;
    let bob = bar.user("bob").await;
    let agent = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Queued)).await;
    bob.wishes(r#"{"default":["mailbox.bar.test"]}"#).await;
    let month = Duration::from_secs(30 * 24 * 3600);
    let letter = Letter {
        from: "bob@bar.test".to_owned(),
        expires: world.clock().now().plus(month),
        ..Letter::new("1")
    };
    bob.send(&letter.bytes(), &[&["bob@bar.test"]]).await;
    until("it is asked", async || (agent.asked() > 0).then_some(())).await;
    assert_eq!(agent.told().len(), 1);
    world.passes(limits::NOTIFY_TOKEN_LIFE - Duration::from_secs(12 * 3600));
    let mut others = 2..;
    until("it is told again", async || {
        if agent.told().len() == 2 {
            return Some(());
        }
        // What was being written when the time leapt is due a moment after that; and whoever sleeps is woken by other mail.
        world.passes(Duration::from_secs(600));
        let other = others.next().unwrap().to_string();
        let other = note("bob@bar.test", "bob@bar.test", &other);
        bob.send(&other, &[&["bob@bar.test"]]).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        None
    })
    .await;
    let octets = agent.octets();
    assert_eq!(
        octets[0], octets[1],
        "the same notification, so that it is the same job"
    );
}

/// The message of an entry, as its record names it.
#[derive(serde::Deserialize)]
struct Message {
    message: Stored,
}

#[derive(serde::Deserialize)]
struct Stored {
    cid: Cid,
}

#[tokio::test]
async fn q01_a_poison_message_does_not_stop_the_queue() {
    let world = World::new().await;
    let foo = Node::start(&world, "foo.test", web()).await;
    let bar = Node::start(&world, "bar.test", web()).await;
    let (_held, port) = silent().await;
    world.serve("dead.test", port);
    {
        let alice = foo.user("alice").await;
        // its octets get lost while it waits: every step of it fails from now on
        let mut message = note("alice@foo.test", "x@dead.test", "poison");
        message.extend(b"More than fits into a record.\r\n".repeat(limits::INLINE / 16));
        alice.send(&message, &[&["x@dead.test"]]).await;
    }
    let records = foo.store.records();
    let page = records.list("outbound/", None, 10).await.unwrap();
    let entry: Message = typed::decode(&page[0]).unwrap();
    let lost = [entry.message.cid];
    foo.store.blocks().condemn(&lost).await.unwrap();
    assert_eq!(foo.store.blocks().sweep(&lost).await.unwrap(), [true]);
    // and a record that cannot be read at all
    let put = cargomail_node::store::Op::Put("outbound/damaged".to_owned(), "rubbish".into());
    records.commit(Vec::new(), vec![put]).await.unwrap();
    drop(records);
    let foo = foo.stop().await.start(&world).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let message = note("alice@foo.test", "bob@bar.test", "1");
    alice.send(&message, &[&["bob@bar.test"]]).await;
    bob.holds("inbox", 1).await;
    let poison = async || {
        let queue = alice.queue().await;
        queue
            .into_iter()
            .find(|entry| entry.message_id.contains("poison"))
            .unwrap()
    };
    // hours pass; each message that is sent meanwhile goes out
    for number in 2..30 {
        if poison().await.delivery != Delivery::Waiting {
            break;
        }
        world.passes(Duration::from_secs(2 * 3600));
        let message = note("alice@foo.test", "bob@bar.test", &number.to_string());
        alice.send(&message, &[&["bob@bar.test"]]).await;
        bob.holds("inbox", number).await;
    }
    let aside = poison().await;
    assert_eq!(aside.delivery, Delivery::Refused, "put aside: {}", aside.last);
    let report = alice.holds("inbox", 1).await;
    assert!(alice.raw(&report[0].id).await.contains("Status: 5.3.0"));
}
