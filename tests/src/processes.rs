//! Nodes as processes of their own, started from the configuration files of a town's sites as an operator starts them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The binary that was built together with this test.
///
/// # Errors
/// When it was not built.
pub fn cargomail() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    // A test lies in target/<profile>/deps, a program in target/<profile>.
    let folders = test.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join("cargomail"))
        .find(|binary| binary.exists())
        .with_context(|| {
            format!(
                "cargomail is not beside {}: cargo build --workspace makes it",
                test.display()
            )
        })
}

/// The command that runs the node of a configuration.
///
/// # Errors
/// When the binary was not built.
pub fn command(config: &Path) -> anyhow::Result<std::process::Command> {
    let mut command = std::process::Command::new(cargomail()?);
    command.arg("--config").arg(config).arg("run");
    command.env("CARGOMAIL_LOG", "warn,libp2p=error");
    Ok(command)
}

/// A node that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a node and returns once it serves; none when it ended before that.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub async fn start(command: std::process::Command) -> anyhow::Result<Option<Self>> {
        let mut command = Command::from(command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("the node cannot be started")?;
        let stdout = child.stdout.take().context("its output was asked for")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if line == "running" {
                // What it prints later must find a reader.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Some(Self { child }));
            }
        }
        child.wait().await?;
        Ok(None)
    }

    /// Returns when the process has ended.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        self.child.wait().await?;
        Ok(())
    }

    /// Kills it, and returns when it has ended.
    ///
    /// # Errors
    /// When the system cannot.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Asks it to end, as an operator does, and waits until it has.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id() {
            let asked = Command::new("kill").args(["-TERM", &id.to_string()]).status();
            asked.await.context("kill, of every system, is missing")?;
        }
        self.ended().await
    }
}
