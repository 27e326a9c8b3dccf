//! Shows the walk of a mail as it happens: every line that a node logs about a step, as one line for a person.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// A step that somebody took.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    /// Since the walk began.
    pub(super) after: Duration,
    /// The node; empty for an application.
    pub(super) node: String,
    /// Which step of the walk.
    pub(super) step: String,
    /// What was said about it.
    pub(super) text: String,
    /// The other fields, in order.
    pub(super) fields: Vec<(&'static str, String)>,
    /// Whether it is a warning.
    pub(super) warns: bool,
}

/// A layer that gives each event with a `step` to `show`.
pub(super) struct Walk<F> {
    begun: Stopwatch,
    show: F,
}

/// The time since the walk began.
#[derive(Clone)]
pub(super) struct Stopwatch(Arc<Mutex<Instant>>);

impl Stopwatch {
    /// Begins now.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Begins anew.
    pub(super) fn restart(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long it has been.
    pub(super) fn elapsed(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl<F: Fn(Step)> Walk<F> {
    /// A layer that shows each step.
    pub(super) fn new(begun: Stopwatch, show: F) -> Self {
        Self { begun, show }
    }
}

/// The node that a span belongs to, kept with the span.
struct NodeName(String);

impl<S, F> Layer<S> for Walk<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: Fn(Step) + Send + Sync + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != crate::services::SPAN {
            return;
        }
        let mut fields = Step::default();
        attributes.record(&mut fields);
        if let (Some(span), Some((_, name))) = (context.span(id), fields.fields.pop()) {
            span.extensions_mut().insert(NodeName(name));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut seen = Step {
            after: self.begun.elapsed(),
            warns: *event.metadata().level() <= Level::WARN,
            ..Step::default()
        };
        event.record(&mut seen);
        if seen.step.is_empty() {
            return;
        }
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(NodeName(name)) = span.extensions().get() {
                seen.node.clone_from(name);
            }
        }
        (self.show)(seen);
    }
}

impl Visit for Step {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field.name(), format!("{value:?}"));
    }
}

impl Step {
    fn take(&mut self, name: &'static str, value: String) {
        match name {
            "step" => self.step = value,
            "message" => self.text = value,
            _ => self.fields.push((name, value)),
        }
    }
}
