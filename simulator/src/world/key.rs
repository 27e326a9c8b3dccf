//! How a site gets another key, as an operator does it (DESIGN §5): the DNS names the new one beside the old one, and when everybody has
//! heard of it, the node is started with it. The old one stays there until it is withdrawn: so long, tokens that were signed with it are
//! good until they expire.

use anyhow::Context;
use cargomail_node::identity::Identity;
use cargomail_node::publish;

use super::World;

/// What names the key with which a domain signs its mail. There is one for each selector (RFC 6376 §3.6.2.2), so that it cannot stand beside
/// another.
const SIGNING: &str = "._domainkey.";

impl World {
    /// Makes another key for a site, and has the DNS name it beside the one that it uses.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn announce_key(&mut self, name: &str) -> anyhow::Result<()> {
        let site = self.at(name)?;
        let next = Identity::generate(&*site.chance);
        let peers = publish::planned_peers(&site.settings, &next);
        for published in publish::records(&site.settings, &next, &peers) {
            if !published.name.contains(SIGNING) {
                self.zone.add(&published.name, published.record);
            }
        }
        self.trace.line(name, format_args!("is given a second key"));
        self.at_mut(name)?.next = Some(next);
        Ok(())
    }

    /// Stops a site, and starts it with the key that was made for it.
    ///
    /// # Errors
    /// When there is no such site, none was made, or the site does not start.
    pub async fn change_key(&mut self, name: &str) -> anyhow::Result<()> {
        self.stop(name).await?;
        let site = self.at_mut(name)?;
        let next = site.next.take();
        let next = next.with_context(|| format!("no key was made for {name}"))?;
        site.old.push(std::mem::replace(&mut site.identity, next));
        let site = self.at(name)?;
        for published in publish::records(&site.settings, &site.identity, &[]) {
            if published.name.contains(SIGNING) {
                self.zone.replace(&published.name, published.record);
            }
        }
        self.start(name).await
    }

    /// Has the DNS name no key of a site but the one that it uses.
    ///
    /// # Errors
    /// When there is no such site, or it has no other.
    pub fn withdraw_key(&mut self, name: &str) -> anyhow::Result<()> {
        let old = std::mem::take(&mut self.at_mut(name)?.old);
        anyhow::ensure!(!old.is_empty(), "{name} has no old key in the DNS");
        let site = self.at(name)?;
        let records = |identity: &Identity| {
            let peers = publish::planned_peers(&site.settings, identity);
            publish::records(&site.settings, identity, &peers)
        };
        let kept = records(&site.identity);
        let old = old.iter().flat_map(records);
        for published in old.filter(|published| !kept.contains(published)) {
            self.zone.remove(&published.name, &published.record);
        }
        self.trace.line(name, format_args!("has its old key withdrawn"));
        Ok(())
    }
}
