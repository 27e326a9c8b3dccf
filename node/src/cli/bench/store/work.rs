//! The workloads: on the store, and on a plain file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use cargomail_protocol::dag::{Codec, VerifiedBlock};
use indicatif::ProgressBar;
use serde::Serialize;

use super::super::scratch::Scratch;
use super::process::{forget_peak, memory, peak, room, written};
use crate::store::{BlockStore, Embedded, EmbeddedOptions, IndexKind, discard_view};

/// Acknowledgements of a run of writers, all together.
const ACKS: usize = 8000;
/// Blocks that are read.
const READS: usize = 20_000;
/// Octets of a block of which there are many, and how many are put at once.
const MANY: (usize, usize) = (256, 100);

/// Blocks of one size, so many, so many an acknowledgement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Large {
    pub(super) size: usize,
    count: usize,
    an_ack: usize,
}

impl Large {
    pub(super) fn of(size: usize, count: usize, an_ack: usize) -> Self {
        Self {
            size,
            count: count.max(an_ack),
            an_ack,
        }
    }
}

/// What one run showed.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Measured {
    /// In which somebody waited for an acknowledgement.
    pub(super) seconds: f64,
    pub(super) blocks: usize,
    pub(super) octets: u64,
    /// Milliseconds of an acknowledgement.
    pub(super) ack_p50: f64,
    pub(super) ack_p99: f64,
    /// Microseconds of reading a block.
    pub(super) read_p50: f64,
    pub(super) read_p99: f64,
    /// Octets written to disks for each octet stored, and room taken.
    pub(super) written: f64,
    pub(super) disk: f64,
    /// Peak of memory above the beginning, in MiB.
    pub(super) peak: f64,
}

impl Measured {
    pub(super) fn megabytes(&self) -> f64 {
        self.octets as f64 / 1e6 / self.seconds.max(f64::MIN_POSITIVE)
    }

    pub(super) fn rate(&self) -> f64 {
        self.blocks as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// What a store of many blocks showed.
pub(super) struct Cost {
    /// Microseconds of a block, when there are so many.
    pub(super) each: Vec<(usize, f64)>,
    /// Seconds.
    pub(super) close: f64,
    pub(super) open: f64,
    pub(super) anew: f64,
    pub(super) measured: Measured,
}

/// A plain file.
struct Raw {
    file: File,
    end: u64,
}

impl Raw {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let options = File::options().create_new(true).read(true).write(true).open(path);
        let file = options.with_context(|| path.display().to_string())?;
        Ok(Self { file, end: 0 })
    }

    fn write(&mut self, blocks: &[VerifiedBlock]) -> anyhow::Result<()> {
        for block in blocks {
            self.file.write_all_at(block.bytes(), self.end)?;
            self.end += block.bytes().len() as u64;
        }
        self.file.sync_data()?;
        Ok(())
    }
}

/// Counters before a run.
struct Before {
    written: u64,
    memory: u64,
}

impl Before {
    fn now() -> Self {
        forget_peak();
        Self {
            written: written(),
            memory: memory(),
        }
    }

    fn measured(&self, times: &mut [Duration], blocks: usize, octets: u64, path: &Path) -> Measured {
        times.sort_unstable();
        let seconds = times.iter().sum::<Duration>().as_secs_f64();
        let share = |octets_of: u64| octets_of as f64 / octets.max(1) as f64;
        Measured {
            seconds,
            blocks,
            octets,
            ack_p50: 1e3 * quantile(times, 0.5),
            ack_p99: 1e3 * quantile(times, 0.99),
            written: share(written() - self.written),
            disk: share(room(path)),
            peak: peak().saturating_sub(self.memory) as f64 / f64::from(1 << 20),
            ..Measured::default()
        }
    }
}

/// Seconds that a share of sorted times stays below.
fn quantile(times: &[Duration], share: f64) -> f64 {
    let at = (times.len() as f64 * share) as usize;
    let found = times.get(at.min(times.len().saturating_sub(1)));
    found.copied().unwrap_or_default().as_secs_f64()
}

/// Blocks that nobody had before: noise, the same for all, with a number of its own in front.
struct Blocks {
    noise: BytesMut,
    next: u64,
}

impl Blocks {
    fn new(size: usize, seed: u64) -> Self {
        let mut noise = BytesMut::zeroed(size);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for octet in noise.iter_mut() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *octet = state as u8;
        }
        Self {
            noise,
            next: seed << 40,
        }
    }

    fn some(&mut self, count: usize) -> anyhow::Result<Vec<VerifiedBlock>> {
        let mut some = Vec::with_capacity(count);
        for _ in 0..count {
            self.next += 1;
            self.noise[..8].copy_from_slice(&self.next.to_be_bytes());
            let bytes = Bytes::copy_from_slice(&self.noise);
            some.push(VerifiedBlock::hash(Codec::Raw, bytes)?);
        }
        Ok(some)
    }
}

/// Where it all happens.
pub(super) struct Bench {
    folder: Scratch,
    bar: ProgressBar,
}

impl Bench {
    pub(super) fn new(folder: Scratch, bar: ProgressBar) -> Self {
        Self { folder, bar }
    }

    pub(super) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    fn begin(&self, what: String, steps: usize) {
        self.bar.set_message(what);
        self.bar.set_length(steps as u64);
        self.bar.set_position(0);
    }

    async fn open(&self, kind: IndexKind, path: &Path) -> anyhow::Result<Embedded> {
        let options = EmbeddedOptions {
            index: kind,
            ..EmbeddedOptions::default()
        };
        Ok(Embedded::open(path, options).await?)
    }

    /// Puts blocks, and reads small ones.
    pub(super) async fn put(&self, kind: IndexKind, work: Large, round: usize) -> anyhow::Result<Measured> {
        self.begin(format!("{}, {} octets", kind.name(), work.size), work.count);
        let path = self.folder.fresh("store")?;
        let store = self.open(kind, &path).await?;
        let before = Before::now();
        let mut blocks = Blocks::new(work.size, round as u64);
        let mut times = Vec::new();
        let mut names = Vec::new();
        let port = store.blocks();
        for _ in 0..work.count / work.an_ack {
            let some = blocks.some(work.an_ack)?;
            names.extend(some.iter().map(|block| *block.cid()));
            let begin = Instant::now();
            port.put(some).await?;
            times.push(begin.elapsed());
            self.bar.inc(work.an_ack as u64);
        }
        let mut reads = Vec::new();
        if work.size == 4096 {
            for at in scattered(names.len()).take(READS) {
                let begin = Instant::now();
                let found = port.get(&names[at]).await?;
                reads.push(begin.elapsed());
                anyhow::ensure!(
                    found.is_some_and(|found| found.len() == work.size),
                    "a block is gone"
                );
            }
        }
        drop(port);
        store.close().await?;
        let octets = (names.len() * work.size) as u64;
        let measured = before.measured(&mut times, names.len(), octets, &path);
        self.folder.fresh("store")?;
        reads.sort_unstable();
        Ok(Measured {
            read_p50: 1e6 * quantile(&reads, 0.5),
            read_p99: 1e6 * quantile(&reads, 0.99),
            ..measured
        })
    }

    /// The same with a plain file.
    pub(super) fn raw(&self, work: Large, round: usize) -> anyhow::Result<Measured> {
        self.begin(format!("raw, {} octets", work.size), work.count);
        let path = self.folder.fresh("raw")?;
        let mut raw = Raw::open(&path)?;
        let before = Before::now();
        let mut blocks = Blocks::new(work.size, round as u64);
        let mut times = Vec::new();
        let count = work.count / work.an_ack * work.an_ack;
        for _ in 0..work.count / work.an_ack {
            let some = blocks.some(work.an_ack)?;
            let begin = Instant::now();
            raw.write(&some)?;
            times.push(begin.elapsed());
            self.bar.inc(work.an_ack as u64);
        }
        let mut reads = Vec::new();
        if work.size == 4096 {
            for at in scattered(count).take(READS) {
                let begin = Instant::now();
                let mut octets = vec![0; work.size];
                raw.file.read_exact_at(&mut octets, (at * work.size) as u64)?;
                reads.push(begin.elapsed());
                std::hint::black_box(octets);
            }
        }
        reads.sort_unstable();
        let measured = before.measured(&mut times, count, raw.end, &path);
        self.folder.fresh("raw")?;
        Ok(Measured {
            read_p50: 1e6 * quantile(&reads, 0.5),
            read_p99: 1e6 * quantile(&reads, 0.99),
            ..measured
        })
    }

    /// Writers that each put one block and wait.
    pub(super) async fn group(
        &self,
        kind: IndexKind,
        writers: usize,
        round: usize,
    ) -> anyhow::Result<Measured> {
        self.begin(format!("{}, {writers} writers", kind.name()), ACKS);
        let path = self.folder.fresh("store")?;
        let store = self.open(kind, &path).await?;
        let mut blocks = Blocks::new(4096, round as u64);
        let mut shares = Vec::new();
        for _ in 0..writers {
            shares.push(blocks.some(ACKS / writers)?);
        }
        let before = Before::now();
        let begin = Instant::now();
        let tasks: Vec<_> = shares
            .into_iter()
            .map(|share| tokio::spawn(put_each(store.blocks(), share)))
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        let seconds = begin.elapsed().as_secs_f64();
        store.close().await?;
        let measured = before.measured(&mut times, ACKS / writers * writers, (ACKS * 4096) as u64, &path);
        self.folder.fresh("store")?;
        Ok(Measured { seconds, ..measured })
    }

    /// Threads that each write one block to the same plain file and sync it.
    pub(super) fn raw_group(&self, writers: usize, round: usize) -> anyhow::Result<Measured> {
        self.begin(format!("raw, {writers} writers"), ACKS);
        let path = self.folder.fresh("raw")?;
        let raw = Raw::open(&path)?;
        let mut blocks = Blocks::new(4096, round as u64);
        let mut shares = Vec::new();
        for _ in 0..writers {
            shares.push(blocks.some(ACKS / writers)?);
        }
        let before = Before::now();
        let begin = Instant::now();
        let mut times = std::thread::scope(|scope| {
            let threads: Vec<_> = shares
                .iter()
                .enumerate()
                .map(|(writer, share)| {
                    let file = &raw.file;
                    scope.spawn(move || sync_each(file, share, (writer * ACKS / writers * 4096) as u64))
                })
                .collect();
            let mut times = Vec::new();
            for thread in threads {
                times.extend(
                    thread
                        .join()
                        .map_err(|_| anyhow::anyhow!("a writer panicked"))??,
                );
            }
            anyhow::Ok(times)
        })?;
        let seconds = begin.elapsed().as_secs_f64();
        let measured = before.measured(&mut times, ACKS / writers * writers, (ACKS * 4096) as u64, &path);
        self.folder.fresh("raw")?;
        Ok(Measured { seconds, ..measured })
    }

    /// Fills a store with small blocks, and opens it again.
    pub(super) async fn cost(&self, kind: IndexKind, count: usize) -> anyhow::Result<Cost> {
        let (size, at_once) = MANY;
        self.begin(format!("{}, {count} blocks", kind.name()), count);
        let path = self.folder.fresh("store")?;
        let store = self.open(kind, &path).await?;
        let port = store.blocks();
        let before = Before::now();
        let mut blocks = Blocks::new(size, 0);
        let mut times = Vec::new();
        let mut each = Vec::new();
        let count = count.max(10 * at_once);
        // The last fifth before 10³, 10⁴ … counts, and before the end.
        let (mut decade, mut done, mut window, mut in_window) = (10 * at_once, 0, Duration::ZERO, 0);
        while done < count {
            let some = blocks.some(at_once)?;
            let begin = Instant::now();
            port.put(some).await?;
            let took = begin.elapsed();
            times.push(took);
            done += at_once;
            self.bar.inc(at_once as u64);
            let end = decade.min(count);
            if done > end - end / 5 {
                window += took;
                in_window += at_once;
            }
            if done >= end {
                each.push((done, 1e6 * window.as_secs_f64() / in_window as f64));
                (decade, window, in_window) = (decade * 10, Duration::ZERO, 0);
            }
        }
        drop(port);
        let begin = Instant::now();
        store.close().await?;
        let close = begin.elapsed().as_secs_f64();
        let measured = before.measured(&mut times, done, (done * size) as u64, &path);
        let begin = Instant::now();
        let store = self.open(kind, &path).await?;
        let open = begin.elapsed().as_secs_f64();
        store.close().await?;
        discard_view(&path).await?;
        let begin = Instant::now();
        let store = self.open(kind, &path).await?;
        let anew = begin.elapsed().as_secs_f64();
        let found = store.statistics().await?.blocks;
        anyhow::ensure!(found == done as u64, "{found} of {done} blocks are here");
        store.close().await?;
        self.folder.fresh("store")?;
        Ok(Cost {
            each,
            close,
            open,
            anew,
            measured,
        })
    }
}

async fn put_each(port: Arc<dyn BlockStore>, blocks: Vec<VerifiedBlock>) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(blocks.len());
    for block in blocks {
        let begin = Instant::now();
        port.put(vec![block]).await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

fn sync_each(file: &File, blocks: &[VerifiedBlock], mut at: u64) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(blocks.len());
    for block in blocks {
        let begin = Instant::now();
        file.write_all_at(block.bytes(), at)?;
        file.sync_data()?;
        times.push(begin.elapsed());
        at += block.bytes().len() as u64;
    }
    Ok(times)
}

/// Every number below `count`, as if drawn.
fn scattered(count: usize) -> impl Iterator<Item = usize> {
    // A prime step goes through all of them.
    (0..count).map(move |n| (n * 7_368_787) % count.max(1))
}
