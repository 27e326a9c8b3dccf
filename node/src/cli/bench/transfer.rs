//! `cargomail bench transfer`: resources travel from one Resource Mailbox to another, disk to disk.
//!
//! Two nodes run as processes of their own, and this process is the DNS and the recipient's broker. The time runs from the
//! first notification until the origin has the receipts of all, which the destination sends once everything is durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use axum::body::Body;
use cargomail_protocol::address::{Address, ClientId, Domain, Locator};
use cargomail_protocol::grip::{self, Digest};
use cargomail_protocol::limits;
use cargomail_protocol::notification::{self, JobState, Notification, Taken};
use cargomail_protocol::placeholder::Category;
use cargomail_protocol::share::{SharedResource, parse_root};
use cargomail_protocol::timestamp::Timestamp;
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Request, StatusCode, header};
use serde::Serialize;

use super::figures::{Noise, Runs};
use super::node::{NodeProcess, Usage};
use super::scratch::Scratch;
use crate::api::{NewAccount, NewShare};
use crate::app::{App, Unwatched, Watch, World};
use crate::cli::{Everywhere, progress, value};
use crate::clock::{Clock, SystemClock, SystemRandomness};
use crate::dns::Record;
use crate::grip::Signer;
use crate::harness::{PASSWORD, Site, SitePlan, Town, Transport};
use crate::https::{self, Client, Server};
use crate::identity::Identity;

/// Resources that are posted at a time, before anything is measured.
const POSTING: usize = 16;
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(1800);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail bench transfer
  cargomail bench transfer --count 10000 --size 4k --transport tcp
  cargomail bench transfer --count 50 --size 20M --messages 50 --json

Both nodes run on this machine, over its loopback: what is measured is the work of both. Memory is each node's peak.")]
pub(in crate::cli) struct TransferArgs {
    /// How many resources
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// How large each of them is
    #[arg(long, value_parser = value::size, default_value = "1G")]
    size: u64,
    /// By which transport; auto leaves it to the nodes
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
    /// In how many messages, each with a notification of its own; by default as few as they fit in
    #[arg(long)]
    messages: Option<usize>,
    /// How often
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The folder, on the disk that is measured, below which everything is written [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    benchmark: &'static str,
    transport: Transport,
    resources: usize,
    messages: usize,
    octets: u64,
    seconds: Runs,
    octets_per_second: f64,
    resources_per_second: f64,
    /// The highest peak of all runs, and the processor time of the last.
    origin: Usage,
    destination: Usage,
}

impl TransferArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        ensure!(self.count > 0, "nothing is to be transferred: give --count");
        let messages = self
            .messages
            .unwrap_or_else(|| self.count.div_ceil(limits::RESOURCES))
            .clamp(self.count.div_ceil(limits::RESOURCES), self.count);
        let runs = self.runs.max(1);
        let scratch = Scratch::below(self.folder.as_deref())?;
        let watch = progress::bars();
        let mut plans = vec![
            SitePlan::new("hospital.test")
                .with_mailbox()
                .with("alice@foo.test")
                .over(self.transport),
        ];
        let insurance = |run: usize| format!("insurance{run}.test");
        plans.extend((0..runs).map(|run| {
            SitePlan::new(&insurance(run))
                .with_mailbox()
                .with("bob@bar.test")
                .over(self.transport)
        }));
        let town = Town::build(scratch.path(), &plans).await?;
        let broker = Broker::new(&town)?;
        let origin = town.site("hospital.test");
        let running = NodeProcess::start(origin).await?;
        let alice = town.person("alice@foo.test").await?;
        let notifications = self.prepare(&alice, messages, &watch).await?;
        running.stop().await?;

        let octets = self.size * self.count as u64;
        let mut seconds = Vec::new();
        let (mut at_origin, mut at_destination) = (Usage::default(), Usage::default());
        for run in 0..runs {
            let site = town.site(&insurance(run));
            watch.begin(&format!("run {} of {runs}", run + 1), octets);
            let mut origin = NodeProcess::start(origin).await?;
            let destination = NodeProcess::start(site).await?;
            let account = NewAccount {
                address: broker.recipient.clone(),
                password: PASSWORD.to_owned(),
                quota: None,
            };
            town.administration(site)?.set_account(&account).await?;
            let before = (origin.usage()?, destination.usage()?);
            let begun = Instant::now();
            let mut jobs = Vec::new();
            for notification in &notifications {
                jobs.push(broker.notify(site, notification).await?);
            }
            let receipts = origin.steps("receipt", notifications.len());
            tokio::time::timeout(PATIENCE, receipts)
                .await
                .context("the receipts did not come in time")??;
            seconds.push(begun.elapsed().as_secs_f64());
            watch.moved(octets);
            watch.end();
            for job in &jobs {
                let state = broker.state(site, job).await?;
                ensure!(state == JobState::Stored, "a retrieval ended as {state:?}");
            }
            at_origin.after(before.0, origin.usage()?);
            at_destination.after(before.1, destination.usage()?);
            destination.stop().await?;
            origin.stop().await?;
            std::fs::remove_dir_all(&site.folder)?;
        }
        let seconds = Runs::of(seconds);
        let report = Report {
            benchmark: "transfer",
            transport: self.transport,
            resources: self.count,
            messages,
            octets,
            octets_per_second: seconds.rate(octets),
            resources_per_second: seconds.rate(self.count as u64),
            seconds,
            origin: at_origin,
            destination: at_destination,
        };
        everywhere.out().one(&report, text)
    }

    /// Posts and shares everything; what the recipient's broker will make of it.
    async fn prepare(
        &self,
        alice: &App,
        messages: usize,
        watch: &Arc<dyn Watch>,
    ) -> anyhow::Result<Vec<Notification>> {
        let (locator, session) = alice.origin(None)?;
        let octets = self.size * self.count as u64;
        watch.begin("posting", octets);
        let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
        let resources: Vec<SharedResource> = stream::iter(0..self.count as u64)
            .map(|seed| {
                let (session, unwatched) = (&session, &unwatched);
                async move {
                    let noise = Noise::new(seed, self.size);
                    let posted = session.post(noise, self.size, unwatched).await?;
                    watch.moved(self.size);
                    let root = parse_root(&posted.cid)?;
                    anyhow::Ok(SharedResource::new(root, posted.size)?)
                }
            })
            .buffered(POSTING)
            .try_collect()
            .await?;
        watch.end();
        let mut notifications = Vec::new();
        for (number, resources) in resources.chunks(self.count.div_ceil(messages)).enumerate() {
            let new = NewShare {
                recipients: vec![Address::parse("bob@bar.test")?],
                resources: resources.to_vec(),
                category: Category::parse("healthcare")?,
                message_id: format!("<{number}@foo.test>"),
                expires: SystemClock.now().plus(Duration::from_secs(24 * 3600)),
            };
            let share = session.share(&new).await?;
            notifications.push(Notification {
                origin: locator.clone(),
                message_id: share.message_id,
                sender: Address::parse("alice@foo.test")?,
                recipient: Address::parse("bob@bar.test")?,
                category: share.category,
                expires: Timestamp::from_seconds(share.expires.seconds()),
                resources: share.resources,
            });
        }
        Ok(notifications)
    }
}

impl Usage {
    fn after(&mut self, before: Self, now: Self) {
        self.peak_memory = self.peak_memory.max(now.peak_memory);
        self.cpu = now.cpu - before.cpu;
    }
}

/// The recipient's broker: only what it says to agents.
struct Broker {
    recipient: Address,
    signer: Signer,
    client: Client,
}

impl Broker {
    fn new(town: &Town) -> anyhow::Result<Self> {
        let domain = Domain::parse("bar.test")?;
        let identity = Identity::generate(&SystemRandomness);
        let hash = data_encoding::HEXLOWER.encode(&identity.spki_sha256());
        let id = ClientId::broker(&domain);
        town.zone.add(
            &id.to_string(),
            Record::Txt(format!("v=grip1; h=sha256; p={hash}")),
        );
        let certificate = identity.certificate(&id, SystemClock.now())?;
        Ok(Self {
            recipient: Address::parse("bob@bar.test")?,
            signer: Signer::new(&identity, Arc::new(SystemClock), Arc::new(SystemRandomness))?,
            client: World::real()?.client().with_identity(&certificate)?,
        })
    }

    /// Tells the agent of a site; the job.
    async fn notify(&self, site: &Site, notification: &Notification) -> anyhow::Result<String> {
        let octets = notification.to_bytes()?;
        let locator: &Locator = site.plan.mailbox.as_ref().context("a site with a mailbox")?;
        let token = notification::token(
            self.signer.key(),
            &self.recipient,
            locator,
            Digest::of(&octets),
            notification.expires,
            self.signer.stamp(),
        )?;
        let request = Request::post(notification::PATH)
            .header(header::AUTHORIZATION, grip::authorization(&token))
            .header(header::CONTENT_TYPE, notification::MEDIA_TYPE)
            .body(Body::from(octets))?;
        let answer = self.ask(site, request, StatusCode::ACCEPTED).await?;
        let taken = Taken::parse(&answer);
        Ok(taken.map_err(|_| anyhow!("the destination names no job"))?.job)
    }

    async fn state(&self, site: &Site, job: &str) -> anyhow::Result<JobState> {
        let request = Request::get(format!("{}/{job}", notification::PATH)).body(Body::empty())?;
        let answer = self.ask(site, request, StatusCode::OK).await?;
        JobState::parse(&answer).map_err(|_| anyhow!("the destination tells no state"))
    }

    async fn ask(
        &self,
        site: &Site,
        request: Request<Body>,
        expected: StatusCode,
    ) -> anyhow::Result<bytes::Bytes> {
        let at = site.ports.at(site.ports.grip);
        let server = Server::at(at, vec![site.identity().spki_sha256()]);
        let response = self.client.send(&server, request).await?;
        let status = response.status();
        ensure!(status == expected, "the destination answers {status}");
        Ok(https::read(response.into_body(), limits::CONTROL_FRAME).await?)
    }
}

fn text(report: &Report) -> String {
    let usage = |usage: &Usage| {
        format!(
            "{} at most, {:.2} s of processor",
            value::octets(usage.peak_memory),
            usage.cpu
        )
    };
    format!(
        "transfer of {} x {} in {} message(s) over {}: {}\n  \
         {}/s, {:.0} resources/s\n  origin:      {}\n  destination: {}\n",
        report.resources,
        value::octets(report.octets / report.resources as u64),
        report.messages,
        report.transport,
        report.seconds.text(),
        value::octets(report.octets_per_second as u64),
        report.resources_per_second,
        usage(&report.origin),
        usage(&report.destination),
    )
}
