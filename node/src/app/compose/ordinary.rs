//! Recipients whose domains have no Cargomail: they get an ordinary message, with the content in it (DESIGN §7).
//!
//! What always holds: who they are, and whether they may get all of the letter, is known before anything is stored; nobody who has
//! Cargomail gets content by their provider; what leaves in the message was checked octet by octet against what the placeholder names.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::placeholder::{Placeholder, TransferEncoder, TransferEncoding};

use super::{ComposeError, Letter, described, opened, with_whole_line_ends};
use crate::api::{Channel, DomainsView};
use crate::app::read::{self, ReadError};
use crate::app::{App, AppError, Session, Watch};

/// Octets of a message beside its content and what its author writes into header fields, and of those of each part.
const AROUND: u64 = 4 * 1024;
const AROUND_PART: u64 = 1024;
/// Octets that are read at a time.
const CHUNK: usize = 64 * 1024;

/// Who gets a placeholder, and who an ordinary message, in groups that share one copy.
#[derive(Debug, Default)]
pub(super) struct Divided {
    pub(super) envelopes: Vec<Vec<Address>>,
    pub(super) ordinary: Vec<Vec<Address>>,
    /// Domains that were not looked up, because the profile has no broker that could.
    unasked: Vec<Domain>,
    /// The largest ordinary message that leaves, octets.
    largest: u64,
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
    /// Divides the recipients by what their domains are. Where nobody can say it, all get placeholders.
    ///
    /// # Errors
    /// [`ComposeError::Unknown`]; [`ComposeError::App`] when the broker does not answer.
    pub(super) async fn divide(
        &self,
        groups: Vec<Vec<Address>>,
        channel: Option<Channel>,
    ) -> Result<Divided, ComposeError> {
        let broker = self.broker().ok();
        // That a broker's own domain has Cargomail need not be asked.
        let own = broker.as_ref().map(|_| self.profile.address.domain());
        let domains = groups.iter().flatten().map(Address::domain);
        let domains: BTreeSet<Domain> = domains.filter(|domain| Some(*domain) != own).cloned().collect();
        let domains: Vec<Domain> = domains.into_iter().collect();
        let asked = match broker {
            _ if domains.is_empty() => Some(DomainsView::default()),
            None => None,
            Some(broker) => match broker.domains(domains.clone()).await {
                // A node of before ordinary messages left it.
                Err(AppError::Said { status: 404, .. }) => None,
                asked => Some(asked?),
            },
        };
        let unasked = if asked.is_none() { domains } else { Vec::new() };
        let known = asked.unwrap_or_default();
        // What may go by the web channel only needs no guess, and waits for the DNS in the queue.
        if !known.unknown.is_empty() && channel != Some(Channel::Web) {
            return Err(ComposeError::Unknown(listed(&known.unknown)));
        }
        let mut divided = Divided {
            unasked,
            largest: known.largest_ordinary as u64,
            ..Divided::default()
        };
        for group in groups {
            let (without, with): (Vec<_>, Vec<_>) = group
                .into_iter()
                .partition(|address| known.ordinary.contains(address.domain()));
            let some = |group: Vec<Address>| Some(group).filter(|group| !group.is_empty());
            divided.envelopes.extend(some(with));
            divided.ordinary.extend(some(without));
        }
        Ok(divided)
    }
}

impl Divided {
    /// Whether those without Cargomail may get the letter.
    pub(super) fn check(&self, letter: &Letter) -> Result<(), ComposeError> {
        if letter.only_cargomail && !self.unasked.is_empty() {
            return Err(ComposeError::NobodyToAsk(listed(&self.unasked)));
        }
        if self.ordinary.is_empty() {
            return Ok(());
        }
        if letter.only_cargomail || letter.channel == Some(Channel::Web) {
            return Err(ComposeError::OnlyCargomail(self.without()));
        }
        if self.largest == 0 {
            return Err(ComposeError::NoOrdinary(self.without()));
        }
        let mut size = AROUND + around(letter);
        // In the place of a file's name stands its CID.
        let references = letter
            .html
            .as_ref()
            .map_or(0, |html| html.matches("cid:").count());
        size += 64 * references as u64;
        for body in letter.text.iter().chain(&letter.html) {
            let body = with_whole_line_ends(body);
            let encoded = self.encoded(body.as_bytes(), TransferEncoding::QuotedPrintable);
            size += AROUND_PART + encoded.map_err(ReadError::Write)?;
        }
        for path in letter.inline.iter().chain(&letter.files) {
            let (file, octets) = opened(path)?;
            let encoding = TransferEncoding::suited_to(&described(path)?.media_type());
            let encoded = match encoding {
                // 57 octets make a line (RFC 2045 §6.8).
                TransferEncoding::Base64 => Ok(octets.div_ceil(57).saturating_mul(78)),
                _ => self.encoded(file, encoding),
            };
            let encoded = encoded.map_err(|why| AppError::File {
                path: path.clone(),
                why,
            })?;
            let name = 4 * path.as_os_str().len() as u64;
            size = size.saturating_add(AROUND_PART + name).saturating_add(encoded);
        }
        self.fits(size)
    }

    /// Octets of these in a message; of many more than may leave, some.
    fn encoded(&self, mut octets: impl Read, encoding: TransferEncoding) -> std::io::Result<u64> {
        let mut encoder = TransferEncoder::new(encoding);
        let (mut size, mut out, mut chunk) = (0, Vec::new(), vec![0; CHUNK]);
        while size <= self.largest {
            let count = octets.read(&mut chunk)?;
            if count == 0 {
                encoder.finish(&mut out);
                return Ok(size + out.len() as u64);
            }
            encoder.write(chunk.get(..count).unwrap_or_default(), &mut out);
            size += out.len() as u64;
            out.clear();
        }
        Ok(size)
    }

    fn fits(&self, size: u64) -> Result<(), ComposeError> {
        match size <= self.largest {
            true => Ok(()),
            false => Err(ComposeError::TooLarge {
                recipients: self.without(),
                largest: self.largest,
            }),
        }
    }

    /// Those without Cargomail, for people.
    fn without(&self) -> String {
        listed(self.ordinary.iter().flatten())
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
        // A file may have grown since it was looked at.
        self.fits(message.len() as u64)?;
        Ok(Some(OrdinaryCopy {
            envelopes: self.ordinary.clone(),
            message,
        }))
    }
}

/// Octets of what the author writes into header fields, as encoded words where it is long.
fn around(letter: &Letter) -> u64 {
    let people = letter.to.iter().chain(&letter.cc).map(|one| {
        let name = one.name.as_ref().map_or(0, String::len);
        4 * name + one.address.to_string().len() + 40
    });
    let all = people.sum::<usize>() + 4 * letter.subject.len();
    all as u64
}

fn listed<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    all.join(", ")
}
