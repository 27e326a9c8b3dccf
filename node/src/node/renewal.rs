//! The certificate that people's programs are shown, renewed while the node runs: the configured one when its files have become others,
//! the node's own when its end is near. The hash of its key stands in the node's folder, for the commands of the administrator.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cargomail_protocol::fault::{Fault, Faulty};
use data_encoding::HEXLOWER;

use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::https::{Renewable, TlsError};
use crate::identity::IdentityError;

/// The file in the node's folder.
const FILE: &str = "user.fingerprint";
/// How often it is looked.
const EVERY: Duration = Duration::from_secs(3600);

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// It cannot be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It and its key do not fit.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file with its fingerprint.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: io::Error,
    },
}

impl Faulty for RenewalError {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

/// SHA-256 of the key of the certificate that the node of this folder shows people's programs, as it has written there.
///
/// # Errors
/// [`RenewalError::File`].
pub fn fingerprint(data: &Path) -> Result<[u8; 32], RenewalError> {
    let path = data.join(FILE);
    let read = std::fs::read_to_string(&path).and_then(|text| {
        let hash = HEXLOWER.decode(text.trim().as_bytes()).ok();
        hash.and_then(|hash| hash.try_into().ok())
            .ok_or_else(|| io::Error::other("no fingerprint; the node writes it when it starts"))
    });
    read.map_err(|why| RenewalError::File { path, why })
}

/// Writes the fingerprint of what is shown: complete, or not at all.
pub(super) fn tell(data: &Path, shown: &Renewable) -> Result<(), RenewalError> {
    let path = data.join(FILE);
    let draft = data.join(format!("{FILE}.new"));
    let text = HEXLOWER.encode(&shown.certificate().spki_sha256());
    std::fs::write(&draft, text)
        .and_then(|()| std::fs::rename(&draft, &path))
        .map_err(|why| RenewalError::File { path, why })
}

/// Looks from time to time, for as long as it is polled.
pub(super) async fn watch(settings: Settings, shown: Renewable) {
    loop {
        tokio::time::sleep(EVERY).await;
        match look(&settings, &shown) {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "no new certificate for people's programs; the old one is shown on");
            }
        }
    }
}

fn look(settings: &Settings, shown: &Renewable) -> Result<(), RenewalError> {
    let found = settings.user_certificate(SystemClock.now())?;
    if found.chain() == shown.certificate().chain() {
        return tell(&settings.data, shown);
    }
    shown.renew(found)?;
    tracing::info!("people's programs are shown a new certificate");
    tell(&settings.data, shown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(folder: &Path) -> Settings {
        let config = folder.join("cargomail.toml");
        std::fs::write(&config, "data = \"data\"\n[broker]\ndomain = \"bar.test\"\n").unwrap();
        std::fs::create_dir(folder.join("data")).unwrap();
        Settings::open(&config).unwrap()
    }

    #[test]
    fn a_certificate_that_was_renewed_is_shown_and_its_fingerprint_stands_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let first = settings.user_certificate(SystemClock.now()).unwrap();
        let shown = Renewable::new(first.clone()).unwrap();
        tell(&settings.data, &shown).unwrap();
        assert_eq!(fingerprint(&settings.data).unwrap(), first.spki_sha256());
        look(&settings, &shown).unwrap();
        assert_eq!(shown.certificate().chain(), first.chain());

        for file in ["web-key.pem", "web-certificate.pem"] {
            std::fs::remove_file(settings.data.join(file)).unwrap();
        }
        look(&settings, &shown).unwrap();
        let second = shown.certificate().spki_sha256();
        assert_ne!(second, first.spki_sha256());
        assert_eq!(fingerprint(&settings.data).unwrap(), second);
    }

    #[test]
    fn a_certificate_that_cannot_be_read_leaves_the_old_one_and_a_folder_without_a_fingerprint_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let first = settings.user_certificate(SystemClock.now()).unwrap();
        let shown = Renewable::new(first.clone()).unwrap();
        std::fs::write(settings.data.join("web-key.pem"), "nothing").unwrap();
        assert!(look(&settings, &shown).is_err());
        assert_eq!(shown.certificate().chain(), first.chain());
        assert!(fingerprint(&settings.data).is_err());
    }
}
