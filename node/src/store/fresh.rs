//! What became durable and is not in the index yet.
//!
//! What always holds: a group comes in whole, under one lock; what is here hides what the index says of the same block or
//! record; it leaves when the index has it. How much may be here, [`super::kept`] sees to.

use std::collections::{BTreeMap, VecDeque};

use super::Version;
use super::frame::Digest;
use super::home::Reached;
use super::index::{Changes, Entry};
use super::log::{Place, Position};

/// Octets that a block, a record (without its key), a mark or the end of some takes here, in the tables and in the queue.
const WEIGHT: usize = 200;

/// One thing that the index is still to be told, in the order of writing.
enum Item {
    Block(Digest, Option<Place>),
    Record(String, Option<Entry>),
    Mark(Version, Position),
    Forgotten(u32),
    Reached(Reached),
}

impl Item {
    /// Octets that it takes here, as [`weight`] counts them.
    fn weight(&self) -> usize {
        match self {
            Item::Record(key, _) => WEIGHT + 2 * key.len(),
            Item::Block(..) | Item::Mark(..) | Item::Forgotten(_) => WEIGHT,
            Item::Reached(_) => 0,
        }
    }
}

/// The table of them.
pub(super) struct Fresh {
    /// With the number of the item, as records.
    blocks: BTreeMap<Digest, (u64, Option<Place>)>,
    records: BTreeMap<String, (u64, Option<Entry>)>,
    marks: BTreeMap<Version, Position>,
    queue: VecDeque<(u64, Item)>,
    /// The number of the last item that came.
    last: u64,
    /// Of the last commit that came.
    version: Version,
}

/// What the index is told at once.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) changes: Changes,
    /// Octets of everything that it stands for, also of what came again since and is left out.
    pub(super) weight: usize,
    /// How far packs and journal are covered with it.
    pub(super) reached: Vec<Reached>,
    /// The number of its last item.
    pub(super) upto: u64,
}

impl Fresh {
    pub(super) fn new(version: Version) -> Self {
        Self {
            blocks: BTreeMap::new(),
            records: BTreeMap::new(),
            marks: BTreeMap::new(),
            queue: VecDeque::new(),
            last: 0,
            version,
        }
    }

    /// Of the last commit that readers see.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// The number of the last item that came.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Takes in a group.
    pub(super) fn add(&mut self, changes: Changes, reached: Option<Reached>) {
        for (digest, place) in changes.blocks {
            let number = self.push(Item::Block(digest, place));
            self.blocks.insert(digest, (number, place));
        }
        for (version, at) in changes.marks {
            self.push(Item::Mark(version, at));
            self.marks.insert(version, at);
        }
        for (key, entry) in changes.records {
            let number = self.push(Item::Record(key.clone(), entry));
            self.records.insert(key, (number, entry));
        }
        if let Some(file) = changes.forgotten {
            self.push(Item::Forgotten(file));
        }
        if let Some(reached) = reached {
            self.push(Item::Reached(reached));
        }
        if let Some(Reached::Journal(_, version)) = reached {
            self.version = version;
        }
    }

    fn push(&mut self, item: Item) -> u64 {
        self.last += 1;
        self.queue.push_back((self.last, item));
        self.last
    }

    /// Whether the index has been told everything.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The oldest items, at most so many, for the index; they are seen here until [`Fresh::forget`]. A record that came again
    /// since is left out: the index is told of it with what came last, and whoever opens the store before that finds it in
    /// the journal behind what the index covers.
    pub(super) fn take(&mut self, limit: usize) -> Batch {
        let mut batch = Batch::default();
        while batch.changes.len() < limit
            && let Some((number, item)) = self.queue.pop_front()
        {
            batch.upto = number;
            batch.weight += item.weight();
            match item {
                Item::Record(key, _) if self.records.get(&key).is_some_and(|(last, _)| *last != number) => {}
                Item::Block(digest, place) => batch.changes.blocks.push((digest, place)),
                Item::Record(key, entry) => batch.changes.records.push((key, entry)),
                Item::Mark(version, at) => batch.changes.marks.push((version, at)),
                Item::Forgotten(file) => batch.changes.forgotten = Some(file),
                Item::Reached(reached) => batch.reached.push(reached),
            }
        }
        batch
    }

    /// Lets go of what the index has now; what came again since stays.
    pub(super) fn forget(&mut self, batch: &Batch) {
        for (digest, _) in &batch.changes.blocks {
            if self
                .blocks
                .get(digest)
                .is_some_and(|(number, _)| *number <= batch.upto)
            {
                self.blocks.remove(digest);
            }
        }
        for (key, _) in &batch.changes.records {
            if self
                .records
                .get(key)
                .is_some_and(|(number, _)| *number <= batch.upto)
            {
                self.records.remove(key);
            }
        }
        for (version, _) in &batch.changes.marks {
            self.marks.remove(version);
        }
    }

    /// Forgets everything: the index has it, up to this commit. Tells the weight of what was not taken yet.
    pub(super) fn clear(&mut self, version: Version) -> usize {
        let waiting = self.queue.iter().map(|(_, item)| item.weight()).sum();
        *self = Self {
            last: self.last,
            ..Self::new(version)
        };
        waiting
    }

    /// What is known here of a block: its place, or that it is gone.
    pub(super) fn block(&self, digest: &Digest) -> Option<Option<Place>> {
        self.blocks.get(digest).map(|(_, place)| *place)
    }

    /// What is known here of blocks after one, ascending.
    pub(super) fn blocks_after(
        &self,
        after: Option<&Digest>,
    ) -> impl Iterator<Item = (&Digest, Option<Place>)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.blocks
            .range::<Digest, _>((from, Unbounded))
            .map(|(digest, (_, place))| (digest, *place))
    }

    /// What is known here of a record.
    pub(super) fn record(&self, key: &str) -> Option<Option<Entry>> {
        self.records.get(key).map(|(_, entry)| *entry)
    }

    /// What is known here of records with a prefix, after one, ascending.
    pub(super) fn records_after<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a String, Option<Entry>)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ => Included(prefix),
        };
        self.records
            .range::<str, _>((from, Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, (_, entry))| (key, *entry))
    }

    /// The last remembered position at or before a version.
    pub(super) fn mark(&self, version: Version) -> Option<Position> {
        self.marks.range(..=version).next_back().map(|(_, at)| *at)
    }
}

/// Octets that changes take here, about.
pub(super) fn weight(changes: &Changes) -> usize {
    let keys: usize = changes.records.iter().map(|(key, _)| 2 * key.len()).sum();
    WEIGHT * changes.len() + keys
}
