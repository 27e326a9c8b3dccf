//! The SMTP client against servers that follow a script, over real sockets and with a real DNS.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cargomail_node::clock::{Clock, SystemClock};
use cargomail_node::dns::{Dnssec, Mx, Record, Resolver, ResolverOptions, Zone};
use cargomail_node::identity::Identity;
use cargomail_node::network::{AddressPolicy, ByteStream, ConnectError, Tcp};
use cargomail_node::smtp::{self, Broken, Client, ClientError, ClientOptions, Delivery, Said, Unclean};
use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::fault::Faulty;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
const GREETING: &str = "220 mx.bar.test ESMTP\r\n";
const HELLO: (&str, &str) = (
    "EHLO",
    "250-mx.bar.test\r\n250-SIZE 10000\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
);

/// What a server says to what.
#[derive(Clone)]
struct Script {
    greeting: &'static str,
    /// The first one whose beginning fits; everything else is answered with 250.
    answers: Vec<(&'static str, &'static str)>,
    /// After the end of the message.
    end: &'static str,
    /// For a handshake behind STARTTLS.
    tls: Option<TlsAcceptor>,
}

impl Script {
    fn new(answers: &[(&'static str, &'static str)]) -> Self {
        Self {
            greeting: GREETING,
            answers: [answers, &[HELLO, ("DATA", "354 go\r\n"), ("QUIT", "221 bye\r\n")]].concat(),
            end: "250 2.0.0 queued\r\n",
            tls: None,
        }
    }
}

/// A server that follows a script, and keeps what each client said: one text a connection.
struct Scripted {
    at: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn start(script: Script) -> Self {
        Self::start_at(SocketAddr::new(HOME.into(), 0), script).await
    }

    async fn start_at(at: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let at = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keep = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let index = {
                    let mut heard = keep.lock().unwrap();
                    heard.push(String::new());
                    heard.len() - 1
                };
                let (script, keep) = (script.clone(), keep.clone());
                tokio::spawn(async move {
                    let hear = |octets: &[u8]| {
                        let text = String::from_utf8_lossy(octets).into_owned();
                        keep.lock().unwrap()[index].push_str(&text);
                    };
                    perform(Box::new(stream), script, hear).await;
                });
            }
        });
        Self { at, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn perform(mut stream: Box<dyn ByteStream>, script: Script, hear: impl Fn(&[u8])) -> Option<()> {
    stream.write_all(script.greeting.as_bytes()).await.ok()?;
    let mut input = Vec::new();
    let mut data = false;
    loop {
        let end: &[u8] = if data { b"\r\n.\r\n" } else { b"\r\n" };
        while let Some(at) = input.windows(end.len()).position(|octets| octets == end) {
            let line: Vec<u8> = input.drain(..at + end.len()).collect();
            hear(&line);
            let text = String::from_utf8_lossy(&line).into_owned();
            let scripted = script.answers.iter().find(|(begin, _)| text.starts_with(begin));
            let answer = match scripted {
                _ if data => script.end,
                Some((_, answer)) => answer,
                None => "250 fine\r\n",
            };
            data = !data && answer.starts_with("354");
            stream.write_all(answer.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            if answer.is_empty() {
                return None;
            }
            if text == "STARTTLS\r\n" && answer.starts_with("220") {
                let acceptor = script.tls.as_ref()?;
                stream = Box::new(acceptor.accept(stream).await.ok()?);
                break;
            }
            if data {
                // So that the end is found behind an empty message, too.
                break;
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => input.extend_from_slice(&piece[..count]),
        }
    }
}

struct World {
    zone: Zone,
    dns: Arc<Resolver>,
}

impl World {
    async fn new() -> Self {
        let zone = Zone::start(SocketAddr::new(HOME.into(), 0)).await.unwrap();
        let options = ResolverOptions {
            servers: vec![zone.local_addr()],
            dnssec: Dnssec::Off,
        };
        let dns = Arc::new(Resolver::new(&options, Arc::new(SystemClock)).unwrap());
        Self { zone, dns }
    }

    fn exchanger(&self, preference: u16, host: &str, address: Option<Ipv4Addr>) {
        let mx = Mx {
            preference,
            host: host.to_owned(),
        };
        self.zone.add("bar.test", Record::Mx(mx));
        if let Some(address) = address {
            self.zone.add(host, Record::Address(address.into()));
        }
    }

    fn client(&self, port: u16) -> Client {
        let options = ClientOptions {
            helo: "mail.foo.test".to_owned(),
            port,
            policy: AddressPolicy::allowing_loopback(),
            smart_host: None,
        };
        Client::new(Arc::new(Tcp), self.dns.clone(), options)
    }
}

fn bar() -> Domain {
    Domain::parse("bar.test").unwrap()
}

fn delivery(recipients: &[&str], message: &'static str) -> Delivery {
    Delivery {
        sender: Some(Address::parse("alice@foo.test").unwrap()),
        recipients: recipients
            .iter()
            .map(|text| Address::parse(text).unwrap())
            .collect(),
        message: Bytes::from_static(message.as_bytes()),
    }
}

fn hello_bob() -> Delivery {
    delivery(&["bob@bar.test"], "Subject: x\r\n\r\nhello\r\n")
}

fn refused(said: &Said) -> Option<String> {
    match said {
        Said::Refused { status, .. } => Some(status.to_string()),
        Said::Accepted | Said::Later { .. } => None,
    }
}

#[tokio::test]
async fn exchangers_are_tried_in_order_until_one_answers() {
    let world = World::new().await;
    let server = Scripted::start_at("127.0.0.2:0".parse().unwrap(), Script::new(&[])).await;
    let port = server.at.port();
    let busy = Scripted::start_at(
        SocketAddr::new("127.0.0.4".parse().unwrap(), port),
        Script {
            greeting: "421 4.3.2 too busy\r\n",
            ..Script::new(&[])
        },
    )
    .await;
    let spare = Scripted::start_at(
        SocketAddr::new("127.0.0.5".parse().unwrap(), port),
        Script::new(&[]),
    )
    .await;
    world.exchanger(30, "mx3.bar.test", Some("127.0.0.5".parse().unwrap()));
    world.exchanger(20, "mx2.bar.test", Some("127.0.0.2".parse().unwrap()));
    world.exchanger(15, "mx1.bar.test", Some("127.0.0.4".parse().unwrap()));
    world.exchanger(10, "gone.bar.test", None);
    world.exchanger(5, "silent.bar.test", Some("127.0.0.3".parse().unwrap()));
    let said = world.client(port).send(&bar(), &hello_bob()).await.unwrap();
    assert_eq!(said, [Said::Accepted]);
    let expected = "EHLO mail.foo.test\r\nMAIL FROM:<alice@foo.test> SIZE=21\r\nRCPT TO:<bob@bar.test>\r\n\
                    DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n";
    assert_eq!(server.heard(), [expected]);
    assert_eq!((busy.heard().len(), spare.heard().len()), (1, 0));
}

#[tokio::test]
async fn a_domain_without_exchangers_is_its_own() {
    let world = World::new().await;
    let server = Scripted::start(Script::new(&[])).await;
    world.zone.add("bar.test", Record::Address(HOME.into()));
    let said = world.client(server.at.port()).send(&bar(), &hello_bob()).await;
    assert_eq!(said.unwrap(), [Said::Accepted]);
}

#[tokio::test]
async fn what_the_dns_says_decides_whether_to_try_again() {
    let status = |error: &ClientError| error.status().map(|status| status.to_string());
    let world = World::new().await;
    let error = world.client(25).send(&bar(), &hello_bob()).await.unwrap_err();
    assert!(matches!(error, ClientError::NoSuchDomain(_)), "{error:?}");
    assert_eq!(status(&error).as_deref(), Some("5.1.2"));

    let world = World::new().await;
    world.exchanger(0, "", None);
    let error = world.client(25).send(&bar(), &hello_bob()).await.unwrap_err();
    assert!(matches!(error, ClientError::NullMx(_)), "{error:?}");
    assert_eq!(status(&error).as_deref(), Some("5.1.10"));

    let world = World::new().await;
    world.exchanger(10, "mail.foo.test", Some(HOME));
    world.exchanger(20, "mx2.bar.test", Some(HOME));
    let error = world.client(25).send(&bar(), &hello_bob()).await.unwrap_err();
    assert!(matches!(error, ClientError::Loop(_)), "{error:?}");
    assert_eq!(status(&error).as_deref(), Some("5.4.6"));

    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let options = ResolverOptions {
        servers: vec![silent.local_addr().unwrap()],
        dnssec: Dnssec::Off,
    };
    let dns = Arc::new(Resolver::new(&options, Arc::new(SystemClock)).unwrap());
    let world = World { dns, ..world };
    let error = world.client(25).send(&bar(), &hello_bob()).await.unwrap_err();
    assert!(matches!(error, ClientError::Dns(_)), "{error:?}");
    assert_eq!(status(&error), None);
    assert!(error.fault().is_temporary());
}

#[tokio::test]
async fn d05_an_exchanger_at_an_address_that_is_not_public_is_not_connected_to() {
    let world = World::new().await;
    world.exchanger(10, "mx.bar.test", Some("169.254.169.254".parse().unwrap()));
    world.exchanger(20, "mx2.bar.test", Some("10.0.0.1".parse().unwrap()));
    let error = world.client(25).send(&bar(), &hello_bob()).await.unwrap_err();
    let forbidden = matches!(error, ClientError::Connect(ConnectError::Forbidden { .. }));
    assert!(forbidden && error.status().is_some(), "{error:?}");
}

#[tokio::test]
async fn every_recipient_has_its_own_answer() {
    let world = World::new().await;
    let server = Scripted::start(Script::new(&[
        ("RCPT TO:<nobody@", "550 5.1.1 nobody here\r\n"),
        ("RCPT TO:<full@", "452 4.2.2 full\r\n"),
        ("RCPT TO:<odd@", "550-no\r\n550 really\r\n"),
    ]))
    .await;
    let port = server.at.port();
    let names = ["nobody@bar.test", "bob@bar.test", "full@bar.test", "odd@bar.test"];
    let said = world
        .client(25)
        .smtp("127.0.0.1", port, &delivery(&names, "Subject: x\r\n\r\n"))
        .await
        .unwrap();
    assert_eq!(refused(&said[0]).as_deref(), Some("5.1.1"));
    assert_eq!(said[1], Said::Accepted);
    assert_eq!(
        said[2],
        Said::Later {
            text: "452 4.2.2 full".to_owned()
        }
    );
    assert_eq!(refused(&said[3]).as_deref(), Some("5.0.0"));
    let said = world
        .client(25)
        .smtp("localhost", port, &delivery(&names[..1], "Subject: x\r\n\r\n"))
        .await
        .unwrap();
    assert_eq!(refused(&said[0]).as_deref(), Some("5.1.1"));
    assert!(
        !server.heard()[1].contains("DATA"),
        "without a recipient there is no message"
    );
}

#[tokio::test]
async fn what_is_said_of_the_message_holds_for_all_that_were_accepted() {
    let world = World::new().await;
    let both = delivery(&["bob@bar.test", "nobody@bar.test"], "Subject: x\r\n\r\n");
    let nobody = ("RCPT TO:<nobody@", "550 5.1.1 nobody\r\n");
    let cases = [
        (
            Script {
                end: "554 5.7.1 spam\r\n",
                ..Script::new(&[nobody])
            },
            Some("5.7.1"),
        ),
        (
            Script {
                end: "451 4.7.1 greylisted\r\n",
                ..Script::new(&[nobody])
            },
            None,
        ),
        (
            Script::new(&[nobody, ("DATA", "554 5.6.1 no\r\n")]),
            Some("5.6.1"),
        ),
        (Script::new(&[("MAIL", "550 5.7.1 not you\r\n")]), Some("5.7.1")),
    ];
    for (script, status) in cases {
        let server = Scripted::start(script).await;
        let port = server.at.port();
        let said = world.client(25).smtp("127.0.0.1", port, &both).await.unwrap();
        assert_ne!(said[0], Said::Accepted, "{:?}", server.heard());
        assert_eq!(refused(&said[0]).as_deref(), status, "{:?}", server.heard());
        assert!(refused(&said[1]).is_some());
    }
}

#[tokio::test]
async fn s02_only_one_end_of_data_is_sent_whatever_the_message_says() {
    let world = World::new().await;
    let server = Scripted::start(Script::new(&[])).await;
    let smuggler =
        "Subject: x\r\n\r\n.\r\nMAIL FROM:<mallory@foo.test>\r\nRCPT TO:<bob@bar.test>\r\nDATA\r\n\r\n.";
    let port = server.at.port();
    let said = world
        .client(25)
        .smtp("127.0.0.1", port, &delivery(&["bob@bar.test"], smuggler))
        .await
        .unwrap();
    assert_eq!(said, [Said::Accepted]);
    let heard = server.heard();
    assert_eq!(heard[0].matches("\r\n.\r\n").count(), 1);
    assert!(
        heard[0].contains("\r\n\r\n..\r\nMAIL FROM:<mallory")
            && heard[0].ends_with("\r\n..\r\n.\r\nQUIT\r\n")
    );
}

#[tokio::test]
async fn s02_bare_line_ends_and_nul_are_refused_before_anybody_is_called() {
    let world = World::new().await;
    let server = Scripted::start(Script::new(&[])).await;
    for (message, why) in [
        ("Subject: x\r\n\r\na\n.\r\nb\r\n", Unclean::LineEnd),
        ("Subject: x\r\n\r\na\r.\rb\r\n", Unclean::LineEnd),
        ("Subject: x\r\n\r\n\0.\r\n", Unclean::Nul),
    ] {
        let port = server.at.port();
        let sent = world
            .client(25)
            .smtp("127.0.0.1", port, &delivery(&["bob@bar.test"], message))
            .await;
        let error = sent.unwrap_err();
        assert!(
            matches!(error, ClientError::Unclean(found) if found == why),
            "{error:?}"
        );
        assert_eq!(error.status().unwrap().to_string(), "5.6.0");
    }
    assert!(server.heard().is_empty());
}

fn acceptor() -> TlsAcceptor {
    let certificate = Identity::from_seed(&[9; 32])
        .server_certificate("somebody.else.test", SystemClock.now())
        .unwrap();
    TlsAcceptor::from(smtp::server_tls(&certificate).unwrap())
}

const STARTTLS_OFFERED: (&str, &str) = ("EHLO", "250-mx.bar.test\r\n250-STARTTLS\r\n250 SIZE\r\n");

#[tokio::test]
async fn s06_clear_text_behind_the_answer_to_starttls_is_dropped() {
    let world = World::new().await;
    let injected = "220 go\r\n250-evil.test\r\n250 AUTH PLAIN\r\n550 5.0.0 refused by mallory\r\n";
    let server = Scripted::start(Script {
        tls: Some(acceptor()),
        ..Script::new(&[STARTTLS_OFFERED, ("STARTTLS", injected)])
    })
    .await;
    let port = server.at.port();
    let said = world
        .client(25)
        .smtp("127.0.0.1", port, &hello_bob())
        .await
        .unwrap();
    assert_eq!(said, [Said::Accepted]);
    let heard = server.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(
        heard[0].matches("EHLO").count(),
        2,
        "what was offered in clear text is forgotten"
    );
}

#[tokio::test]
async fn s06_more_answers_than_questions_end_the_dialogue() {
    let world = World::new().await;
    let server = Scripted::start(Script::new(&[("MAIL", "250 fine\r\n250 and this\r\n")])).await;
    let port = server.at.port();
    let error = world
        .client(25)
        .smtp("127.0.0.1", port, &hello_bob())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Broken {
                why: Broken::Unasked,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.status().is_none());
}

#[tokio::test]
async fn s06_when_the_handshake_fails_it_goes_on_in_clear_text_on_a_new_connection_once() {
    let world = World::new().await;
    let server = Scripted::start(Script::new(&[STARTTLS_OFFERED, ("STARTTLS", "220 go\r\n")])).await;
    let port = server.at.port();
    let said = world
        .client(25)
        .smtp("127.0.0.1", port, &hello_bob())
        .await
        .unwrap();
    assert_eq!(said, [Said::Accepted]);
    let heard = server.heard();
    assert_eq!(heard.len(), 2);
    assert!(!heard[0].contains("MAIL") && !heard[1].contains("STARTTLS") && heard[1].contains("MAIL"));

    let server = Scripted::start(Script::new(&[
        STARTTLS_OFFERED,
        ("STARTTLS", "454 4.7.0 not now\r\n"),
    ]))
    .await;
    let port = server.at.port();
    let said = world
        .client(25)
        .smtp("127.0.0.1", port, &hello_bob())
        .await
        .unwrap();
    assert_eq!((said, server.heard().len()), (vec![Said::Accepted], 1));
}

#[tokio::test]
async fn s08_what_the_server_does_not_offer_is_not_used() {
    let world = World::new().await;
    let offers = |extensions: &'static str| Script::new(&[("EHLO", extensions)]);
    let nothing = "250 mx.bar.test\r\n";
    let eight = "250-mx.bar.test\r\n250 8bitmime\r\n";
    let all = "250-mx.bar.test\r\n250-8BITMIME\r\n250-SIZE 50\r\n250 SMTPUTF8\r\n";
    let body = "Subject: x\r\n\r\nä\r\n";
    let header = "Subject: ä\r\n\r\nx\r\n";
    let long = "Subject: x\r\n\r\n01234567890123456789012345678901234567890123456789\r\n";
    let cases = [
        (nothing, "bob@bar.test", body, Some("5.6.3"), ""),
        (
            eight,
            "bob@bar.test",
            body,
            None,
            "MAIL FROM:<alice@foo.test> BODY=8BITMIME\r\n",
        ),
        (eight, "bob@bar.test", header, Some("5.6.7"), ""),
        (eight, "bøb@bar.test", body, Some("5.6.7"), ""),
        (
            all,
            "bøb@bar.test",
            header,
            None,
            "MAIL FROM:<alice@foo.test> SIZE=18 BODY=8BITMIME SMTPUTF8\r\n",
        ),
        (
            all,
            "bob@bar.test",
            body,
            None,
            "MAIL FROM:<alice@foo.test> SIZE=18 BODY=8BITMIME\r\n",
        ),
        (all, "bob@bar.test", long, Some("5.3.4"), ""),
        (
            nothing,
            "bob@bar.test",
            long,
            None,
            "MAIL FROM:<alice@foo.test>\r\n",
        ),
    ];
    for (offered, recipient, message, status, line) in cases {
        let server = Scripted::start(offers(offered)).await;
        let port = server.at.port();
        let said = world
            .client(25)
            .smtp("127.0.0.1", port, &delivery(&[recipient], message))
            .await
            .unwrap();
        assert_eq!(
            refused(&said[0]).as_deref(),
            status,
            "{offered:?} {recipient} {message:?}"
        );
        let heard = server.heard();
        assert!(heard[0].contains(line), "{heard:?}");
        assert_eq!(heard[0].contains("DATA"), status.is_none(), "{heard:?}");
    }
}

#[tokio::test]
async fn one_address_that_cannot_be_said_does_not_stop_the_others() {
    let world = World::new().await;
    let server = Scripted::start(Script::new(&[("EHLO", "250-mx.bar.test\r\n250 8BITMIME\r\n")])).await;
    let both = delivery(&["bøb@bar.test", "carol@bar.test"], "Subject: x\r\n\r\n");
    let port = server.at.port();
    let said = world.client(25).smtp("127.0.0.1", port, &both).await.unwrap();
    assert_eq!(refused(&said[0]).as_deref(), Some("5.6.7"));
    assert_eq!(said[1], Said::Accepted);
}

#[tokio::test]
async fn an_old_server_gets_helo_and_a_rude_one_is_left() {
    let world = World::new().await;
    let server = Scripted::start(Script::new(&[("EHLO", "502 5.5.1 what?\r\n")])).await;
    let port = server.at.port();
    let said = world
        .client(25)
        .smtp("127.0.0.1", port, &hello_bob())
        .await
        .unwrap();
    assert_eq!(said, [Said::Accepted]);
    assert!(server.heard()[0].contains("HELO mail.foo.test\r\nMAIL FROM:<alice@foo.test>\r\n"));

    let away = Script {
        greeting: "554 5.7.1 not for you\r\n",
        ..Script::new(&[])
    };
    let garbage = Script {
        greeting: "HTTP/1.1 200 OK\r\n",
        ..Script::new(&[])
    };
    let endless: &'static str = "220-hello hello hello\r\n".repeat(5000).leak();
    let endless = Script {
        greeting: endless,
        ..Script::new(&[])
    };
    for (script, temporary) in [
        (away, false),
        (garbage, true),
        (endless, true),
        (Script::new(&[("MAIL", "")]), true),
        (Script::new(&[("DATA", "250 what?\r\n")]), true),
    ] {
        let server = Scripted::start(script).await;
        let port = server.at.port();
        let error = world
            .client(25)
            .smtp("127.0.0.1", port, &hello_bob())
            .await
            .unwrap_err();
        assert_eq!(error.fault().is_temporary(), temporary, "{error:?}");
    }
}

#[tokio::test]
async fn after_the_message_no_other_exchanger_gets_it() {
    let world = World::new().await;
    let first = Scripted::start_at(
        "127.0.0.2:0".parse().unwrap(),
        Script {
            end: "",
            ..Script::new(&[])
        },
    )
    .await;
    let port = first.at.port();
    let other = Scripted::start_at(
        SocketAddr::new("127.0.0.3".parse().unwrap(), port),
        Script::new(&[]),
    )
    .await;
    world.exchanger(10, "mx1.bar.test", Some("127.0.0.2".parse().unwrap()));
    world.exchanger(20, "mx2.bar.test", Some("127.0.0.3".parse().unwrap()));
    let error = world.client(port).send(&bar(), &hello_bob()).await.unwrap_err();
    assert!(error.fault().is_temporary(), "{error:?}");
    assert!(first.heard()[0].contains("hello\r\n.\r\n"));
    assert!(other.heard().is_empty());
}

#[tokio::test]
async fn the_smart_host_gets_everything() {
    let world = World::new().await;
    let server = Scripted::start(Script::new(&[])).await;
    world
        .zone
        .add("smart.foo.test", Record::Address(IpAddr::V4(HOME)));
    let options = ClientOptions {
        helo: "mail.foo.test".to_owned(),
        port: 25,
        policy: AddressPolicy::public(),
        smart_host: Some(("smart.foo.test".to_owned(), server.at.port())),
    };
    let client = Client::new(Arc::new(Tcp), world.dns.clone(), options);
    let nowhere = Domain::parse("nowhere.test").unwrap();
    assert_eq!(
        client.send(&nowhere, &hello_bob()).await.unwrap(),
        [Said::Accepted]
    );
    world.zone.remove("smart.foo.test");
    let options = ClientOptions {
        helo: "mail.foo.test".to_owned(),
        port: 25,
        policy: AddressPolicy::public(),
        smart_host: Some(("other.foo.test".to_owned(), 25)),
    };
    let client = Client::new(Arc::new(Tcp), world.dns.clone(), options);
    let error = client.send(&nowhere, &hello_bob()).await.unwrap_err();
    assert!(
        error.fault().is_temporary(),
        "a wrong configuration bounces nothing: {error:?}"
    );
}

#[tokio::test]
async fn lmtp_has_an_answer_for_each_recipient_after_the_message() {
    let world = World::new().await;
    let server = Scripted::start(Script {
        end: "250 2.0.0 bob has it\r\n452 4.2.2 carol is full\r\n550 5.7.1 dave said no\r\n",
        ..Script::new(&[
            ("LHLO", "250-store\r\n250-8BITMIME\r\n250 PIPELINING\r\n"),
            ("RCPT TO:<nobody@", "550 5.1.1 nobody\r\n"),
        ])
    })
    .await;
    let four = [
        "bob@bar.test",
        "nobody@bar.test",
        "carol@bar.test",
        "dave@bar.test",
    ];
    let port = server.at.port();
    let sending = world
        .client(25)
        .lmtp("127.0.0.1", port, &delivery(&four, "Subject: x\r\n\r\nhello\r\n"))
        .await;
    let said = sending.unwrap();
    assert_eq!(said[0], Said::Accepted);
    assert_eq!(refused(&said[1]).as_deref(), Some("5.1.1"));
    assert_eq!(
        said[2],
        Said::Later {
            text: "452 4.2.2 carol is full".to_owned()
        }
    );
    assert_eq!(refused(&said[3]).as_deref(), Some("5.7.1"));
    assert!(server.heard()[0].starts_with("LHLO mail.foo.test\r\n"));
}
