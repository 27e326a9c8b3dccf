//! DKIM signatures over what this node sends: Ed25519-SHA256 (RFC 8463) with the node's key, relaxed/relaxed (RFC 6376).

use std::fmt;
use std::sync::Arc;

use cargomail_protocol::address::Domain;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::placeholder::{CATEGORY, Headers, ORIGIN, STRUCTURE};
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{DkimSigner, Done};

use crate::identity::Identity;

/// What is signed, and what therefore cannot be added behind the signer's back either, nor a second time (RFC 6376 §5.4.1, §8.15).
/// The destination header is never among them: the recipient's broker adds it (`spec/placeholder.md`).
const SIGNED: [&str; 16] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "In-Reply-To",
    "References",
    ORIGIN,
    CATEGORY,
    STRUCTURE,
];

/// A message could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the message cannot be signed: {0}")]
pub struct DkimError(String);

impl Faulty for DkimError {
    fn fault(&self) -> Fault {
        Fault::Malformed
    }
}

/// Signs for one domain. Cheap to clone.
#[derive(Clone)]
pub struct Dkim {
    signer: Arc<DkimSigner<Ed25519Key, Done>>,
    public: [u8; 32],
}

impl fmt::Debug for Dkim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let template = &self.signer.template;
        write!(f, "Dkim({}._domainkey.{})", template.s, template.d)
    }
}

impl Dkim {
    /// A signer whose key stands at `<selector>._domainkey.<domain>`.
    #[must_use]
    pub fn new(identity: &Identity, domain: Domain, selector: &str) -> Self {
        let public = identity.public();
        let key = Ed25519Key::from_seed_and_public_key(identity.seed(), &public)
            .expect("the identity's public key is the one of its seed");
        let signer = DkimSigner::from_key(key)
            .domain(domain)
            .selector(selector)
            // The second of each name stands for a field that is not there.
            .headers(SIGNED.into_iter().flat_map(|name| [name; 2]));
        Self {
            signer: Arc::new(signer),
            public,
        }
    }

    /// The message with a signature on top.
    ///
    /// # Errors
    /// [`DkimError`] when it has nothing to sign, or no author.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DkimError> {
        let headers = Headers::of_message(message).map_err(|error| DkimError(error.to_string()))?;
        if headers.all("From").count() != 1 {
            return Err(DkimError("it has not one author".to_owned()));
        }
        let signature = self
            .signer
            .sign(message)
            .map_err(|error| DkimError(error.to_string()))?;
        let mut signed = signature.to_header().into_bytes();
        signed.extend_from_slice(message);
        Ok(signed)
    }

    /// The TXT record to publish at `<selector>._domainkey.<domain>`.
    #[must_use]
    pub fn record(&self) -> String {
        let key = data_encoding::BASE64.encode(&self.public);
        format!("v=DKIM1; k=ed25519; h=sha256; p={key}")
    }
}
