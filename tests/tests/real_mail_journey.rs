//! The paper's Figure 1 with real programs: the email systems of foo.test and bar.test are two Postfix and a Dovecot, which know
//! nothing of Cargomail, and the Cargo Broker stands between bar.test's Postfix and its mail store.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use cargomail_node::app::{Letter, Opened, Unwatched, Watch};
use cargomail_node::clock::SystemClock;
use cargomail_node::dns::{Mx, Record, Resolver, ResolverOptions};
use cargomail_node::harness::{PATIENCE, Topology, Town, acknowledged, compare, delivered};
use cargomail_node::network::{AddressPolicy, Tcp};
use cargomail_node::smtp;
use cargomail_protocol::address::Address;
use cargomail_protocol::grip::Digest;
use cargomail_protocol::placeholder::{Category, Mailbox, Placeholder};
use cargomail_tests::dovecot::Dovecot;
use cargomail_tests::peers;
use cargomail_tests::postfix::{Next, Postfix};

fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::new(loopback(last), peers::free_port(loopback(last)).unwrap())
}

/// Submits a message as a mail program does.
async fn submit(town: &Town, server: SocketAddr, message: &[u8]) {
    let options = ResolverOptions {
        servers: vec![town.zone.local_addr()],
        ..ResolverOptions::default()
    };
    let dns = Resolver::new(&options, Arc::new(SystemClock)).unwrap();
    let client = smtp::Client::new(
        Arc::new(Tcp),
        Arc::new(dns),
        smtp::ClientOptions {
            helo: "laptop.foo.test".to_owned(),
            port: server.port(),
            policy: AddressPolicy::allowing_loopback(),
            smart_host: None,
        },
    );
    let delivery = smtp::Delivery {
        sender: Some(Address::parse("alice@foo.test").unwrap()),
        recipients: vec![Address::parse("bob@bar.test").unwrap()],
        message: Bytes::copy_from_slice(message),
    };
    let said = client
        .smtp(&server.ip().to_string(), server.port(), &delivery)
        .await
        .unwrap();
    assert!(matches!(said[..], [smtp::Said::Accepted]), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_crosses_two_postfix_and_the_broker_delivers_it_into_a_dovecot() {
    let folder = tempfile::tempdir().unwrap();
    let dovecot = Dovecot::start(loopback(43)).unwrap();
    let mut plans = Topology::Four.plans();
    plans[3].deliver = format!("lmtp://{}", dovecot.lmtp());
    plans[3].relays = vec!["127.0.0.0/8".to_owned()];
    let town = Town::start(folder.path(), &plans).await.unwrap();
    let broker = town.site("bar.test").ports;
    let bar = Postfix::start(
        "mx.bar.test",
        at(42),
        &[("bar.test", Next::Smtp(broker.at(broker.smtp)))],
    )
    .unwrap();
    let foo = Postfix::start("mx.foo.test", at(41), &[("bar.test", Next::Smtp(bar.address()))]).unwrap();
    let alice = town.person("alice@foo.test").await.unwrap();
    let bob = town.person("bob@bar.test").await.unwrap();
    let wishes = Topology::Four.wishes().unwrap();
    bob.broker().unwrap().set_preferences(&wishes).await.unwrap();

    let file = folder.path().join("x-ray.dcm");
    std::fs::write(&file, vec![7; 3_000_000]).unwrap();
    let mut letter = Letter::new(Category::parse("healthcare").unwrap());
    letter.to = vec![Mailbox::bare(Address::parse("bob@bar.test").unwrap())];
    letter.subject = "X-ray".to_owned();
    letter.text = Some("See the file.\r\n".to_owned());
    letter.files = vec![file];
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let composed = alice.compose(&letter, &watch).await.unwrap();
    submit(&town, foo.address(), &composed.message).await;

    let inbox = tokio::task::spawn_blocking(move || {
        let inbox = dovecot.wait_for("bob@bar.test", 1).unwrap();
        (inbox, dovecot.log())
    });
    let (inbox, log) = inbox.await.unwrap();
    let [message] = inbox.as_slice() else {
        panic!("{} messages\n{log}\n{}\n{}", inbox.len(), foo.log(), bar.log())
    };
    let text = String::from_utf8_lossy(message);
    assert!(
        text.contains("X-Destination-Resource-Mailbox-URL: mailbox.insurance.test\r\n"),
        "{text}"
    );
    for server in [
        "by mx.foo.test (Postfix)",
        "by mx.bar.test (Postfix)",
        "with LMTP",
    ] {
        assert!(text.contains(server), "{server} not in {text}");
    }
    let placeholder = Placeholder::parse(message).unwrap();
    assert_eq!(placeholder.as_ref().unwrap().message_id(), composed.message_id);
    let opened = Opened {
        id: String::new(),
        message: Bytes::from(message.clone()),
        placeholder,
    };
    let into = folder.path().join("read");
    compare(&bob, &opened, &letter, &into, PATIENCE, &watch)
        .await
        .unwrap();
    acknowledged(&alice, &composed.message_id).await.unwrap();
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_cargomail_finds_the_whole_message_in_a_dovecot() {
    let folder = tempfile::tempdir().unwrap();
    let dovecot = Dovecot::start(loopback(46)).unwrap();
    let town = Town::start(folder.path(), &Topology::Four.plans()).await.unwrap();
    // Where every broker of the town sends mail to.
    let port = town.site("foo.test").ports.smtp;
    let old = Postfix::start(
        "mx.old.test",
        SocketAddr::new(loopback(45), port),
        &[("old.test", Next::Lmtp(dovecot.lmtp()))],
    )
    .unwrap();
    let exchanger = Mx {
        preference: 10,
        host: "mx.old.test".to_owned(),
    };
    town.zone.add("old.test", Record::Mx(exchanger));
    town.zone.add("mx.old.test", Record::Address(loopback(45)));
    let [alice, bob] = ["alice@foo.test", "bob@bar.test"];
    let (alice, bob) = (town.person(alice).await.unwrap(), town.person(bob).await.unwrap());
    let wishes = Topology::Four.wishes().unwrap();
    bob.broker().unwrap().set_preferences(&wishes).await.unwrap();

    let file = folder.path().join("x-ray ü.dcm");
    let octets: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    std::fs::write(&file, &octets).unwrap();
    let mut letter = Letter::new(Category::parse("healthcare").unwrap());
    letter.to = ["bob@bar.test", "carol@old.test"]
        .map(|one| Mailbox::bare(Address::parse(one).unwrap()))
        .to_vec();
    letter.subject = "Röntgenbild".to_owned();
    letter.text = Some("See the file.".to_owned());
    letter.files = vec![file];
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let sent = alice.send(&letter, &watch).await.unwrap();
    assert_eq!(sent.ordinary.len(), 1);

    let inbox = tokio::task::spawn_blocking(move || dovecot.wait_for("carol@old.test", 1));
    let inbox = inbox.await.unwrap().unwrap();
    let [message] = inbox.as_slice() else {
        panic!("{} messages\n{}", inbox.len(), old.log())
    };
    let read = read_by_another(message);
    assert_eq!(read["subject"], "Röntgenbild");
    assert_eq!(read["id"], sent.message_id);
    assert_eq!(read["text"], "See the file.");
    assert_eq!(read["name"], "x-ray ü.dcm");
    assert_eq!(
        read["sha256"],
        data_encoding::HEXLOWER.encode(Digest::of(&octets).sha256())
    );
    let delivered = delivered(&bob, "inbox", &sent.message_id).await.unwrap();
    let opened = bob.open(&delivered.id).await.unwrap();
    let into = folder.path().join("read");
    compare(&bob, &opened, &letter, &into, PATIENCE, &watch)
        .await
        .unwrap();
    town.stop().await;
}

/// What Python's email package makes of a message.
fn read_by_another(message: &[u8]) -> serde_json::Value {
    let program = "import email.policy, hashlib, json, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
f, = m.iter_attachments()
print(json.dumps({'subject': m['subject'], 'id': m['message-id'], 'text': m.get_body(('plain',)).get_content().rstrip('\\n'),
    'name': f.get_filename(), 'sha256': hashlib.sha256(f.get_payload(decode=True)).hexdigest()}))";
    let said = peers::ask(
        std::process::Command::new("python3").args(["-c", program]),
        message,
    )
    .unwrap();
    serde_json::from_str(&said).unwrap()
}
