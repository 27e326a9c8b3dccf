//! The key file: one Ed25519 key in PKCS#8 PEM (RFC 8410), for its owner's eyes only, made once and never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use data_encoding::BASE64;
use libp2p::identity::Keypair;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// A key file is far smaller; more is not a key.
const KEY_FILE: u64 = 16 * 1024;
/// DER of an Ed25519 private key in PKCS#8 version 1, up to the seed.
const PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The key in the file, or a new one in a new file.
pub(crate) fn open_or_create(path: &Path) -> anyhow::Result<Keypair> {
    if path.try_exists()? {
        open(path)
    } else {
        create(path)
    }
    .with_context(|| path.display().to_string())
}

/// Whether there is a key in the file, or a folder for it.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    if path.try_exists()? {
        open(path).map(drop)
    } else if folder(path).is_dir() {
        Ok(())
    } else {
        Err(anyhow!("the folder for it is not there"))
    }
    .with_context(|| format!("key: {}", path.display()))
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| *folder != Path::new(""))
        .unwrap_or(Path::new("."))
}

fn open(path: &Path) -> anyhow::Result<Keypair> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    ensure!(
        mode & 0o077 == 0,
        "others may read this key (mode {mode:o}); chmod 600 it, or make a new one"
    );
    let mut text = String::new();
    file.take(KEY_FILE).read_to_string(&mut text)?;
    let body = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let Some((body, _)) = body else {
        bail!("no private key in PEM")
    };
    let packed: String = body.split_whitespace().collect();
    let der = BASE64
        .decode(packed.as_bytes())
        .context("no private key in PEM")?;
    let seed = der.strip_prefix(&PREFIX).context("no Ed25519 key in PKCS#8")?;
    Keypair::ed25519_from_bytes(seed.to_vec()).context("no Ed25519 key in PKCS#8")
}

fn create(path: &Path) -> anyhow::Result<Keypair> {
    let keys = Keypair::generate_ed25519();
    let seed = keys.clone().try_into_ed25519()?.secret();
    let der = [PREFIX.as_slice(), seed.as_ref()].concat();
    let text = format!("{BEGIN}\n{}\n{END}\n", BASE64.encode(&der));
    // Complete and synced before it gets its name: no crash leaves half a key behind.
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    linked?;
    File::open(folder(path))?.sync_all()?;
    Ok(keys)
}
