//! What each of them does.

use std::time::Duration;

use anyhow::Context;
use cargomail_node::app::AppError;
use cargomail_node::identity::Certificate;
use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::channel;
use cargomail_protocol::exchange::{Expect, Fetch, Frame, Refused, Want};
use cargomail_protocol::grip::{Digest, NodeKey};
use cargomail_protocol::limits;
use cargomail_protocol::notification;
use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::{Abused, Role, VILLAIN, Written, find};
use crate::run::Stage;
use crate::scenario::Site;
use crate::world::{Villain, World};

/// Requests, and streams, of a flood.
const FLOOD: usize = 64;
/// Octets of each of them.
const PIECE: usize = 4096;
/// What must become of a message in somebody else's name.
const NOT_IN_THE_INBOX: &str = "refused for good, or in junk";
/// How long a message that was taken is looked for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages of a folder that are looked at.
const LISTED: usize = 100;

/// What a token is answered that its issuer may not have signed, or that was shown before.
const UNPROVED: &[StatusCode] = &[StatusCode::UNAUTHORIZED];
/// What somebody is answered who has proved who they are, and has no account there.
const FOREIGN: &[StatusCode] = &[StatusCode::FORBIDDEN];
/// What those are answered who ask too much at once.
pub(super) const TOO_MUCH: &[StatusCode] = &[
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// What came of an act.
pub(super) struct Told {
    pub(super) refused: bool,
    pub(super) answer: String,
    /// What must be answered.
    pub(super) expected: String,
    /// Roots of what was given to the villain as to a friend.
    pub(super) given: Vec<String>,
}

impl Told {
    pub(super) fn new(refused: bool, answer: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            refused,
            answer: answer.into(),
            expected: expected.into(),
            given: Vec::new(),
        }
    }

    /// A request that must be answered with one of these. One that could not be read would show nothing.
    pub(super) fn status(status: StatusCode, expected: &[StatusCode]) -> Self {
        let names: Vec<String> = expected.iter().map(ToString::to_string).collect();
        Self::new(
            expected.contains(&status),
            status.to_string(),
            names.join(", or "),
        )
    }

    /// A message in somebody else's name that a mail server does not take. One that is put off comes again.
    fn by_smtp(answer: String) -> Self {
        Self::new(answer.starts_with('5'), answer, NOT_IN_THE_INBOX)
    }

    /// A first frame on a stream. Whoever is not who they say is told to come when that is in the DNS ([`limits::DNS_NEGATIVE`]).
    fn frame(heard: Option<&Frame>, is_theirs: bool) -> Self {
        let unproved = limits::DNS_NEGATIVE.as_secs();
        let (refused, answer) = match heard {
            None => (false, "nothing".to_owned()),
            Some(Frame::Refused(Refused {
                retry_after: Some(seconds),
            })) => (
                !is_theirs && *seconds == unproved,
                format!("put off for {seconds} s"),
            ),
            Some(frame) => (matches!(frame, Frame::Refused(_)), format!("{:?}", frame.name())),
        };
        let expected = match is_theirs {
            true => "Refused, for good".to_owned(),
            false => format!("Refused, or put off for {unproved} s"),
        };
        Self::new(refused, answer, expected)
    }
}

pub(super) type Done = Vec<(String, Told)>;

/// Somebody at work against a site.
pub(super) struct Doing<'a> {
    pub(super) stage: &'a Stage,
    pub(super) world: &'a World,
    pub(super) villain: &'a Villain,
    pub(super) site: &'a Site,
}

impl Doing<'_> {
    pub(super) async fn act(&self, role: Role) -> anyhow::Result<Done> {
        match role {
            Role::TokenThief => {
                self.pose("a token that the real broker signed", |domain| {
                    let key = self.world.key(domain.as_str())?;
                    Ok((key, self.villain.certificate.clone()))
                })
                .await
            }
            Role::ForeignBroker => {
                self.pose("token and certificate in the real broker's name", |domain| {
                    let shown = self.world.certificate(VILLAIN, domain)?;
                    Ok((self.villain.key.clone(), shown))
                })
                .await
            }
            Role::ReplayingBroker => self.replay().await,
            Role::CidProber => self.probe().await,
            Role::Forger => self.forge().await,
            Role::Flooder => self.flood().await,
            Role::LyingOrigin => self.lie().await,
            Role::Corrupter => self.corrupt().await,
            Role::SlowReader => self.sip().await,
            Role::Sybils => self.crowd().await,
            Role::Spammer => self.spam().await,
            Role::Poisoner => anyhow::bail!("a checked scenario has it as a fault"),
        }
    }

    /// Somebody who has an account at the site.
    pub(super) fn victim(&self) -> anyhow::Result<&Address> {
        self.site.people.first().context("nobody has an account there")
    }

    pub(super) fn mallory() -> anyhow::Result<Address> {
        Ok(Address::parse(&format!("mallory@{VILLAIN}"))?)
    }

    /// Somebody of another domain, in whose name something is sent.
    fn other(&self) -> anyhow::Result<&Address> {
        let victim = self.victim()?;
        let mut others = self
            .stage
            .everybody()
            .into_iter()
            .filter(|person| person.domain() != victim.domain());
        others.next().context("there is nobody of another domain")
    }

    /// A message, and its Message-ID.
    pub(super) fn message(&self, from: &Address) -> anyhow::Result<(String, String)> {
        let (to, id) = (self.victim()?, self.villain.stamp().id);
        let id = format!("<{id}@{VILLAIN}>");
        let message = format!(
            "From: {from}\r\nTo: {to}\r\nSubject: Please read\r\nMessage-ID: {id}\r\n\
             Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\nBelieve me.\r\n"
        );
        Ok((message, id))
    }

    /// Gives a message to a broker, and a notification to an agent, as the broker of somebody's domain; `means` are the key that signs the
    /// token, and the certificate that is shown.
    async fn pose(
        &self,
        what: &str,
        means: impl Fn(&Domain) -> anyhow::Result<(NodeKey, Certificate)>,
    ) -> anyhow::Result<Done> {
        let mut done = Done::new();
        if self.site.broker {
            let (from, to) = (self.other()?, self.victim()?);
            let (message, _) = self.message(from)?;
            let digest = Digest::of(message.as_bytes());
            let (key, shown) = means(from.domain())?;
            let token = channel::token(
                &key,
                from,
                to.domain(),
                vec![to.clone()],
                digest,
                self.villain.stamp(),
            )?;
            let status = self.hand_in(&shown, &token, message.into_bytes()).await?;
            let told = Told::status(status, UNPROVED);
            done.push((format!("a message of {from}, with {what}"), told));
        }
        if let Some(at) = self.site.locator() {
            let abused = find(self.stage, |_, _| true).await?;
            let written = Written::of(&abused.notification(&abused.recipient))?;
            let (key, shown) = means(abused.recipient.domain())?;
            let status = self
                .notify(&key, &shown, &abused.recipient, &at, &written)
                .await?;
            let told = Told::status(status, UNPROVED);
            done.push((
                format!("a notification for {}, with {what}", abused.recipient),
                told,
            ));
            let mallory = Self::mallory()?;
            let written = Written::of(&abused.notification(&mallory))?;
            let (key, shown) = (&self.villain.key, &self.villain.certificate);
            let status = self.notify(key, shown, &mallory, &at, &written).await?;
            done.push((
                format!("a notification for {mallory}, who has no account"),
                Told::status(status, FOREIGN),
            ));
        }
        Ok(done)
    }

    async fn hand_in(
        &self,
        shown: &Certificate,
        token: &str,
        message: Vec<u8>,
    ) -> anyhow::Result<StatusCode> {
        let (to, kind) = (&self.site.name, channel::MESSAGE_TYPE);
        let status = self.villain.post(shown, to, channel::PATH, kind, token, message);
        status.await
    }

    async fn notify(
        &self,
        key: &NodeKey,
        shown: &Certificate,
        recipient: &Address,
        at: &Locator,
        written: &Written,
    ) -> anyhow::Result<StatusCode> {
        let stamp = self.villain.stamp();
        let token = notification::token(key, recipient, at, written.digest, written.expires, stamp)?;
        self.post_notification(shown, at, &token, written).await
    }

    async fn post_notification(
        &self,
        shown: &Certificate,
        at: &Locator,
        token: &str,
        written: &Written,
    ) -> anyhow::Result<StatusCode> {
        let (path, kind) = (notification::PATH, notification::MEDIA_TYPE);
        let status = self
            .villain
            .post(shown, at.domain(), path, kind, token, written.octets.clone());
        status.await
    }

    /// Tells an agent of a mail for somebody there, as their broker does, and then once more with the same token. The first is no harm.
    async fn replay(&self) -> anyhow::Result<Done> {
        let at = self
            .site
            .locator()
            .context("a checked scenario has the mailbox")?;
        let abused = find(self.stage, |_, recipient| self.site.people.contains(recipient)).await?;
        let domain = abused.recipient.domain();
        let key = self.world.key(domain.as_str())?;
        let shown = self.world.certificate(domain.as_str(), domain)?;
        let written = Written::of(&abused.notification(&abused.recipient))?;
        let stamp = self.villain.stamp();
        let token = notification::token(
            &key,
            &abused.recipient,
            &at,
            written.digest,
            written.expires,
            stamp,
        )?;
        let first = self.post_notification(&shown, &at, &token, &written).await?;
        let again = self.post_notification(&shown, &at, &token, &written).await?;
        let mut again = Told::status(again, UNPROVED);
        // Where the first is refused, too, the second shows nothing.
        again.refused &= first == StatusCode::ACCEPTED;
        again.answer = format!("{}, after {first} for the first", again.answer);
        Ok(vec![("the same notification twice".to_owned(), again)])
    }

    /// Asks an origin for what it shares with somebody else: as somebody with whom nothing is shared, and in the name of the one with whom it
    /// is.
    async fn probe(&self) -> anyhow::Result<Done> {
        let at = self
            .site
            .locator()
            .context("a checked scenario has the mailbox")?;
        let abused = find(self.stage, |origin, _| *origin == at).await?;
        let mallory = Self::mallory()?;
        let mut done = Done::new();
        for recipient in [&mallory, &abused.recipient] {
            let heard = self.fetch(&abused, recipient, &at).await?;
            done.push((
                format!(
                    "a fetch of what is shared with {}, for {recipient}",
                    abused.recipient
                ),
                Told::frame(heard.as_ref(), *recipient == mallory),
            ));
        }
        Ok(done)
    }

    async fn fetch(
        &self,
        abused: &Abused,
        recipient: &Address,
        at: &Locator,
    ) -> anyhow::Result<Option<Frame>> {
        let (key, villain) = (&self.villain.key, Domain::parse(VILLAIN)?);
        let own = Locator::parse(&format!("mailbox.{VILLAIN}"))?;
        let written = Written::of(&abused.notification(recipient))?;
        let stamp = || self.villain.stamp();
        let notify = notification::token(key, recipient, &own, written.digest, written.expires, stamp())?;
        let token = notification::fetch_token(key, &villain, at, written.digest, &notify, stamp())?;
        let wants = abused.share.resources.iter();
        let fetch = Frame::Fetch(Fetch {
            token,
            notification: written.octets,
            wants: wants
                .map(|resource| Want {
                    root: *resource.cid(),
                    skip: 0,
                })
                .collect(),
        });
        let peers = self.world.peers_of(self.site.name.as_str())?;
        self.villain.say(&peers, fetch, Expect::Answer).await
    }

    /// Sends a message by SMTP in the name of somebody of another domain.
    async fn forge(&self) -> anyhow::Result<Done> {
        let (from, to) = (self.other()?, self.victim()?);
        let (message, id) = self.message(from)?;
        let lines = [
            format!("EHLO {VILLAIN}"),
            format!("MAIL FROM:<{from}>"),
            format!("RCPT TO:<{to}>"),
            "DATA".to_owned(),
            format!("{message}."),
        ];
        let at = self.world.mail_server(self.site.name.as_str())?;
        let answer = self.villain.dictate(at, &lines).await?;
        let told = match answer.starts_with('2') {
            false => Told::by_smtp(answer),
            true => self.found(to, &id, &answer).await?,
        };
        Ok(vec![(format!("a message of {from}, by SMTP"), told)])
    }

    /// In which folder the victim finds what was taken: in the one for junk it has come to nothing.
    async fn found(&self, victim: &Address, id: &str, answer: &str) -> anyhow::Result<Told> {
        let broker = self.stage.app(victim).broker()?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            for folder in ["inbox", "junk"] {
                let messages = broker.list(folder, None, LISTED).await?;
                if messages.iter().any(|message| message.message_id == id) {
                    let answer = format!("{answer}; it is in {folder}");
                    return Ok(Told::new(folder == "junk", answer, NOT_IN_THE_INBOX));
                }
            }
            sleep(super::LOOK).await;
        }
        let answer = format!("{answer}; it is in no folder");
        Ok(Told::new(false, answer, NOT_IN_THE_INBOX))
    }

    /// A flood: so much of it came there, nothing of it is taken, and whoever has an account is served meanwhile.
    fn withstood(came: usize, taken: Option<String>, served: Result<(), AppError>) -> Told {
        let expected = "refused, and others are served";
        match (came, taken, served) {
            (_, Some(answer), _) => Told::new(false, answer, expected),
            (_, None, Err(error)) => Told::new(
                false,
                format!("refused, and so is everybody else: {error}"),
                expected,
            ),
            (0, None, Ok(())) => Told::new(false, "nothing: none of it came there", expected),
            (_, None, Ok(())) => Told::new(true, expected, expected),
        }
    }

    /// Many requests and streams at once, with octets that mean nothing; the streams stay open.
    async fn flood(&self) -> anyhow::Result<Done> {
        let mut done = Done::new();
        if self.site.broker {
            let token = "e30.e30.e30";
            let shown = &self.villain.certificate;
            let flood = (0..FLOOD).map(|_| self.hand_in(shown, token, self.villain.garbage(PIECE)));
            let answers = futures::future::join_all(flood).await;
            // A connection that is not answered at all is refused too, unless all are.
            let answered = answers.iter().flatten().count();
            let taken = answers.iter().flatten().find(|status| !TOO_MUCH.contains(status));
            let broker = self.stage.app(self.victim()?).broker()?;
            let served = broker.list("inbox", None, 1).await.map(drop);
            done.push((
                format!("{FLOOD} requests at once that mean nothing"),
                Self::withstood(answered, taken.map(ToString::to_string), served),
            ));
        }
        if self.site.mailbox {
            let peers = self.world.peers_of(self.site.name.as_str())?;
            let mut opened = 0;
            for _ in 0..FLOOD {
                // Who takes no more of them has refused.
                let Ok(mut stream) = self.villain.open(&peers).await else {
                    break;
                };
                opened += 1;
                let garbage = self.villain.garbage(PIECE);
                tokio::spawn(async move {
                    let _ = stream.write_all(&garbage).await;
                    let _ = stream.flush().await;
                    std::future::pending::<()>().await;
                });
            }
            let garbage = Frame::Receipt("e30.e30.e30".to_owned());
            let heard = self.villain.say(&peers, garbage, Expect::Noted).await;
            let taken = heard.ok().flatten().filter(|frame| *frame == Frame::Noted);
            let at = self.site.locator().context("a mailbox has a name")?;
            let mailbox = self.stage.app(self.victim()?).mailbox(&at)?;
            let served = mailbox.shares().await.map(drop);
            done.push((
                format!("{FLOOD} streams at once that mean nothing"),
                Self::withstood(opened, taken.map(|frame| format!("{:?}", frame.name())), served),
            ));
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_put_off_is_not_refused() {
        let frame = |retry_after, is_theirs| {
            let refused = Frame::Refused(Refused { retry_after });
            Told::frame(Some(&refused), is_theirs)
        };
        assert!(frame(None, true).refused && frame(None, false).refused);
        assert!(!frame(Some(30), true).refused && frame(Some(30), false).refused);
        assert!(!frame(Some(60), false).refused, "for another reason");
        let later = frame(Some(7), true);
        assert!(
            !later.refused && later.answer == "put off for 7 s",
            "{}",
            later.answer
        );
        assert!(!Told::frame(None, true).refused);
        assert!(!Told::frame(Some(&Frame::Noted), false).refused);
        let smtp = |answer: &str| Told::by_smtp(answer.to_owned()).refused;
        assert!(smtp("550 5.7.1 no"));
        assert!(!smtp("451 4.7.1 later") && !smtp("421 4.3.2 closing"));
    }

    #[test]
    fn a_flood_of_which_nothing_came_shows_nothing() {
        let withstood = |came, taken: Option<&str>| {
            let taken = taken.map(str::to_owned);
            Doing::withstood(came, taken, Ok(())).refused
        };
        assert!(withstood(1, None));
        assert!(!withstood(0, None));
        assert!(!withstood(1, Some("200 OK")));
        let away = AppError::Url("nowhere".to_owned());
        assert!(!Doing::withstood(1, None, Err(away)).refused);
    }
}
