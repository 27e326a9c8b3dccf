//! A judge for each promise.

use std::collections::{HashMap, HashSet};

use cargomail_protocol::address::{Address, Locator};

use super::Terms;
use crate::history::{Fate, History, Mail, Reading, Sending};
use crate::hostile::VILLAIN;

/// What a judge found.
pub(super) struct Found {
    /// Cases that were looked at.
    pub(super) checked: usize,
    /// What was looked at, in words.
    pub(super) what: String,
    /// Cases in which the promise was not kept.
    pub(super) against: Vec<String>,
}

fn fates(history: &History) -> impl Iterator<Item = (&Mail, &Fate)> {
    let accepted = history.mails.iter().filter(|mail| mail.is_accepted());
    accepted.flat_map(|mail| mail.fates.iter().map(move |fate| (mail, fate)))
}

fn delivered(history: &History) -> impl Iterator<Item = (&Mail, &Fate)> {
    fates(history).filter(|(_, fate)| fate.is_delivered())
}

fn name(mail: &Mail, fate: &Fate) -> String {
    format!("{} to {}", mail.name(), fate.recipient)
}

pub(super) fn accepted(history: &History) -> Found {
    let was_read = |answer: &Mail| {
        // They stand in the order of their numbers.
        let place = |number| {
            history
                .mails
                .binary_search_by_key(&number, |mail| mail.number)
                .ok()
        };
        let answered = answer.answers.and_then(place).map(|place| &history.mails[place]);
        let mut fates = answered.into_iter().flat_map(|mail| &mail.fates);
        fates.any(|fate| fate.recipient == answer.author && matches!(fate.reading, Reading::Equal { .. }))
    };
    let against = history.mails.iter().filter_map(|mail| match &mail.sending {
        Sending::Accepted { .. } => None,
        Sending::NotDue if was_read(mail) => Some(format!(
            "{} of {} was not written in time, and what it would have answered was read",
            mail.name(),
            mail.author
        )),
        Sending::NotDue => None,
        Sending::Not { why } => Some(format!(
            "{} of {} was not accepted: {why}",
            mail.name(),
            mail.author
        )),
    });
    let not_due = history
        .mails
        .iter()
        .filter(|mail| matches!(mail.sending, Sending::NotDue));
    let not_due = not_due.count();
    let besides = match not_due {
        0 => String::new(),
        _ => format!(", and {not_due} answers that were never written"),
    };
    let checked = history.mails.len() - not_due;
    Found {
        checked,
        what: format!("{checked} mails{besides}"),
        against: against.collect(),
    }
}

pub(super) fn one_final_state(history: &History) -> Found {
    let mut against = Vec::new();
    let (mut checked, mut delivered, mut reported) = (0, 0, 0);
    for (mail, fate) in fates(history) {
        checked += 1;
        let readable = matches!(fate.reading, Reading::Equal { .. });
        match (fate.copies, fate.reports) {
            (1, 0) => delivered += 1,
            // A message whose content never came stays, and its author is told.
            (0 | 1, 1) if !readable => reported += 1,
            (0, 0) if fate.delivered_at.max(fate.reported_at).is_some() => against.push(format!(
                "{} was delivered or reported, and that is there no more",
                name(mail, fate)
            )),
            (0, 0) => against.push(format!("{} was neither delivered nor reported", name(mail, fate))),
            (1, 1) => against.push(format!(
                "{} was reported, and read all the same",
                name(mail, fate)
            )),
            (copies, reports) => against.push(format!(
                "{} was delivered {copies} times and reported {reports} times",
                name(mail, fate)
            )),
        }
    }
    Found {
        checked,
        what: format!("{checked} deliveries: {delivered} delivered once, {reported} reported once"),
        against,
    }
}

pub(super) fn read_equals_written(history: &History) -> Found {
    let mut against = Vec::new();
    let (mut checked, mut octets) = (0, 0_u64);
    // Also what was reported must never be read as something else.
    for (mail, fate) in fates(history).filter(|(_, fate)| fate.copies > 0) {
        match &fate.reading {
            Reading::Equal { octets: equal } => octets += equal,
            Reading::Different { why } => {
                against.push(format!("{} is not what was written: {why}", name(mail, fate)));
            }
            Reading::NotTried | Reading::Unreadable { .. } if fate.reports > 0 => continue,
            Reading::NotTried => against.push(format!("{} was not read", name(mail, fate))),
            Reading::Unreadable { why } => {
                against.push(format!("{} could not be read: {why}", name(mail, fate)));
            }
        }
        checked += 1;
    }
    Found {
        checked,
        what: format!("{checked} readings, {octets} octets compared"),
        against,
    }
}

pub(super) fn acknowledged(history: &History) -> Found {
    let against = delivered(history)
        .filter(|(_, fate)| fate.acknowledged_at.is_none())
        .map(|(mail, fate)| format!("{}: the origin has no receipt", name(mail, fate)));
    let checked = delivered(history).count();
    Found {
        checked,
        what: format!("{checked} receipts"),
        against: against.collect(),
    }
}

pub(super) fn ledgers(history: &History) -> Found {
    let against = history.ledgers.iter().filter_map(|ledger| {
        let why = ledger.wrong.as_ref()?;
        Some(format!("{}: {why}", ledger.site))
    });
    let entries: u64 = history.ledgers.iter().map(|ledger| ledger.entries).sum();
    Found {
        checked: history.ledgers.len(),
        what: format!("{} ledgers, {entries} entries", history.ledgers.len()),
        against: against.collect(),
    }
}

pub(super) fn providers(history: &History) -> Found {
    let mut against = Vec::new();
    for provider in &history.providers {
        let of_site = |what: &String| format!("{}: {what}", provider.site);
        against.extend(provider.answered.iter().chain(&provider.found).map(of_site));
    }
    let roots: usize = history.providers.iter().map(|provider| provider.roots).sum();
    // A search that finds nothing anywhere shows nothing.
    if roots > 0 && history.content_found.is_empty() {
        against.push(
            "the search finds no content in the stores of mailboxes either, where it must be".to_owned(),
        );
    }
    let asked: usize = history.providers.iter().map(|provider| provider.asked).sum();
    let searched: u64 = history.providers.iter().map(|provider| provider.searched).sum();
    Found {
        checked: history.providers.len(),
        what: format!(
            "{} providers asked {asked} times, {roots} roots looked for, {searched} octets searched",
            history.providers.len()
        ),
        against,
    }
}

pub(super) fn queues(history: &History) -> Found {
    let against = history.queues.iter().flat_map(|left| {
        let at = &left.place;
        left.waiting.iter().map(move |what| format!("{at}: {what}"))
    });
    Found {
        checked: history.queues.len(),
        what: format!("{} queues and lists of retrievals", history.queues.len()),
        against: against.collect(),
    }
}

pub(super) fn harm(history: &History) -> Found {
    let against = history.hostile.iter().filter(|act| !act.refused).map(|act| {
        let (role, site) = (act.role, &act.against);
        format!(
            "{role} against {site}: {} was answered {}, expected {}",
            act.what, act.answer, act.expected
        )
    });
    let checked = history.hostile.len();
    Found {
        checked,
        what: format!("{checked} acts"),
        against: against.collect(),
    }
}

pub(super) fn nothing_reported(history: &History) -> Found {
    let against = fates(history)
        .filter(|(_, fate)| fate.reports > 0)
        .map(|(mail, fate)| format!("{} was reported to {}", name(mail, fate), mail.author));
    let checked = fates(history).count();
    Found {
        checked,
        what: format!("{checked} deliveries"),
        against: against.collect(),
    }
}

/// What content may go from one site to another: by the root, the site of the origin and that of the destination.
type Granted<'a> = HashSet<(&'a str, &'a str, &'a str)>;

pub(super) fn grants(history: &History, terms: Terms<'_>) -> Found {
    let mut mailboxes: HashMap<&Address, Vec<&str>> = HashMap::new();
    let mut origins: HashMap<&Locator, &str> = HashMap::new();
    for site in terms.sites {
        let Some(mailbox) = &site.mailbox else { continue };
        origins.insert(mailbox, site.name.as_str());
        for person in &site.people {
            mailboxes.entry(person).or_default().push(site.name.as_str());
        }
    }
    let mut granted = Granted::new();
    for mail in &history.mails {
        let Sending::Accepted {
            origin, resources, ..
        } = &mail.sending
        else {
            continue;
        };
        let Some(origin) = origins.get(origin) else {
            continue;
        };
        let recipients = mail.fates.iter().map(|fate| &fate.recipient);
        for destination in recipients.filter_map(|person| mailboxes.get(person)).flatten() {
            granted.extend(
                resources
                    .iter()
                    .map(|root| (root.as_str(), *origin, *destination)),
            );
        }
    }
    let given = history.hostile.iter().flat_map(|act| &act.given);
    let given: HashSet<&str> = given.map(String::as_str).collect();
    let mut against = Vec::new();
    let (mut checked, mut octets) = (0, 0_u64);
    let ours: HashSet<&str> = origins.into_values().collect();
    for transfer in history
        .transfers
        .iter()
        .filter(|one| ours.contains(one.origin.as_str()))
    {
        let (origin, destination) = (transfer.origin.as_str(), transfer.destination.as_str());
        octets += transfer.octets + transfer.ungranted;
        if transfer.ungranted > 0 {
            against.push(format!(
                "{origin} sent {destination} {} octets without any grant",
                transfer.ungranted
            ));
        }
        for root in &transfer.roots {
            checked += 1;
            let is_given = destination == VILLAIN && given.contains(root.as_str());
            if !is_given && !granted.contains(&(root.as_str(), origin, destination)) {
                against.push(format!("{origin} sent {destination} {root}, and no mail says so"));
            }
        }
    }
    Found {
        checked,
        what: format!("{checked} resources on their way between two sites, {octets} octets"),
        against,
    }
}

/// The site of a mailbox.
fn site_of(mailbox: &Locator) -> &str {
    let name = mailbox.domain().as_str();
    name.strip_prefix("mailbox.").unwrap_or(name)
}

/// The sites that a mail needs to reach a recipient. Where nobody chose a destination, all that they might have.
fn needed<'a>(mail: &'a Mail, fate: &'a Fate, origin: &'a Locator, terms: Terms<'a>) -> Vec<&'a str> {
    let mut needed = vec![
        mail.author.domain().as_str(),
        site_of(origin),
        fate.recipient.domain().as_str(),
    ];
    match &fate.destination {
        Some(destination) => needed.push(site_of(destination)),
        None => {
            let theirs = terms.sites.iter().filter(|site| site.mailbox.is_some());
            let theirs = theirs.filter(|site| site.people.contains(&fate.recipient));
            needed.extend(theirs.map(|site| site.name.as_str()));
        }
    }
    needed
}

pub(super) fn served(history: &History, terms: Terms<'_>) -> Found {
    let promptly = terms.promptly.saturating_mul(1000);
    let mut against = Vec::new();
    let (mut checked, mut longest) = (0, 0);
    for (mail, fate) in fates(history) {
        let Sending::Accepted { origin, at, .. } = &mail.sending else {
            continue;
        };
        let is_reported = fate.reports > 0;
        // A mail that is never acknowledged breaks another promise.
        let settled = match is_reported {
            true => fate.reported_at,
            false => fate.delivered_at.max(fate.acknowledged_at),
        };
        let Some(settled) = settled else {
            continue;
        };
        // What befalls a mail later excuses nothing.
        let until = settled.min(at.saturating_add(promptly));
        let places = needed(mail, fate, origin, terms);
        if !places.iter().all(|site| terms.troubles.spare(site, *at, until)) {
            continue;
        }
        let took = settled.saturating_sub(*at);
        checked += 1;
        longest = longest.max(took);
        if is_reported || took > promptly {
            let (name, seconds) = (name(mail, fate), took / 1000);
            let what = if is_reported { "was reported after" } else { "took" };
            against.push(format!(
                "{name} {what} {seconds} s, and everybody whom it needs was well"
            ));
        }
    }
    Found {
        checked,
        what: format!(
            "{checked} deliveries between sites that were well, the longest {:.1} s",
            longest as f64 / 1000.0
        ),
        against,
    }
}

pub(super) fn paths(history: &History, terms: Terms<'_>) -> Found {
    let gone = |path| history.paths.get(path).copied().unwrap_or(0);
    let told: Vec<String> = terms
        .paths
        .iter()
        .map(|path| format!("{path} {} times", gone(path)))
        .collect();
    let never = terms.paths.iter().filter(|path| gone(path) == 0);
    Found {
        checked: terms.paths.len(),
        what: match told.is_empty() {
            true => "none is named".to_owned(),
            false => told.join(", "),
        },
        against: never
            .map(|path| format!("nothing went this way: {path}"))
            .collect(),
    }
}
