//! What each site learned about whom: derived from the history and from who has an account where, by the rules of the walk.
//!
//! A broker sees a placeholder: author, recipients, category, origin, and how large the resources are. An origin sees the
//! share: the same, and the content. A destination sees the notification: author, its own recipient, category, and the
//! content. It is not measured: what a site's store really holds is the providers' search.

use std::collections::{BTreeMap, BTreeSet};

use cargomail_protocol::address::{Address, Locator};
use indicatif::BinaryBytes;

use super::markup::Element;
use super::tables::{cell, name, number, table};
use super::{Report, Site};
use crate::history::{Mail, Sending};

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
        let received = recipients().any(is_broker_of);
        let posted = site.mailbox.as_ref() == Some(origin);
        let here = |destination: &Option<Locator>| destination.is_some() && *destination == site.mailbox;
        let fetched = || mail.fates.iter().filter(|fate| here(&fate.destination));
        let fetches = fetched().count();
        if !(sent || received || posted || fetches > 0) {
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
            brokers.extend(recipients().filter(others).map(|person| person.domain()));
        }
        if received {
            brokers.extend(Some(&mail.author).filter(others).map(Address::domain));
        }
        for broker in brokers {
            *self.brokers.entry(broker.to_string()).or_default() += 1;
        }
        for destination in mail.fates.iter().filter_map(|fate| fate.destination.as_ref()) {
            let mine = |locator: &Locator| site.mailbox.as_ref() == Some(locator);
            let other = match (mine(origin), mine(destination)) {
                (true, false) => destination,
                (false, true) => origin,
                _ => continue,
            };
            *self.mailboxes.entry(other.to_string()).or_default() += 1;
        }

        // Everybody who is named to a broker or an origin; to a destination, the author and whose content it has.
        let all = recipients().filter(|_| sent || received || posted);
        let mine = fetched().map(|fate| &fate.recipient);
        let known: BTreeSet<&Address> = std::iter::once(&mail.author).chain(all).chain(mine).collect();
        let with_content: BTreeSet<&Address> = match posted {
            true => known.clone(),
            false => fetched().map(|fate| &fate.recipient).collect(),
        };
        for person in known {
            let of_author = *person == mail.author && fetches > 0;
            let has_content = of_author || with_content.contains(person);
            let person = self.people.entry(person.to_string()).or_default();
            person.mails += 1;
            person.contents += usize::from(has_content);
        }
    }
}

/// What each site saw; and which people it can name, with how many of their mails and of the contents.
pub(super) fn knowledge(report: &Report) -> [Element; 2] {
    let learned = learned(report);
    let heads = [
        "Site",
        "Provider of",
        "Accounts at its mailbox",
        "Sent",
        "Received",
        "Posted to it",
        "Had for recipients",
        "Categories seen",
        "Octets of a mail",
        "Placeholders with",
        "Content with",
        "Content in its store",
    ];
    let rows = learned
        .iter()
        .take(SITES)
        .map(|(site, learned)| seen(report, site, learned));
    let sites = table("What each site saw", &heads, rows);

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
    let rows = learned.iter().take(SITES).map(|(site, learned)| {
        let of_person = |(person, _): &(&str, usize)| match learned.people.get(*person) {
            None => Element::of("td", "unknown").text("–"),
            Some(known) if known.contents == 0 => {
                Element::of("td", "envelope").text(format_args!("{} mails, no content", known.mails))
            }
            Some(known) => Element::of("td", "content").text(format_args!(
                "{} mails, content of {}",
                known.mails, known.contents
            )),
        };
        let mut row = vec![name(&site.name)];
        row.extend(people.iter().map(of_person));
        row
    });
    [sites, table("Which people each site can name", &heads, rows)]
}

fn seen(report: &Report, site: &Site, learned: &Learned) -> Vec<Element> {
    let own = || site.people.iter().filter(|person| *person.domain() == site.name);
    let accounts = match site.mailbox {
        Some(_) => few(site.people.iter()),
        None => "–".to_owned(),
    };
    let counted =
        |of: &BTreeMap<String, usize>| few(of.iter().map(|(name, count)| format!("{name} ({count})")));
    let octets = learned.octets.map_or_else(
        || "–".to_owned(),
        |(least, most)| format!("{} to {}", BinaryBytes(least), BinaryBytes(most)),
    );
    vec![
        name(&site.name),
        cell(if site.broker { few(own()) } else { "–".to_owned() }),
        cell(accounts),
        number(learned.sent),
        number(learned.received),
        number(learned.posted),
        number(learned.fetched),
        cell(counted(&learned.categories)),
        cell(octets),
        cell(counted(&learned.brokers)),
        cell(counted(&learned.mailboxes)),
        in_store(report, site),
    ]
}

/// What the search of a site's store came to.
fn in_store(report: &Report, site: &Site) -> Element {
    let history = &report.history;
    let name = site.name.as_str();
    if history.content_found.iter().any(|found| found == name) {
        return Element::of("td", "content").text("yes, as it must");
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
