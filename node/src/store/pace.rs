//! How fast work goes that nobody waits for: so many octets a second, at once when somebody does wait for it, and no further when the
//! store closes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::StoreError;

/// What those are told who work in the background of one store.
#[derive(Default)]
pub(super) struct Signals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    /// How many wait for the background to be done.
    waiting: usize,
}

impl Signals {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends everything that asks.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    /// Somebody waits, until this is dropped.
    pub(super) fn hurry(&self) -> Hurry<'_> {
        self.state().waiting += 1;
        self.changed.notify_all();
        Hurry(self)
    }

    /// Whether the store closes.
    pub(super) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Sleeps, unless somebody waits; false when the store closes.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        let state = self.state();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, time, |state| !state.stopped && state.waiting == 0)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stopped
    }
}

/// See [`Signals::hurry`].
pub(super) struct Hurry<'a>(&'a Signals);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

/// One piece of work.
pub(super) struct Pace<'a> {
    signals: &'a Signals,
    /// Octets a second; none: as fast as it goes.
    rate: Option<u64>,
    due: Instant,
    told: Box<dyn FnMut(u64) + Send + 'a>,
}

impl<'a> Pace<'a> {
    /// `told` is told of every octet.
    pub(super) fn new(signals: &'a Signals, rate: Option<u64>, told: impl FnMut(u64) + Send + 'a) -> Self {
        Self {
            signals,
            rate,
            due: Instant::now(),
            told: Box::new(told),
        }
    }

    /// Waits until so many octets may have been worked on.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the store closes.
    pub(super) fn spend(&mut self, octets: u64) -> Result<(), StoreError> {
        (self.told)(octets);
        let go_on = match self.rate {
            Some(rate) => {
                let now = Instant::now();
                self.due = self.due.max(now) + Duration::from_secs_f64(octets as f64 / rate.max(1) as f64);
                let go_on = self.signals.sleep(self.due - now);
                // Who was hurried is not late.
                self.due = self.due.min(Instant::now());
                go_on
            }
            None => !self.signals.is_stopped(),
        };
        if go_on { Ok(()) } else { Err(StoreError::Closed) }
    }
}
