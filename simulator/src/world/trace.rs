//! What happened, line by line, with the moment in milliseconds since the beginning: two runs of one seed have the same lines, octet
//! for octet. And which ways that things can go were gone, as those lines tell.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::path::Path;

/// The lines. Clones write the same ones.
#[derive(Clone)]
pub struct Trace {
    began: Instant,
    lines: Arc<Mutex<Lines>>,
}

struct Lines {
    hash: Sha256,
    count: u64,
    paths: BTreeMap<Path, u64>,
    out: Option<Box<dyn std::io::Write + Send>>,
}

impl Trace {
    /// An empty one that begins now; every line is written there, too.
    #[must_use]
    pub fn new(out: Option<Box<dyn std::io::Write + Send>>) -> Self {
        let lines = Lines {
            hash: Sha256::new(),
            count: 0,
            paths: BTreeMap::new(),
            out,
        };
        Self {
            began: Instant::now(),
            lines: Arc::new(Mutex::new(lines)),
        }
    }

    /// When it began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Writes a line: who did what.
    pub(super) fn line(&self, who: &str, what: fmt::Arguments<'_>) {
        let line = format!("{:>10} {who} {what}\n", self.began.elapsed().as_millis());
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.hash.update(line.as_bytes());
        lines.count += 1;
        if let Some(out) = &mut lines.out {
            // A copy for people: the run does not depend on it.
            let _ = out.write_all(line.as_bytes());
        }
    }

    /// A node's log said this: a message, and its fields.
    fn logged(&self, who: &str, level: Level, said: &Said) {
        self.line(who, format_args!("{level} {}{}", said.message, said.fields));
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for path in Path::told_by(&said.message, &said.fields) {
            *lines.paths.entry(path).or_default() += 1;
        }
    }

    /// How often each way that things can go was gone.
    #[must_use]
    pub fn paths(&self) -> BTreeMap<Path, u64> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.paths.clone()
    }

    /// How many lines there are, and SHA-256 of all of them in hex.
    #[must_use]
    pub fn sum(&self) -> (u64, String) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        (lines.count, HEXLOWER.encode(&lines.hash.clone().finalize()))
    }
}

/// Writes what the nodes log into the trace.
pub(super) struct Logged(pub(super) Trace);

/// The name of a node, in the span in which it works.
struct Name(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Logged {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != cargomail_node::services::SPAN {
            return;
        }
        let mut said = Said::default();
        attributes.record(&mut said);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Name(said.name));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() > Level::INFO {
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        let named = context.event_scope(event).and_then(|mut spans| {
            spans.find_map(|span| span.extensions().get::<Name>().map(|name| name.0.clone()))
        });
        let who = named.unwrap_or_default();
        self.0.logged(&who, *event.metadata().level(), &said);
    }
}

#[derive(Default)]
struct Said {
    message: String,
    fields: String,
    name: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "name" => write!(self.name, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
