//! The engines that a list of jobs is written for, and what each of them is given.
//!
//! What always holds: they are given the list and nothing that knows about jobs. `awk` takes the lines of a task, `xargs` makes
//! words of them, and the program decides whether a job is done.

use std::fmt;

use clap::ValueEnum;
use serde_json::json;

use crate::shell::quoted;

use super::job::WORDS;
use super::{JOBS, LOGS};

/// Tasks of one array: more are refused by many clusters, so that a task does several jobs, one after the other.
const TASKS: usize = 1000;
/// Letters of a name in a cluster: with a task's number behind it, a DNS label.
const NAME: usize = 40;
/// A job that is killed must not keep `xargs` from the next, as a death by signal does.
const RUN: &str = r#"sh -c '"$@" || exit 1' sh"#;

/// Who runs the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// This machine
    Xargs,
    /// A job array of Slurm
    Slurm,
    /// An indexed Job of Kubernetes
    Kubernetes,
}

/// What an engine must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order<'a> {
    pub(super) name: &'a str,
    pub(super) jobs: usize,
    pub(super) parallel: usize,
    pub(super) program: &'a str,
    /// For Kubernetes: what its containers are made of.
    pub(super) image: &'a str,
    /// And the claim of the volume that has the sweep's folder at its root.
    pub(super) claim: &'a str,
}

impl Engine {
    /// The file that the engine is given.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Xargs => "run",
            Self::Slurm => "sweep.sbatch",
            Self::Kubernetes => "sweep.yaml",
        }
    }

    /// What stands in it.
    pub(super) fn text(self, order: &Order<'_>) -> String {
        match self {
            Self::Xargs => script(order),
            Self::Slurm => batch(order),
            Self::Kubernetes => manifest(order),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xargs => "xargs",
            Self::Slurm => "Slurm",
            Self::Kubernetes => "Kubernetes",
        })
    }
}

/// A name as clusters take it: small letters, digits and hyphens between them.
pub(super) fn name_of(text: &str) -> String {
    let letters = text.chars().take(NAME).map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    });
    let name: String = letters.collect();
    match name.trim_matches('-') {
        "" => "sweep".to_owned(),
        // A label that begins with a letter is taken everywhere.
        name if name.starts_with(|c: char| c.is_ascii_digit()) => format!("sweep-{name}"),
        name => name.to_owned(),
    }
}

fn script(order: &Order<'_>) -> String {
    let Order {
        jobs,
        parallel,
        program,
        ..
    } = order;
    let program = quoted(program);
    format!(
        r#"#!/bin/sh
# Runs {jobs} jobs, {parallel} at once. One that has a report is skipped, so this can be stopped and run again at any time.
# It ends with 0 when each of them has a report, whatever stands in it. Each line of `{JOBS}` is {WORDS} words: the arguments of a run.
cd -- "$(dirname -- "$0")" || exit 2
exec xargs -n {WORDS} -P {parallel} {RUN} {program} run < {JOBS}
"#
    )
}

/// The pipe that runs the lines of one of so many tasks, whose number a variable has, counted from `first`.
fn task(tasks: usize, variable: &str, first: usize, program: &str) -> String {
    let program = quoted(program);
    format!(
        "awk -v task=\"${variable}\" -v tasks={tasks} '(NR - 1) % tasks == task - {first}' {JOBS} |\n    \
         xargs -n {WORDS} {RUN} {program} run\n"
    )
}

fn batch(order: &Order<'_>) -> String {
    let Order {
        name,
        jobs,
        parallel,
        program,
        ..
    } = order;
    let tasks = TASKS.min(*jobs);
    let pipe = task(tasks, "SLURM_ARRAY_TASK_ID", 1, program);
    format!(
        r#"#!/bin/sh
#SBATCH --job-name={name}
#SBATCH --array=1-{tasks}%{parallel}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --output={LOGS}/%a.txt
# {jobs} jobs in {tasks} tasks. One that has a report is skipped, so this can be cancelled and submitted again at any time.
# Each line of `{JOBS}` is {WORDS} words: the arguments of a run.
if ! [ -r {JOBS} ]; then
    echo "there is no {JOBS} in $PWD: submit it with --chdir= and the folder of the sweep" >&2
    exit 2
fi
{pipe}"#
    )
}

/// YAML in which every value that is not the program's own is a string of JSON, which YAML takes as it is.
fn manifest(order: &Order<'_>) -> String {
    let Order {
        name,
        jobs,
        parallel,
        program,
        image,
        claim,
    } = order;
    let tasks = TASKS.min(*jobs);
    let pipe = json!(task(tasks, "JOB_COMPLETION_INDEX", 0, program));
    let [image, claim] = [image, claim].map(|text| json!(text));
    format!(
        r#"# {jobs} jobs in {tasks} tasks. One that has a report is skipped, so this can be deleted and applied again at any time.
# The volume has the folder of the sweep at its root: the reports are written there, too.
apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
spec:
  completionMode: Indexed
  completions: {tasks}
  parallelism: {parallel}
  backoffLimitPerIndex: 1
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: run
          image: {image}
          workingDir: /sweep
          command: ["/bin/sh", "-c"]
          args: [{pipe}]
          resources:
            requests:
              cpu: "1"
          volumeMounts:
            - name: sweep
              mountPath: /sweep
      volumes:
        - name: sweep
          persistentVolumeClaim:
            claimName: {claim}
"#
    )
}
