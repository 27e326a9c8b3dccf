//! Whoever answers a mail writes when they have read it, and not at all when it never comes.
//!
//! What always holds: a mail that is answered is told of once: that it was read, or that it will not be.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::plan::Plan;

/// What is known of a mail that somebody is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// Nothing yet.
    Nothing,
    /// Whoever answers has read it; its Message-ID.
    Read(String),
    /// They never will.
    Lost,
}

/// The mails of a plan that are answered.
#[derive(Debug)]
pub(crate) struct Replies(BTreeMap<usize, watch::Sender<Known>>);

impl Replies {
    pub(crate) fn of(plan: &Plan) -> Self {
        let answered = plan.mails.iter().filter_map(|mail| mail.answers);
        Self(
            answered
                .map(|mail| (mail, watch::Sender::new(Known::Nothing)))
                .collect(),
        )
    }

    /// Whoever answers this mail has read it.
    pub(crate) fn read(&self, mail: usize, message_id: &str) {
        self.tell(mail, || Known::Read(message_id.to_owned()));
    }

    /// Nothing more is expected to happen to this mail: if it was not read, it never will be.
    pub(crate) fn is_over(&self, mail: usize) {
        self.tell(mail, || Known::Lost);
    }

    /// Nobody waits any longer.
    pub(crate) fn end(&self) {
        for mail in self.0.keys() {
            self.is_over(*mail);
        }
    }

    fn tell(&self, mail: usize, known: impl FnOnce() -> Known) {
        if let Some(told) = self.0.get(&mail) {
            told.send_if_modified(|before| {
                let is_first = *before == Known::Nothing;
                if is_first {
                    *before = known();
                }
                is_first
            });
        }
    }

    /// Waits for that; the Message-ID to answer, and none when there is nothing to answer.
    pub(crate) async fn wait(&self, mail: usize) -> Option<String> {
        let mut told = self.0.get(&mail)?.subscribe();
        let known = told.wait_for(|known| *known != Known::Nothing).await.ok()?;
        match &*known {
            Known::Read(message_id) => Some(message_id.clone()),
            Known::Nothing | Known::Lost => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::scenario::Scenario;

    #[tokio::test]
    async fn what_is_told_first_counts_and_of_other_mails_nothing_is_waited_for() {
        let mut scenario = Scenario::find("four-domains").unwrap();
        for traffic in &mut scenario.traffic {
            traffic.replies = traffic.count;
        }
        let plan = Plan::of(&scenario);
        let mut answered = plan.mails.iter().filter_map(|mail| mail.answers);
        let (read, lost) = (answered.next().unwrap(), answered.next().unwrap());
        let replies = Replies::of(&plan);
        replies.read(read, "<1@foo.test>");
        replies.is_over(read);
        replies.end();
        replies.read(lost, "<2@foo.test>");
        assert_eq!(replies.wait(read).await.as_deref(), Some("<1@foo.test>"));
        assert_eq!(replies.wait(lost).await, None);
        let reply = plan.mails.iter().position(|mail| mail.answers.is_some());
        assert_eq!(replies.wait(reply.unwrap()).await, None);
    }
}
