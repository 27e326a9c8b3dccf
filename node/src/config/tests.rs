#![allow(clippy::unwrap_used)]
use super::print::samples;
use super::*;
use crate::broker::Deliver;
use crate::identity::Identity;
use crate::peers::Relaying;

const BOTH: &str =
    "[mailbox]\nlocator = \"mailbox.foo.test\"\ndomain = \"foo.test\"\n[broker]\ndomain = \"foo.test\"\n";

fn settings(text: &str) -> Result<Settings, ConfigError> {
    let file = Path::new("cargomail.toml");
    Config::parse(text, file)?
        .check(Path::new("/srv/cargomail"))
        .map_err(|value| ConfigError::Value {
            file: file.to_owned(),
            value,
        })
}

fn refused(text: &str) -> String {
    settings(text).unwrap_err().to_string()
}

#[test]
fn the_example_file_is_printed_from_the_configuration() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/cargomail.example.toml");
    let kept = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        kept,
        example(),
        "`cargomail example-config > node/cargomail.example.toml` writes it anew"
    );
}

#[test]
fn the_example_runs_as_it_is_and_with_every_line_of_it() {
    assert!(settings(&example()).is_ok());
    let is_key = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let all: String = example()
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| is_key(rest))
                .unwrap_or(line)
        })
        .fold(String::new(), |text, line| text + line + "\n");
    let every: toml::Table = toml::from_str(&all).unwrap();
    let known = toml::Table::try_from(samples()).unwrap();
    for (section, value) in &known {
        let keys = |value: &toml::Value| {
            value
                .as_table()
                .map(|table| table.keys().cloned().collect::<Vec<_>>())
        };
        assert_eq!(every.get(section).map(keys), Some(keys(value)), "{section}");
    }
    assert!(settings(&all).is_ok());
}

#[test]
fn what_is_printed_reads_back_the_same() {
    for config in [Config::default(), samples()] {
        let text = document(&config);
        assert_eq!(Config::parse(&text, Path::new("x")).unwrap(), config, "{text}");
    }
}

#[test]
fn defaults_run_on_localhost_with_absolute_paths() {
    let settings = settings(BOTH).unwrap();
    assert_eq!(settings.data, Path::new("/srv/cargomail/data"));
    assert_eq!(settings.key, Path::new("/srv/cargomail/key.pem"));
    assert_eq!(settings.hostname.as_str(), "node.foo.test");
    assert!(settings.grip.listen.ip().is_loopback() && settings.user.listen.ip().is_loopback());
    assert_eq!(settings.public, [std::net::IpAddr::from([127, 0, 0, 1])]);
    assert_eq!(settings.broker.unwrap().deliver, Deliver::BuiltIn);
}

#[test]
fn public_addresses_are_announced_and_are_no_origins() {
    let text = format!(
        "{BOTH}[network]\npublic = [\"203.0.113.5\"]\n[peers]\nquic = \"[::]:4001\"\ntcp = \"off\"\n"
    );
    let settings = settings(&text).unwrap();
    assert_eq!(settings.peers.announce, ["/ip4/203.0.113.5/udp/4001/quic-v1"]);
    let own = settings.public[0];
    assert!(settings.peers.policy.own.contains(&own));
    assert!(!settings.policy.own.contains(&own));
}

#[test]
fn a_community_is_named_by_addresses_and_by_names_and_joined_only_when_it_is_written() {
    assert!(settings(BOTH).unwrap().peers.communities.is_empty());
    let relay = "/ip4/9.9.9.9/udp/4001/quic-v1/p2p/12D3KooWATbawL9HBRiYPnr5JH8bBLywRc83P8nfwnVUazfmES1k";
    let text = format!(
        "{BOTH}[network]\npublic = [\"203.0.113.5\"]\n[peers]\ncommunities = [\"{relay}\", \"community.test\"]\nrelay = \"always\"\n"
    );
    let settings = settings(&text).unwrap();
    let written: Vec<String> = settings
        .peers
        .communities
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(written, [relay, "community.test"]);
    assert_eq!(settings.peers.relay, Relaying::Always);
    let identity = Identity::from_seed(&[1; 32]);
    assert!(settings.peers.announce.is_empty());
    let planned = crate::publish::planned_peers(&settings, &identity);
    let over = format!("{relay}/p2p-circuit/p2p/{}", identity.peer_id());
    assert_eq!(planned, [crate::peers::PeerAddress(over)]);
}

#[test]
fn a_broker_is_a_peer_that_others_reach_only_where_it_says_so() {
    let broker = "[broker]\ndomain = \"foo.test\"\n[smtp]\nlisten = \"off\"\n";
    let over = |over: &str| settings(&format!("{broker}[grip]\nover = \"{over}\"\n")).unwrap();
    assert!(!settings(broker).unwrap().is_peer());
    assert!(!over("https").is_peer() && over("both").is_peer() && over("libp2p").is_peer());
    assert!(settings(BOTH).unwrap().is_peer());
}

#[test]
fn places_to_deliver_and_to_send_by_are_read() {
    let text = "[broker]\ndomain = \"foo.test\"\ndeliver = \"lmtp://[::1]:24\"\n[smtp]\nsmart_host = \"mail.foo.test:25\"\n";
    let settings = settings(text).unwrap();
    let lmtp = Deliver::Lmtp {
        host: "::1".to_owned(),
        port: 24,
    };
    assert_eq!(settings.broker.unwrap().deliver, lmtp);
    assert_eq!(settings.smtp.smart_host, Some(("mail.foo.test".to_owned(), 25)));
}

#[test]
fn errors_name_the_file_the_key_and_the_way_out() {
    let cases = [
        ("", "no role", "[mailbox]"),
        ("[broker]\n", "broker.domain", "example.test"),
        (
            "[mailbox]\ndomain = \"foo.test\"\n",
            "mailbox.locator",
            "mailbox.example.test",
        ),
        (
            "[mailbox]\nlocator = \"m.bar.test\"\ndomain = \"foo.test\"\n",
            "mailbox.locator",
            "below foo.test",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\ndeliver = \"maildir\"\n",
            "broker.deliver",
            "lmtp://",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\nconcurrent = 0\n",
            "broker.concurrent",
            "1 or more",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[smtp]\nsmart_host = \"a b:25\"\n",
            "smtp.smart_host",
            "mail.example.test:25",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[smtp]\nrelays = [\"10.0.0.0/64\"]\n",
            "smtp.relays",
            "10.1.0.0/16",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[network]\nallow = [\"everything\"]\n",
            "network.allow",
            "10.1.0.0/16",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[user]\ncertificate = \"c.pem\"\n",
            "user.key",
            "key of user.certificate",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[peers]\nquic = \"off\"\ntcp = \"off\"\n",
            "peers.quic",
            "one of them",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[peers]\nannounce = [\"example\"]\n",
            "peers.announce",
            "quic-v1",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[peers]\ncommunities = [\"/ip4/9.9.9.9/tcp/4001\"]\n",
            "peers.communities",
            "/p2p/12D3KooW",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[peers]\ncommunities = [\"a b\"]\n",
            "peers.communities",
            "community.example.test",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[peers]\ncommunities = [\"/ip4/10.0.0.1/tcp/4001/p2p/12D3KooWATbawL9HBRiYPnr5JH8bBLywRc83P8nfwnVUazfmES1k\"]\n",
            "peers.communities",
            "network.allow",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[peers]\ncommunities = [\"/dns4/bar.test/tcp/4001/p2p/12D3KooWATbawL9HBRiYPnr5JH8bBLywRc83P8nfwnVUazfmES1k\"]\n",
            "peers.communities",
            "may dial",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[peers]\ncommunities = [\"a.test\", \"b.test\", \"c.test\", \"d.test\", \"e.test\", \"f.test\", \"g.test\", \"h.test\", \"i.test\"]\n",
            "peers.communities",
            "8 or fewer",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[peers]\nrelay = \"always\"\n",
            "peers.relay",
            "peers.communities",
        ),
        (
            "[mailbox]\nlocator = \"m.foo.test\"\ndomain = \"foo.test\"\nconcurrent = 9223372036854775807\n",
            "mailbox.concurrent",
            "or fewer",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[smtp]\nsize = 0\n",
            "smtp.size",
            "1 or more",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[grip]\nport = 0\n",
            "grip.port",
            "others reach",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[network]\npublic = [\"203.0.113.5\", \"0.0.0.0\"]\n",
            "network.public",
            "others reach",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[network]\npublic = [\"::\"]\n",
            "network.public",
            "others reach",
        ),
        (
            "[broker]\ndomain = \"foo.test\"\n[store]\ncache = 1\n",
            "store.cache",
            "or more",
        ),
    ];
    for (text, key, way_out) in cases {
        let error = refused(text);
        for part in ["cargomail.toml", key, way_out] {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
    }
}

#[test]
fn only_what_other_nodes_dial_is_announced_and_without_a_name() {
    let with = |address: &str| {
        settings(&format!(
            "[broker]\ndomain = \"foo.test\"\n[peers]\nannounce = [\"{address}\"]\n"
        ))
    };
    let name = "/p2p/12D3KooWATbawL9HBRiYPnr5JH8bBLywRc83P8nfwnVUazfmES1k";
    for good in [
        "/ip4/203.0.113.5/udp/4001/quic-v1",
        "/ip4/203.0.113.5/tcp/4001",
        "/ip6/2001:db8::5/tcp/4001",
    ] {
        for written in [good.to_owned(), format!("{good}{name}")] {
            assert_eq!(with(&written).unwrap().peers.announce, [good], "{written}");
        }
    }
    for bad in [
        "/ip4/203.0.113.5",
        "/ip4/203.0.113.5/udp/4001",
        "/ip4/203.0.113.5/udp/4001/quic",
        "/ip4/203.0.113.5/tcp/4001/ws",
        "/ip4/203.0.113.5/tcp/0",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip6/::/udp/4001/quic-v1",
        "/dns4/node.foo.test/tcp/4001",
        &format!("/ip4/203.0.113.5/tcp/4001{name}/p2p-circuit"),
        name,
    ] {
        let error = with(bad).unwrap_err().to_string();
        assert!(error.contains("peers.announce") && error.contains(bad), "{error}");
    }
}

#[test]
fn an_unknown_key_and_a_wrong_value_are_refused_with_their_line() {
    for text in [
        "dta = \"data\"\n",
        "[grip]\nlisten = \"nowhere\"\n",
        "[peers]\nquic = \"on\"\n",
        "[peers]\nrelay = \"perhaps\"\n",
        "[grip]\nover = \"smoke\"\n",
        "[broker]\ndomain = \"a_b\"\n",
    ] {
        let error = refused(text);
        assert!(
            error.contains("cargomail.toml") && error.contains("line") && error.contains("example-config"),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Settings::open(&folder.path().join("absent.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("absent.toml") && error.contains("init"), "{error}");
}
