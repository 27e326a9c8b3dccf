//! One run: the town is built, people get accounts and wishes, they write and look, the nodes stop, and what happened is
//! judged.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, bail};
use cargomail_node::app::App;
use cargomail_node::app::administration::Administration;
use cargomail_protocol::address::Address;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cost::Meter;
use crate::ground::Ground;
use crate::history::{History, Mail, Provider};
use crate::hostile;
use crate::ledgers;
use crate::observe::Observer;
use crate::plan::Plan;
use crate::provider::{self, Roots};
use crate::replies::Replies;
use crate::report::Report;
use crate::scenario::{How, REAL_CONCURRENT, REAL_SITES, Scenario};
use crate::traffic::write_all;
use crate::view::View;
use crate::world::{self, Home, World};

/// Mails that were written and not yet taken note of: more make their authors wait. That is done a few times a second at most, and thousands are
/// written in one.
const UNNOTED: usize = 4096;

/// How it is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where everything is laid out, and stays; without it, in a folder that is removed at the end.
    pub folder: Option<PathBuf>,
    /// Whether anybody looks on.
    pub progress: Progress,
}

/// What is shown while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Progress {
    /// A line on the terminal, if there is one.
    #[default]
    Shown,
    /// Nothing: many runs are made, and somebody else tells of them.
    Hidden,
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
    apps: HashMap<String, App>,
    /// The nodes at which each of them has an account, in a virtual world.
    homes: HashMap<String, Vec<Home>>,
    /// The administrators of the brokers, by site.
    pub(crate) brokers: Vec<(String, Administration)>,
    /// How what was received is compared with what was written.
    pub(crate) reading: Reading,
    pub(crate) view: View,
    /// The mails that somebody is to answer.
    pub(crate) replies: Replies,
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
        self.app_of(&person.to_string())
    }

    /// A person's application, by their address.
    pub(crate) fn app_of(&self, person: &str) -> &App {
        let app = self.apps.get(person);
        app.expect("everybody in a checked scenario has accounts")
    }

    /// Everybody's address, in order.
    pub(crate) fn everybody(&self) -> Vec<&Address> {
        let mut all: Vec<(&String, &App)> = self.apps.iter().collect();
        all.sort_by_key(|(name, _)| *name);
        all.into_iter().map(|(_, app)| &app.profile().address).collect()
    }

    /// The nodes at which a person has an account; none where nobody can look into them.
    pub(crate) fn homes(&self, person: &str) -> &[Home] {
        self.homes.get(person).map_or(&[], Vec::as_slice)
    }

    /// A file of the plan.
    pub(crate) fn file(&self, index: usize) -> PathBuf {
        self.folder.join("files").join(format!("file-{}.bin", index + 1))
    }

    /// Waits until a mail may be begun.
    pub(crate) async fn turn_of(&self, mail: usize) {
        let after = Duration::from_secs_f64(mail as f64 * self.scenario.every);
        if !after.is_zero() {
            tokio::time::sleep_until(self.began + after).await;
        }
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
        bail!("faults[{index}].how: only a virtual world can do that: run it without --real");
    }
    if !scenario.links.is_empty() || scenario.sites.iter().any(|site| site.line.is_some()) {
        bail!("links and lines: only a virtual world has others than this machine's: run it without --real");
    }
    if !scenario.paths.is_empty() {
        bail!("paths: only a virtual world tells which were gone: run it without --real");
    }
    if scenario.sites.len() > REAL_SITES {
        bail!("sites: {REAL_SITES} can be run as real nodes, more in a virtual world: run it without --real");
    }
    if scenario.concurrent > REAL_CONCURRENT {
        bail!(
            "concurrent: {REAL_CONCURRENT} are possible with real nodes, more in a virtual world: run it without --real"
        );
    }
    if !scenario.hostile.is_empty() {
        bail!("hostile: only in a virtual world somebody does harm: run it without --real");
    }
    let meter = Meter::start();
    let folder = Folder::open(options)?;
    let view = options.progress.view();
    let ran = until_stopped(async {
        view.does("the nodes start");
        let ground = Ground::real(&folder.path, &scenario.site_plans()).await?;
        Box::pin(on_ground(scenario, ground, &folder.path, &view, meter)).await
    });
    let ran = ran.await;
    view.end();
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
    let meter = Meter::start();
    let folder = Folder::open(options)?;
    let view = options.progress.view();
    let ran = world::run(trace, async |trace| {
        until_stopped(async {
            view.does("the world is made");
            let ground = Ground::make(&folder.path, scenario, &trace).await?;
            let report = Box::pin(on_ground(scenario, ground, &folder.path, &view, meter)).await?;
            let (lines, sum) = trace.sum();
            anyhow::Ok(Traced { report, lines, sum })
        })
        .await
    });
    view.end();
    folder.close()?;
    ran?
}

/// Somebody has ended a run.
#[derive(Debug, thiserror::Error)]
#[error("stopped by Ctrl-C")]
pub(crate) struct Stopped;

/// Does work until it is done or somebody presses Ctrl-C: also in a virtual world, whose thread waits for nothing that happens outside. So
/// another one listens, from the first run on, and whoever works looks whenever it goes on.
fn until_stopped<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> impl Future<Output = anyhow::Result<T>> {
    static LISTENING: Once = Once::new();
    static STOPPED: AtomicBool = AtomicBool::new(false);
    LISTENING.call_once(|| {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            // Where nobody can listen, Ctrl-C does what it does everywhere.
            if runtime.is_ok_and(|runtime| runtime.block_on(tokio::signal::ctrl_c()).is_ok()) {
                STOPPED.store(true, Ordering::Relaxed);
            }
        });
    });
    let mut work = Box::pin(work);
    poll_fn(move |context| match STOPPED.load(Ordering::Relaxed) {
        true => Poll::Ready(Err(Stopped.into())),
        false => work.as_mut().poll(context),
    })
}

/// Where a run is laid out.
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    fn open(options: &Options) -> anyhow::Result<Self> {
        let Some(folder) = &options.folder else {
            return Self::temporary();
        };
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self {
            path: std::path::absolute(folder)?,
            is_temporary: false,
        })
    }

    /// A new one: where runs are killed, folders of processes with the same number may be left.
    fn temporary() -> anyhow::Result<Self> {
        let process = std::process::id();
        let mut number = 0_u64;
        loop {
            let name = format!("cargomail-simulator-{process}-{number}");
            let path = std::path::absolute(std::env::temp_dir().join(name))?;
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        is_temporary: true,
                    });
                }
                Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(why) => return Err(why).with_context(|| format!("{} cannot be made", path.display())),
            }
        }
    }

    fn close(self) -> anyhow::Result<()> {
        match self.is_temporary {
            true => std::fs::remove_dir_all(&self.path)
                .with_context(|| format!("{} cannot be removed", self.path.display())),
            false => Ok(()),
        }
    }
}

impl Progress {
    fn view(self) -> View {
        match self {
            Self::Shown => View::shown(),
            Self::Hidden => View::hidden(),
        }
    }
}

async fn on_ground(
    scenario: &Scenario,
    mut ground: Ground,
    folder: &Path,
    view: &View,
    mut meter: Meter,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut stage = prepare(scenario, &ground, folder, view).await?;
    let done = |ground: &Ground| ground.world().map(World::work);
    meter.laid_out(done(&ground));
    make_files(&mut stage, &ground)?;
    let stage = Arc::new(stage);
    let deliveries: usize = stage.plan.mails.iter().map(|mail| mail.to.len()).sum();
    view.expects(deliveries);
    let (out, sent) = mpsc::channel(UNNOTED);
    let observer = Observer::new(stage.clone());
    let ((faults, mut hostile), (mails, queues)) =
        tokio::try_join!(write_all(stage.clone(), &mut ground, out), observer.watch(sent))?;
    meter.settled(done(&ground), || {
        ground.world().map(|world| world.lying_about(scenario.seed))
    });
    if let Some(world) = ground.world() {
        hostile.extend(hostile::overheard(&stage, world));
    }
    view.does("the promises are checked");
    let ledgers = ledgers::verify_all(scenario, &ground).await;
    let providers = ask_providers(&stage, &mails).await;
    for site in &scenario.sites {
        ground.stop(site.name.as_str()).await?;
    }
    let (providers, content_found) = look_into_stores(&stage, providers, &ground, &mails).await?;
    let (transfers, paths) = match ground.world() {
        Some(world) => (world.transfers(), world.paths()),
        None => Default::default(),
    };
    let history = History {
        mails,
        ledgers,
        queues,
        providers,
        content_found,
        faults,
        hostile,
        transfers,
        paths,
    };
    let mode = if ground.is_virtual() { "virtual" } else { "real" };
    let cost = meter.checked(scenario);
    Ok(Report::of(scenario, history, began.elapsed(), mode, cost))
}

/// Makes the accounts and the wishes.
pub(crate) async fn prepare(
    scenario: &Scenario,
    ground: &Ground,
    folder: &Path,
    view: &View,
) -> anyhow::Result<Stage> {
    let plan = Plan::of(scenario);
    let mut stage = Stage {
        scenario: scenario.clone(),
        replies: Replies::of(&plan),
        plan,
        folder: folder.to_owned(),
        apps: HashMap::new(),
        homes: HashMap::new(),
        brokers: Vec::new(),
        reading: if ground.is_virtual() {
            Reading::InMemory
        } else {
            Reading::Saved
        },
        view: view.clone(),
        began: Instant::now(),
    };
    view.does("people get accounts");
    let accounts = scenario.accounts();
    for person in scenario.everybody() {
        let app = ground.person(&person).await?;
        app.broker()?
            .set_preferences(&scenario.wishes_of(&person, &accounts))
            .await?;
        stage.apps.insert(person.to_string(), app);
        if let Some(world) = ground.world() {
            stage
                .homes
                .insert(person.to_string(), world.homes_of(&person).collect());
        }
    }
    for site in scenario.sites.iter().filter(|site| site.broker) {
        let administration = ground.administration(site.name.as_str())?;
        stage.brokers.push((site.name.to_string(), administration));
    }
    Ok(stage)
}

/// Makes the files that the mails enclose; then the traffic begins.
pub(crate) fn make_files(stage: &mut Stage, ground: &Ground) -> anyhow::Result<()> {
    stage.view.does("files are made");
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
    Ok(())
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
    asked: Vec<Provider>,
    ground: &Ground,
    mails: &[Mail],
) -> anyhow::Result<(Vec<Provider>, Vec<String>)> {
    let marker = &stage.plan.marker;
    let roots = Roots::of(mails)?;
    let asked = asked.into_iter().map(|asked| (asked.site.clone(), asked));
    let mut asked: HashMap<String, Provider> = asked.collect();
    let (mut providers, mut content_found) = (Vec::new(), Vec::new());
    for site in &stage.scenario.sites {
        let name = site.name.as_str();
        if let Some(mut provider) = asked.remove(name) {
            ground.look_into(&mut provider, &roots, marker).await;
            providers.push(provider);
        } else if ground.has_content(name, marker).await? {
            content_found.push(name.to_owned());
        }
    }
    Ok((providers, content_found))
}
