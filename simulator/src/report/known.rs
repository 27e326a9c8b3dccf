//! What each site learned about whom: derived from the history and from who has an account where, by the rules of the walk.
//!
//! A broker sees a placeholder: author, recipients, category, origin, and how large the resources are. An origin sees the
//! share: the same, and the content. A destination sees the notification: author, its own recipient, category, and the
//! content. It is not measured: what a site's store really holds is the providers' search.

use std::collections::{BTreeMap, BTreeSet};

use cargomail_protocol::address::{Address, Locator};
use indicatif::BinaryBytes;

use super::Report;
use super::markup::Element;
use super::tables::{cell, name, number, table};
use crate::history::{Fate, Mail, Sending, Site};

/// Sites that the page shows.
pub(super) const SITES: usize = 60;
/// People that the page shows.
pub(super) const PEOPLE: usize = 24;

/// What a site learned.
#[derive(Debug, Default, PartialEq, Eq)]
struct Learned {
    /// Mails that it took from its own people.
    sent: usize,
    /// Mails that came for its own people.
    received: usize,
    /// Mails whose content was posted to its mailbox.
    posted: usize,
    /// Deliveries whose content its mailbox had for the recipient.
    fetched: usize,
    /// How many mails of each category it saw.
    categories: BTreeMap<String, usize>,
    /// The smallest and the largest mail that it saw: octets of resources.
    octets: Option<(u64, u64)>,
    /// Brokers with which it exchanged placeholders, and how many mails.
    brokers: BTreeMap<String, usize>,
    /// Mailboxes with which it exchanged content, and for how many deliveries.
    mailboxes: BTreeMap<String, usize>,
    /// For each person, the mails of which it knows that the person wrote or received them.
    people: BTreeMap<String, Person>,
}

/// What a site knows of a person.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Person {
    /// Mails.
    mails: usize,
    /// Those whose content it had.
    contents: usize,
}

/// What every site learned from the accepted mails, in the order of the scenario.
fn learned(report: &Report) -> Vec<(&Site, Learned)> {
    let mut learned: Vec<(&Site, Learned)> = report
        .sites
        .iter()
        .map(|site| (site, Learned::default()))
        .collect();
    for mail in &report.history.mails {
        if let Sending::Accepted { origin, octets, .. } = &mail.sending {
            for (site, learned) in &mut learned {
                learned.learn(site, mail, origin, *octets);
            }
        }
    }
    learned
}

impl Learned {
    fn learn(&mut self, site: &Site, mail: &Mail, origin: &Locator, octets: u64) {
        let is_broker_of = |person: &Address| site.broker && *person.domain() == site.name;
        let recipients = || mail.fates.iter().map(|fate| &fate.recipient);
        let sent = is_broker_of(&mail.author);
        let arrived = mail.fates.iter().filter(|fate| has_arrived(fate));
        let mut arrived = arrived.map(|fate| &fate.recipient);
        let received = arrived.any(is_broker_of);
        let posted = site.mailbox.as_ref() == Some(origin);
        let here = |destination: &Option<Locator>| destination.is_some() && *destination == site.mailbox;
        let notified = || mail.fates.iter().filter(|fate| here(&fate.destination));
        let fetched = || notified().filter(|fate| has_content(fate));
        let fetches = fetched().count();
        if !(sent || received || posted || notified().next().is_some()) {
            return;
        }
        self.sent += usize::from(sent);
        self.received += usize::from(received);
        self.posted += usize::from(posted);
        self.fetched += fetches;
        *self.categories.entry(mail.category.to_string()).or_default() += 1;
        let (least, most) = self.octets.unwrap_or((octets, octets));
        self.octets = Some((least.min(octets), most.max(octets)));

        let others = |person: &&Address| *person.domain() != site.name;
        let mut brokers = BTreeSet::new();
        if sent {
            let arrived = mail.fates.iter().filter(|fate| has_arrived(fate));
            let recipients = arrived.map(|fate| &fate.recipient);
            brokers.extend(recipients.filter(others).map(Address::domain));
        }
        if received {
            brokers.extend(Some(&mail.author).filter(others).map(Address::domain));
        }
        for broker in brokers {
            *self.brokers.entry(broker.to_string()).or_default() += 1;
        }
        let had = mail.fates.iter().filter(|fate| has_content(fate));
        for destination in had.filter_map(|fate| fate.destination.as_ref()) {
            let mine = |locator: &Locator| site.mailbox.as_ref() == Some(locator);
            let other = match (mine(origin), mine(destination)) {
                (true, false) => destination,
                (false, true) => origin,
                _ => continue,
            };
            *self.mailboxes.entry(other.to_string()).or_default() += 1;
        }

        // Everybody who is named to a broker or an origin; to a destination, the author and for whom it was notified.
        let all = recipients().filter(|_| sent || received || posted);
        let mine = notified().map(|fate| &fate.recipient);
        let known: BTreeSet<&Address> = std::iter::once(&mail.author).chain(all).chain(mine).collect();
        let with_content: BTreeSet<&Address> = match posted {
            true => known.clone(),
            false => fetched().map(|fate| &fate.recipient).collect(),
        };
        for person in known {
            let of_author = *person == mail.author && fetches > 0;
            let is_had = of_author || with_content.contains(person);
            let person = self.people.entry(person.to_string()).or_default();
            person.mails += 1;
            person.contents += usize::from(is_had);
        }
    }
}

/// Whether it was seen that the content came to the destination.
const fn has_content(fate: &Fate) -> bool {
    fate.read_at.is_some() || fate.acknowledged_at.is_some()
}

/// Whether it was seen that a mail came to the recipient's broker.
const fn has_arrived(fate: &Fate) -> bool {
    fate.copies > 0 || fate.acknowledged_at.is_some()
}

/// Who has an account where, and what the stores hold; what each site saw; and which people it can name, with how many of
/// their mails and of the contents.
pub(super) fn knowledge(report: &Report) -> [Element; 3] {
    let learned = learned(report);
    let shown = || learned.iter().take(SITES);
    let rows = shown().map(|(site, _)| laid_out(report, site));
    let heads = [
        "Site",
        "Provider of",
        "Accounts at its mailbox",
        "Content in its store, as it was searched",
    ];
    let sites = table("The sites, and what their stores hold", &heads, rows);
    let rows = shown().map(|(site, learned)| seen(site, learned));
    let heads = [
        "Site",
        "Sent",
        "Received",
        "Posted to it",
        "Had for recipients",
        "Categories seen",
        "Sizes of mails",
        "Placeholders with",
        "Content with",
    ];
    let learnt = table("What each site saw, and from whom", &heads, rows);

    let mut mails_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (person, known) in learned.iter().flat_map(|(_, learned)| &learned.people) {
        let most = mails_of.entry(person).or_default();
        *most = (*most).max(known.mails);
    }
    let mut people: Vec<(&str, usize)> = mails_of.into_iter().collect();
    people.sort_by_key(|(person, mails)| (usize::MAX - mails, *person));
    people.truncate(PEOPLE);
    let mut heads = vec!["Site"];
    heads.extend(people.iter().map(|(person, _)| *person));
    let rows = shown().map(|(site, learned)| {
        let of_person = |(person, _): &(&str, usize)| match learned.people.get(*person) {
            None => Element::of("td", "unknown").text("–"),
            Some(known) if known.contents == 0 => {
                Element::of("td", "short envelope").text(format_args!("{} mails, no content", known.mails))
            }
            Some(known) => Element::of("td", "short content").text(format_args!(
                "{} mails, content of {}",
                known.mails, known.contents
            )),
        };
        let mut row = vec![name(&site.name)];
        row.extend(people.iter().map(of_person));
        row
    });
    let people = table("Which people each site can name", &heads, rows);
    [sites, learnt, people]
}

fn laid_out(report: &Report, site: &Site) -> Vec<Element> {
    let own = site.people.iter().filter(|person| *person.domain() == site.name);
    let provider_of = few(own.filter(|_| site.broker));
    let accounts = few(site.people.iter().filter(|_| site.mailbox.is_some()));
    vec![
        name(&site.name),
        cell(provider_of),
        cell(accounts),
        in_store(report, site),
    ]
}

fn seen(site: &Site, learned: &Learned) -> Vec<Element> {
    let counted =
        |of: &BTreeMap<String, usize>| few(of.iter().map(|(name, count)| format!("{name} ({count})")));
    let octets = learned.octets.map_or_else(
        || "–".to_owned(),
        |(least, most)| format!("{} to {}", BinaryBytes(least), BinaryBytes(most)),
    );
    vec![
        name(&site.name),
        number(learned.sent),
        number(learned.received),
        number(learned.posted),
        number(learned.fetched),
        cell(counted(&learned.categories)),
        cell(octets),
        cell(counted(&learned.brokers)),
        cell(counted(&learned.mailboxes)),
    ]
}

/// What the search of a site's store came to.
fn in_store(report: &Report, site: &Site) -> Element {
    let history = &report.history;
    let name = site.name.as_str();
    if history.content_found.iter().any(|found| found == name) {
        return Element::of("td", "content").text("yes, as in any mailbox that has content");
    }
    let Some(provider) = history.providers.iter().find(|provider| provider.site == name) else {
        return Element::of("td", "unknown").text("none was found");
    };
    match provider.found.is_empty() && provider.answered.is_empty() {
        true => Element::of("td", "envelope").text(format_args!(
            "no: {} roots looked for, {} octets searched, {} questions answered with none",
            provider.roots, provider.searched, provider.asked
        )),
        false => Element::of("td", "content").text(format_args!(
            "YES: {} found, {} answered",
            provider.found.len(),
            provider.answered.len()
        )),
    }
}

/// The first of many names.
fn few(names: impl Iterator<Item = impl ToString>) -> String {
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    let shown = names.iter().take(PEOPLE).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "–".to_owned(),
        1..=PEOPLE => shown,
        many => format!("{shown} … and {} more", many - PEOPLE),
    }
}
