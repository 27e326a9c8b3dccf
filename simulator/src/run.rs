//! One run: the town is built, people get accounts and wishes, they write and look, the nodes stop, and what happened is
//! judged.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use cargomail_node::app::App;
use cargomail_node::app::administration::Administration;
use cargomail_node::harness::verify_ledger;
use cargomail_protocol::address::Address;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::ground::Ground;
use crate::history::{History, Ledger, Mail, Provider};
use crate::hostile;
use crate::observe::Observer;
use crate::plan::Plan;
use crate::provider;
use crate::report::Report;
use crate::scenario::{How, Scenario};
use crate::traffic::write_all;
use crate::world::disk::Mark;
use crate::world::{self, Disk};

/// Mails that were written and not yet taken note of: more make their authors wait.
const UNNOTED: usize = 64;

/// Real sites of one run: each has an address of its own in one network of 256.
const REAL_SITES: usize = 250;

/// How it is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where everything is laid out, and stays; without it, in a folder that is removed at the end.
    pub folder: Option<PathBuf>,
}

/// What a run in a virtual world came to.
#[derive(Debug)]
pub struct Traced {
    /// What came of it.
    pub report: Report,
    /// The lines of its trace.
    pub lines: u64,
    /// SHA-256 of them, in hex: the same for the same scenario and seed.
    pub sum: String,
}

/// What everybody in a run needs.
pub(crate) struct Stage {
    pub(crate) scenario: Scenario,
    pub(crate) plan: Plan,
    /// Where everything is laid out.
    pub(crate) folder: PathBuf,
    /// The people's applications, by address.
    pub(crate) apps: BTreeMap<String, App>,
    /// The disks of the nodes that each of them has an account at; of real nodes nothing is known.
    disks: HashMap<String, Vec<Disk>>,
    /// The administrators of the brokers, by site.
    pub(crate) brokers: Vec<(String, Administration)>,
    /// How what was received is compared with what was written.
    pub(crate) reading: Reading,
    began: Instant,
}

/// How what was received is compared with what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is saved as the application saves it, and read again.
    Saved,
    /// As it comes: no file is waited for, which takes its time where no time goes by.
    InMemory,
}

impl Stage {
    /// A person's application.
    pub(crate) fn app(&self, person: &Address) -> &App {
        self.apps
            .get(&person.to_string())
            .expect("everybody in a checked scenario has accounts")
    }

    /// How far the disks of a person's nodes have come, if that can be seen.
    pub(crate) fn marks(&self, person: &str) -> Option<Vec<Mark>> {
        let disks = self.disks.get(person)?;
        Some(disks.iter().map(Disk::mark).collect())
    }

    /// A file of the plan.
    pub(crate) fn file(&self, index: usize) -> PathBuf {
        self.folder.join("files").join(format!("file-{}.bin", index + 1))
    }

    /// Milliseconds since the traffic began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Runs a scenario on real nodes.
///
/// # Errors
/// When the run could not be made. A promise that was broken is no error: the report says so.
pub async fn run(scenario: &Scenario, options: &Options) -> anyhow::Result<Report> {
    if let Some(index) = scenario.faults.iter().position(|fault| fault.how != How::Stop) {
        bail!("faults[{index}].how: only a virtual world can do that: run it with --virtual");
    }
    if !scenario.links.is_empty() || scenario.sites.iter().any(|site| site.line.is_some()) {
        bail!("links and lines: only a virtual world has others than this machine's: run it with --virtual");
    }
    if scenario.sites.len() > REAL_SITES {
        bail!("sites: {REAL_SITES} can be run as real nodes, more in a virtual world: run it with --virtual");
    }
    if !scenario.hostile.is_empty() {
        bail!("hostile: only in a virtual world somebody does harm: run it with --virtual");
    }
    let folder = Folder::open(options)?;
    let progress = progress();
    let running = async {
        progress.set_message("the nodes start");
        let ground = Ground::real(&folder.path, &scenario.site_plans()).await?;
        on_ground(scenario, ground, &folder.path, &progress).await
    };
    let ran = tokio::select! {
        ran = running => ran,
        stopped = tokio::signal::ctrl_c() => {
            stopped.context("Ctrl-C cannot be waited for")?;
            Err(anyhow::anyhow!("stopped by Ctrl-C"))
        }
    };
    progress.finish_and_clear();
    folder.close()?;
    ran
}

/// Runs a scenario in a virtual world; every line of its trace is written to `trace`, too.
///
/// # Errors
/// When the run could not be made. A promise that was broken is no error: the report says so.
pub fn run_virtually(
    scenario: &Scenario,
    options: &Options,
    trace: Option<Box<dyn std::io::Write + Send>>,
) -> anyhow::Result<Traced> {
    let folder = Folder::open(options)?;
    let progress = progress();
    let ran = world::run(trace, async |trace| {
        progress.set_message("the world is made");
        let ground = Ground::make(&folder.path, scenario, &trace).await?;
        let report = on_ground(scenario, ground, &folder.path, &progress).await?;
        let (lines, sum) = trace.sum();
        anyhow::Ok(Traced { report, lines, sum })
    });
    progress.finish_and_clear();
    folder.close()?;
    ran?
}

/// Where a run is laid out.
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    fn open(options: &Options) -> anyhow::Result<Self> {
        let (path, is_temporary) = match &options.folder {
            Some(folder) => (folder.clone(), false),
            None => {
                let name = format!("cargomail-simulator-{}", std::process::id());
                (std::env::temp_dir().join(name), true)
            }
        };
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        let path = std::path::absolute(path)?;
        Ok(Self { path, is_temporary })
    }

    fn close(self) -> anyhow::Result<()> {
        match self.is_temporary {
            true => std::fs::remove_dir_all(&self.path)
                .with_context(|| format!("{} cannot be removed", self.path.display())),
            false => Ok(()),
        }
    }
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}");
    let progress = ProgressBar::new(0);
    match style {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}

async fn on_ground(
    scenario: &Scenario,
    mut ground: Ground,
    folder: &Path,
    progress: &ProgressBar,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let stage = Arc::new(prepare(scenario, &ground, folder, progress).await?);
    let deliveries: usize = stage.plan.mails.iter().map(|mail| mail.to.len()).sum();
    progress.set_length(deliveries as u64);
    let (out, sent) = mpsc::channel(UNNOTED);
    let observer = Observer::new(stage.clone(), progress.clone());
    let ((faults, mut hostile), (mails, queues)) =
        tokio::try_join!(write_all(stage.clone(), &mut ground, out), observer.watch(sent))?;
    if let Some(world) = ground.world() {
        hostile.extend(hostile::overheard(&stage, world));
    }
    progress.set_message("the promises are checked");
    let ledgers = ledgers(scenario, &ground).await;
    let providers = ask_providers(&stage, &mails).await;
    for site in &scenario.sites {
        ground.stop(site.name.as_str()).await?;
    }
    let (providers, content_found) = look_into_stores(&stage, providers, &ground, &mails).await?;
    let history = History {
        mails,
        ledgers,
        queues,
        providers,
        content_found,
        faults,
        hostile,
    };
    let mode = if ground.is_virtual() { "virtual" } else { "real" };
    Ok(Report::of(scenario, history, began.elapsed(), mode))
}

/// Makes the files, the accounts and the wishes.
async fn prepare(
    scenario: &Scenario,
    ground: &Ground,
    folder: &Path,
    progress: &ProgressBar,
) -> anyhow::Result<Stage> {
    let mut stage = Stage {
        scenario: scenario.clone(),
        plan: Plan::of(scenario),
        folder: folder.to_owned(),
        apps: BTreeMap::new(),
        disks: HashMap::new(),
        brokers: Vec::new(),
        reading: if ground.is_virtual() {
            Reading::InMemory
        } else {
            Reading::Saved
        },
        began: Instant::now(),
    };
    progress.set_message("people get accounts");
    let accounts = scenario.accounts();
    for person in scenario.everybody() {
        let app = ground.person(&person).await?;
        app.broker()?
            .set_preferences(&scenario.wishes_of(&person, &accounts))
            .await?;
        stage.apps.insert(person.to_string(), app);
        if let Some(world) = ground.world() {
            let disks = world.disks_of(&person).cloned().collect();
            stage.disks.insert(person.to_string(), disks);
        }
    }
    for site in scenario.sites.iter().filter(|site| site.broker) {
        let administration = ground.administration(site.name.as_str())?;
        stage.brokers.push((site.name.to_string(), administration));
    }
    progress.set_message("files are made");
    std::fs::create_dir_all(stage.folder.join("files"))?;
    for (index, file) in stage.plan.files.iter().enumerate() {
        let path = stage.file(index);
        let written = match ground {
            // Its only thread has nothing else to do, and no time goes by.
            Ground::Virtual(_) => stage.plan.write(file, &path),
            Ground::Real(_) => tokio::task::block_in_place(|| stage.plan.write(file, &path)),
        };
        written.with_context(|| format!("{} cannot be written", path.display()))?;
    }
    stage.began = Instant::now();
    Ok(stage)
}

async fn ledgers(scenario: &Scenario, ground: &Ground) -> Vec<Ledger> {
    let mut ledgers = Vec::new();
    for site in scenario.sites.iter().map(|site| site.name.as_str()) {
        let checked = async {
            if !ground.runs(site) {
                bail!("the node is stopped and cannot be asked");
            }
            verify_ledger(&ground.administration(site)?).await
        };
        let (entries, wrong) = match checked.await {
            Ok(entries) => (entries, None),
            Err(error) => (0, Some(format!("{error:#}"))),
        };
        ledgers.push(Ledger {
            site: site.to_owned(),
            entries,
            wrong,
        });
    }
    ledgers
}

async fn ask_providers(stage: &Stage, mails: &[Mail]) -> Vec<Provider> {
    let mut providers = Vec::new();
    let sites = stage.scenario.sites.iter();
    for site in sites.filter(|site| site.broker && !site.mailbox) {
        providers.push(provider::ask(stage, site.name.as_str(), mails).await);
    }
    providers
}

/// Looks for content where it must not be, and where it must be.
async fn look_into_stores(
    stage: &Stage,
    mut providers: Vec<Provider>,
    ground: &Ground,
    mails: &[Mail],
) -> anyhow::Result<(Vec<Provider>, Vec<String>)> {
    let marker = &stage.plan.marker;
    let mut content_found = Vec::new();
    for site in &stage.scenario.sites {
        let name = site.name.as_str();
        if let Some(provider) = providers.iter_mut().find(|provider| provider.site == name) {
            ground.look_into(provider, mails, marker).await;
        } else if ground.has_content(name, marker).await? {
            content_found.push(name.to_owned());
        }
    }
    Ok((providers, content_found))
}
