//! What a scenario must fulfil beyond its form.

use std::collections::{HashMap, HashSet};

use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::limits;

use super::{Accounts, How, Scenario, Traffic};
use crate::hostile::{Role, VILLAIN};
use crate::world::SITES;

/// Mails of one run: every one has its place in memory and in the report.
pub(super) const MAILS: usize = 100_000;
/// Octets of all files together: they lie on this machine's disk, and once more at every origin and destination.
const OCTETS: u64 = 64 << 30;
/// Files that one mail encloses.
const FILES: usize = 100;
/// Mails at once. Real nodes take [`super::REAL_CONCURRENT`] at the most.
pub(super) const CONCURRENT: usize = 1024;
/// Seconds of patience: nothing in a town on one machine takes longer than an hour.
const PATIENCE: u64 = 3600;
/// Seconds from one mail to the next: a day.
const EVERY: f64 = 24.0 * 3600.0;
/// Seconds by which a clock is wrong: a year.
const WRONG: u64 = 365 * 24 * 3600;

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {why}")]
pub struct Wrong {
    /// The key.
    pub key: String,
    /// What is wrong with its value.
    pub why: String,
}

fn wrong<T>(key: impl Into<String>, why: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        key: key.into(),
        why: why.into(),
    })
}

/// Checks everything.
pub(super) fn check(scenario: &Scenario) -> Result<(), Wrong> {
    if !(1..=CONCURRENT).contains(&scenario.concurrent) {
        return wrong("concurrent", format!("1 to {CONCURRENT} are possible"));
    }
    if !(1..=PATIENCE).contains(&scenario.patience) {
        return wrong("patience", format!("1 to {PATIENCE} seconds are possible"));
    }
    if !(1..=PATIENCE).contains(&scenario.promptly) {
        return wrong("promptly", format!("1 to {PATIENCE} seconds are possible"));
    }
    if !(0.0..=EVERY).contains(&scenario.every) {
        return wrong("every", format!("0 to {EVERY} seconds are possible"));
    }
    sites(scenario)?;
    links(scenario)?;
    wishes(scenario)?;
    let accounts = scenario.accounts();
    let mut octets = 0_u64;
    for (index, traffic) in scenario.traffic.iter().enumerate() {
        octets = octets.saturating_add(one_traffic(&accounts, traffic, index)?);
    }
    match scenario.mails() {
        0 => return wrong("traffic", "nobody writes anything"),
        mails if mails > MAILS => return wrong("traffic", format!("{mails} mails are more than {MAILS}")),
        _ => {}
    }
    if octets > OCTETS {
        return wrong(
            "traffic",
            format!("its files may have {octets} octets together, more than {OCTETS}"),
        );
    }
    faults(scenario)?;
    hostile(scenario)
}

fn sites(scenario: &Scenario) -> Result<(), Wrong> {
    if !(1..=SITES).contains(&scenario.sites.len()) {
        return wrong("sites", format!("1 to {SITES} are possible"));
    }
    let brokers: HashMap<_, _> = scenario
        .sites
        .iter()
        .filter(|site| site.broker)
        .map(|site| (&site.name, site))
        .collect();
    let mut names = HashSet::new();
    for (index, site) in scenario.sites.iter().enumerate() {
        let key = |rest: &str| format!("sites[{index}].{rest}");
        if !names.insert(site.name.as_str()) {
            return wrong(key("name"), format!("there are two sites {}", site.name));
        }
        if !site.mailbox && !site.broker {
            return wrong(
                key("mailbox"),
                format!("{} is neither a mailbox nor a broker", site.name),
            );
        }
        let mut people = HashSet::new();
        for person in &site.people {
            // To a node they are the same.
            if !people.insert(person.to_string().to_lowercase()) {
                return wrong(
                    key("people"),
                    format!("{person} is named twice, in whatever case"),
                );
            }
            let broker = brokers.get(person.domain());
            if !broker.is_some_and(|broker| broker.people.contains(person)) {
                let why = format!(
                    "{person} has no account at a broker of {}, which everybody needs who is in the town",
                    person.domain()
                );
                return wrong(key("people"), why);
            }
        }
    }
    Ok(())
}

fn links(scenario: &Scenario) -> Result<(), Wrong> {
    let names: HashSet<&str> = scenario.sites.iter().map(|site| site.name.as_str()).collect();
    for (index, link) in scenario.links.iter().enumerate() {
        for (end, sites) in [("from", &link.from), ("to", &link.to)] {
            let key = format!("links[{index}].{end}");
            if sites.is_empty() {
                return wrong(key, "a link has sites at both ends");
            }
            if let Some(unknown) = sites.iter().find(|site| !names.contains(site.as_str())) {
                return wrong(key, format!("{unknown} is no site"));
            }
        }
    }
    Ok(())
}

fn wishes(scenario: &Scenario) -> Result<(), Wrong> {
    let accounts = scenario.accounts();
    let mailboxes: Vec<Locator> = scenario.sites.iter().filter_map(super::Site::locator).collect();
    let known = |key: String, locator: &Locator| {
        if mailboxes.contains(locator) {
            return Ok(());
        }
        let names: Vec<String> = mailboxes.iter().map(ToString::to_string).collect();
        wrong(
            key,
            format!("{locator} is no mailbox of the town ({})", names.join(", ")),
        )
    };
    let mut seen = HashSet::new();
    for (index, wishes) in scenario.wishes.iter().enumerate() {
        let key = |rest: &str| format!("wishes[{index}].{rest}");
        person(&accounts, &wishes.person, key("person"))?;
        if !seen.insert(wishes.person.to_string()) {
            return wrong(key("person"), format!("{} wishes twice", wishes.person));
        }
        if wishes.rules.len() > limits::ROUTES || wishes.default.len() > limits::ROUTES {
            return wrong(key("rules"), format!("{} are possible", limits::ROUTES));
        }
        for (number, rule) in wishes.rules.iter().enumerate() {
            known(key(&format!("rules[{number}].locator")), &rule.locator)?;
        }
        for locator in &wishes.default {
            known(key("default"), locator)?;
        }
    }
    Ok(())
}

fn person(accounts: &Accounts<'_>, person: &Address, key: String) -> Result<(), Wrong> {
    if accounts.has(person) {
        return Ok(());
    }
    wrong(key, format!("{person} has no account at any site"))
}

/// That every author finds so many recipients as a mail may have among the domains that they write to, whichever those are.
fn check_circle(traffic: &Traffic) -> Result<(), String> {
    if traffic.circle == 0 {
        return Ok(());
    }
    if traffic.everybody {
        return Err("a mail to everybody goes beyond any circle".to_owned());
    }
    let mut people: HashMap<&Domain, usize> = HashMap::new();
    for recipient in &traffic.to {
        *people.entry(recipient.domain()).or_default() += 1;
    }
    let authors: HashSet<&Domain> = traffic.from.iter().map(Address::domain).collect();
    for domain in authors {
        let others = people.iter().filter(|(other, _)| **other != domain);
        let mut others: Vec<usize> = others.map(|(_, people)| *people).collect();
        others.sort_unstable();
        let fewest: usize = others.iter().take(traffic.circle).sum();
        if fewest < traffic.recipients {
            return Err(format!(
                "{} other domains in which people of {domain} may write to {fewest} people, and a mail may have {} recipients",
                traffic.circle.min(others.len()),
                traffic.recipients
            ));
        }
    }
    Ok(())
}

/// That there are as many mails to answer, and that whoever may answer has a place to post.
fn check_replies(accounts: &Accounts<'_>, traffic: &Traffic) -> Result<(), String> {
    if traffic.replies == 0 {
        return Ok(());
    }
    if traffic.replies > traffic.count {
        return Err(format!(
            "{} mails have {} answers at the most",
            traffic.count, traffic.count
        ));
    }
    let has_none = |person: &&Address| accounts.mailboxes_of(person).next().is_none();
    match traffic.to.iter().find(has_none) {
        Some(person) => Err(format!(
            "{person} has no account at a mailbox, and nowhere to post an answer"
        )),
        None => Ok(()),
    }
}

/// The octets that its files may have.
fn one_traffic(accounts: &Accounts<'_>, traffic: &Traffic, index: usize) -> Result<u64, Wrong> {
    let key = |rest: &str| format!("traffic[{index}].{rest}");
    if traffic.from.is_empty() || traffic.to.is_empty() {
        return wrong(key("from"), "somebody must write, and somebody must get it");
    }
    let to: HashSet<&Address> = traffic.to.iter().collect();
    for author in &traffic.from {
        person(accounts, author, key("from"))?;
        let mut mailboxes = accounts.mailboxes_of(author);
        match &traffic.origin {
            None if mailboxes.next().is_none() => {
                let why = format!("{author} has no account at a mailbox, and nowhere to post");
                return wrong(key("from"), why);
            }
            Some(origin) if !mailboxes.any(|mailbox| mailbox == *origin) => {
                return wrong(key("origin"), format!("{author} has no account at {origin}"));
            }
            _ => {}
        }
        let others = to.len() - usize::from(to.contains(author));
        if traffic.everybody && to.contains(author) {
            return wrong(
                key("to"),
                format!("{author} writes to everybody, and stands there, too"),
            );
        }
        let most = match traffic.everybody {
            true => others,
            false => others.min(limits::SHARE_RECIPIENTS),
        };
        if !(1..=most).contains(&traffic.recipients) {
            let why = format!("a mail of {author} may have 1 to {most} recipients out of `to`");
            return wrong(key("recipients"), why);
        }
    }
    let mut named = HashSet::new();
    for recipient in &traffic.to {
        person(accounts, recipient, key("to"))?;
        if !named.insert(recipient.to_string()) {
            return wrong(key("to"), format!("{recipient} is named twice"));
        }
    }
    check_circle(traffic).or_else(|why| wrong(key("circle"), why))?;
    let share = traffic.to.len().div_ceil(traffic.count.max(1));
    if traffic.everybody && (share > limits::SHARE_RECIPIENTS || traffic.to.len() < traffic.count) {
        let why = format!(
            "{} mails to {} people: each goes to 1 to {} of them",
            traffic.count,
            traffic.to.len(),
            limits::SHARE_RECIPIENTS
        );
        return wrong(key("everybody"), why);
    }
    check_replies(accounts, traffic).or_else(|why| wrong(key("replies"), why))?;
    let [least, most] = traffic.files;
    if least > most || most > FILES {
        return wrong(
            key("files"),
            format!("[from, to] with 0 ≤ from ≤ to ≤ {FILES} is possible"),
        );
    }
    if most > 0 && traffic.sizes.is_empty() {
        return wrong(key("sizes"), "files have sizes");
    }
    if traffic.shared_files > 0 && traffic.shared_files < most {
        let why = format!("a mail encloses up to {most} different ones");
        return wrong(key("shared_files"), why);
    }
    let weights = traffic.channels.values().map(|weight| u64::from(*weight));
    if weights.sum::<u64>() == 0 {
        return wrong(key("channels"), "no channel has a weight");
    }
    let largest = traffic.sizes.iter().map(|size| size.0).max().unwrap_or(0);
    let files = match traffic.shared_files {
        0 => traffic.mails().saturating_mul(most),
        shared => shared,
    };
    Ok(largest.saturating_mul(files as u64))
}

fn faults(scenario: &Scenario) -> Result<(), Wrong> {
    let mails = scenario.mails();
    for (index, fault) in scenario.faults.iter().enumerate() {
        let key = |rest: &str| format!("faults[{index}].{rest}");
        let is_site = |name: &str| scenario.sites.iter().any(|site| site.name.as_str() == name);
        if !is_site(fault.site.as_str()) {
            return wrong(key("site"), format!("{} is no site", fault.site));
        }
        if !fault.with.is_empty() && fault.how != How::CutOff {
            return wrong(key("with"), "only who is cut off is so together with others");
        }
        if let Some(unknown) = fault.region().into_iter().find(|name| !is_site(name)) {
            return wrong(key("with"), format!("{unknown} is no site"));
        }
        clock(fault, key("by"))?;
        old_key(scenario, fault).or_else(|why| wrong(key("how"), why))?;
        if !(1..=mails).contains(&fault.stop_before) {
            return wrong(key("stop_before"), format!("there are mails 1 to {mails}"));
        }
        let until = fault.start_before.unwrap_or(usize::MAX);
        if until <= fault.stop_before {
            return wrong(key("start_before"), "it must be later than stop_before");
        }
        if fault.start_before.is_some() && scenario.every == 0.0 {
            let why = "mails follow each other at once, so it would be over at once: write every, the seconds from one mail to the next";
            return wrong(key("start_before"), why);
        }
        if fault.start_before.is_some() && until > mails + 1 {
            return wrong(
                key("start_before"),
                format!("{} is after the last mail", mails + 1),
            );
        }
        if scenario.faults.iter().take(index).any(|other| fault.meets(other)) {
            let why = format!("{} fails already then", fault.site);
            return wrong(key("stop_before"), why);
        }
    }
    Ok(())
}

/// Only whoever has a new key has an old one; that it is withdrawn is over at once.
fn old_key(scenario: &Scenario, fault: &super::Fault) -> Result<(), String> {
    if fault.how != How::OldKeyWithdrawn {
        return Ok(());
    }
    if fault.start_before.is_some() {
        return Err("a key that is withdrawn stays so: leave out start_before".to_owned());
    }
    match scenario.last_of_keys(fault) {
        Some(How::NewKey) => Ok(()),
        _ => Err(format!(
            "{} has no other key by then, or its old one is withdrawn already",
            fault.site
        )),
    }
}

/// A clock, and nothing else, is wrong by something.
fn clock(fault: &super::Fault, key: String) -> Result<(), Wrong> {
    let is_possible = |by: i64| by != 0 && by.unsigned_abs() <= WRONG;
    match (fault.how, fault.by) {
        (How::WrongClock, Some(by)) if is_possible(by) => Ok(()),
        (How::WrongClock, _) => wrong(
            key,
            format!("by so many seconds the clock is wrong: 1 to {WRONG}, or as many with a minus"),
        ),
        (_, Some(_)) => wrong(key, "only a clock is wrong by something"),
        (_, None) => Ok(()),
    }
}

fn hostile(scenario: &Scenario) -> Result<(), Wrong> {
    let mails = scenario.mails();
    for (index, hostile) in scenario.hostile.iter().enumerate() {
        let key = |rest: &str| format!("hostile[{index}].{rest}");
        let against = hostile.against.as_str();
        let Some(site) = scenario.sites.iter().find(|site| site.name == hostile.against) else {
            return wrong(key("against"), format!("{against} is no site"));
        };
        if hostile.role == Role::Poisoner {
            let why = "who tells wrong answers of the DNS stands in [[faults]], as how = \"poisoned-dns\"";
            return wrong(key("role"), why);
        }
        if hostile.role.needs_mailbox() && !site.mailbox {
            return wrong(
                key("against"),
                format!("{} does harm to a mailbox, and {against} has none", hostile.role),
            );
        }
        if hostile.role.needs_broker() && !site.broker {
            return wrong(
                key("against"),
                format!("{} does harm to a broker, and {against} is none", hostile.role),
            );
        }
        let first = scenario.first_before(hostile);
        if !(first..=mails).contains(&hostile.before) {
            let why = match first {
                1 => format!("there are mails 1 to {mails}"),
                _ => format!(
                    "a mail must have been written that could be abused: {first} to {mails} are possible"
                ),
            };
            return wrong(key("before"), why);
        }
    }
    let poisoned = scenario
        .faults
        .iter()
        .position(|fault| fault.how == How::PoisonedDns);
    if let Some(index) = poisoned.filter(|_| !scenario.hostile.is_empty()) {
        return wrong(
            format!("faults[{index}].how"),
            format!(
                "who is misled to {VILLAIN} and who answers it cannot be told apart: leave out [[hostile]]"
            ),
        );
    }
    if scenario.has_villain() && scenario.sites.iter().any(|site| site.name.as_str() == VILLAIN) {
        return wrong("sites", format!("{VILLAIN} is the machine of those who do harm"));
    }
    Ok(())
}
