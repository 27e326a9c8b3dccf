//! Sending by an SMTP server instead of the broker: the profile's `submission`. It keeps no copy in the Sent folder.

use cargomail_protocol::address::Address;

use super::compose::{ComposeError, Composed};
use super::{App, AppError};
use crate::network::AddressPolicy;
use crate::smtp::{Client, ClientOptions, Delivery, Said};

/// Recipients whom a server did not take a message for, each with what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken(Vec<(Address, String)>);

impl std::fmt::Display for NotTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (recipient, said)) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{recipient}: {said}")?;
        }
        Ok(())
    }
}

impl App {
    /// Gives a letter to the SMTP server at `host:port`, once for each group of recipients.
    pub(super) async fn submit(&self, server: &str, composed: &Composed) -> Result<(), ComposeError> {
        let place = server.rsplit_once(':');
        let place = place.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = place.ok_or_else(|| AppError::Submission(server.to_owned()))?;
        let options = ClientOptions {
            helo: self.profile.address.domain().to_string(),
            port,
            policy: AddressPolicy::public(),
            smart_host: None,
        };
        let client = Client::new(self.world.network.clone(), self.world.dns.clone(), options);
        let mut not_taken = Vec::new();
        for (recipients, message) in composed.copies() {
            let delivery = Delivery {
                sender: Some(self.profile.address.clone()),
                recipients: recipients.to_vec(),
                message,
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            // One group's failure is not the others'.
            match client.smtp(host, port, &delivery).await {
                Err(error) => {
                    let said = error.to_string();
                    not_taken.extend(
                        recipients
                            .iter()
                            .map(|recipient| (recipient.clone(), said.clone())),
                    );
                }
                Ok(said) => {
                    for (recipient, said) in recipients.iter().zip(said) {
                        if let Said::Refused { text, .. } | Said::Later { text } = said {
                            not_taken.push((recipient.clone(), text));
                        }
                    }
                }
            }
        }
        tracing::info!(message_id = %composed.message_id, step = "send", server, "given to the SMTP server");
        match not_taken.as_slice() {
            [] => Ok(()),
            _ => Err(ComposeError::NotTaken(NotTaken(not_taken))),
        }
    }
}
