//! Writes a sweep: scenarios, the list of jobs, and what the engine is given.
//!
//! What always holds: everything is checked before anything is written; a folder that has other things is left alone, and so is a
//! scenario that reports may have been made of.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::scenario::{Many, SHIPPED, Scenario};
use crate::shell::quoted;

use super::engine::{Order, name_of};
use super::job::{Job, Seeds};
use super::{ABOUT, Engine, JOBS, LOGS, REPORTS, SCENARIOS};

/// Jobs of a sweep: more make no table that anybody reads.
const MOST: u64 = 100_000;
/// The first line of [`ABOUT`].
const KNOWN: &str = "A sweep of cargomail-simulator";

/// Why no sweep is written. Always the fault of whoever asked for it.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// Nothing to run.
    #[error("there is nothing to run: name a scenario, or a --size")]
    Nothing,
    /// More jobs than anybody wants.
    #[error("{0} jobs are more than {MOST}: take fewer seeds")]
    TooMany(u64),
    /// The name of a scenario's file cannot stand in a list.
    #[error("{0:?} has no name that can stand in a list of jobs: copy the scenario to a file that has one")]
    Name(String),
    /// Two scenarios that differ have files of the same name.
    #[error("{0:?} is the name of two scenario files that differ: give one of them another name")]
    Twice(String),
    /// The folder is somebody else's.
    #[error("{} has other things, such as {found:?}: name a folder that is new, empty or of a sweep", .folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// What is there.
        found: String,
    },
    /// A scenario has changed since.
    #[error("{} is another scenario, and there may be reports of it: name another folder", .0.display())]
    Changed(PathBuf),
    /// What names a program, an image or a claim is nothing.
    #[error("--{0} is empty, or has a character that no such name has")]
    Word(&'static str),
}

/// What is to be emitted.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// For whom.
    pub engine: Engine,
    /// Names of shipped scenarios, and files.
    pub scenarios: Vec<String>,
    /// Sizes of scenarios that are printed.
    pub sizes: Vec<Many>,
    /// Each with all of these.
    pub seeds: Seeds,
    /// Where.
    pub into: PathBuf,
    /// So many at once.
    pub parallel: usize,
    /// The simulator, as the engine finds it.
    pub program: String,
    /// The image of the containers.
    pub image: String,
    /// The claim of the volume that has the folder.
    pub claim: String,
}

/// What was emitted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Emitted {
    /// How many jobs there are.
    pub jobs: usize,
    /// How many of them have a report already, which is not looked into.
    pub reported: usize,
    /// What to type next, in order; a line that begins with # is for whoever reads it.
    pub next: Vec<String>,
}

/// Scenarios of a sweep.
#[derive(Default)]
struct Scenarios {
    /// As jobs name them, and as their folders are called.
    names: Vec<(String, String)>,
    /// The texts of those that are files.
    texts: BTreeMap<String, String>,
}

impl Sweep {
    /// Writes it.
    ///
    /// # Errors
    /// Those of [`EmitError`], of a scenario, and of the disk.
    pub fn emit(&self) -> anyhow::Result<Emitted> {
        let scenarios = self.scenarios()?;
        let count = self.seeds.count().saturating_mul(scenarios.names.len() as u64);
        if count > MOST {
            return Err(EmitError::TooMany(count).into());
        }
        self.words()?;
        self.own_folder()?;
        let place = |file: &String| self.into.join(SCENARIOS).join(file);
        for (file, text) in &scenarios.texts {
            let place = place(file);
            match fs::read(&place) {
                Ok(there) if there != text.as_bytes() => return Err(EmitError::Changed(place).into()),
                Err(why) if why.kind() != io::ErrorKind::NotFound => {
                    return Err(why).with_context(|| format!("{} cannot be read", place.display()));
                }
                _ => {}
            }
        }
        for folder in [SCENARIOS, REPORTS, LOGS].map(|name| self.into.join(name)) {
            fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        // First of all: a folder that is left half written is known, and can be written again.
        self.put(Path::new(ABOUT), &about())?;
        for (file, text) in &scenarios.texts {
            self.put(&Path::new(SCENARIOS).join(file), text)?;
        }
        let seeds = || self.seeds.first..=self.seeds.last;
        let all = scenarios
            .names
            .iter()
            .flat_map(|(scenario, name)| seeds().map(|seed| Job::of(scenario.clone(), name, seed)));
        let jobs: Vec<Job> = all.collect();
        let lines: String = jobs.iter().map(|job| job.line() + "\n").collect();
        self.put(Path::new(JOBS), &lines)?;
        let whole = std::path::absolute(&self.into)?;
        let last = whole.file_name().map(|name| name.to_string_lossy().into_owned());
        let order = Order {
            name: &name_of(&last.unwrap_or_default()),
            jobs: jobs.len(),
            parallel: self.parallel,
            program: &self.program,
            image: &self.image,
            claim: &self.claim,
        };
        self.put(Path::new(self.engine.file()), &self.engine.text(&order))?;
        let has_report = |job: &&Job| {
            let report = self.into.join(&job.place).join(crate::report::files::JSON);
            fs::metadata(report).is_ok_and(|report| report.len() > 0)
        };
        Ok(Emitted {
            jobs: jobs.len(),
            reported: jobs.iter().filter(has_report).count(),
            next: self.next(),
        })
    }

    /// The scenarios, all of which can be run.
    fn scenarios(&self) -> anyhow::Result<Scenarios> {
        let mut scenarios = Scenarios::default();
        for name in &self.scenarios {
            Scenario::find(name)?;
            if SHIPPED.iter().any(|(shipped, _)| shipped == name) {
                scenarios.add(name.clone(), name.clone());
                continue;
            }
            let file = Path::new(name).file_name().and_then(|file| file.to_str());
            let file = file.filter(|file| !file.chars().any(char::is_control));
            let file = file.ok_or_else(|| EmitError::Name(name.clone()))?;
            let text = fs::read_to_string(name).with_context(|| format!("{name} cannot be read"))?;
            scenarios.add_file(file, text)?;
        }
        for size in &self.sizes {
            let file = format!("many-{size}.toml");
            let text = size.scenario();
            Scenario::read(&file, &text)?;
            scenarios.add_file(&file, text)?;
        }
        match scenarios.names.is_empty() {
            true => Err(EmitError::Nothing.into()),
            false => Ok(scenarios),
        }
    }

    fn words(&self) -> Result<(), EmitError> {
        let is_word = |word: &str| !word.is_empty() && !word.chars().any(char::is_control);
        let no_blank = |word: &str| !word.contains(char::is_whitespace);
        if !is_word(&self.program) {
            return Err(EmitError::Word("program"));
        }
        if self.engine == Engine::Kubernetes {
            for (flag, word) in [("image", &self.image), ("claim", &self.claim)] {
                if !is_word(word) || !no_blank(word) {
                    return Err(EmitError::Word(flag));
                }
            }
        }
        Ok(())
    }

    /// Makes sure that nobody else's things are in the folder.
    fn own_folder(&self) -> anyhow::Result<()> {
        let folder = &self.into;
        if let Ok(about) = fs::read_to_string(folder.join(ABOUT))
            && about.lines().next() == Some(KNOWN)
        {
            return Ok(());
        }
        let cannot = || format!("{} cannot be read", folder.display());
        let mut entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(why) => return Err(why).with_context(cannot),
        };
        match entries.next().transpose().with_context(cannot)? {
            None => Ok(()),
            Some(other) => Err(EmitError::Foreign {
                folder: folder.clone(),
                found: other.file_name().to_string_lossy().into_owned(),
            }
            .into()),
        }
    }

    /// Puts a file into the folder, whole or not at all: an engine may be reading what was there.
    fn put(&self, name: &Path, text: &str) -> anyhow::Result<()> {
        let place = self.into.join(name);
        let cannot = || format!("{} cannot be written", place.display());
        let beside = place.with_added_extension("new");
        fs::write(&beside, text).with_context(cannot)?;
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&beside, Permissions::from_mode(mode)).with_context(cannot)?;
        fs::rename(&beside, &place).with_context(cannot)
    }

    fn next(&self) -> Vec<String> {
        let folder = path(&self.into);
        let file = path(&self.into.join(self.engine.file()));
        let mut next = match self.engine {
            Engine::Xargs if file.contains('/') => vec![file],
            Engine::Xargs => vec![format!("./{file}")],
            Engine::Slurm => vec![format!("sbatch --chdir={folder} {file}")],
            Engine::Kubernetes => vec![
                format!(
                    "# Copy what is in {folder} to the root of the volume claimed by {}. Then:",
                    self.claim
                ),
                format!("kubectl apply -f {file}"),
                format!("# When it is over, copy {REPORTS} back to {folder}."),
            ],
        };
        next.push(format!("cargomail-simulator sweep collect {folder}"));
        next
    }
}

/// A path as a word of a shell.
fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

impl Scenarios {
    /// Named twice, it is run once.
    fn add(&mut self, scenario: String, name: String) {
        if !self.names.iter().any(|(there, _)| *there == scenario) {
            self.names.push((scenario, name));
        }
    }

    fn add_file(&mut self, file: &str, text: String) -> Result<(), EmitError> {
        if self.texts.get(file).is_some_and(|there| *there != text) {
            return Err(EmitError::Twice(file.to_owned()));
        }
        self.texts.insert(file.to_owned(), text);
        self.add(format!("{SCENARIOS}/{file}"), file.to_owned());
        Ok(())
    }
}

fn about() -> String {
    format!(
        "{KNOWN}\n\n\
         {JOBS:<12} a run on each line: what stands behind `cargomail-simulator run`\n\
         {SCENARIOS:<12} the scenarios that are not shipped\n\
         {REPORTS:<12} a folder for each job; one that has a whole report.json is done\n\
         {LOGS:<12} what the tasks of a cluster say\n\n\
         The folder may be moved. `cargomail-simulator sweep emit` adds engines and other jobs to it, and\n\
         `cargomail-simulator sweep collect` tells what came of all of them.\n"
    )
}
