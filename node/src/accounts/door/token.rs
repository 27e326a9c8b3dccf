//! The administrator's token: who can read it in the node's folder is the administrator.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cargomail_protocol::fault::{Fault, Faulty};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::Randomness;
use crate::identity::{self, IdentityError};

/// The file in the node's folder.
const FILE: &str = "admin.token";

/// Why the administrator's token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// It cannot be made.
    #[error(transparent)]
    Create(#[from] IdentityError),
    /// Others may read it.
    #[error("{path}: others may read this token (mode {mode:o}); delete it, and the node makes a new one")]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no token.
    #[error("{path}: no token; delete it, and the node makes a new one")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

impl Faulty for TokenError {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

/// The administrator's token. Compared in constant time (row T15).
#[derive(Clone)]
pub struct AdminToken {
    text: Zeroizing<String>,
    hash: [u8; 32],
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken")
    }
}

impl AdminToken {
    /// The token in `admin.token` of the node's folder, or a new one there, which only the owner can read.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open_or_create(data: &Path, randomness: &dyn Randomness) -> Result<Self, TokenError> {
        let path = data.join(FILE);
        if !path.exists() {
            let mut secret = Zeroizing::new([0_u8; 32]);
            randomness.fill(secret.as_mut_slice());
            let text = Zeroizing::new(BASE64URL_NOPAD.encode(secret.as_slice()));
            identity::create_secret(&path, &text)?;
        }
        Self::open(data)
    }

    /// The token in `admin.token` of the node's folder.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(data: &Path) -> Result<Self, TokenError> {
        let path = data.join(FILE);
        let failed = |why| TokenError::File {
            path: path.clone(),
            why,
        };
        let file = std::fs::File::open(&path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::TooOpen { path, mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(1024).read_to_string(&mut text).map_err(failed)?;
        let text = Zeroizing::new(text.trim().to_owned());
        if text.len() < 32 {
            return Err(TokenError::Empty { path });
        }
        Ok(Self::of(text))
    }

    fn of(text: Zeroizing<String>) -> Self {
        let hash = Sha256::digest(text.as_bytes()).into();
        Self { text, hash }
    }

    /// What to send as `Authorization: Bearer …`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this is it.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        verify_slices_are_equal(&shown, &self.hash).is_ok()
    }
}
