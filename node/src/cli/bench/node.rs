//! A node of the benchmark: `cargomail run` as a process of its own, so that its memory and its time are its own.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

use crate::harness::Site;

/// How long a node may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// `USER_HZ` of Linux, in which /proc counts time.
const TICKS: f64 = 100.0;

/// A node in a process of its own, killed when this is dropped.
pub(super) struct NodeProcess {
    name: String,
    child: Child,
    /// How often its log told of which step.
    steps: watch::Receiver<HashMap<String, usize>>,
}

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Usage {
    /// The most memory that it had at a time, in octets (VmHWM).
    pub(super) peak_memory: u64,
    /// Its processor time, in seconds.
    pub(super) cpu: f64,
}

impl NodeProcess {
    /// Starts the node of a site, and waits until it runs.
    pub(super) async fn start(site: &Site) -> anyhow::Result<Self> {
        let name = site.plan.name.clone();
        let program = std::env::current_exe().context("this program's own file is not known")?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(site.config())
            .args(["--json", "run"])
            .env("CARGOMAIL_LOG", "info,libp2p=error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("the node of {name} cannot be started"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdout = stdout.context("standard output is a pipe")?;
        let mut log = BufReader::new(stderr.context("standard error is a pipe")?).lines();
        let mut told = BufReader::new(stdout).lines();
        let running = tokio::time::timeout(PATIENCE, told.next_line()).await;
        if !matches!(running, Ok(Ok(Some(_)))) {
            let mut said = Vec::new();
            while let Ok(Ok(Some(line))) = tokio::time::timeout(Duration::from_secs(1), log.next_line()).await
            {
                said.push(line);
            }
            bail!("the node of {name} does not start: {}", said.join("\n"));
        }
        let (count, steps) = watch::channel(HashMap::new());
        tokio::spawn(listen(name.clone(), log, count));
        Ok(Self { name, child, steps })
    }

    /// Waits until the node has logged this step so many times since it was started.
    pub(super) async fn steps(&mut self, step: &str, count: usize) -> anyhow::Result<()> {
        let enough = |steps: &HashMap<String, usize>| steps.get(step).is_some_and(|seen| *seen >= count);
        let waited = self.steps.wait_for(enough).await;
        waited.map_err(|_| anyhow!("the node of {} has stopped", self.name))?;
        Ok(())
    }

    /// What it has used so far.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        let id = self
            .child
            .id()
            .with_context(|| format!("the node of {} has stopped", self.name))?;
        let read = |file: &str| {
            let path = format!("/proc/{id}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))
        };
        let status = read("status")?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        let peak: u64 = peak.context("VmHWM is not told")?.trim().parse()?;
        let stat = read("stat")?;
        // Behind the name in brackets: utime and stime are the 14th and 15th field of all.
        let (_, behind) = stat.rsplit_once(')').context("/proc tells no name")?;
        let times: Vec<u64> = behind
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        Ok(Usage {
            peak_memory: peak * 1024,
            cpu: times.iter().sum::<u64>() as f64 / TICKS,
        })
    }

    /// Asks it to stop, and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let id = self
            .child
            .id()
            .with_context(|| format!("the node of {} has stopped by itself", self.name))?;
        let asked = Command::new("kill").arg(id.to_string()).status().await;
        ensure!(
            asked.is_ok_and(|status| status.success()),
            "the node of {} cannot be asked to stop",
            self.name
        );
        let stopped = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let stopped = stopped.with_context(|| format!("the node of {} does not stop", self.name))??;
        ensure!(stopped.success(), "the node of {} failed: {stopped}", self.name);
        Ok(())
    }
}

/// Counts the steps in a log, and shows its warnings. It is read whether anybody asks or not: a node whose log is not read
/// stands still.
async fn listen(
    name: String,
    mut log: Lines<BufReader<ChildStderr>>,
    count: watch::Sender<HashMap<String, usize>>,
) {
    while let Ok(Some(line)) = log.next_line().await {
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        if told["level"] == "ERROR" || told["level"] == "WARN" {
            eprintln!("{name}: {line}");
        }
        if let Some(step) = told["fields"]["step"].as_str() {
            count.send_modify(|steps| *steps.entry(step.to_owned()).or_default() += 1);
        }
    }
}
