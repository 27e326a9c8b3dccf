//! Which domains have Cargomail, and what goes to those that have none: ordinary mail, with the content in it (DESIGN §7).
//!
//! What always holds: a domain whose broker has any record of GRIP in the DNS, also one that binds nothing, is never taken for one without
//! Cargomail, nor is one about which the DNS does not answer: content that need not pass a provider does not.

use std::time::Duration;

use cargomail_protocol::address::{ClientId, Domain};
use cargomail_protocol::grip::{Bindings, SkipReason};
use cargomail_protocol::limits;
use futures::StreamExt;

use super::{Broker, BrokerError};
use crate::api::{Channel, DomainsView};
use crate::dns::DnsError;

/// Questions to the DNS at once.
const AT_ONCE: usize = 16;
/// So long the DNS is asked for all of them; about which it has said nothing then is not known.
const ASKED: Duration = Duration::from_secs(15);

/// What a domain is.
#[derive(Clone, Copy)]
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
        let mut view = DomainsView {
            largest_ordinary: match self.options.channel {
                Channel::Web => 0,
                Channel::Smtp | Channel::WebThenSmtp => self.options.ordinary,
            },
            ..DomainsView::default()
        };
        let until = tokio::time::Instant::now() + ASKED;
        let kinds = futures::stream::iter(asked).map(async |domain| {
            let kind = tokio::time::timeout_at(until, self.kind(&domain)).await;
            (domain, kind.unwrap_or(Kind::Unknown))
        });
        let mut kinds = Box::pin(kinds.buffered(AT_ONCE));
        while let Some((domain, kind)) = kinds.next().await {
            match kind {
                Kind::Cargomail => view.cargomail.push(domain),
                Kind::Ordinary => view.ordinary.push(domain),
                Kind::Unknown => view.unknown.push(domain),
            }
        }
        Ok(view)
    }

    async fn kind(&self, domain: &Domain) -> Kind {
        if *domain == self.options.domain {
            return Kind::Cargomail;
        }
        match self.needs.dns.txt(&ClientId::broker(domain).to_string()).await {
            Ok(answer) => match has_grip(&answer.records) {
                true => Kind::Cargomail,
                false => Kind::Ordinary,
            },
            Err(DnsError::NoRecord { .. }) => Kind::Ordinary,
            Err(error) => {
                tracing::warn!(%domain, %error, "whether the domain has Cargomail is not known");
                Kind::Unknown
            }
        }
    }
}

/// Whether any of these texts is meant to be a record of GRIP.
fn has_grip(texts: &[String]) -> bool {
    let bindings = Bindings::read(texts);
    let meant = |reason: SkipReason| reason != SkipReason::NotGrip;
    !bindings.hashes.is_empty() || bindings.skipped.iter().any(|skipped| meant(skipped.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_without_any_record_of_grip_has_none() {
        let has = |texts: &[&str]| has_grip(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let key = format!("v=grip1; h=sha256; p={}", "ab".repeat(32));
        assert!(has(&[&key]) && has(&["v=spf1 -all", &key]));
        for binds_nothing in ["v=grip1; h=sha256; p=", "v=grip1; h=sha3; p=00", "v=grip1"] {
            assert!(has(&[binds_nothing]), "{binds_nothing}");
        }
        for other in [&[][..], &["v=spf1 -all"], &["v=grip2; p=00"], &[""]] {
            assert!(!has(other), "{other:?}");
        }
    }
}
