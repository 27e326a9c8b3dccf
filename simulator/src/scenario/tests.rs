#![allow(clippy::unwrap_used)]

use super::*;

fn wrong(text: &str) -> String {
    let error = Scenario::read("mine.toml", text).unwrap_err();
    let told = format!("{error:#}");
    assert!(told.starts_with("mine.toml: "), "{told}");
    told
}

/// The commented scenario with one piece of it changed.
fn with(before: &str, after: &str) -> String {
    assert!(NEW.contains(before), "{before}");
    NEW.replacen(before, after, 1)
}

fn hostile(role: &str, against: &str, before: usize) -> String {
    format!("[[hostile]]\nrole = \"{role}\"\nagainst = \"{against}\"\nbefore = {before}\n# [")
}

#[test]
fn every_shipped_scenario_and_the_commented_one_can_be_run() {
    for (name, text) in SHIPPED {
        let scenario = Scenario::read(name, text).unwrap();
        assert_eq!(scenario.promises, Promise::standard());
        assert_eq!(description(text), scenario.description);
        Scenario::find(name).unwrap();
    }
    let new = Scenario::read("new", NEW).unwrap();
    assert_eq!(new.mails(), 10);
    assert_eq!(new.everybody().len(), 2);
}

#[test]
fn a_large_scenario_that_was_printed_can_be_run() {
    let mut many = Many {
        domains: 30,
        mailboxes: 0,
        people: 4,
        mails: 500,
    };
    let scenario = Scenario::read("large", &many.scenario()).unwrap();
    assert_eq!((scenario.sites.len(), scenario.mails()), (30, 500));
    assert_eq!(scenario.everybody().len(), 120);
    many.mailboxes = 3;
    let scenario = Scenario::read("nodes", &many.scenario()).unwrap();
    assert_eq!(scenario.sites.len(), 30 * 4);
    let accounts = scenario.accounts();
    for person in scenario.everybody() {
        assert_eq!(accounts.mailboxes_of(&person).count(), 1, "{person}");
    }
}

#[test]
fn who_wishes_nothing_gets_everything_where_they_have_an_account() {
    let scenario = Scenario::find("four-domains").unwrap();
    let bob = Address::parse("bob@bar.test").unwrap();
    let locator = Locator::parse("mailbox.insurance.test").unwrap();
    assert_eq!(scenario.wishes_of(&bob, &scenario.accounts()).default, [locator]);
}

#[test]
fn the_commented_scenario_names_every_promise() {
    for promise in Promise::standard()
        .into_iter()
        .chain([Promise::NothingIsReported])
    {
        assert!(NEW.contains(&format!("\"{promise}\"")), "{promise}");
    }
}

#[test]
fn what_is_written_is_read_as_it_was() {
    for (name, text) in SHIPPED.into_iter().chain([("new", NEW)]) {
        let scenario = Scenario::read(name, text).unwrap();
        let written = scenario.text().unwrap();
        let again = Scenario::read(name, &written).unwrap();
        assert_eq!(format!("{scenario:?}"), format!("{again:?}"), "{written}");
    }
    let mut large = Scenario::find("storm").unwrap();
    large.seed = u64::MAX;
    large.traffic[0].sizes = vec![Size(u64::MAX)];
    let again: Scenario = toml::from_str(&large.text().unwrap()).unwrap();
    assert_eq!(
        (again.seed, &again.traffic[0].sizes),
        (u64::MAX, &large.traffic[0].sizes)
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_file_and_line() {
    let told = wrong(&with("count = 10", "count = 10\ncolour = \"red\""));
    assert!(
        told.contains("colour") && told.contains("unknown field") && told.contains("line"),
        "{told}"
    );
}

#[test]
fn a_key_that_is_missing_or_of_another_kind_is_named() {
    assert!(wrong(&with("seed = 1", "")).contains("seed"));
    assert!(wrong(&with("count = 10", "count = \"many\"")).contains("count"));
    let told = wrong(&with("\"2 MiB\"", "\"2 parsecs\""));
    assert!(
        told.contains("2 parsecs") && told.contains("a size such as"),
        "{told}"
    );
    assert!(wrong(&with("web = 1,", "pigeon = 1,")).contains("pigeon"));
    assert!(
        wrong(&with(
            "category = \"healthcare\"\norigin",
            "category = \"two words\"\norigin"
        ))
        .contains("two words")
    );
    assert!(wrong(&with("# promises = [", "promises = [\"peace\"]\n# [")).contains("peace"));
}

#[test]
fn what_does_not_fit_together_is_named_by_its_key() {
    let cases = [
        ("concurrent = 4", "concurrent = 0", "concurrent: "),
        ("patience = 120", "patience = 0", "patience: "),
        (
            "name = \"hospital.test\"",
            "name = \"foo.test\"",
            "sites[1].name: ",
        ),
        (
            "mailbox = true\npeople = [\"alice",
            "people = [\"alice",
            "sites[1].mailbox: ",
        ),
        (
            "people = [\"bob@bar.test\"]",
            "people = [\"bob@other.test\"]",
            "sites[2].people: ",
        ),
        (
            "person = \"bob@bar.test\"",
            "person = \"carol@bar.test\"",
            "wishes[0].person: ",
        ),
        (
            "default = [\"mailbox.bar.test\"]",
            "default = [\"mailbox.foo.test\"]",
            "wishes[0].default: ",
        ),
        (
            "locator = \"mailbox.bar.test\"",
            "locator = \"mailbox.far.test\"",
            "wishes[0].rules[0].locator: ",
        ),
        (
            "from = [\"alice@foo.test\"]",
            "from = [\"carol@foo.test\"]",
            "traffic[0].from: ",
        ),
        (
            "to = [\"bob@bar.test\"]",
            "to = [\"bob@bar.test\", \"bob@bar.test\"]",
            "traffic[0].to: ",
        ),
        ("recipients = 1", "recipients = 2", "traffic[0].recipients: "),
        (
            "people = [\"bob@bar.test\"]",
            "people = [\"bob@bar.test\", \"Bob@bar.test\"]",
            "sites[2].people: ",
        ),
        (
            "# promises = [",
            &hostile("cid-prober", "hospital.test", 1),
            "hostile[0].before: ",
        ),
        (
            "# promises = [",
            &hostile("sybils", "bar.test", 1),
            "hostile[0].before: ",
        ),
        ("replies = 0", "replies = 11", "traffic[0].replies: "),
        (
            "how = \"stop\" ",
            "how = \"old-key-withdrawn\" ",
            "faults[0].how: ",
        ),
        (
            "start_before = 8\n",
            "start_before = 5\n[[faults]]\nsite = \"bar.test\"\nhow = \"old-key-withdrawn\"\nstop_before = 6\n",
            "faults[1].how: ",
        ),
        (
            "origin = \"mailbox.hospital.test\"",
            "origin = \"mailbox.bar.test\"",
            "traffic[0].origin: ",
        ),
        ("files = [0, 2]", "files = [2, 0]", "traffic[0].files: "),
        (
            "sizes = [\"1 KiB\", \"2 MiB\"]",
            "sizes = []",
            "traffic[0].sizes: ",
        ),
        (
            "shared_files = 0",
            "shared_files = 1",
            "traffic[0].shared_files: ",
        ),
        (
            "{ web = 1, smtp = 1, web-then-smtp = 2 }",
            "{ web = 0 }",
            "traffic[0].channels: ",
        ),
        ("count = 10", "count = 0", "traffic: "),
        ("count = 10", "count = 100001", "traffic: "),
        ("\"2 MiB\"", "\"900 GiB\"", "traffic: "),
        ("site = \"bar.test\"", "site = \"far.test\"", "faults[0].site: "),
        ("stop_before = 4", "stop_before = 11", "faults[0].stop_before: "),
        ("start_before = 8", "start_before = 4", "faults[0].start_before: "),
        (
            "start_before = 8",
            "start_before = 12",
            "faults[0].start_before: ",
        ),
        (
            "start_before = 8",
            "\n[[faults]]\nsite = \"bar.test\"\nstop_before = 9",
            "faults[1].stop_before: ",
        ),
        (
            "stop_before = 4",
            "with = [\"foo.test\"]\nstop_before = 4",
            "faults[0].with: ",
        ),
        (
            "how = \"stop\"",
            "how = \"cut-off\"\nwith = [\"far.test\"]",
            "faults[0].with: ",
        ),
        (
            "# promises = [",
            &hostile("cid-prober", "far.test", 2),
            "hostile[0].against: ",
        ),
        (
            "# promises = [",
            &hostile("cid-prober", "foo.test", 2),
            "hostile[0].against: ",
        ),
        (
            "# promises = [",
            &hostile("forger", "hospital.test", 2),
            "hostile[0].against: ",
        ),
        (
            "# promises = [",
            &hostile("flooder", "foo.test", 11),
            "hostile[0].before: ",
        ),
        ("# promises = [", &hostile("saint", "foo.test", 2), "saint"),
        (
            "# promises = [",
            &hostile("slow-reader", "foo.test", 2),
            "hostile[0].against: ",
        ),
        (
            "# promises = [",
            &hostile("spammer", "hospital.test", 2),
            "hostile[0].against: ",
        ),
        (
            "# promises = [",
            &hostile("poisoner", "foo.test", 2),
            "hostile[0].role: ",
        ),
        ("every = 0.5", "every = 86401", "every: "),
        ("every = 0.5", "every = 0", "faults[0].start_before: "),
        (
            "# promises = [",
            &link("far.test", "foo.test", "dsl"),
            "links[0].from: ",
        ),
        (
            "# promises = [",
            &link("foo.test", "far.test", "dsl"),
            "links[0].to: ",
        ),
        ("how = \"stop\"", "how = \"wrong-clock\"", "faults[0].by: "),
        (
            "how = \"stop\"",
            "how = \"wrong-clock\"\nby = 0",
            "faults[0].by: ",
        ),
        (
            "how = \"stop\"",
            "how = \"wrong-clock\"\nby = -31536001",
            "faults[0].by: ",
        ),
        ("how = \"stop\"", "how = \"stop\"\nby = 60", "faults[0].by: "),
        ("everybody = false", "everybody = true", "traffic[0].everybody: "),
    ];
    for (before, after, key) in cases {
        let told = wrong(&with(before, after));
        assert!(told.contains(key), "{after}: {told}");
    }
}

fn link(from: &str, to: &str, condition: &str) -> String {
    format!("[[links]]\nfrom = [\"{from}\"]\nto = [\"{to}\"]\ncondition = \"{condition}\"\n# [")
}

#[test]
fn a_condition_that_nobody_knows_is_told_with_those_that_are_known() {
    let site = with("mailbox = true\n", "mailbox = true\nline = \"pigeon\"\n");
    let link = with("# promises = [", &link("foo.test", "bar.test", "pigeon"));
    for told in [wrong(&site), wrong(&link)] {
        assert!(told.contains("pigeon"), "{told}");
        for known in ["data-centre", "fibre", "dsl", "mobile", "satellite"] {
            assert!(told.contains(known), "{told}");
        }
    }
}

#[test]
fn who_is_misled_and_who_answers_the_villain_stand_in_two_scenarios() {
    let misled = with("how = \"stop\"", "how = \"poisoned-dns\"");
    let scenario = Scenario::read("mine.toml", &misled).unwrap();
    assert_eq!(scenario.villain().unwrap().name, VILLAIN);
    let both = misled.replacen("# promises = [", &hostile("forger", "foo.test", 2), 1);
    assert!(wrong(&both).contains("faults[0].how: "));
}

#[test]
fn a_flash_that_was_printed_can_be_run_and_the_shipped_one_is_one() {
    let flash = |text: &str| text.parse::<Flash>();
    let shipped = SHIPPED.iter().find(|(name, _)| *name == "flash").unwrap().1;
    assert_eq!(flash("40x10").unwrap().scenario(), shipped);
    let scenario = Scenario::read("flash", &flash("500x20").unwrap().scenario()).unwrap();
    assert_eq!((scenario.sites.len(), scenario.mails()), (501, 10));
    assert_eq!(scenario.everybody().len(), 10_001);
    for wrong in ["", "500", "x", "-1x2", "2x3x4", "99999999999999999999x1"] {
        let told = flash(wrong).unwrap_err().to_string();
        assert!(told.contains("500x20"), "{told}");
    }
    for (beyond, what) in [
        ("0x20", "nodes: 1 to 60000"),
        ("60000x1", "nodes: "),
        ("500x0", "people: 1 to 1000000"),
        ("50000x50000", "people: "),
    ] {
        let told = flash(beyond).unwrap_err().to_string();
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn a_list_is_for_others_than_its_author_and_for_as_many_as_a_mail_may_have() {
    let text = Flash {
        domains: 50,
        people: 40,
    };
    let text = text.scenario();
    Scenario::read("list.toml", &text).unwrap();
    let told = format!(
        "{:#}",
        Scenario::read("list.toml", &text.replace("count = 2", "count = 1")).unwrap_err()
    );
    assert!(told.contains("traffic[0].everybody: "), "{told}");
    let own = text.replace("to = [\n", "to = [\"announce@list.test\",\n");
    let told = format!("{:#}", Scenario::read("list.toml", &own).unwrap_err());
    assert!(told.contains("traffic[0].to: "), "{told}");
}

#[test]
fn a_mail_has_no_more_recipients_than_it_may_have() {
    let many = Many {
        domains: 1,
        mailboxes: 0,
        people: 1002,
        mails: 1,
    };
    let text = |recipients: usize| {
        let changed = format!("circle = 0\nrecipients = {recipients}");
        many.scenario().replace("circle = 0", &changed)
    };
    Scenario::read("mine.toml", &text(1000)).unwrap();
    let told = wrong(&text(1001));
    assert!(told.contains("traffic[0].recipients: "), "{told}");
    assert!(told.contains("1 to 1000 recipients"), "{told}");
}

#[test]
fn whoever_abuses_no_mail_can_do_harm_before_the_first() {
    for (role, against) in [
        ("forger", "foo.test"),
        ("sybils", "foo.test"),
        ("token-thief", "foo.test"),
    ] {
        let text = with("# promises = [", &hostile(role, against, 1));
        Scenario::read("mine.toml", &text).unwrap();
    }
}

#[test]
fn the_commented_scenario_writes_a_senders_domain_as_rules_take_it() {
    assert!(NEW.contains("sender (\"foo.test\""));
    let rule = "rules = [{ sender = \"foo.test\", locator";
    Scenario::read(
        "mine.toml",
        &with("rules = [{ category = \"healthcare\", locator", rule),
    )
    .unwrap();
    let told = wrong(&with(
        "rules = [{ category = \"healthcare\", locator",
        &rule.replace("foo", "@foo"),
    ));
    assert!(told.contains("@foo.test"), "{told}");
}

#[test]
fn a_circle_has_as_many_people_as_a_mail_may_have_recipients() {
    let many = Many {
        domains: 5,
        mailboxes: 0,
        people: 3,
        mails: 10,
    };
    let text = many.scenario();
    let said = |change: &str| {
        let read = Scenario::read("circle.toml", &text.replace("circle = 4", change));
        read.map_or_else(|why| format!("{why:#}"), |_| "possible".to_owned())
    };
    assert_eq!(said("circle = 1\nrecipients = 3"), "possible");
    let told = said("circle = 1\nrecipients = 4");
    assert!(
        told.contains("traffic[0].circle: ") && told.contains("to 3 people"),
        "{told}"
    );
    assert_eq!(said("circle = 2\nrecipients = 4"), "possible");
    let told = said("circle = 1\neverybody = true");
    assert!(told.contains("traffic[0]."), "{told}");
    // One domain has no others.
    let one = Many { domains: 1, ..many };
    Scenario::read("one.toml", &one.scenario()).unwrap();
    let alone = one.scenario().replace("circle = 0", "circle = 1");
    let told = format!("{:#}", Scenario::read("alone.toml", &alone).unwrap_err());
    assert!(told.contains("traffic[0].circle: 0 other domains"), "{told}");
}

#[test]
fn a_scenario_that_is_nowhere_is_told_with_those_that_are_there() {
    let told = Scenario::find("atlantis").unwrap_err().to_string();
    assert!(
        told.contains("atlantis") && told.contains("four-domains"),
        "{told}"
    );
    let told = format!("{:#}", Scenario::find("nowhere/atlantis.toml").unwrap_err());
    assert!(told.contains("nowhere/atlantis.toml"), "{told}");
}

#[test]
fn sizes_are_read_as_people_write_them() {
    let sizes = ["0", "7 B", "64 KiB", "3MiB", "1 GiB"].map(|text| Size::parse(text).unwrap().0);
    assert_eq!(sizes, [0, 7, 65_536, 3_145_728, 1 << 30]);
    for (octets, told) in [
        (0, "0 B"),
        (700, "700 B"),
        (65_536, "64 KiB"),
        (3 << 20, "3 MiB"),
        (u64::MAX, "18446744073709551615 B"),
    ] {
        assert_eq!(Size(octets).to_string(), told);
        assert_eq!(Size::parse(told), Some(Size(octets)));
    }
    for text in [
        "",
        "KiB",
        "-1",
        "1 KB",
        "1.5 MiB",
        "99999999999999999999",
        "17179869184 GiB",
    ] {
        assert_eq!(Size::parse(text), None, "{text}");
    }
}

#[test]
fn whoever_may_answer_has_a_place_to_post() {
    let text = |replies: &str| {
        with("replies = 0", replies)
            .replacen(
                "people = [\"alice@foo.test\"]",
                "people = [\"alice@foo.test\", \"dave@foo.test\"]",
                1,
            )
            .replacen(
                "to = [\"bob@bar.test\"]",
                "to = [\"bob@bar.test\", \"dave@foo.test\"]",
                1,
            )
    };
    Scenario::read("mine.toml", &text("replies = 0")).unwrap();
    let told = wrong(&text("replies = 1"));
    assert!(
        told.contains("traffic[0].replies: dave@foo.test has no account at a mailbox"),
        "{told}"
    );
}
