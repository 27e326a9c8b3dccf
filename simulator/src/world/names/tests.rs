#![allow(clippy::unwrap_used)]

use tokio::time::Instant;

use super::super::time::{VirtualClock, Wrong};
use super::*;

const PIN: &str = "v=grip1; h=sha256; p=00";

fn lies() -> Lies {
    Lies {
        address: "127.128.0.9".parse().unwrap(),
        peers: vec![PeerAddress("/ip4/127.128.0.9/tcp/4001".to_owned())],
        pin: PIN.to_owned(),
    }
}

fn resolver() -> (Resolver, Arc<Answers>) {
    let zone = Zone::default();
    zone.add("node.bar.test", Record::Address("127.128.0.1".parse().unwrap()));
    for (name, text) in [
        ("_grip.bar.test", "v=grip1; h=sha256; p=aa"),
        ("_cb.bar.test", "v=grip1; h=sha256; p=aa"),
        ("_dnsaddr.mailbox.bar.test", "dnsaddr=/ip4/127.128.0.1/tcp/4001"),
        ("bar.test", "v=spf1 -all"),
    ] {
        zone.add(name, Record::Txt(text.to_owned()));
    }
    let answers = Arc::new(Answers::default());
    let clock = Arc::new(VirtualClock::new(Instant::now(), Wrong::default()));
    let trace = Trace::new(None);
    (
        Resolver::new(zone, clock, trace, "foo.test".to_owned(), answers.clone()),
        answers,
    )
}

async fn text(resolver: &Resolver, name: &str) -> String {
    resolver.txt(name).await.unwrap().records.remove(0)
}

#[tokio::test(start_paused = true)]
async fn who_is_misled_is_told_of_another_machine_and_a_key_that_nobody_has() {
    let (resolver, answers) = resolver();
    let address = async || resolver.addresses("node.bar.test").await.unwrap().records;
    assert_eq!(address().await, ["127.128.0.1".parse::<IpAddr>().unwrap()]);
    // What was heard before is forgotten at once.
    answers.lie(Some(lies()));
    // The truth, and nothing, are no lies.
    assert_eq!(text(&resolver, "bar.test").await, "v=spf1 -all");
    resolver.txt("nobody.test").await.unwrap_err();
    assert!(!answers.has_lied());
    assert_eq!(address().await, ["127.128.0.9".parse::<IpAddr>().unwrap()]);
    assert!(answers.has_lied());
    assert_eq!(text(&resolver, "_grip.bar.test").await, PIN);
    let peer = text(&resolver, "_dnsaddr.mailbox.bar.test").await;
    assert_eq!(peer, "dnsaddr=/ip4/127.128.0.9/tcp/4001");
    // Which key speaks for a client, and everything else, stays true.
    assert!(text(&resolver, "_cb.bar.test").await.ends_with("p=aa"));
    assert_eq!(text(&resolver, "bar.test").await, "v=spf1 -all");
}

#[tokio::test(start_paused = true)]
async fn a_lie_about_nothing_is_no_answer() {
    let (resolver, answers) = resolver();
    answers.lie(Some(lies()));
    let nowhere = resolver.addresses("node.nowhere.test").await;
    assert!(matches!(nowhere, Err(DnsError::NoRecord { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_lie_is_believed_until_its_time_is_over() {
    let (resolver, answers) = resolver();
    answers.lie(Some(lies()));
    assert_eq!(text(&resolver, "_grip.bar.test").await, PIN);
    answers.lie(None);
    sleep(limits::DNS_POSITIVE - Duration::from_secs(1)).await;
    assert_eq!(text(&resolver, "_grip.bar.test").await, PIN);
    sleep(Duration::from_secs(2)).await;
    assert!(text(&resolver, "_grip.bar.test").await.ends_with("p=aa"));
}

#[tokio::test(start_paused = true)]
async fn who_is_told_nothing_waits_and_is_told_so() {
    let (resolver, answers) = resolver();
    answers.silence(true);
    let begun = Instant::now();
    let heard = resolver.txt("_grip.bar.test").await;
    assert!(matches!(heard, Err(DnsError::Unavailable { .. })));
    assert_eq!(begun.elapsed(), SILENCE);
    answers.silence(false);
    assert!(text(&resolver, "_grip.bar.test").await.ends_with("p=aa"));
}

#[tokio::test(start_paused = true)]
async fn of_two_keys_one_is_withdrawn() {
    let zone = Zone::default();
    let text = |key: &str| Record::Txt(format!("v=grip1; h=sha256; p={key}"));
    zone.add("_cb.bar.test", text("aa"));
    zone.add("_cb.bar.test", text("bb"));
    zone.remove("_CB.bar.test", &text("aa"));
    zone.remove("_cb.bar.test", &text("cc"));
    zone.remove("_cb.foo.test", &text("bb"));
    assert_eq!(zone.at("_cb.bar.test"), Some(vec![text("bb")]));
}
