//! Sends what was prepared, in one of the ways in which brokers send, and measures how long that takes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::address::{ClientId, Domain};
use cargomail_protocol::channel::{self, Answer, Batch, Outcome};
use cargomail_protocol::grip::{self, Digest, Expectation, NoRecords, Step, Verification};
use http::{HeaderValue, Method, Request, StatusCode, header};
use indicatif::ProgressBar;

use super::letters::{Letters, Parcel};
use super::receiver::{BAR, FOO, Receiver};
use crate::app::World;
use crate::clock::{Clock, SystemClock};
use crate::dns::{Dns, Resolver, ResolverOptions};
use crate::https::{self, Client, Server};

/// The longest answer to a request.
const ANSWER: usize = 4 * 1024 * 1024;

/// How messages are sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// So many HTTP/1.1 connections, each with one request at a time.
    Connections(usize),
    /// So many requests at once on one HTTP/2 connection.
    Http2(usize),
    /// So many messages in a request, one request at a time.
    Batches(usize),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Way::Connections(1) => "1 connection".to_owned(),
            Way::Connections(number) => format!("{number} connections"),
            Way::Http2(requests) => format!("HTTP/2, {requests} at once"),
            Way::Batches(messages) => format!("batches of {messages}"),
        };
        f.pad(&text)
    }
}

/// A request that is ready, with the messages that it holds.
struct Ready {
    first: usize,
    messages: usize,
    authorization: Option<HeaderValue>,
    body: Bytes,
}

/// Everything that is sent, and the connections over which it is.
pub(super) struct Load {
    parcels: Vec<Parcel>,
    requests: Arc<[Ready]>,
    lines: Vec<Client>,
    server: Server,
}

/// What was sent.
pub(super) struct Sent {
    /// How many messages.
    pub(super) messages: usize,
    /// When the first request went out.
    pub(super) begun: Instant,
    /// Until the last answer had come.
    pub(super) took: Duration,
    parcels: Vec<Parcel>,
    answers: Vec<Answered>,
}

/// An answer, and how long it took.
struct Answered {
    request: Arc<[Ready]>,
    at: usize,
    body: Bytes,
    took: Duration,
}

impl Load {
    /// Builds the requests and opens the connections.
    pub(super) async fn prepare(receiver: &Receiver, way: Way, letters: Letters) -> anyhow::Result<Self> {
        let each = match way {
            Way::Batches(messages) => messages,
            Way::Connections(_) | Way::Http2(_) => 1,
        };
        let mut requests = Vec::new();
        let mut first = 0;
        for parcels in letters.parcels.chunks(each) {
            requests.push(match way {
                Way::Batches(_) => Ready::batch(first, parcels)?,
                Way::Connections(_) | Way::Http2(_) => Ready::one(first, parcels)?,
            });
            first += parcels.len();
        }
        let site = receiver.town.site(FOO);
        let issuer = ClientId::broker(&Domain::parse(FOO)?);
        let certificate = site.identity().certificate(&issuer, SystemClock.now())?;
        let client = World::real()?.client();
        let server = receiver.server();
        let mut lines = Vec::new();
        let (connections, requests_each) = match way {
            Way::Connections(connections) => (connections, 1),
            Way::Http2(requests) => (1, requests),
            Way::Batches(_) => (1, 1),
        };
        for _ in 0..connections {
            let line = client.with_identity(&certificate)?;
            let line = match way {
                Way::Connections(_) => line.without_http2(),
                Way::Http2(_) | Way::Batches(_) => line,
            };
            // A request that is refused opens the connection.
            let opened = line.send(&server, Request::new(Body::empty())).await?;
            https::read(opened.into_body(), ANSWER).await?;
            lines.extend(std::iter::repeat_n(line, requests_each));
        }
        Ok(Self {
            parcels: letters.parcels,
            requests: requests.into(),
            lines,
            server,
        })
    }

    /// Sends everything.
    pub(super) async fn send(self, bar: &ProgressBar) -> anyhow::Result<Sent> {
        let next = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let mut tasks = Vec::new();
        for line in self.lines {
            let (requests, next) = (self.requests.clone(), next.clone());
            let (server, bar) = (self.server.clone(), bar.clone());
            tasks.push(tokio::spawn(async move {
                let mut answers = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(ready) = requests.get(at) else {
                        return anyhow::Ok(answers);
                    };
                    let asked = Instant::now();
                    let response = line.send(&server, ready.request()).await?;
                    let status = response.status();
                    let body = https::read(response.into_body(), ANSWER).await?;
                    if status != StatusCode::OK {
                        bail!("the receiver answers {status}");
                    }
                    let took = asked.elapsed();
                    bar.inc(ready.messages as u64);
                    let request = requests.clone();
                    answers.push(Answered {
                        request,
                        at,
                        body,
                        took,
                    });
                }
            }));
        }
        let mut answers = Vec::new();
        for task in tasks {
            answers.extend(task.await??);
        }
        Ok(Sent {
            messages: self.parcels.len(),
            begun,
            took: begun.elapsed(),
            parcels: self.parcels,
            answers,
        })
    }
}

impl Ready {
    fn one(first: usize, parcels: &[Parcel]) -> anyhow::Result<Self> {
        let parcel = parcels.first().context("a message")?;
        Ok(Self {
            first,
            messages: 1,
            authorization: Some(HeaderValue::try_from(grip::authorization(&parcel.token))?),
            body: parcel.message.clone(),
        })
    }

    fn batch(first: usize, parcels: &[Parcel]) -> anyhow::Result<Self> {
        let parcel = |parcel: &Parcel| channel::Parcel {
            token: parcel.token.clone(),
            message: parcel.message.to_vec(),
        };
        let batch = Batch::new(parcels.iter().map(parcel).collect())?;
        Ok(Self {
            first,
            messages: parcels.len(),
            authorization: None,
            body: batch.to_bytes().into(),
        })
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(channel::PATH);
        let kind = match self.authorization {
            Some(_) => channel::MESSAGE_TYPE,
            None => channel::BATCH_TYPE,
        };
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        request
    }
}

impl Sent {
    /// From a request to its answer, milliseconds: the median and the 99th percentile.
    pub(super) fn latencies(&self) -> (f64, f64) {
        let mut took: Vec<Duration> = self.answers.iter().map(|answer| answer.took).collect();
        took.sort();
        let at = |share: usize| {
            let place = took.get(took.len() * share / 100).or(took.last());
            place.map_or(0.0, |took| took.as_secs_f64() * 1000.0)
        };
        (at(50), at(99))
    }

    /// That every message was answered with a receipt of the receiver, which says that it is accepted.
    pub(super) async fn verify(&self, receiver: &Receiver) -> anyhow::Result<()> {
        let options = ResolverOptions {
            servers: vec![receiver.town.zone.local_addr()],
            ..ResolverOptions::default()
        };
        let dns = Resolver::new(&options, Arc::new(SystemClock))?;
        let mut receipts = 0;
        for answer in &self.answers {
            let ready = answer.request.get(answer.at).context("an answer to nothing")?;
            let answers = match ready.authorization {
                Some(_) => vec![Answer::parse(&answer.body)?],
                None => Answer::parse_list(&answer.body, ready.messages)?,
            };
            let sent = self.parcels.iter().skip(ready.first);
            for (answer, parcel) in answers.iter().zip(sent) {
                let Answer::Receipt(receipt) = answer else {
                    bail!("a message was not accepted: {answer:?}");
                };
                accepted(&dns, parcel, receipt).await?;
                receipts += 1;
            }
        }
        if receipts != self.messages {
            bail!("{} messages were sent, {receipts} receipts came", self.messages);
        }
        Ok(())
    }
}

/// That the receipt verifies and says that the message is accepted.
async fn accepted(dns: &Resolver, parcel: &Parcel, receipt: &str) -> anyhow::Result<()> {
    let digest = Digest::of(&parcel.message);
    let (foo, bar) = (Domain::parse(FOO)?, Domain::parse(BAR)?);
    let expectation = Expectation::channel_receipt(foo, &bar, &parcel.token, digest);
    let mut verification = Verification::new(expectation, receipt, SystemClock.now());
    loop {
        match verification.poll()? {
            Step::LookUp(name) => match dns.txt(&name).await {
                Ok(answer) => verification.records(Ok(&answer.records)),
                Err(_) => verification.records(Err(NoRecords::Unavailable)),
            },
            // A receipt may be given again.
            Step::Remember { .. } => verification.fresh(true),
            Step::Done(chain) => {
                let results = channel::results(&chain);
                if results.iter().any(|(_, outcome)| *outcome != Outcome::Accepted) {
                    bail!("a message was not accepted: {results:?}");
                }
                return Ok(());
            }
        }
    }
}
