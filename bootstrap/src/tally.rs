//! How many of something each has. Who has none is not remembered.

use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct Tally<Owner>(HashMap<Owner, usize>);

impl<Owner> Default for Tally<Owner> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Owner: Eq + Hash> Tally<Owner> {
    pub(crate) fn of(&self, owner: &Owner) -> usize {
        self.0.get(owner).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, owner: Owner) {
        *self.0.entry(owner).or_default() += 1;
    }

    pub(crate) fn take(&mut self, owner: &Owner) {
        if let Some(count) = self.0.get_mut(owner) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_none_left_is_forgotten() {
        let mut tally = Tally::default();
        for peer in 0..1000 {
            tally.add(peer);
            tally.add(peer);
            tally.take(&peer);
            assert_eq!(tally.of(&peer), 1);
            tally.take(&peer);
            tally.take(&peer);
        }
        assert!(tally.0.is_empty());
    }
}
