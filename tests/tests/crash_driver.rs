//! The crash driver's own test: a small program with several threads dies at every one of its durable points.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use cargomail_tests::crash::{Driver, Moment};
use cargomail_tests::peers;

/// Stores three things, each in a thread of its own: two durable points each, then it says so.
const PROGRAM: &str = r#"
import os, sys, threading
folder = sys.argv[1]
def store(name):
    with open(f"{folder}/{name}.new", "w") as file:
        file.write("x")
        file.flush()
        os.fdatasync(file.fileno())
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}")
    print(name, flush=True)
for name in ["alice", "bob", "carol"]:
    thread = threading.Thread(target=store, args=(name,))
    thread.start()
    thread.join()
"#;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(peers::program("python3", "python3").unwrap());
    command.arg("-c").arg(PROGRAM).arg(folder).stdout(Stdio::piped());
    command
}

#[test]
fn a_run_that_is_watched_tells_every_point_in_order() {
    let driver = Driver::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    let points = driver.watch(&mut command).unwrap();
    assert!(command.output().unwrap().status.success());
    let path = folder.path().display();
    let expected: Vec<String> = ["alice", "bob", "carol"]
        .iter()
        .flat_map(|name| {
            [
                format!("fdatasync {path}/{name}.new"),
                format!("rename {path}/{name}"),
            ]
        })
        .collect();
    assert_eq!(points.reached().unwrap(), expected);
}

#[test]
fn a_process_dies_before_or_after_exactly_the_point_that_was_asked_for() {
    let driver = Driver::build().unwrap();
    for point in 1..=6 {
        for moment in [Moment::Before, Moment::After] {
            let folder = tempfile::tempdir().unwrap();
            let mut command = program(folder.path());
            let points = driver.kill(&mut command, moment, point).unwrap();
            let output = command.output().unwrap();
            assert_eq!(output.status.signal(), Some(9), "{moment:?} {point}");
            assert_eq!(points.reached().unwrap().len(), point, "{moment:?} {point}");
            // Two points each: what was said before the one at hand, and what stands in the folder.
            let said = String::from_utf8(output.stdout).unwrap().lines().count();
            assert_eq!(said, (point - 1) / 2, "{moment:?} {point}");
            let done = if moment == Moment::After { point } else { point - 1 };
            let stored = ["alice", "bob", "carol"].map(|name| folder.path().join(name).exists());
            assert_eq!(
                stored.iter().filter(|stored| **stored).count(),
                done / 2,
                "{moment:?} {point}"
            );
        }
    }
}

#[test]
fn a_process_with_fewer_points_runs_to_its_end() {
    let driver = Driver::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    let points = driver.kill(&mut command, Moment::Before, 7).unwrap();
    assert!(command.output().unwrap().status.success());
    assert_eq!(points.reached().unwrap().len(), 6);
}

#[test]
fn the_kernel_sees_no_point_that_was_not_counted() {
    let driver = Driver::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trace = tempfile::NamedTempFile::new().unwrap();
    let plain = program(folder.path());
    let mut traced = Command::new(peers::program("strace", "strace").unwrap());
    traced
        .args(["-f", "-qqq", "-e", "signal=none", "-e"])
        .arg("trace=fsync,fdatasync,syncfs,sync_file_range,/^rename,/^link")
        .arg("-o")
        .arg(trace.path())
        .arg(plain.get_program())
        .args(plain.get_args());
    let points = driver.watch(&mut traced).unwrap();
    assert!(traced.output().unwrap().status.success());
    let seen = std::fs::read_to_string(trace.path()).unwrap();
    let seen = seen.lines().filter(|line| !line.contains("resumed>"));
    assert_eq!(seen.count(), points.reached().unwrap().len());
}
