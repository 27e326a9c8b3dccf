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
        // What it found may have been written by a group whose sync has failed since: then it is refused in its turn.
        let is_settled = self.under_way.load(Ordering::Acquire) == 0 && self.home.failure().is_none();
        if group.written.is_none() && is_settled {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io;

    use super::super::super::kept::tests::empty;
    use super::super::super::log::{Appender, Failure};
    use super::super::super::reserve::Reserve;
    use super::super::{Asked, Done};
    use super::*;
    use tokio::sync::oneshot;

    /// Nothing that is to be written, and a disk that fails.
    struct Failing;

    impl Written for Failing {
        fn sync(&self) -> Result<(), StoreError> {
            let source = io::Error::other("the disk fails");
            let path = "a pack".to_owned();
            Err(StoreError::Io { path, source })
        }
        fn cut_off(&self) -> Result<(), StoreError> {
            Ok(())
        }
        fn show(self) -> Result<(), StoreError> {
            unreachable!("it is not durable")
        }
    }

    impl Write for Failing {
        type Request = ();
        type Answer = ();
        type Written = Self;

        fn weight((): &()) -> u64 {
            0
        }
        fn asks_for_next((): &()) -> bool {
            false
        }
        fn appender(&self) -> &Appender {
            unreachable!("nobody writes")
        }
        fn begin_next(&mut self) -> Result<(), Failure> {
            Ok(())
        }
        fn write(&mut self, _: &[()]) -> Result<Done<Self>, Failure> {
            unreachable!("nobody writes")
        }
        fn undo(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
        fn stop(self) {}
    }

    fn group(written: Option<Failing>) -> (Group<Failing>, Asked<()>) {
        let (answer, answered) = oneshot::channel();
        let asker = Asker {
            written: None,
            answer,
        };
        let answers = vec![(asker, ())];
        (Group { written, answers }, Asked(answered))
    }

    #[tokio::test]
    async fn q06_what_was_found_in_a_group_whose_sync_has_failed_is_not_acknowledged() {
        let (folder, opening) = empty();
        let reserve = Reserve::new(folder.path().to_owned(), 0);
        let home = Arc::new(Home::open(opening, reserve).unwrap());
        let settler = Settler::start("sync", home).unwrap();
        let (first, refused) = group(Some(Failing));
        settler.take(first);
        assert!(matches!(refused.answer().await, Err(StoreError::ReadOnly(_))));
        settler.rest();
        let (second, refused) = group(None);
        settler.take(second);
        assert!(matches!(refused.answer().await, Err(StoreError::ReadOnly(_))));
    }
}
