//! The profile: who the user is, and the sessions at their broker and their Resource Mailboxes. A TOML file that only its
//! owner can read, because the tokens in it are as good as the user.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::grip::KeyHash;
use serde::{Deserialize, Serialize};

use super::AppError;
use crate::https::{Proof, Server};

/// A user, and where they have sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Who the user is.
    pub address: Address,
    /// What stands before the address in From.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An SMTP server, `host:port`, to which letters are given instead of to the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<String>,
    /// The broker of the address's domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<Access>,
    /// The user's Resource Mailboxes; the first is the origin of what they send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mailboxes: Vec<MailboxAccess>,
}

/// A session at a Resource Mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxAccess {
    /// Its name.
    pub locator: Locator,
    /// The session.
    #[serde(flatten)]
    pub access: Access,
}

/// A session at a node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Where the node's user face is.
    pub url: Url,
    /// SHA-256 of its key, 64 hexadecimal digits; without it, a certificate of the web PKI is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// What proves who the user is.
    pub token: String,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({})", self.url)
    }
}

impl Access {
    /// The node as the HTTPS client knows it.
    pub(super) fn server(&self) -> Server {
        self.url.server(self.fingerprint.as_ref())
    }
}

/// SHA-256 over the SubjectPublicKeyInfo of a node's user-facing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

/// The text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint: 64 hexadecimal digits, as `cargomail run` prints them")]
pub struct BadFingerprint(String);

impl FromStr for Fingerprint {
    type Err = BadFingerprint;
    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let hash = KeyHash::parse(text).ok_or_else(|| BadFingerprint(text.chars().take(80).collect()))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = BadFingerprint;
    fn try_from(text: String) -> Result<Self, BadFingerprint> {
        text.parse()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KeyHash::from_bytes(self.0).fmt(f)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

/// Where a node's user face is: `https://node.example.test:8443`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url {
    host: String,
    port: u16,
}

impl Url {
    /// A face at a host and port.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self { host, port }
    }

    /// The node there, known by its key, or by the web PKI.
    #[must_use]
    pub fn server(&self, fingerprint: Option<&Fingerprint>) -> Server {
        Server {
            name: self.host.clone(),
            host: self.host.clone(),
            port: self.port,
            proof: match fingerprint {
                Some(Fingerprint(hash)) => Proof::Fingerprints(vec![*hash]),
                None => Proof::WebPki,
            },
        }
    }
}

impl FromStr for Url {
    type Err = AppError;
    fn from_str(text: &str) -> Result<Self, AppError> {
        let refuse = || AppError::Url(text.chars().take(200).collect());
        let uri: http::Uri = text.parse().map_err(|_| refuse())?;
        let plain = uri.scheme_str() == Some("https") && uri.path() == "/" && uri.query().is_none();
        let authority = uri.authority().filter(|_| plain).ok_or_else(refuse)?;
        if authority.as_str().contains('@') {
            return Err(refuse());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self::new(host, authority.port_u16().unwrap_or(443)))
    }
}

impl TryFrom<String> for Url {
    type Error = AppError;
    fn try_from(text: String) -> Result<Self, AppError> {
        text.parse()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) => write!(f, "https://[{v6}]:{}", self.port),
            _ => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

impl From<Url> for String {
    fn from(url: Url) -> String {
        url.to_string()
    }
}

impl Profile {
    /// The profile of a user who has logged in nowhere yet.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            name: None,
            submission: None,
            broker: None,
            mailboxes: Vec::new(),
        }
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// [`AppError::NoProfile`] when there is no such file; [`AppError::Profile`], also when others may read it.
    pub fn open(path: &Path) -> Result<Self, AppError> {
        let unusable = |why: String| AppError::Profile {
            path: path.to_owned(),
            why,
        };
        let text = fs::read_to_string(path).map_err(|why| match why.kind() {
            std::io::ErrorKind::NotFound => AppError::NoProfile(path.to_owned()),
            _ => unusable(why.to_string()),
        })?;
        let mode = fs::metadata(path).map_err(|why| unusable(why.to_string()))?;
        if mode.permissions().mode() & 0o077 != 0 {
            return Err(unusable(
                "others may read the tokens in it; chmod 600 it, or log in anew".to_owned(),
            ));
        }
        toml::from_str(&text).map_err(|why| unusable(why.to_string()))
    }

    /// Writes it, complete or not at all, readable by its owner only.
    ///
    /// # Errors
    /// [`AppError::File`].
    pub fn save(&self, path: &Path) -> Result<(), AppError> {
        let failed = |why| AppError::File {
            path: path.to_owned(),
            why,
        };
        let text = toml::to_string(self).map_err(|why| AppError::Profile {
            path: path.to_owned(),
            why: why.to_string(),
        })?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}.new", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written.map_err(failed)
    }

    /// The sessions, each once, whatever it is good for.
    #[must_use]
    pub fn sessions(&self) -> Vec<Access> {
        let all = self.mailboxes.iter().map(|mailbox| &mailbox.access);
        let mut sessions: Vec<Access> = Vec::new();
        for access in self.broker.iter().chain(all) {
            if !sessions.contains(access) {
                sessions.push(access.clone());
            }
        }
        sessions
    }

    /// Removes a session, and the Resource Mailbox that is reached with it.
    pub fn forget(&mut self, access: &Access) {
        self.broker.take_if(|broker| broker == access);
        self.mailboxes.retain(|mailbox| mailbox.access != *access);
    }

    /// Adds a Resource Mailbox, or gives it a new session; it becomes the last only if it is new.
    pub fn set_mailbox(&mut self, locator: Locator, access: Access) {
        match self
            .mailboxes
            .iter_mut()
            .find(|mailbox| mailbox.locator == locator)
        {
            Some(known) => known.access = access,
            None => self.mailboxes.push(MailboxAccess { locator, access }),
        }
    }
}
