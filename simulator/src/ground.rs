//! Where a run takes place: on real nodes of this machine, or in a virtual world.

use std::path::Path;

use anyhow::bail;
use cargomail_node::app::App;
use cargomail_node::app::administration::Administration;
use cargomail_node::harness::{SitePlan, Town};
use cargomail_protocol::address::{Address, Domain};

use crate::history::Provider;
use crate::hostile::VILLAIN;
use crate::provider::{self, Needles, Roots, Thoroughly};
use crate::scenario::{Fault, How, Scenario};
use crate::world::{Quality, Trace, World};

/// The sites of a run.
pub(crate) enum Ground {
    /// Real nodes in this process.
    Real(Town),
    /// The services of nodes in a virtual world.
    Virtual(Box<World>),
}

impl Ground {
    /// Lays out and starts real nodes.
    pub(crate) async fn real(folder: &Path, plans: &[SitePlan]) -> anyhow::Result<Self> {
        Ok(Self::Real(Town::start(folder, plans).await?))
    }

    /// Makes a virtual world, and starts everything in it but the machine of those who do harm.
    pub(crate) async fn make(folder: &Path, scenario: &Scenario, trace: &Trace) -> anyhow::Result<Self> {
        let plans = scenario.site_plans();
        let all: Vec<SitePlan> = plans.iter().cloned().chain(scenario.villain()).collect();
        let mut world = World::build(folder, &all, scenario.seed, Quality::FIBRE, trace)?;
        for site in &scenario.sites {
            if let Some(line) = site.line {
                world.connect(site.name.as_str(), line)?;
            }
        }
        for link in &scenario.links {
            let [from, to] =
                [&link.from, &link.to].map(|end| end.iter().map(Domain::as_str).collect::<Vec<_>>());
            world.link(&from, &to, link.condition)?;
        }
        for plan in &plans {
            world.start(&plan.name).await?;
        }
        Ok(Self::Virtual(Box::new(world)))
    }

    /// A site fails.
    pub(crate) async fn fail(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let site = fault.site.as_str();
        match (self, fault.how) {
            (ground, How::Stop) => ground.stop(site).await,
            (Self::Virtual(world), How::Crash) => world.crash(site),
            (Self::Virtual(world), How::CutOff) => world.part(&fault.region(), true),
            (Self::Virtual(world), How::NoDns) => world.silence(site, true),
            (Self::Virtual(world), How::DiskFull) => world.disk(site).map(|disk| disk.set_full(true)),
            (Self::Virtual(world), How::WrongClock) => world.mistime(site, fault.by.unwrap_or_default()),
            (Self::Virtual(world), How::Slow) => world.slow(site, true),
            (Self::Virtual(world), How::PoisonedDns) => world.mislead(site, VILLAIN).await,
            (Self::Virtual(world), How::NewKey) => world.announce_key(site),
            (Self::Virtual(world), How::OldKeyWithdrawn) => world.withdraw_key(site),
            (Self::Real(_), _) => bail!("{site}: that needs a virtual world"),
        }
    }

    /// It is well again.
    pub(crate) async fn mend(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let site = fault.site.as_str();
        match (self, fault.how) {
            (Self::Real(town), _) => town.site_mut(site).start().await,
            (Self::Virtual(world), How::Stop | How::Crash) => world.start(site).await,
            (Self::Virtual(world), How::CutOff) => world.part(&fault.region(), false),
            (Self::Virtual(world), How::NoDns) => world.silence(site, false),
            (Self::Virtual(world), How::DiskFull) => world.disk(site).map(|disk| disk.set_full(false)),
            (Self::Virtual(world), How::WrongClock) => world.mistime(site, 0),
            (Self::Virtual(world), How::Slow) => world.slow(site, false),
            (Self::Virtual(world), How::PoisonedDns) => world.lead(site),
            (Self::Virtual(world), How::NewKey) => world.change_key(site).await,
            (Self::Virtual(_), How::OldKeyWithdrawn) => Ok(()),
        }
    }

    pub(crate) async fn stop(&mut self, site: &str) -> anyhow::Result<()> {
        match self {
            Self::Real(town) => {
                town.site_mut(site).stop().await;
                Ok(())
            }
            Self::Virtual(world) => world.stop(site).await,
        }
    }

    pub(crate) fn runs(&self, site: &str) -> bool {
        match self {
            Self::Real(town) => town.site(site).node().is_some(),
            Self::Virtual(world) => world.runs(site),
        }
    }

    pub(crate) async fn person(&self, address: &Address) -> anyhow::Result<App> {
        match self {
            Self::Real(town) => town.person(&address.to_string()).await,
            Self::Virtual(world) => world.person(address).await,
        }
    }

    pub(crate) fn administration(&self, site: &str) -> anyhow::Result<Administration> {
        match self {
            Self::Real(town) => town.administration(town.site(site)),
            Self::Virtual(world) => world.administration(site),
        }
    }

    /// Looks for content at a site that has stopped, where it must not be.
    pub(crate) async fn look_into(&self, provider: &mut Provider, roots: &Roots, marker: &str) {
        match self {
            Self::Real(town) => {
                let config = town.site(&provider.site).config();
                provider::look_into(provider, &config, roots, marker).await;
            }
            Self::Virtual(world) => match world.disk(&provider.site) {
                Ok(disk) => provider::look_into_disk(provider, disk, roots, marker).await,
                Err(error) => provider.found.push(format!("{error:#}")),
            },
        }
    }

    /// Whether content is found at a site that has stopped, where it must be.
    pub(crate) async fn has_content(&self, site: &str, marker: &str) -> anyhow::Result<bool> {
        match self {
            Self::Real(town) => {
                let data = town.site(site).folder.join("data");
                let searched = provider::search(data, marker, Thoroughly::UntilFound).await?;
                Ok(!searched.files.is_empty())
            }
            Self::Virtual(world) => Ok(world.disk(site)?.has(&Needles::of(marker))),
        }
    }

    /// Whether this is a virtual world.
    pub(crate) fn is_virtual(&self) -> bool {
        self.world().is_some()
    }

    /// The virtual world, if it is one.
    pub(crate) fn world(&self) -> Option<&World> {
        match self {
            Self::Real(_) => None,
            Self::Virtual(world) => Some(world),
        }
    }
}
