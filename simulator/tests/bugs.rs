//! The bugs that `simulator/bugs/run` plants: whether they can still be planted. That they are found, the script shows.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use cargomail_simulator::scenario::Scenario;

#[test]
fn every_planted_bug_fits_the_node_as_it_is_and_names_its_scenario() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut planted = 0;
    for entry in std::fs::read_dir(here.join("bugs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        planted += 1;
        let checked = Command::new("git")
            .args(["apply", "--check"])
            .arg(&path)
            .current_dir(here.join(".."))
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{}: {why}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        let scenario = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("scenario: "));
        Scenario::find(scenario.unwrap()).unwrap();
    }
    assert!(planted >= 10, "{planted} bugs");
}
