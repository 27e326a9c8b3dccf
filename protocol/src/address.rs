//! Names: domains, addresses of persons, locators of Resource Mailboxes, client identifiers of services.
//!
//! Not here: what a name resolves to. What always holds: a value of these types is in A-label form, lower case,
//! without a trailing dot, so that comparing two values with `==` compares them as the DNS does (RFC 4343, RFC 5891).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a name was refused. Always the fault of whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than the DNS or SMTP allow (RFC 1035 §2.3.4, RFC 5321 §4.5.3.1).
    #[error("the name is longer than {limit} octets")]
    TooLong {
        /// The bound that was passed, in octets.
        limit: usize,
    },
    /// Not a domain name of at least two labels of letters, digits and hyphens.
    #[error("{0:?} is not a domain name")]
    Domain(String),
    /// Not `local-part@domain`.
    #[error("{0:?} is not an address of the form local@domain")]
    Address(String),
    /// Not a name whose first label starts with an underscore.
    #[error("{0:?} is not a client identifier of the form _service.domain")]
    ClientId(String),
}

/// A domain name in A-label form, lower case, without trailing dot: `bar.com`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

impl Domain {
    /// Reads a domain name, in U-label or A-label form, in any case, with at most one trailing dot.
    ///
    /// # Errors
    /// [`NameError::TooLong`] above 253 octets, [`NameError::Domain`] for anything that is not a host name of at
    /// least two labels (address literals, single labels, underscores, empty labels, numeric top-level labels).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > limits::NAME_INPUT {
            return Err(NameError::TooLong {
                limit: limits::NAME_INPUT,
            });
        }
        let refuse = || NameError::Domain(text.to_owned());
        let bare = text.strip_suffix('.').unwrap_or(text);
        let ascii =
            idna::domain_to_ascii_cow(bare.as_bytes(), idna::AsciiDenyList::STD3).map_err(|_| refuse())?;
        if ascii.len() > limits::NAME {
            return Err(NameError::TooLong { limit: limits::NAME });
        }
        let mut labels = 0;
        let mut last = "";
        for label in ascii.split('.') {
            let fits = (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
            if !fits || !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return Err(refuse());
            }
            labels += 1;
            last = label;
        }
        if labels < 2 || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse());
        }
        Ok(Self(ascii.to_ascii_lowercase()))
    }

    /// The name as text, in A-label form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name equals `other` or is below it, compared label by label: `mail.bar.com` is below
    /// `bar.com`, `evilbar.com` is not.
    #[must_use]
    pub fn is_or_is_below(&self, other: &Domain) -> bool {
        self.0 == other.0
            || self
                .0
                .strip_suffix(&other.0)
                .is_some_and(|rest| rest.ends_with('.'))
    }

    /// Whether the name is a public suffix (`com`, `co.uk`), below which strangers register names.
    #[must_use]
    pub fn is_public_suffix(&self) -> bool {
        psl::suffix(self.0.as_bytes()).is_some_and(|s| s.is_known() && s.as_bytes() == self.0.as_bytes())
    }
}

/// The address of a person, `bob@bar.com`: an identifier, not a place.
///
/// The local part is kept as written; only the domain's own node may give it another meaning (RFC 5321 §2.4).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    local: String,
    domain: Domain,
}

impl Address {
    /// Reads `local@domain`. The local part is a dot-atom (RFC 5321 §4.1.2, RFC 6531 for UTF-8).
    ///
    /// # Errors
    /// [`NameError::Address`] for quoted local parts, source routes, the percent hack, control characters and
    /// anything with other than one `@`; [`NameError::TooLong`] for a local part above 64 octets; the errors of
    /// [`Domain::parse`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refuse = || NameError::Address(text.chars().take(128).collect());
        let (local, domain) = text.rsplit_once('@').ok_or_else(refuse)?;
        if local.len() > limits::LOCAL_PART {
            return Err(NameError::TooLong {
                limit: limits::LOCAL_PART,
            });
        }
        let plain = |c: char| c.is_alphanumeric() || "!#$&'*+-/=?^_`{|}~".contains(c);
        if !local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(plain))
        {
            return Err(refuse());
        }
        Ok(Self {
            local: local.to_owned(),
            domain: Domain::parse(domain)?,
        })
    }

    /// The local part, as written.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
}

/// The name of a Resource Mailbox, `mailbox.insurance.com`: a place, not a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Locator(Domain);

impl Locator {
    /// Reads a locator.
    ///
    /// # Errors
    /// Those of [`Domain::parse`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Domain::parse(text).map(Self)
    }

    /// The locator as a domain name.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.0
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name below which the DNS pin of the locator's server stands: `_grip.<locator>` (`spec/grip.md` §3).
    #[must_use]
    pub fn pin_name(&self) -> String {
        format!("_grip.{}", self.0)
    }
}

/// The name of a service that calls others, `_cb.bar.com`: the CN of its certificate and the `iss` of its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId {
    label: String,
    service: Domain,
}

impl ClientId {
    /// Reads `_label.domain`.
    ///
    /// # Errors
    /// [`NameError::ClientId`] when the first label is not an underscore and 1 to 62 letters, digits or hyphens;
    /// the errors of [`Domain::parse`] for the rest.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refuse = || NameError::ClientId(text.chars().take(128).collect());
        let (label, rest) = text.split_once('.').ok_or_else(refuse)?;
        let name = label.strip_prefix('_').ok_or_else(refuse)?;
        if !(1..=62).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(refuse());
        }
        Ok(Self {
            label: label.to_ascii_lowercase(),
            service: Domain::parse(rest)?,
        })
    }

    /// The identifier of the Cargo Broker of a domain: `_cb.<domain>`.
    #[must_use]
    pub fn broker(domain: &Domain) -> Self {
        Self {
            label: "_cb".to_owned(),
            service: domain.clone(),
        }
    }

    /// The identifier of the Resource Retrieval Agent of a domain: `_rra.<domain>`.
    #[must_use]
    pub fn agent(domain: &Domain) -> Self {
        Self {
            label: "_rra".to_owned(),
            service: domain.clone(),
        }
    }

    /// The service domain: the name without its first label.
    #[must_use]
    pub fn service_domain(&self) -> &Domain {
        &self.service
    }
}

macro_rules! text_form {
    ($type:ty, $show:expr) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let show: fn(&$type, &mut fmt::Formatter<'_>) -> fmt::Result = $show;
                show(self, f)
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}

text_form!(Domain, |d, f| f.write_str(&d.0));
text_form!(Locator, |l, f| f.write_str(l.as_str()));
text_form!(Address, |a, f| write!(f, "{}@{}", a.local, a.domain));
text_form!(ClientId, |c, f| write!(f, "{}.{}", c.label, c.service));

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn domains_compare_as_the_dns_compares() {
        assert_eq!(
            Domain::parse("BAR.com.").unwrap(),
            Domain::parse("bar.com").unwrap()
        );
        assert_eq!(
            Domain::parse("bücher.example").unwrap().as_str(),
            "xn--bcher-kva.example"
        );
        assert!(
            Domain::parse("mail.bar.com")
                .unwrap()
                .is_or_is_below(&Domain::parse("bar.com").unwrap())
        );
        assert!(
            !Domain::parse("evilbar.com")
                .unwrap()
                .is_or_is_below(&Domain::parse("bar.com").unwrap())
        );
        assert!(
            !Domain::parse("bar.com.evil.net")
                .unwrap()
                .is_or_is_below(&Domain::parse("bar.com").unwrap())
        );
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for bad in [
            "",
            "com",
            ".",
            "a..b",
            "-a.b",
            "a_b.c",
            "127.0.0.1",
            "[::1]",
            "a b.c",
            "a.b..",
            "a/b.c",
            "x@y.z",
        ] {
            assert!(Domain::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Domain::parse(&format!("{}.com", "a".repeat(64))).is_err());
        assert!(Domain::parse(&"a.".repeat(200)).is_err());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "bob",
            "@bar.com",
            "\"a b\"@bar.com",
            "a@b@bar.com",
            "a%b.c@bar.com",
            "a..b@bar.com",
            "bob@",
            "b\r\n@bar.com",
            "@x.y:bob@bar.com",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            Address::parse("Bob.B+x@BAR.com").unwrap().to_string(),
            "Bob.B+x@bar.com"
        );
    }

    #[test]
    fn a_client_identifier_names_its_service_domain() {
        let id = ClientId::parse("_CB.Bar.com").unwrap();
        assert_eq!(id.to_string(), "_cb.bar.com");
        assert_eq!(id, ClientId::broker(&Domain::parse("bar.com").unwrap()));
        assert_eq!(id.service_domain().as_str(), "bar.com");
        for bad in ["cb.bar.com", "_.bar.com", "_cb", "_cb._x.com", "_cb.com"] {
            assert!(ClientId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn public_suffixes_are_known() {
        assert!(Domain::parse("co.uk").unwrap().is_public_suffix());
        assert!(!Domain::parse("bar.co.uk").unwrap().is_public_suffix());
        assert!(!Domain::parse("bar.test").unwrap().is_public_suffix());
    }
}
