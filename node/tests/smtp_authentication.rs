//! Who wrote a message, by SPF, DKIM and DMARC with records in a real DNS (row S10); and this node's own signatures.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_node::clock::{Clock, SystemClock};
use cargomail_node::dns::{Answer, Dns, DnsError, Dnssec, Mx, Record, Resolver, ResolverOptions, Srv, Zone};
use cargomail_node::identity::Identity;
use cargomail_node::smtp::{Authentication, Authenticator, Dkim, Mail};
use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::placeholder::surgery;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;

const CLIENT: &str = "192.0.2.7";
const MESSAGE: &str = "From: Alice <alice@foo.test>\r\nTo: bob@bar.test\r\nSubject: hello\r\n\
                       Message-ID: <1@foo.test>\r\nDate: Mon, 1 Dec 2025 10:00:00 +0000\r\n\r\nHello, Bob.\r\n";

struct World {
    zone: Zone,
    authenticator: Authenticator,
}

impl World {
    async fn new() -> Self {
        let anywhere = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        Self::over(Zone::start(anywhere).await.unwrap())
    }

    /// A world that remembers no answers.
    fn over(zone: Zone) -> Self {
        let dns = resolver(&zone);
        Self {
            zone,
            authenticator: Authenticator::new(dns, "mx.bar.test".to_owned()),
        }
    }

    fn txt(&self, name: &str, text: &str) -> &Self {
        self.zone.add(name, Record::Txt(text.to_owned()));
        self
    }

    fn address(&self, name: &str, address: &str) -> &Self {
        self.zone.add(name, Record::Address(address.parse().unwrap()));
        self
    }

    async fn judge(&self, sender: Option<&str>, message: impl AsRef<[u8]>) -> Authentication {
        self.judge_from(CLIENT, sender, message).await
    }

    async fn judge_from(
        &self,
        client: &str,
        sender: Option<&str>,
        message: impl AsRef<[u8]>,
    ) -> Authentication {
        self.authenticator
            .authenticate(&mail(client, sender, message))
            .await
    }
}

fn resolver(zone: &Zone) -> Arc<Resolver> {
    let options = ResolverOptions {
        servers: vec![zone.local_addr()],
        dnssec: Dnssec::Off,
    };
    Arc::new(Resolver::new(&options, Arc::new(SystemClock)).unwrap())
}

fn mail(client: &str, sender: Option<&str>, message: impl AsRef<[u8]>) -> Mail {
    Mail {
        client: SocketAddr::new(client.parse().unwrap(), 40_000),
        helo: "mail.foo.test".to_owned(),
        tls: true,
        sender: sender.map(|sender| Address::parse(sender).unwrap()),
        recipients: vec![Address::parse("bob@bar.test").unwrap()],
        message: Bytes::copy_from_slice(message.as_ref()),
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn dkim(seed: u8, name: &str) -> Dkim {
    Dkim::new(&Identity::from_seed(&[seed; 32]), domain(name), "cargomail")
}

fn foo() -> Option<Domain> {
    Some(domain("foo.test"))
}

#[tokio::test]
async fn spf_alone_vouches_for_the_author() {
    let world = World::new().await;
    world.txt("foo.test", "v=spf1 ip4:192.0.2.7 -all");
    world.txt("_dmarc.foo.test", "v=DMARC1; p=none");
    let judged = world.judge(Some("alice@foo.test"), MESSAGE).await;
    assert_eq!(judged.author, foo(), "{}", judged.results);
    assert!(!judged.temporary);
    assert!(judged.results.starts_with("mx.bar.test;"), "{}", judged.results);
    for part in [
        "spf=pass",
        "smtp.mailfrom=alice@foo.test",
        "dmarc=pass",
        "header.from=foo.test",
    ] {
        assert!(judged.results.contains(part), "{part}: {}", judged.results);
    }
    let judged = world
        .judge_from("192.0.2.8", Some("alice@foo.test"), MESSAGE)
        .await;
    assert_eq!((judged.author, judged.temporary), (None, false));
    assert!(judged.results.contains("spf=fail"), "{}", judged.results);
}

#[tokio::test]
async fn a_signature_alone_vouches_for_the_author() {
    let world = World::new().await;
    let dkim = dkim(1, "foo.test");
    world.txt("cargomail._domainkey.foo.test", &dkim.record());
    world.txt("_dmarc.foo.test", "v=DMARC1; p=reject; adkim=s; aspf=s");
    let signed = dkim.sign(MESSAGE.as_bytes()).unwrap();
    assert!(!world.judge(None, &signed).await.disowned);
    let text = String::from_utf8(signed.clone()).unwrap();
    assert!(text.ends_with(MESSAGE), "the message itself is as it was");
    let signature = text.strip_suffix(MESSAGE).unwrap();
    assert!(
        signature.contains("a=ed25519-sha256") && signature.contains("c=relaxed/relaxed"),
        "{signature}"
    );
    let judged = world.judge(Some("alice@foo.test"), &signed).await;
    assert_eq!(judged.author, foo(), "{}", judged.results);
    assert!(
        judged.results.contains("dkim=pass header.d=foo.test"),
        "{}",
        judged.results
    );
    let judged = world.judge(None, &signed).await;
    assert_eq!(judged.author, foo(), "a bounce is signed like everything else");
}

#[tokio::test]
async fn the_destination_may_be_added_behind_the_signature_and_nothing_else() {
    let world = World::new().await;
    let dkim = dkim(1, "foo.test");
    world.txt("cargomail._domainkey.foo.test", &dkim.record());
    let signed = dkim.sign(MESSAGE.as_bytes()).unwrap();
    let destination = Locator::parse("mailbox.insurance.test").unwrap();
    let routed = surgery::with_destination(&signed, &destination).unwrap();
    assert_eq!(world.judge(None, &routed).await.author, foo());

    let signed = String::from_utf8(signed).unwrap();
    let changes = [
        ("Hello, Bob.", "Hello, Rob."),
        ("Subject: hello", "Subject: hallo"),
        ("To: bob@bar.test", "To: carol@bar.test"),
        (
            "\r\n\r\nHello",
            "\r\nX-Origin-Resource-Mailbox-URL: evil.test\r\n\r\nHello",
        ),
        ("\r\n\r\nHello", "\r\nCc: carol@bar.test\r\n\r\nHello"),
        ("Subject: hello", "Subject: hello\r\nSubject: your invoice"),
        ("From: Alice", "Subject: your invoice\r\nFrom: Alice"),
        ("From: Alice", "Reply-To: mallory@evil.test\r\nFrom: Alice"),
        ("From: Alice", "Sender: mallory@evil.test\r\nFrom: Alice"),
        ("From: Alice", "To: carol@bar.test\r\nFrom: Alice"),
        (
            "From: Alice",
            "Content-Type: text/html\r\nContent-Type: text/plain\r\nFrom: Alice",
        ),
        (
            "\r\n\r\nHello",
            "\r\nContent-Transfer-Encoding: base64\r\n\r\nHello",
        ),
        (
            "\r\n\r\nHello",
            "\r\nX-Cargomail-Structure: mixed(1)\r\n\r\nHello",
        ),
    ];
    for (old, new) in changes {
        let changed = signed.replacen(old, new, 1);
        assert_ne!(changed, signed);
        let judged = world.judge(None, changed).await;
        assert_eq!(
            (judged.author, judged.temporary),
            (None, false),
            "{old} {}",
            judged.results
        );
    }
}

#[tokio::test]
async fn s10_a_forged_from_is_not_the_author_whatever_else_is_right() {
    let world = World::new().await;
    let mallory = dkim(2, "evil.test");
    world.txt("evil.test", "v=spf1 ip4:192.0.2.7 -all");
    world.txt("cargomail._domainkey.evil.test", &mallory.record());
    world.txt("_dmarc.evil.test", "v=DMARC1; p=none");
    world.txt("_dmarc.foo.test", "v=DMARC1; p=none");
    let forged = mallory.sign(MESSAGE.as_bytes()).unwrap();
    let judged = world.judge(Some("mallory@evil.test"), &forged).await;
    assert_eq!(
        (judged.author, judged.temporary),
        (None, false),
        "{}",
        judged.results
    );
    for part in ["spf=pass", "dkim=pass", "dmarc=fail"] {
        assert!(judged.results.contains(part), "{part}: {}", judged.results);
    }
    world.zone.remove("_dmarc.foo.test");
    let judged = world.judge(Some("mallory@evil.test"), &forged).await;
    assert_eq!(judged.author, None, "nor when foo.test has no policy");
}

#[tokio::test]
async fn s10_a_forged_author_is_disowned_by_a_domain_that_asks_for_that() {
    for (policy, disowned) in [
        ("p=none", false),
        ("p=quarantine", true),
        ("p=reject", true),
        ("p=quarantine; t=y", false),
    ] {
        let world = World::new().await;
        world.txt("_dmarc.foo.test", &format!("v=DMARC1; {policy}"));
        let judged = world.judge(Some("mallory@evil.test"), MESSAGE).await;
        assert_eq!((judged.author, judged.disowned), (None, disowned), "{policy}");
    }
}

#[tokio::test]
async fn s10_a_sender_that_wears_the_judge_out_is_disowned_all_the_same() {
    let world = World::new().await;
    world.txt("_dmarc.foo.test", "v=DMARC1; p=reject");
    let hosts: Vec<String> = (0..10).map(|host| format!("mx:m{host}.evil.test")).collect();
    world.txt("evil.test", &format!("v=spf1 {} -all", hosts.join(" ")));
    for host in 0..10 {
        for exchange in 0..10 {
            let mx = Mx {
                preference: 1,
                host: format!("x{host}-{exchange}.evil.test"),
            };
            world.zone.add(&format!("m{host}.evil.test"), Record::Mx(mx));
        }
    }
    let judged = world.judge(Some("mallory@evil.test"), MESSAGE).await;
    assert!(judged.disowned && judged.author.is_none(), "{}", judged.results);
}

#[tokio::test]
async fn s10_a_message_with_other_than_one_author_has_none() {
    let world = World::new().await;
    world.txt("foo.test", "v=spf1 ip4:192.0.2.7 -all");
    world.txt("_dmarc.foo.test", "v=DMARC1; p=reject");
    let froms = [
        "From: alice@foo.test\r\nFrom: mallory@evil.test",
        "From: alice@foo.test\r\nfrom : alice@foo.test",
        "From: alice@foo.test, mallory@evil.test",
        "From: <mallory@evil.test>,<alice@foo.test>",
        "From: alice@foo.test, carol@foo.test",
        "From: =?utf-8?q?mallory=40evil.test=00?= alice@foo.test",
        "From: alice@foo.test <mallory@evil.test>",
        "From: Team: alice@foo.test;, mallory@evil.test",
        "From: alice",
        "From:",
        "X-From: alice@foo.test",
    ];
    for from in froms {
        let message = MESSAGE.replacen("From: Alice <alice@foo.test>", from, 1);
        let judged = world.judge(Some("alice@foo.test"), message).await;
        assert_eq!(judged.author, None, "{from:?} {}", judged.results);
        assert!(!judged.temporary);
    }
    for from in [
        "From: \"Doe, John\" <alice@foo.test>",
        "From: alice@FOO.test",
        "FROM: =?utf-8?q?=C3=84?= <alice@foo.test>",
    ] {
        let message = MESSAGE.replacen("From: Alice <alice@foo.test>", from, 1);
        assert_eq!(
            world.judge(Some("alice@foo.test"), message).await.author,
            foo(),
            "{from:?}"
        );
    }
    assert_eq!(world.judge(None, "").await.author, None);
    assert_eq!(world.judge(None, "\r\n\r\nno header\r\n").await.author, None);
}

#[tokio::test]
async fn s10_a_signature_that_does_not_cover_from_vouches_for_nobody() {
    let world = World::new().await;
    world.txt("_dmarc.foo.test", "v=DMARC1; p=none");
    world.txt("cargomail._domainkey.foo.test", &dkim(1, "foo.test").record());
    let identity = Identity::from_seed(&[1; 32]);
    let key = Ed25519Key::from_seed_and_public_key(identity.seed(), &identity.public()).unwrap();
    let signer = DkimSigner::from_key(key)
        .domain("foo.test")
        .selector("cargomail")
        .headers(["Subject"]);
    let signature = signer.sign(MESSAGE.as_bytes()).unwrap().to_header();
    let judged = world.judge(None, format!("{signature}{MESSAGE}")).await;
    assert_eq!(judged.author, None, "{}", judged.results);
}

#[tokio::test]
async fn alignment_is_what_the_author_s_domain_says() {
    let world = World::new().await;
    let dkim = dkim(1, "mail.foo.test");
    world.txt("cargomail._domainkey.mail.foo.test", &dkim.record());
    let signed = dkim.sign(MESSAGE.as_bytes()).unwrap();
    assert_eq!(
        world.judge(None, &signed).await.author,
        None,
        "no record: the very same domain only"
    );

    let world = World::new().await;
    world.txt("cargomail._domainkey.mail.foo.test", &dkim.record());
    world.txt("_dmarc.foo.test", "v=DMARC1; p=none");
    assert_eq!(world.judge(None, &signed).await.author, foo());

    let world = World::new().await;
    world.txt("cargomail._domainkey.mail.foo.test", &dkim.record());
    world.txt("_dmarc.foo.test", "v=DMARC1; p=none; adkim=s");
    assert_eq!(world.judge(None, &signed).await.author, None);
}

#[tokio::test]
async fn every_mechanism_of_spf_is_answered_by_the_nodes_own_dns() {
    let world = World::new().await;
    world
        .address("mail.foo.test", CLIENT)
        .address("mail.foo.test", "2001:db8::7");
    let mx = |host: &str| {
        Record::Mx(Mx {
            preference: 10,
            host: host.to_owned(),
        })
    };
    world.zone.add("mx.test", mx("mail.foo.test"));
    world.zone.add("mx.test", mx("other.foo.test"));
    world.address("7.2.0.192.listed.test", "127.0.0.2");
    world.txt("included.test", "v=spf1 a:mail.foo.test -all");
    world.txt("excluded.test", "v=spf1 -all");
    let exists6 = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.listed.test";
    world.address(exists6, "127.0.0.2");
    let cases = [
        ("v=spf1 a:mail.foo.test -all", "pass"),
        ("v=spf1 mx:mx.test -all", "pass"),
        ("v=spf1 include:included.test -all", "pass"),
        ("v=spf1 include:excluded.test ~all", "softfail"),
        ("v=spf1 redirect=included.test", "pass"),
        ("v=spf1 exists:%{ir}.listed.test -all", "pass"),
        ("v=spf1 exists:%{ir}.unlisted.test -all", "fail"),
        ("v=spf1 exists:%{l}.listed.test a:mail.foo.test -all", "pass"),
        ("v=spf1 ptr:foo.test -all", "fail"),
        ("v=spf1 a:missing.test ?all", "neutral"),
        ("v=spf1 include:missing.test -all", "permerror"),
        ("v=spf1 include:foo.test -all", "permerror"),
        ("v=spf1 nonsense", "permerror"),
        ("some other text", "none"),
    ];
    for (record, result) in cases {
        for client in [CLIENT, "2001:db8::7"] {
            world.zone.remove("foo.test");
            let world = World::over(world.zone.clone());
            world.txt("foo.test", record);
            let judged = world.judge_from(client, Some("alice@foo.test"), MESSAGE).await;
            let expected = format!("spf={result} ");
            assert!(
                judged.results.contains(&expected),
                "{record} {client}: {}",
                judged.results
            );
            assert_eq!(judged.author.is_some(), result == "pass", "{record}");
            assert!(!judged.temporary, "{record}");
        }
    }
}

#[tokio::test]
async fn two_records_where_one_belongs_are_none() {
    let world = World::new().await;
    world
        .txt("foo.test", "v=spf1 ip4:192.0.2.7 -all")
        .txt("foo.test", "v=spf1 +all");
    let judged = world.judge(Some("alice@foo.test"), MESSAGE).await;
    assert!(judged.results.contains("spf=permerror"), "{}", judged.results);
    assert_eq!(judged.author, None);

    let world = World::new().await;
    world
        .txt("foo.test", "v=spf1 ip4:192.0.2.7 -all")
        .txt("foo.test", "google-site-verification=x");
    world
        .txt("_dmarc.foo.test", "v=DMARC1; p=reject")
        .txt("_dmarc.foo.test", "v=DMARC1; p=none");
    let judged = world.judge(Some("alice@foo.test"), MESSAGE).await;
    assert_eq!(
        judged.author,
        foo(),
        "as if it had no DMARC record: {}",
        judged.results
    );
    let judged = world
        .judge(
            Some("alice@foo.test"),
            MESSAGE.replace("@foo.test>\r\nTo", "@www.foo.test>\r\nTo"),
        )
        .await;
    assert_eq!(judged.author, None);
}

/// A DNS that knows the records of its zone at some names, and is out of order at others.
struct Flaky {
    inner: Arc<Resolver>,
    down: &'static str,
}

impl Flaky {
    fn check(&self, name: &str, kind: &'static str) -> Result<(), DnsError> {
        if self.down.is_empty() || name.contains(self.down) {
            return Err(DnsError::Unavailable {
                name: name.to_owned(),
                kind,
                why: "SERVFAIL".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Dns for Flaky {
    async fn txt(&self, name: &str) -> Result<Answer<String>, DnsError> {
        self.check(name, "TXT")?;
        self.inner.txt(name).await
    }

    async fn srv(&self, name: &str) -> Result<Answer<Srv>, DnsError> {
        self.inner.srv(name).await
    }

    async fn mx(&self, name: &str) -> Result<Answer<Mx>, DnsError> {
        self.inner.mx(name).await
    }

    async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, DnsError> {
        self.check(name, "A")?;
        self.inner.addresses(name).await
    }
}

#[tokio::test]
async fn a_dns_that_does_not_answer_is_a_reason_to_try_again_and_no_verdict() {
    let zone = World::new().await.zone;
    let dkim = dkim(1, "foo.test");
    let record = |text: &str| Record::Txt(text.to_owned());
    zone.add("cargomail._domainkey.foo.test", record(&dkim.record()));
    zone.add("_dmarc.foo.test", record("v=DMARC1; p=reject"));
    zone.add(
        "foo.test",
        record("v=spf1 a:mail.foo.test exists:list.foo.test -all"),
    );
    let inner = resolver(&zone);
    let judge = async |down: &'static str, message: &[u8]| {
        let dns = Arc::new(Flaky {
            inner: inner.clone(),
            down,
        });
        let authenticator = Authenticator::new(dns, "mx.bar.test".to_owned());
        authenticator
            .authenticate(&mail(CLIENT, Some("alice@foo.test"), message))
            .await
    };
    let signed = dkim.sign(MESSAGE.as_bytes()).unwrap();
    for down in ["", "_dmarc.foo", "_domainkey", "mail.foo", "list.foo"] {
        let judged = judge(down, MESSAGE.as_bytes()).await;
        let matters = down != "_domainkey";
        assert_eq!(
            (judged.author, judged.temporary),
            (None, matters),
            "{down} {}",
            judged.results
        );
    }
    for (down, author) in [
        ("", None),
        ("_dmarc.foo", foo()),
        ("_domainkey", None),
        ("mail.foo", foo()),
    ] {
        let judged = judge(down, &signed).await;
        assert_eq!(judged.temporary, author.is_none(), "{down} {}", judged.results);
        assert_eq!(judged.author, author, "{down}");
    }
}

#[tokio::test]
async fn a_message_cannot_make_the_node_ask_without_end() {
    let world = World::new().await;
    world.txt("foo.test", "v=spf1 include:foo.test -all");
    let mut message = String::new();
    for n in 0..200 {
        message.push_str(&format!(
            "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=d{n}.test; s=s; h=from; bh=AAAA; b=AAAA\r\n"
        ));
    }
    message.push_str(MESSAGE);
    let judged = world.judge(Some("alice@foo.test"), message).await;
    assert_eq!((judged.author, judged.temporary), (None, false));
    assert!(
        judged.results.matches("dkim=").count() <= 16,
        "{}",
        judged.results
    );
    assert!(judged.results.contains("spf=permerror"), "{}", judged.results);
}

#[test]
fn what_has_not_one_author_is_not_signed() {
    let dkim = dkim(1, "foo.test");
    assert!(dkim.sign(b"Subject: x\r\n\r\ny\r\n").is_err());
    assert!(
        dkim.sign(b"From: a@foo.test\r\nFrom: b@foo.test\r\n\r\ny\r\n")
            .is_err()
    );
    assert!(dkim.sign(b"").is_err());
    assert_eq!(
        dkim.record(),
        "v=DKIM1; k=ed25519; h=sha256; p=iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="
    );
}

/// Knows the DMARC record of foo.test, and is silent about everything else but other such records.
struct Silent {
    policy: &'static str,
}

#[async_trait]
impl Dns for Silent {
    async fn txt(&self, name: &str) -> Result<Answer<String>, DnsError> {
        match name.strip_prefix("_dmarc.") {
            Some("foo.test") => Ok(Answer {
                records: vec![self.policy.to_owned()],
                authenticated: false,
                valid_until: SystemClock.now(),
            }),
            Some(_) => Err(DnsError::NoRecord {
                name: name.to_owned(),
                kind: "TXT",
            }),
            None => std::future::pending().await,
        }
    }

    async fn srv(&self, _: &str) -> Result<Answer<Srv>, DnsError> {
        std::future::pending().await
    }

    async fn mx(&self, _: &str) -> Result<Answer<Mx>, DnsError> {
        std::future::pending().await
    }

    async fn addresses(&self, _: &str) -> Result<Answer<IpAddr>, DnsError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn s10_a_judgement_that_takes_too_long_keeps_what_the_authors_domain_said() {
    for (policy, disowned) in [("v=DMARC1; p=reject", true), ("v=DMARC1; p=none", false)] {
        let dns = Arc::new(Silent { policy });
        let authenticator = Authenticator::new(dns, "mx.bar.test".to_owned());
        let mail = mail(CLIENT, Some("mallory@evil.test"), MESSAGE);
        let judged = authenticator.authenticate(&mail).await;
        assert_eq!(judged.author, None);
        assert!(judged.temporary, "{}", judged.results);
        assert_eq!(judged.disowned, disowned, "{policy}");
    }
}
