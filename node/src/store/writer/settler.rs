//! The thread that syncs what the other one has written, shows it, and answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::super::StoreError;
use super::super::home::Home;
use super::{Asker, QUEUE, Write, Written, refuse, spawn};

/// Groups that are written and not synced; of a group only what describes it is in memory.
const UNSYNCED: usize = QUEUE;

/// A group that was written, with what is to be answered.
pub(super) struct Group<W: Write> {
    pub(super) written: Option<W::Written>,
    pub(super) answers: Vec<(Asker<W::Answer>, W::Answer)>,
}

/// The way to the thread that syncs.
pub(super) struct Settler<W: Write> {
    home: Arc<Home>,
    settling: SyncSender<Settling<W>>,
    /// Groups that were handed over and are not answered.
    under_way: Arc<AtomicUsize>,
}

enum Settling<W: Write> {
    Group(Group<W>),
    /// Says when everything before is answered.
    Rest(SyncSender<()>),
}

impl<W: Write> Settler<W> {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn start(name: &str, home: Arc<Home>) -> Result<Self, StoreError> {
        let (settling, groups) = sync_channel(UNSYNCED);
        let under_way = Arc::new(AtomicUsize::new(0));
        let settler = Self {
            home: home.clone(),
            settling,
            under_way: under_way.clone(),
        };
        spawn(name, move || settle(&home, &groups, &under_way))?;
        Ok(settler)
    }

    /// Answers a group in its turn.
    pub(super) fn take(&self, group: Group<W>) {
        if group.written.is_none() && self.under_way.load(Ordering::Acquire) == 0 {
            answer(group.answers);
            return;
        }
        self.under_way.fetch_add(1, Ordering::AcqRel);
        if self.settling.send(Settling::Group(group)).is_err() {
            self.is_gone();
        }
    }

    /// Waits until everything before is answered.
    pub(super) fn rest(&self) {
        if self.under_way.load(Ordering::Acquire) > 0 {
            let (rested, when) = sync_channel(1);
            if self.settling.send(Settling::Rest(rested)).is_err() || when.recv().is_err() {
                self.is_gone();
            }
        }
    }

    /// The other thread ends after this one, unless it panicked.
    fn is_gone(&self) {
        self.home.fail(&StoreError::Closed);
    }
}

fn settle<W: Write>(home: &Home, settling: &Receiver<Settling<W>>, under_way: &AtomicUsize) {
    let mut is_broken = false;
    while let Ok(first) = settling.recv() {
        let mut groups = Vec::new();
        let mut rested = None;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Settling::Group(group) => groups.push(group),
                Settling::Rest(rest) => {
                    rested = Some(rest);
                    break;
                }
            }
            next = settling.try_recv().ok();
        }
        let count = groups.len();
        if !is_broken
            && let Some(last) = groups.iter().rev().find_map(|group| group.written.as_ref())
            && let Err(error) = last.sync()
        {
            home.fail(&error);
            is_broken = true;
        }
        for group in groups {
            if is_broken {
                if let Some(Err(error)) = group.written.as_ref().map(Written::cut_off) {
                    tracing::error!(%error, "what was not synced is not cut off; restart the machine before the node");
                }
                let why = home.failure().unwrap_or_default();
                let askers = group.answers.into_iter().map(|(asker, _)| asker);
                refuse(askers, || StoreError::ReadOnly(why.clone()));
            } else if let Some(Err(error)) = group.written.map(Written::show) {
                // It is durable, and will be seen once the view is made anew.
                tracing::error!(%error, "a write cannot be shown");
                let askers = group.answers.into_iter().map(|(asker, _)| asker);
                refuse(askers, || error.again());
            } else {
                answer(group.answers);
            }
        }
        under_way.fetch_sub(count, Ordering::AcqRel);
        if let Some(rested) = rested {
            let _ = rested.send(());
        }
    }
}

fn answer<T>(answers: Vec<(Asker<T>, T)>) {
    for (asker, told) in answers {
        asker.answer(Ok(told));
    }
}
