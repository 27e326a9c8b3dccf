//! Who wrote an inbound message, as far as SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 9989) can tell.
//!
//! The judging is `mail-auth`'s; what it asks the DNS is asked through this node's own port, see [`answers`]. Not here:
//! what follows from it. What always holds: an author is named only for a message with one From field with one address in
//! it, which two parsers read alike, and whose domain the sending server or a signature that covers From vouches for
//! (row S10).

mod answers;

use std::fmt;
use std::sync::{Arc, OnceLock};

use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::limits;
use cargomail_protocol::placeholder::{Headers, mailboxes};
use mail_auth::common::crypto::Algorithm;
use mail_auth::dkim::Signature;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, AuthenticationResults, DkimOutput, DkimResult, DmarcOutput, DmarcResult,
    MessageAuthenticator, SpfOutput, SpfResult,
};

use super::Mail;
use crate::dns::Dns;
use answers::Answers;

/// What SPF, DKIM and DMARC say of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// The domain of the From address, when SPF or DKIM vouches for it: aligned as the domain's DMARC record says,
    /// whatever its policy is; the very same domain, when it has none.
    pub author: Option<Domain>,
    /// The body of an Authentication-Results field (RFC 8601).
    pub results: String,
    /// Nobody vouches for the author, whose domain asks with its DMARC record to have such messages quarantined or rejected.
    pub disowned: bool,
    /// Nobody is named as the author, and a DNS answer that could have changed that did not come: try again later.
    pub temporary: bool,
}

/// Judges inbound messages. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    dns: Arc<dyn Dns>,
    host: String,
    judge: MessageAuthenticator,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authenticator({})", self.host)
    }
}

/// What the three found.
struct Findings<'x> {
    spf: SpfOutput,
    dkim: Vec<DkimOutput<'x>>,
    dmarc: DmarcOutput,
}

impl Authenticator {
    /// A judge that signs its results with this host's name.
    #[must_use]
    pub fn new(dns: Arc<dyn Dns>, host: String) -> Self {
        let judge = answers::judge();
        Self { dns, host, judge }
    }

    /// What SPF, DKIM and DMARC say of this message.
    pub async fn authenticate(&self, mail: &Mail) -> Authentication {
        let distrust = OnceLock::new();
        let judging = Box::pin(self.judge(mail, &distrust));
        match tokio::time::timeout(limits::AUTHENTICATION, judging).await {
            Ok(authentication) => authentication,
            // How long it takes, the sender decides too.
            Err(_) => Authentication {
                author: None,
                results: format!("{}; none", self.host),
                disowned: *distrust.get().unwrap_or(&true),
                temporary: true,
            },
        }
    }

    /// `distrust` is told early whether the author's domain wants messages distrusted that nobody vouches for.
    async fn judge(&self, mail: &Mail, distrust: &OnceLock<bool>) -> Authentication {
        let Some(mut message) = AuthenticatedMessage::parse(&mail.message) else {
            return Authentication {
                author: None,
                results: format!("{}; none", self.host),
                disowned: false,
                temporary: false,
            };
        };
        message.dkim_headers.retain(|header| is_sound(&header.header));
        message.dkim_headers.truncate(limits::SIGNATURES);
        message.errors.truncate(limits::SIGNATURES);
        let answers = Answers::new(self.dns.as_ref());
        let sender = mail.sender.as_ref().map(Address::to_string).unwrap_or_default();
        let ip = mail.client.ip().to_canonical();
        let envelope = mail
            .sender
            .as_ref()
            .map_or(mail.helo.as_str(), |sender| sender.domain().as_str());
        // First what the author's domain says: how many questions SPF and DKIM need, the sender decides.
        let (nobody, nothing) = (SpfOutput::new(String::new()), []);
        let policy = self.dmarc(&answers, &message, envelope, &nothing, &nobody).await;
        if !answers.missed() {
            distrust.get_or_init(|| asks_for_distrust(&policy));
        }
        let spf = loop {
            let asked = SpfParameters::verify_mail_from(ip, &mail.helo, &self.host, &sender);
            let spf = self.judge.verify_spf(answers.parameters(asked)).await;
            if answers.complete().await {
                break spf;
            }
        };
        let dkim = loop {
            let dkim = self.judge.verify_dkim(answers.parameters(&message)).await;
            if answers.complete().await {
                break dkim;
            }
        };
        let dmarc = self.dmarc(&answers, &message, envelope, &dkim, &spf).await;
        let author = the_author(&mail.message, &message);
        let findings = Findings { spf, dkim, dmarc };
        let vouched = author
            .as_ref()
            .is_some_and(|author| findings.vouch(author, envelope));
        let results = self.results(mail, &findings, &sender, message.from());
        tracing::debug!(client = %mail.client, vouched, results, "authenticated");
        Authentication {
            disowned: !vouched && asks_for_distrust(&findings.dmarc),
            temporary: author.is_some() && !vouched && answers.missed(),
            author: author.filter(|_| vouched),
            results,
        }
    }

    async fn dmarc(
        &self,
        answers: &Answers<'_>,
        message: &AuthenticatedMessage<'_>,
        envelope: &str,
        dkim_output: &[DkimOutput<'_>],
        spf_output: &SpfOutput,
    ) -> DmarcOutput {
        loop {
            let asked = DmarcParameters {
                message,
                dkim_output,
                dkim2_output: None,
                rfc5321_mail_from_domain: envelope,
                spf_output,
            };
            let dmarc = self.judge.verify_dmarc(answers.parameters(asked)).await;
            if answers.complete().await {
                return dmarc;
            }
        }
    }

    fn results(&self, mail: &Mail, findings: &Findings<'_>, sender: &str, from: &str) -> String {
        let ip = mail.client.ip().to_canonical();
        AuthenticationResults::new(&self.host)
            .with_spf_mailfrom_result(&findings.spf, ip, sender, &mail.helo)
            .with_dkim_results(&findings.dkim, from)
            .with_dmarc_result(&findings.dmarc)
            .to_string()
    }
}

impl Findings<'_> {
    /// Whether SPF or DKIM vouches for the author's domain.
    fn vouch(&self, author: &Domain, envelope: &str) -> bool {
        if self.dmarc.dmarc_record().is_some() {
            let pass = [self.dmarc.spf_result(), self.dmarc.dkim_result()].contains(&&DmarcResult::Pass);
            return pass && self.dmarc.domain() == author.as_str();
        }
        let same = |name: &str| Domain::parse(name).is_ok_and(|name| name == *author);
        let signed = self.dkim.iter().any(|output| {
            let domain = output.signature().map(|signature| signature.d.as_str());
            *output.result() == DkimResult::Pass && domain.is_some_and(same)
        });
        signed || (self.spf.result() == SpfResult::Pass && same(envelope))
    }
}

/// Whether the author's domain has a DMARC policy for messages that nobody vouches for. `reject` is one too (RFC 9989 has receivers that
/// know nothing else of a message treat it as `quarantine`: it may have come through a mailing list).
fn asks_for_distrust(dmarc: &DmarcOutput) -> bool {
    matches!(dmarc.policy(), Policy::Quarantine | Policy::Reject)
}

/// Whether a signature can vouch for anything: it covers From, and is not made with SHA-1 (RFC 8301).
fn is_sound(signature: &Signature) -> bool {
    let from = signature.h.iter().any(|name| name.eq_ignore_ascii_case("from"));
    from && signature.a != Algorithm::RsaSha1
}

/// The domain of the one address in the one From field, when both parsers see the same one.
fn the_author(octets: &[u8], message: &AuthenticatedMessage<'_>) -> Option<Domain> {
    let headers = Headers::of_message(octets).ok()?;
    let mut fields = headers.all("From");
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return None;
    };
    let mut listed = mailboxes(&field.unfolded()).ok()?;
    let (Some(mailbox), true) = (listed.pop(), listed.is_empty()) else {
        return None;
    };
    let [seen] = message.froms() else { return None };
    let seen = Address::parse(seen).ok()?;
    (seen.domain() == mailbox.address.domain()).then(|| seen.domain().clone())
}
