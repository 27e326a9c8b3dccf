//! Other people's programs: where they are, how one is asked, and how a service among them is started and ended.
//!
//! What always holds: a program that is missing is an error that names its package and the command that installs it;
//! nothing is skipped. A service is ended by the process id that it was started with, when its value is dropped.

use std::io::Write;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// How long a service may take to start, to stop, and to do what is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Where Debian keeps programs that are not for everybody's PATH.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The path of a program of a Debian package.
///
/// # Errors
/// When it is not there: which package has it.
pub fn program(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| {
            format!("{name} is missing: install the Debian package {package} (tests/run --only install)")
        })
}

/// A script of `tests/peers`, to be run by Node.js with the npm packages that stand there.
///
/// # Errors
/// When Node.js or the packages are missing.
pub fn node(script: &str) -> anyhow::Result<Command> {
    let folder = room().join("peers");
    ensure!(
        folder.join("node_modules").is_dir(),
        "the npm packages of tests/peers/package.json are missing: npm ci there (tests/run --only install)"
    );
    let mut command = Command::new(program("node", "nodejs")?);
    command.arg(folder.join(script));
    Ok(command)
}

/// A script of `tests/peers`, to be run by a Python with the packages of `requirements.txt`.
///
/// # Errors
/// When that Python is missing.
pub fn python(script: &str) -> anyhow::Result<Command> {
    let interpreter = room().join("../target/python/bin/python");
    ensure!(
        interpreter.is_file(),
        "the packages of tests/peers/requirements.txt are missing in target/python (tests/run --only install)"
    );
    let mut command = Command::new(interpreter);
    command.arg(room().join("peers").join(script));
    Ok(command)
}

fn room() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program to its end with this on its standard input, and gives what it wrote. For small inputs: all of it is
/// written before anything is read.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0: then what it complained of.
pub fn ask(command: &mut Command, input: &[u8]) -> anyhow::Result<String> {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?} cannot be started"))?;
    // One that ends without reading is judged by its status.
    let _ = process
        .stdin
        .take()
        .context("the standard input was asked for")?
        .write_all(input);
    let output = process.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A port of this address that nobody listens at.
///
/// # Errors
/// When the address is not this machine's.
pub fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
}

/// Waits until the condition holds.
///
/// # Errors
/// When it does not within [`PATIENCE`], and when it fails itself.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !holds()? {
        ensure!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A service of somebody else, which runs as long as this value lives.
#[derive(Debug)]
pub(crate) struct Service {
    process: Child,
    /// Where the process that is told to end wrote its id, when it is another than the one that was started.
    pid_file: Option<PathBuf>,
    log: PathBuf,
}

impl Service {
    /// Starts it and waits until it takes connections at `address`. It must stay in the foreground.
    pub(crate) fn start(
        command: &mut Command,
        pid_file: Option<PathBuf>,
        log: PathBuf,
        address: std::net::SocketAddr,
    ) -> anyhow::Result<Self> {
        // A caller that waits for the end of its own output would wait for the service too, if it inherited it.
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{command:?} cannot be started"))?;
        let mut service = Self {
            process,
            pid_file,
            log,
        };
        wait_until(&format!("{command:?} takes connections"), || {
            if let Some(status) = service.process.try_wait()? {
                bail!("{command:?} ended with {status}:\n{}", service.log());
            }
            Ok(TcpStream::connect(address).is_ok())
        })?;
        Ok(service)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_else(|why| format!("no log: {why}"))
    }

    fn pid(&self) -> String {
        let written = self
            .pid_file
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        written.map_or_else(|| self.process.id().to_string(), |text| text.trim().to_owned())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.pid()]).status();
        let ended = wait_until("the service ends", || Ok(self.process.try_wait()?.is_some()));
        if ended.is_err() {
            let _ = Command::new("kill").args(["-KILL", &self.pid()]).status();
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
