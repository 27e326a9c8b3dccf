//! The queues: what fails costs the others nothing.

use std::time::Duration;

use cargomail_node::api::{Channel, Delivery};
use cargomail_node::store::typed;
use cargomail_protocol::notification::JobState;
use cid::Cid;

use crate::rig::{Agent, Letter, Node, Says, Setting, World, note, until};

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
    let queue = alice.queue().await;
    let waiting = queue.iter().filter(|entry| entry.delivery == Delivery::Waiting);
    assert_eq!(waiting.count(), 20);
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
        let message = note("alice@foo.test", "x@dead.test", "poison");
        alice.send(&message, &[&["x@dead.test"]]).await;
    }
    let records = foo.store.records();
    let page = records.list("outbound/", None, 10).await.unwrap();
    let entry: Message = typed::decode(&page[0]).unwrap();
    foo.store.blocks().sweep(&[entry.message.cid]).await.unwrap();
    // and a record that cannot be read at all
    let put = cargomail_node::store::Op::Put("outbound/damaged".to_owned(), "rubbish".into());
    records.commit(Vec::new(), vec![put]).await.unwrap();
    drop(records);
    let foo = foo.stop().await.start(&world).await;
    let (alice, bob) = (foo.user("alice").await, bar.user("bob").await);
    let message = note("alice@foo.test", "bob@bar.test", "1");
    alice.send(&message, &[&["bob@bar.test"]]).await;
    bob.holds("inbox", 1).await;
    let last = until(
        "the poison message waits for an operator or another try",
        async || {
            let queue = alice.queue().await;
            let poison = queue
                .into_iter()
                .find(|entry| entry.message_id.contains("poison"))?;
            (poison.delivery == Delivery::Waiting).then_some(poison)
        },
    )
    .await;
    assert!(last.due.is_some());
}
