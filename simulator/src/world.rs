//! The virtual world: the services of nodes, unchanged, among ports that this process makes up. Time leaps from one thing that is waited
//! for to the next, lines have latency and speed, a machine can stop, crash and be cut off, and its disk loses what was not synced.
//!
//! TLS, HTTP and SMTP are spoken as they are, over virtual streams; libp2p is replaced by the peer port's authenticated streams.
//! A world lives in a runtime of one thread whose clock is paused ([`run`]).

pub mod disk;
mod ears;
mod key;
mod line;
mod names;
mod network;
mod time;
mod trace;
mod trouble;
mod villain;
mod witness;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use bytes::Bytes;
use cargomail_node::accounts::PasswordCost;
use cargomail_node::accounts::door::AdminToken;
use cargomail_node::api::NewAccount;
use cargomail_node::app::administration::Administration;
use cargomail_node::app::profile::{Fingerprint, Profile};
use cargomail_node::app::{self, App, Session, Url};
use cargomail_node::clock::{Clock, Randomness};
use cargomail_node::config::Settings;
use cargomail_node::harness::{PASSWORD, Ports, SitePlan};
use cargomail_node::identity::{Certificate, Identity};
use cargomail_node::network::Network;
use cargomail_node::peers::{PeerAddress, Peers};
use cargomail_node::publish;
use cargomail_node::services::{Environment, Services};
use cargomail_protocol::address::{Address, ClientId, Domain, Locator};
use cargomail_protocol::grip::NodeKey;
use cargomail_protocol::ledger::Head;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sha2::{Digest, Sha256};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

pub use disk::{Disk, Mark};
pub use ears::Ears;
pub use line::{Condition, Quality};
use names::{Answers, Resolver, Zone};
use network::{Peer, Visitor, Wires};
use time::{Seeded, VirtualClock, Wrong};
pub use trace::Trace;
pub use villain::{Sybil, Villain};
pub(crate) use villain::{hear, tell};

use crate::cost::Work;
use crate::history::Transfer;
use crate::path::Path as Way;

/// Sites of one world.
pub const SITES: usize = 60_000;

/// Disks that are looked into for things that lie about.
const SAMPLE: usize = 100;

/// A site of the world.
struct Site {
    plan: SitePlan,
    settings: Settings,
    ports: Ports,
    identity: Identity,
    /// The key that the DNS names already, and the node does not use yet.
    next: Option<Identity>,
    /// The keys before this one, while the DNS names them.
    old: Vec<Identity>,
    disk: Disk,
    chance: Arc<Seeded>,
    answers: Arc<Answers>,
    wrong: Wrong,
    /// Ends of its ledger that were durable when it stopped or crashed.
    heads: Vec<Head>,
    running: Option<Running>,
}

impl Site {
    /// Takes note of the end of its ledger, which is `ledger/<index>` → an entry's octets (`node/src/ledger.rs`).
    fn note_head(&mut self) {
        let last = self.disk.last(LEDGER);
        let head = last.and_then(|(key, entry)| {
            let index: u64 = key.strip_prefix(LEDGER)?.parse().ok()?;
            Some(Head {
                entries: index + 1,
                hash: Sha256::digest(&entry).into(),
            })
        });
        self.heads.extend(head);
    }
}

/// How the keys of a ledger's entries begin.
const LEDGER: &str = "ledger/";

/// Where messages come to.
pub(crate) const FOLDERS: [&str; 2] = ["inbox", "junk"];

/// How far what a person can see at a node has come: each changes whenever that does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// What is in their inbox, and in their junk.
    pub folders: [Mark; 2],
    /// Messages that were there already.
    pub messages: Mark,
    /// Receipts for what was shared there, by whomever.
    pub receipts: Mark,
    /// What is on its way to it, for whomever.
    pub retrievals: Mark,
}

/// A site at which a person has an account.
pub struct Home {
    /// Whether it is that person's broker.
    pub is_broker: bool,
    /// Its Resource Mailbox, if it has one.
    pub mailbox: Option<Locator>,
    person: String,
    disk: Disk,
}

impl Home {
    /// How far everything has come there that the person can see. Kinds of records are the node's (`node/src/keeping/references.rs`): where
    /// they are not known, people look when nothing has happened for a while.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let of = |kind: &str| self.disk.mark(kind);
        let person = &self.person;
        Marks {
            folders: FOLDERS.map(|folder| of(&format!("folder/{person}/{folder}"))),
            messages: of(&format!("message/{person}")),
            receipts: of("received"),
            retrievals: of("job"),
        }
    }
}

/// A machine that runs.
struct Running {
    services: Services,
    alive: Arc<AtomicBool>,
    /// The key that its user face shows.
    fingerprint: [u8; 32],
    administration: Administration,
}

/// Sites, and everything between them.
pub struct World {
    trace: Trace,
    zone: Zone,
    wires: Wires,
    sites: Vec<Site>,
    /// Where each site stands among them.
    places: HashMap<String, usize>,
    /// And those at which each person has an account.
    homes: HashMap<Address, Vec<usize>>,
    chance: Seeded,
    /// What was said to the machine to which others are misled.
    ears: Ears,
}

/// Runs something in a virtual world of its own: a runtime of one thread whose time stands still while anybody works. What the
/// nodes log goes into the trace, which is written to `out`, too.
///
/// # Errors
/// When there is no runtime to be had.
pub fn run<T>(
    out: Option<Box<dyn std::io::Write + Send>>,
    work: impl AsyncFnOnce(Trace) -> T,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("no runtime can be started")?;
    Ok(runtime.block_on(async {
        let trace = Trace::new(out);
        let subscriber = tracing_subscriber::registry()
            .with(LevelFilter::INFO)
            .with(trace::Logged(trace.clone()));
        let _logged = tracing::subscriber::set_default(subscriber);
        work(trace).await
    }))
}

impl World {
    /// Lays out the sites as the plans say, and starts none. Certificates and configurations are files below `folder`; what nodes store is
    /// in memory.
    ///
    /// # Errors
    /// When the folder cannot be written, or a plan makes no configuration.
    pub fn build(
        folder: &Path,
        plans: &[SitePlan],
        seed: u64,
        quality: Quality,
        trace: &Trace,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(plans.len() <= SITES, "a world has {SITES} sites at most");
        let mut world = Self {
            trace: trace.clone(),
            zone: Zone::default(),
            wires: Wires::new(quality, trace.clone()),
            sites: Vec::new(),
            places: HashMap::new(),
            homes: HashMap::new(),
            chance: Seeded::new(seed),
            ears: Ears::default(),
        };
        for (number, plan) in plans.iter().enumerate() {
            let site = world.lay_out(folder, plan, number)?;
            world.sites.push(site);
            world.places.insert(plan.name.clone(), number);
            for person in &plan.people {
                world.homes.entry(person.clone()).or_default().push(number);
            }
        }
        Ok(world)
    }

    fn lay_out(&self, folder: &Path, plan: &SitePlan, number: usize) -> anyhow::Result<Site> {
        let folder: PathBuf = folder.join(&plan.name);
        anyhow::ensure!(
            !folder.exists(),
            "{} is there already, and a world is made anew: name another folder",
            folder.display()
        );
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let [_, _, high, low] = u32::try_from(number)?.to_be_bytes();
        let ports = Ports {
            address: IpAddr::V4(Ipv4Addr::new(127, 128 + high / 250, high % 250, low)),
            grip: 7443,
            user: 8443,
            peers: 4001,
            smtp: 25,
        };
        let config = folder.join("cargomail.toml");
        std::fs::write(&config, plan.config(&ports, ports.at(53)))
            .with_context(|| format!("{} cannot be written", config.display()))?;
        let settings = Settings::open(&config)?;
        std::fs::create_dir_all(&settings.data)
            .with_context(|| format!("{} cannot be made", settings.data.display()))?;
        let chance = Arc::new(Seeded::new(self.chance.number()));
        let identity = Identity::generate(&*chance);
        let peers = publish::planned_peers(&settings, &identity);
        for published in publish::records(&settings, &identity, &peers) {
            self.zone.add(&published.name, published.record);
        }
        Ok(Site {
            plan: plan.clone(),
            settings,
            ports,
            identity,
            next: None,
            old: Vec::new(),
            disk: Disk::default(),
            chance,
            answers: Arc::default(),
            wrong: Wrong::default(),
            heads: Vec::new(),
            running: None,
        })
    }

    fn at(&self, name: &str) -> anyhow::Result<&Site> {
        let place = self.places.get(name);
        let found = place.and_then(|place| self.sites.get(*place));
        found.with_context(|| format!("there is no site {name}"))
    }

    fn at_mut(&mut self, name: &str) -> anyhow::Result<&mut Site> {
        let place = self.places.get(name);
        let found = place.and_then(|place| self.sites.get_mut(*place));
        found.with_context(|| format!("there is no site {name}"))
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock_of(&Wrong::default())
    }

    fn clock_of(&self, wrong: &Wrong) -> Arc<dyn Clock> {
        Arc::new(VirtualClock::new(self.trace.began(), wrong.clone()))
    }

    /// Starts a site: on the disk as it was left.
    ///
    /// # Errors
    /// Those of [`Services::start`].
    pub async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let site = self.at(name)?;
        let (clock, address) = (self.clock_of(&site.wrong), site.ports.address);
        let alive = Arc::new(AtomicBool::new(true));
        let peers = site.settings.mailbox.as_ref().map(|_| {
            let addresses = publish::planned_peers(&site.settings, &site.identity);
            let peer = Peer::new(
                self.wires.machine(address, &alive),
                site.identity.public(),
                addresses,
            );
            Arc::new(peer) as Arc<dyn Peers>
        });
        let resolver = Resolver::new(
            self.zone.clone(),
            clock.clone(),
            self.trace.clone(),
            name.to_owned(),
            site.answers.clone(),
        );
        let mounted = Arc::new(site.disk.mount());
        let environment = Environment {
            clock,
            randomness: site.chance.clone(),
            network: Arc::new(self.wires.machine(address, &alive)),
            dns: Arc::new(resolver),
            peers,
            blocks: mounted.clone(),
            records: mounted,
            password_cost: PasswordCost::Least,
        };
        let (settings, identity) = (site.settings.clone(), site.identity.clone());
        let started = Services::start(settings, identity, environment).await;
        let services = started.with_context(|| format!("{name} does not start"))?;
        self.trace.line(name, format_args!("has started"));
        let site = self.at(name)?;
        let certificate = site.settings.user_certificate(self.clock().now())?;
        let fingerprint = certificate.spki_sha256();
        let admin = AdminToken::open(&site.settings.data)?;
        let listen: SocketAddr = site.ports.at(site.ports.user);
        let client = self.world_of("an administrator").client();
        let administration = Administration::at(&client, listen, fingerprint, admin.text());
        self.at_mut(name)?.running = Some(Running {
            services,
            alive,
            fingerprint,
            administration,
        });
        Ok(())
    }

    /// Stops a site in order.
    ///
    /// # Errors
    /// When there is no such site.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let site = self.at_mut(name)?;
        let (running, address) = (site.running.take(), site.ports.address);
        if let Some(running) = running {
            running.services.stop().await;
            running.alive.store(false, Ordering::Relaxed);
        }
        let site = self.at_mut(name)?;
        site.disk.unmount();
        site.note_head();
        self.wires.remove(address);
        self.trace.line(name, format_args!("has stopped"));
        Ok(())
    }

    /// A machine loses its power: its streams break, and what its disk had not synced is gone, or is not.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn crash(&mut self, name: &str) -> anyhow::Result<()> {
        let site = self.at_mut(name)?;
        let (running, address) = (site.running.take(), site.ports.address);
        site.note_head();
        site.disk.crash(site.chance.number());
        if let Some(running) = running {
            running.alive.store(false, Ordering::Relaxed);
            running.services.end();
        }
        self.wires.remove(address);
        self.trace.line(name, format_args!("has crashed"));
        Ok(())
    }

    /// Whether a site runs.
    #[must_use]
    pub fn runs(&self, name: &str) -> bool {
        self.at(name).is_ok_and(|site| site.running.is_some())
    }

    /// The disk of a site.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn disk(&self, name: &str) -> anyhow::Result<&Disk> {
        Ok(&self.at(name)?.disk)
    }

    /// The ends of a site's ledger that were durable each time it stopped or crashed.
    #[must_use]
    pub fn heads(&self, name: &str) -> &[Head] {
        self.at(name).map_or(&[], |site| &site.heads)
    }

    /// A site's key, as whoever has stolen it would have it.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn key(&self, name: &str) -> anyhow::Result<NodeKey> {
        Ok(NodeKey::from_seed(self.at(name)?.identity.seed())?)
    }

    /// What a site shows others in TLS when it says to be the broker of a domain, whether it is or not.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn certificate(&self, name: &str, domain: &Domain) -> anyhow::Result<Certificate> {
        let broker = ClientId::broker(domain);
        Ok(self.at(name)?.identity.certificate(&broker, self.clock().now())?)
    }

    /// Where a site's peer is.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn peers_of(&self, name: &str) -> anyhow::Result<Vec<PeerAddress>> {
        let site = self.at(name)?;
        Ok(publish::planned_peers(&site.settings, &site.identity))
    }

    /// Where a site's mail server is.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn mail_server(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let ports = &self.at(name)?.ports;
        Ok(ports.at(ports.smtp))
    }

    /// Which content went from which site to which, as it was seen on the lines between them.
    #[must_use]
    pub fn transfers(&self) -> Vec<Transfer> {
        let sites = self.sites.iter();
        let names: HashMap<IpAddr, &str> = sites
            .map(|site| (site.ports.address, site.plan.name.as_str()))
            .collect();
        let named = |at: IpAddr| names.get(&at).copied().unwrap_or_default().to_owned();
        let came = self.wires.witness.came().into_iter();
        came.map(|((origin, destination), came)| Transfer {
            origin: named(origin),
            destination: named(destination),
            octets: came.octets,
            roots: came.roots,
            ungranted: came.ungranted,
        })
        .collect()
    }

    /// What was done so far.
    #[must_use]
    pub fn work(&self) -> Work {
        Work {
            pieces: self.wires.pieces(),
            operations: self.sites.iter().map(|site| site.disk.asked()).sum(),
        }
    }

    /// What lies on some of the disks, by chance.
    #[must_use]
    pub fn lying_about(&self, seed: u64) -> Vec<Bytes> {
        let some = self.sites.sample(&mut StdRng::seed_from_u64(seed), SAMPLE);
        some.flat_map(|site| site.disk.contents()).collect()
    }

    /// How often each way that things can go was gone.
    #[must_use]
    pub fn paths(&self) -> BTreeMap<Way, u64> {
        self.trace.paths()
    }

    /// What a person's programs see of the world. They sit beside each node that they ask.
    fn world_of(&self, who: &str) -> app::World {
        let clock = self.clock();
        let dns = Resolver::new(
            self.zone.clone(),
            clock.clone(),
            self.trace.clone(),
            who.to_owned(),
            Arc::default(),
        );
        app::World {
            network: Arc::new(Visitor(self.wires.clone())) as Arc<dyn Network>,
            dns: Arc::new(dns),
            clock,
            randomness: Arc::new(Seeded::new(self.chance.number())) as Arc<dyn Randomness>,
        }
    }

    /// The administrator of a site that runs.
    ///
    /// # Errors
    /// When there is no such site, or it does not run.
    pub fn administration(&self, name: &str) -> anyhow::Result<Administration> {
        Ok(Self::running(self.at(name)?)?.administration.clone())
    }

    fn running(site: &Site) -> anyhow::Result<&Running> {
        let running = site.running.as_ref();
        running.with_context(|| format!("{} does not run", site.plan.name))
    }

    fn sites_of(&self, person: &Address) -> impl Iterator<Item = &Site> {
        let homes = self.homes.get(person).into_iter().flatten();
        homes.filter_map(|home| self.sites.get(*home))
    }

    /// The sites where a person has an account.
    pub fn homes_of(&self, person: &Address) -> impl Iterator<Item = Home> {
        let sites = self.sites_of(person);
        sites.map(|site| Home {
            is_broker: site.plan.broker.as_ref() == Some(person.domain()),
            mailbox: site.plan.mailbox.clone(),
            person: person.to_string().to_lowercase(),
            disk: site.disk.clone(),
        })
    }

    /// Gives a person an account at every site that names them, and logs them in there. The sites must run.
    ///
    /// # Errors
    /// When a site does not answer.
    pub async fn person(&self, address: &Address) -> anyhow::Result<App> {
        let world = self.world_of(&address.to_string());
        let client = world.client();
        let mut profile = Profile::new(address.clone());
        for site in self.sites_of(address) {
            let account = NewAccount {
                address: address.clone(),
                password: PASSWORD.to_owned(),
                quota: None,
            };
            let running = Self::running(site)?;
            running.administration.set_account(&account).await?;
            let url = Url::new(site.ports.address.to_string(), site.ports.user);
            let fingerprint = Some(Fingerprint(running.fingerprint));
            let access = Session::log_in(&client, &url, fingerprint, address, PASSWORD).await?;
            if let Some(locator) = &site.plan.mailbox {
                profile.set_mailbox(locator.clone(), access.clone());
            }
            if site.plan.broker.as_ref() == Some(address.domain()) {
                profile.broker = Some(access);
            }
        }
        Ok(App::new(profile, world))
    }
}
