//! Scenarios that are too large to be written by hand.

use std::fmt;
use std::str::FromStr;

use cargomail_protocol::limits;

use super::check::{CONCURRENT, MAILS};
use super::{REAL_CONCURRENT, REAL_SITES};
use crate::world::SITES;

/// People of a printed scenario, all of whom it names three times.
const PEOPLE: usize = 1_000_000;

/// Why no size is read. Always the fault of whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not the numbers that it takes.
    #[error("write {0}")]
    Form(&'static str),
    /// Nothing of it can be run.
    #[error("{what}: 1 to {most} are possible")]
    Beyond {
        /// Of what there are too many, or none.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
}

/// How a size is written, and that of a flash.
const SIZE: &str = "DOMAINSxMAILBOXESxPEOPLExMAILS, such as 100x10x10x10000";
const FLASH: &str = "DOMAINSxPEOPLE, such as 500x20";

/// So many numbers, with an x between any two.
fn numbers<const COUNT: usize>(text: &str, form: &'static str) -> Result<[usize; COUNT], SizeError> {
    let numbers: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let numbers = numbers.map_err(|_| SizeError::Form(form))?;
    numbers.try_into().map_err(|_| SizeError::Form(form))
}

/// That there is something of each, and no more than can be run.
fn check(bounded: &[(&'static str, usize, usize)]) -> Result<(), SizeError> {
    for &(what, number, most) in bounded {
        if !(1..=most).contains(&number) {
            return Err(SizeError::Beyond { what, most });
        }
    }
    Ok(())
}

/// Seconds from one mail of a person to the next.
const PAUSE: f64 = 10.0;
/// Other domains to which the people of one write, however large the world is.
const CIRCLE: usize = 10;

/// How large a scenario is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Many {
    /// So many domains.
    pub domains: usize,
    /// With so many Resource Mailboxes each, nodes of their own; 0 makes each domain's broker its mailbox, too.
    pub mailboxes: usize,
    /// With so many people each, who share the mailboxes of their domain evenly.
    pub people: usize,
    /// Who write so many mails to each other.
    pub mails: usize,
}

impl FromStr for Many {
    type Err = SizeError;

    /// Reads `100x10x10x10000`: domains, mailboxes of each, people of each, and mails in all.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let [domains, mailboxes, people, mails] = numbers(text, SIZE)?;
        let many = Self {
            domains,
            mailboxes,
            people,
            mails,
        };
        many.checked()
    }
}

impl fmt::Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domains,
            mailboxes,
            people,
            mails,
        } = self;
        write!(f, "{domains}x{mailboxes}x{people}x{mails}")
    }
}

impl Many {
    /// The same, if it can be run.
    ///
    /// # Errors
    /// [`SizeError::Beyond`].
    pub fn checked(self) -> Result<Self, SizeError> {
        let nodes = self.mailboxes.saturating_add(1).saturating_mul(self.domains);
        check(&[
            ("nodes", nodes, SITES),
            ("people", self.people.saturating_mul(self.domains), PEOPLE),
            ("mails", self.mails, MAILS),
        ])?;
        Ok(self)
    }

    /// The scenario: mails of one recipient each, mostly with a small file, to people of some domains and always the same.
    #[must_use]
    pub fn scenario(&self) -> String {
        let Self {
            domains,
            mailboxes,
            people,
            mails,
        } = *self;
        let sites = mailboxes.saturating_add(1).saturating_mul(domains);
        let everyone = domains.saturating_mul(people);
        let all = |_: usize| true;
        let everybody: Vec<String> = (1..=domains).map(|domain| self.of(domain, all)).collect();
        let everybody = everybody.join(",\n    ");
        let nodes = match mailboxes {
            0 => String::new(),
            _ => format!(" {mailboxes} mailboxes and"),
        };
        let mut text = format!(
            "description = \"{domains} domains with{nodes} {people} people each, who write {mails} mails to each other\"\n\
             seed = 1\npatience = 3600\nconcurrent = {}\nevery = {}\n",
            // More than are ever under way, or people of a large world would write less often than those of a small one.
            match sites <= REAL_SITES {
                true => REAL_CONCURRENT,
                false => (everyone / 10).clamp(REAL_CONCURRENT, CONCURRENT),
            },
            PAUSE / everyone.max(1) as f64
        );
        for domain in 1..=domains {
            text += &format!(
                "\n[[sites]]\nname = \"d{domain}.test\"\nbroker = true\nmailbox = {}\npeople = [{}]\n",
                mailboxes == 0,
                self.of(domain, all)
            );
            for mailbox in 1..=mailboxes {
                let theirs = self.of(domain, |person| person % mailboxes == mailbox % mailboxes);
                text += &format!(
                    "\n[[sites]]\nname = \"m{mailbox}.d{domain}.test\"\nmailbox = true\npeople = [{theirs}]\n"
                );
            }
        }
        text + &format!(
            "\n[[traffic]]\ncount = {mails}\nfrom = [\n    {everybody},\n]\nto = [\n    {everybody},\n]\n\
             category = \"personal\"\nfiles = [0, 1]\nsizes = [\"2 KiB\", \"40 KiB\"]\n\
             channels = {{ web = 3, smtp = 1 }}\ncircle = {}\n",
            CIRCLE.min(domains.saturating_sub(1))
        )
    }

    /// Those of a domain's people, counted from 1, as a list in TOML.
    fn of(&self, domain: usize, which: impl Fn(usize) -> bool) -> String {
        let people = (1..=self.people).filter(|person| which(*person));
        let people = people.map(|person| format!("\"p{person}@d{domain}.test\""));
        people.collect::<Vec<_>>().join(", ")
    }
}

/// One attachment for very many people at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flash {
    /// So many domains, each a broker and a mailbox.
    pub domains: usize,
    /// With so many people each.
    pub people: usize,
}

impl FromStr for Flash {
    type Err = SizeError;

    /// Reads `500x20`: domains, and people of each.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let [domains, people] = numbers(text, FLASH)?;
        check(&[
            // One is the author's.
            ("nodes", domains.saturating_add(usize::from(domains > 0)), SITES),
            ("people", people.saturating_mul(domains), PEOPLE),
        ])?;
        Ok(Self { domains, people })
    }
}

impl Flash {
    /// The scenario: as few mails as it takes, all with the same file.
    #[must_use]
    pub fn scenario(&self) -> String {
        let Self { domains, people } = *self;
        let many = Many {
            domains,
            mailboxes: 0,
            people,
            mails: 0,
        };
        let of = |domain| many.of(domain, |_| true);
        let all = domains.saturating_mul(people);
        let mut text = format!(
            "# One attachment from one author to very many people at once: for the virtual world.\n\
             description = \"A list of {all} people in {domains} domains gets the same attachment at once\"\n\
             seed = 1\nalso = [\"nothing-is-reported\"]\npatience = 3600\nconcurrent = {REAL_CONCURRENT}\n\n\
             [[sites]]\nname = \"list.test\"\nbroker = true\nmailbox = true\npeople = [\"announce@list.test\"]\n"
        );
        for domain in 1..=domains {
            text += &format!(
                "\n[[sites]]\nname = \"d{domain}.test\"\nbroker = true\nmailbox = true\npeople = [{}]\n",
                of(domain)
            );
        }
        let everybody: Vec<String> = (1..=domains).map(of).collect();
        text + &format!(
            "\n[[traffic]]\ncount = {}\neverybody = true\nfrom = [\"announce@list.test\"]\nto = [\n    {},\n]\n\
             category = \"personal\"\nfiles = [1, 1]\nsizes = [\"64 KiB\"]\nshared_files = 1\n",
            all.div_ceil(limits::SHARE_RECIPIENTS),
            everybody.join(",\n    ")
        )
    }
}
