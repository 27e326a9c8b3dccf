//! The SMTP server over real sockets: what a dialogue gives, who is sent away, and what a slow or rude client costs.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_node::clock::{Clock, SystemClock};
use cargomail_node::dns::{Dnssec, Resolver, ResolverOptions};
use cargomail_node::identity::Identity;
use cargomail_node::network::{AddressPolicy, Network, Tcp};
use cargomail_node::smtp::{
    self, Client, ClientOptions, Delivery, Mail, Receiver, Said, ServerOptions, SmtpServing,
};
use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::fault::Fault;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Takes mail for bar.test; when `slow`, only after it was let go.
#[derive(Default)]
struct Office {
    mails: Mutex<Vec<Mail>>,
    answer: Mutex<Option<Fault>>,
    slow: bool,
    has_mail: Notify,
    go: Notify,
}

#[async_trait]
impl Receiver for Office {
    fn domain(&self) -> Domain {
        Domain::parse("bar.test").unwrap()
    }

    async fn recipient(&self, _: SocketAddr, _: Option<&Address>, recipient: &Address) -> Result<(), Fault> {
        match recipient.domain().as_str() {
            "bar.test" if recipient.local() == "nobody" => Err(Fault::NoSuchUser),
            "bar.test" => Ok(()),
            _ => Err(Fault::Refused),
        }
    }

    async fn message(&self, mail: Mail) -> Result<(), Fault> {
        self.has_mail.notify_one();
        if self.slow {
            self.go.notified().await;
        }
        if let Some(fault) = *self.answer.lock().unwrap() {
            return Err(fault);
        }
        self.mails.lock().unwrap().push(mail);
        Ok(())
    }
}

struct World {
    office: Arc<Office>,
    serving: SmtpServing,
    shutdown: CancellationToken,
    certificate: CertificateDer<'static>,
}

impl World {
    async fn with(office: Office, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let certificate = Identity::from_seed(&[7; 32])
            .server_certificate("mx.bar.test", SystemClock.now())
            .unwrap();
        let mut options = ServerOptions::new("mx.bar.test".to_owned());
        options.tls = Some(smtp::server_tls(&certificate).unwrap());
        options.size = 100_000;
        change(&mut options);
        let listener = Tcp.listen(ANYWHERE).await.unwrap();
        let office = Arc::new(office);
        let shutdown = CancellationToken::new();
        let serving = smtp::serve(listener, office.clone(), options, shutdown.clone()).unwrap();
        Self {
            office,
            serving,
            shutdown,
            certificate: certificate.chain()[0].clone(),
        }
    }

    async fn new() -> Self {
        Self::with(Office::default(), |_| {}).await
    }

    fn mails(&self) -> Vec<Mail> {
        self.office.mails.lock().unwrap().clone()
    }

    async fn dial(&self) -> Raw<TcpStream> {
        self.dial_from(1).await
    }

    /// A connection from 127.0.0.`last`.
    async fn dial_from(&self, last: u8) -> Raw<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(Ipv4Addr::new(127, 0, 0, last).into(), 0))
            .unwrap();
        let stream = socket.connect(self.serving.local_addr()).await.unwrap();
        Raw {
            stream,
            read: Vec::new(),
        }
    }

    /// A client that was greeted and has introduced itself and its message.
    async fn introduced(&self) -> Raw<TcpStream> {
        self.introduced_from(1).await
    }

    async fn introduced_from(&self, last: u8) -> Raw<TcpStream> {
        let mut raw = self.dial_from(last).await;
        assert_eq!(raw.line().await, "220 mx.bar.test ESMTP");
        raw.asks("EHLO foo.test", "250 STARTTLS").await;
        raw.asks("MAIL FROM:<alice@foo.test>", "250 2.1.0").await;
        raw.asks("RCPT TO:<bob@bar.test>", "250 2.1.5").await;
        raw
    }
}

/// A client that says exactly what it is told to say.
struct Raw<S> {
    stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    async fn say(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line; empty at the end.
    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            let mut piece = [0; 1024];
            let read = tokio::time::timeout(Duration::from_secs(20), self.stream.read(&mut piece));
            match read.await.expect("the server says nothing") {
                Ok(0) | Err(_) => return String::new(),
                Ok(count) => self.read.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// Says a line, and reads a reply whose last line begins so.
    async fn asks(&mut self, line: &str, answer: &str) {
        self.say(format!("{line}\r\n")).await;
        self.hears(answer).await;
    }

    async fn hears(&mut self, answer: &str) {
        loop {
            let line = self.line().await;
            if line.get(3..4) != Some("-") {
                assert!(line.starts_with(answer), "{line:?} is not {answer:?}");
                return;
            }
        }
    }

    async fn is_sent_away(&mut self) {
        assert_eq!(self.line().await, "");
    }
}

#[tokio::test]
async fn a_dialogue_brings_a_message_with_its_envelope() {
    let world = World::new().await;
    let mut raw = world.dial().await;
    assert_eq!(raw.line().await, "220 mx.bar.test ESMTP");
    raw.say("EHLO [127.0.0.1]\r\n").await;
    let mut offered = Vec::new();
    for _ in 0..8 {
        offered.push(raw.line().await);
    }
    let expected = [
        "250-mx.bar.test",
        "250-PIPELINING",
        "250-SIZE 100000",
        "250-8BITMIME",
        "250-SMTPUTF8",
        "250-ENHANCEDSTATUSCODES",
        "250-CHUNKING",
        "250 STARTTLS",
    ];
    assert_eq!(offered, expected);
    raw.say("MAIL FROM:<alice@foo.test> SIZE=60 BODY=8BITMIME\r\nRCPT TO:<bob@bar.test>\r\n")
        .await;
    raw.say(
        "RCPT TO:<nobody@bar.test>\r\nRCPT TO:<carol@elsewhere.test>\r\nRCPT TO:<bob@bar.test>\r\nDATA\r\n",
    )
    .await;
    for answer in [
        "250 2.1.0",
        "250 2.1.5",
        "550 5.1.1",
        "550 5.7.1",
        "250 2.1.5",
        "354 ",
    ] {
        raw.hears(answer).await;
    }
    raw.say("Subject: hello\r\n\r\n..dot\r\n.\r\n").await;
    raw.hears("250 2.0.0").await;
    raw.asks("MAIL FROM:<>", "250").await;
    raw.asks("RCPT TO:<carol@bar.test>", "250").await;
    raw.say("BDAT 12\r\nSubject: x\r\nBDAT 8 LAST\r\n\r\n.\r\nb\r\n")
        .await;
    raw.hears("250").await;
    raw.hears("250").await;
    raw.asks("QUIT", "221").await;
    raw.is_sent_away().await;

    let mails = world.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(&mails[0].message[..], b"Subject: hello\r\n\r\n.dot\r\n");
    assert_eq!(mails[0].sender, Some(Address::parse("alice@foo.test").unwrap()));
    assert_eq!(mails[0].recipients, [Address::parse("bob@bar.test").unwrap()]);
    assert_eq!((mails[0].helo.as_str(), mails[0].tls), ("[127.0.0.1]", false));
    assert_eq!(&mails[1].message[..], b"Subject: x\r\n\r\n.\r\nb\r\n");
    assert_eq!(mails[1].sender, None);
}

#[tokio::test]
async fn s01_a_smuggled_second_message_is_none() {
    let world = World::new().await;
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r\n\0.\r\n",
        "\r\n.\r\r\n",
    ] {
        let mut raw = world.introduced().await;
        raw.asks("DATA", "354").await;
        raw.say(format!("Subject: one\r\n\r\nhello{end}")).await;
        raw.say("MAIL FROM:<mallory@foo.test>\r\nRCPT TO:<bob@bar.test>\r\nDATA\r\nsmuggled\r\n.\r\n")
            .await;
        raw.hears("554 5.6.0").await;
        raw.asks("NOOP", "250").await;
        assert!(world.mails().is_empty(), "{end:?}");
    }
}

#[tokio::test]
async fn s04_mail_for_other_domains_is_not_relayed() {
    let world = World::new().await;
    let mut raw = world.introduced().await;
    raw.asks("RCPT TO:<carol@elsewhere.test>", "550 5.7.1").await;
    raw.asks("RCPT TO:<carol%elsewhere.test@bar.test>", "553 5.1.3")
        .await;
    raw.asks("RCPT TO:<@bar.test:carol@elsewhere.test>", "553 5.1.3")
        .await;
    raw.asks("RCPT TO:<\"carol@elsewhere.test\"@bar.test>", "553 5.1.3")
        .await;
}

fn connector(world: &World) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(world.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn s05_commands_in_clear_text_behind_starttls_are_not_carried_out_behind_tls() {
    let world = World::new().await;
    let mut raw = world.introduced().await;
    raw.say("STARTTLS\r\nRSET\r\nEHLO evil.test\r\nMAIL FROM:<mallory@foo.test>\r\n")
        .await;
    raw.hears("220 2.0.0").await;
    assert!(raw.read.is_empty(), "only STARTTLS was answered");
    let name = ServerName::try_from("mx.bar.test").unwrap();
    let stream = connector(&world).connect(name, raw.stream).await.unwrap();
    let mut raw = Raw {
        stream,
        read: Vec::new(),
    };
    raw.asks("RCPT TO:<bob@bar.test>", "503 5.5.1").await;
    raw.asks("MAIL FROM:<alice@foo.test>", "503 5.5.1").await;
    raw.asks("EHLO foo.test", "250 CHUNKING").await;
    raw.asks("STARTTLS", "503 5.5.1").await;
    raw.asks("MAIL FROM:<alice@foo.test>", "250").await;
    raw.asks("RCPT TO:<bob@bar.test>", "250").await;
    raw.asks("DATA", "354").await;
    raw.asks("Subject: x\r\n\r\ny\r\n.", "250 2.0.0").await;
    let mails = world.mails();
    assert!(mails[0].tls);
    assert_eq!(mails[0].sender, Some(Address::parse("alice@foo.test").unwrap()));
}

#[tokio::test]
async fn s07_connections_silence_and_a_session_are_bounded() {
    let world = World::with(Office::default(), |options| options.per_address = 2).await;
    let (mut one, mut two) = (world.dial().await, world.dial().await);
    one.hears("220").await;
    two.hears("220").await;
    world.dial().await.is_sent_away().await;
    one.asks("QUIT", "221").await;
    one.is_sent_away().await;
    drop(one);
    let mut three = loop {
        let mut three = world.dial().await;
        if three.line().await.starts_with("220") {
            break three;
        }
    };
    three.asks("NOOP", "250").await;

    let world = World::with(Office::default(), |options| options.connections = 1).await;
    let mut one = world.dial().await;
    one.hears("220").await;
    world.dial().await.is_sent_away().await;

    let quick = Duration::from_millis(100);
    let world = World::with(Office::default(), |options| options.silence = quick).await;
    let mut raw = world.dial().await;
    raw.hears("220").await;
    raw.say("EHL").await;
    raw.hears("421 4.4.2").await;
    raw.is_sent_away().await;

    let world = World::with(Office::default(), |options| options.session = quick).await;
    let mut raw = world.introduced().await;
    raw.say("DATA\r\n").await;
    raw.hears("354").await;
    raw.hears("421 4.4.2").await;
}

#[tokio::test]
async fn s07_messages_that_are_coming_in_share_a_bounded_memory() {
    let world = World::with(Office::default(), |options| options.memory = 64 * 1024).await;
    let mut greedy = world.introduced().await;
    let mut late = world.introduced().await;
    greedy.asks("DATA", "354").await;
    late.asks("DATA", "354").await;
    let line = format!("{}\r\n", "a".repeat(98));
    greedy.say(line.repeat(300)).await;
    late.say(line.repeat(700)).await;
    late.asks(".", "452 4.3.1").await;
    greedy.asks(".", "250 2.0.0").await;
    late.asks("MAIL FROM:<alice@foo.test>", "250").await;
    late.asks("RCPT TO:<bob@bar.test>", "250").await;
    late.asks("DATA", "354").await;
    late.say(line.repeat(200)).await;
    late.asks(".", "250 2.0.0").await;
    assert_eq!(world.mails().len(), 2);
}

#[tokio::test]
async fn s07_one_caller_cannot_take_the_memory_of_all() {
    let world = World::with(Office::default(), |options| options.memory = 400_000).await;
    let (mut one, mut two) = (world.introduced().await, world.introduced().await);
    let mut other = world.introduced_from(2).await;
    let line = format!("{}\r\n", "a".repeat(98));
    one.say(format!("BDAT 90000\r\n{}", line.repeat(900))).await;
    one.hears("250 2.0.0").await;
    for (raw, answer) in [(&mut two, "452 4.3.1"), (&mut other, "250 2.0.0")] {
        raw.asks("DATA", "354").await;
        raw.say(line.repeat(900)).await;
        raw.asks(".", answer).await;
    }
    one.asks("BDAT 0 LAST", "250 2.0.0").await;
    assert_eq!(world.mails().len(), 2);
}

#[tokio::test]
async fn s07_a_message_that_drips_is_given_up_and_one_that_comes_slowly_is_taken() {
    let second = Duration::from_secs(1);
    let world = World::with(Office::default(), |options| options.silence = second).await;
    let (mut drips, mut slow) = (world.introduced().await, world.introduced().await);
    drips.asks("DATA", "354").await;
    slow.asks("DATA", "354").await;
    let mut tick = tokio::time::interval(second / 10);
    let slow_line = format!("{}\r\n", "a".repeat(998));
    let gone = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            tick.tick().await;
            slow.say(&slow_line).await;
            let mut piece = [0; 100];
            match drips.stream.try_read(&mut piece) {
                Ok(count) => return String::from_utf8_lossy(&piece[..count]).into_owned(),
                Err(_) => drips.say("a").await,
            }
        }
    });
    let said = gone.await.expect("a client that drips stays for ever");
    assert!(said.starts_with("421 4.4.2"), "{said}");
    for _ in 0..15 {
        tick.tick().await;
        slow.say(&slow_line).await;
    }
    slow.asks(".", "250 2.0.0").await;
    // Nor is a message kept by chunks that are whole, and long apart.
    let mut chunks = world.introduced().await;
    chunks.say("BDAT 3\r\na\r\n").await;
    chunks.hears("250").await;
    let gone = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            chunks.say("NOOP\r\n").await;
            let line = chunks.line().await;
            if !line.starts_with("250") {
                return line;
            }
            tick.tick().await;
        }
    });
    assert!(gone.await.unwrap().starts_with("421 4.4.2"));
}

#[tokio::test]
async fn the_postmaster_needs_no_domain() {
    let world = World::new().await;
    let mut raw = world.introduced().await;
    raw.asks("RCPT TO:<Postmaster>", "250 2.1.5").await;
    raw.asks("DATA", "354").await;
    raw.asks("Subject: x\r\n\r\ny\r\n.", "250 2.0.0").await;
    let named = &world.mails()[0].recipients[1];
    assert_eq!(*named, Address::parse("postmaster@bar.test").unwrap());
}

#[tokio::test]
async fn s08_a_message_above_the_limit_is_refused_however_it_comes() {
    let world = World::new().await;
    let mut raw = world.dial().await;
    raw.hears("220").await;
    raw.asks("EHLO foo.test", "250").await;
    raw.asks("MAIL FROM:<alice@foo.test> SIZE=100001", "552 5.3.4")
        .await;
    let mut raw = world.introduced().await;
    raw.asks("DATA", "354").await;
    raw.say(format!("{}\r\n", "a".repeat(98)).repeat(1001)).await;
    raw.asks(".", "552 5.3.4").await;
    let mut raw = world.introduced().await;
    raw.say("BDAT 120000 LAST\r\n").await;
    raw.say(format!("{}\r\n", "a".repeat(98)).repeat(1200)).await;
    raw.hears("552 5.3.4").await;
    raw.asks("NOOP", "250").await;
    raw.asks("BDAT 300000 LAST", "552 5.3.4").await;
    raw.is_sent_away().await;
    assert!(world.mails().is_empty());
}

#[tokio::test]
async fn s11_http_is_disconnected() {
    let world = World::new().await;
    let mut raw = world.dial().await;
    raw.hears("220").await;
    raw.say("POST / HTTP/1.1\r\nHost: mx.bar.test\r\nContent-Length: 99\r\n\r\nEHLO foo.test\r\n")
        .await;
    raw.hears("554").await;
    raw.is_sent_away().await;
}

#[tokio::test]
async fn s11_tls_for_another_protocol_is_refused() {
    let world = World::new().await;
    let mut raw = world.introduced().await;
    raw.asks("STARTTLS", "220").await;
    let mut config = ClientConfig::clone(connector(&world).config());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("mx.bar.test").unwrap();
    let shaken = TlsConnector::from(Arc::new(config))
        .connect(name, raw.stream)
        .await;
    assert!(shaken.is_err());
}

#[tokio::test]
async fn what_was_not_taken_is_not_acknowledged() {
    let world = World::new().await;
    for (fault, code) in [
        (Fault::Local, "451 4.3.0"),
        (Fault::Malformed, "554 5.6.0"),
        (Fault::OverQuota, "552 5.2.2"),
    ] {
        *world.office.answer.lock().unwrap() = Some(fault);
        let mut raw = world.introduced().await;
        raw.asks("DATA", "354").await;
        raw.asks("Subject: x\r\n\r\ny\r\n.", code).await;
    }
}

#[tokio::test]
async fn what_is_in_hand_when_the_server_stops_is_finished_and_answered() {
    let office = Office {
        slow: true,
        ..Office::default()
    };
    let world = World::with(office, |_| {}).await;
    let mut idle = world.dial().await;
    idle.hears("220").await;
    let mut raw = world.introduced().await;
    raw.asks("DATA", "354").await;
    raw.say("Subject: x\r\n\r\ny\r\n.\r\n").await;
    world.office.has_mail.notified().await;
    world.shutdown.cancel();
    idle.hears("421 4.3.2").await;
    world.office.go.notify_one();
    raw.hears("250 2.0.0").await;
    raw.hears("421 4.3.2").await;
    assert_eq!(world.mails().len(), 1);
    let at = world.serving.local_addr();
    world.serving.stopped().await;
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn our_client_and_our_server_understand_each_other_over_tls() {
    let world = World::new().await;
    let nobody = ResolverOptions {
        servers: vec![ANYWHERE],
        dnssec: Dnssec::Off,
    };
    let dns = Resolver::new(&nobody, Arc::new(SystemClock)).unwrap();
    let options = ClientOptions {
        helo: "mail.foo.test".to_owned(),
        port: 25,
        policy: AddressPolicy::public(),
        smart_host: None,
    };
    let client = Client::new(Arc::new(Tcp), Arc::new(dns), options);
    let address = |text| Address::parse(text).unwrap();
    let text = "Subject: ünder\r\n\r\n.\r\n..\r\nlast line without an end";
    let delivery = Delivery {
        sender: Some(address("alice@foo.test")),
        recipients: ["bob@bar.test", "nobody@bar.test", "bøb@bar.test"]
            .map(address)
            .to_vec(),
        message: Bytes::from(text),
    };
    let port = world.serving.local_addr().port();
    let said = client.smtp("127.0.0.1", port, &delivery).await.unwrap();
    assert_eq!(said[0], Said::Accepted);
    assert!(matches!(&said[1], Said::Refused { status, .. } if status.to_string() == "5.1.1"));
    assert_eq!(said[2], Said::Accepted);
    let mails = world.mails();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].tls);
    assert_eq!(mails[0].helo, "mail.foo.test");
    assert_eq!(&mails[0].message[..], format!("{text}\r\n").as_bytes());
    assert_eq!(mails[0].recipients, ["bob@bar.test", "bøb@bar.test"].map(address));
}
