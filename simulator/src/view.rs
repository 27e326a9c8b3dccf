//! The view on a run while it goes on: a bar of deliveries, how far the mails are, and what happened last. It is drawn on a terminal only.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::history::{Mail, Reading, Sending};

/// A bar, and below it two lines.
const TEMPLATE: &str =
    "{elapsed_precise} {bar:30} {human_pos} of {human_len} deliveries settled\n{msg}\n{prefix}";

/// What is shown while a scenario is run. Clones show the same.
#[derive(Debug, Clone)]
pub(crate) struct View(ProgressBar);

/// How far the mails are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stand {
    accepted: usize,
    deliveries: usize,
    delivered: usize,
    read: usize,
    acknowledged: usize,
    reported: usize,
    settled: usize,
}

impl View {
    /// A view on the terminal, if there is one.
    pub(crate) fn shown() -> Self {
        let bar = ProgressBar::new(0);
        match ProgressStyle::with_template(TEMPLATE) {
            Ok(style) => Self(bar.with_style(style)),
            Err(_) => Self(bar),
        }
    }

    /// None.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Says what is done before the mails and after them.
    pub(crate) fn does(&self, what: &'static str) {
        self.0.set_message(what);
    }

    /// So many deliveries are expected.
    pub(crate) fn expects(&self, deliveries: usize) {
        self.0.set_length(deliveries as u64);
    }

    /// So many of them will not be: their mail was not accepted, or not written.
    pub(crate) fn expects_less(&self, deliveries: usize) {
        self.0.dec_length(deliveries as u64);
    }

    /// Says what has happened to a site.
    pub(crate) fn happened(&self, what: &str, before_mail: usize) {
        self.0
            .set_prefix(format!("before mail {}: {what}", HumanCount(before_mail as u64)));
    }

    /// Says how far the mails are after so long a time of the run's own.
    pub(crate) fn stands(&self, mails: &[Mail], time: Duration) {
        if self.0.is_hidden() {
            return;
        }
        let stand = Stand::of(mails);
        self.0.set_position(stand.settled as u64);
        self.0.set_message(stand.told(mails.len(), time));
    }

    /// Takes it away.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Stand {
    fn of(mails: &[Mail]) -> Self {
        let mut stand = Self::default();
        for mail in mails {
            stand.accepted += usize::from(matches!(mail.sending, Sending::Accepted { .. }));
            stand.deliveries += mail.fates.len();
            for fate in &mail.fates {
                stand.delivered += usize::from(fate.delivered_at.is_some());
                stand.read += usize::from(matches!(fate.reading, Reading::Equal { .. }));
                stand.acknowledged += usize::from(fate.acknowledged_at.is_some());
                stand.reported += usize::from(fate.reported_at.is_some());
                stand.settled += usize::from(fate.is_settled());
            }
        }
        stand
    }

    fn told(&self, mails: usize, time: Duration) -> String {
        let count = |number: usize| HumanCount(number as u64);
        format!(
            "{:.1} s: accepted {} of {}, delivered {} of {}, read {}, acknowledged {}, reported {}",
            time.as_secs_f64(),
            count(self.accepted),
            count(mails),
            count(self.delivered),
            count(self.deliveries),
            count(self.read),
            count(self.acknowledged),
            count(self.reported)
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cargomail_node::api::Channel;
    use cargomail_protocol::address::{Address, Locator};
    use cargomail_protocol::placeholder::Category;

    use super::*;
    use crate::history::Fate;

    fn mail(number: usize, accepted: bool) -> Mail {
        let sending = match accepted {
            true => Sending::Accepted {
                message_id: format!("<{number}@foo.test>"),
                origin: Locator::parse("mailbox.foo.test").unwrap(),
                resources: Vec::new(),
                octets: 0,
                at: 0,
            },
            false => Sending::Not { why: String::new() },
        };
        Mail {
            number,
            author: Address::parse("alice@foo.test").unwrap(),
            category: Category::parse("personal").unwrap(),
            channel: Channel::Web,
            files: 0,
            answers: None,
            sending,
            fates: match accepted {
                true => vec![Fate::open(Address::parse("bob@bar.test").unwrap())],
                false => Vec::new(),
            },
        }
    }

    #[test]
    fn it_tells_how_far_the_mails_are() {
        let mut mails: Vec<Mail> = (1..=4).map(|number| mail(number, number < 4)).collect();
        let settled = &mut mails[0].fates[0];
        (settled.delivered_at, settled.read_at, settled.acknowledged_at) = (Some(1), Some(2), Some(3));
        (settled.copies, settled.reading) = (1, Reading::Equal { octets: 1 });
        mails[1].fates[0].delivered_at = Some(1);
        let stand = Stand::of(&mails);
        assert_eq!(stand.settled, 1);
        assert_eq!(
            stand.told(1234, Duration::from_millis(12_345)),
            "12.3 s: accepted 3 of 1,234, delivered 2 of 3, read 1, acknowledged 1, reported 0"
        );
    }

    #[test]
    fn a_mail_that_is_not_written_is_not_waited_for() {
        let view = View::hidden();
        view.expects(5);
        view.expects_less(2);
        assert_eq!(view.0.length(), Some(3));
    }

    #[test]
    fn its_bar_has_a_form() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
    }
}
