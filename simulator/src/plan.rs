//! Who writes what to whom: decided by a scenario and its seed, before anything runs.
//!
//! What always holds: the same scenario and seed give the same plan, files included. Not decided here: what happens when,
//! which is the machine's matter in this mode.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;

use cargomail_node::api::Channel;
use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::placeholder::Category;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom, index};
use rand::{Rng, RngExt, SeedableRng};

use crate::scenario::{Scenario, Size, Traffic};

/// Content is marked at least this often, so that any piece of it can be recognised.
const STRETCH: usize = 4096;

/// What will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The mails, in the order in which they are begun.
    pub mails: Vec<Planned>,
    /// The files that they enclose.
    pub files: Vec<PlannedFile>,
    /// Stands in every body and file, and in nothing else.
    pub marker: String,
}

/// A mail to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its author.
    pub author: Address,
    /// Who gets it.
    pub to: Vec<Address>,
    /// What kind of correspondence it is.
    pub category: Category,
    /// How it travels.
    pub channel: Channel,
    /// Where it is posted; none is the author's first mailbox.
    pub origin: Option<Locator>,
    /// Which files it encloses.
    pub files: Vec<usize>,
}

/// A file to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its octets.
    pub size: u64,
    /// Decides them.
    pub seed: u64,
}

impl Plan {
    /// The plan of a scenario.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        let mut chance = StdRng::seed_from_u64(scenario.seed);
        let mut plan = Self {
            mails: Vec::new(),
            files: Vec::new(),
            marker: format!("marked{:016x}{:016x}", chance.next_u64(), chance.next_u64()),
        };
        for traffic in &scenario.traffic {
            let shared: Vec<usize> = (0..traffic.shared_files)
                .map(|_| plan.file(traffic, &mut chance))
                .collect();
            let places: HashMap<&Address, usize> = traffic.to.iter().zip(0..).collect();
            let circles = circles(traffic, &mut chance);
            let mut rest = traffic.to.as_slice();
            for left in (1..=traffic.count).rev() {
                let mut mail = plan.mail(traffic, (&places, &circles), &shared, &mut chance);
                if traffic.everybody {
                    let (these, others) = rest.split_at(rest.len().div_ceil(left));
                    (mail.to, rest) = (these.to_vec(), others);
                }
                plan.mails.push(mail);
            }
        }
        plan.mails.shuffle(&mut chance);
        plan
    }

    /// One mail; `places` says where in `to` everybody stands, and `circles` to whom people of a domain write.
    fn mail(
        &mut self,
        traffic: &Traffic,
        (places, circles): (&HashMap<&Address, usize>, &Circles<'_>),
        shared: &[usize],
        chance: &mut StdRng,
    ) -> Planned {
        let author = traffic
            .from
            .choose(chance)
            .expect("a checked scenario has authors")
            .clone();
        let recipients = chance.random_range(1..=traffic.recipients);
        let to = match circles.get(author.domain()) {
            Some(people) => people.sample(chance, recipients).copied().cloned().collect(),
            None => {
                let own = places.get(&author).copied();
                let others = traffic.to.len() - usize::from(own.is_some());
                // Of everybody but the author.
                index::sample(chance, others, recipients.min(others))
                    .into_iter()
                    .map(|place| place + usize::from(own.is_some_and(|own| own <= place)))
                    .filter_map(|place| traffic.to.get(place).cloned())
                    .collect()
            }
        };
        let [least, most] = traffic.files;
        let count = chance.random_range(least..=most);
        let files = if shared.is_empty() {
            (0..count).map(|_| self.file(traffic, chance)).collect()
        } else {
            shared.sample(chance, count).copied().collect()
        };
        Planned {
            author,
            to,
            category: traffic.category.clone(),
            channel: channel(traffic, chance),
            origin: traffic.origin.clone(),
            files,
        }
    }

    fn file(&mut self, traffic: &Traffic, chance: &mut StdRng) -> usize {
        let size = traffic.sizes.choose(chance).copied().unwrap_or(Size(0)).0;
        let seed = chance.next_u64();
        self.files.push(PlannedFile { size, seed });
        self.files.len() - 1
    }

    /// The body of a mail.
    #[must_use]
    pub fn text(&self, mail: usize) -> String {
        format!("This is mail {}.\r\n{}\r\n", mail + 1, self.marker)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, file: &PlannedFile, path: &Path) -> io::Result<()> {
        let mut out = io::BufWriter::new(std::fs::File::create(path)?);
        let mut chance = StdRng::seed_from_u64(file.seed);
        let mut left = file.size;
        let mut random = vec![0; STRETCH - self.marker.len()];
        while left > 0 {
            chance.fill_bytes(&mut random);
            let stretch = self.marker.as_bytes().chain(&*random);
            left -= io::copy(&mut stretch.take(left), &mut out)?;
        }
        out.flush()
    }
}

/// To whom the people of each domain write; empty where they write to anybody.
type Circles<'a> = HashMap<&'a Domain, Vec<&'a Address>>;

fn circles<'a>(traffic: &'a Traffic, chance: &mut StdRng) -> Circles<'a> {
    let mut circles = Circles::new();
    if traffic.circle == 0 {
        return circles;
    }
    let mut places = HashMap::new();
    let mut domains: Vec<(&Domain, Vec<&Address>)> = Vec::new();
    for person in &traffic.to {
        let place = *places.entry(person.domain()).or_insert(domains.len());
        match domains.get_mut(place) {
            Some((_, people)) => people.push(person),
            None => domains.push((person.domain(), vec![person])),
        }
    }
    for author in &traffic.from {
        let own = author.domain();
        if circles.contains_key(own) {
            continue;
        }
        let others: Vec<_> = domains.iter().filter(|(domain, _)| *domain != own).collect();
        let chosen = others.sample(chance, traffic.circle);
        circles.insert(
            own,
            chosen.flat_map(|(_, people)| people.iter().copied()).collect(),
        );
    }
    circles
}

fn channel(traffic: &Traffic, chance: &mut StdRng) -> Channel {
    let all: u64 = traffic.channels.values().map(|weight| u64::from(*weight)).sum();
    let mut at = chance.random_range(0..all.max(1));
    for (name, weight) in &traffic.channels {
        match at.checked_sub(u64::from(*weight)) {
            Some(rest) => at = rest,
            None => return (*name).into(),
        }
    }
    Channel::default()
}

#[cfg(test)]
mod tests;
