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

use crate::scenario::{Accounts, Scenario, Size, Traffic};

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
    /// Which mail it answers; its author is one of that mail's recipients.
    pub answers: Option<usize>,
    /// Which mail answers it.
    pub answered_by: Option<usize>,
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
        let accounts = scenario.accounts();
        for traffic in &scenario.traffic {
            let shared: Vec<usize> = (0..traffic.shared_files)
                .map(|_| plan.file(traffic, &mut chance))
                .collect();
            let places: HashMap<&Address, usize> = traffic.to.iter().zip(0..).collect();
            let circles = circles(traffic, &mut chance);
            let mut rest = traffic.to.as_slice();
            let first = plan.mails.len();
            for left in (1..=traffic.count).rev() {
                let mut mail = plan.mail(traffic, (&places, &circles), &shared, &mut chance);
                if traffic.everybody {
                    let (these, others) = rest.split_at(rest.len().div_ceil(left));
                    (mail.to, rest) = (these.to_vec(), others);
                }
                plan.mails.push(mail);
            }
            plan.answer(first, (traffic, &accounts), &shared, &mut chance);
        }
        plan.shuffle(&mut chance);
        plan
    }

    /// Adds answers to some of the mails from the first one on.
    fn answer(
        &mut self,
        first: usize,
        (traffic, accounts): (&Traffic, &Accounts<'_>),
        shared: &[usize],
        chance: &mut StdRng,
    ) {
        if traffic.replies == 0 {
            return;
        }
        for place in index::sample(chance, traffic.count, traffic.replies.min(traffic.count)) {
            let answered = first + place;
            let Planned {
                author: to,
                to: readers,
                ..
            } = self.mails[answered].clone();
            let Some(author) = readers.choose(chance) else {
                continue;
            };
            let reply = Planned {
                author: author.clone(),
                to: vec![to],
                category: traffic.category.clone(),
                channel: channel(traffic, chance),
                // Where such mail is posted, if they can, and where they post everything if not.
                origin: traffic
                    .origin
                    .clone()
                    .filter(|origin| accounts.mailboxes_of(author).any(|mailbox| mailbox == *origin)),
                files: self.files_of(traffic, shared, chance),
                answers: Some(answered),
                answered_by: None,
            };
            self.mails[answered].answered_by = Some(self.mails.len());
            self.mails.push(reply);
        }
    }

    /// Gives the mails their order; an answer comes after what it answers.
    fn shuffle(&mut self, chance: &mut StdRng) {
        let mut order: Vec<usize> = (0..self.mails.len()).collect();
        order.shuffle(chance);
        let mut places = vec![0; order.len()];
        for (place, mail) in order.iter().enumerate() {
            places[*mail] = place;
        }
        for (reply, mail) in self.mails.iter().enumerate() {
            if let Some(answered) = mail.answers
                && places[reply] < places[answered]
            {
                order.swap(places[reply], places[answered]);
                places.swap(reply, answered);
            }
        }
        let shuffled = order.iter().map(|mail| {
            let mut mail = self.mails[*mail].clone();
            for other in [&mut mail.answers, &mut mail.answered_by] {
                *other = other.map(|other| places[other]);
            }
            mail
        });
        self.mails = shuffled.collect();
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
        let files = self.files_of(traffic, shared, chance);
        Planned {
            author,
            to,
            category: traffic.category.clone(),
            channel: channel(traffic, chance),
            origin: traffic.origin.clone(),
            files,
            answers: None,
            answered_by: None,
        }
    }

    fn files_of(&mut self, traffic: &Traffic, shared: &[usize], chance: &mut StdRng) -> Vec<usize> {
        let [least, most] = traffic.files;
        let count = chance.random_range(least..=most);
        if shared.is_empty() {
            (0..count).map(|_| self.file(traffic, chance)).collect()
        } else {
            shared.sample(chance, count).copied().collect()
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
        let answered = self.mails.get(mail).and_then(|mail| mail.answers);
        let quoted = answered.map(|answered| format!("> This is mail {}.\r\n", answered + 1));
        let quoted = quoted.unwrap_or_default();
        format!("{quoted}This is mail {}.\r\n{}\r\n", mail + 1, self.marker)
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
