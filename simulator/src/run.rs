//! One run: the town is built, people get accounts and wishes, they write and look, the nodes stop, and what happened is
//! judged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use cargomail_node::app::App;
use cargomail_node::app::administration::Administration;
use cargomail_node::harness::{Town, verify_ledger};
use cargomail_protocol::address::Address;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::history::{History, Ledger, Mail, Provider};
use crate::observe::Observer;
use crate::plan::Plan;
use crate::provider::{self, Thoroughly};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::traffic::write_all;

/// Mails that were written and not yet taken note of: more make their authors wait.
const UNNOTED: usize = 64;

/// How it is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where everything is laid out, and stays; without it, in a folder that is removed at the end.
    pub folder: Option<PathBuf>,
}

/// What everybody in a run needs.
pub(crate) struct Stage {
    pub(crate) scenario: Scenario,
    pub(crate) plan: Plan,
    /// Where everything is laid out.
    pub(crate) folder: PathBuf,
    /// The people's applications, by address.
    pub(crate) apps: BTreeMap<String, App>,
    /// The administrators of the brokers, by site.
    pub(crate) brokers: Vec<(String, Administration)>,
    began: Instant,
}

impl Stage {
    /// A person's application.
    pub(crate) fn app(&self, person: &Address) -> &App {
        self.apps
            .get(&person.to_string())
            .expect("everybody in a checked scenario has accounts")
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

/// Runs a scenario.
///
/// # Errors
/// When the run could not be made. A promise that was broken is no error: the report says so.
pub async fn run(scenario: &Scenario, options: &Options) -> anyhow::Result<Report> {
    let (folder, temporary) = match &options.folder {
        Some(folder) => (folder.clone(), false),
        None => {
            let name = format!("cargomail-simulator-{}", std::process::id());
            (std::env::temp_dir().join(name), true)
        }
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let folder = std::path::absolute(folder)?;
    let progress = progress();
    let ran = tokio::select! {
        ran = in_folder(scenario, &folder, &progress) => ran,
        stopped = tokio::signal::ctrl_c() => {
            stopped.context("Ctrl-C cannot be waited for")?;
            Err(anyhow::anyhow!("stopped by Ctrl-C"))
        }
    };
    progress.finish_and_clear();
    if temporary {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    ran
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}");
    let progress = ProgressBar::new(0);
    match style {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}

async fn in_folder(scenario: &Scenario, folder: &Path, progress: &ProgressBar) -> anyhow::Result<Report> {
    let began = Instant::now();
    progress.set_message("the nodes start");
    let mut town = Town::start(folder, &scenario.site_plans()).await?;
    let stage = Arc::new(prepare(scenario, &town, progress).await?);
    let deliveries: usize = stage.plan.mails.iter().map(|mail| mail.to.len()).sum();
    progress.set_length(deliveries as u64);
    let (out, sent) = mpsc::channel(UNNOTED);
    let observer = Observer::new(stage.clone(), progress.clone());
    let (faults, (mails, queues)) =
        tokio::try_join!(write_all(stage.clone(), &mut town, out), observer.watch(sent))?;
    progress.set_message("the promises are checked");
    let ledgers = ledgers(&town).await;
    let providers = ask_providers(&stage, &mails).await;
    let configs: Vec<(String, PathBuf)> = town
        .sites()
        .iter()
        .map(|site| (site.plan.name.clone(), site.config()))
        .collect();
    town.stop().await;
    let (providers, content_found) = look_into_stores(&stage, providers, &configs, &mails).await?;
    let history = History {
        mails,
        ledgers,
        queues,
        providers,
        content_found,
        faults,
    };
    Ok(Report::of(scenario, history, began.elapsed()))
}

/// Makes the files, the accounts and the wishes.
async fn prepare(scenario: &Scenario, town: &Town, progress: &ProgressBar) -> anyhow::Result<Stage> {
    let mut stage = Stage {
        scenario: scenario.clone(),
        plan: Plan::of(scenario),
        folder: town.folder.clone(),
        apps: BTreeMap::new(),
        brokers: Vec::new(),
        began: Instant::now(),
    };
    progress.set_message("people get accounts");
    for person in scenario.everybody() {
        let app = town.person(&person.to_string()).await?;
        app.broker()?
            .set_preferences(&scenario.wishes_of(&person))
            .await?;
        stage.apps.insert(person.to_string(), app);
    }
    for site in town.sites().iter().filter(|site| site.plan.broker.is_some()) {
        let administration = town.administration(site)?;
        stage.brokers.push((site.plan.name.clone(), administration));
    }
    progress.set_message("files are made");
    std::fs::create_dir_all(stage.folder.join("files"))?;
    for (index, file) in stage.plan.files.iter().enumerate() {
        let path = stage.file(index);
        let written = tokio::task::block_in_place(|| stage.plan.write(file, &path));
        written.with_context(|| format!("{} cannot be written", path.display()))?;
    }
    stage.began = Instant::now();
    Ok(stage)
}

async fn ledgers(town: &Town) -> Vec<Ledger> {
    let mut ledgers = Vec::new();
    for site in town.sites() {
        let checked = async {
            if site.node().is_none() {
                bail!("the node is stopped and cannot be asked");
            }
            verify_ledger(&town.administration(site)?).await
        };
        let (entries, wrong) = match checked.await {
            Ok(entries) => (entries, None),
            Err(error) => (0, Some(format!("{error:#}"))),
        };
        ledgers.push(Ledger {
            site: site.plan.name.clone(),
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
    configs: &[(String, PathBuf)],
    mails: &[Mail],
) -> anyhow::Result<(Vec<Provider>, Vec<String>)> {
    let marker = &stage.plan.marker;
    let mut content_found = Vec::new();
    for (name, config) in configs {
        if let Some(provider) = providers.iter_mut().find(|provider| provider.site == *name) {
            provider::look_into(provider, config, mails, marker).await;
        } else if let Some(folder) = config.parent() {
            let searched = provider::search(folder.join("data"), marker, Thoroughly::UntilFound).await?;
            if !searched.files.is_empty() {
                content_found.push(name.clone());
            }
        }
    }
    Ok((providers, content_found))
}
