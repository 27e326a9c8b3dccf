//! Progress bars on standard error; on a terminal only.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::app::Watch;

/// A bar for each transfer, one after the other.
#[derive(Default)]
pub(super) struct Bars(Mutex<Option<ProgressBar>>);

/// Bars for whoever sits at the terminal.
pub(super) fn bars() -> Arc<dyn Watch> {
    Arc::new(Bars::default())
}

/// A bar that counts, for whoever sits at the terminal.
pub(super) fn count(of: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr());
    let style = "{msg:28!} {bar:28} {pos:>9} of {len:9} {per_sec:>14}  {eta}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

impl Watch for Bars {
    fn begin(&self, what: &str, octets: u64) {
        let bar = ProgressBar::with_draw_target(Some(octets), ProgressDrawTarget::stderr());
        bar.set_style(style());
        bar.set_message(what.to_owned());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn moved(&self, octets: u64) {
        if let Some(bar) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(octets);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish();
        }
    }
}

/// A bar that counts octets.
pub(super) fn style() -> ProgressStyle {
    of("{msg:28!} {bar:28} {bytes:>11} of {total_bytes:11} {bytes_per_sec:>12}  {eta}")
}

/// A bar that counts other things.
pub(super) fn steps() -> ProgressStyle {
    of("{msg:28!} {bar:28} {human_pos:>11} of {human_len:11} {per_sec:>14}  {eta}")
}

fn of(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
