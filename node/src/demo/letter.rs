//! What Alice writes: the files that were given, or a letter made for the occasion.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::placeholder::{Category, Mailbox};

use crate::api::Channel;
use crate::app::Letter;

/// The attachment that is made when no files are given.
const ATTACHMENT: usize = 64 * 1024 * 1024;
/// A red dot of one pixel, as PNG.
const DOT: [u8; 69] = [
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x02, 0x00, 0x00, 0x00, 0x90, 0x77, 0x53, 0xde, 0x00,
    0x00, 0x00, 0x0c, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0x38, 0xa3, 0xa4, 0x04, 0x00, 0x02, 0xce,
    0x01, 0x11, 0x64, 0x17, 0x4b, 0xf5, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60,
    0x82,
];

/// The letter, and the files that it was made of.
pub(super) fn write(
    folder: &Path,
    files: &[PathBuf],
    origin: &str,
    channel: Channel,
) -> anyhow::Result<Letter> {
    let mut letter = Letter::new(Category::parse("healthcare").context("a category")?);
    let bob = Address::parse("bob@bar.test").context("an address")?;
    letter.to = vec![Mailbox::named("Bob", bob)];
    letter.life = Duration::from_secs(24 * 3600);
    letter.origin = Some(Locator::parse(origin).context("a locator")?);
    letter.channel = Some(channel);
    letter.text = Some("Dear Bob,\r\n\r\nhere is what we spoke about.\r\n\r\nAlice\r\n".to_owned());
    let by = match channel {
        Channel::Smtp => "by SMTP",
        _ => "by the web channel",
    };
    if files.is_empty() {
        letter.subject = format!("Results, {by}");
        letter.html = Some(
            "<p>Dear Bob,</p><p>here is <b>what we spoke about</b>: <img src=\"cid:dot.png\" alt=\"a dot\"></p>\
             <p>Alice</p>"
                .to_owned(),
        );
        let dot = folder.join("dot.png");
        std::fs::write(&dot, DOT).with_context(|| format!("{} cannot be written", dot.display()))?;
        letter.inline = vec![dot];
        letter.files = vec![attachment(folder, channel)?];
    } else {
        letter.subject = format!("Your files, {by}");
        letter.files = files.to_vec();
    }
    Ok(letter)
}

/// A file of octets that nothing can compress, the same at every run. Each channel has another one: what Bob holds already would not
/// travel again.
fn attachment(folder: &Path, channel: Channel) -> anyhow::Result<PathBuf> {
    let (name, mut state) = match channel {
        Channel::Smtp => ("scan.bin", 0x2545_f491_4f6c_dd1d_u64),
        _ => ("other-scan.bin", 0x9e37_79b9_7f4a_7c15),
    };
    let path = folder.join(name);
    let failed = || format!("{} cannot be written", path.display());
    let file = std::fs::File::create(&path).with_context(failed)?;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
    for _ in 0..ATTACHMENT / 8 {
        // xorshift64: fast, and good enough to look like a scan.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.write_all(&state.to_le_bytes()).with_context(failed)?;
    }
    out.flush().with_context(failed)?;
    Ok(path)
}
