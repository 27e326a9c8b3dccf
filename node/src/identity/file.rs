//! Key files: PEM, owner only, complete or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::IdentityError;

/// A key file is far smaller; more is not a key.
const KEY_FILE: u64 = 16 * 1024;

fn failed(path: &Path) -> impl FnOnce(io::Error) -> IdentityError + '_ {
    |why| IdentityError::File {
        path: path.to_owned(),
        why,
    }
}

/// Whether there is a file.
pub(super) fn exists(path: &Path) -> Result<bool, IdentityError> {
    path.try_exists().map_err(failed(path))
}

/// DER of the PKCS#8 key in a PEM file; none when it holds none.
pub(super) fn read_key(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    let file = File::open(path).map_err(failed(path))?;
    let mode = file.metadata().map_err(failed(path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = Zeroizing::new(Vec::new());
    file.take(KEY_FILE).read_to_end(&mut text).map_err(failed(path))?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&text).ok();
    Ok(key.map(|key| Zeroizing::new(key.secret_pkcs8_der().to_vec())))
}

/// Writes a new file with a secret: first complete and synced under another name, then linked, so that no crash leaves half a
/// secret and no race overwrites one.
pub(crate) fn create_secret(path: &Path, text: &str) -> Result<(), IdentityError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = folder.join(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    written.and(removed).map_err(failed(path))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed(path))
}

/// PEM (RFC 7468).
pub(super) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(data_encoding::BASE64.encode(der));
    let mut pem = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|octet| char::from(*octet)));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
