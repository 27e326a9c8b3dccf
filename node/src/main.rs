//! `cargomail`: reads the command line, says what happens, ends with a code. Everything else is the library's.

use std::io::IsTerminal;
use std::process::ExitCode;

use cargomail_node::cli::{Cli, exit};
use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // There is one provider in the build; naming it here keeps a second one from ever being a question.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    let json = cli.is_json();
    log(&cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into(), json),
    };
    match runtime.block_on(cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, json),
    }
}

fn log(cli: &Cli) {
    let Some(log) = cli.log() else { return };
    let filter = EnvFilter::try_from_env("CARGOMAIL_LOG").unwrap_or_else(|_| EnvFilter::new(log));
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if cli.is_json() {
        to_stderr.json().init();
    } else {
        to_stderr.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    if json {
        eprintln!("{}", serde_json::json!({ "error": format!("{error:#}") }));
    } else {
        eprintln!("cargomail: {error:#}");
    }
    exit::code(error)
}
