//! Networks of whole nodes on this machine: the demonstration, the simulator's real mode and the tests all build theirs
//! here.
//!
//! A [`Town`] is a DNS server of its own and a number of [`Site`]s, each a node with its own folder, configuration, key,
//! loopback address and ports. A site runs in this process, or as a process of its own from its configuration file; the
//! files are those that an operator would write. Not here: what the people in the town do.

mod compare;
mod ledger;
mod plan;
mod ports;
mod wait;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use cargomail_protocol::address::Address;

pub use compare::{Compared, compare, compare_head};
pub use ledger::verify_ledger;
pub use plan::{SitePlan, Topology, Transport};
pub use ports::Ports;
pub use wait::{PATIENCE, acknowledged, delivered};

use crate::accounts::door::AdminToken;
use crate::api::NewAccount;
use crate::app::administration::Administration;
use crate::app::profile::Fingerprint;
use crate::app::{App, Profile, Session, Url, World};
use crate::clock::{Clock, SystemClock, SystemRandomness};
use crate::config::Settings;
use crate::dns::Zone;
use crate::identity::Identity;
use crate::node::Node;
use crate::private;
use crate::publish;

/// The password of everybody in the town.
pub const PASSWORD: &str = "correct horse battery staple";
/// How long a DNS record of the town may be kept: tests change them.
const TTL: Duration = Duration::from_secs(1);

/// A node of the town.
pub struct Site {
    /// The plan that it follows.
    pub plan: SitePlan,
    /// Its folder, with `cargomail.toml`, `key.pem` and `data`.
    pub folder: PathBuf,
    /// The ports of its faces, all at one loopback address.
    pub ports: Ports,
    identity: Identity,
    node: Option<Node>,
}

/// A DNS server and the nodes that it knows.
pub struct Town {
    /// The DNS server. It answers for every name that was added to it.
    pub zone: Zone,
    /// Where the sites' folders are.
    pub folder: PathBuf,
    sites: Vec<Site>,
}

impl Site {
    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("cargomail.toml")
    }

    /// Its key.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The node, while it runs in this process.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// SHA-256 of the key that its user face shows: made here if the node has not started yet.
    ///
    /// # Errors
    /// When its folder cannot be written.
    pub fn fingerprint(&self) -> anyhow::Result<[u8; 32]> {
        let settings = Settings::open(&self.config())?;
        Ok(settings.user_certificate(SystemClock.now())?.spki_sha256())
    }

    /// Starts the node in this process.
    ///
    /// # Errors
    /// Those of [`Settings::open`] and [`Node::start`].
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let settings = Settings::open(&self.config())?;
        let node = Node::start(settings)
            .await
            .with_context(|| format!("the node of {} does not start", self.plan.name))?;
        self.node = Some(node);
        Ok(())
    }

    /// Stops the node, if it runs in this process.
    pub async fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().await;
        }
    }
}

impl Town {
    /// Lays out the sites: folders, configurations, keys, and everything that they publish in the DNS. Starts the DNS
    /// server and no node. What is in the folder already is kept: a town is built again with the keys and data it had.
    ///
    /// # Errors
    /// When the folder cannot be written or no ports are free.
    pub async fn build(folder: &Path, plans: &[SitePlan]) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        let addresses = ports::addresses(plans.len());
        let zone = Zone::start(SocketAddr::new(ports::first(&addresses), 0))
            .await
            .context("no DNS server can be started on this machine's loopback addresses")?;
        let smtp = ports::common(&addresses)?;
        let mut sites = Vec::new();
        for (plan, address) in plans.iter().zip(addresses) {
            sites.push(lay_out(&folder, plan, address, smtp, &zone)?);
        }
        let town = Self { zone, folder, sites };
        for site in &town.sites {
            town.publish(site)?;
        }
        Ok(town)
    }

    /// Builds the town and starts every node in this process.
    ///
    /// # Errors
    /// Those of [`Town::build`] and [`Site::start`].
    pub async fn start(folder: &Path, plans: &[SitePlan]) -> anyhow::Result<Self> {
        let mut town = Self::build(folder, plans).await?;
        for site in &mut town.sites {
            site.start().await?;
        }
        Ok(town)
    }

    /// Puts everything into the zone that the site asks its operator to publish.
    fn publish(&self, site: &Site) -> anyhow::Result<()> {
        let settings = Settings::open(&site.config())?;
        for published in publish::records(
            &settings,
            &site.identity,
            &publish::planned_peers(&settings, &site.identity),
        ) {
            self.zone.add_with_ttl(&published.name, published.record, TTL);
        }
        Ok(())
    }

    /// A site by its name.
    ///
    /// # Panics
    /// When no plan had that name.
    #[must_use]
    pub fn site(&self, name: &str) -> &Site {
        let mut sites = self.sites.iter();
        sites
            .find(|site| site.plan.name == name)
            .expect("a site of the town's plans")
    }

    /// A site by its name, to start or stop it.
    ///
    /// # Panics
    /// When no plan had that name.
    pub fn site_mut(&mut self, name: &str) -> &mut Site {
        let mut sites = self.sites.iter_mut();
        sites
            .find(|site| site.plan.name == name)
            .expect("a site of the town's plans")
    }

    /// Every site.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Stops every node that runs in this process.
    pub async fn stop(mut self) {
        for site in &mut self.sites {
            site.stop().await;
        }
    }

    /// Gives a person an account at every site that the plans name them at, logs their application in there, and writes
    /// its profile to `<address>.toml` in the town's folder. The nodes must run, in this process or another.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn person(&self, address: &str) -> anyhow::Result<App> {
        let address = Address::parse(address)?;
        let world = World::real()?;
        let client = world.client();
        let mut profile = Profile::new(address.clone());
        for site in self.sites.iter().filter(|site| site.plan.has(&address)) {
            let listen = site.ports.at(site.ports.user);
            let fingerprint = site.fingerprint()?;
            let account = NewAccount {
                address: address.clone(),
                password: PASSWORD.to_owned(),
                quota: None,
            };
            self.administration(site)?.set_account(&account).await?;
            let url = Url::new(listen.ip().to_string(), listen.port());
            let access =
                Session::log_in(&client, &url, Some(Fingerprint(fingerprint)), &address, PASSWORD).await?;
            if let Some(locator) = &site.plan.mailbox {
                profile.set_mailbox(locator.clone(), access.clone());
            }
            if site.plan.broker.is_some() && address.domain().as_str() == site.plan.name {
                profile.broker = Some(access);
            }
        }
        profile.save(&self.profile(&address))?;
        Ok(App::new(profile, world))
    }

    /// The administrator of a site, whose node runs or has run.
    ///
    /// # Errors
    /// When the node has made no administrator's token yet.
    pub fn administration(&self, site: &Site) -> anyhow::Result<Administration> {
        let admin = AdminToken::open(&site.folder.join("data"))?;
        let listen = site.ports.at(site.ports.user);
        let client = World::real()?.client();
        Ok(Administration::at(
            &client,
            listen,
            site.fingerprint()?,
            admin.text(),
        ))
    }

    /// Where a person's profile is.
    #[must_use]
    pub fn profile(&self, address: &Address) -> PathBuf {
        self.folder.join(format!("{address}.toml"))
    }
}

fn lay_out(folder: &Path, plan: &SitePlan, address: IpAddr, smtp: u16, zone: &Zone) -> anyhow::Result<Site> {
    let folder = folder.join(&plan.name);
    private::make(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let ports = Ports::choose(address, smtp)?;
    let config = folder.join("cargomail.toml");
    std::fs::write(&config, plan.config(&ports, zone.local_addr()))
        .with_context(|| format!("{} cannot be written", config.display()))?;
    let identity = Identity::open_or_create(&folder.join("key.pem"), &SystemRandomness)?;
    Ok(Site {
        plan: plan.clone(),
        folder,
        ports,
        identity,
        node: None,
    })
}
