//! A disk that takes no writes: nothing goes out twice because nobody could note that it went.

use std::time::Duration;

use cargomail_node::api::{Channel, Delivery};
use cargomail_node::broker::Deliver;

use crate::disk::Disk;
use crate::lmtp::MailStore;
use crate::rig::{Node, Setting, User, World, note, until};

/// More than a broker works on at once.
const MAILS: usize = 12;

/// Has alice send mails, the disk break when the first of them is taken, and says what the server got meanwhile and in all.
async fn sends(world: &World, alice: &User<'_>, to: &str, server: &MailStore, disk: &Disk) -> (usize, usize) {
    let send = async |number: usize| {
        let message = note(&alice.whose.to_string(), to, &number.to_string());
        alice.send(&message, &[&[to]]).await;
    };
    server.is_busy(true);
    for number in 0..MAILS {
        send(number).await;
    }
    until("the server was asked for each", async || {
        (server.tries() >= MAILS).then_some(())
    })
    .await;
    server.is_busy(false);
    server.breaks_when_it_takes(disk);
    world.passes(Duration::from_secs(600));
    send(MAILS).await;
    // each mail twice: its step, and that the step failed
    until("no step can be noted", async || {
        (disk.refused() >= 2 * MAILS).then_some(())
    })
    .await;
    let meanwhile = server.messages().len();
    disk.is_mended();
    world.passes(Duration::from_secs(600));
    send(MAILS + 1).await;
    until("everything is given", async || {
        let all = |number: usize| server.got(&format!("<{number}@")) > 0;
        (0..MAILS + 2).all(all).then_some(())
    })
    .await;
    (meanwhile, server.messages().len())
}

#[tokio::test]
async fn q06_what_was_given_by_smtp_and_could_not_be_noted_is_not_given_again() {
    let world = World::new().await;
    let (server, port) = MailStore::start().await;
    let disk = Disk::default();
    let setting = Setting {
        channel: Channel::Smtp,
        smtp_port: port,
        disk: disk.clone(),
        ..Setting::default()
    };
    let foo = Node::start(&world, "foo.test", setting).await;
    world.mail_goes("far.test");
    let alice = foo.user("alice").await;
    let (meanwhile, all) = sends(&world, &alice, "x@far.test", &server, &disk).await;
    // two at once for one destination
    assert!(
        meanwhile <= 2,
        "{meanwhile} were given while nothing could be noted"
    );
    let sent = alice.sent().await;
    assert!(sent.iter().all(|entry| entry.delivery == Delivery::Accepted));
    assert_eq!(all, MAILS + 2, "each once");
}

#[tokio::test]
async fn q06_what_a_mail_store_took_and_could_not_be_noted_is_not_delivered_again() {
    let world = World::new().await;
    let (server, port) = MailStore::start().await;
    let host = "127.0.0.1".to_owned();
    let disk = Disk::default();
    let setting = Setting {
        deliver: Deliver::Lmtp { host, port },
        disk: disk.clone(),
        ..Setting::default()
    };
    let bar = Node::start(&world, "bar.test", setting).await;
    let bob = bar.user("bob").await;
    bar.user("carol").await;
    let (meanwhile, all) = sends(&world, &bob, "carol@bar.test", &server, &disk).await;
    // eight steps at once
    assert!(
        meanwhile <= 8,
        "{meanwhile} were delivered while nothing could be noted"
    );
    assert_eq!(all, MAILS + 2, "each once");
}
