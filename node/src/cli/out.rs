//! Standard output: for people, or JSON.

use std::io::{ErrorKind, Write};

use serde::Serialize;

/// Writes results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    json: bool,
}

impl Out {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// One result.
    pub(super) fn one<T: Serialize>(
        self,
        value: &T,
        people: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            return self.text(&(serde_json::to_string_pretty(value)? + "\n"));
        }
        self.text(&people(value))
    }

    /// A list; `none` is said to people when there is nothing in it.
    pub(super) fn many<T: Serialize>(
        self,
        values: &[T],
        none: &str,
        people: impl Fn(&T) -> String,
    ) -> anyhow::Result<()> {
        if values.is_empty() && !self.json {
            eprintln!("{none}");
        }
        for value in values {
            let line = if self.json {
                serde_json::to_string(value)? + "\n"
            } else {
                people(value)
            };
            self.text(&line)?;
        }
        Ok(())
    }

    /// Text as it is. Whoever reads may stop to, as `head` does.
    pub(super) fn text(self, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}
