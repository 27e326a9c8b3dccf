//! The introducer of a community: the peers of a Cargomail network find each other's addresses through it.
#![doc = include_str!("../README.md")]

mod key;
mod serve;
mod settings;

use std::io::Write;

use anyhow::Context;
use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::serve::{News, Output};
use crate::settings::{Arguments, Settings};

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let output = if arguments.json {
        Output::Json
    } else {
        Output::Text
    };
    let settings = Settings::open(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(settings, output))
}

async fn run(settings: Settings, output: Output) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        let _ = stop.send(());
    });
    serve::serve(&settings, stopped, |news| tell(output, &news)).await
}

/// Writes one line for a person or for a program. A reader that went away is no reason to stop.
fn tell(output: Output, news: &News) {
    let line = match (output, news) {
        (Output::Text, News::Listening(address)) => format!("listening at {address}"),
        (Output::Text, News::Stopped) => "stopped".to_owned(),
        (Output::Json, News::Listening(address)) => {
            json!({ "event": "listening", "address": address.to_string() }).to_string()
        }
        (Output::Json, News::Stopped) => json!({ "event": "stopped" }).to_string(),
    };
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
