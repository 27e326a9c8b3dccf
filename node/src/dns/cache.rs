//! Answers that were given, each until its time is over. Bounded in number and in size; failures are never here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cargomail_protocol::limits;
use cargomail_protocol::timestamp::Timestamp;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::{Answer, DnsError};

/// Answers kept at once.
const ANSWERS: usize = 4096;
/// An answer with more records than this is given, and not kept.
const RECORDS: usize = 64;
/// No answer is kept longer.
const LONGEST: Duration = limits::DNS_POSITIVE;

/// What was asked for: the name in lower case, and the type.
pub(super) type Question = (String, RecordType);

/// An answer; without records, that there are none.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) records: Arc<[RData]>,
    pub(super) authenticated: bool,
    pub(super) valid_until: Timestamp,
}

impl Kept {
    /// As an answer to the caller.
    pub(super) fn into_answer(self, name: &str, kind: &'static str) -> Result<Answer<RData>, DnsError> {
        if self.records.is_empty() {
            return Err(DnsError::NoRecord {
                name: name.to_owned(),
                kind,
            });
        }
        let records = self.records.to_vec();
        Ok(Answer {
            records,
            authenticated: self.authenticated,
            valid_until: self.valid_until,
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<Question, Kept>>);

impl Cache {
    /// The answer, if it is kept and still valid. One that would be valid for longer than any is given was kept before the clock was set back.
    pub(super) fn find(&self, question: &Question, now: Timestamp) -> Option<Kept> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers
            .get(question)
            .filter(|kept| kept.valid_until > now && kept.valid_until <= now.plus(LONGEST))
            .cloned()
    }

    /// Keeps an answer, if there is room or room can be made.
    pub(super) fn keep(&self, question: Question, kept: Kept, now: Timestamp) {
        if kept.records.len() > RECORDS {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS {
            answers.retain(|_, kept| kept.valid_until > now);
        }
        if answers.len() >= ANSWERS {
            // A flood of questions: every second answer goes, so that the flood pays for the sweep, not each question.
            let mut every_second = false;
            answers.retain(|_, _| {
                every_second = !every_second;
                every_second
            });
        }
        answers.insert(question, kept);
    }
}
