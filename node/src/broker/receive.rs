//! Step 5 by SMTP: who may give mail to this broker, and what its sender is believed to be.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::channel::Outcome;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::placeholder;

use super::accept::{Arrival, Came, Proof};
use super::{Broker, BrokerError};
use crate::smtp::{Mail, Receiver};

/// When some recipients of a transaction are gone since RCPT, or cannot be looked up now, the client repeats it; RCPT then
/// names them.
const AGAIN: Fault = Fault::TryLater(Duration::from_secs(60));

impl Broker {
    fn trusts(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.options
            .trusted
            .iter()
            .any(|network| network.contains(client))
    }

    async fn receive(&self, mail: Mail) -> Result<Vec<Outcome>, BrokerError> {
        let proof = if self.trusts(mail.client.ip()) {
            Proof::Trusted
        } else {
            let judged = self.needs.authenticator.authenticate(&mail).await;
            // While the DNS is silent nobody can tell a forged message from a real one: a placeholder comes again later, and an ordinary
            // message where that matters.
            let matters = judged.disowned || placeholder::is_placeholder(&mail.message);
            if judged.author.is_none() && judged.temporary && matters {
                return Err(BrokerError::NotNow);
            }
            Proof::Judged(judged)
        };
        let arrival = Arrival {
            message: mail.message,
            sender: mail.sender,
            came: Came::Smtp {
                client: mail.client,
                helo: mail.helo,
                tls: mail.tls,
                proof,
            },
        };
        self.accept(arrival, &mail.recipients, None).await
    }
}

#[async_trait]
impl Receiver for Broker {
    fn domain(&self) -> Domain {
        self.options.domain.clone()
    }

    /// Never a relay: mail for other domains is refused whoever brings it (row S04).
    async fn recipient(
        &self,
        client: SocketAddr,
        _sender: Option<&Address>,
        recipient: &Address,
    ) -> Result<(), Fault> {
        let taken = self.takes(recipient).await;
        if let Err(fault) = taken {
            tracing::info!(%client, %recipient, ?fault, step = "accept", "a recipient was refused");
        }
        taken
    }

    async fn message(&self, mail: Mail) -> Result<(), Fault> {
        let client = mail.client;
        let outcomes = self.receive(mail).await.map_err(|error| {
            tracing::info!(%client, %error, step = "accept", "a message was not taken");
            error.fault()
        })?;
        if outcomes.iter().all(|outcome| *outcome == Outcome::Accepted) {
            return Ok(());
        }
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_));
        Err(match outcomes.iter().all(refused) {
            false => AGAIN,
            true if outcomes.contains(&Outcome::of(Fault::OverQuota)) => Fault::OverQuota,
            true => Fault::NoSuchUser,
        })
    }
}
