#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use super::*;

fn estonian() -> Scenario {
    Scenario::find("estonian").unwrap()
}

#[test]
fn the_same_seed_makes_the_same_plan_and_another_one_another() {
    let mut scenario = estonian();
    let plan = Plan::of(&scenario);
    assert_eq!(plan, Plan::of(&scenario));
    scenario.seed += 1;
    assert_ne!(plan, Plan::of(&scenario));
}

#[test]
fn a_plan_keeps_to_its_scenario() {
    let scenario = estonian();
    let plan = Plan::of(&scenario);
    assert_eq!(plan.mails.len(), scenario.mails());
    for mail in plan.mails.iter().filter(|mail| mail.answers.is_none()) {
        let mut traffic = scenario.traffic.iter();
        let traffic = traffic.find(|traffic| traffic.category == mail.category).unwrap();
        assert!(traffic.from.contains(&mail.author));
        assert!((1..=traffic.recipients).contains(&mail.to.len()));
        let to: HashSet<String> = mail.to.iter().map(ToString::to_string).collect();
        assert_eq!(to.len(), mail.to.len(), "nobody gets it twice");
        assert!(
            mail.to
                .iter()
                .all(|to| traffic.to.contains(to) && *to != mail.author)
        );
        assert!((traffic.files[0]..=traffic.files[1]).contains(&mail.files.len()));
        assert!(mail.files.iter().all(|file| *file < plan.files.len()));
    }
    let finance = plan
        .mails
        .iter()
        .filter(|mail| mail.category.as_str() == "finance");
    let shared: HashSet<usize> = finance.flat_map(|mail| mail.files.clone()).collect();
    assert!(shared.len() <= 2, "two files are shared by all");
}

#[test]
fn a_file_is_the_same_each_time_and_marked_all_over() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::of(&estonian());
    let written = |size: u64, seed: u64| {
        let path = folder.path().join("file");
        plan.write(&PlannedFile { size, seed }, &path).unwrap();
        std::fs::read(path).unwrap()
    };
    assert_eq!(written(0, 1), b"");
    assert_eq!(written(3, 1), b"mar");
    let file = written(10_000, 1);
    assert_eq!(file.len(), 10_000);
    assert_eq!(file, written(10_000, 1));
    assert_ne!(file, written(10_000, 2));
    for stretch in file.chunks(STRETCH) {
        assert!(stretch.starts_with(plan.marker.as_bytes()));
    }
    assert!(plan.text(0).contains(&plan.marker));
}

#[test]
fn mails_to_everybody_go_to_each_person_once_and_to_as_many_each() {
    let mut scenario = Scenario::find("flash").unwrap();
    let traffic = &mut scenario.traffic[0];
    traffic.count = 3;
    let everybody = traffic.to.clone();
    let plan = Plan::of(&scenario);
    let mut sizes: Vec<usize> = plan.mails.iter().map(|mail| mail.to.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [133, 133, 134]);
    let reached: HashSet<String> = plan
        .mails
        .iter()
        .flat_map(|mail| &mail.to)
        .map(ToString::to_string)
        .collect();
    assert_eq!(reached.len(), everybody.len());
    assert!(plan.mails.iter().all(|mail| mail.files == plan.mails[0].files));
}

#[test]
fn people_of_one_domain_write_to_some_others_only_and_always_the_same() {
    let many = "30x2x4x2000".parse::<crate::scenario::Many>().unwrap();
    let scenario = Scenario::read("many", &many.scenario()).unwrap();
    let plan = Plan::of(&scenario);
    assert_eq!(plan, Plan::of(&scenario));
    let mut circles: HashMap<&Domain, HashSet<&Domain>> = HashMap::new();
    for mail in &plan.mails {
        let circle = circles.entry(mail.author.domain()).or_default();
        circle.extend(mail.to.iter().map(Address::domain));
    }
    assert_eq!(circles.len(), 30);
    for (own, circle) in &circles {
        assert!(
            (8..=10).contains(&circle.len()) && !circle.contains(own),
            "{own}: {circle:?}"
        );
    }
    let different: HashSet<Vec<&&Domain>> = circles
        .values()
        .map(|circle| {
            let mut circle: Vec<_> = circle.iter().collect();
            circle.sort();
            circle
        })
        .collect();
    assert!(different.len() > 25, "each domain has its own");
}

#[test]
fn an_answer_comes_after_what_it_answers_and_goes_from_one_who_got_it_to_who_wrote_it() {
    let mut scenario = estonian();
    for traffic in &mut scenario.traffic {
        traffic.replies = traffic.count;
    }
    for seed in 1..=20 {
        scenario.seed = seed;
        let plan = Plan::of(&scenario);
        assert_eq!(plan.mails.len(), scenario.mails());
        let mut answered = HashSet::new();
        for (place, mail) in plan.mails.iter().enumerate() {
            let Some(before) = mail.answers else { continue };
            assert!(before < place, "{before} is answered by {place}");
            assert!(answered.insert(before), "{before} is answered twice");
            let asked = &plan.mails[before];
            assert_eq!(asked.answered_by, Some(place));
            assert!(asked.to.contains(&mail.author));
            assert_eq!(mail.to, std::slice::from_ref(&asked.author));
            assert_eq!(mail.category, asked.category);
            assert!(
                plan.text(place)
                    .starts_with(&format!("> This is mail {}.", before + 1))
            );
            let accounts = scenario.accounts();
            let mut mailboxes = accounts.mailboxes_of(&mail.author);
            assert!(
                mail.origin
                    .iter()
                    .all(|origin| mailboxes.any(|mailbox| mailbox == *origin))
            );
        }
        assert_eq!(answered.len(), plan.mails.len() / 2);
    }
}
