//! Medians over runs, what is broken, and a page that is well-formed whatever runs are called.
#![allow(clippy::unwrap_used)]

use xml::reader::{EventReader, XmlEvent};

use super::*;
use crate::cost::{Phase, Work};

fn run(scenario: &str, seed: u64, nodes: usize, took: u64) -> Ran {
    let spread = Spread {
        count: 10,
        median: took,
        p95: 2 * took,
        longest: 3 * took,
    };
    let phase = |cpu_seconds: f64, peak_memory: usize| Phase {
        cpu_seconds,
        peak_memory: Some(peak_memory as u64),
        ..Phase::default()
    };
    let cost = Cost {
        nodes,
        mails: 10,
        memory_before: Some(0),
        laying_out: phase(0.5 * nodes as f64, nodes << 20),
        traffic: phase(0.02 * took as f64, nodes << 21),
        ..Cost::default()
    };
    Ran {
        place: format!("reports/{scenario}/seed-{seed}"),
        scenario: scenario.to_owned(),
        seed,
        version: "0.1.0".to_owned(),
        mode: "virtual".to_owned(),
        seconds: 2.0,
        broken: Vec::new(),
        totals: Totals {
            mails: 10,
            to_delivered: spread,
            to_read: spread,
            ..Totals::default()
        },
        cost: Some(cost.summed()),
    }
}

fn together(runs: Vec<Ran>) -> Together {
    let mut together = Together {
        runs,
        ..Together::default()
    };
    together.sort();
    together
}

/// The names of the elements of a page, and its text.
fn seen(together: &Together) -> (Vec<String>, String) {
    let written = page::page(together).to_string();
    let (mut elements, mut text) = (Vec::new(), String::new());
    for event in EventReader::new(written.as_bytes()) {
        match event.unwrap() {
            XmlEvent::StartElement { name, .. } => elements.push(name.local_name),
            XmlEvent::Characters(more) => text.push_str(&more),
            _ => {}
        }
    }
    (elements, text)
}

#[test]
fn medians_are_over_the_runs_and_a_single_run_is_its_own() {
    assert_eq!(median(Vec::<u64>::new(), u64::cmp), None);
    assert_eq!(median(vec![9], u64::cmp), Some(9));
    assert_eq!(median(vec![4, 1, 3, 2], u64::cmp), Some(2));
    let mut runs = vec![
        run("storm", 3, 4, 900),
        run("storm", 1, 4, 100),
        run("storm", 2, 4, 300),
    ];
    // One that nothing was measured of says nothing about what is usual.
    runs.push(Ran {
        totals: Totals::default(),
        cost: None,
        version: "0.2.0".to_owned(),
        ..run("storm", 4, 4, 1)
    });
    runs.push(run("hostile", 1, 7, 50));
    let together = together(runs);
    assert!(together.kept && together.complete);
    let [storm, hostile] = &together.scenarios[..] else {
        panic!("{:?}", together.scenarios)
    };
    assert_eq!(
        (hostile.runs, hostile.to_delivered, hostile.nodes),
        (1, Some(50), Some(7))
    );
    assert_eq!(
        (storm.runs, storm.to_delivered, storm.to_acknowledged),
        (4, Some(300), None)
    );
    assert_eq!((storm.cpu_per_mail, storm.cpu_per_node), (Some(0.6), Some(0.5)));
    assert_eq!(storm.memory_per_node, Some(f64::from(1 << 20)));
    assert_eq!(storm.versions, ["0.1.0", "0.2.0"]);
    let told = together.to_string();
    assert!(
        told.contains("storm: runs of different versions: 0.1.0, 0.2.0"),
        "{told}"
    );
    let storm = told
        .lines()
        .find(|line| line.trim_start().starts_with("storm "))
        .unwrap();
    let fields: Vec<&str> = storm.split_whitespace().collect();
    let expected = "storm 4 0 300 ms 300 ms – 600 ms 500 ms 1 MiB";
    assert_eq!(fields, expected.split(' ').collect::<Vec<_>>());
}

#[test]
fn broken_promises_are_told_with_their_seeds_in_order() {
    let breaks = |seed: u64, broken: &[Promise]| Ran {
        broken: broken.to_vec(),
        ..run("storm", seed, 4, 100)
    };
    let mut runs = vec![
        breaks(30, &[Promise::QueuesDrain, Promise::OneFinalState]),
        breaks(2, &[Promise::OneFinalState]),
        breaks(1, &[]),
    ];
    let some = together(runs.clone());
    assert!(!some.kept && some.complete);
    let told = some.to_string();
    assert!(
        told.contains("storm: one-final-state was BROKEN with seeds 2, 30\n"),
        "{told}"
    );
    assert!(
        told.contains("storm: queues-drain was BROKEN with seed 30\n"),
        "{told}"
    );
    let (_, text) = seen(&some);
    assert!(
        text.contains("A promise was broken.") && text.contains("seeds 2, 30"),
        "{text}"
    );
    runs.extend((100..200).map(|seed| breaks(seed, &[Promise::QueuesDrain])));
    let told = together(runs).to_string();
    assert!(told.contains("118 and 81 more"), "{told}");
}

#[test]
fn runs_of_different_sizes_are_drawn_and_runs_of_one_size_are_not() {
    let sizes =
        [10, 100, 1000].map(|nodes| [1, 2].map(|seed| run(&format!("many-{nodes}"), seed, nodes, 70 + seed)));
    let (elements, text) = seen(&together(sizes.concat()));
    let count = |name: &str| elements.iter().filter(|element| *element == name).count();
    assert_eq!(count("svg"), 3);
    // Of each run one in each picture, and one that explains them.
    assert_eq!(count("circle"), 3 * (6 + 1));
    assert!(text.contains("nodes, logarithmic"), "{text}");
    assert!(text.contains("10: 500 ms; 100: 500 ms; 1000: 500 ms"), "{text}");
    let (elements, text) = seen(&together(vec![run("storm", 1, 4, 100), run("storm", 2, 4, 200)]));
    assert!(!elements.contains(&"svg".to_owned()));
    assert!(text.contains("there is nothing to draw"), "{text}");
}

#[test]
fn a_page_of_very_many_runs_stays_small_and_hostile_names_stay_text() {
    const HOSTILE: &str = "\"><script>alert('1')</script>\u{0}\u{202e}";
    let mut runs: Vec<Ran> = (1..20_000)
        .map(|seed| run("storm", seed, seed as usize % 997 + 1, 100))
        .collect();
    runs.push(run(HOSTILE, 1, 3, 100));
    runs[77].broken = vec![Promise::OneFinalState];
    let mut all = together(runs);
    all.missing = (0..3000).map(|number| format!("{HOSTILE}{number}")).collect();
    let written = page::page(&all).to_string();
    assert!(written.len() < 1_000_000, "{}", written.len());
    let (elements, text) = seen(&all);
    assert!(!elements.contains(&"script".to_owned()));
    for word in [
        "The first 500 of 20000",
        "the first 500 of 3000",
        "<script>alert('1')</script>\u{fffd}\u{fffd}",
    ] {
        assert!(text.contains(word), "{word}");
    }
    let told = all.to_string();
    assert!(told.contains("… and 2980 more"), "{told}");
}

#[test]
fn a_folder_gets_a_page_a_row_for_each_run_and_everything_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs = vec![run("a, \"b\"", 1, 4, 100), run("storm", 2, 4, 100)];
    runs[1].cost = None;
    runs[1].broken = vec![Promise::OneFinalState, Promise::QueuesDrain];
    let shown = together(runs).write(folder.path()).unwrap();
    assert!(shown.ends_with("sweep.html"));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("sweep.html").starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
    let csv = read("sweep.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert!(
        lines[0].starts_with("place,scenario,seed,version,mode,seconds,broken,"),
        "{csv}"
    );
    assert!(
        lines[1].contains(",\"a, \"\"b\"\"\",1,0.1.0,virtual,2,,10,"),
        "{csv}"
    );
    assert!(lines[2].contains(",one-final-state queues-drain,10,"), "{csv}");
    assert_eq!(lines[2].split(',').count(), lines[0].split(',').count());
    let json: serde_json::Value = serde_json::from_str(&read("sweep.json")).unwrap();
    assert_eq!(json["kept"], false);
    assert_eq!(json["scenarios"][0]["broken"][0]["seeds"][0], 2);
    let told = together(Vec::new())
        .write(&folder.path().join("nowhere"))
        .unwrap_err()
        .to_string();
    assert!(told.contains("nowhere/sweep.html cannot be written"), "{told}");
}

#[test]
fn what_a_read_of_memory_takes_and_what_was_done_are_drawn_where_they_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs = vec![run("small", 1, 4, 100), run("large", 1, 40, 100)];
    let page = |runs: Vec<Ran>| {
        together(runs).write(folder.path()).unwrap();
        std::fs::read_to_string(folder.path().join("sweep.html")).unwrap()
    };
    let titles = [
        "Nanoseconds that a read of memory takes that no cache holds",
        "Pieces on lines and operations of disks for each mail",
    ];
    let before = page(runs.clone());
    assert!(!titles.iter().any(|title| before.contains(title)), "{before}");
    for (run, read) in runs.iter_mut().zip([170e-9, 420e-9]) {
        let cost = run.cost.as_mut().unwrap();
        cost.memory_read = Some(read);
        let (pieces, operations) = (7 * cost.mails as u64, 3 * cost.mails as u64);
        cost.work = Some(Work { pieces, operations });
    }
    let page = page(runs);
    for (title, told) in titles.iter().zip(["40: 420", "40: 10"]) {
        assert!(page.contains(title) && page.contains(told), "{title}: {page}");
    }
}
