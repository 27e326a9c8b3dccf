//! Whole runs through the program: a small town that keeps its promises, two that cannot, and what is shipped.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Alice at one domain, Bob at another that has a mailbox of its own.
const TOWN: &str = r#"
description = "a small town"
seed = 7
patience = PATIENCE

[[sites]]
name = "foo.test"
broker = true
people = ["alice@foo.test"]

[[sites]]
name = "hospital.test"
mailbox = true
people = ["alice@foo.test"]

[[sites]]
name = "bar.test"
broker = true
mailbox = true
people = ["bob@bar.test", "carol@bar.test"]

[[traffic]]
count = 4
from = ["alice@foo.test"]
to = ["bob@bar.test", "carol@bar.test"]
recipients = 2
category = "healthcare"
files = [1, 2]
sizes = ["3 KiB", "1100 KiB"]
shared_files = 2
channels = { smtp = 1, web = 1 }
"#;

fn simulator() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cargomail-simulator"))
}

/// Runs a scenario on real nodes; what the program said, and the report that it wrote.
fn run(folder: &Path, scenario: &str) -> (Output, Value) {
    run_with(folder, scenario, &["--real"])
}

fn run_with(folder: &Path, scenario: &str, flags: &[&str]) -> (Output, Value) {
    let file = folder.join("town.toml");
    std::fs::write(&file, scenario).unwrap();
    let output = simulator()
        .arg("run")
        .arg(&file)
        .args(["--json", "--report"])
        .arg(folder.join("report.json"))
        .arg("--folder")
        .arg(folder.join("town"))
        .args(flags)
        .output()
        .unwrap();
    let report = std::fs::read(folder.join("report.json")).unwrap();
    let report = serde_json::from_slice(&report).unwrap_or(Value::Null);
    (output, report)
}

/// Whether every promise was kept: nobody does harm, no way is named, and what goes over the lines is seen in a virtual world alone.
fn all_held(report: &Value) {
    let unseen = match report["mode"] == "virtual" {
        true => &["harm-is-refused", "paths-are-taken"][..],
        false => &["harm-is-refused", "paths-are-taken", "no-byte-without-a-grant"],
    };
    for judged in report["promises"].as_array().unwrap() {
        let expected = match unseen.contains(&judged["promise"].as_str().unwrap()) {
            true => "nothing-to-check",
            false => "held",
        };
        match judged["promise"] == "others-are-served" {
            // Where every mail needs the site that was stopped, there is none.
            true => assert_ne!(judged["verdict"], "broken", "{judged}"),
            false => assert_eq!(judged["verdict"], expected, "{judged}"),
        }
    }
}

fn verdict<'a>(report: &'a Value, promise: &str) -> &'a str {
    let mut promises = report["promises"].as_array().unwrap().iter();
    let judged = promises.find(|judged| judged["promise"] == promise).unwrap();
    judged["verdict"].as_str().unwrap()
}

#[test]
fn a_small_town_keeps_every_promise_while_a_site_stops_and_starts() {
    let folder = tempfile::tempdir().unwrap();
    let fault = "\n[[faults]]\nsite = \"bar.test\"\nstop_before = 2\nstart_before = 4\n";
    let (output, report) = run(
        folder.path(),
        &(TOWN.replace("PATIENCE", "300\nevery = 0.5") + fault),
    );
    assert!(
        output.status.success(),
        "{report:#}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["promises"], report["promises"]);
    all_held(&report);
    assert_eq!(report["totals"]["accepted"], 4);
    assert_eq!(report["totals"]["delivered"], report["totals"]["deliveries"]);
    assert_eq!(report["history"]["faults"].as_array().unwrap().len(), 2);
    assert_eq!(report["history"]["providers"][0]["site"], "foo.test");
    assert!(report["history"]["providers"][0]["asked"].as_u64().unwrap() > 0);
    assert_eq!(
        report["cost"]["work"],
        Value::Null,
        "nobody counts on real ground"
    );
}

#[test]
fn ctrl_c_ends_a_run_of_either_kind_and_leaves_nothing_behind() {
    for flags in [&[][..], &["--real"]] {
        let folder = tempfile::tempdir().unwrap();
        let (scenario, temporary) = (folder.path().join("town.toml"), folder.path().join("temporary"));
        // Its authors wait for a day of the world's, or of ours, with the second mail.
        let town = TOWN.replace("PATIENCE", "300");
        let town = town.replace("patience =", "every = 86400.0\npatience =");
        std::fs::write(&scenario, town.replace("count = 4", "count = 4000")).unwrap();
        std::fs::create_dir(&temporary).unwrap();
        let mut running = Command::new(env!("CARGO_BIN_EXE_cargomail-simulator"));
        let running = running.arg("run").arg(&scenario).args(flags);
        let running = running.env("TMPDIR", &temporary).stderr(Stdio::piped());
        let running = running.spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(120);
        let laid_out = || {
            let entries = std::fs::read_dir(&temporary).unwrap();
            entries
                .map(|entry| entry.unwrap().path())
                .any(|path| path.join("files").exists())
        };
        while !laid_out() {
            assert!(Instant::now() < until, "nobody has written anything");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill_process(Pid::from_child(&running), Signal::INT).unwrap();
        let ended = running.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains("stopped by Ctrl-C"), "{said}");
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "{said}");
    }
}

#[test]
fn the_same_town_in_a_virtual_world_keeps_every_promise_and_leaves_the_same_trace_again() {
    let folder = tempfile::tempdir().unwrap();
    let fault = "\n[[faults]]\nsite = \"bar.test\"\nstop_before = 2\nstart_before = 4\n";
    let scenario = TOWN.replace("PATIENCE", "300\nevery = 0.5") + fault;
    let trace = folder.path().join("trace.txt");
    let flags = ["--check-determinism", "--trace", trace.to_str().unwrap()];
    let (output, report) = run_with(folder.path(), &scenario, &flags);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report:#}\n{said}");
    assert_eq!(report["mode"], "virtual");
    all_held(&report);
    let cost = &report["cost"];
    assert_eq!(
        (&cost["nodes"], &cost["people"], &cost["mails"]),
        (&3.into(), &3.into(), &4.into())
    );
    for part in ["laying_out", "traffic", "checks"] {
        assert!(cost[part]["cpu_seconds"].as_f64().unwrap() > 0.0, "{cost}");
        assert!(cost[part]["peak_memory"].as_u64().unwrap() > 0, "{cost}");
    }
    assert_eq!(report["totals"]["delivered"], report["totals"]["deliveries"]);
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(
        said.contains(&format!(
            "trace of {} lines, twice the same",
            trace.lines().count()
        )),
        "{said}"
    );
    assert!(trace.contains("everything is stored"), "{trace}");
    let work = &cost["work"];
    for part in ["pieces", "operations"] {
        assert!(work[part].as_u64().unwrap() > 100, "{cost}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let (_, again) = run_with(elsewhere.path(), &scenario, &[]);
    assert_eq!(
        &again["cost"]["work"], work,
        "the same work, whatever time it took"
    );
}

#[test]
fn who_answers_has_read_what_they_answer_and_nobody_answers_what_never_came() {
    let folder = tempfile::tempdir().unwrap();
    let town = TOWN
        .replace("PATIENCE", "300")
        .replace("count = 4", "count = 4\nreplies = 3");
    let (output, report) = run_with(folder.path(), &town, &["--check-determinism"]);
    assert!(output.status.success(), "{report:#}");
    let mails = report["history"]["mails"].as_array().unwrap();
    assert_eq!(mails.len(), 7);
    let mut answers = 0;
    for mail in mails {
        let Some(number) = mail["answers"].as_u64() else {
            continue;
        };
        let answered = mails.iter().find(|mail| mail["number"] == number).unwrap();
        let mut fates = answered["fates"].as_array().unwrap().iter();
        let read = fates.find(|fate| fate["recipient"] == mail["author"]).unwrap();
        let accepted = mail["sending"]["accepted"]["at"].as_u64().unwrap();
        assert!(read["read_at"].as_u64().unwrap() <= accepted, "{mail}");
        answers += 1;
    }
    assert_eq!(answers, 3);

    // Nobody at bar.test gets anything, so nobody there answers.
    let fault = "\n[[faults]]\nsite = \"bar.test\"\nstop_before = 1\n";
    std::fs::remove_dir_all(folder.path().join("town")).unwrap();
    let (output, report) = run_with(folder.path(), &(town + fault), &[]);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(verdict(&report, "every-mail-is-accepted"), "held");
    let mails = report["history"]["mails"].as_array().unwrap();
    let not_due = mails.iter().filter(|mail| mail["sending"] == "not-due");
    assert_eq!(not_due.count(), 3);
    assert_eq!(report["totals"]["accepted"], 4);
}

/// Runs a shipped scenario in a virtual world: everything arrives, and every promise that it makes is kept.
fn keeps_its_promises(scenario: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let output = simulator()
        .args(["run", scenario, "--json", "--report"])
        .arg(folder.path().join("report.json"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert!(output.status.success(), "{scenario}: {:#}", report["promises"]);
    assert_eq!(
        report["totals"]["delivered"], report["totals"]["deliveries"],
        "{scenario}"
    );
    for promise in [
        "read-equals-written",
        "delivered-is-acknowledged",
        "queues-drain",
        "nothing-is-reported",
    ] {
        assert_eq!(verdict(&report, promise), "held", "{scenario}");
    }
    report
}

#[test]
fn every_shipped_scenario_keeps_its_promises_in_a_virtual_world() {
    for scenario in ["four-domains", "shared", "estonian", "storm"] {
        keeps_its_promises(scenario);
    }
}

#[test]
fn every_shipped_scenario_keeps_its_promises_in_a_virtual_world_also_with_many_people_and_poor_lines() {
    for scenario in ["flash", "homes", "world"] {
        keeps_its_promises(scenario);
    }
}

#[test]
fn every_shipped_scenario_keeps_its_promises_in_a_virtual_world_also_where_lines_break() {
    paths_are_taken_in(&["breaks"]);
}

#[test]
fn every_shipped_scenario_keeps_its_promises_in_a_virtual_world_also_where_keys_change_and_nodes_come_and_go()
{
    paths_are_taken_in(&["keys", "churn"]);
}

fn paths_are_taken_in(scenarios: &[&str]) {
    for scenario in scenarios {
        let report = keeps_its_promises(scenario);
        for promise in ["paths-are-taken", "no-byte-without-a-grant"] {
            assert_eq!(verdict(&report, promise), "held", "{scenario}");
        }
    }
}

/// Whoever has heard of the old key alone refuses what the new one signs: for as long as the DNS is believed, and no longer.
#[test]
fn a_key_that_nobody_could_hear_of_is_refused_and_the_mail_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let fault = "\n[[faults]]\nsite = \"foo.test\"\nhow = \"new-key\"\nstop_before = 3\nstart_before = 4\n";
    let scenario = TOWN.replace("PATIENCE", "3600\nevery = 1") + fault;
    let (output, report) = run_with(folder.path(), &scenario, &[]);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(verdict(&report, "one-final-state"), "held");
    assert_eq!(report["totals"]["accepted"], 4);
}

/// The destination's agent goes on fetching, over a poor line, with what the recipient's broker has signed; meanwhile that key is withdrawn. Then the
/// broker signs it anew, and what has come already is not lost.
#[test]
fn what_a_withdrawn_key_has_signed_is_not_believed_and_signed_anew() {
    let town = r#"
description = "a town with a poor line"
seed = 7
patience = 3600
every = 900
sites = [
    { name = "foo.test", broker = true, people = ["alice@foo.test"] },
    { name = "hospital.test", mailbox = true, line = "dsl", people = ["alice@foo.test"] },
    { name = "bar.test", broker = true, people = ["bob@bar.test"] },
    { name = "insurance.test", mailbox = true, people = ["bob@bar.test"] },
]
faults = [
    { site = "hospital.test", how = "slow", stop_before = 1, start_before = 5 },
    { site = "insurance.test", stop_before = 2, start_before = 4 },
    { site = "bar.test", how = "new-key", stop_before = 1, start_before = 2 },
    WITHDRAWN
]

[[traffic]]
count = 4
from = ["alice@foo.test"]
to = ["bob@bar.test"]
category = "healthcare"
files = [1, 1]
sizes = ["20 MiB"]
channels = { web = 1 }
"#;
    let withdrawn = "{ site = \"bar.test\", how = \"old-key-withdrawn\", stop_before = 3 },";
    for withdrawn in ["", withdrawn] {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let arguments = ["--trace", trace.to_str().unwrap()];
        let (output, report) = run_with(folder.path(), &town.replace("WITHDRAWN", withdrawn), &arguments);
        assert!(output.status.success(), "{withdrawn}");
        assert_eq!(verdict(&report, "one-final-state"), "held");
        assert_eq!(verdict(&report, "read-equals-written"), "held");
        let totals = &report["totals"];
        assert_eq!((&totals["accepted"], &totals["reported"]), (&4.into(), &0.into()));
        let said = std::fs::read_to_string(&trace).unwrap();
        let is_refused = said.contains("error=nested token: NotBound");
        assert_eq!(is_refused, !withdrawn.is_empty());
    }
}

#[test]
fn every_shipped_scenario_keeps_its_promises_in_a_virtual_world_also_among_those_who_do_harm() {
    for (scenario, acts) in [("troubles", 2), ("liars", 7), ("spam-wave", 4)] {
        let report = keeps_its_promises(scenario);
        assert_eq!(verdict(&report, "harm-is-refused"), "held", "{scenario}");
        let done = report["history"]["hostile"].as_array().unwrap();
        assert_eq!(done.len(), acts, "{scenario}: {done:?}");
    }
}

/// Who notifies or fetches with a wrong clock is not believed, and an origin's name leads whoever is misled to nobody: both pass, and then everything
/// arrives.
#[test]
fn a_wrong_clock_and_a_misled_agent_cost_time_and_nothing_else() {
    for (site, how, shows) in [
        (
            "bar.test",
            "how = \"wrong-clock\"\nby = 600",
            "error=token: Expired",
        ),
        (
            "foo.test",
            "how = \"wrong-clock\"\nby = -600",
            "error=token: Expired",
        ),
        (
            "hospital.test",
            "how = \"wrong-clock\"\nby = 86400",
            "the origin asks to come back",
        ),
        ("bar.test", "how = \"poisoned-dns\"", "no peer address with a"),
        // It asks for nothing that it is told lies about.
        ("hospital.test", "how = \"poisoned-dns\"", ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let fault = format!("\n[[faults]]\nsite = \"{site}\"\n{how}\nstop_before = 2\nstart_before = 4\n");
        let scenario = TOWN.replace("PATIENCE", "3600\nevery = 30") + &fault;
        let trace = folder.path().join("trace");
        let (output, report) = run_with(folder.path(), &scenario, &["--trace", trace.to_str().unwrap()]);
        assert!(output.status.success(), "{site} {how}: {report:#}");
        let said = std::fs::read_to_string(&trace).unwrap();
        assert!(said.contains(shows), "{site} {how}");
        assert_eq!(verdict(&report, "one-final-state"), "held", "{site} {how}");
        assert_eq!(report["totals"]["accepted"], 4, "{site} {how}");
        assert_eq!(report["totals"]["reported"], 0, "{site} {how}");
        // Who was told no lie shows nothing.
        let harm = match (how.contains("poisoned"), shows.is_empty()) {
            (true, false) => "held",
            _ => "nothing-to-check",
        };
        assert_eq!(verdict(&report, "harm-is-refused"), harm, "{site} {how}");
    }
}

#[test]
fn what_only_a_virtual_world_can_do_is_refused_on_real_ground() {
    let folder = tempfile::tempdir().unwrap();
    let fault = "\n[[faults]]\nsite = \"bar.test\"\nhow = \"crash\"\nstop_before = 2\n";
    let (output, _) = run(folder.path(), &(TOWN.replace("PATIENCE", "300") + fault));
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("faults[0].how: only a virtual world can do that"),
        "{said}"
    );
}

/// Carol's only wish is a mailbox where she has no account: her mail is reported, and this town promised that none is.
#[test]
fn a_promise_that_cannot_hold_is_found_broken_and_ends_with_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = TOWN.replace("PATIENCE", "300").replace(
        "[[traffic]]",
        "[[wishes]]\nperson = \"carol@bar.test\"\ndefault = [\"mailbox.hospital.test\"]\n\n[[traffic]]",
    );
    let scenario = scenario.replace(
        "seed = 7",
        "seed = 7\npromises = [\"one-final-state\", \"read-equals-written\", \"nothing-is-reported\"]",
    );
    let (output, report) = run(folder.path(), &scenario);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(verdict(&report, "nothing-is-reported"), "broken");
    assert_eq!(verdict(&report, "one-final-state"), "held");
    assert_eq!(verdict(&report, "read-equals-written"), "held");
    let against = report["promises"][2]["against"].to_string();
    assert!(
        against.contains("to carol@bar.test was reported to alice@foo.test"),
        "{against}"
    );
}

#[test]
fn a_site_that_never_comes_back_breaks_what_depends_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let fault = "\n[[faults]]\nsite = \"bar.test\"\nstop_before = 1\n";
    let (output, report) = run(folder.path(), &(TOWN.replace("PATIENCE", "4") + fault));
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(verdict(&report, "every-mail-is-accepted"), "held");
    for promise in ["one-final-state", "ledgers-verify", "queues-drain"] {
        assert_eq!(verdict(&report, promise), "broken", "{promise}");
    }
    assert_eq!(verdict(&report, "provider-holds-no-content"), "held");
}

#[test]
fn a_report_in_a_folder_has_a_page_and_tables_and_compares_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let fault = "\n[[faults]]\nsite = \"bar.test\"\nstop_before = 1\n";
    let good = TOWN.replace("PATIENCE", "300");
    for (name, scenario) in [("good", &good), ("bad", &(TOWN.replace("PATIENCE", "4") + fault))] {
        let file = folder.path().join(format!("{name}.toml"));
        std::fs::write(&file, scenario).unwrap();
        let mut run = simulator();
        run.arg("run").arg(&file).arg("--report");
        let output = run.arg(folder.path().join(name)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("{name}/report.html")), "{said}");
    }
    let page = std::fs::read_to_string(folder.path().join("good/report.html")).unwrap();
    assert!(page.contains("No promise was broken."), "{page}");
    let mails = std::fs::read_to_string(folder.path().join("good/mails.csv")).unwrap();
    assert!(
        mails.contains("alice@foo.test,bob@bar.test,healthcare"),
        "{mails}"
    );

    let compare = |a: &str, b: &str| {
        let [a, b] = [a, b].map(|name| folder.path().join(name));
        let output = simulator().arg("compare").args([a, b]).arg("--json").output();
        let output = output.unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, complaint)
    };
    let (code, said, _) = compare("good", "good/report.json");
    assert_eq!((code, &said["kept"]), (Some(0), &Value::Bool(true)));
    let (code, said, _) = compare("good", "bad");
    assert_eq!((code, &said["kept"]), (Some(1), &Value::Bool(false)));
    assert_eq!(said["differing"][0]["a"], "held", "{said}");
    assert_eq!(compare("bad", "good").0, Some(0));
    let (code, _, complaint) = compare("good", "bad.toml");
    assert_eq!(code, Some(2));
    assert!(complaint.contains("bad.toml is no report"), "{complaint}");
}

#[test]
fn a_wrong_scenario_ends_with_code_2_and_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    std::fs::write(&file, TOWN.replace("PATIENCE", "0")).unwrap();
    let output = simulator().arg("check").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("wrong.toml: patience: "), "{said}");
}

#[test]
fn what_new_prints_passes_check_and_list_names_what_is_shipped() {
    let folder = tempfile::tempdir().unwrap();
    let new = simulator().arg("new").output().unwrap();
    let file = folder.path().join("new.toml");
    std::fs::write(&file, new.stdout).unwrap();
    let checked = simulator().arg("check").arg(&file).output().unwrap();
    assert!(checked.status.success());
    let flash = simulator().args(["new", "--flash", "3x4"]).output().unwrap();
    std::fs::write(&file, flash.stdout).unwrap();
    let checked = simulator().arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("4 sites, 13 people, 1 mails"), "{said}");
    let wrong = simulator().args(["new", "--flash", "many"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("500x20"));
    for (domains, people) in [("0", "1"), ("1", "0")] {
        let words = ["new", "--domains", domains, "--people", people, "--mails", "1"];
        let wrong = simulator().args(words).output().unwrap();
        assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0));
        assert!(String::from_utf8_lossy(&wrong.stderr).contains("are possible"));
    }
    let listed = simulator().arg("list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in ["four-domains", "shared", "estonian", "storm", "flash", "world"] {
        assert!(listed.contains(name), "{listed}");
    }
}

#[test]
fn whoever_reads_what_is_printed_may_stop_to() {
    let size = ["--domains", "1000", "--people", "10", "--mails", "10"];
    let mut new = simulator()
        .arg("new")
        .args(size)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    new.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let ended = new.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let told = simulator().arg("list").stdout(full).output().unwrap();
    assert_eq!(
        told.status.code(),
        Some(2),
        "what is lost is not silent: {told:?}"
    );
}

#[test]
fn what_needs_a_virtual_world_is_refused_on_real_ground_before_anything_is_laid_out() {
    let folder = tempfile::tempdir().unwrap();
    let large = ["new", "--domains", "251", "--people", "1", "--mails", "10"];
    let large = simulator().args(large).output().unwrap();
    let large = String::from_utf8(large.stdout).unwrap();
    let hostile = TOWN.replace("PATIENCE", "10")
        + "\n[[hostile]]\nrole = \"flooder\"\nagainst = \"bar.test\"\nbefore = 1\n";
    let line = TOWN
        .replace("PATIENCE", "10")
        .replace("mailbox = true\npeople", "mailbox = true\nline = \"dsl\"\npeople");
    let at_the_top = |key: &str| TOWN.replace("PATIENCE", &format!("10\n{key}"));
    for (scenario, key) in [
        (large, "sites: "),
        (hostile, "hostile: "),
        (line, "links and lines: "),
        (at_the_top("concurrent = 65"), "concurrent: "),
        (at_the_top("paths = [\"smtp\"]"), "paths: "),
    ] {
        let (output, _) = run(folder.path(), &scenario);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(key) && said.contains("--real"), "{said}");
        assert!(!folder.path().join("town").exists());
    }
}
