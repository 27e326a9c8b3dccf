//! The resolver against real UDP and TCP servers: what is found, what is not there, what fails, and for how long it is kept.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cargomail_node::clock::Clock;
use cargomail_node::dns::{Dns, DnsError, Dnssec, Mx, Record, Resolver, ResolverOptions, Srv, Zone};
use cargomail_protocol::fault::Faulty;
use cargomail_protocol::timestamp::Timestamp;
use tokio::net::UdpSocket;

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A clock that a test moves.
struct Watch(AtomicU64);

impl Watch {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_796_389_501_000)))
    }
    fn forward(&self, by: Duration) {
        self.0
            .fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
    fn back(&self, by: Duration) {
        self.0
            .fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn resolver(server: SocketAddr, dnssec: Dnssec, clock: Arc<Watch>) -> Resolver {
    Resolver::new(
        &ResolverOptions {
            servers: vec![server],
            dnssec,
        },
        clock,
    )
    .unwrap()
}

async fn zone() -> (Zone, Resolver, Arc<Watch>) {
    let zone = Zone::start(ANYWHERE).await.unwrap();
    let clock = Watch::new();
    let resolver = resolver(zone.local_addr(), Dnssec::Off, clock.clone());
    (zone, resolver, clock)
}

fn txt(text: &str) -> Record {
    Record::Txt(text.to_owned())
}

fn srv(priority: u16, weight: u16, host: &str) -> Record {
    Record::Srv(Srv {
        priority,
        weight,
        host: host.to_owned(),
        port: 8443,
    })
}

#[tokio::test]
async fn every_type_of_record_is_read_as_it_was_published() {
    let (zone, dns, _) = zone().await;
    let long = "x".repeat(700);
    zone.add("_grip.Mailbox.Insurance.test", txt(&long));
    zone.add("_grip.mailbox.insurance.test.", txt("second"));
    zone.add("_grip-notify._tcp.bar.test", srv(20, 0, "late.bar.test"));
    zone.add("_grip-notify._tcp.bar.test", srv(10, 0, "early.bar.test"));
    zone.add(
        "bar.test",
        Record::Mx(Mx {
            preference: 20,
            host: "b.bar.test".to_owned(),
        }),
    );
    zone.add(
        "bar.test",
        Record::Mx(Mx {
            preference: 10,
            host: "a.bar.test".to_owned(),
        }),
    );
    zone.add(
        "null.test",
        Record::Mx(Mx {
            preference: 0,
            host: String::new(),
        }),
    );
    zone.add("host.bar.test", Record::Address("192.0.2.1".parse().unwrap()));
    zone.add("host.bar.test", Record::Address("2001:db8::1".parse().unwrap()));

    let texts = dns.txt("_grip.mailbox.insurance.TEST").await.unwrap();
    assert_eq!(texts.records.len(), 2);
    assert!(texts.records.contains(&long));
    assert!(!texts.authenticated);
    let hosts: Vec<String> = dns
        .srv("_grip-notify._tcp.bar.test")
        .await
        .unwrap()
        .records
        .into_iter()
        .map(|s| s.host)
        .collect();
    assert_eq!(hosts, ["early.bar.test", "late.bar.test"]);
    let hosts: Vec<String> = dns
        .mx("bar.test")
        .await
        .unwrap()
        .records
        .into_iter()
        .map(|m| m.host)
        .collect();
    assert_eq!(hosts, ["a.bar.test", "b.bar.test"]);
    assert_eq!(dns.mx("null.test").await.unwrap().records[0].host, "");
    assert_eq!(dns.addresses("host.bar.test").await.unwrap().records.len(), 2);
}

#[tokio::test]
async fn a_large_answer_comes_by_tcp() {
    let (zone, dns, _) = zone().await;
    for number in 0..40 {
        zone.add("big.test", txt(&format!("{number} {}", "y".repeat(200))));
    }
    assert_eq!(dns.txt("big.test").await.unwrap().records.len(), 40);
}

#[tokio::test]
async fn what_does_not_exist_is_refused_and_not_temporary() {
    let (zone, dns, _) = zone().await;
    zone.add("deep.below.bar.test", txt("here"));
    for name in ["nobody.test", "below.bar.test", "deep.below.bar.test"] {
        let error = dns.mx(name).await.unwrap_err();
        assert!(matches!(error, DnsError::NoRecord { .. }), "{error}");
        assert!(!error.fault().is_temporary());
    }
    assert!(matches!(
        dns.addresses("a name with spaces").await,
        Err(DnsError::NoRecord { .. })
    ));
}

#[tokio::test]
async fn a_positive_answer_is_kept_for_its_ttl_and_five_minutes_at_most() {
    let (zone, dns, clock) = zone().await;
    zone.add_with_ttl("short.test", txt("old"), Duration::from_secs(60));
    zone.add_with_ttl("long.test", txt("old"), Duration::from_secs(86_400));
    zone.add_with_ttl("never.test", txt("old"), Duration::ZERO);
    let read = async |name| dns.txt(name).await.unwrap().records.remove(0);
    for name in ["short.test", "long.test", "never.test"] {
        assert_eq!(read(name).await, "old");
        zone.remove(name);
        zone.add(name, txt("new"));
    }
    assert_eq!(read("never.test").await, "new");
    clock.forward(Duration::from_secs(59));
    assert_eq!(read("short.test").await, "old");
    clock.forward(Duration::from_secs(2));
    assert_eq!(read("short.test").await, "new");
    assert_eq!(read("long.test").await, "old");
    clock.forward(Duration::from_secs(240));
    assert_eq!(read("long.test").await, "new");
}

#[tokio::test]
async fn a_negative_answer_is_kept_for_thirty_seconds_at_most() {
    let (zone, dns, clock) = zone().await;
    assert!(dns.txt("late.test").await.is_err());
    zone.add("late.test", txt("here now"));
    clock.forward(Duration::from_secs(29));
    assert!(dns.txt("late.test").await.is_err());
    clock.forward(Duration::from_secs(2));
    assert_eq!(dns.txt("late.test").await.unwrap().records, ["here now"]);
}

#[tokio::test]
async fn t13_an_answer_is_asked_for_again_after_the_clock_was_set_back() {
    let (zone, dns, clock) = zone().await;
    zone.add("bar.test", txt("old"));
    assert_eq!(dns.txt("bar.test").await.unwrap().records, ["old"]);
    zone.remove("bar.test");
    zone.add("bar.test", txt("new"));
    clock.back(Duration::from_secs(3600));
    assert_eq!(dns.txt("bar.test").await.unwrap().records, ["new"]);
}

#[tokio::test]
async fn d03_aliases_are_followed_and_a_loop_or_a_long_chain_ends() {
    let (zone, dns, _) = zone().await;
    zone.add("www.test", Record::Alias("real.test".to_owned()));
    zone.add_with_ttl("real.test", txt("here"), Duration::from_secs(9));
    zone.add("a.loop.test", Record::Alias("b.loop.test".to_owned()));
    zone.add("b.loop.test", Record::Alias("a.loop.test".to_owned()));
    for step in 0..17 {
        zone.add(
            &format!("{step}.chain.test"),
            Record::Alias(format!("{}.chain.test", step + 1)),
        );
    }
    zone.add("17.chain.test", txt("too far"));
    zone.add(
        "_grip-notify._tcp.www.test",
        Record::Alias("_grip-notify._tcp.real.test".to_owned()),
    );
    zone.add("_grip-notify._tcp.real.test", srv(10, 0, "host.real.test"));
    let answer = dns.txt("www.test").await.unwrap();
    assert_eq!(answer.records, ["here"]);
    assert!(answer.valid_until <= Timestamp::from_millis(1_796_389_501_000 + 9_000));
    let services = dns.srv("_grip-notify._tcp.www.test").await.unwrap();
    assert_eq!(services.records[0].host, "host.real.test");
    for endless in ["a.loop.test", "0.chain.test"] {
        let texts = dns.txt(endless).await.map(drop);
        let services = dns.srv(endless).await.map(drop);
        for answer in [texts, services] {
            let error = answer.unwrap_err();
            assert!(matches!(error, DnsError::Unavailable { .. }), "{error}");
        }
    }
    let nothing = dns.srv("www.test").await.unwrap_err();
    assert!(matches!(nothing, DnsError::NoRecord { .. }), "{nothing}");
}

/// A server that answers every question with this response code, or not at all, and counts them.
async fn broken_server(code: Option<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind(ANYWHERE).await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut packet = [0_u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(code) = code {
                packet[2] = 0x84;
                packet[3] = code;
                socket.send_to(&packet[..length], from).await.unwrap();
            }
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_server_failure_is_temporary_and_is_not_kept() {
    let (server, asked) = broken_server(Some(2)).await;
    let dns = resolver(server, Dnssec::Off, Watch::new());
    let error = dns.txt("bar.test").await.unwrap_err();
    assert!(matches!(error, DnsError::Unavailable { .. }), "{error}");
    assert!(error.fault().is_temporary());
    let before = asked.load(Ordering::Relaxed);
    assert!(dns.txt("bar.test").await.is_err());
    assert!(asked.load(Ordering::Relaxed) > before);
}

#[tokio::test]
async fn d03_a_server_that_is_silent_is_given_up_within_five_seconds() {
    let (server, _) = broken_server(None).await;
    let dns = resolver(server, Dnssec::Off, Watch::new());
    let begin = std::time::Instant::now();
    let error = dns.txt("bar.test").await.unwrap_err();
    assert!(matches!(error, DnsError::Unavailable { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn d02_an_unsigned_answer_is_refused_where_dnssec_is_required() {
    let zone = Zone::start(ANYWHERE).await.unwrap();
    zone.add("bar.test", txt("unsigned"));
    let dns = resolver(zone.local_addr(), Dnssec::Require, Watch::new());
    assert!(dns.txt("bar.test").await.is_err());
    assert!(!matches!(
        dns.txt("nobody.test").await,
        Err(DnsError::NoRecord { .. })
    ));
}
