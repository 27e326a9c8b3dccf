//! `cargomail-simulator`: reads the command line, runs a scenario, tells what came of it. Everything else is the library's.
//!
//! Codes: 0 every promise held, 1 a promise was broken, 2 the scenario, a report or the command line is wrong, or a run
//! could not be made or is missing.

mod memory;

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use cargomail_simulator::promise::Promise;
use cargomail_simulator::report::Report;
use cargomail_simulator::report::compare::{Comparison, Outcome};
use cargomail_simulator::report::files::Files;
use cargomail_simulator::scenario::{self, Flash, Many, Scenario};
use cargomail_simulator::sweep::{self, Engine, Seeds};
use cargomail_simulator::{Options, run, run_virtually, shrink};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use tracing_subscriber::EnvFilter;

/// As `println!`, by [`put`].
macro_rules! say {
    ($($text:tt)*) => {
        put(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Every promise held, or there was none to hold.
const HELD: u8 = 0;
/// A promise was broken.
const BROKEN: u8 = 1;
/// Something is wrong or missing.
const WRONG: u8 = 2;

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
                        cargomail-simulator run estonian --check-determinism\n  \
                        cargomail-simulator run storm --seeds 100\n  \
                        cargomail-simulator run storm --report storm   (then open storm/report.html)\n  \
                        cargomail-simulator run four-domains --real"
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
    /// Run many seeds and sizes with an engine that exists already, and tell what came of all of them
    Sweep {
        #[command(subcommand)]
        sweep: Sweep,
    },
    /// Look for a smaller scenario that breaks the same promise in a virtual world
    #[command(
        after_help = "Leaves out mails, faults, hostile acts, people and sites, piece by piece, and keeps what the promise is still broken \
                        without.\n\nExamples:\n  cargomail-simulator shrink storm --seed 10 --into smaller.toml\n  \
                        cargomail-simulator shrink mine.toml --promise queues-drain --tries 300 --into smaller.toml\n  \
                        cargomail-simulator run smaller.toml"
    )]
    Shrink(Shrink),
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

#[derive(Subcommand)]
enum Sweep {
    /// Write a list of jobs, each a run in a virtual world, and what the engine is given; print what to type next
    #[command(
        after_help = "A job that has a report is not run again: what was interrupted is run again as it was. Emitting into the same folder \
                        again adds an engine, or makes another list of jobs; reports stay.\n\n\
                        Examples:\n  cargomail-simulator sweep emit xargs storm hostile --seeds 1-100 --into storms\n  \
                        cargomail-simulator sweep emit xargs --size 10x1x10x1000 --size 100x1x10x1000 --seeds 1-5 --into sizes\n  \
                        cargomail-simulator sweep emit slurm my.toml --seeds 1-10000 --parallel 200 --into /shared/mine\n  \
                        cargomail-simulator sweep emit kubernetes storm --seeds 1-500 --image registry.example/simulator:1 \
                        --claim sweeps --into storms"
    )]
    Emit(Emit),
    /// Read every report below a folder: what is missing, which promises were broken with which seeds, what is usual
    #[command(
        after_help = "Writes sweep.html, sweep.csv and sweep.json into the folder.\n\n\
                        Codes: 0 nothing is missing and every promise held, 1 a promise was broken, 2 something is missing or cannot be \
                        read.\n\nExamples:\n  cargomail-simulator sweep collect storms\n  \
                        cargomail-simulator sweep collect storms --json"
    )]
    Collect {
        /// The folder of a sweep, or any that has reports below it
        folder: PathBuf,
    },
}

#[derive(Args)]
struct Emit {
    /// Who runs the jobs
    engine: Engine,
    /// TOML files, or names of shipped scenarios
    scenarios: Vec<String>,
    /// Each with these seeds
    #[arg(long, value_name = "FIRST-LAST")]
    seeds: Seeds,
    /// Where it is written, and the reports will be
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// A scenario that `new` prints: so many domains, mailboxes of each, people of each, and mails in all
    #[arg(long = "size", value_name = "DOMAINSxMAILBOXESxPEOPLExMAILS")]
    sizes: Vec<Many>,
    /// So many at once; without it, as many as this machine has processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: Option<u16>,
    /// How the engine finds this program; without it, where it is on this machine, and in an image by its name
    #[arg(long)]
    program: Option<String>,
    /// For Kubernetes: an image that has this program, sh, awk and xargs
    #[arg(
        long,
        required_if_eq("engine", "kubernetes"),
        default_value = "",
        hide_default_value = true
    )]
    image: String,
    /// For Kubernetes: the claim of a volume that has the folder at its root
    #[arg(long, value_name = "NAME", default_value = "cargomail-sweep")]
    claim: String,
}

#[derive(Args)]
struct Shrink {
    /// A TOML file, or the name of a shipped scenario
    scenario: String,
    /// Another seed than the scenario's
    #[arg(long)]
    seed: Option<u64>,
    /// The promise that is to stay broken; without it, the first that the scenario breaks
    #[arg(long)]
    promise: Option<Promise>,
    /// So many scenarios are run at the most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    tries: u32,
    /// Where the smaller scenario is written; nothing may be there yet
    #[arg(long, value_name = "FILE")]
    into: PathBuf,
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
    /// On real nodes, sockets and disks, in real time; without it, in a virtual world: time leaps, and the seed decides everything
    #[arg(long)]
    real: bool,
    /// Where the trace of a virtual run is written, line by line
    #[arg(long, value_name = "FILE", conflicts_with = "real")]
    trace: Option<PathBuf>,
    /// Run it twice, and compare the traces
    #[arg(long, conflicts_with = "real")]
    check_determinism: bool,
    /// With so many seeds, from that one on; the first that breaks a promise ends it
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "real")]
    seeds: u64,
    /// As a job of a sweep: nothing is done when the report is there already, one line is printed, and the code is 0 whatever the
    /// promises came to
    #[arg(long, conflicts_with_all = ["real", "seeds", "check_determinism", "trace", "folder"])]
    as_job: bool,
    /// Where the report is written: a name that ends in .json is one file; any other is a folder, which gets report.json,
    /// report.html, mails.csv and promises.csv
    #[arg(long, value_name = "DIR-or-FILE", default_value = "report.json")]
    report: PathBuf,
}

/// Writes to standard output. Whoever reads may stop to, as `head` does; where it cannot be written otherwise, the program ends.
fn put(text: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.flush());
    if let Err(why) = written
        && why.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("cargomail-simulator: standard output: {why}");
        std::process::exit(i32::from(WRONG));
    }
}

fn main() -> ExitCode {
    memory::tell();
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("CARGOMAIL_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let done = match cli.command {
        Command::Run(run) if run.as_job => as_job(&run, cli.json),
        Command::Run(run) => execute(&run, cli.json),
        Command::Compare { a, b } => compare(&a, &b, cli.json),
        Command::Sweep { sweep } => match sweep {
            Sweep::Emit(emitting) => emit(emitting, cli.json),
            Sweep::Collect { folder } => collect(&folder, cli.json),
        },
        Command::Shrink(wanted) => shrink(&wanted, cli.json),
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
            many.checked().map_err(anyhow::Error::from).map(|many| {
                put(format_args!("{}", many.scenario()));
                HELD
            })
        }
        Command::New {
            flash: Some(flash), ..
        } => {
            put(format_args!("{}", flash.scenario()));
            Ok(HELD)
        }
        Command::New { .. } => {
            put(format_args!("{}", scenario::NEW));
            Ok(HELD)
        }
        Command::List => {
            list(cli.json);
            Ok(HELD)
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if cli.json => {
            eprintln!("{}", json!({ "error": format!("{error:#}") }));
            ExitCode::from(WRONG)
        }
        Err(error) => {
            eprintln!("cargomail-simulator: {error:#}");
            ExitCode::from(WRONG)
        }
    }
}

/// The code for whether promises held.
const fn held(is_so: bool) -> u8 {
    if is_so { HELD } else { BROKEN }
}

fn execute(wanted: &Run, json: bool) -> anyhow::Result<u8> {
    let mut scenario = Scenario::find(&wanted.scenario)?;
    scenario.seed = wanted.seed.unwrap_or(scenario.seed);
    let options = Options {
        folder: wanted.folder.clone(),
        ..Options::default()
    };
    // A report that cannot be written is known before the run, not after it.
    let files = Files::open(&wanted.report)?;
    let shown = files.shown().to_owned();
    let report = if wanted.real {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(&scenario, &options))?
    } else {
        in_virtual_worlds(&mut scenario, &options, wanted)?
    };
    files.write(&report)?;
    if json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        put(format_args!("{report}"));
        say!("\nEverything that happened is in {}.", shown.display());
    }
    Ok(held(report.all_held()))
}

fn as_job(wanted: &Run, json: bool) -> anyhow::Result<u8> {
    let done = sweep::do_job(&wanted.scenario, wanted.seed, &wanted.report)?;
    if json {
        say!("{}", serde_json::to_string(&done)?);
    } else {
        say!("{done}");
    }
    Ok(HELD)
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
            ..options.clone()
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
        anyhow::ensure!(
            again.report.cost.work == ran.report.cost.work,
            "the seed {} did not do the same twice: {:?} and {:?}",
            scenario.seed,
            ran.report.cost.work,
            again.report.cost.work
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

/// Promises held when every one that held in the first run held in the second.
fn compare(a: &Path, b: &Path, json: bool) -> anyhow::Result<u8> {
    let comparison = Comparison::of(Outcome::read(a)?, Outcome::read(b)?);
    if json {
        say!("{}", serde_json::to_string(&comparison)?);
    } else {
        put(format_args!("{comparison}"));
    }
    Ok(held(comparison.kept))
}

fn emit(wanted: Emit, json: bool) -> anyhow::Result<u8> {
    let parallel = match wanted.parallel {
        Some(parallel) => usize::from(parallel),
        None => std::thread::available_parallelism()?.get(),
    };
    let program = match (wanted.program, wanted.engine) {
        // The engine works in the folder of the sweep.
        (Some(program), _) if program.contains('/') => path_text(&std::path::absolute(program)?)?,
        (Some(program), _) => program,
        (None, Engine::Kubernetes) => env!("CARGO_PKG_NAME").to_owned(),
        (None, _) => path_text(&std::env::current_exe().context("this program does not find itself")?)?,
    };
    let sweep = sweep::Sweep {
        engine: wanted.engine,
        scenarios: wanted.scenarios,
        sizes: wanted.sizes,
        seeds: wanted.seeds,
        into: wanted.into,
        parallel,
        program,
        image: wanted.image,
        claim: wanted.claim,
    };
    let emitted = sweep.emit()?;
    if json {
        say!("{}", serde_json::to_string(&emitted)?);
        return Ok(HELD);
    }
    let sweep::Emitted { jobs, reported, next } = emitted;
    say!("{jobs} jobs, {reported} of which have a report already. Next:\n");
    for line in next {
        say!("  {line}");
    }
    Ok(HELD)
}

fn path_text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str();
    let text = text.with_context(|| format!("{} has a name that no script can hold", path.display()))?;
    Ok(text.to_owned())
}

fn collect(folder: &Path, json: bool) -> anyhow::Result<u8> {
    let together = sweep::collect(folder)?;
    let page = together.write(folder)?;
    if json {
        say!("{}", serde_json::to_string(&together)?);
    } else {
        put(format_args!("{together}"));
        say!("\nAll of it is in {}.", page.display());
    }
    match (together.kept, together.complete) {
        (false, _) => Ok(BROKEN),
        (true, false) => Ok(WRONG),
        (true, true) => Ok(HELD),
    }
}

fn shrink(wanted: &Shrink, json: bool) -> anyhow::Result<u8> {
    let into = &wanted.into;
    // Known before all the runs, not after them.
    anyhow::ensure!(
        !into.exists(),
        "{} is there already: name another file",
        into.display()
    );
    let folder = into.parent().filter(|folder| !folder.as_os_str().is_empty());
    let cannot = || format!("{} cannot be written", into.display());
    std::fs::metadata(folder.unwrap_or(Path::new("."))).with_context(cannot)?;
    let mut scenario = Scenario::find(&wanted.scenario)?;
    scenario.seed = wanted.seed.unwrap_or(scenario.seed);
    let shrunk = shrink::shrink(&scenario, wanted.promise, wanted.tries as usize)?;
    let mut file = File::create_new(into).with_context(cannot)?;
    file.write_all(shrunk.text()?.as_bytes()).with_context(cannot)?;
    if json {
        say!(
            "{}",
            json!({
                "scenario": scenario.name, "seed": scenario.seed, "promise": shrunk.promise, "tries": shrunk.tries,
                "is_spent": shrunk.is_spent, "left_out": shrunk.left_out, "file": into,
            })
        );
    } else {
        put(format_args!("{shrunk}"));
        say!("\nWhat is left is in {}.", into.display());
    }
    Ok(HELD)
}

fn check(name: &str, json: bool) -> anyhow::Result<u8> {
    let scenario = Scenario::find(name)?;
    let (sites, people, mails) = (scenario.sites.len(), scenario.everybody().len(), scenario.mails());
    if json {
        say!(
            "{}",
            json!({ "scenario": scenario.name, "sites": sites, "people": people, "mails": mails })
        );
    } else {
        say!(
            "{} is a scenario: {sites} sites, {people} people, {mails} mails.",
            scenario.name
        );
    }
    Ok(HELD)
}

fn list(json: bool) {
    for (name, text) in scenario::SHIPPED {
        let description = scenario::description(text);
        if json {
            say!("{}", json!({ "scenario": name, "description": description }));
        } else {
            say!("{name:<14} {description}");
        }
    }
}
