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
    for peer in metadata("tests/bench/peers/Cargo.toml") {
        assert_eq!(leans_on(&peer), [].into(), "{} is other people's", peer["name"]);
    }
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

/// The names in backticks that are those of tests: words in small letters with underscores.
fn promised(row: &str) -> Vec<&str> {
    let is_name = |name: &&str| {
        name.contains('_')
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    row.split('`').skip(1).step_by(2).filter(is_name).collect()
}

/// The row ids that a test carries: `c01_c02_what_happens` carries C01 and C02.
fn ids(test: &str) -> impl Iterator<Item = String> {
    let is_id = |part: &&str| {
        matches!(part.as_bytes(), [letter, digits @ ..]
            if letter.is_ascii_lowercase() && digits.len() == 2 && digits.iter().all(u8::is_ascii_digit))
    };
    test.split('_').take_while(is_id).map(str::to_uppercase)
}

/// The names of all functions in the rooms; tests are among them.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in sources() {
        let text = std::fs::read_to_string(file).unwrap();
        let after = text.split("fn ").skip(1);
        names.extend(after.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
    }
    names
}

/// The README's row of an id with every test that carries it: `| id | promise | tests |`.
fn complete(row: &str, functions: &BTreeSet<String>) -> Option<String> {
    let [_, id, promise, _, _] = row.split('|').collect::<Vec<_>>().try_into().ok()?;
    let id = id.trim();
    let tests: Vec<String> = functions
        .iter()
        .filter(|name| ids(name).any(|carried| carried == id))
        .map(|name| format!("`{name}`"))
        .collect();
    (!tests.is_empty()).then(|| format!("| {id} | {} | {} |", promise.trim(), tests.join(", ")))
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let readme = std::fs::read_to_string(root().join("tests/README.md")).unwrap();
    let functions = functions();
    let rows = readme.lines().filter(|line| line.starts_with('|'));
    let named: Vec<&str> = rows.flat_map(promised).collect();
    assert!(!named.is_empty());
    let missing: Vec<_> = named.iter().filter(|name| !functions.contains(**name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// `README=write cargo test -p cargomail-tests --test rooms` completes the rows.
#[test]
fn ids_whose_row_in_the_readme_lacks_a_test_are_named() {
    let path = root().join("tests/README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let functions = functions();
    let completed: Vec<String> = readme
        .lines()
        .map(|line| complete(line, &functions).unwrap_or_else(|| line.to_owned()))
        .collect();
    let completed = completed.join("\n") + "\n";
    if std::env::var_os("README").is_some_and(|wish| wish == "write") {
        std::fs::write(&path, &completed).unwrap();
    } else if completed != readme {
        eprintln!("warning: tests/README.md lacks tests; README=write completes its rows");
    }
    for id in functions
        .iter()
        .flat_map(|name| ids(name))
        .collect::<BTreeSet<_>>()
    {
        if !readme.contains(&format!("\n| {id} | ")) {
            eprintln!("warning: there are tests of {id}, and tests/README.md has no row for it");
        }
    }
}
