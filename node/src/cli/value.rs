//! Values as people write them on a command line, and passwords.

use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use cargomail_protocol::placeholder::{Category, Mailbox, mailboxes};
use indicatif::HumanBytes;
use zeroize::Zeroizing;

use crate::api::{Channel, Quota};

/// `90s`, `30m`, `12h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is no time: write it as 90s, 30m, 12h or 7d");
    let unit = text.chars().next_back().ok_or_else(refuse)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(refuse()),
    };
    let number = text.strip_suffix(unit).unwrap_or_default();
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let seconds = number.checked_mul(seconds).ok_or_else(refuse)?;
    Ok(Duration::from_secs(seconds))
}

/// `500`, `10k`, `64M`, `2G`, `1T`: octets, in powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let refuse = || format!("{text:?} is no size: write it as 500, 10k, 64M, 2G or 1T");
    let number = text.trim_end_matches(['k', 'K', 'M', 'G', 'T']);
    let unit: u64 = match text.get(number.len()..) {
        Some("") => 1,
        Some("k" | "K") => 1 << 10,
        Some("M") => 1 << 20,
        Some("G") => 1 << 30,
        Some("T") => 1 << 40,
        _ => return Err(refuse()),
    };
    let number: u64 = number.parse().map_err(|_| refuse())?;
    number.checked_mul(unit).ok_or_else(refuse)
}

/// A [`size`], or `none`.
pub(super) fn quota(text: &str) -> Result<Quota, String> {
    match text {
        "none" => Ok(Quota::Unbounded),
        text => size(text)
            .map(Quota::Octets)
            .map_err(|error| format!("{error}, or none")),
    }
}

/// `bob@bar.test`, `"Bob" <bob@bar.test>`, or several with commas.
pub(super) fn people(text: &str) -> Result<Recipients, String> {
    let list = mailboxes(text).map_err(|error| error.to_string())?;
    if list.is_empty() {
        return Err("no address".to_owned());
    }
    Ok(Recipients(list))
}

/// Recipients of one flag.
#[derive(Debug, Clone)]
pub(super) struct Recipients(pub(super) Vec<Mailbox>);

/// All recipients of all flags.
pub(super) fn everybody(flags: Vec<Recipients>) -> Vec<Mailbox> {
    flags.into_iter().flat_map(|Recipients(list)| list).collect()
}

/// A category.
pub(super) fn category(text: &str) -> Result<Category, String> {
    Category::parse(text).map_err(|error| error.to_string())
}

/// `web`, `smtp`, `web-then-smtp`.
pub(super) fn channel(text: &str) -> Result<Channel, String> {
    serde_json::from_value(text.into()).map_err(|_| "write web, smtp or web-then-smtp".to_owned())
}

/// Octets as people read them.
pub(super) fn octets(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// A password: from the first line of a file, from the terminal without showing it, or from the first line of standard input.
pub(super) fn password(prompt: &str, file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    let line = |mut from: Box<dyn BufRead>| -> anyhow::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        from.read_line(&mut text)?;
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    };
    let password = match file {
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
            line(Box::new(std::io::BufReader::new(file)))?
        }
        None if std::io::stdin().is_terminal() => Zeroizing::new(rpassword::prompt_password(prompt)?),
        None => line(Box::new(std::io::stdin().lock()))?,
    };
    if password.is_empty() {
        bail!("the password is empty: type one, or name a file with --password-file");
    }
    Ok(password)
}

/// The text of a file, or of standard input for `-`.
pub(super) fn text_of(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).context("standard input is not UTF-8 text");
    }
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
