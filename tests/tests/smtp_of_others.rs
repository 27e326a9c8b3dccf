//! SMTP, LMTP and DKIM with other people's programs at the other end.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_node::clock::{Clock, SystemClock};
use cargomail_node::dns::{Dnssec, Record, Resolver, ResolverOptions, Zone};
use cargomail_node::identity::Identity;
use cargomail_node::network::{AddressPolicy, Network, Tcp};
use cargomail_node::smtp::{
    self, Authenticator, Client, ClientOptions, Delivery, Dkim, Mail, Receiver, Said, ServerOptions,
    SmtpServing,
};
use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::fault::Fault;
use cargomail_tests::dovecot::Dovecot;
use cargomail_tests::peers;
use cargomail_tests::postfix::{Next, Postfix};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

const LETTER: &str = "From: Alice <alice@foo.test>\r\nTo: bob@bar.test\r\nSubject: tea\r\n\
                      Date: Mon, 1 Dec 2025 10:00:00 +0000\r\nMessage-ID: <1@foo.test>\r\n\r\n\
                      At four?\r\n.\r\n..\r\n.hidden\r\n\r\nAlice\r\n";

fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// Takes what comes for bar.test.
#[derive(Default)]
struct Office(Mutex<Vec<Mail>>);

#[async_trait]
impl Receiver for Office {
    fn domain(&self) -> Domain {
        Domain::parse("bar.test").unwrap()
    }

    async fn recipient(&self, _: SocketAddr, _: Option<&Address>, recipient: &Address) -> Result<(), Fault> {
        match recipient.domain().as_str() {
            "bar.test" => Ok(()),
            _ => Err(Fault::Refused),
        }
    }

    async fn message(&self, mail: Mail) -> Result<(), Fault> {
        self.0.lock().unwrap().push(mail);
        Ok(())
    }
}

async fn serve(office: Arc<Office>) -> SmtpServing {
    let certificate = Identity::from_seed(&[7; 32])
        .server_certificate("mx.bar.test", SystemClock.now())
        .unwrap();
    let mut options = ServerOptions::new("mx.bar.test".to_owned());
    options.tls = Some(smtp::server_tls(&certificate).unwrap());
    let listener = Tcp.listen(SocketAddr::new(loopback(1), 0)).await.unwrap();
    smtp::serve(listener, office, options, CancellationToken::new()).unwrap()
}

async fn world() -> (Zone, Arc<Resolver>) {
    let zone = Zone::start(SocketAddr::new(loopback(1), 0)).await.unwrap();
    let options = ResolverOptions {
        servers: vec![zone.local_addr()],
        dnssec: Dnssec::Off,
    };
    let dns = Resolver::new(&options, Arc::new(SystemClock)).unwrap();
    (zone, Arc::new(dns))
}

async fn client() -> Client {
    let options = ClientOptions {
        helo: "mail.foo.test".to_owned(),
        port: 25,
        policy: AddressPolicy::public(),
        smart_host: None,
    };
    Client::new(Arc::new(Tcp), world().await.1, options)
}

fn letter_to(recipients: &[&str]) -> Delivery {
    Delivery {
        sender: Some(address("alice@foo.test")),
        recipients: recipients.iter().map(|text| address(text)).collect(),
        message: Bytes::from_static(LETTER.as_bytes()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swaks_brings_a_message_over_tls_and_by_a_pipeline() {
    let office = Arc::new(Office::default());
    let serving = serve(office.clone()).await;
    for how in [&["--tls"][..], &["--pipeline"], &["--tls", "--pipeline"], &[]] {
        let mut command = Command::new(peers::program("swaks", "swaks").unwrap());
        command
            .args([
                "--from",
                "alice@foo.test",
                "--to",
                "bob@bar.test,carol@bar.test",
                "--data",
                "-",
            ])
            .args(["--server", &serving.local_addr().to_string()])
            .args(how);
        // swaks ends the last line itself.
        let said = peers::ask(&mut command, LETTER.trim_end().as_bytes()).unwrap();
        let mail = office.0.lock().unwrap().pop().unwrap();
        assert_eq!(mail.tls, how.contains(&"--tls"), "{said}");
        assert_eq!(mail.recipients, ["bob@bar.test", "carol@bar.test"].map(address));
        assert_eq!(
            String::from_utf8(mail.message.to_vec()).unwrap(),
            LETTER,
            "{said}"
        );
    }
    let mut command = Command::new(peers::program("swaks", "swaks").unwrap());
    command
        .args(["--from", "alice@foo.test", "--to", "bob@elsewhere.test"])
        .args(["--server", &serving.local_addr().to_string()]);
    let error = peers::ask(&mut command, b"").unwrap_err();
    assert!(error.to_string().contains("ended with"), "{error}");
    assert!(office.0.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postfix_takes_our_mail_over_tls_and_brings_it_back_to_our_server() {
    let office = Arc::new(Office::default());
    let serving = serve(office.clone()).await;
    let at = SocketAddr::new(loopback(41), peers::free_port(loopback(41)).unwrap());
    let routes = [("bar.test", Next::Smtp(serving.local_addr()))];
    let postfix = Postfix::start("mx.foo.test", at, &routes).unwrap();
    let host = at.ip().to_string();
    let said = client()
        .await
        .smtp(
            &host,
            at.port(),
            &letter_to(&["bob@bar.test", "carol@elsewhere.test"]),
        )
        .await
        .unwrap();
    assert_eq!(said[0], Said::Accepted, "{}", postfix.log());
    assert!(
        matches!(said[1], Said::Refused { .. } | Said::Later { .. }),
        "{said:?}"
    );
    let arrived = || Ok(!office.0.lock().unwrap().is_empty());
    peers::wait_until("the mail comes back", arrived).unwrap();
    let mail = office.0.lock().unwrap().pop().unwrap();
    assert!(mail.tls, "Postfix uses STARTTLS where it is offered");
    assert_eq!(mail.helo, "mx.foo.test");
    assert!(mail.message.ends_with(LETTER.as_bytes()), "{}", postfix.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dovecot_takes_our_mail_by_lmtp() {
    let dovecot = Dovecot::start(loopback(42)).unwrap();
    let at = dovecot.lmtp();
    let host = at.ip().to_string();
    let both = letter_to(&["bob@bar.test", "carol@bar.test"]);
    let said = client().await.lmtp(&host, at.port(), &both).await.unwrap();
    assert_eq!(said, [Said::Accepted, Said::Accepted], "{}", dovecot.log());
    for user in ["bob@bar.test", "carol@bar.test"] {
        let inbox = dovecot.wait_for(user, 1).unwrap();
        assert!(inbox[0].ends_with(LETTER.as_bytes()), "{user}");
    }
}

#[test]
fn dkimpy_verifies_what_this_node_signs() {
    #[derive(Deserialize)]
    struct Verdict {
        holds: bool,
        names: Vec<String>,
    }
    let dkim = Dkim::new(
        &Identity::from_seed(&[5; 32]),
        Domain::parse("foo.test").unwrap(),
        "cargomail",
    );
    let ask = |message: &str| -> Verdict {
        let request = serde_json::json!({ "message": message, "record": dkim.record() });
        let answer = peers::ask(
            &mut peers::python("dkim_of_others.py").unwrap(),
            request.to_string().as_bytes(),
        );
        serde_json::from_str(&answer.unwrap()).unwrap()
    };
    let vectors = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/placeholder");
    let placeholder = std::fs::read_to_string(vectors.join("composed.placeholder.eml")).unwrap();
    for message in [LETTER, &placeholder] {
        let signed = String::from_utf8(dkim.sign(message.as_bytes()).unwrap()).unwrap();
        let verdict = ask(&signed);
        assert!(verdict.holds, "{signed}");
        assert_eq!(verdict.names, ["cargomail._domainkey.foo.test."]);
        let routed = signed.replacen(
            "\r\n\r\n",
            "\r\nX-Destination-Resource-Mailbox-URL: x.test\r\n\r\n",
            1,
        );
        assert!(ask(&routed).holds, "the destination is not signed");
        assert!(!ask(&signed.replacen("Subject: ", "Subject: not ", 1)).holds);
    }
}

#[tokio::test]
async fn what_dkimpy_signs_is_verified_here() {
    #[derive(Deserialize)]
    struct Signed {
        fields: String,
        record: String,
    }
    let request = serde_json::json!({ "message": LETTER, "domain": "foo.test" });
    let mut command = peers::python("dkim_of_others.py").unwrap();
    let answer = peers::ask(&mut command, request.to_string().as_bytes()).unwrap();
    let signed: Signed = serde_json::from_str(&answer).unwrap();
    let (zone, dns) = world().await;
    zone.add("s1._domainkey.foo.test", Record::Txt(signed.record));
    zone.add("_dmarc.foo.test", Record::Txt("v=DMARC1; p=reject".to_owned()));
    let authenticator = Authenticator::new(dns, "mx.bar.test".to_owned());
    let judge = async |message: String| {
        let mail = Mail {
            client: SocketAddr::new(loopback(1), 40_000),
            helo: "mail.elsewhere.test".to_owned(),
            tls: true,
            sender: Some(address("list@elsewhere.test")),
            recipients: vec![address("bob@bar.test")],
            message: Bytes::from(message),
        };
        authenticator.authenticate(&mail).await
    };
    let judged = judge(format!("{}{LETTER}", signed.fields)).await;
    assert_eq!(
        judged.author,
        Some(Domain::parse("foo.test").unwrap()),
        "{}",
        judged.results
    );
    let judged = judge(format!("{}{}", signed.fields, LETTER.replace("four", "five"))).await;
    assert_eq!(judged.author, None, "{}", judged.results);
}
