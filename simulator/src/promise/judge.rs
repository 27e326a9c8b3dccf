//! A judge for each promise.

use crate::history::{Fate, History, Mail, Reading, Sending};

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
    let against = history.mails.iter().filter_map(|mail| match &mail.sending {
        Sending::Accepted { .. } => None,
        Sending::Not { why } => Some(format!(
            "{} of {} was not accepted: {why}",
            mail.name(),
            mail.author
        )),
    });
    let checked = history.mails.len();
    Found {
        checked,
        what: format!("{checked} mails"),
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
        format!("{role} against {site}: {} was answered {}", act.what, act.answer)
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
