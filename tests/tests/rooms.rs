//! The house keeps its shape: which room may lean on which, what no file is called, and that the README's promises
//! have tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every arrow there may be between the rooms: who leans, and on whom.
const ARROWS: [(&str, &[&str]); 5] = [
    ("cargomail-protocol", &[]),
    ("cargomail-node", &["cargomail-protocol"]),
    ("cargomail-bootstrap", &["cargomail-protocol"]),
    ("cargomail-simulator", &["cargomail-node", "cargomail-protocol"]),
    (
        "cargomail-tests",
        &[
            "cargomail-bootstrap",
            "cargomail-node",
            "cargomail-protocol",
            "cargomail-simulator",
        ],
    ),
];

/// Names that say nothing about what is in a file.
const NO_NAMES: [&str; 12] = [
    "util", "utils", "common", "helper", "helpers", "manager", "managers", "handler", "handlers", "context",
    "inner", "mod",
];

/// Lines of a file beyond which there is usually a second thing in it.
const LONG: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn metadata(manifest: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
            "--manifest-path",
        ])
        .arg(root().join(manifest))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The rooms that a package leans on, in whatever kind of dependency.
fn leans_on(package: &Value) -> BTreeSet<&str> {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    dependencies
        .filter(|dependency| dependency["path"].is_string())
        .map(|dependency| dependency["name"].as_str().unwrap())
        .collect()
}

/// Every source file of the rooms, apart from what is built or installed.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ["protocol", "node", "bootstrap", "simulator", "tests"]
        .map(|room| root().join(room))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["target", "node_modules", "corpus"].contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn no_room_leans_on_another_than_it_may() {
    let packages = metadata("Cargo.toml");
    let rooms: BTreeSet<&str> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        rooms,
        ARROWS.map(|(room, _)| room).into(),
        "the workspace's members"
    );
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = ARROWS.iter().find(|(room, _)| *room == name).unwrap();
        for room in leans_on(package) {
            assert!(allowed.contains(&room), "{name} must not lean on {room}");
        }
    }
    let [fuzz] = metadata("tests/fuzz/Cargo.toml").try_into().unwrap();
    assert_eq!(leans_on(&fuzz), ["cargomail-protocol"].into());
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    for file in sources() {
        let parts = file.strip_prefix(root()).unwrap().with_extension("");
        for part in &parts {
            let part = part.to_str().unwrap();
            assert!(!NO_NAMES.contains(&part), "{}: what is in it?", file.display());
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let modules = text.lines().filter_map(|line| {
            let line = line
                .trim_start()
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub ");
            line.strip_prefix("mod ")
        });
        for module in modules {
            let name = module.trim_end_matches([';', '{', ' ']);
            assert!(
                !NO_NAMES.contains(&name),
                "{}: mod {name}: what is in it?",
                file.display()
            );
        }
    }
}

#[test]
fn files_that_grow_long_are_named() {
    for file in sources() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        if lines > LONG {
            eprintln!(
                "warning: {} has {lines} lines; is there a second thing in it?",
                file.display()
            );
        }
    }
}

/// The names in backticks of the README's tables that are those of tests: words in small letters with underscores.
fn promised(readme: &str) -> Vec<&str> {
    let rows = readme.lines().filter(|line| line.starts_with('|'));
    let quoted = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let is_name = |name: &&str| {
        name.contains('_')
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    quoted.filter(is_name).collect()
}

/// The row ids that a test carries: `c01_c02_what_happens` carries C01 and C02.
fn ids(test: &str) -> impl Iterator<Item = String> {
    let is_id = |part: &&str| {
        matches!(part.as_bytes(), [letter, digits @ ..]
            if letter.is_ascii_lowercase() && digits.len() == 2 && digits.iter().all(u8::is_ascii_digit))
    };
    test.split('_').take_while(is_id).map(str::to_uppercase)
}

#[test]
fn every_test_that_the_readme_names_exists_and_stands_in_the_row_of_its_id() {
    let readme = std::fs::read_to_string(root().join("tests/README.md")).unwrap();
    let texts: Vec<String> = sources()
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let exists = |name: &str| texts.iter().any(|text| text.contains(&format!("fn {name}(")));
    let named = promised(&readme);
    assert!(!named.is_empty());
    let missing: Vec<&&str> = named.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    for row in readme.lines().filter(|line| line.starts_with("| ")) {
        let first = row.split('|').nth(1).unwrap().trim();
        for name in promised(row)
            .into_iter()
            .filter(|name| ids(name).next().is_some())
        {
            let is_row_of_an_id = ids(&first.to_lowercase()).next().is_some();
            assert!(
                !is_row_of_an_id || ids(name).any(|id| id == first),
                "{name} stands in the row of {first}"
            );
        }
    }
}

#[test]
fn tests_that_carry_an_id_without_a_row_are_named() {
    let readme = std::fs::read_to_string(root().join("tests/README.md")).unwrap();
    for file in sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        for name in text
            .split("fn ")
            .skip(1)
            .filter_map(|rest| rest.split_once('('))
            .map(|(name, _)| name)
        {
            for id in ids(name).filter(|id| !readme.contains(&format!("| {id} |"))) {
                eprintln!("warning: {id} has the test {name}, and no row in tests/README.md");
            }
        }
    }
}
