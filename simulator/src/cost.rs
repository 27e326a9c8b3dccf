//! What a run costs the machine that it is made on: time, processors and memory.
//!
//! What always holds: it is looked at from outside and changes nothing. No line of a trace, nothing in the history and no verdict
//! depends on it.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;

/// Where Linux tells what memory a process has (proc(5)).
const STATUS: &str = "/proc/self/status";
/// Where it is told to forget the peak so far, and the word for that.
const FORGET: (&str, &str) = ("/proc/self/clear_refs", "5");

/// Things are read to measure how long that takes, so many.
const READS: usize = 10_000;
/// Octets that a cache holds or does not hold together. Smaller things may have been read with others.
const LINE: usize = 64;

/// What a run cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "what a run cost")]
pub struct Cost {
    /// Seconds on this machine's clock, on virtual ground, too.
    pub seconds: f64,
    /// Seconds of processors, user and system.
    pub cpu_seconds: f64,
    /// Octets of memory that the process had before; none where that cannot be known, and where it has made another run, whose memory it
    /// uses again.
    pub memory_before: Option<u64>,
    /// And at the most.
    pub peak_memory: Option<u64>,
    /// Nodes of the scenario.
    pub nodes: usize,
    /// People.
    pub people: usize,
    /// Mails of the plan.
    pub mails: usize,
    /// Until everybody has an account: the nodes are laid out and started.
    pub laying_out: Phase,
    /// From then on until everything is settled; files are made, mails are written and read.
    pub traffic: Phase,
    /// Ledgers and stores are looked at, and the nodes stop.
    pub checks: Phase,
    /// Seconds that a read of something takes that no cache holds, when everything is settled: what a mail costs in a large world is for a good
    /// part that. None where it was not measured: on real ground, and where too little lies on the disks.
    #[serde(default)]
    pub memory_read: Option<f64>,
    /// What the traffic did in a virtual world; none on real ground.
    #[serde(default)]
    pub work: Option<Work>,
}

/// What was done in a virtual world, counted: the same for the same scenario and seed, whatever machine makes the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "what was done in a virtual world")]
pub struct Work {
    /// How often somebody gave octets to a line.
    pub pieces: u64,
    /// How often a node read from its disk, listed what is there, or wrote.
    pub operations: u64,
}

impl Work {
    /// What was done since.
    fn since(self, before: Self) -> Self {
        Self {
            pieces: self.pieces.saturating_sub(before.pieces),
            operations: self.operations.saturating_sub(before.operations),
        }
    }
}

/// What a part of it cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "what a part of a run cost")]
pub struct Phase {
    /// Seconds on this machine's clock.
    pub seconds: f64,
    /// Seconds of processors, user and system.
    pub cpu_seconds: f64,
    /// Octets of memory at the most, until its end.
    pub peak_memory: Option<u64>,
}

impl Cost {
    /// With the sums of its parts.
    #[must_use]
    pub(crate) fn summed(self) -> Self {
        let parts = [self.laying_out, self.traffic, self.checks];
        Self {
            seconds: parts.iter().map(|part| part.seconds).sum(),
            cpu_seconds: parts.iter().map(|part| part.cpu_seconds).sum(),
            peak_memory: parts.iter().filter_map(|part| part.peak_memory).max(),
            ..self
        }
    }

    /// CPU seconds of the traffic, for each mail; none without mails.
    #[must_use]
    pub fn cpu_per_mail(&self) -> Option<f64> {
        each(self.traffic.cpu_seconds, self.mails)
    }

    /// CPU seconds for each node, to lay it out and start it.
    #[must_use]
    pub fn cpu_per_node(&self) -> Option<f64> {
        each(self.laying_out.cpu_seconds, self.nodes)
    }

    /// Pieces on lines and operations of disks in the traffic, for each mail; none without mails.
    #[must_use]
    pub fn work_per_mail(&self) -> Option<f64> {
        let Work { pieces, operations } = self.work?;
        each((pieces + operations) as f64, self.mails)
    }

    /// Octets of memory for each node that is laid out and started: what the process has grown by.
    #[must_use]
    pub fn memory_per_node(&self) -> Option<f64> {
        let grown = self.laying_out.peak_memory?.saturating_sub(self.memory_before?);
        each(grown as f64, self.nodes)
    }
}

fn each(all: f64, count: usize) -> Option<f64> {
    (count > 0).then(|| all / count as f64)
}

/// Measures a run, part by part.
#[derive(Debug)]
pub(crate) struct Meter {
    cost: Cost,
    /// When the last part ended.
    clock: Instant,
    cpu: f64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        // Of several runs in one process each has a peak of its own. Where that cannot be had, it is the highest so far.
        let (place, word) = FORGET;
        let _ = std::fs::write(place, word);
        // The first takes memory from the system; those after it find what it has left.
        static BEGUN: AtomicBool = AtomicBool::new(false);
        let is_first = !BEGUN.swap(true, Ordering::Relaxed);
        Self {
            cost: Cost {
                memory_before: memory("VmRSS:").filter(|_| is_first),
                ..Cost::default()
            },
            clock: Instant::now(),
            cpu: cpu(),
        }
    }

    /// The nodes run, and everybody has an account. What was done until then in a virtual world does not count.
    pub(crate) fn laid_out(&mut self, done: Option<Work>) {
        self.cost.laying_out = self.part();
        self.cost.work = done;
    }

    /// Nothing more happens, and so much was done. What lies about in memory is asked for when that is written down, to measure how long it
    /// takes to read.
    pub(crate) fn settled(&mut self, done: Option<Work>, lying_about: impl FnOnce() -> Option<Vec<Bytes>>) {
        self.cost.traffic = self.part();
        let before = self.cost.work.unwrap_or_default();
        self.cost.work = done.map(|done| done.since(before));
        self.cost.memory_read = lying_about().and_then(read_each);
    }

    /// Everything is known that is judged.
    pub(crate) fn checked(mut self, scenario: &Scenario) -> Cost {
        self.cost.checks = self.part();
        Cost {
            nodes: scenario.sites.len(),
            people: scenario.everybody().len(),
            mails: scenario.mails(),
            ..self.cost
        }
        .summed()
    }

    /// What was spent since the last part.
    fn part(&mut self) -> Phase {
        let (clock, cpu) = (Instant::now(), cpu());
        let part = Phase {
            seconds: (clock - self.clock).as_secs_f64(),
            cpu_seconds: cpu - self.cpu,
            peak_memory: memory("VmHWM:"),
        };
        (self.clock, self.cpu) = (clock, cpu);
        part
    }
}

/// Seconds that a read takes, of the first octet of each, one after the other: where the next one is, is known when the last was read. None of
/// too few.
fn read_each(mut all: Vec<Bytes>) -> Option<f64> {
    all.retain(|one| one.len() >= LINE);
    if all.len() < READS {
        return None;
    }
    all.shuffle(&mut StdRng::seed_from_u64(0));
    all.truncate(READS);
    let began = Instant::now();
    let mut at = 0;
    while let Some(octet) = all.get(at).and_then(|one| one.first()) {
        at += 1 + (black_box(usize::from(*octet)) >> u8::BITS);
    }
    Some(began.elapsed().as_secs_f64() / READS as f64)
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// Octets of this process's memory, by the name that Linux gives them.
fn memory(name: &str) -> Option<u64> {
    read(&std::fs::read_to_string(STATUS).ok()?, name)
}

fn read(status: &str, name: &str) -> Option<u64> {
    let told = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = told.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn memory_is_read_as_linux_tells_it_and_anything_else_is_nothing() {
        let status = "Name:\tx\nVmHWM:\t   10332 kB\nVmRSS:\t      12 kB\nVmLib:\tmuch\n";
        assert_eq!(read(status, "VmHWM:"), Some(10_332 * 1024));
        assert_eq!(read(status, "VmRSS:"), Some(12_288));
        for name in ["VmSwap:", "VmLib:", "Name:"] {
            assert_eq!(read(status, name), None, "{name}");
        }
        assert_eq!(read("VmHWM: 99999999999999999999 kB", "VmHWM:"), None);
        assert_eq!(read("VmHWM: 18446744073709551615 kB", "VmHWM:"), None);
    }

    #[test]
    fn a_meter_tells_its_parts_apart_and_sums_them() {
        let scenario = Scenario::find("four-domains").unwrap();
        let mut meter = Meter::start();
        let work = |pieces, operations| Some(Work { pieces, operations });
        meter.laid_out(work(100, 7));
        // Work that a processor cannot leave out.
        let mut sum = 0_u64;
        let until = cpu() + 0.02;
        while cpu() < until {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        meter.settled(work(148, 31), || None);
        let cost = meter.checked(&scenario);
        assert_eq!((cost.nodes, cost.people, cost.mails), (4, 4, 24));
        assert_eq!((cost.work, cost.work_per_mail()), (work(48, 24), Some(3.0)));
        assert!(cost.traffic.cpu_seconds >= 0.02, "{cost:?}");
        assert!(cost.traffic.cpu_seconds > cost.laying_out.cpu_seconds, "{cost:?}");
        let parts = cost.laying_out.seconds + cost.traffic.seconds + cost.checks.seconds;
        assert_eq!(cost.seconds, parts);
        assert!(cost.peak_memory >= cost.memory_before, "{cost:?}");
        assert!(cost.memory_before > Some(0), "{cost:?}");
    }

    #[test]
    fn a_read_is_measured_of_many_things_that_share_no_line_and_of_no_fewer() {
        let things = |count: usize, octets: usize| (0..count).map(move |_| Bytes::from(vec![7; octets]));
        let read = read_each(things(READS, LINE).collect()).unwrap();
        assert!(read > 0.0 && read < 0.001, "{read} s");
        assert_eq!(read_each(things(READS - 1, LINE).collect()), None);
        let small = things(READS, LINE - 1).chain(things(1, LINE));
        assert_eq!(read_each(small.collect()), None);
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let cost = Cost {
            traffic: Phase {
                cpu_seconds: 3.0,
                ..Phase::default()
            },
            ..Cost::default()
        };
        assert_eq!((cost.cpu_per_mail(), cost.cpu_per_node()), (None, None));
        assert_eq!(cost.work_per_mail(), None);
        assert_eq!(cost.memory_per_node(), None);
        let cost = Cost {
            mails: 6,
            nodes: 2,
            memory_before: Some(5),
            laying_out: Phase {
                peak_memory: Some(3),
                ..Phase::default()
            },
            ..cost
        };
        assert_eq!(cost.cpu_per_mail(), Some(0.5));
        assert_eq!(cost.memory_per_node(), Some(0.0));
    }
}
