//! What befalls the sites of a world from outside: lines that are cut or slow, a DNS that is silent or misleads, a clock that is wrong.
//! Machines that stop and crash are the world's own matter.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cargomail_node::identity::Identity;
use cargomail_node::network::Network;
use cargomail_protocol::address::Domain;
use cargomail_protocol::grip::{KeyHash, Record as Grip};

use super::World;
use super::ears::Ears;
use super::line::Condition;
use super::names::Lies;
use super::network::Peer;

impl World {
    /// Cuts sites off from all others, but not from each other, or brings them back.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn part(&self, names: &[&str], is_cut: bool) -> anyhow::Result<()> {
        let some = self.addresses(names)?;
        let all: Vec<IpAddr> = self.sites.iter().map(|site| site.ports.address).collect();
        self.wires.part(&some, &all, is_cut);
        let how = if is_cut { "is cut off" } else { "is back" };
        self.trace.line(&names.join(" and "), format_args!("{how}"));
        Ok(())
    }

    /// Gives a site a line of its own. The way between two sites with such lines has the latencies of both and the speed of the slower
    /// one; between one with and one without, it is as bad as that line, and never better than the world's own lines.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn connect(&self, name: &str, condition: Condition) -> anyhow::Result<()> {
        self.wires.connect(self.at(name)?.ports.address, condition);
        Ok(())
    }

    /// Says what the way from some sites to others is like, whatever lines they have: `from` are at the end that sends slower.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn link(&self, from: &[&str], to: &[&str], condition: Condition) -> anyhow::Result<()> {
        self.wires
            .link(self.addresses(from)?, self.addresses(to)?, condition);
        Ok(())
    }

    /// Makes a site's lines slow: a hundredth of their speed, and ten times their latency; or as fast as they were.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn slow(&self, name: &str, is_slow: bool) -> anyhow::Result<()> {
        self.wires.slow(self.at(name)?.ports.address, is_slow);
        Ok(())
    }

    fn addresses(&self, names: &[&str]) -> anyhow::Result<BTreeSet<IpAddr>> {
        names
            .iter()
            .map(|name| Ok(self.at(name)?.ports.address))
            .collect()
    }

    /// Has the DNS not answer a site, or answer it again.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn silence(&self, name: &str, is_silent: bool) -> anyhow::Result<()> {
        self.at(name)?.answers.silence(is_silent);
        Ok(())
    }

    /// Has a site's clock be wrong by so many seconds from now on, or right with none.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn mistime(&self, name: &str, by: i64) -> anyhow::Result<()> {
        self.at(name)?.wrong.by(by);
        Ok(())
    }

    /// Has the DNS tell a site wrongly where others are: at the machine of a site that is laid out and does not run, and that listens from now
    /// on; and that their servers have a key that nobody has. What it has heard before it forgets.
    ///
    /// # Errors
    /// When there is no such site.
    pub async fn mislead(&self, name: &str, to: &str) -> anyhow::Result<()> {
        let site = self.at(to)?;
        let alive = Arc::new(AtomicBool::new(true));
        let (address, peers) = (site.ports.address, self.peers_of(to)?);
        if self.receive(to).await? {
            let machine = self.wires.machine(address, &alive);
            self.ears
                .take_streams(Peer::new(machine, site.identity.public(), Vec::new()));
        }
        let nobody = Identity::generate(&self.chance).spki_sha256();
        let pin = Grip(KeyHash::from_bytes(nobody)).to_string();
        let lies = Lies { address, peers, pin };
        self.at(name)?.answers.lie(Some(lies));
        Ok(())
    }

    /// Has the machine of a site that is laid out and does not run take requests, and refuse them all; whether it did not do so before.
    ///
    /// # Errors
    /// When there is no such site.
    pub async fn receive(&self, name: &str) -> anyhow::Result<bool> {
        let site = self.at(name)?;
        let machine = self
            .wires
            .machine(site.ports.address, &Arc::new(AtomicBool::new(true)));
        let Ok(listener) = machine.listen(site.ports.at(site.ports.grip)).await else {
            return Ok(false);
        };
        let certificate = self.certificate(name, &Domain::parse(name)?)?;
        self.ears.take_requests(listener, &certificate, self.clock())?;
        Ok(true)
    }

    /// Has the DNS tell a site the truth again. What it was told wrongly it believes until its time is over.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn lead(&self, name: &str) -> anyhow::Result<()> {
        self.at(name)?.answers.lie(None);
        Ok(())
    }

    /// Whether the DNS has ever told a site wrongly where somebody is.
    #[must_use]
    pub fn was_misled(&self, name: &str) -> bool {
        self.at(name).is_ok_and(|site| site.answers.has_lied())
    }

    /// What was said to the machine to which sites were misled.
    #[must_use]
    pub fn ears(&self) -> &Ears {
        &self.ears
    }
}
