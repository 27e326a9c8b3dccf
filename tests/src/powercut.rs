//! Power cuts under load (row Q05): a process writes blocks, records and entries of the ledger on a disk of its own as fast as it
//! can, the power of the disk is cut at a random moment, and the store is opened again.
//!
//! What is asked for after every cut: the store opens without damage; every block, record and receipt is there whose
//! acknowledgement was read before the cut; the ledger verifies, with an entry for every receipt. Every third cut comes so early
//! that it may meet the opening after the one before. Not here: killed processes and failing disks, which have tests beside the store.

mod check;
mod load;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use cargomail_node::store::{EmbeddedOptions, IndexKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::disk::Disk;
use crate::peers::wait_until;
pub use check::{Checked, whole};
pub use load::load;

/// Rounds on one disk: each goes on with what the ones before have left.
const LIFE: usize = 10;
/// Octets of a disk; more than the rounds of one life write.
const DISK: u64 = 12 * 1024 * 1024 * 1024;
/// How long after the opening the power is cut, in milliseconds.
const LATE: std::ops::Range<u64> = 100..1500;
/// How long after the start of the process, in every third round.
const EARLY: std::ops::Range<u64> = 0..400;

/// Segments are so small that each round goes through several. Lives take turns with the engines of the index, and rounds with
/// how it is mended: made anew, or compared with packs and journal.
fn options(number: usize) -> EmbeddedOptions {
    let default = EmbeddedOptions::default();
    EmbeddedOptions {
        index: match (number / LIFE).is_multiple_of(2) {
            true => IndexKind::Sled,
            false => IndexKind::Redb,
        },
        segment: 16 * 1024 * 1024,
        anew: match number.is_multiple_of(2) {
            true => default.anew,
            false => 0,
        },
        ..default
    }
}

/// When the power is cut.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after the process was started: it may still be opening the store.
    Started(Duration),
    /// So long after it has opened the store.
    Open(Duration),
}

/// What a process said of one round.
#[derive(Debug)]
struct Round {
    number: usize,
    /// What was acknowledged before the power was cut.
    acknowledged: Vec<String>,
    /// What it had begun to sweep: also what it said while the power was being cut, for that may have reached the disk.
    sweeping: HashSet<String>,
}

/// Cuts the power so many times. `program` is started with the folder of a store and a number, which it gives to [`load`]; `tell`
/// is told how it goes.
///
/// # Errors
/// When something that was acknowledged is gone or damaged, with the seed that repeats the moments; and when this machine cannot
/// mount a disk.
pub async fn run(program: &Path, rounds: usize, seed: u64, tell: impl Fn(&str)) -> anyhow::Result<Checked> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut total = Checked::default();
    for begin in (0..rounds).step_by(LIFE) {
        let end = rounds.min(begin + LIFE);
        let mut disk = Disk::new(DISK)?;
        let store = disk.path().join("store");
        let mut life = Vec::new();
        for number in begin..end {
            let early = number % 3 == 2;
            let moment = match early {
                true => Moment::Started(Duration::from_millis(random.random_range(EARLY))),
                false => Moment::Open(Duration::from_millis(random.random_range(LATE))),
            };
            let failed = || format!("round {number} of seed {seed}");
            let round = one(program, &mut disk, number, moment).with_context(failed)?;
            let said = round.acknowledged.len();
            life.push(round);
            // The next process meets what an early cut has left.
            if !early || number + 1 == end {
                let since = life.len().saturating_sub(2);
                let recent = life.get(since..).unwrap_or_default();
                let checked = check::acknowledged(&store, number, recent)
                    .await
                    .with_context(failed)?;
                tell(&format!("round {}: {said} said, {checked}", number + 1));
                total.slowest = total.slowest.max(checked.slowest);
            }
        }
        let failed = || format!("all rounds up to {end} of seed {seed}");
        let checked = check::everything(&store, begin, &life)
            .await
            .with_context(failed)?;
        tell(&format!("all of rounds {} to {end}: {checked}", begin + 1));
        total.add(&checked);
    }
    Ok(total)
}

/// One round: what the process said before the power was cut.
fn one(program: &Path, disk: &mut Disk, number: usize, moment: Moment) -> anyhow::Result<Round> {
    let mut process = Command::new(program)
        .arg("--load")
        .arg(disk.path().join("store"))
        .arg("--number")
        .arg(number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it complains of after the cut is no news.
        .stderr(Stdio::null())
        .spawn()
        .context("the load cannot be started")?;
    let output = process.stdout.take().context("its output was asked for")?;
    let said = Arc::new(Mutex::new(Vec::new()));
    let hearing = said.clone();
    let heard = move || hearing.lock().unwrap_or_else(PoisonError::into_inner).len();
    let listener = std::thread::spawn({
        let said = said.clone();
        move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        }
    });
    let cut = || -> anyhow::Result<usize> {
        match moment {
            Moment::Started(after) => std::thread::sleep(after),
            Moment::Open(after) => {
                wait_until("the store is open", || Ok(heard() > 0))?;
                std::thread::sleep(after);
            }
        }
        let before = heard();
        disk.cut()?;
        Ok(before)
    };
    let before = cut();
    process.kill()?;
    process.wait()?;
    let _ = listener.join();
    let before = before?;
    disk.restore()?;
    let mut said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
    let sweeping = said
        .iter()
        .filter_map(|line| line.strip_prefix("sweeping "))
        .map(str::to_owned)
        .collect();
    said.truncate(before);
    Ok(Round {
        number,
        acknowledged: said,
        sweeping,
    })
}
