//! What is emitted can be run by shells and clusters, whatever things are called; what was there stays; what is lost is told.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use super::engine::name_of;
use super::job::Job;
use super::*;
use crate::scenario::{Many, NEW, SizeError};

/// Two seeds of a shipped scenario.
fn sweep(into: &Path) -> Sweep {
    Sweep {
        engine: Engine::Xargs,
        scenarios: vec!["storm".to_owned()],
        sizes: Vec::new(),
        seeds: "1-2".parse().unwrap(),
        into: into.to_owned(),
        parallel: 3,
        program: "/opt/it's here/cargomail-simulator".to_owned(),
        image: "registry.example/simulator:1".to_owned(),
        claim: "sweeps".to_owned(),
    }
}

fn refused(sweep: &Sweep) -> String {
    format!("{:#}", sweep.emit().unwrap_err())
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Whether a shell can read a script.
fn is_script(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    fs::write(&file, text).unwrap();
    let said = Command::new("sh").arg("-n").arg(&file).output().unwrap();
    assert!(
        said.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

#[test]
fn seeds_are_one_or_from_the_first_to_the_last() {
    let count = |text: &str| text.parse::<Seeds>().map(Seeds::count);
    assert_eq!(count("7"), Ok(1));
    assert_eq!(count("1-100"), Ok(100));
    assert_eq!(count("0-18446744073709551615"), Ok(u64::MAX));
    assert_eq!(count("9-3"), Err(SeedsError::Backwards { first: 9, last: 3 }));
    for text in ["", "-", "1-", "-3", "1-2-3", "a", "1..3", "18446744073709551616"] {
        assert_eq!(count(text), Err(SeedsError::Form), "{text}");
    }
}

#[test]
fn sizes_are_four_numbers_that_can_be_run() {
    let size: Many = "100x10x10x10000".parse().unwrap();
    assert_eq!(size.to_string(), "100x10x10x10000");
    assert_eq!("3x0x2x5".parse::<Many>().map(|size| size.mailboxes), Ok(0));
    for text in ["", "1x1x1", "1x1x1x1x1", "1x1x1xmany", "-1x1x1x1", "1,1,1,1"] {
        assert!(matches!(text.parse::<Many>(), Err(SizeError::Form(_))), "{text}");
    }
    for text in [
        "0x1x1x1",
        "1x1x0x1",
        "1x1x1x0",
        "60000x1x1x1",
        "1x18446744073709551615x1x1",
        "1000x1x18446744073709551615x1",
        "1x1x1x100001",
    ] {
        assert!(
            matches!(text.parse::<Many>(), Err(SizeError::Beyond { .. })),
            "{text}"
        );
    }
}

#[test]
fn a_job_is_six_words_that_are_read_as_they_were_written() {
    let job = Job::of(
        "scenarios/it's a \"town\".toml".to_owned(),
        "it's a \"town\".toml",
        7,
    );
    let line = job.line();
    assert!(line.contains(" --seed 7 --as-job --report "), "{line}");
    assert_eq!(crate::shell::words(&line).unwrap().len(), super::job::WORDS);
    assert_eq!(Job::read(&line), Some(job));
    for line in [
        "",
        "storm",
        "storm --seed x --as-job --report r",
        "storm --real --seed 1 --as-job --report r",
    ] {
        assert_eq!(Job::read(line), None, "{line}");
    }
}

#[test]
fn a_sweep_for_this_machine_is_a_list_and_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("two words");
    let emitted = sweep(&into).emit().unwrap();
    assert_eq!((emitted.jobs, emitted.reported), (2, 0));
    assert_eq!(emitted.next[0], format!("'{}'", into.join("run").display()));
    assert!(
        emitted.next[1].starts_with("cargomail-simulator sweep collect '"),
        "{emitted:?}"
    );
    assert_eq!(
        read(&into, "jobs"),
        "storm --seed 1 --as-job --report reports/storm/seed-1\n\
         storm --seed 2 --as-job --report reports/storm/seed-2\n"
    );
    let script = read(&into, "run");
    is_script(&script);
    assert!(script.contains("xargs -n 6 -P 3 "), "{script}");
    assert!(
        script.contains(r"'/opt/it'\''s here/cargomail-simulator' run < jobs"),
        "{script}"
    );
}

#[test]
fn an_array_of_slurm_has_every_job_in_one_of_a_thousand_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("A sweep, of 2026!");
    let many = Sweep {
        engine: Engine::Slurm,
        seeds: "1-1001".parse().unwrap(),
        program: "echo".to_owned(),
        ..sweep(&into)
    };
    let emitted = many.emit().unwrap();
    assert!(emitted.next[0].starts_with("sbatch --chdir='"), "{emitted:?}");
    let batch = read(&into, "sweep.sbatch");
    is_script(&batch);
    for line in [
        "#SBATCH --job-name=a-sweep--of-2026",
        "#SBATCH --array=1-1000%3",
        "#SBATCH --output=logs/%a.txt",
    ] {
        assert!(batch.lines().any(|there| there == line), "{line}: {batch}");
    }
    let does = |task: usize| {
        let mut shell = Command::new("sh");
        shell.arg("sweep.sbatch").current_dir(&into);
        let done = shell
            .env("SLURM_ARRAY_TASK_ID", task.to_string())
            .output()
            .unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stdout).unwrap()
    };
    let run = |seed: usize| format!("run storm --seed {seed} --as-job --report reports/storm/seed-{seed}\n");
    assert_eq!(does(1), run(1) + &run(1001));
    assert_eq!(does(2), run(2));
    assert_eq!(does(1000), run(1000));
    // From another folder it says so, and runs nothing.
    let lost = Command::new("sh")
        .arg(into.join("sweep.sbatch"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(lost.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("--chdir="));
}

#[test]
fn an_indexed_job_of_kubernetes_has_the_fields_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("Storms");
    let clustered = Sweep {
        engine: Engine::Kubernetes,
        program: "cargomail-simulator".to_owned(),
        ..sweep(&into)
    };
    let emitted = clustered.emit().unwrap();
    assert!(
        emitted
            .next
            .iter()
            .any(|line| line.starts_with("kubectl apply -f ")),
        "{emitted:?}"
    );
    let manifest = read(&into, "sweep.yaml");
    for line in [
        "apiVersion: batch/v1",
        "kind: Job",
        "  name: storms",
        "  completionMode: Indexed",
        "  completions: 2",
        "  parallelism: 3",
        "      restartPolicy: Never",
        "          image: \"registry.example/simulator:1\"",
        "          workingDir: /sweep",
        "              mountPath: /sweep",
        "            claimName: \"sweeps\"",
    ] {
        assert!(manifest.lines().any(|there| there == line), "{line}: {manifest}");
    }
    assert!(!manifest.contains('\t'), "{manifest}");
    // What the container runs is a string of JSON.
    let args = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("args: "))
        .unwrap();
    let [script]: [String; 1] = serde_json::from_str(args).unwrap();
    is_script(&script);
    assert!(!script.contains("$("), "Kubernetes would replace it: {script}");
    let script = script.replace("cargomail-simulator run", "echo");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .current_dir(&into)
        .env("JOB_COMPLETION_INDEX", "1");
    let said = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    assert_eq!(said, "storm --seed 2 --as-job --report reports/storm/seed-2\n");
}

#[test]
fn names_in_clusters_are_labels() {
    for (text, name) in [
        ("Storms", "storms"),
        ("../ü", "sweep"),
        ("2026", "sweep-2026"),
        ("a_b.", "a-b"),
        ("", "sweep"),
    ] {
        assert_eq!(name_of(text), name);
    }
    assert!(name_of(&"x".repeat(300)).len() <= 40);
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let told = refused(&sweep(folder.path()));
    assert!(
        told.contains("has other things, such as \"thesis.txt\""),
        "{told}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let told = refused(&sweep(&folder.path().join("thesis.txt")));
    assert!(told.contains("thesis.txt cannot be read"), "{told}");
}

#[test]
fn emitting_again_keeps_reports_and_adds_engines_and_refuses_another_scenario_of_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("sweep");
    let file = folder.path().join("it's mine.toml");
    fs::write(&file, NEW).unwrap();
    let mut mine = sweep(&into);
    mine.scenarios = vec![file.to_str().unwrap().to_owned(); 2];
    assert_eq!(mine.emit().unwrap().jobs, 2);
    assert_eq!(read(&into, "scenarios/it's mine.toml"), NEW);
    let report = into.join("reports/it's mine.toml/seed-2");
    fs::create_dir_all(&report).unwrap();
    fs::write(report.join("report.json"), "{}").unwrap();
    fs::write(into.join("notes.txt"), "somebody's").unwrap();

    mine.engine = Engine::Slurm;
    mine.seeds = "2-4".parse().unwrap();
    let emitted = mine.emit().unwrap();
    assert_eq!((emitted.jobs, emitted.reported), (3, 1));
    assert_eq!(fs::read_to_string(report.join("report.json")).unwrap(), "{}");
    assert!(into.join("run").exists() && into.join("sweep.sbatch").exists());
    assert_eq!(read(&into, "notes.txt"), "somebody's");

    let before = read(&into, "jobs");
    fs::write(&file, NEW.replace("seed = 1", "seed = 2")).unwrap();
    mine.seeds = "1".parse().unwrap();
    let told = refused(&mine);
    assert!(told.contains("it's mine.toml is another scenario"), "{told}");
    assert_eq!(read(&into, "jobs"), before);
}

#[test]
fn what_cannot_be_run_is_named_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("sweep");
    let file = |place: &str, text: &str| {
        let place = folder.path().join(place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, text).unwrap();
        place.to_str().unwrap().to_owned()
    };
    let with = |scenarios: Vec<String>| Sweep {
        scenarios,
        ..sweep(&into)
    };
    let cases = [
        (with(Vec::new()), "there is nothing to run"),
        (
            with(vec!["atlantis".to_owned()]),
            "atlantis is no shipped scenario",
        ),
        (with(vec![file("wrong.toml", "seed = 1")]), "wrong.toml: "),
        (
            with(vec![file("two\nlines.toml", NEW)]),
            "has no name that can stand in a list",
        ),
        (
            with(vec![
                file("a/town.toml", NEW),
                file("b/town.toml", &NEW.replace("seed = 1", "seed = 2")),
            ]),
            "two scenario files that differ",
        ),
        (
            Sweep {
                seeds: "0-18446744073709551615".parse().unwrap(),
                ..sweep(&into)
            },
            "18446744073709551615 jobs are more than 100000",
        ),
        (
            Sweep {
                engine: Engine::Kubernetes,
                image: "an image: of\nmine".to_owned(),
                ..sweep(&into)
            },
            "--image is empty, or has a character",
        ),
        (
            Sweep {
                program: String::new(),
                ..sweep(&into)
            },
            "--program is empty",
        ),
    ];
    for (sweep, why) in cases {
        let told = refused(&sweep);
        assert!(told.contains(why), "{why}: {told}");
        assert!(!into.exists(), "{why}");
    }
}

#[test]
fn printed_sizes_are_scenarios_of_the_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("sizes");
    let sizes = Sweep {
        scenarios: Vec::new(),
        sizes: ["3x0x2x5", "4x2x2x5"].map(|size| size.parse().unwrap()).to_vec(),
        ..sweep(&into)
    };
    assert_eq!(sizes.emit().unwrap().jobs, 4);
    let printed = into.join("scenarios/many-4x2x2x5.toml");
    let scenario = crate::scenario::Scenario::find(printed.to_str().unwrap()).unwrap();
    assert_eq!(scenario.sites.len(), 12);
    assert!(read(&into, "jobs").contains("reports/many-3x0x2x5.toml/seed-1"));
}

#[test]
fn jobs_without_a_report_are_missing_or_failed_or_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("sweep");
    let mut five = sweep(&into);
    five.seeds = "1-5".parse().unwrap();
    five.emit().unwrap();
    let put = |place: &str, name: &str, text: &str| {
        let place = into.join(place);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(name), text).unwrap();
    };
    put("reports/storm/seed-2", "report.json", "");
    put(
        "reports/storm/seed-3",
        "failed.txt",
        "seed 3: the moon was in the way\n",
    );
    put("reports/storm/seed-4", "report.json", "{ \"format\": 9 }");
    put("reports/storm/seed-5", "report.json", "{ \"format\": 1, \"scen");
    put("elsewhere", "report.json", "[]");
    std::os::unix::fs::symlink(&into, into.join("reports/round")).unwrap();
    let together = collect(&into).unwrap();
    assert!(together.runs.is_empty() && !together.complete && together.kept);
    assert_eq!(together.missing, ["reports/storm/seed-1"]);
    let failed: Vec<&str> = together.failed.iter().map(|lost| lost.place.as_str()).collect();
    assert_eq!(failed, ["reports/storm/seed-2", "reports/storm/seed-3"]);
    assert_eq!(together.failed[1].why, "seed 3: the moon was in the way");
    let unreadable: Vec<&str> = together
        .unreadable
        .iter()
        .map(|lost| lost.place.as_str())
        .collect();
    assert_eq!(
        unreadable,
        ["elsewhere", "reports/storm/seed-4", "reports/storm/seed-5"]
    );
    let told = together.to_string();
    assert!(
        told.starts_with("0 runs of 5 jobs; 1 missing, 2 failed, 3 unreadable"),
        "{told}"
    );
    assert!(
        told.contains("this program compares format 1") && told.contains("EOF"),
        "{told}"
    );
}

#[test]
fn a_folder_without_anything_and_a_list_of_something_else_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let told = format!("{:#}", collect(folder.path()).unwrap_err());
    assert!(
        told.contains("has neither a list of jobs nor a report.json"),
        "{told}"
    );
    fs::write(folder.path().join("jobs"), "postman\nbaker\n").unwrap();
    let told = format!("{:#}", collect(folder.path()).unwrap_err());
    assert!(told.contains("jobs: line 1 is no job"), "{told}");
    let told = format!("{:#}", collect(&folder.path().join("nowhere")).unwrap_err());
    assert!(told.contains("nowhere cannot be read"), "{told}");
}

#[test]
fn a_job_is_not_done_over_another_report_and_notes_why_it_cannot_be_done() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("r");
    let told = format!("{:#}", do_job("atlantis", Some(1), &place).unwrap_err());
    assert!(told.contains("atlantis is no shipped scenario"), "{told}");
    assert!(read(&place, "failed.txt").contains("atlantis"));
    let told = format!("{:#}", do_job("storm", Some(1), Path::new("r.json")).unwrap_err());
    assert!(told.contains("r.json: the report of a job is a folder"), "{told}");
    fs::write(place.join("report.json"), "{ \"format\": 2 }").unwrap();
    let told = format!("{:#}", do_job("storm", Some(1), &place).unwrap_err());
    assert!(told.contains("a report of format 2"), "{told}");
}
