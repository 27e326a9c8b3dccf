//! The command line `cargomail`.
//!
//! Each command is a file: its flags, and what it does with the library. Not here: anything that a program could want without a
//! person. What always holds: results go to standard output, for `--json` as one document or as one document a line; everything
//! else goes to standard error; a failure says what to do next and ends with a code that tells its kind ([`exit`]).

mod account;
mod bench;
mod collect;
pub mod exit;
mod grip;
mod hold;
mod inbox;
mod init;
mod ledger;
mod login;
mod logout;
mod out;
mod preferences;
mod progress;
mod queue;
mod resource;
mod run;
mod save;
mod send;
mod share;
mod store;
mod value;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use rustix::fs::Mode;
use rustix::process::umask;

use crate::app::{App, Profile, World};
use crate::config::{Settings, example};
use crate::demo::{self, Telling};
use out::Out;

/// Mail whose content travels between mailboxes that people choose, and never through their mail provider.
#[derive(Debug, Parser)]
#[command(name = "cargomail", version, max_term_width = 110, after_help = exit::HELP)]
pub struct Cli {
    #[command(flatten)]
    everywhere: Everywhere,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Everywhere {
    /// Write JSON: one document, or one a line for lists
    #[arg(long, global = true)]
    json: bool,
    /// The file with the user's address and sessions [default: profile.toml in the user's configuration folder]
    #[arg(long, global = true, env = "CARGOMAIL_PROFILE", value_name = "FILE")]
    profile: Option<PathBuf>,
    /// The node's configuration
    #[arg(
        long,
        global = true,
        env = "CARGOMAIL_CONFIG",
        value_name = "FILE",
        default_value = "cargomail.toml"
    )]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Node(NodeCommand),
    #[command(flatten)]
    User(UserCommand),
}

const DEMO: &str = "Examples:
  cargomail demo
  cargomail demo report.pdf scan.tiff --topology single
  cargomail demo --keep";

/// For whoever runs a node.
#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// See it work: four domains on this machine, and a mail on its walk through them
    #[command(after_help = DEMO)]
    Demo(demo::Options),
    /// Write a configuration and a key, and print the DNS records to publish
    Init(init::InitArgs),
    /// Print a configuration with every key that there is
    ExampleConfig,
    /// Run the node until SIGTERM or Ctrl-C
    Run,
    /// Make and list the accounts of this node
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Remove what nothing refers to any more
    Collect(collect::CollectArgs),
    /// Show what refers to a block, and so keeps it
    Why(collect::WhyArgs),
    /// Keep what an account has, whatever its user deletes
    #[command(subcommand)]
    Hold(hold::HoldCommand),
    /// Check and list this node's ledger
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Look into the store of a node that does not run, and mend it
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Make, look into and verify tokens
    #[command(subcommand)]
    Grip(grip::GripCommand),
    /// Measure how fast this machine does what a node does
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

/// For whoever has an account.
#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Begin a session at a node, and note it in the profile
    Login(login::LoginArgs),
    /// End a session at a node, and remove it from the profile
    Logout(logout::LogoutArgs),
    /// Compose a letter and send it
    Send(Box<send::SendArgs>),
    /// List messages
    Inbox(inbox::InboxArgs),
    /// Show a message
    Read(inbox::ReadArgs),
    /// Delete messages
    Delete(inbox::DeleteArgs),
    /// Save the files of a message
    Save(save::SaveArgs),
    /// Say where mail of which kind should go
    #[command(subcommand)]
    Preferences(preferences::PreferencesCommand),
    /// List and take back what was shared
    #[command(subcommand)]
    Share(share::ShareCommand),
    /// List and delete what one holds, and show why it is kept
    #[command(subcommand)]
    Resource(resource::ResourceCommand),
    /// Show how far sent messages are
    Queue(queue::QueueArgs),
    /// Show what is on its way to one's mailboxes, and end it
    Retrievals(queue::RetrievalsArgs),
}

impl Cli {
    /// What is logged when the environment does not say: a running node says more than a command. None for the
    /// demonstration, which shows the log itself.
    #[must_use]
    pub fn log(&self) -> Option<&'static str> {
        match self.command {
            Command::Node(NodeCommand::Demo(_)) => None,
            Command::Node(NodeCommand::Run) => Some("info,libp2p=error"),
            _ => Some("warn,libp2p=error"),
        }
    }

    /// Whether errors and logs are for programs.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.everywhere.json
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// What a person should be told; [`exit::code`] has the kind of it.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Node(command) => command.run(&self.everywhere).await,
            Command::User(command) => command.run(&self.everywhere).await,
        }
    }
}

impl NodeCommand {
    async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        // What a node writes is mail, and what is as good as a password: for its owner's eyes only.
        umask(Mode::RWXG | Mode::RWXO);
        match self {
            Self::Demo(options) => demo::run(options, everywhere.telling()).await,
            Self::Run => run::run(everywhere).await,
            Self::Init(args) => args.run(everywhere).await,
            Self::ExampleConfig => everywhere.out().text(&example()),
            Self::Account(command) => command.run(everywhere).await,
            Self::Collect(args) => args.run(everywhere).await,
            Self::Why(args) => args.run(everywhere).await,
            Self::Hold(command) => command.run(everywhere).await,
            Self::Ledger(command) => command.run(everywhere).await,
            Self::Store(command) => command.run(everywhere).await,
            Self::Grip(command) => command.run(everywhere).await,
            Self::Bench(command) => command.run(everywhere).await,
        }
    }
}

impl UserCommand {
    async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        match self {
            Self::Login(args) => args.run(everywhere).await,
            Self::Logout(args) => args.run(everywhere).await,
            Self::Send(args) => args.run(everywhere).await,
            Self::Inbox(args) => args.run(everywhere).await,
            Self::Read(args) => args.run(everywhere).await,
            Self::Delete(args) => args.run(everywhere).await,
            Self::Save(args) => args.run(everywhere).await,
            Self::Preferences(command) => command.run(everywhere).await,
            Self::Share(command) => command.run(everywhere).await,
            Self::Resource(command) => command.run(everywhere).await,
            Self::Queue(args) => args.run(everywhere).await,
            Self::Retrievals(args) => args.run(everywhere).await,
        }
    }
}

impl Everywhere {
    fn out(&self) -> Out {
        Out::new(self.json)
    }

    fn telling(&self) -> Telling {
        match self.json {
            true => Telling::Json,
            false => Telling::Text,
        }
    }

    /// Where the profile is.
    fn profile_file(&self) -> anyhow::Result<PathBuf> {
        if let Some(file) = &self.profile {
            return Ok(file.clone());
        }
        let folder = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let configuration = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
        let configuration =
            configuration.context("there is no home folder: name the profile with --profile")?;
        Ok(configuration.join("cargomail/profile.toml"))
    }

    /// The user's application.
    fn app(&self) -> anyhow::Result<App> {
        let profile = Profile::open(&self.profile_file()?)?;
        Ok(App::new(profile, World::real()?))
    }

    /// The node's settings.
    fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings::open(&self.config)?)
    }
}

#[cfg(test)]
mod tests;
