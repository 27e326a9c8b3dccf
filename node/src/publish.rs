//! What a node's operator publishes in the DNS (`spec/grip.md`): every record that others need to find the node and to know its
//! key, and that mail needs.
//!
//! Not here: publishing. What always holds: the records follow from the settings and the key alone, so that what is
//! printed, what a demonstration serves and what `cargomail init --check` compares with the DNS are the same.

use std::fmt;
use std::net::IpAddr;

use cargomail_protocol::address::{ClientId, Domain};
use cargomail_protocol::grip::{KeyHash, Record as Grip};
use data_encoding::BASE64;

use crate::config::{BrokerRole, MailboxRole, Settings};
use crate::dns::{Mx, Record, Srv};
use crate::identity::Identity;
use crate::peers::{PeerAddress, Relaying};

/// The DKIM selector of a node.
pub const SELECTOR: &str = "cargomail";
/// The name below which notifications and the web channel are found.
pub const SERVICE: &str = "_grip-notify._tcp";
/// The TTL to publish with: rotation of a key waits so long.
const TTL: u32 = 3600;
/// The longest character-string of a TXT record (RFC 1035 §3.3).
const CHARACTER_STRING: usize = 255;

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The name at which it stands, without a trailing dot.
    pub name: String,
    /// What stands there.
    pub record: Record,
}

/// Every record to publish for a node. `peers` is where its libp2p node is, as [`crate::peers::Peers::addresses`] or
/// [`planned_peers`] says.
#[must_use]
pub fn records(settings: &Settings, identity: &Identity, peers: &[PeerAddress]) -> Vec<Published> {
    let mut list = List::default();
    let bound = Grip(KeyHash::from_bytes(identity.spki_sha256())).to_string();
    let face = settings.grip.over.is_https().then(|| {
        Record::Srv(Srv {
            priority: 0,
            weight: 0,
            host: settings.hostname.to_string(),
            port: settings.grip.port,
        })
    });
    for address in &settings.public {
        list.add(settings.hostname.to_string(), Record::Address(*address));
    }
    if let Some(mailbox) = &settings.mailbox {
        list.mailbox(mailbox, &bound, face.as_ref(), peers);
    }
    if let Some(broker) = &settings.broker {
        let peers = match settings.grip.over.is_libp2p() {
            true => peers,
            false => &[],
        };
        list.broker(broker, &bound, face.as_ref(), peers);
        list.mail(settings, &broker.domain, identity);
    }
    list.0
}

/// Where a node that does not run yet will be: what its settings announce, and the introducers that always relay to it, with the
/// name of its key. Where the DNS only knows the introducers, the running node says it.
#[must_use]
pub fn planned_peers(settings: &Settings, identity: &Identity) -> Vec<PeerAddress> {
    let (peer, peers) = (identity.peer_id(), &settings.peers);
    let named = |address: &String| PeerAddress(format!("{address}/p2p/{peer}"));
    let relays = peers
        .communities
        .iter()
        .filter(|_| peers.relay == Relaying::Always);
    let relayed = relays.filter_map(|introducer| introducer.relayed(peer));
    peers.announce.iter().map(named).chain(relayed).collect()
}

#[derive(Default)]
struct List(Vec<Published>);

impl List {
    /// Adds a record; two roles may need the same one.
    fn add(&mut self, name: String, record: Record) {
        let published = Published { name, record };
        if !self.0.contains(&published) {
            self.0.push(published);
        }
    }

    fn text(&mut self, name: String, text: &str) {
        self.add(name, Record::Txt(text.to_owned()));
    }

    fn mailbox(&mut self, mailbox: &MailboxRole, bound: &str, face: Option<&Record>, peers: &[PeerAddress]) {
        let locator = mailbox.locator.as_str();
        self.text(ClientId::agent(&mailbox.domain).to_string(), bound);
        self.text(mailbox.locator.pin_name(), bound);
        self.found(locator, face, peers);
    }

    fn broker(&mut self, broker: &BrokerRole, bound: &str, face: Option<&Record>, peers: &[PeerAddress]) {
        let domain = broker.domain.as_str();
        self.text(ClientId::broker(&broker.domain).to_string(), bound);
        self.text(format!("_grip.{domain}"), bound);
        self.found(domain, face, peers);
    }

    /// Where the server of a name is: by HTTPS, and over libp2p.
    fn found(&mut self, name: &str, face: Option<&Record>, peers: &[PeerAddress]) {
        if let Some(face) = face {
            self.add(format!("{SERVICE}.{name}"), face.clone());
        }
        for PeerAddress(address) in peers {
            self.text(format!("_dnsaddr.{name}"), &format!("dnsaddr={address}"));
        }
    }

    /// What every domain with mail has: MX (RFC 5321 §5.1), SPF (RFC 7208), DKIM (RFC 6376, RFC 8463), DMARC (RFC 7489).
    fn mail(&mut self, settings: &Settings, domain: &Domain, identity: &Identity) {
        if settings.smtp.listen.is_some() {
            let mx = Mx {
                preference: 10,
                host: settings.hostname.to_string(),
            };
            self.add(domain.to_string(), Record::Mx(mx));
        }
        self.text(domain.to_string(), &spf(settings));
        let key = BASE64.encode(&identity.public());
        let name = format!("{SELECTOR}._domainkey.{domain}");
        self.text(name, &format!("v=DKIM1; k=ed25519; p={key}"));
        self.text(format!("_dmarc.{domain}"), "v=DMARC1; p=reject");
    }
}

/// Who may send for the domain: this machine, and the server that takes its mail.
fn spf(settings: &Settings) -> String {
    let mut text = String::from("v=spf1");
    let address = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => format!(" ip4:{ip}"),
        IpAddr::V6(ip) => format!(" ip6:{ip}"),
    };
    text.extend(settings.public.iter().map(address));
    if let Some((host, _)) = &settings.smtp.smart_host {
        text.push_str(&match host.parse() {
            Ok(ip) => address(&ip),
            Err(_) => format!(" a:{host}"),
        });
    }
    text + " -all"
}

impl fmt::Display for Published {
    /// One line of a zone file (RFC 1035 §5.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {TTL} IN ", self.name)?;
        match &self.record {
            Record::Txt(text) => {
                f.write_str("TXT")?;
                text.as_bytes().chunks(CHARACTER_STRING).try_for_each(|part| {
                    let part = String::from_utf8_lossy(part);
                    write!(f, " \"{}\"", part.replace('\\', "\\\\").replace('"', "\\\""))
                })
            }
            Record::Srv(srv) => {
                write!(
                    f,
                    "SRV {} {} {} {}.",
                    srv.priority, srv.weight, srv.port, srv.host
                )
            }
            Record::Mx(mx) => write!(f, "MX {} {}.", mx.preference, mx.host),
            Record::Address(IpAddr::V4(ip)) => write!(f, "A {ip}"),
            Record::Address(IpAddr::V6(ip)) => write!(f, "AAAA {ip}"),
            Record::Alias(name) => write!(f, "CNAME {name}."),
        }
    }
}

#[cfg(test)]
mod tests;
