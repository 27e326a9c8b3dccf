//! What one attachment costs that goes to several people of one domain: octets on the wire, and on the disks of both sides.
//!
//! The wire is the loopback device of this machine, so whatever else talks over it meanwhile is counted too.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::placeholder::{Category, Mailbox};
use cargomail_protocol::routing::Preferences;
use serde::Serialize;

use super::receiver::{self, BAR, FOO, Node, size_of};
use crate::api::Channel;
use crate::app::{Letter, Unwatched};
use crate::cli::{Everywhere, value};
use crate::harness::{SitePlan, Town, acknowledged};

/// To how many people.
const RECIPIENTS: [usize; 2] = [1, 100];
/// Octets that are written at a time.
const CHUNK: usize = 1024 * 1024;

#[derive(Debug, Serialize)]
struct Report {
    octets: u64,
    runs: Vec<Cost>,
}

#[derive(Debug, Serialize)]
struct Cost {
    recipients: usize,
    /// From sending to the last receipt at the origin.
    seconds: f64,
    /// Multiples of the attachment's size.
    on_the_wire: f64,
    on_the_origins_disk: f64,
    on_the_destinations_disk: f64,
}

/// Measures and prints.
pub(super) async fn run(everywhere: &Everywhere, folder: &Path, octets: u64) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for recipients in RECIPIENTS {
        let folder = folder.join(format!("attachment-{recipients}"));
        runs.push(Box::pin(once(&folder, octets, recipients)).await?);
    }
    everywhere.out().one(&Report { octets, runs }, Report::table)
}

async fn once(folder: &Path, octets: u64, recipients: usize) -> anyhow::Result<Cost> {
    let alice = format!("alice@{FOO}");
    let people: Vec<String> = (0..recipients)
        .map(|number| format!("bob{number}@{BAR}"))
        .collect();
    let foo = SitePlan::new(FOO).with_broker().with_mailbox().with(&alice);
    let bar = people
        .iter()
        .fold(SitePlan::new(BAR).with_broker().with_mailbox(), |plan, person| {
            plan.with(person)
        });
    let mut town = Town::build(folder, &[foo, bar]).await?;
    town.site_mut(FOO).start().await?;
    let process = Node::start(town.site(BAR)).await?;
    let alice = town.person(&alice).await?;
    let wishes = Preferences {
        rules: Vec::new(),
        default: vec![Locator::parse(&format!("mailbox.{BAR}"))?],
    };
    let mut letter = Letter::new(Category::parse("personal")?);
    for person in &people {
        receiver::person(&town, person, &wishes).await?;
        letter.to.push(Mailbox::bare(Address::parse(person)?));
    }
    let attachment = folder.join("attachment.bin");
    fill(&attachment, octets)?;
    letter.files = vec![attachment];
    letter.channel = Some(Channel::Web);
    let data = |name: &str| size_of(&town.site(name).folder.join("data"));
    let (at_foo, at_bar) = (data(FOO)?, data(BAR)?);
    let watch: std::sync::Arc<dyn crate::app::Watch> = std::sync::Arc::new(Unwatched);
    let composed = alice.compose(&letter, &watch).await?;
    let (wire, begun) = (on_the_wire()?, Instant::now());
    alice.hand_over(&composed, letter.channel).await?;
    acknowledged(&alice, &composed.message_id).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let multiple = |after: u64, before: u64| after.saturating_sub(before) as f64 / octets.max(1) as f64;
    let cost = Cost {
        recipients,
        seconds,
        on_the_wire: multiple(on_the_wire()?, wire),
        on_the_origins_disk: multiple(data(FOO)?, at_foo),
        on_the_destinations_disk: multiple(data(BAR)?, at_bar),
    };
    process.stop().await?;
    town.stop().await;
    Ok(cost)
}

/// Octets that the loopback device has carried.
fn on_the_wire() -> anyhow::Result<u64> {
    let devices = std::fs::read_to_string("/proc/net/dev").context("/proc/net/dev")?;
    let line = devices
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("lo:"));
    let received = line.and_then(|line| line.split_ascii_whitespace().next());
    received
        .and_then(|octets| octets.parse().ok())
        .context("/proc/net/dev tells nothing of the loopback device")
}

/// A file of random octets.
fn fill(path: &Path, octets: u64) -> anyhow::Result<()> {
    let mut file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
    let mut left = usize::try_from(octets)?;
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        rand::fill(&mut chunk);
        let some = left.min(CHUNK);
        file.write_all(chunk.get(..some).unwrap_or_default())?;
        left -= some;
    }
    Ok(())
}

impl Report {
    fn table(&self) -> String {
        let mut text = format!(
            "An attachment of {}, in multiples of its size\n\n{:>10} {:>9} {:>9} {:>14} {:>19}\n",
            value::octets(self.octets),
            "recipients",
            "seconds",
            "wire",
            "origin's disk",
            "destination's disk",
        );
        for run in &self.runs {
            text += &format!(
                "{:>10} {:>9.2} {:>9.3} {:>14.3} {:>19.3}\n",
                run.recipients,
                run.seconds,
                run.on_the_wire,
                run.on_the_origins_disk,
                run.on_the_destinations_disk,
            );
        }
        text
    }
}
