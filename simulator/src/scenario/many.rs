//! Scenarios that are too large to be written by hand.

use std::str::FromStr;

use cargomail_protocol::limits;

use super::check::CONCURRENT;

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

impl Many {
    /// The scenario: mails of one recipient each, and mostly with a small file.
    #[must_use]
    pub fn scenario(&self) -> String {
        let Self {
            domains,
            mailboxes,
            people,
            mails,
        } = *self;
        let all = |_: usize| true;
        let everybody: Vec<String> = (1..=domains).map(|domain| self.of(domain, all)).collect();
        let everybody = everybody.join(",\n    ");
        let nodes = match mailboxes {
            0 => String::new(),
            _ => format!(" {mailboxes} mailboxes and"),
        };
        let mut text = format!(
            "description = \"{domains} domains with{nodes} {people} people each, who write {mails} mails to each other\"\n\
             seed = 1\npatience = 3600\nconcurrent = {CONCURRENT}\n"
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
             channels = {{ web = 3, smtp = 1 }}\n"
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

/// What is written is no size of a flash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not as 500x20: so many domains, and so many people in each, both from 1 on")]
pub struct NotASize(String);

impl FromStr for Flash {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let read = |number: &str| number.parse().ok().filter(|number| *number > 0);
        let sizes = text.split_once('x');
        let sizes = sizes.and_then(|(domains, people)| Some((read(domains)?, read(people)?)));
        let (domains, people) = sizes.ok_or_else(|| NotASize(text.to_owned()))?;
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
             seed = 1\nalso = [\"nothing-is-reported\"]\npatience = 3600\nconcurrent = {CONCURRENT}\n\n\
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
