//! Recipients whose domains have no Cargomail: they get an ordinary message, with the content in it (DESIGN §7).
//!
//! What always holds: who they are is known before anything is stored; nobody who has Cargomail gets content by their provider; what
//! leaves in the message was checked octet by octet against what the placeholder names.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::placeholder::Placeholder;

use super::{ComposeError, Letter, opened};
use crate::api::{Channel, DomainsView};
use crate::app::{App, AppError, Session, Watch, read};

/// Octets of a message beside its content: header fields, and those of a few parts.
const AROUND: u64 = 4 * 1024;

/// Who gets a placeholder, and who an ordinary message, in groups that share one copy.
#[derive(Debug, Default)]
pub(super) struct Divided {
    pub(super) envelopes: Vec<Vec<Address>>,
    pub(super) ordinary: Vec<Vec<Address>>,
    /// Domains of which it is not known whether they have Cargomail.
    pub(super) unknown: Vec<Domain>,
    /// The largest ordinary message that leaves, octets.
    pub(super) largest: usize,
}

/// A message for recipients whose domains have no Cargomail.
#[derive(Debug, Clone)]
pub struct OrdinaryCopy {
    /// Who gets it, in groups.
    pub envelopes: Vec<Vec<Address>>,
    /// The message with its content.
    pub message: Vec<u8>,
}

impl App {
    /// Divides the recipients by what their domains are. Where the profile has no broker that could say it, all get placeholders.
    pub(super) async fn divide(&self, groups: Vec<Vec<Address>>) -> Result<Divided, ComposeError> {
        let own = self.profile.address.domain();
        let domains = groups.iter().flatten().map(Address::domain);
        let domains: BTreeSet<Domain> = domains.filter(|domain| *domain != own).cloned().collect();
        let known = match self.broker() {
            Ok(broker) if !domains.is_empty() => broker.domains(domains.into_iter().collect()).await,
            _ => Ok(DomainsView::default()),
        };
        let known = match known {
            // A node of before ordinary messages left it.
            Err(AppError::Said { status: 404, .. }) => DomainsView::default(),
            known => known?,
        };
        let mut divided = Divided {
            unknown: known.unknown,
            largest: known.largest_ordinary,
            ..Divided::default()
        };
        for group in groups {
            let (without, with): (Vec<_>, Vec<_>) = group
                .into_iter()
                .partition(|address| known.ordinary.contains(address.domain()));
            divided
                .envelopes
                .extend(Some(with).filter(|some| !some.is_empty()));
            divided
                .ordinary
                .extend(Some(without).filter(|some| !some.is_empty()));
        }
        Ok(divided)
    }
}

impl Divided {
    /// Whether those without Cargomail may get the letter, as far as that is known before anything is stored.
    pub(super) fn check(&self, letter: &Letter) -> Result<(), ComposeError> {
        if self.ordinary.is_empty() {
            return Ok(());
        }
        if letter.only_cargomail || letter.channel == Some(Channel::Web) {
            return Err(ComposeError::OnlyCargomail(self.without()));
        }
        if self.largest == 0 {
            return Err(ComposeError::NoOrdinary(self.without()));
        }
        let bodies = letter.text.iter().chain(&letter.html);
        let mut content: u64 = bodies.map(|body| body.len() as u64).sum();
        for path in letter.inline.iter().chain(&letter.files) {
            let (_, size) = opened(Path::new(path))?;
            content += size;
        }
        // In base64, 57 octets make a line (RFC 2045 §6.8).
        self.fits(content.div_ceil(57).saturating_mul(78).saturating_add(AROUND))
    }

    fn fits(&self, size: u64) -> Result<(), ComposeError> {
        match size <= self.largest as u64 {
            true => Ok(()),
            false => Err(ComposeError::TooLarge {
                recipients: self.without(),
                size,
                largest: self.largest as u64,
            }),
        }
    }

    /// Those without Cargomail, for people.
    fn without(&self) -> String {
        let all: Vec<String> = self.ordinary.iter().flatten().map(Address::to_string).collect();
        all.join(", ")
    }

    /// The message for them: the placeholder's, with what was posted in the places where it stands.
    pub(super) async fn copy(
        &self,
        placeholder: &Placeholder,
        origin: &Session,
        watch: &Arc<dyn Watch>,
    ) -> Result<Option<OrdinaryCopy>, ComposeError> {
        if self.ordinary.is_empty() {
            return Ok(None);
        }
        let mut message = Vec::new();
        read::write_out(placeholder, origin, &mut message, watch).await?;
        self.fits(message.len() as u64)?;
        Ok(Some(OrdinaryCopy {
            envelopes: self.ordinary.clone(),
            message,
        }))
    }
}
