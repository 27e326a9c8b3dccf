//! `cargomail init`: a node's configuration, its key, and what to publish in the DNS.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use cargomail_protocol::address::{Domain, Locator};
use clap::Args;
use futures::future::join_all;
use serde::Serialize;

use super::Everywhere;
use super::exit::{CheckFailed, Later};
use crate::clock::{SystemClock, SystemRandomness};
use crate::config::{
    BrokerSection, Config, Listen, MailboxSection, NetworkSection, Over, PeersSection, Settings, SmtpSection,
    document,
};
use crate::dns::{Dns, DnsError, Record, Resolver};
use crate::identity::Identity;
use crate::peers::{Introducer, Relaying};
use crate::private;
use crate::publish::{Published, planned_peers, records};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail init --domain foo.test                                  both roles, on this machine only
  cargomail init --domain foo.test --public 203.0.113.5             both roles, for the Internet
  cargomail init --domain hospital.test --mailbox mailbox.hospital.test --public 203.0.113.5
  cargomail init --domain foo.test --broker --public 203.0.113.5 --public 2001:db8::5
  cargomail init --domain foo.test --community community.test       at home, reached over the community's relays, no open port
  cargomail init --domain foo.test --public 203.0.113.5 --over both  also where HTTPS does not get through
  cargomail init --check                                            is it in the DNS as it should be?

A configuration or a key that is there already is kept, and the records to publish are printed again.")]
pub(super) struct InitArgs {
    /// The domain: behind the `@` of the broker's users, and of the mailbox's agent
    #[arg(long, required_unless_present = "check")]
    domain: Option<Domain>,
    /// Be a Resource Mailbox of this name; without --mailbox and --broker, be both, as mailbox.<domain>
    #[arg(long, value_name = "LOCATOR")]
    mailbox: Option<Locator>,
    /// Be the Cargo Broker of the domain
    #[arg(long)]
    broker: bool,
    /// The machine's name in the DNS [default: node.<domain>]
    #[arg(long)]
    hostname: Option<Domain>,
    /// An address at which others reach this machine: listen for everybody, not for this machine only
    #[arg(long, value_name = "IP")]
    public: Vec<IpAddr>,
    /// An introducer of the community to join, `/ip4/…/p2p/<peer id>` or a name in the DNS: be reached over it by other nodes,
    /// at home behind a NAT if no address is --public
    #[arg(long, value_name = "INTRODUCER")]
    community: Vec<Introducer>,
    /// Over what other nodes' notifications and messages come [default: libp2p at home, without any open port; else https]
    #[arg(long)]
    over: Option<Over>,
    /// Compare what should be published with what the DNS says today
    #[arg(long, conflicts_with_all = ["domain", "mailbox", "broker", "hostname", "public", "community", "over"])]
    check: bool,
}

/// What was written, and what to publish.
#[derive(Serialize)]
struct Written {
    config: String,
    key: String,
    peer: String,
    records: Vec<RecordView>,
}

/// A record with its zone-file form.
#[derive(Serialize)]
struct RecordView {
    name: String,
    line: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Found>,
}

impl RecordView {
    fn of(published: &Published) -> Self {
        Self {
            name: published.name.clone(),
            line: published.to_string(),
            found: None,
        }
    }
}

/// What the DNS says of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Found {
    /// It is there.
    Published,
    /// It is not there.
    Missing,
    /// Another of its kind is there, which may be right: a domain has one SPF record, for instance.
    Other(String),
    /// The DNS does not answer now.
    Unavailable(String),
}

impl InitArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        if self.check {
            return check(everywhere).await;
        }
        let file = &everywhere.config;
        let config = self.config()?;
        config.clone().check(Path::new("/"))?;
        if !write_new(file, &document(&config))? {
            eprintln!("{} is there already and was kept", file.display());
        }
        let settings = everywhere.settings()?;
        let key_kept = settings.key.exists();
        let identity = Identity::open_or_create(&settings.key, &SystemRandomness)?;
        if key_kept {
            eprintln!("{} is there already and was kept", settings.key.display());
        }
        let records = records(&settings, &identity, &planned_peers(&settings, &identity));
        let written = Written {
            config: file.display().to_string(),
            key: settings.key.display().to_string(),
            peer: identity.peer_id().to_string(),
            records: records.iter().map(RecordView::of).collect(),
        };
        everywhere.out().one(&written, people)
    }

    fn config(self) -> anyhow::Result<Config> {
        let domain = self.domain.context("name the domain with --domain")?;
        let both = self.mailbox.is_none() && !self.broker;
        let locator = match self.mailbox {
            Some(locator) => Some(locator),
            None if both => Some(Locator::parse(&format!("mailbox.{domain}"))?),
            None => None,
        };
        let mut config = Config {
            network: NetworkSection {
                hostname: self.hostname,
                public: self.public,
                ..NetworkSection::default()
            },
            mailbox: locator.map(|locator| MailboxSection {
                locator: Some(locator),
                domain: Some(domain.clone()),
                ..MailboxSection::default()
            }),
            broker: (self.broker || both).then(|| BrokerSection {
                domain: Some(domain),
                ..BrokerSection::default()
            }),
            ..Config::default()
        };
        let everywhere = |port| SocketAddr::from(([0_u16; 8], port));
        let at_home = !self.community.is_empty() && config.network.public.is_empty();
        config.grip.over = match self.over {
            Some(over) => over,
            None if at_home => Over::Libp2p,
            None => Over::Https,
        };
        if at_home && !config.grip.over.is_https() {
            // Mail servers would come to a port that nobody reaches.
            config.smtp.listen = Listen::Off;
        }
        if !self.community.is_empty() {
            config.peers = PeersSection {
                quic: Listen::At(everywhere(4001)),
                tcp: Listen::At(everywhere(4001)),
                communities: self.community.iter().map(ToString::to_string).collect(),
                // What stands in the DNS has to stay, whatever the introducers find today.
                relay: match config.network.public.is_empty() {
                    true => Relaying::Always,
                    false => Relaying::Auto,
                },
                ..PeersSection::default()
            };
        }
        if !config.network.public.is_empty() {
            config.grip.listen = everywhere(7443);
            config.user.listen = everywhere(8443);
            config.peers = PeersSection {
                quic: Listen::At(everywhere(4001)),
                tcp: Listen::At(everywhere(4001)),
                ..config.peers
            };
            config.smtp = SmtpSection {
                listen: Listen::At(everywhere(25)),
                ..SmtpSection::default()
            };
        }
        Ok(config)
    }
}

/// Writes a file that is not there yet; whether it was written.
fn write_new(path: &Path, text: &str) -> anyhow::Result<bool> {
    let name = || path.display().to_string();
    if let Some(folder) = path.parent() {
        private::make(folder).with_context(name)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(name)?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(name),
    }
}

fn people(written: &Written) -> String {
    let mut text = format!("; configuration {}\n; key {}\n", written.config, written.key);
    text.push_str(
        "; Publish these records, then see with `cargomail init --check` whether they have arrived:\n",
    );
    for record in &written.records {
        text.push_str(&format!("{}\n", record.line));
    }
    text
}

async fn check(everywhere: &Everywhere) -> anyhow::Result<()> {
    let settings = everywhere.settings()?;
    let identity = Identity::open(&settings.key)?;
    let dns = resolver(&settings)?;
    let records = records(&settings, &identity, &planned_peers(&settings, &identity));
    // All at once: a DNS that is silent is waited for once.
    let found = join_all(records.iter().map(|published| look(&dns, published))).await;
    let views: Vec<RecordView> = records
        .iter()
        .zip(found)
        .map(|(published, found)| RecordView {
            found: Some(found),
            ..RecordView::of(published)
        })
        .collect();
    everywhere.out().many(&views, "nothing to publish", checked)?;
    let is = |wanted: fn(&Found) -> bool| views.iter().any(|view| view.found.as_ref().is_some_and(wanted));
    if is(|found| matches!(found, Found::Missing)) {
        return Err(CheckFailed("records are missing: publish the lines marked missing".to_owned()).into());
    }
    if is(|found| matches!(found, Found::Unavailable(_))) {
        return Err(Later("the DNS did not answer for some records: try again later".to_owned()).into());
    }
    Ok(())
}

/// The resolver of the settings.
pub(super) fn resolver(settings: &Settings) -> anyhow::Result<Resolver> {
    Ok(Resolver::new(&settings.dns, Arc::new(SystemClock))?)
}

fn checked(view: &RecordView) -> String {
    match &view.found {
        None | Some(Found::Published) => format!("published    {}\n", view.line),
        Some(Found::Missing) => format!("missing      {}\n", view.line),
        Some(Found::Other(other)) => format!("other        {}\n             found: {other}\n", view.line),
        Some(Found::Unavailable(why)) => format!("unavailable  {}\n             {why}\n", view.line),
    }
}

async fn look(dns: &dyn Dns, published: &Published) -> Found {
    let name = &published.name;
    let found = match &published.record {
        Record::Txt(text) => dns.txt(name).await.map(|answer| texts(text, &answer.records)),
        Record::Srv(srv) => dns.srv(name).await.map(|answer| {
            let same = |other: &&crate::dns::Srv| other.host == srv.host && other.port == srv.port;
            stands(answer.records.iter().find(same).is_some(), &answer.records)
        }),
        Record::Mx(mx) => dns.mx(name).await.map(|answer| {
            let same = |other: &&crate::dns::Mx| other.host == mx.host;
            stands(answer.records.iter().find(same).is_some(), &answer.records)
        }),
        Record::Address(ip) => dns
            .addresses(name)
            .await
            .map(|answer| stands(answer.records.contains(ip), &answer.records)),
        Record::Alias(_) => return Found::Published,
    };
    match found {
        Ok(found) => found,
        Err(DnsError::Unavailable { why, .. }) => Found::Unavailable(why),
        Err(_) => Found::Missing,
    }
}

/// Mail can come by other servers, and a machine can have other addresses; what others must find is the machine itself.
fn stands<T: std::fmt::Debug>(here: bool, others: &[T]) -> Found {
    match (here, others) {
        (true, _) => Found::Published,
        (false, []) => Found::Missing,
        (false, others) => Found::Other(format!("{others:?}")),
    }
}

/// One of several texts at a name. SPF and DMARC a domain has once, and may have its own.
fn texts(wanted: &str, found: &[String]) -> Found {
    if found.iter().any(|text| text == wanted) {
        return Found::Published;
    }
    let own = ["v=spf1", "v=DMARC1"]
        .into_iter()
        .find(|kind| wanted.starts_with(kind));
    let other = own.and_then(|kind| found.iter().find(|text| text.starts_with(kind)));
    match other {
        Some(other) => Found::Other(other.clone()),
        None => Found::Missing,
    }
}

#[cfg(test)]
mod tests;
