//! The rig of real mail servers, without a node in between: what comes out of it is what went in.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use cargomail_tests::dovecot::Dovecot;
use cargomail_tests::peers;
use cargomail_tests::postfix::{Next, Postfix};

fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::new(loopback(last), peers::free_port(loopback(last)).unwrap())
}

/// Submits a message as a mail program does. swaks ends the last line itself.
fn swaks(server: SocketAddr, to: &str, message: &str) -> anyhow::Result<String> {
    let mut command = Command::new(peers::program("swaks", "swaks")?);
    command
        .args(["--from", "alice@foo.test", "--to", to, "--data", "-", "--server"])
        .arg(server.to_string());
    peers::ask(&mut command, message.trim_end().as_bytes())
}

#[test]
fn a_placeholder_crosses_two_postfix_and_is_read_from_dovecot_as_it_was_written() {
    let dovecot = Dovecot::start(loopback(33)).unwrap();
    let bar = Postfix::start("mx.bar.test", at(32), &[("bar.test", Next::Lmtp(dovecot.lmtp()))]).unwrap();
    let foo = Postfix::start("mx.foo.test", at(31), &[("bar.test", Next::Smtp(bar.address()))]).unwrap();

    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/placeholder");
    let written = std::fs::read_to_string(vectors.join("composed.placeholder.eml")).unwrap();
    swaks(foo.address(), "bob@bar.test", &written).unwrap();

    let inbox = dovecot.wait_for("bob@bar.test", 1).unwrap();
    let [message] = inbox.as_slice() else {
        panic!("{} messages", inbox.len())
    };
    assert!(
        message.ends_with(written.as_bytes()),
        "{}\n{}\n{}",
        String::from_utf8_lossy(message),
        foo.log(),
        bar.log()
    );
    let trace = String::from_utf8_lossy(&message[..message.len() - written.len()]).into_owned();
    for server in [
        "by mx.foo.test (Postfix)",
        "by mx.bar.test (Postfix)",
        "with LMTP",
    ] {
        assert!(trace.contains(server), "{server} not in {trace}");
    }
    assert!(dovecot.inbox("carol@bar.test").unwrap().is_empty());
}

#[test]
fn a_postfix_refuses_mail_for_a_domain_that_it_has_no_route_to() {
    let foo = Postfix::start("mx.foo.test", at(34), &[]).unwrap();
    let letter = "From: alice@foo.test\r\nTo: bob@bar.test\r\nSubject: tea\r\n\r\nAt four?\r\n";
    assert!(swaks(foo.address(), "bob@bar.test", letter).is_err());
    assert!(foo.log().contains("no route to this domain"), "{}", foo.log());
}
