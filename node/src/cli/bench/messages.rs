//! `cargomail bench messages`: a broker of another domain gives messages to a node by the web channel, as fast as it takes them.
//!
//! The receiving node is a process of its own: this binary, started from a configuration file, with its store on disk, its HTTPS
//! with mutual TLS, its log at the level that it has by default, and every DNS record looked up at a server of this process. This
//! process only sends: tokens are signed and requests built before the clock runs, receipts are verified after it stopped.
//! What always holds: a message counts as accepted when its answer is a receipt that says so, as delivered when the node's log says
//! so; afterwards every User Mailbox is read, and each message has to be there once.

mod attachment;
mod letters;
mod load;
mod receiver;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use cargomail_protocol::limits;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::Everywhere;
use super::super::value;
use super::scratch::Scratch;
use load::Way;
use receiver::{Receiver, Spent};

/// Messages for one recipient: nobody answers at the origin, so the retrieval of each stays open.
const FOR_ONE: usize = limits::RETRIEVALS_PER_USER_AND_ORIGIN as usize;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail bench messages
  cargomail bench messages --count 20000 --connections 1,4,16,64 --json
  cargomail bench messages --path deliver --http2 0 --batch 0
  cargomail bench messages --attachment 25M
  cargomail bench messages --count 10000 --runs 3 --folder /srv/scratch

--path notify sends placeholders with one resource each: verify, store, route, notify the destination (a Resource Mailbox in the
same node), deliver. Nobody answers at the origin, so that retrieving is not measured. --path deliver sends ordinary messages.")]
pub(in crate::cli) struct MessagesArgs {
    /// Messages of each run
    #[arg(long, default_value_t = 4000)]
    count: usize,
    /// Octets of a message
    #[arg(long, default_value = "2k", value_parser = value::size, value_name = "SIZE")]
    size: u64,
    /// Connections, each with one request at a time; one run for each number
    #[arg(long, value_delimiter = ',', default_value = "1,16", value_name = "NUMBERS")]
    connections: Vec<usize>,
    /// Requests at once over one HTTP/2 connection; 0 for no such run
    #[arg(long, default_value_t = 64, value_name = "REQUESTS")]
    http2: usize,
    /// Messages of one batch, one batch at a time on one connection; 0 for no such run
    #[arg(long, default_value_t = 50, value_name = "MESSAGES")]
    batch: usize,
    /// What is sent
    #[arg(long, value_enum, default_value_t)]
    path: Path,
    /// Users among whom the messages are divided
    #[arg(long, default_value_t = 50)]
    recipients: usize,
    /// How often everything is done; the table shows medians
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Instead: one attachment of this size, to 1 and to 100 people of one domain; what it costs on the wire and on disk
    #[arg(long, value_parser = value::size, value_name = "SIZE")]
    attachment: Option<u64>,
    /// The folder, on the disk that is measured, below which everything is written [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What a message asks of its receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum Path {
    /// An ordinary message: verify, store, route, deliver.
    Deliver,
    /// A placeholder with a resource: verify, store, route, notify, deliver.
    #[default]
    Notify,
}

/// Figures of one way of sending.
#[derive(Debug, Serialize)]
struct Figures {
    way: String,
    /// Seconds until every message was accepted, of each run.
    accepted_seconds: Vec<f64>,
    /// Seconds until every message was in the User Mailbox, of each run.
    delivered_seconds: Vec<f64>,
    /// Medians.
    accepted_per_second: f64,
    delivered_per_second: f64,
    /// From the request to the receipt, milliseconds, medians of the runs.
    latency_p50: f64,
    latency_p99: f64,
    /// Of the receiving process for each message, medians of the runs.
    cpu_milliseconds: f64,
    written_octets: f64,
    disk_octets: f64,
    /// The largest of the runs.
    peak_octets: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    messages: usize,
    octets: u64,
    path: Path,
    recipients: usize,
    ways: Vec<Figures>,
}

/// One run of one way.
struct Run {
    accepted: Duration,
    delivered: Duration,
    latencies: (f64, f64),
    spent: Spent,
}

impl MessagesArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        if let Some(size) = self.attachment {
            let scratch = Scratch::below(self.folder.as_deref())?;
            return Box::pin(attachment::run(everywhere, scratch.path(), size)).await;
        }
        let recipients = self.recipients.max(1);
        let most = recipients * FOR_ONE;
        if self.path == Path::Notify && self.count > most {
            bail!(
                "{recipients} recipients have at most {most} retrievals from one origin open; name more with --recipients"
            );
        }
        let ways = self.ways();
        if ways.is_empty() || self.count == 0 {
            bail!("there is nothing to do: name --count, --connections, --http2 or --batch");
        }
        let bar = super::super::progress::count((ways.len() * self.runs.max(1) * self.count) as u64);
        let mut figures = Vec::new();
        for way in ways {
            let mut runs = Vec::new();
            for _ in 0..self.runs.max(1) {
                bar.set_message(way.to_string());
                runs.push(Box::pin(self.once(way, recipients, &bar)).await?);
            }
            figures.push(Figures::of(way, self.count, &runs));
        }
        bar.finish_and_clear();
        let report = Report {
            messages: self.count,
            octets: self.size,
            path: self.path,
            recipients,
            ways: figures,
        };
        everywhere.out().one(&report, Report::table)
    }

    fn ways(&self) -> Vec<Way> {
        let connections = self.connections.iter().filter(|number| **number > 0);
        let mut ways: Vec<Way> = connections.map(|number| Way::Connections(*number)).collect();
        if self.http2 > 0 {
            ways.push(Way::Http2(self.http2));
        }
        if self.batch > 0 {
            ways.push(Way::Batches(self.batch));
        }
        ways
    }

    async fn once(&self, way: Way, recipients: usize, bar: &indicatif::ProgressBar) -> anyhow::Result<Run> {
        let scratch = Scratch::below(self.folder.as_deref())?;
        let receiver = Receiver::start(scratch.path(), recipients).await?;
        let letters = letters::Letters::write(&receiver, self.path, self.count, self.size)?;
        let load = load::Load::prepare(&receiver, way, letters).await?;
        let before = receiver.spent()?;
        let sent = load.send(bar).await?;
        let delivered = receiver.all_delivered(sent.messages, sent.begun).await?;
        let spent = receiver.spent()?.since(&before);
        sent.verify(&receiver).await?;
        receiver.all_there(sent.messages).await?;
        receiver.stop().await?;
        Ok(Run {
            accepted: sent.took,
            delivered,
            latencies: sent.latencies(),
            spent,
        })
    }
}

impl Figures {
    fn of(way: Way, count: usize, runs: &[Run]) -> Self {
        let seconds =
            |of: fn(&Run) -> Duration| -> Vec<f64> { runs.iter().map(|run| of(run).as_secs_f64()).collect() };
        let each = |of: &dyn Fn(&Run) -> f64| median(runs.iter().map(of).collect());
        let count = count as f64;
        let accepted_seconds = seconds(|run| run.accepted);
        let delivered_seconds = seconds(|run| run.delivered);
        Self {
            way: way.to_string(),
            accepted_per_second: count / median(accepted_seconds.clone()),
            delivered_per_second: count / median(delivered_seconds.clone()),
            accepted_seconds,
            delivered_seconds,
            latency_p50: each(&|run| run.latencies.0),
            latency_p99: each(&|run| run.latencies.1),
            cpu_milliseconds: each(&|run| run.spent.cpu.as_secs_f64() * 1000.0) / count,
            written_octets: each(&|run| run.spent.written as f64) / count,
            disk_octets: each(&|run| run.spent.disk as f64) / count,
            peak_octets: runs.iter().map(|run| run.spent.peak).max().unwrap_or_default(),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl Report {
    fn table(&self) -> String {
        let mut text = format!(
            "{} messages of {} octets for {} recipients, {}\n\n{:<28} {:>10} {:>11} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9}\n",
            self.messages,
            self.octets,
            self.recipients,
            match self.path {
                Path::Deliver => "ordinary ones",
                Path::Notify => "placeholders with a resource",
            },
            "",
            "accepted/s",
            "delivered/s",
            "p50 ms",
            "p99 ms",
            "CPU ms",
            "written",
            "on disk",
            "peak",
        );
        for way in &self.ways {
            text += &format!(
                "{:<28} {:>10.0} {:>11.0} {:>8.2} {:>8.2} {:>8.3} {:>9} {:>9} {:>9}\n",
                way.way,
                way.accepted_per_second,
                way.delivered_per_second,
                way.latency_p50,
                way.latency_p99,
                way.cpu_milliseconds,
                value::octets(way.written_octets as u64),
                value::octets(way.disk_octets as u64),
                value::octets(way.peak_octets),
            );
        }
        text + "\nCPU, written (as the disk saw it) and on disk: of the receiver, for each message; peak: its memory.\n"
    }
}
