//! Those who want to do harm: each acts before a certain mail, from a machine with a name and a key of its own, and knows
//! everything about everybody's mails but keys; whoever needs a key is given one, as a thief would have it. What they are answered
//! stands in the history, and a promise says that nothing came of it.

mod acts;
mod crowd;
mod origin;
mod reader;

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use cargomail_node::api::ShareView;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::grip::Digest;
use cargomail_protocol::notification::Notification;
use cargomail_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::history::Act;
use crate::run::Stage;
use crate::scenario::How;
use crate::world::World;

/// The domain of the machine from which harm is done.
pub const VILLAIN: &str = "villain.test";
/// From one look for something to abuse to the next.
const LOOK: Duration = Duration::from_millis(500);

/// Who wants to do harm, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Shows tokens that others have signed for others.
    TokenThief,
    /// Has a broker's key, and says the same twice.
    ReplayingBroker,
    /// Signs for domains that are not its own.
    ForeignBroker,
    /// Asks an origin for resources whose CIDs it has learned.
    CidProber,
    /// Sends messages by SMTP in somebody else's name.
    Forger,
    /// Says what means nothing, many times at once, and leaves its streams open.
    Flooder,
    /// Shares resources with people, and sends others than it has said, or none.
    LyingOrigin,
    /// Shares resources with people, and changes them on their way.
    Corrupter,
    /// Asks an origin for what is shared with it, and takes next to nothing of it.
    SlowReader,
    /// Is many domains at once.
    Sybils,
    /// Writes to everybody, and to people who are not there.
    Spammer,
    /// Tells a site wrongly where others are, and listens: by a fault ([`crate::scenario::How::PoisonedDns`]).
    Poisoner,
}

impl Role {
    /// Its name in scenarios and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenThief => "token-thief",
            Self::ReplayingBroker => "replaying-broker",
            Self::ForeignBroker => "foreign-broker",
            Self::CidProber => "cid-prober",
            Self::Forger => "forger",
            Self::Flooder => "flooder",
            Self::LyingOrigin => "lying-origin",
            Self::Corrupter => "corrupter",
            Self::SlowReader => "slow-reader",
            Self::Sybils => "sybils",
            Self::Spammer => "spammer",
            Self::Poisoner => "poisoner",
        }
    }

    /// Whether it does harm to Resource Mailboxes alone.
    #[must_use]
    pub const fn needs_mailbox(self) -> bool {
        matches!(
            self,
            Self::ReplayingBroker | Self::CidProber | Self::LyingOrigin | Self::Corrupter | Self::SlowReader
        )
    }

    /// Whether it needs somebody's mail to do harm to a site, which is a Resource Mailbox or is not.
    #[must_use]
    pub(crate) const fn abuses_mail(self, is_mailbox: bool) -> bool {
        match self {
            Self::ReplayingBroker | Self::CidProber => true,
            Self::TokenThief | Self::ForeignBroker | Self::Sybils => is_mailbox,
            _ => false,
        }
    }

    /// Whether it does harm to Cargo Brokers alone.
    #[must_use]
    pub const fn needs_broker(self) -> bool {
        matches!(self, Self::Forger | Self::Sybils | Self::Spammer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Has everybody act whose point this is.
///
/// # Errors
/// When there is nothing to do the harm with: no mail that it could abuse within the scenario's patience.
pub(crate) async fn act_before(
    number: usize,
    stage: &Stage,
    world: &World,
    acts: &mut Vec<Act>,
) -> anyhow::Result<()> {
    for hostile in stage
        .scenario
        .hostile
        .iter()
        .filter(|hostile| hostile.before == number)
    {
        let against = hostile.against.as_str();
        let site = stage
            .scenario
            .sites
            .iter()
            .find(|site| site.name == hostile.against);
        let site = site.context("a checked scenario has the site")?;
        let villain = world.villain(VILLAIN)?;
        let doing = acts::Doing {
            stage,
            world,
            villain: &villain,
            site,
        };
        stage
            .view
            .happened(&format!("{} against {against}", hostile.role), number);
        let done = doing.act(hostile.role).await;
        for (what, told) in done.with_context(|| format!("{} against {against}", hostile.role))? {
            acts.push(Act {
                role: hostile.role,
                against: against.to_owned(),
                what,
                refused: told.refused,
                answer: told.answer,
                expected: told.expected,
                given: told.given,
                at: stage.now(),
            });
        }
    }
    Ok(())
}

/// What came of telling sites wrongly where others are: nothing must be said to whoever is there instead. Who asked for nothing was told no lie,
/// and shows nothing.
pub(crate) fn overheard(stage: &Stage, world: &World) -> Vec<Act> {
    let heard = world.ears().heard();
    let faults = stage.scenario.faults.iter();
    let poisoned = faults.filter(|fault| fault.how == How::PoisonedDns);
    poisoned
        .filter(|fault| world.was_misled(fault.site.as_str()))
        .map(|fault| Act {
            role: Role::Poisoner,
            against: fault.site.to_string(),
            what: "wrong answers of the DNS".to_owned(),
            refused: heard.is_empty(),
            expected: "nothing is said to the villain".to_owned(),
            given: Vec::new(),
            answer: match heard.first() {
                None => "nothing".to_owned(),
                Some(first) => format!("{first}, and {} more", heard.len() - 1),
            },
            at: stage.now(),
        })
        .collect()
}

/// A mail that is abused: what stands in its placeholder, and for whom it is.
struct Abused {
    origin: Locator,
    sender: Address,
    recipient: Address,
    share: ShareView,
}

impl Abused {
    /// What the recipient's broker would tell the destination, or somebody who says to be it.
    fn notification(&self, recipient: &Address) -> Notification {
        Notification {
            origin: self.origin.clone(),
            message_id: self.share.message_id.clone(),
            sender: self.sender.clone(),
            recipient: recipient.clone(),
            category: self.share.category.clone(),
            expires: Timestamp::from_seconds(self.share.expires.seconds()),
            resources: self.share.resources.clone(),
        }
    }
}

/// A notification as it travels.
struct Written {
    octets: Vec<u8>,
    digest: Digest,
    expires: Timestamp,
}

impl Written {
    fn of(notification: &Notification) -> anyhow::Result<Self> {
        let octets = notification.to_bytes()?;
        Ok(Self {
            digest: Digest::of(&octets),
            octets,
            expires: notification.expires,
        })
    }
}

/// Waits for a mail that fits: by the origin where its resources are, and its recipient.
async fn find(stage: &Stage, fits: impl Fn(&Locator, &Address) -> bool) -> anyhow::Result<Abused> {
    let until = tokio::time::Instant::now() + Duration::from_secs(stage.scenario.patience);
    let accounts = stage.scenario.accounts();
    loop {
        for sender in stage.everybody() {
            for origin in accounts.mailboxes_of(sender) {
                // Who is away has nothing to abuse.
                let session = stage.app(sender).mailbox(&origin)?;
                for share in session.shares().await.unwrap_or_default() {
                    let recipient = share.recipients.iter().find(|recipient| fits(&origin, recipient));
                    if let Some(recipient) = recipient.cloned() {
                        return Ok(Abused {
                            origin,
                            sender: sender.clone(),
                            recipient,
                            share,
                        });
                    }
                }
            }
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < until,
            "nobody writes a mail that could be abused there"
        );
        tokio::time::sleep(LOOK).await;
    }
}
