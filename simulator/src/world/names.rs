//! The DNS of the virtual world: one zone for everybody, and a resolver at each machine that keeps what it has heard by the node's
//! own rules (`spec/grip.md`). Somebody may be told nothing, or lies.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cargomail_node::clock::Clock;
use cargomail_node::dns::{Answer, Dns, DnsError, Mx, Record, Srv};
use cargomail_node::peers::PeerAddress;
use cargomail_protocol::limits;
use cargomail_protocol::timestamp::Timestamp;
use tokio::time::sleep;

use super::trace::Trace;

/// What a question takes.
const QUESTION: Duration = Duration::from_millis(12);
/// What a question takes that nobody answers (`cargomail_node::dns::Resolver` gives up then).
const SILENCE: Duration = Duration::from_secs(5);
/// Aliases that are followed for one question.
const ALIASES: usize = 8;

type Records = HashMap<String, Vec<Record>>;

/// What stands in the DNS.
#[derive(Clone, Default)]
pub(super) struct Zone(Arc<Mutex<Records>>);

impl Zone {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a record stand there, once.
    pub(super) fn add(&self, name: &str, record: Record) {
        let mut records = self.records();
        let there = records.entry(name.to_lowercase()).or_default();
        if !there.contains(&record) {
            there.push(record);
        }
    }

    /// Has a record stand there, and no other.
    pub(super) fn replace(&self, name: &str, record: Record) {
        self.records().insert(name.to_lowercase(), vec![record]);
    }

    /// Has a record stand there no more.
    pub(super) fn remove(&self, name: &str, record: &Record) {
        if let Some(there) = self.records().get_mut(&name.to_lowercase()) {
            there.retain(|other| other != record);
        }
    }

    fn at(&self, name: &str) -> Option<Vec<Record>> {
        let records = self.records();
        let mut name = name.to_lowercase();
        for _ in 0..ALIASES {
            let found = records.get(&name)?;
            match found.iter().find_map(alias) {
                Some(other) => name = other.to_lowercase(),
                None => return Some(found.clone()),
            }
        }
        None
    }
}

fn alias(record: &Record) -> Option<&String> {
    match record {
        Record::Alias(name) => Some(name),
        _ => None,
    }
}

/// What somebody tells about others: that they are at this machine, and that the server of each name has a key that nobody has. Which key
/// may speak for a client identifier stays true.
#[derive(Clone)]
pub(super) struct Lies {
    /// The machine.
    pub(super) address: IpAddr,
    /// Where its peer is.
    pub(super) peers: Vec<PeerAddress>,
    /// What is said of every server's key.
    pub(super) pin: String,
}

impl Lies {
    fn told(&self, name: &str, records: Vec<Record>) -> Vec<Record> {
        if name.starts_with("_dnsaddr.") {
            let peers = self.peers.iter();
            return peers
                .map(|PeerAddress(peer)| Record::Txt(format!("dnsaddr={peer}")))
                .collect();
        }
        let told = |record| match record {
            Record::Address(_) => Record::Address(self.address),
            Record::Txt(_) if name.starts_with("_grip.") => Record::Txt(self.pin.clone()),
            record => record,
        };
        records.into_iter().map(told).collect()
    }
}

/// How a machine is answered.
#[derive(Default)]
pub(super) struct Answers {
    is_silent: AtomicBool,
    lies: Mutex<Option<Lies>>,
    /// Some of the lies was told.
    has_lied: AtomicBool,
    /// What was heard before is believed no longer when this has changed.
    times: AtomicU64,
}

impl Answers {
    /// Whether nobody answers from now on.
    pub(super) fn silence(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Lies from now on, also instead of what was heard before; or the truth, once what was heard is forgotten.
    pub(super) fn lie(&self, lies: Option<Lies>) {
        if lies.is_some() {
            self.times.fetch_add(1, Ordering::Relaxed);
        }
        *self.lies.lock().unwrap_or_else(PoisonError::into_inner) = lies;
    }

    /// Whether it was ever answered with a lie.
    pub(super) fn has_lied(&self) -> bool {
        self.has_lied.load(Ordering::Relaxed)
    }

    fn told(&self, name: &str, records: Vec<Record>) -> Vec<Record> {
        let lies = self.lies.lock().unwrap_or_else(PoisonError::into_inner);
        match &*lies {
            Some(lies) if !records.is_empty() => {
                let told = lies.told(name, records.clone());
                if told != records {
                    self.has_lied.store(true, Ordering::Relaxed);
                }
                told
            }
            _ => records,
        }
    }
}

/// What was heard, until when it is kept, and of which [`Answers::times`] it is.
type Kept = HashMap<String, (Vec<Record>, Timestamp, u64)>;

/// The resolver of one machine.
pub(super) struct Resolver {
    zone: Zone,
    clock: Arc<dyn Clock>,
    trace: Trace,
    whose: String,
    kept: Mutex<Kept>,
    answers: Arc<Answers>,
}

impl Resolver {
    pub(super) fn new(
        zone: Zone,
        clock: Arc<dyn Clock>,
        trace: Trace,
        whose: String,
        answers: Arc<Answers>,
    ) -> Self {
        Self {
            zone,
            clock,
            trace,
            whose,
            kept: Mutex::default(),
            answers,
        }
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: &'static str,
        read: impl Fn(Record) -> Option<T>,
    ) -> Result<Answer<T>, DnsError> {
        let question = name.to_lowercase();
        let kept = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.get(&question).cloned()
        };
        let (now, times) = (self.clock.now(), self.answers.times.load(Ordering::Relaxed));
        let (records, valid_until) = match kept {
            Some((records, until, of)) if now < until && of == times => (records, until),
            _ => {
                if self.answers.is_silent.load(Ordering::Relaxed) {
                    sleep(SILENCE).await;
                    return Err(DnsError::Unavailable {
                        name: name.to_owned(),
                        kind,
                        why: "no server answers".to_owned(),
                    });
                }
                sleep(QUESTION).await;
                self.trace
                    .line(&self.whose, format_args!("asks for {kind} of {question}"));
                let records = self.zone.at(&question).unwrap_or_default();
                let records = self.answers.told(&question, records);
                let life = match records.is_empty() {
                    true => limits::DNS_NEGATIVE,
                    false => limits::DNS_POSITIVE,
                };
                let until = self.clock.now().plus(life);
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.insert(question, (records.clone(), until, times));
                (records, until)
            }
        };
        let records: Vec<T> = records.into_iter().filter_map(read).collect();
        match records.is_empty() {
            true => Err(DnsError::NoRecord {
                name: name.to_owned(),
                kind,
            }),
            false => Ok(Answer {
                records,
                authenticated: false,
                valid_until,
            }),
        }
    }
}

#[async_trait]
impl Dns for Resolver {
    async fn txt(&self, name: &str) -> Result<Answer<String>, DnsError> {
        self.ask(name, "TXT", |record| match record {
            Record::Txt(text) => Some(text),
            _ => None,
        })
        .await
    }

    async fn srv(&self, name: &str) -> Result<Answer<Srv>, DnsError> {
        self.ask(name, "SRV", |record| match record {
            Record::Srv(srv) => Some(srv),
            _ => None,
        })
        .await
    }

    async fn mx(&self, name: &str) -> Result<Answer<Mx>, DnsError> {
        self.ask(name, "MX", |record| match record {
            Record::Mx(mx) => Some(mx),
            _ => None,
        })
        .await
    }

    async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, DnsError> {
        self.ask(name, "address", |record| match record {
            Record::Address(address) => Some(address),
            _ => None,
        })
        .await
    }
}

#[cfg(test)]
mod tests;
