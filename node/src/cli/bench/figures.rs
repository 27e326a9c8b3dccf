//! What benchmarks measure with and report: runs, and octets that nothing can compress.

use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;
use tokio::io::{AsyncRead, ReadBuf};

/// How long the same work took, several times.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Runs {
    /// Each run, in seconds.
    pub(super) runs: Vec<f64>,
    /// The median, in seconds.
    pub(super) median: f64,
}

impl Runs {
    pub(super) fn of(runs: Vec<f64>) -> Self {
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        Self { runs, median }
    }

    /// So much in the median run, for each second.
    pub(super) fn rate(&self, amount: u64) -> f64 {
        amount as f64 / self.median.max(f64::MIN_POSITIVE)
    }

    /// For people: the median, and the quickest and the slowest.
    pub(super) fn text(&self) -> String {
        let quickest = self.runs.iter().copied().fold(f64::INFINITY, f64::min);
        let slowest = self.runs.iter().copied().fold(0.0, f64::max);
        match self.runs.len() {
            0 | 1 => format!("{:.3} s", self.median),
            count => format!(
                "{:.3} s (median of {count}: {quickest:.3} to {slowest:.3})",
                self.median
            ),
        }
    }
}

/// Octets that nothing can compress, the same for the same seed.
#[derive(Debug)]
pub(super) struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    pub(super) fn new(seed: u64, octets: u64) -> Self {
        Self {
            // Neighbouring seeds give octets that have nothing in common, and none gives the state 0, which stays 0.
            state: (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            left: octets,
        }
    }

    /// Fills the beginning of `buffer`; how much of it, less only at the end.
    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let count = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let (filled, _) = buffer.split_at_mut(count);
        for chunk in filled.chunks_mut(8) {
            // xorshift64 is fast, and random enough for this.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            chunk
                .iter_mut()
                .zip(self.state.to_le_bytes())
                .for_each(|(octet, random)| *octet = random);
        }
        self.left -= count as u64;
        count
    }
}

impl AsyncRead for Noise {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let count = self.fill(buffer.initialize_unfilled());
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}
