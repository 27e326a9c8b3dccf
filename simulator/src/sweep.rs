//! Many runs: a list of jobs for an engine that exists already, and what came of all of them.
//!
//! What always holds: each job is a run in a virtual world of its own, with a folder of its own for its report; a job that has a report is
//! not run again; nothing that was there before is removed or replaced by something else.

mod collect;
mod emit;
mod engine;
mod job;
#[cfg(test)]
mod tests;

pub use collect::collect;
pub use emit::{EmitError, Emitted, Sweep};
pub use engine::Engine;
pub use job::{Done, Seeds, SeedsError, do_job};

/// The list of jobs.
const JOBS: &str = "jobs";
/// Copies of scenario files.
const SCENARIOS: &str = "scenarios";
/// A folder for each job.
const REPORTS: &str = "reports";
/// What jobs of an array say.
const LOGS: &str = "logs";
/// By this file a folder is known as one of a sweep.
const ABOUT: &str = "SWEEP.txt";
