//! `cargomail-simulator`: reads the command line, runs a scenario, tells what came of it. Everything else is the library's.
//!
//! Codes: 0 every promise held, 1 a promise was broken, 2 the scenario, a report or the command line is wrong, or the run
//! could not be made.

use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use cargomail_simulator::report::Report;
use cargomail_simulator::report::compare::{Comparison, Outcome};
use cargomail_simulator::report::files::Files;
use cargomail_simulator::scenario::{self, Flash, Many, Scenario};
use cargomail_simulator::{Options, run, run_virtually};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use tracing_subscriber::EnvFilter;

/// Runs many Cargomail nodes together and checks what must hold
#[derive(Parser)]
#[command(
    version,
    after_help = "Codes: 0 every promise held, 1 a promise was broken, 2 it could not be run or read.\n\
                  CARGOMAIL_LOG=info shows what the nodes log."
)]
struct Cli {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario and check its promises
    #[command(
        after_help = "Examples:\n  cargomail-simulator run four-domains\n  cargomail-simulator run my.toml --seed 7\n  \
                        cargomail-simulator run estonian --virtual --check-determinism\n  \
                        cargomail-simulator run storm --virtual --seeds 100\n  \
                        cargomail-simulator run storm --virtual --report storm   (then open storm/report.html)"
    )]
    Run(Run),
    /// Compare two reports: promises whose verdicts differ, then totals and times side by side
    #[command(
        after_help = "Codes: 0 every promise that held in A holds in B, 1 one does not, 2 a report cannot be read.\n\n\
                        Examples:\n  cargomail-simulator compare before.json after.json\n  \
                        cargomail-simulator compare storm-1 storm-2 --json"
    )]
    Compare {
        /// A report.json, or a folder that has one
        a: PathBuf,
        /// Another
        b: PathBuf,
    },
    /// Read a scenario and say what is wrong with it
    Check {
        /// A TOML file, or the name of a shipped scenario
        scenario: String,
    },
    /// Print a scenario with comments, to begin with; or one of many domains, each broker and mailbox of its people
    #[command(after_help = "Examples:\n  cargomail-simulator new > mine.toml\n  \
                        cargomail-simulator new --domains 100 --people 10 --mails 10000 > large.toml\n  \
                        cargomail-simulator new --domains 100 --mailboxes 10 --people 10 --mails 10000 > nodes.toml\n  \
                        cargomail-simulator new --flash 500x20 > flash.toml")]
    New {
        /// So many domains
        #[arg(long, requires = "people", requires = "mails")]
        domains: Option<usize>,
        /// With so many Resource Mailboxes each, nodes of their own; 0 makes each broker a mailbox, too
        #[arg(long, requires = "domains", default_value_t = 0)]
        mailboxes: usize,
        /// With so many people each
        #[arg(long, requires = "domains")]
        people: Option<usize>,
        /// Who write so many mails to each other
        #[arg(long, requires = "domains")]
        mails: Option<usize>,
        /// One attachment from one author to so many domains with so many people each
        #[arg(long, value_name = "DOMAINSxPEOPLE", conflicts_with = "domains")]
        flash: Option<Flash>,
    },
    /// List the scenarios that are shipped
    List,
}

#[derive(Args)]
struct Run {
    /// A TOML file, or the name of a shipped scenario
    scenario: String,
    /// Another seed than the scenario's
    #[arg(long)]
    seed: Option<u64>,
    /// Where everything is laid out, and stays; without it, in a folder that is removed at the end
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// In a virtual world: time leaps, and the seed decides everything
    #[arg(long = "virtual")]
    is_virtual: bool,
    /// Where the trace of a virtual run is written, line by line
    #[arg(long, value_name = "FILE", requires = "is_virtual")]
    trace: Option<PathBuf>,
    /// Run it twice in a virtual world, and compare the traces
    #[arg(long, requires = "is_virtual")]
    check_determinism: bool,
    /// With so many seeds, from that one on, each in a virtual world; the first that breaks a promise ends it
    #[arg(long, value_name = "N", default_value_t = 1, requires = "is_virtual")]
    seeds: u64,
    /// Where the report is written: a name that ends in .json is one file; any other is a folder, which gets report.json,
    /// report.html, mails.csv and promises.csv
    #[arg(long, value_name = "DIR-or-FILE", default_value = "report.json")]
    report: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("CARGOMAIL_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let done = match cli.command {
        Command::Run(run) => execute(&run, cli.json),
        Command::Compare { a, b } => compare(&a, &b, cli.json),
        Command::Check { scenario } => check(&scenario, cli.json),
        Command::New {
            domains: Some(domains),
            mailboxes,
            people: Some(people),
            mails: Some(mails),
            ..
        } => {
            let many = Many {
                domains,
                mailboxes,
                people,
                mails,
            };
            print!("{}", many.scenario());
            Ok(true)
        }
        Command::New {
            flash: Some(flash), ..
        } => {
            print!("{}", flash.scenario());
            Ok(true)
        }
        Command::New { .. } => {
            print!("{}", scenario::NEW);
            Ok(true)
        }
        Command::List => {
            list(cli.json);
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) if cli.json => {
            eprintln!("{}", json!({ "error": format!("{error:#}") }));
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("cargomail-simulator: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every promise held.
fn execute(wanted: &Run, json: bool) -> anyhow::Result<bool> {
    let mut scenario = Scenario::find(&wanted.scenario)?;
    scenario.seed = wanted.seed.unwrap_or(scenario.seed);
    let options = Options {
        folder: wanted.folder.clone(),
    };
    // A report that cannot be written is known before the run, not after it.
    let files = Files::open(&wanted.report)?;
    let shown = files.shown().to_owned();
    let report = if wanted.is_virtual {
        in_virtual_worlds(&mut scenario, &options, wanted)?
    } else {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(&scenario, &options))?
    };
    files.write(&report)?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
        println!("\nEverything that happened is in {}.", shown.display());
    }
    Ok(report.all_held())
}

/// The report of the first seed that broke a promise, or of the last one.
fn in_virtual_worlds(scenario: &mut Scenario, options: &Options, wanted: &Run) -> anyhow::Result<Report> {
    let last = scenario.seed.saturating_add(wanted.seeds.max(1) - 1);
    loop {
        let report = in_virtual_world(scenario, options, wanted)?;
        if !report.all_held() || scenario.seed >= last {
            return Ok(report);
        }
        scenario.seed += 1;
    }
}

fn in_virtual_world(scenario: &Scenario, options: &Options, wanted: &Run) -> anyhow::Result<Report> {
    let out: Option<Box<dyn std::io::Write + Send>> = match &wanted.trace {
        None => None,
        Some(path) => {
            let file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
            Some(Box::new(std::io::BufWriter::new(file)))
        }
    };
    let options = match &options.folder {
        Some(folder) if wanted.seeds > 1 => Options {
            folder: Some(folder.join(format!("seed-{}", scenario.seed))),
        },
        _ => options.clone(),
    };
    let seed = || format!("seed {}", scenario.seed);
    let ran = run_virtually(scenario, &options, out).with_context(seed)?;
    if wanted.check_determinism {
        let again = run_virtually(scenario, &Options::default(), None).with_context(seed)?;
        anyhow::ensure!(
            (again.lines, &again.sum) == (ran.lines, &ran.sum),
            "the seed {} made two traces: {} lines ({}) and {} lines ({})",
            scenario.seed,
            ran.lines,
            ran.sum,
            again.lines,
            again.sum
        );
    }
    let twice = if wanted.check_determinism {
        ", twice the same"
    } else {
        ""
    };
    eprintln!(
        "seed {}: trace of {} lines{twice}, {}",
        scenario.seed, ran.lines, ran.sum
    );
    Ok(ran.report)
}

/// Whether every promise that held in the first run held in the second.
fn compare(a: &Path, b: &Path, json: bool) -> anyhow::Result<bool> {
    let comparison = Comparison::of(Outcome::read(a)?, Outcome::read(b)?);
    if json {
        println!("{}", serde_json::to_string(&comparison)?);
    } else {
        print!("{comparison}");
    }
    Ok(comparison.kept)
}

fn check(name: &str, json: bool) -> anyhow::Result<bool> {
    let scenario = Scenario::find(name)?;
    let (sites, people, mails) = (scenario.sites.len(), scenario.everybody().len(), scenario.mails());
    if json {
        println!(
            "{}",
            json!({ "scenario": scenario.name, "sites": sites, "people": people, "mails": mails })
        );
    } else {
        println!(
            "{} is a scenario: {sites} sites, {people} people, {mails} mails.",
            scenario.name
        );
    }
    Ok(true)
}

fn list(json: bool) {
    for (name, text) in scenario::SHIPPED {
        let description = scenario::description(text);
        if json {
            println!("{}", json!({ "scenario": name, "description": description }));
        } else {
            println!("{name:<14} {description}");
        }
    }
}
