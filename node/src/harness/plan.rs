//! What a site is for: its roles, its people, and the configuration that says so; and the paper's topologies (§VII.A).

use std::fmt::{self, Write};
use std::net::SocketAddr;

use cargomail_protocol::address::{Address, Domain, Locator, NameError};
use cargomail_protocol::routing::Preferences;
use clap::ValueEnum;
use serde::Serialize;

use super::ports::Ports;
use crate::api::Channel;

/// A site to build.
#[derive(Debug, Clone)]
pub struct SitePlan {
    /// The domain, which is also the name of its folder.
    pub name: String,
    /// The Resource Mailbox, if the site has one.
    pub mailbox: Option<Locator>,
    /// The domain whose broker the site is, if it is one.
    pub broker: Option<Domain>,
    /// Who has an account here.
    pub people: Vec<Address>,
    /// How its broker sends.
    pub channel: Channel,
    /// More lines of its configuration, for tests: whole sections that are not written otherwise.
    pub more: String,
    /// Where its broker delivers.
    pub deliver: String,
    /// Mail servers in front of it, whose word it takes: networks.
    pub relays: Vec<String>,
    /// By which transports its peers reach it.
    pub transport: Transport,
}

/// Which of the transports of the peer network a site has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Both.
    #[default]
    Auto,
    /// QUIC only.
    Quic,
    /// TCP with TLS only.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Auto => "auto",
            Transport::Quic => "quic",
            Transport::Tcp => "tcp",
        })
    }
}

/// The paper's three topologies (§VII.A).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// Two distinguished resource servers: four domains.
    #[default]
    Four,
    /// Two shared resource servers: mailbox and broker in one domain.
    Shared,
    /// A single resource server: origin and destination are one.
    Single,
}

impl SitePlan {
    /// A site with no role yet.
    ///
    /// # Panics
    /// When the name is no domain.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Domain::parse(name).expect("a plan's name is a domain");
        Self {
            name: name.to_owned(),
            mailbox: None,
            broker: None,
            people: Vec::new(),
            channel: Channel::default(),
            more: String::new(),
            deliver: "built-in".to_owned(),
            relays: Vec::new(),
            transport: Transport::default(),
        }
    }

    /// The same, reached by its peers over this transport.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The same with the Resource Mailbox `mailbox.<name>`.
    ///
    /// # Panics
    /// Never: the name was checked.
    #[must_use]
    pub fn with_mailbox(mut self) -> Self {
        let locator = Locator::parse(&format!("mailbox.{}", self.name));
        self.mailbox = Some(locator.expect("a label in front of a domain is a domain"));
        self
    }

    /// The same with the Cargo Broker of the domain.
    ///
    /// # Panics
    /// Never: the name was checked.
    #[must_use]
    pub fn with_broker(mut self) -> Self {
        self.broker = Some(Domain::parse(&self.name).expect("a plan's name is a domain"));
        self
    }

    /// The same with an account for this person.
    ///
    /// # Panics
    /// When it is no address.
    #[must_use]
    pub fn with(mut self, person: &str) -> Self {
        self.people
            .push(Address::parse(person).expect("a plan's people have addresses"));
        self
    }

    /// Whether this person has an account here.
    #[must_use]
    pub fn has(&self, person: &Address) -> bool {
        self.people.contains(person)
    }

    /// The configuration file, for a site with these ports and this DNS server.
    #[must_use]
    pub fn config(&self, ports: &Ports, dns: SocketAddr) -> String {
        let Ports {
            address,
            grip,
            user,
            peers,
            smtp,
        } = ports;
        let mut text = format!(
            "data = \"data\"\nkey = \"key.pem\"\n\n\
             [network]\nhostname = \"node.{name}\"\npublic = [\"{address}\"]\nallow = [\"127.0.0.0/8\"]\n\n\
             [dns]\nservers = [\"{dns}\"]\n\n\
             [grip]\nlisten = \"{address}:{grip}\"\n\n\
             [user]\nlisten = \"{address}:{user}\"\n\n\
             [store]\ncache = 2097152\n",
            name = self.name,
        );
        let mut add = |section: String| text.push_str(&section);
        if let Some(locator) = &self.mailbox {
            let listen = |without| match self.transport == without {
                true => "off".to_owned(),
                false => format!("{address}:{peers}"),
            };
            let (quic, tcp) = (listen(Transport::Tcp), listen(Transport::Quic));
            add(format!(
                "\n[peers]\nquic = \"{quic}\"\ntcp = \"{tcp}\"\n\n\
                 [mailbox]\nlocator = \"{locator}\"\ndomain = \"{}\"\n",
                self.name
            ));
        }
        if let Some(domain) = &self.broker {
            let channel = match self.channel {
                Channel::Web => "web",
                Channel::Smtp => "smtp",
                Channel::WebThenSmtp => "web-then-smtp",
            };
            add(format!(
                "\n[broker]\ndomain = \"{domain}\"\nchannel = \"{channel}\"\ndeliver = \"{}\"\n\n\
                 [smtp]\nlisten = \"{address}:{smtp}\"\nport = {smtp}\nrelays = {:?}\n",
                self.deliver, self.relays
            ));
        }
        let _ = write!(text, "{}", self.more);
        text
    }
}

impl Topology {
    /// The sites of the topology, with Alice and Bob in them: Alice's mail goes from `alice@foo.test` to `bob@bar.test`.
    #[must_use]
    pub fn plans(self) -> Vec<SitePlan> {
        let (alice, bob) = ("alice@foo.test", "bob@bar.test");
        let foo = SitePlan::new("foo.test").with_broker().with(alice);
        let bar = SitePlan::new("bar.test").with_broker().with(bob);
        let hospital = SitePlan::new("hospital.test").with_mailbox().with(alice);
        let insurance = SitePlan::new("insurance.test").with_mailbox().with(bob);
        match self {
            Topology::Four => vec![foo, hospital, insurance, bar],
            Topology::Shared => vec![foo.with_mailbox(), bar.with_mailbox()],
            Topology::Single => vec![foo, hospital.with(bob), bar],
        }
    }

    /// Where Bob wants the resources of this topology.
    #[must_use]
    pub fn destination(self) -> &'static str {
        match self {
            Topology::Four => "mailbox.insurance.test",
            Topology::Shared => "mailbox.bar.test",
            Topology::Single => "mailbox.hospital.test",
        }
    }

    /// What Bob wishes: everything goes there.
    ///
    /// # Errors
    /// Never: every destination is a locator.
    pub fn wishes(self) -> Result<Preferences, NameError> {
        Ok(Preferences {
            rules: Vec::new(),
            default: vec![Locator::parse(self.destination())?],
        })
    }

    /// Where Alice posts in this topology.
    #[must_use]
    pub fn origin(self) -> &'static str {
        match self {
            Topology::Four | Topology::Single => "mailbox.hospital.test",
            Topology::Shared => "mailbox.foo.test",
        }
    }
}
