//! What an operator sees: keys, configuration, and what is wrong with them.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::started::{BINARY, Introducer, command};

fn run(config: &str, flags: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bootstrap.toml"), config).unwrap();
    command(&folder).args(flags).output().unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn its_key_is_kept_private_and_an_open_one_is_refused() {
    let first = Introducer::start("");
    let key = first.folder.path().join("bootstrap.pem");
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = Introducer::start(&format!("key = \"{}\"\n", key.display()));
    assert_eq!(again.name(), first.name());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for flags in [&["--check"] as &[&str], &[]] {
        let output = run(&format!("key = \"{}\"\n", key.display()), flags);
        assert!(!output.status.success() && said(&output).contains("bootstrap.pem"));
    }
}

#[test]
fn a_key_in_the_file_lies_beside_it_and_one_of_a_flag_where_the_program_was_started() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = folder.path().join("bootstrap.toml");
    std::fs::write(&config, "key = \"keys/own.pem\"\n").unwrap();
    let check = |flags: &[&str]| {
        let mut command = Command::new(BINARY);
        command
            .current_dir(&elsewhere)
            .arg("--config")
            .arg(&config)
            .args(flags);
        command.arg("--check").status().unwrap().success()
    };
    std::fs::create_dir(elsewhere.path().join("keys")).unwrap();
    assert!(!check(&[]));
    assert!(check(&["--key", "keys/own.pem"]));
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    assert!(check(&[]));
    std::fs::remove_dir(elsewhere.path().join("keys")).unwrap();
    assert!(!check(&["--key", "keys/own.pem"]));
}

#[test]
fn what_is_wrong_in_the_configuration_is_named_with_its_file_and_key() {
    for (config, key) in [
        ("quick = [\"127.0.0.1:0\"]\n", "quick"),
        ("[relay]\nreservation = 3\n", "reservation"),
        ("[relay]\ncircuit-bytes = 0\n", "relay.circuit-bytes"),
        ("[connections]\nper-network = 0\n", "connections.per-network"),
        ("[connections]\ntotal = 5000000\n", "connections.total"),
        ("external = [\"bar.com\"]\n", "external"),
        ("external = [\"10.0.0.1\"]\n", "external"),
        ("external = [\"/ip4/127.0.0.1/tcp/1\"]\n", "external"),
        ("allow = [\"alice\"]\n", "allow"),
        ("metrics = \"9464\"\n", "metrics"),
        ("key = \"nowhere/key.pem\"\n", "key"),
    ] {
        let output = run(config, &["--check"]);
        let said = said(&output);
        assert!(!output.status.success(), "{config}");
        assert!(said.contains(key), "{config}: {said}");
        assert!(
            key == "key" || said.contains("bootstrap.toml"),
            "{config}: {said}"
        );
    }
}

#[test]
fn a_check_opens_nothing_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bootstrap.toml"), "").unwrap();
    assert!(command(&folder).arg("--check").status().unwrap().success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_example_configuration_can_be_used_as_it_is() {
    let example = Command::new(BINARY).arg("--example-config").output().unwrap();
    assert!(example.status.success());
    let example = String::from_utf8(example.stdout).unwrap();
    assert!(run(&example, &["--check"]).status.success());
}

#[test]
fn a_port_that_is_taken_ends_it_with_an_error_that_names_the_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    for flag in ["--tcp", "--metrics"] {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(BINARY)
            .current_dir(&folder)
            .args(["--quic", "127.0.0.1:0", flag, &at])
            .args(if flag == "--tcp" {
                ["--json"; 1].as_slice()
            } else {
                ["--tcp", "127.0.0.1:0"].as_slice()
            })
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(
            said(&output).contains(&format!("{}: cannot listen", &flag[2..])),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn l06_a_node_has_no_protocol_that_it_never_speaks() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "cargomail-node",
            "--edges",
            "all",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = said(&tree);
    assert!(tree.contains("libp2p-swarm v"), "{tree}");
    for protocol in ["rendezvous", "metrics", "gossipsub", "mdns", "upnp"] {
        assert!(!tree.contains(&format!("libp2p-{protocol} v")), "{protocol}");
    }
}
