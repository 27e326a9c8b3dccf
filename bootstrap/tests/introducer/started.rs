//! An introducer that runs as long as a value lives, in a folder of its own, on ports of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_cargomail-bootstrap");

pub(crate) struct Introducer {
    pub(crate) process: Child,
    pub(crate) folder: TempDir,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    pub(crate) addresses: Vec<Multiaddr>,
    pub(crate) watched: SocketAddr,
}

impl Introducer {
    /// With a configuration, and nothing that is not on this machine.
    pub(crate) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bootstrap.toml"), config).unwrap();
        let mut process = command(&folder).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut started = Self {
            process,
            folder,
            lines,
            addresses: Vec::new(),
            watched: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        started.watched = started.told("watched").parse().unwrap();
        for _ in 0..2 {
            let address = started.told("listening").parse().unwrap();
            started.addresses.push(address);
        }
        started
    }

    /// For the peers of one machine, and a relay for them.
    pub(crate) fn relay(more: &str) -> Self {
        Self::start(&format!(
            "allow-private = true\nexternal = [\"127.0.0.1\"]\n{more}"
        ))
    }

    fn told(&mut self, event: &str) -> String {
        let line = self.lines.next().unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["event"], event);
        line["address"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("bootstrap.toml")
    }

    pub(crate) fn name(&self) -> PeerId {
        match self.addresses[0].iter().last() {
            Some(Protocol::P2p(name)) => name,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn quic(&self) -> &Multiaddr {
        self.with("/quic-v1/")
    }

    pub(crate) fn tcp(&self) -> &Multiaddr {
        self.with("/tcp/")
    }

    fn with(&self, part: &str) -> &Multiaddr {
        let mut found = self.addresses.iter();
        found.find(|at| at.to_string().contains(part)).unwrap()
    }

    /// A peer's end of this relay.
    pub(crate) fn circuit(&self) -> Multiaddr {
        self.tcp().clone().with(Protocol::P2pCircuit)
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Ends it as a service manager does.
    pub(crate) fn terminate(mut self) {
        self.signal("TERM");
        self.told("stopped");
        assert!(self.process.wait().unwrap().success());
    }

    /// Status and body of a page.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        let answer = self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// What the watched address answers to these octets.
    pub(crate) fn ask(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.watched).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A number that is counted, 0 while there is none.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let (status, text) = self.page("/metrics");
        assert_eq!(status, 200);
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_default()
    }
}

impl Drop for Introducer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The binary over the configuration in a folder.
pub(crate) fn command(folder: &TempDir) -> Command {
    let mut command = Command::new(BINARY);
    command
        .current_dir(folder)
        .args(["--config", "bootstrap.toml", "--json", "--metrics", "127.0.0.1:0"])
        .args(["--quic", "127.0.0.1:0", "--tcp", "127.0.0.1:0"]);
    command
}
