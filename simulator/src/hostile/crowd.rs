//! Those who come in numbers: many brokers of which nobody has heard, and one that writes to everybody.
//!
//! Whoever has a domain and a key may write: what they write to people who are there is mail. What must not be is that others wait for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use cargomail_node::app::AppError;
use cargomail_node::https::ServingLimits;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::channel::{self, Answer, Outcome};
use cargomail_protocol::dag::{Codec, VerifiedBlock};
use cargomail_protocol::grip::{self, Digest};
use cargomail_protocol::notification;
use cargomail_protocol::placeholder::ResourceRef;
use http::StatusCode;
use tokio::time::{Instant, sleep};

use super::acts::{Doing, Done, TOO_MUCH, Told};
use super::{VILLAIN, Written, find};
use crate::world::Sybil;

/// Domains of which nobody has heard.
const SYBILS: usize = 200;
/// Messages of one who writes to everybody: to people who are there, and to others.
const SPAM: usize = 100;
/// How long what they share is shared: its origin never answers.
const LIFE: Duration = Duration::from_secs(600);
/// How long somebody who is served waits at most, and from one question of theirs to the next.
const SERVED: Duration = Duration::from_secs(10);
const ASKING: Duration = Duration::from_millis(20);
/// What people must see of it meanwhile.
const SOON: &str = "people are served within 10 s";
/// Octets of a resource that nobody gets.
const OCTETS: usize = 64;

impl Doing<'_> {
    /// Many brokers, each with a domain and a key, write to somebody at once, and notify the site's agent of mail for somebody who is not theirs.
    pub(super) async fn crowd(&self) -> anyhow::Result<Done> {
        let mut sybils = Vec::with_capacity(SYBILS);
        for number in 1..=SYBILS {
            sybils.push(self.world.sybil(&format!("s{number}"), VILLAIN)?);
        }
        let writing = sybils.iter().map(|sybil| self.as_sybil(sybil));
        let (answers, served) = self.meanwhile(futures::future::join_all(writing)).await?;
        let taken = answers.into_iter().flatten().count();
        // That none is answered would show nothing.
        let most = ServingLimits::default().per_address;
        let told = Told::new(
            (1..=most).contains(&taken) && served.is_soon(),
            format!("{taken} were answered, and {served}"),
            format!("1 to {most} are answered, and {SOON}"),
        );
        let mut done = vec![(
            format!("messages of {SYBILS} brokers at once from one machine"),
            told,
        )];
        if let Some(at) = self.site.locator() {
            let abused = find(self.stage, |_, _| true).await?;
            let written = Written::of(&abused.notification(&abused.recipient))?;
            let notifying = sybils
                .iter()
                .map(|sybil| self.notify_as_sybil(sybil, &at, &abused.recipient, &written));
            let (answers, served) = self.meanwhile(futures::future::join_all(notifying)).await?;
            let answers: Vec<StatusCode> = answers.into_iter().flatten().collect();
            let taken = answers.iter().find(|status| !TOO_MUCH.contains(status));
            let answered = answers.len();
            let answer = match taken {
                Some(status) => status.to_string(),
                None => format!("{answered} were answered, all were refused, and {served}"),
            };
            // That none is answered would show nothing here, too.
            let told = Told::new(
                answered > 0 && taken.is_none() && served.is_soon(),
                answer,
                format!("some are answered, all are refused, and {SOON}"),
            );
            done.push((
                format!("notifications of {SYBILS} brokers for somebody else's user"),
                told,
            ));
        }
        Ok(done)
    }

    /// An ordinary message of somebody whom nobody knows; the status of the answer, if there is one.
    async fn as_sybil(&self, sybil: &Sybil) -> anyhow::Result<StatusCode> {
        let (from, to) = (
            Address::parse(&format!("mallory@{}", sybil.domain))?,
            self.victim()?,
        );
        let (message, _) = self.message(&from)?;
        let digest = Digest::of(message.as_bytes());
        let (domain, recipients) = (to.domain(), vec![to.clone()]);
        let stamp = self.villain.stamp();
        let token = channel::token(&sybil.key, &from, domain, recipients, digest, stamp)?;
        let (path, kind, shown) = (channel::PATH, channel::MESSAGE_TYPE, &sybil.certificate);
        let asked = self
            .villain
            .post_from_afar(shown, domain, path, kind, &token, message.into_bytes());
        Ok(asked.await?.0)
    }

    async fn notify_as_sybil(
        &self,
        sybil: &Sybil,
        at: &Locator,
        recipient: &Address,
        written: &Written,
    ) -> anyhow::Result<StatusCode> {
        let (key, stamp) = (&sybil.key, self.villain.stamp());
        let token = notification::token(key, recipient, at, written.digest, written.expires, stamp)?;
        let (path, kind, shown) = (notification::PATH, notification::MEDIA_TYPE, &sybil.certificate);
        let asked =
            self.villain
                .post_from_afar(shown, at.domain(), path, kind, &token, written.octets.clone());
        Ok(asked.await?.0)
    }

    /// Many placeholders of one domain, one after the other: to people who are not there, and to one who is, whose content never comes.
    pub(super) async fn spam(&self) -> anyhow::Result<Done> {
        self.world.receive(VILLAIN).await?;
        let victim = self.victim()?;
        let writing = async {
            let mut refused = 0;
            for number in 1..=SPAM {
                let nobody = Address::parse(&format!("nobody{number}@{}", victim.domain()))?;
                let outcome = self.outcome(&nobody).await?;
                refused += usize::from(matches!(outcome, Some(Outcome::Refused(_))));
            }
            anyhow::Ok(refused)
        };
        let (refused, served) = self.meanwhile(writing).await?;
        let refused = refused?;
        let to_nobody = Told::new(
            refused == SPAM && served.is_soon(),
            format!("{refused} were refused for good, and {served}"),
            format!("{SPAM} are refused for good, and {SOON}"),
        );
        let writing = async {
            let (mut taken, mut answered) = (0, 0);
            for _ in 0..SPAM {
                let outcome = self.outcome(victim).await?;
                answered += usize::from(outcome.is_some());
                taken += usize::from(outcome == Some(Outcome::Accepted));
            }
            anyhow::Ok((taken, answered))
        };
        let (counted, served) = self.meanwhile(writing).await?;
        let (taken, answered) = counted?;
        let to_somebody = Told::new(
            answered > 0 && served.is_soon(),
            format!("{answered} were answered, {taken} of them were taken, and {served}"),
            format!("some are answered, and {SOON}"),
        );
        Ok(vec![
            (
                format!("{SPAM} placeholders for people who are not there"),
                to_nobody,
            ),
            (
                format!("{SPAM} placeholders for {victim} of what nobody has"),
                to_somebody,
            ),
        ])
    }

    /// What a receipt says of a placeholder for somebody; none where the answer is no receipt.
    async fn outcome(&self, to: &Address) -> anyhow::Result<Option<Outcome>> {
        let octets = self.villain.garbage(OCTETS);
        let block = VerifiedBlock::hash(Codec::Raw, octets.into())?;
        let resource = ResourceRef {
            cid: *block.cid(),
            size: OCTETS as u64,
            sha256: None,
        };
        let (_, message) = self.placeholder(to, resource, LIFE)?;
        let (status, answer) = self.write_to(to, message).await?;
        if status != StatusCode::OK {
            return Ok(None);
        }
        let Answer::Receipt(receipt) = Answer::parse(&answer)? else {
            return Ok(None);
        };
        let seen = grip::inspect(&receipt)?;
        let result = seen.claims.get("results").and_then(|results| results.get(0));
        let result = result.and_then(|result| result.as_str());
        let result = result.and_then(Outcome::parse).context("a receipt has results")?;
        Ok(Some(result))
    }

    /// Does harm, and has somebody who has an account ask again and again until it is over; what came of both.
    async fn meanwhile<T>(&self, harm: impl Future<Output = T>) -> anyhow::Result<(T, Served)> {
        let broker = self.stage.app(self.victim()?).broker()?;
        let ask = async || broker.list("inbox", None, 1).await.map(drop);
        Ok(asked_meanwhile(harm, ask).await)
    }
}

/// Asks again and again until something is over; what came of it, and of the questions. Who has asked before it is over is answered, however
/// long that takes.
async fn asked_meanwhile<T>(
    harm: impl Future<Output = T>,
    ask: impl AsyncFn() -> Result<(), AppError>,
) -> (T, Served) {
    let is_over = AtomicBool::new(false);
    let harm = async {
        let done = harm.await;
        is_over.store(true, Ordering::Relaxed);
        done
    };
    let asking = async {
        let mut slowest = Duration::ZERO;
        loop {
            let begun = Instant::now();
            if let Err(error) = ask().await {
                return Served::Not(error);
            }
            slowest = slowest.max(begun.elapsed());
            if is_over.load(Ordering::Relaxed) {
                return Served::After(slowest);
            }
            sleep(ASKING).await;
        }
    };
    tokio::join!(harm, asking)
}

/// How somebody who has an account is served.
enum Served {
    /// Each time, and after so long at the longest.
    After(Duration),
    /// Not always.
    Not(AppError),
}

impl Served {
    fn is_soon(&self) -> bool {
        matches!(self, Self::After(slowest) if *slowest <= SERVED)
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(slowest) => write!(
                f,
                "its people are served after {} ms at the most",
                slowest.as_millis()
            ),
            Self::Not(error) => write!(f, "its people are not served: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Harm that begins after a second, and is over after another; meanwhile a question takes so long.
    async fn served(takes: Duration) -> Served {
        let began = Instant::now();
        let harm = sleep(Duration::from_secs(2));
        let ask = async || {
            if began.elapsed() >= Duration::from_secs(1) {
                sleep(takes).await;
            }
            Ok(())
        };
        asked_meanwhile(harm, ask).await.1
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_answer_counts_and_not_the_first() {
        let soon = served(Duration::from_millis(30)).await;
        assert!(soon.is_soon());
        assert_eq!(soon.to_string(), "its people are served after 30 ms at the most");
        assert!(!served(2 * SERVED).await.is_soon());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_once_is_not_served() {
        let began = Instant::now();
        let ask = async || match began.elapsed() < Duration::from_secs(1) {
            true => Ok(()),
            false => Err(AppError::Url("away".to_owned())),
        };
        let (_, served) = asked_meanwhile(sleep(Duration::from_secs(2)), ask).await;
        assert!(!served.is_soon());
    }
}
