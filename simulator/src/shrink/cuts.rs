//! What can be left out of a scenario, the largest pieces first.
//!
//! What always holds: whatever a cut gives has fewer of something than before and more of nothing, so that cutting comes to an end.
//! Whether it can be run is another's question.

use std::collections::HashSet;
use std::iter;
use std::ops::Range;

use cargomail_protocol::address::{Address, Domain};

use crate::scenario::{Fault, Hostile, How, Scenario, Site, Traffic};

/// Scenarios that have less of something.
type Smaller<'a> = Box<dyn Iterator<Item = Scenario> + 'a>;
/// A way to make them.
pub(super) type Cut = fn(&Scenario) -> Smaller<'_>;

/// Every cut, in the order in which they are tried: first what makes runs shorter.
pub(super) const ALL: [Cut; 8] = [tables, counts, faults, hostile, wishes, idle, sites, details];

/// Ranges to leave out of a list of so many: everything, then each half, each quarter, and so on to each single one.
fn pieces(count: usize) -> impl Iterator<Item = Range<usize>> {
    let sizes = iter::successors((count > 0).then_some(count), |size| {
        (*size > 1).then_some(size.div_ceil(2))
    });
    sizes.flat_map(move |size| {
        (0..count)
            .step_by(size)
            .map(move |start| start..count.min(start + size))
    })
}

/// A list without a range of it.
fn without<T: Clone>(list: &[T], range: &Range<usize>) -> Vec<T> {
    let kept = list
        .iter()
        .enumerate()
        .filter(|(place, _)| !range.contains(place));
    kept.map(|(_, item)| item.clone()).collect()
}

/// Whole tables of traffic.
fn tables(scenario: &Scenario) -> Smaller<'_> {
    let cut = pieces(scenario.traffic.len()).flat_map(move |range| {
        refitted(
            Scenario {
                traffic: without(&scenario.traffic, &range),
                ..scenario.clone()
            },
            scenario,
        )
    });
    Box::new(cut)
}

/// How many mails there are: of all kinds together, then of each, and of their answers.
fn counts(scenario: &Scenario) -> Smaller<'_> {
    let with = move |change: &dyn Fn(usize, usize) -> usize| {
        let mut smaller = scenario.clone();
        for (index, traffic) in smaller.traffic.iter_mut().enumerate() {
            traffic.count = change(index, traffic.count).min(traffic.count);
            traffic.replies = traffic.replies.min(traffic.count);
        }
        refitted(smaller, scenario)
    };
    let shares: [fn(usize) -> usize; 4] = [
        |_| 1,
        |count| count.div_ceil(4),
        |count| count.div_ceil(2),
        |count| count.saturating_sub(1),
    ];
    let together = shares
        .into_iter()
        .take(3)
        .flat_map(move |share| with(&|_, count| share(count)));
    let each = (0..scenario.traffic.len()).flat_map(move |chosen| {
        shares
            .into_iter()
            .flat_map(move |share| with(&|index, count| if index == chosen { share(count) } else { count }))
    });
    let fewer: [fn(usize) -> usize; 4] = [
        |_| 0,
        |replies| replies / 4,
        |replies| replies / 2,
        |replies| replies.saturating_sub(1),
    ];
    let answers = (0..scenario.traffic.len()).flat_map(move |chosen| {
        fewer.into_iter().flat_map(move |share| {
            let mut smaller = scenario.clone();
            if let Some(traffic) = smaller.traffic.get_mut(chosen) {
                traffic.replies = share(traffic.replies);
            }
            refitted(smaller, scenario)
        })
    });
    let before = scenario.mails();
    Box::new(
        together
            .chain(each)
            .chain(answers)
            .filter(move |smaller| smaller.mails() < before),
    )
}

fn faults(scenario: &Scenario) -> Smaller<'_> {
    Box::new(pieces(scenario.faults.len()).map(move |range| Scenario {
        faults: without(&scenario.faults, &range),
        ..scenario.clone()
    }))
}

fn hostile(scenario: &Scenario) -> Smaller<'_> {
    Box::new(pieces(scenario.hostile.len()).map(move |range| Scenario {
        hostile: without(&scenario.hostile, &range),
        ..scenario.clone()
    }))
}

fn wishes(scenario: &Scenario) -> Smaller<'_> {
    Box::new(pieces(scenario.wishes.len()).map(move |range| Scenario {
        wishes: without(&scenario.wishes, &range),
        ..scenario.clone()
    }))
}

/// Everybody who neither writes nor gets anything, and the sites that are left empty by that.
fn idle(scenario: &Scenario) -> Smaller<'_> {
    let busy: HashSet<&Address> = scenario
        .traffic
        .iter()
        .flat_map(|traffic| traffic.from.iter().chain(&traffic.to))
        .collect();
    let mut smaller = scenario.clone();
    for site in &mut smaller.sites {
        site.people.retain(|person| busy.contains(person));
    }
    smaller.wishes.retain(|wishes| busy.contains(&wishes.person));
    let people = smaller.clone();
    let peopled = smaller.sites.iter().filter(|site| !site.people.is_empty());
    let peopled: Vec<Site> = peopled.cloned().collect();
    let sites = with_sites(smaller, peopled);
    Box::new(
        [sites, people]
            .into_iter()
            .filter(move |smaller| is_less(smaller, scenario)),
    )
}

fn is_less(smaller: &Scenario, scenario: &Scenario) -> bool {
    let accounts =
        |scenario: &Scenario| -> usize { scenario.sites.iter().map(|site| site.people.len()).sum() };
    smaller.sites.len() < scenario.sites.len() || accounts(smaller) < accounts(scenario)
}

/// Sites, with everything that befalls them.
fn sites(scenario: &Scenario) -> Smaller<'_> {
    Box::new(
        pieces(scenario.sites.len())
            .map(move |range| with_sites(scenario.clone(), without(&scenario.sites, &range))),
    )
}

fn with_sites(mut scenario: Scenario, sites: Vec<Site>) -> Scenario {
    let names: HashSet<&Domain> = sites.iter().map(|site| &site.name).collect();
    scenario.faults.retain(|fault| names.contains(&fault.site));
    for fault in &mut scenario.faults {
        fault.with.retain(|other| names.contains(other));
    }
    scenario
        .hostile
        .retain(|hostile| names.contains(&hostile.against));
    scenario.sites = sites;
    scenario
}

/// What the mails of each kind are like, and who is cut off with others.
fn details(scenario: &Scenario) -> Smaller<'_> {
    let traffic = scenario
        .traffic
        .iter()
        .enumerate()
        .flat_map(move |(index, traffic)| {
            simpler(traffic).map(move |simpler| {
                let mut smaller = scenario.clone();
                smaller.traffic[index] = simpler;
                smaller
            })
        });
    let regions = scenario
        .faults
        .iter()
        .enumerate()
        .flat_map(move |(index, fault)| {
            pieces(fault.with.len()).map(move |range| {
                let mut smaller = scenario.clone();
                smaller.faults[index].with = without(&fault.with, &range);
                smaller
            })
        });
    Box::new(traffic.chain(regions))
}

fn simpler(traffic: &Traffic) -> impl Iterator<Item = Traffic> {
    let same = || traffic.clone();
    let one_recipient = (traffic.recipients > 1).then(|| Traffic {
        recipients: 1,
        ..same()
    });
    let no_files = (traffic.files[1] > 0).then(|| Traffic {
        files: [0, 0],
        sizes: Vec::new(),
        shared_files: 0,
        ..same()
    });
    let [least, most] = traffic.files;
    let fewer_files = (most > 1).then(|| Traffic {
        files: [least.min(1), 1],
        ..same()
    });
    let few_shared = (traffic.shared_files > most).then(|| Traffic {
        shared_files: most,
        ..same()
    });
    let no_circle = (traffic.circle > 0).then(|| Traffic { circle: 0, ..same() });
    let sizes = pieces(traffic.sizes.len()).map(move |range| Traffic {
        sizes: without(&traffic.sizes, &range),
        ..same()
    });
    let channels = traffic.channels.iter().map(move |(name, weight)| Traffic {
        channels: iter::once((*name, *weight)).collect(),
        ..same()
    });
    let channels = channels.filter(move |simpler| simpler.channels.len() < traffic.channels.len());
    let from = pieces(traffic.from.len()).map(move |range| Traffic {
        from: without(&traffic.from, &range),
        ..same()
    });
    let to = pieces(traffic.to.len()).map(move |range| {
        let to = without(&traffic.to, &range);
        Traffic {
            // As many as are left, if the author is among them.
            recipients: traffic.recipients.min(to.len().saturating_sub(1).max(1)),
            to,
            ..same()
        }
    });
    let single = [no_files, one_recipient, fewer_files, few_shared, no_circle];
    single
        .into_iter()
        .flatten()
        .chain(from)
        .chain(to)
        .chain(channels)
        .chain(sizes)
}

/// What is to happen before mails that are no more happens before others: as far from the beginning as before in proportion, or where it
/// was. What meets something else then is left out.
fn refitted(smaller: Scenario, before: &Scenario) -> [Scenario; 2] {
    let (mails, all) = (smaller.mails(), before.mails());
    let in_proportion = |mail: usize| {
        let share = (mail as u128 - 1) * mails as u128 / (all as u128).max(1);
        usize::try_from(share).unwrap_or(usize::MAX).saturating_add(1)
    };
    [
        moved(smaller.clone(), mails, all, in_proportion),
        moved(smaller, mails, all, |mail| mail),
    ]
}

fn moved(mut scenario: Scenario, mails: usize, all: usize, to: impl Fn(usize) -> usize) -> Scenario {
    let place = |mail: usize| to(mail).clamp(1, mails.max(1));
    let mut faults: Vec<Fault> = Vec::new();
    for mut fault in std::mem::take(&mut scenario.faults) {
        fault.stop_before = place(fault.stop_before);
        fault.start_before = fault.start_before.map(|mail| match mail > all {
            true => mails + 1,
            false => to(mail).clamp(fault.stop_before + 1, mails.max(1) + 1),
        });
        if !faults.iter().any(|other| fault.meets(other)) {
            faults.push(fault);
        }
    }
    scenario.faults = faults;
    // A key that was never changed is not withdrawn.
    let all = scenario.clone();
    scenario
        .faults
        .retain(|fault| fault.how != How::OldKeyWithdrawn || all.last_of_keys(fault) == Some(How::NewKey));
    let before = |hostile: &Hostile| place(hostile.before).max(scenario.first_before(hostile));
    let before: Vec<usize> = scenario.hostile.iter().map(before).collect();
    for (hostile, before) in scenario.hostile.iter_mut().zip(before) {
        hostile.before = before;
    }
    scenario
}
