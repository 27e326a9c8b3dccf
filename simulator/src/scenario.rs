//! Scenario files: TOML, read and checked.
//!
//! What always holds: unknown keys are refused; every error names the file and the key; what [`Scenario::read`] gives can
//! be run.

mod check;
mod many;
mod size;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context, bail};
use cargomail_node::api::Channel;
use cargomail_node::harness::SitePlan;
use cargomail_protocol::address::{Address, Domain, Locator};
use cargomail_protocol::placeholder::Category;
use cargomail_protocol::routing::{Preferences, Rule};
use serde::{Deserialize, Serialize};

pub use check::Wrong;
pub use many::{Flash, Many, SizeError};
pub use size::Size;

use crate::hostile::{Role, VILLAIN};
use crate::path::Path as Way;
use crate::promise::Promise;
use crate::world::Condition;

/// Real sites of one run: each has an address of its own in one network of 256.
pub(crate) const REAL_SITES: usize = 250;
/// Mails at once among real nodes: more only wait for each other on one machine.
pub(crate) const REAL_CONCURRENT: usize = 64;

/// A scenario with comments, to begin with.
pub const NEW: &str = include_str!("../scenarios/new.toml");
/// The scenarios that are shipped, by name.
pub const SHIPPED: [(&str, &str); 19] = [
    ("four-domains", include_str!("../scenarios/four-domains.toml")),
    ("shared", include_str!("../scenarios/shared.toml")),
    ("single", include_str!("../scenarios/single.toml")),
    ("estonian", include_str!("../scenarios/estonian.toml")),
    ("postal", include_str!("../scenarios/postal.toml")),
    ("channels", include_str!("../scenarios/channels.toml")),
    ("list", include_str!("../scenarios/list.toml")),
    ("regions", include_str!("../scenarios/regions.toml")),
    ("storm", include_str!("../scenarios/storm.toml")),
    ("hostile", include_str!("../scenarios/hostile.toml")),
    ("troubles", include_str!("../scenarios/troubles.toml")),
    ("liars", include_str!("../scenarios/liars.toml")),
    ("flash", include_str!("../scenarios/flash.toml")),
    ("homes", include_str!("../scenarios/homes.toml")),
    ("spam-wave", include_str!("../scenarios/spam-wave.toml")),
    ("world", include_str!("../scenarios/world.toml")),
    ("breaks", include_str!("../scenarios/breaks.toml")),
    ("keys", include_str!("../scenarios/keys.toml")),
    ("churn", include_str!("../scenarios/churn.toml")),
];

/// A scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: that of the shipped scenario, or its file.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in one line.
    pub description: String,
    /// Decides who writes what to whom: the same seed makes the same plan.
    pub seed: u64,
    /// Seconds that everything may take after the last mail was begun.
    #[serde(default = "patience")]
    pub patience: u64,
    /// Mails that are written at once, and read at once.
    #[serde(default = "concurrent")]
    pub concurrent: usize,
    /// Seconds from the beginning of one mail to that of the next; 0 begins each as soon as there is a place for it.
    #[serde(default)]
    pub every: f64,
    /// What must hold; without it, everything that always must.
    #[serde(default = "Promise::standard")]
    pub promises: Vec<Promise>,
    /// What must hold beside that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Promise>,
    /// Seconds in which mail between sites that are well is delivered and acknowledged, whatever befalls others.
    #[serde(default = "promptly")]
    pub promptly: u64,
    /// Ways that must have been gone, or nothing was shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Way>,
    /// The nodes.
    pub sites: Vec<Site>,
    /// What people wish; who wishes nothing gets everything at the mailboxes where they have an account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wishes: Vec<Wishes>,
    /// Who writes to whom.
    pub traffic: Vec<Traffic>,
    /// What fails, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Who wants to do harm, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostile: Vec<Hostile>,
    /// What the ways between some sites and others are like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// What the ways between some sites and others are like, whatever lines they have.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The sites at the end that sends slower.
    pub from: Vec<Domain>,
    /// Those at the other end.
    pub to: Vec<Domain>,
    /// What they are like.
    pub condition: Condition,
}

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its domain.
    pub name: Domain,
    /// Whether it has the Resource Mailbox `mailbox.<name>`.
    #[serde(default)]
    pub mailbox: bool,
    /// Whether it is the Cargo Broker of its domain.
    #[serde(default)]
    pub broker: bool,
    /// Who has an account here.
    pub people: Vec<Address>,
    /// Its own line; without it, the world's.
    pub line: Option<Condition>,
}

/// What a person wishes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wishes {
    /// Who.
    pub person: Address,
    /// By category, sender and size; the first that matches is asked first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Where everything else goes, in order.
    pub default: Vec<Locator>,
}

/// Mails of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// How many.
    pub count: usize,
    /// Who writes them: for each mail one of these.
    pub from: Vec<Address>,
    /// Who may get them: for each mail some of these, and never its author.
    pub to: Vec<Address>,
    /// How many recipients a mail has at most.
    #[serde(default = "one")]
    pub recipients: usize,
    /// What kind of correspondence it is.
    pub category: Category,
    /// The mailbox that they are posted to; without it, the author's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Locator>,
    /// How many files a mail encloses, from and to.
    #[serde(default)]
    pub files: [usize; 2],
    /// Sizes of files: each file has one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<Size>,
    /// So many files in all, which several mails share; 0 gives every mail files of its own.
    #[serde(default)]
    pub shared_files: usize,
    /// How they travel: channel → weight.
    #[serde(default = "channels")]
    pub channels: BTreeMap<ChannelName, u32>,
    /// Whether they go to everybody in `to` together, each to as many of them: a list.
    #[serde(default)]
    pub everybody: bool,
    /// People of one domain write to people of so many other domains, always the same ones; 0: to anybody.
    #[serde(default)]
    pub circle: usize,
    /// So many of them are answered, each once: by one of its recipients, after they have read it, to its author.
    #[serde(default)]
    pub replies: usize,
}

/// A channel as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelName {
    /// [`Channel::Web`]
    Web,
    /// [`Channel::Smtp`]
    Smtp,
    /// [`Channel::WebThenSmtp`]
    WebThenSmtp,
}

impl From<ChannelName> for Channel {
    fn from(name: ChannelName) -> Self {
        match name {
            ChannelName::Web => Channel::Web,
            ChannelName::Smtp => Channel::Smtp,
            ChannelName::WebThenSmtp => Channel::WebThenSmtp,
        }
    }
}

/// Somebody who wants to do harm, from a machine with a name and a key of its own: [`VILLAIN`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hostile {
    /// Who it is.
    pub role: Role,
    /// To which site it is done.
    pub against: Domain,
    /// Before this mail is begun, counted from 1.
    pub before: usize,
}

/// A site that fails.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which.
    pub site: Domain,
    /// How.
    #[serde(default)]
    pub how: How,
    /// Who is cut off together with it, and not from it: a region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Domain>,
    /// It fails before this mail is begun, counted from 1.
    pub stop_before: usize,
    /// It is well again before this one; one more than there are mails is after the last. Without it, it stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_before: Option<usize>,
    /// By how many seconds its clock is wrong; less than none is slow.
    pub by: Option<i64>,
}

/// How a site fails. All but the first need a virtual world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is stopped in order, and started.
    #[default]
    Stop,
    /// Its machine loses its power, and what its disk had not synced.
    Crash,
    /// Nobody reaches it, and it reaches nobody, but for those who are cut off with it.
    CutOff,
    /// The DNS does not answer it.
    NoDns,
    /// Its disk takes nothing that needs room.
    DiskFull,
    /// Its clock is wrong.
    WrongClock,
    /// Its lines have a hundredth of their speed, and ten times their latency.
    Slow,
    /// The DNS tells it wrongly where others are: at the villain's machine, and with a key that nobody has.
    PoisonedDns,
    /// It gets another key: the DNS names it beside the old one, and in the end the node is stopped and started with it.
    NewKey,
    /// The DNS names its old key no more, from then on.
    OldKeyWithdrawn,
}

/// The sites at which each person has an account.
#[derive(Debug, Default)]
pub struct Accounts<'a>(HashMap<&'a Address, Vec<&'a Site>>);

impl Accounts<'_> {
    /// Whether a person has any.
    #[must_use]
    pub fn has(&self, person: &Address) -> bool {
        self.0.contains_key(person)
    }

    /// The mailboxes among them.
    pub fn mailboxes_of(&self, person: &Address) -> impl Iterator<Item = Locator> {
        let sites = self.0.get(person).into_iter().flatten();
        sites.filter_map(|site| site.locator())
    }
}

impl Traffic {
    /// How many they are, with those that answer others.
    #[must_use]
    pub fn mails(&self) -> usize {
        self.count.saturating_add(self.replies)
    }
}

impl Fault {
    /// Whether it happens to a site while another does, or just when that is over.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let until = |fault: &Self| match fault.how {
            How::OldKeyWithdrawn => fault.stop_before,
            _ => fault.start_before.unwrap_or(usize::MAX),
        };
        other.site == self.site && other.stop_before <= until(self) && self.stop_before <= until(other)
    }

    /// The sites that fail together.
    #[must_use]
    pub fn region(&self) -> Vec<&str> {
        let others = self.with.iter().map(Domain::as_str);
        std::iter::once(self.site.as_str()).chain(others).collect()
    }
}

impl How {
    /// What is told of it, when it begins and when it is over.
    #[must_use]
    pub fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Stop => ("stopped", "started"),
            Self::Crash => ("crashed", "started"),
            Self::CutOff => ("cut off", "connected again"),
            Self::NoDns => ("left without DNS", "given DNS again"),
            Self::DiskFull => ("left without room on its disk", "given room again"),
            Self::WrongClock => ("given the wrong time", "given the right time again"),
            Self::Slow => ("slowed down", "as fast again"),
            Self::PoisonedDns => ("given wrong answers by the DNS", "given right answers again"),
            Self::NewKey => ("given a second key in the DNS", "started with its new key"),
            Self::OldKeyWithdrawn => (
                "left without its old key in the DNS",
                "known by its new key alone",
            ),
        }
    }
}

const fn patience() -> u64 {
    120
}

const fn promptly() -> u64 {
    120
}

const fn concurrent() -> usize {
    4
}

const fn one() -> usize {
    1
}

fn channels() -> BTreeMap<ChannelName, u32> {
    BTreeMap::from([(ChannelName::WebThenSmtp, 1)])
}

/// What a shipped scenario shows.
#[must_use]
pub fn description(text: &str) -> String {
    let read: Result<Scenario, _> = toml::from_str(text);
    read.map(|scenario| scenario.description).unwrap_or_default()
}

impl Scenario {
    /// The shipped scenario of this name, or the one in this file.
    ///
    /// # Errors
    /// When there is none, or it is wrong.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            return Self::read(name, text);
        }
        let path = Path::new(name);
        if !path.exists() && path.extension().is_none() {
            let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            bail!(
                "{name} is no shipped scenario ({}), and no file",
                names.join(", ")
            );
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
        Self::read(name, &text)
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn read(name: &str, text: &str) -> anyhow::Result<Self> {
        let mut scenario: Self = toml::from_str(text).map_err(|why| anyhow::anyhow!("{name}: {why}"))?;
        name.clone_into(&mut scenario.name);
        scenario.check().with_context(|| name.to_owned())?;
        Ok(scenario)
    }

    /// Whether it can be run, as [`Scenario::read`] makes sure.
    ///
    /// # Errors
    /// Names the key.
    pub fn check(&self) -> Result<(), Wrong> {
        check::check(self)
    }

    /// The scenario as TOML, which [`Scenario::read`] takes.
    ///
    /// # Errors
    /// When it cannot be written so.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The machine from which harm is done, if anybody wants to.
    #[must_use]
    pub fn villain(&self) -> Option<SitePlan> {
        let plan = SitePlan::new(VILLAIN).with_mailbox().with_broker();
        self.has_villain().then_some(plan)
    }

    fn has_villain(&self) -> bool {
        let mut faults = self.faults.iter();
        !self.hostile.is_empty() || faults.any(|fault| fault.how == How::PoisonedDns)
    }

    /// Everybody who has an account anywhere.
    #[must_use]
    pub fn everybody(&self) -> Vec<Address> {
        let mut seen = BTreeSet::new();
        let people = self.sites.iter().flat_map(|site| &site.people);
        people
            .filter(|person| seen.insert(person.to_string()))
            .cloned()
            .collect()
    }

    /// How many mails are written.
    #[must_use]
    pub fn mails(&self) -> usize {
        self.traffic
            .iter()
            .fold(0, |all, traffic| all.saturating_add(traffic.mails()))
    }

    /// Before which mail somebody can do harm at the earliest: whoever abuses a mail needs one that was written.
    pub(crate) fn first_before(&self, hostile: &Hostile) -> usize {
        let against = self.sites.iter().find(|site| site.name == hostile.against);
        let is_mailbox = against.is_some_and(|site| site.mailbox);
        if hostile.role.abuses_mail(is_mailbox) {
            2
        } else {
            1
        }
    }

    /// What happened last to the keys of a site before this befalls it.
    pub(crate) fn last_of_keys(&self, fault: &Fault) -> Option<How> {
        let over = |other: &&Fault| match other.how {
            How::NewKey => other.start_before.is_some_and(|start| start <= fault.stop_before),
            How::OldKeyWithdrawn => other.stop_before < fault.stop_before,
            _ => false,
        };
        let theirs = self.faults.iter().filter(|other| other.site == fault.site);
        let last = theirs
            .filter(over)
            .max_by_key(|other| other.start_before.unwrap_or(other.stop_before));
        last.map(|last| last.how)
    }

    /// Who has accounts where.
    #[must_use]
    pub fn accounts(&self) -> Accounts<'_> {
        let mut accounts = Accounts::default();
        for site in &self.sites {
            for person in &site.people {
                accounts.0.entry(person).or_default().push(site);
            }
        }
        accounts
    }

    /// What a person wishes.
    #[must_use]
    pub fn wishes_of(&self, person: &Address, accounts: &Accounts<'_>) -> Preferences {
        match self.wishes.iter().find(|wishes| wishes.person == *person) {
            Some(wishes) => Preferences {
                rules: wishes.rules.clone(),
                default: wishes.default.clone(),
            },
            None => Preferences {
                rules: Vec::new(),
                default: accounts.mailboxes_of(person).collect(),
            },
        }
    }

    /// The sites as the harness builds them.
    #[must_use]
    pub fn site_plans(&self) -> Vec<SitePlan> {
        let plan = |site: &Site| {
            let mut plan = SitePlan::new(site.name.as_str());
            plan.people.clone_from(&site.people);
            if site.mailbox {
                plan = plan.with_mailbox();
            }
            if site.broker {
                plan = plan.with_broker();
            }
            plan
        };
        self.sites.iter().map(plan).collect()
    }
}

impl Site {
    /// Its Resource Mailbox, if it has one.
    #[must_use]
    pub fn locator(&self) -> Option<Locator> {
        let locator = Locator::parse(&format!("mailbox.{}", self.name)).ok();
        locator.filter(|_| self.mailbox)
    }
}
