//! `cargomail grip issue`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cargomail_protocol::address::{Address, ClientId, Domain};
use cargomail_protocol::grip::{Claims, Digest, Statement, issue};
use cargomail_protocol::limits;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::super::{Everywhere, value};
use super::{digest_of, token_of};
use crate::clock::{SystemClock, SystemRandomness};
use crate::grip::Signer;
use crate::identity::Identity;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Token 0: the broker of --subject's domain gives a message to another broker
    Channel,
    /// Token 1: the broker of --subject's domain notifies an agent
    Notify,
    /// Token 2: an agent fetches, by the token 1 in --inside
    Fetch,
    /// Token 3: an agent acknowledges what the token 1 in --inside spoke of
    Receipt,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail grip issue notify --subject bob@bar.test --audience mailbox.insurance.test --digest-of notification.json
  cargomail grip issue fetch --agent insurance.test --audience mailbox.hospital.test --inside token1.txt --digest-of notification.json
  cargomail grip issue channel --subject alice@foo.test --audience bar.test --recipient bob@bar.test --digest-of message.eml")]
pub(in crate::cli) struct IssueArgs {
    /// Which token
    kind: Kind,
    /// Who it is for: a domain or a locator
    #[arg(long, value_name = "NAME")]
    audience: Domain,
    /// Tokens 0 and 1: the person for whom the broker speaks
    #[arg(long, value_name = "ADDRESS")]
    subject: Option<Address>,
    /// Token 0: a recipient of the message; may stand several times
    #[arg(long, value_name = "ADDRESS")]
    recipient: Vec<Address>,
    /// Tokens 2 and 3: the domain whose agent speaks; by default that of the node's mailbox
    #[arg(long, value_name = "DOMAIN")]
    agent: Option<Domain>,
    /// Tokens 2 and 3: the token 1, a file that holds it, or `-`
    #[arg(long, value_name = "TOKEN")]
    inside: Option<String>,
    /// The octets that it speaks of: a notification or a message; by default none at all
    #[arg(long, value_name = "FILE")]
    digest_of: Option<PathBuf>,
    /// How long it is valid
    #[arg(long, default_value = "5m", value_parser = value::duration, value_name = "TIME")]
    life: Duration,
}

impl IssueArgs {
    pub(super) fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let settings = everywhere.settings()?;
        let identity = Identity::open(&settings.key)?;
        let signer = Signer::new(&identity, Arc::new(SystemClock), Arc::new(SystemRandomness))?;
        let stamp = signer.stamp();
        let agent = self
            .agent
            .clone()
            .or_else(|| settings.mailbox.map(|mailbox| mailbox.domain));
        let digest = match &self.digest_of {
            Some(file) => digest_of(file)?,
            None => Digest::of(b""),
        };
        let expires = stamp.now.plus(self.life.min(limits::NOTIFY_TOKEN_LIFE));
        let subject = || self.subject.clone().context("name the person with --subject");
        let inside = || token_of(self.inside.as_deref().context("give the token 1 with --inside")?);
        let agent = || {
            let domain = agent.as_ref().context("name the agent's domain with --agent")?;
            anyhow::Ok(ClientId::agent(domain))
        };
        let (issuer, statement) = match self.kind {
            Kind::Channel => {
                let sender = subject()?;
                let recipients = self.recipient.clone();
                let issuer = ClientId::broker(sender.domain());
                let statement = Statement::Channel {
                    sender,
                    recipients,
                    expires,
                };
                (issuer, statement)
            }
            Kind::Notify => {
                let recipient = subject()?;
                let issuer = ClientId::broker(recipient.domain());
                (issuer, Statement::Notify { recipient, expires })
            }
            Kind::Fetch => {
                let notify = inside()?;
                (agent()?, Statement::Fetch { notify, expires })
            }
            Kind::Receipt => (agent()?, Statement::Receipt { notify: inside()? }),
        };
        let claims = Claims {
            issuer,
            audience: self.audience,
            issued: stamp.now,
            id: stamp.id,
            digest,
            statement,
        };
        let token = issue(signer.key(), &claims)?;
        everywhere
            .out()
            .one(&json!({ "token": token }), |_| format!("{token}\n"))
    }
}
