//! A configuration as a file for people: each key under its documentation; what stands at its default is commented out.

use cargomail_protocol::address::{Domain, Locator};
use toml::{Table, Value};

use super::written::{
    BrokerSection, CollectionSection, Config, DnsSection, Documented, GripSection, MailboxSection,
    NetworkSection, PeersSection, SmtpSection, StoreSection, UserSection,
};

type Keys = &'static [(&'static str, &'static [&'static str])];
type About = &'static [&'static str];

const SECTIONS: [(&str, About, Keys); 10] = [
    ("network", NetworkSection::ABOUT, NetworkSection::KEYS),
    ("dns", DnsSection::ABOUT, DnsSection::KEYS),
    ("grip", GripSection::ABOUT, GripSection::KEYS),
    ("user", UserSection::ABOUT, UserSection::KEYS),
    ("peers", PeersSection::ABOUT, PeersSection::KEYS),
    ("mailbox", MailboxSection::ABOUT, MailboxSection::KEYS),
    ("broker", BrokerSection::ABOUT, BrokerSection::KEYS),
    ("smtp", SmtpSection::ABOUT, SmtpSection::KEYS),
    ("store", StoreSection::ABOUT, StoreSection::KEYS),
    ("collection", CollectionSection::ABOUT, CollectionSection::KEYS),
];

/// The example: a node with both roles on this machine.
#[must_use]
pub fn example() -> String {
    let domain = || Some(Domain::parse("example.test").expect("a domain name"));
    let config = Config {
        mailbox: Some(MailboxSection {
            locator: Some(Locator::parse("mailbox.example.test").expect("a domain name")),
            domain: domain(),
            ..MailboxSection::default()
        }),
        broker: Some(BrokerSection {
            domain: domain(),
            ..BrokerSection::default()
        }),
        ..Config::default()
    };
    document(&config)
}

/// The configuration with every key that there is, documented.
#[must_use]
pub fn document(config: &Config) -> String {
    let written = table(config);
    let defaults = table(&Config {
        mailbox: Some(MailboxSection::default()),
        broker: Some(BrokerSection::default()),
        ..Config::default()
    });
    let samples = table(&samples());
    let mut out = String::new();
    comment(&mut out, Config::ABOUT);
    for (key, about) in Config::KEYS {
        if !SECTIONS.iter().any(|(section, ..)| section == key) {
            out.push('\n');
            comment(&mut out, about);
            line(&mut out, key, &written, &defaults, &samples);
        }
    }
    for (section, about, keys) in SECTIONS {
        out.push('\n');
        comment(&mut out, about);
        let of = |table: &Table| table.get(section).and_then(Value::as_table).cloned();
        let stands = of(&written);
        let off = if stands.is_some() { "" } else { "# " };
        out.push_str(&format!("{off}[{section}]\n"));
        let written = stands.unwrap_or_default();
        let defaults = of(&defaults).unwrap_or_default();
        let samples = of(&samples).unwrap_or_default();
        for (key, about) in keys {
            comment(&mut out, about);
            line(&mut out, key, &written, &defaults, &samples);
        }
    }
    out
}

fn comment(out: &mut String, about: &[&str]) {
    for text in about {
        out.push_str(&format!("#{text}\n"));
    }
}

fn line(out: &mut String, key: &str, written: &Table, defaults: &Table, samples: &Table) {
    let default = defaults.get(key);
    match written.get(key) {
        Some(value) if default != Some(value) => out.push_str(&format!("{key} = {value}\n")),
        _ => {
            let empty = |value: &&Value| value.as_array().is_some_and(Vec::is_empty);
            let shown = default.filter(|value| !empty(value)).or(samples.get(key));
            if let Some(value) = shown {
                out.push_str(&format!("# {key} = {value}\n"));
            }
        }
    }
}

fn table(config: &Config) -> Table {
    Table::try_from(config).expect("every field of the configuration has a form in TOML")
}

/// A configuration in which every key has a value.
pub(super) fn samples() -> Config {
    const SAMPLES: &str = r#"
        [network]
        hostname = "node.example.test"
        public = ["203.0.113.5", "2001:db8::5"]
        allow = ["10.1.0.0/16"]
        [dns]
        servers = ["127.0.0.1:53"]
        [grip]
        port = 443
        [user]
        certificate = "fullchain.pem"
        key = "privkey.pem"
        [peers]
        announce = ["/ip4/203.0.113.5/udp/4001/quic-v1"]
        communities = ["community.example.test"]
        [mailbox]
        locator = "mailbox.example.test"
        domain = "example.test"
        [broker]
        domain = "example.test"
        [smtp]
        relays = ["127.0.0.1/32"]
        smart_host = "smtp.example.test:25"
    "#;
    toml::from_str(SAMPLES).expect("a test reads it")
}
