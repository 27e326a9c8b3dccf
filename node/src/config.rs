//! The configuration: as it is written ([`Config`]), and checked with every path absolute ([`Settings`]).
//!
//! Not here: opening what the settings name. What always holds: an unknown key is refused; every error names the file, the
//! key and what to write instead; the example file is printed from the fields' own documentation.

mod announced;
mod print;
mod settings;
mod written;

use std::path::{Path, PathBuf};

use cargomail_protocol::fault::{Fault, Faulty};

pub use print::{document, example};
pub use settings::{BrokerRole, GripFace, MailboxRole, PeersFace, Settings, SmtpEdge, UserFace};
pub use written::{
    BrokerSection, Config, DnsSection, DnssecMode, GripSection, Listen, MailboxSection, NetworkSection, Over,
    PeersSection, SmtpSection, StoreSection, UserSection,
};

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}; {way_out}")]
pub struct BadValue {
    /// The key, with its section: `mailbox.locator`.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
    /// What to write instead.
    pub way_out: String,
}

impl Faulty for BadValue {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: {why}; `cargomail init` writes a configuration, and --config names another file")]
    Read {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// It is not TOML, or holds a key that nobody knows.
    #[error("{file}: {why}`cargomail example-config` prints every key that there is")]
    Syntax {
        /// Which file.
        file: PathBuf,
        /// Line, column and what was expected.
        why: Box<toml::de::Error>,
    },
    /// A value cannot be used.
    #[error("{file}: {value}")]
    Value {
        /// Which file.
        file: PathBuf,
        /// Which key, and the way out.
        value: BadValue,
    },
}

impl Faulty for ConfigError {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

impl Config {
    /// Reads a configuration as it is written.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`]; `file` is named in it.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|why| ConfigError::Syntax {
            file: file.to_owned(),
            why: Box::new(why),
        })
    }

    /// Checks it; paths are relative to `folder`.
    ///
    /// # Errors
    /// [`BadValue`] names the first value that cannot be used.
    pub fn check(self, folder: &Path) -> Result<Settings, BadValue> {
        Settings::check(self, folder)
    }
}

impl Settings {
    /// Reads and checks a configuration file; its paths are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn open(file: &Path) -> Result<Self, ConfigError> {
        let read = |why| ConfigError::Read {
            file: file.to_owned(),
            why,
        };
        let text = std::fs::read_to_string(file).map_err(read)?;
        let folder = std::path::absolute(file).map_err(read)?;
        let folder = folder.parent().unwrap_or(Path::new("/"));
        Config::parse(&text, file)?
            .check(folder)
            .map_err(|value| ConfigError::Value {
                file: file.to_owned(),
                value,
            })
    }
}

#[cfg(test)]
mod tests;
