#![allow(clippy::unwrap_used)]
use std::path::Path;

use super::*;
use crate::config::Config;

fn settings(text: &str) -> Settings {
    let config = Config::parse(text, Path::new("cargomail.toml")).unwrap();
    config.check(Path::new("/srv/cargomail")).unwrap()
}

fn lines(settings: &Settings) -> Vec<String> {
    let identity = Identity::from_seed(&[7; 32]);
    let peers = planned_peers(settings, &identity);
    records(settings, &identity, &peers)
        .iter()
        .map(ToString::to_string)
        .collect()
}

const BOTH: &str = r#"
    [network]
    public = ["203.0.113.5", "2001:db8::5"]
    [grip]
    port = 443
    [peers]
    quic = "[::]:4001"
    tcp = "off"
    [mailbox]
    locator = "mailbox.foo.test"
    domain = "foo.test"
    [broker]
    domain = "foo.test"
"#;

#[test]
fn a_node_of_both_roles_publishes_every_record_that_others_need() {
    let identity = Identity::from_seed(&[7; 32]);
    let bound = format!(
        "\"v=grip1; h=sha256; p={}\"",
        KeyHash::from_bytes(identity.spki_sha256())
    );
    let peer = identity.peer_id();
    let expected = [
        "node.foo.test. 3600 IN A 203.0.113.5".to_owned(),
        "node.foo.test. 3600 IN AAAA 2001:db8::5".to_owned(),
        format!("_rra.foo.test. 3600 IN TXT {bound}"),
        format!("_grip.mailbox.foo.test. 3600 IN TXT {bound}"),
        "_grip-notify._tcp.mailbox.foo.test. 3600 IN SRV 0 0 443 node.foo.test.".to_owned(),
        format!(
            "_dnsaddr.mailbox.foo.test. 3600 IN TXT \"dnsaddr=/ip4/203.0.113.5/udp/4001/quic-v1/p2p/{peer}\""
        ),
        format!(
            "_dnsaddr.mailbox.foo.test. 3600 IN TXT \"dnsaddr=/ip6/2001:db8::5/udp/4001/quic-v1/p2p/{peer}\""
        ),
        format!("_cb.foo.test. 3600 IN TXT {bound}"),
        format!("_grip.foo.test. 3600 IN TXT {bound}"),
        "_grip-notify._tcp.foo.test. 3600 IN SRV 0 0 443 node.foo.test.".to_owned(),
        "foo.test. 3600 IN MX 10 node.foo.test.".to_owned(),
        "foo.test. 3600 IN TXT \"v=spf1 ip4:203.0.113.5 ip6:2001:db8::5 -all\"".to_owned(),
        format!(
            "cargomail._domainkey.foo.test. 3600 IN TXT \"v=DKIM1; k=ed25519; p={}\"",
            BASE64.encode(&identity.public())
        ),
        "_dmarc.foo.test. 3600 IN TXT \"v=DMARC1; p=reject\"".to_owned(),
    ];
    assert_eq!(lines(&settings(BOTH)), expected);
}

#[test]
fn over_libp2p_no_server_is_published_and_a_brokers_peer_is() {
    let published = |over: &str| {
        lines(&settings(
            &BOTH.replace("[grip]", &format!("[grip]\nover = \"{over}\"")),
        ))
    };
    let has = |lines: &[String], start: &str| lines.iter().any(|line| line.starts_with(start));
    for (over, server, peer) in [
        ("https", true, false),
        ("both", true, true),
        ("libp2p", false, true),
    ] {
        let lines = published(over);
        for name in ["foo.test", "mailbox.foo.test"] {
            assert!(has(&lines, &format!("_grip.{name}. ")), "{over}");
            assert_eq!(
                has(&lines, &format!("_grip-notify._tcp.{name}. ")),
                server,
                "{over}"
            );
        }
        assert_eq!(has(&lines, "_dnsaddr.foo.test. "), peer, "{over}");
        assert!(has(&lines, "_dnsaddr.mailbox.foo.test. "), "{over}");
    }
}

#[test]
fn each_role_publishes_its_own_records_only() {
    let mailbox = lines(&settings(
        "[mailbox]\nlocator = \"mailbox.foo.test\"\ndomain = \"foo.test\"\n",
    ));
    assert!(
        mailbox
            .iter()
            .all(|line| !line.contains("_cb.") && !line.contains("spf1") && !line.contains(" MX "))
    );
    let broker = lines(&settings(
        "[broker]\ndomain = \"foo.test\"\n[smtp]\nlisten = \"off\"\nsmart_host = \"smtp.bar.test:25\"\n",
    ));
    assert!(
        broker
            .iter()
            .all(|line| !line.contains("_rra.") && !line.contains("dnsaddr") && !line.contains(" MX "))
    );
    assert!(
        broker
            .iter()
            .any(|line| line.ends_with("\"v=spf1 ip4:127.0.0.1 a:smtp.bar.test -all\"")),
        "{broker:?}"
    );
}

#[test]
fn a_locator_that_is_the_brokers_domain_needs_its_records_once() {
    let text = "[mailbox]\nlocator = \"foo.test\"\ndomain = \"foo.test\"\n[broker]\ndomain = \"foo.test\"\n";
    let lines = lines(&settings(text));
    let pins = lines
        .iter()
        .filter(|line| line.starts_with("_grip.foo.test."))
        .count();
    assert_eq!(pins, 1);
}

#[test]
fn a_long_text_is_cut_into_character_strings_and_quotes_are_escaped() {
    let published = Published {
        name: "foo.test".to_owned(),
        record: Record::Txt(format!("\"{}", "a".repeat(300))),
    };
    let line = published.to_string();
    assert!(line.starts_with("foo.test. 3600 IN TXT \"\\\"aaa"), "{line}");
    assert_eq!(line.matches("\" \"").count(), 1);
}
