//! The program `cargomail` as a process: what it leaves on the disk, and what it does when nobody reads what it says.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn cargomail(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargomail"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Everything in a folder, and the folder.
fn all_in(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(all_in(&path)),
            false => all.push(path),
        }
    }
    all
}

#[test]
fn what_a_node_writes_is_its_owners_and_it_runs_though_nobody_reads_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("node");
    let config = node.join("cargomail.toml");
    let arguments = ["--config", config.to_str().unwrap()];
    let init = cargomail(&arguments)
        .args(["init", "--domain", "foo.test"])
        .output();
    assert!(init.unwrap().status.success());
    let free = "listen = \"127.0.0.1:0\"";
    let text = format!(
        "[grip]\n{free}\n[user]\n{free}\n[smtp]\n{free}\n[peers]\nquic = \"127.0.0.1:0\"\ntcp = \"127.0.0.1:0\"\n\
         [broker]\ndomain = \"foo.test\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut running = cargomail(&arguments)
        .arg("run")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(running.stderr.take().unwrap()).lines();
    let first = log.next().unwrap().unwrap();
    let asked = Command::new("kill").arg(running.id().to_string()).status();
    assert!(asked.unwrap().success(), "{first}");
    log.for_each(drop);
    assert!(running.wait().unwrap().success());
    let written = all_in(&node);
    assert!(written.len() > 8, "{written:?}");
    for path in written {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn a_benchmark_leaves_what_lies_in_the_folder_that_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = ["messages", "noise", "store-0/thesis"].map(|name| folder.path().join(name));
    for file in &theirs {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "mine").unwrap();
    }
    let before = all_in(folder.path());
    let bench = cargomail(&[
        "bench", "import", "--size", "1M", "--runs", "1", "--json", "--folder",
    ])
    .arg(folder.path())
    .output()
    .unwrap();
    assert!(
        bench.status.success(),
        "{}",
        String::from_utf8_lossy(&bench.stderr)
    );
    assert_eq!(all_in(folder.path()), before);
    for file in &theirs {
        assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
    }
}
