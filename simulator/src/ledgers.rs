//! The ledgers at the end of a run: each is whole, and has everything that it had before its node stopped or its machine crashed.
//!
//! What always holds: a ledger that has lost its end is a chain without a gap, with a head that fits; so the heads of before are needed to see
//! that. They are taken from virtual disks: of what was durable then.

use anyhow::ensure;
use cargomail_node::app::administration::Administration;
use cargomail_protocol::ledger::{Checker, Head};

use crate::ground::Ground;
use crate::history::Ledger;
use crate::scenario::Scenario;

/// Verifies the ledger of each site, as an administrator gets it.
pub(crate) async fn verify_all(scenario: &Scenario, ground: &Ground) -> Vec<Ledger> {
    let mut ledgers = Vec::new();
    for site in scenario.sites.iter().map(|site| site.name.as_str()) {
        let verified = async {
            ensure!(ground.runs(site), "the node is stopped and cannot be asked");
            let heads = ground.world().map_or(&[][..], |world| world.heads(site));
            verify(&ground.administration(site)?, heads).await
        };
        let (entries, wrong) = match verified.await {
            Ok(entries) => (entries, None),
            Err(error) => (0, Some(format!("{error:#}"))),
        };
        ledgers.push(Ledger {
            site: site.to_owned(),
            entries,
            wrong,
        });
    }
    ledgers
}

/// Checks every entry of a ledger, its head, and that it goes on from these heads of before; how many entries there are.
async fn verify(administration: &Administration, before: &[Head]) -> anyhow::Result<u64> {
    let mut chain = Chain::after(before);
    loop {
        let (entries, head) = administration.ledger(chain.entries).await?;
        for entry in &entries {
            chain.push(entry)?;
        }
        if chain.entries >= head.entries {
            chain.finish(&head)?;
            return Ok(chain.entries);
        }
        let next = chain.entries;
        ensure!(!entries.is_empty(), "entry {next} of {} is missing", head.entries);
    }
}

/// A chain of entries, from the first on, and the ends that it has had.
struct Chain<'a> {
    before: &'a [Head],
    checker: Checker,
    entries: u64,
}

impl<'a> Chain<'a> {
    fn after(before: &'a [Head]) -> Self {
        Self {
            before,
            checker: Checker::new(),
            entries: 0,
        }
    }

    fn push(&mut self, entry: &[u8]) -> anyhow::Result<()> {
        self.checker.push(entry)?;
        self.entries += 1;
        let mut ends = self.before.iter().filter(|head| head.entries == self.entries);
        ensure!(
            ends.all(|head| self.checker.finish(head).is_ok()),
            "entry {} is another than before its node stopped",
            self.entries - 1
        );
        Ok(())
    }

    fn finish(&self, head: &Head) -> anyhow::Result<()> {
        self.checker.finish(head)?;
        let most = self.before.iter().map(|head| head.entries).max().unwrap_or(0);
        ensure!(
            most <= self.entries,
            "there are {} entries, and before its node stopped there were {most}",
            self.entries
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cargomail_protocol::ledger::{Act, Event};
    use cargomail_protocol::timestamp::Timestamp;

    use super::*;

    /// The entries that tell of mails with these Message-IDs, and the head after each.
    fn chain(names: &[&str]) -> (Vec<Vec<u8>>, Vec<Head>) {
        let mut head = Head::default();
        let mut entries = Vec::new();
        let mut heads = Vec::new();
        for name in names {
            let event = Event {
                act: Act::Shared,
                parties: Vec::new(),
                message_id: (*name).to_owned(),
                resources: Vec::new(),
                evidence: String::new(),
            };
            let (entry, next) = head.next(Timestamp::from_seconds(7), event);
            head = next;
            entries.push(entry);
            heads.push(head);
        }
        (entries, heads)
    }

    fn verified(names: &[&str], before: &[Head]) -> Result<(), String> {
        let (entries, heads) = chain(names);
        let mut chain = Chain::after(before);
        for entry in &entries {
            chain.push(entry).map_err(|why| why.to_string())?;
        }
        let head = heads.last().copied().unwrap_or_default();
        chain.finish(&head).map_err(|why| why.to_string())
    }

    #[test]
    fn a_ledger_goes_on_from_where_it_was() {
        let (_, heads) = chain(&["<1@foo.test>", "<2@foo.test>", "<3@foo.test>"]);
        let all = ["<1@foo.test>", "<2@foo.test>", "<3@foo.test>", "<4@foo.test>"];
        verified(&all, &heads).unwrap();
        verified(&all[..3], &heads).unwrap();
        verified(&[], &[Head::default()]).unwrap();
    }

    #[test]
    fn a_ledger_that_lost_its_end_or_has_another_is_found() {
        let (_, heads) = chain(&["<1@foo.test>", "<2@foo.test>", "<3@foo.test>"]);
        let told = verified(&["<1@foo.test>", "<2@foo.test>"], &heads).unwrap_err();
        assert_eq!(
            told,
            "there are 2 entries, and before its node stopped there were 3"
        );
        assert!(verified(&[], &heads).is_err());
        // Others have grown in its place.
        let others = ["<1@foo.test>", "<2@foo.test>", "<5@foo.test>", "<6@foo.test>"];
        let told = verified(&others, &heads).unwrap_err();
        assert_eq!(told, "entry 2 is another than before its node stopped");
    }
}
