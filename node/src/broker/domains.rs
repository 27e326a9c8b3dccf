//! Which domains have Cargomail, and how large an ordinary message may be that goes to those that have none (DESIGN §7).
//!
//! What always holds: a domain that has any record of GRIP in the DNS, also one of another version or one that binds nothing, is never
//! taken for one without Cargomail, nor is one about which the DNS gives no answer: content that need not pass a provider does not.

use std::time::Duration;

use cargomail_protocol::address::{ClientId, Domain};
use cargomail_protocol::limits;
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::{Broker, BrokerError};
use crate::api::{Channel, DomainsView};
use crate::dns::{Dns, DnsError};
use crate::publish::SERVICE;

/// Domains about which the DNS is asked at once.
const AT_ONCE: usize = 64;
/// So long it is asked about one of them: about which it has said nothing then is not known.
const ASKED: Duration = Duration::from_secs(12);
/// And about all of them: a program waits a minute for an answer.
const ASKED_IN_ALL: Duration = Duration::from_secs(45);

/// What a domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cargomail,
    Ordinary,
    Unknown,
}

impl Broker {
    /// What each of these domains is, and how large an ordinary message may be that leaves from here.
    ///
    /// # Errors
    /// [`BrokerError::Recipients`]: more domains than a message has recipients.
    pub async fn domains(&self, asked: Vec<Domain>) -> Result<DomainsView, BrokerError> {
        if asked.len() > limits::SHARE_RECIPIENTS {
            return Err(BrokerError::Recipients);
        }
        let end = Instant::now() + ASKED_IN_ALL;
        let kinds = futures::stream::iter(asked.into_iter().enumerate()).map(async |(place, domain)| {
            let until = end.min(Instant::now() + ASKED);
            let kind = timeout_at(until, self.kind(&domain)).await;
            (place, domain, kind.unwrap_or(Kind::Unknown))
        });
        let mut kinds: Vec<_> = Box::pin(kinds.buffer_unordered(AT_ONCE)).collect().await;
        kinds.sort_by_key(|(place, ..)| *place);
        let mut view = DomainsView {
            largest_ordinary: self.largest_ordinary(),
            ..DomainsView::default()
        };
        for (_, domain, kind) in kinds {
            match kind {
                Kind::Cargomail => view.cargomail.push(domain),
                Kind::Ordinary => view.ordinary.push(domain),
                Kind::Unknown => view.unknown.push(domain),
            }
        }
        Ok(view)
    }

    /// 0 where mail leaves by the web channel only.
    pub(super) fn largest_ordinary(&self) -> usize {
        match self.options.channel {
            Channel::Web => 0,
            Channel::Smtp | Channel::WebThenSmtp => self.options.ordinary,
        }
    }

    async fn kind(&self, domain: &Domain) -> Kind {
        if *domain == self.options.domain {
            return Kind::Cargomail;
        }
        kind_of(&*self.needs.dns, domain).await.unwrap_or_else(|error| {
            tracing::warn!(%domain, %error, "whether the domain has Cargomail is not known");
            Kind::Unknown
        })
    }
}

/// One question where the domain has Cargomail, all three where it has none.
async fn kind_of(dns: &dyn Dns, domain: &Domain) -> Result<Kind, DnsError> {
    for name in [ClientId::broker(domain).to_string(), format!("_grip.{domain}")] {
        match dns.txt(&name).await {
            Ok(answer) if answer.records.iter().any(|text| is_grip(text)) => return Ok(Kind::Cargomail),
            Ok(_) | Err(DnsError::NoRecord { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    match dns.srv(&format!("{SERVICE}.{domain}")).await {
        Ok(_) => Ok(Kind::Cargomail),
        Err(DnsError::NoRecord { .. }) => Ok(Kind::Ordinary),
        Err(error) => Err(error),
    }
}

/// Whether a text is meant to be a record of GRIP, of whatever version.
fn is_grip(text: &str) -> bool {
    let tag = text.split_once('=');
    tag.is_some_and(|(name, value)| name.trim() == "v" && value.trim_start().starts_with("grip"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_meant_for_grip_is_none_of_anybody_else() {
        for text in [
            "v=grip1; h=sha256; p=00",
            "v=grip1; h=sha256; p=",
            "v=grip1",
            " v = grip2; x=1",
        ] {
            assert!(is_grip(text), "{text}");
        }
        for text in ["v=spf1 -all", "", "grip1", "v1=grip1", "x=v=grip1"] {
            assert!(!is_grip(text), "{text}");
        }
    }
}
