//! What was written and is not shown in the view yet: the thread that writes looks there first.
//!
//! What always holds: what is not here any more is in the view, or will be once the view is made anew.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The last word on each name, with the number of the group that has it.
pub(super) struct Unshown<K, V>(Mutex<State<K, V>>);

struct State<K, V> {
    groups: u64,
    last: HashMap<K, (u64, V)>,
}

impl<K, V> Default for Unshown<K, V> {
    fn default() -> Self {
        Self(Mutex::new(State {
            groups: 0,
            last: HashMap::new(),
        }))
    }
}

impl<K: Eq + Hash, V: Clone> Unshown<K, V> {
    /// Notes what a group has written; its number.
    pub(super) fn add(&self, written: impl Iterator<Item = (K, V)>) -> u64 {
        let mut state = self.state();
        state.groups += 1;
        let group = state.groups;
        state
            .last
            .extend(written.map(|(key, value)| (key, (group, value))));
        group
    }

    /// What was written last under a name, unless it is shown.
    pub(super) fn find(&self, key: &K) -> Option<V> {
        self.state().last.get(key).map(|(_, value)| value.clone())
    }

    /// Forgets what the groups up to this one have written, which is shown now.
    pub(super) fn shown(&self, group: u64) {
        self.state().last.retain(|_, (written, _)| *written > group);
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Unshown;

    #[test]
    fn the_last_word_stays_until_its_own_group_is_shown() {
        let unshown = Unshown::default();
        let first = unshown.add([("a", 1), ("b", 1)].into_iter());
        let second = unshown.add([("a", 2)].into_iter());
        unshown.shown(first);
        assert_eq!((unshown.find(&"a"), unshown.find(&"b")), (Some(2), None));
        unshown.shown(second);
        assert_eq!(unshown.find(&"a"), None);
    }
}
