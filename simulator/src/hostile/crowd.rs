//! Those who come in numbers: many brokers of which nobody has heard, and one that writes to everybody.
//!
//! Whoever has a domain and a key may write: what they write to people who are there is mail. What must not be is that others wait for it.

use std::time::Duration;

use anyhow::Context;
use cargomail_node::https::ServingLimits;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::channel::{self, Answer, Outcome};
use cargomail_protocol::dag::{Codec, VerifiedBlock};
use cargomail_protocol::grip::{self, Digest};
use cargomail_protocol::notification;
use cargomail_protocol::placeholder::ResourceRef;
use http::StatusCode;
use tokio::time::Instant;

use super::acts::{Doing, Done, TOO_MUCH, Told};
use super::{VILLAIN, Written, find};
use crate::world::Sybil;

/// Domains of which nobody has heard.
const SYBILS: usize = 200;
/// Messages of one who writes to everybody: to people who are there, and to others.
const SPAM: usize = 100;
/// How long what they share is shared: its origin never answers.
const LIFE: Duration = Duration::from_secs(600);
/// How long somebody who is served waits at most.
const SERVED: Duration = Duration::from_secs(10);
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
        let (answers, served) = tokio::join!(futures::future::join_all(writing), self.served());
        let (is_served, served) = served?;
        let taken = answers.into_iter().flatten().count();
        // That none is answered would show nothing.
        let most = ServingLimits::default().per_address;
        let told = Told::new(
            (1..=most).contains(&taken) && is_served,
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
            let (answers, served) = tokio::join!(futures::future::join_all(notifying), self.served());
            let (is_served, served) = served?;
            let taken = answers
                .into_iter()
                .flatten()
                .find(|status| !TOO_MUCH.contains(status));
            let answer = match taken {
                Some(status) => status.to_string(),
                None => format!("refused, and {served}"),
            };
            let told = Told::new(
                taken.is_none() && is_served,
                answer,
                format!("all are refused, and {SOON}"),
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
        let mut refused = 0;
        for number in 1..=SPAM {
            let nobody = Address::parse(&format!("nobody{number}@{}", victim.domain()))?;
            refused += usize::from(!self.is_taken(&nobody).await?);
        }
        let (is_served, served) = self.served().await?;
        let to_nobody = Told::new(
            refused == SPAM && is_served,
            format!("{refused} were refused, and {served}"),
            format!("{SPAM} are refused, and {SOON}"),
        );
        let mut taken = 0;
        for _ in 0..SPAM {
            taken += usize::from(self.is_taken(victim).await?);
        }
        let (is_served, served) = self.served().await?;
        let to_somebody = Told::new(is_served, format!("{taken} were taken, and {served}"), SOON);
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

    /// Whether a placeholder is taken for somebody.
    async fn is_taken(&self, to: &Address) -> anyhow::Result<bool> {
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
            return Ok(false);
        }
        let Answer::Receipt(receipt) = Answer::parse(&answer)? else {
            return Ok(false);
        };
        let seen = grip::inspect(&receipt)?;
        let result = seen.claims.get("results").and_then(|results| results.get(0));
        let result = result.and_then(|result| result.as_str());
        let result = result.and_then(Outcome::parse).context("a receipt has results")?;
        Ok(matches!(result, Outcome::Accepted))
    }

    /// Whether somebody who has an account is served, and soon; and that in words.
    async fn served(&self) -> anyhow::Result<(bool, String)> {
        let begun = Instant::now();
        let broker = self.stage.app(self.victim()?).broker()?;
        let listed = broker.list("inbox", None, 1).await;
        let (after, is_soon) = (begun.elapsed().as_millis(), begun.elapsed() <= SERVED);
        Ok(match listed {
            Ok(_) => (is_soon, format!("its people are served after {after} ms")),
            Err(error) => (false, format!("its people are not served: {error}")),
        })
    }
}
