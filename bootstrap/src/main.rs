//! The introducer of a community: the peers of a Cargomail network find and reach each other through it.
#![doc = include_str!("../README.md")]

mod boxed;
mod config;
mod door;
mod files;
mod introducer;
mod key;
mod metrics;
mod network;
mod outward;
mod pace;
mod parting;
mod questions;
mod relay;
mod serve;
mod settings;
mod slots;
mod swarm;
mod table;
mod tally;
mod watch;

use std::io::{IsTerminal, Write};

use anyhow::Context;
use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use crate::serve::{News, Order};
use crate::settings::{Arguments, Settings};

/// What is written, and for whom.
#[derive(Debug, Clone, Copy)]
enum Output {
    Text,
    Json,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.example_config {
        say(&config::example());
        return Ok(());
    }
    let output = if arguments.json {
        Output::Json
    } else {
        Output::Text
    };
    let check = arguments.check;
    let settings = Settings::read(arguments)?;
    if check {
        settings.check_key()?;
        say("the configuration can be used\n");
        return Ok(());
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    files::make_room(settings.connections.total);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(settings, output))
}

/// What `RUST_LOG` asks for. Without it, what this program itself has to say, and of libp2p only errors: it warns of what any
/// stranger does, as often as the stranger likes.
fn filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error,cargomail_bootstrap=info"))
}

async fn run(settings: Settings, output: Output) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be waited for")?;
    let (order, orders) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                _ = terminate.recv() => Order::Stop,
                _ = tokio::signal::ctrl_c() => Order::Stop,
                _ = hangup.recv() => Order::ReadAllow,
            };
            if order.send(next).await.is_err() || next == Order::Stop {
                return;
            }
        }
    });
    serve::serve(&settings, orders, |news| tell(output, &news)).await
}

/// Writes one line for a person or for a program.
fn tell(output: Output, news: &News) {
    let (event, address) = match news {
        News::Listening(address) => ("listening", Some(address.to_string())),
        News::Watched(address) => ("watched", Some(address.to_string())),
        News::Stopped => ("stopped", None),
    };
    say(&match (output, address) {
        (Output::Text, Some(address)) => format!("{event} at {address}\n"),
        (Output::Text, None) => format!("{event}\n"),
        (Output::Json, Some(address)) => format!("{}\n", json!({ "event": event, "address": address })),
        (Output::Json, None) => format!("{}\n", json!({ "event": event })),
    });
}

/// A reader that went away is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
