//! What a person reads whose mail program knows no Cargomail: the first part of a placeholder.
//!
//! Always: lines of CR LF, none that a stranger's name could break; no recipient is named.

use super::model::Placeholder;
use super::part::{Disposition, Part, is_invisible};

/// Files that are listed by name; the rest is counted.
const LISTED: usize = 50;
/// Characters of a name that are shown.
const NAME: usize = 80;

pub(super) fn explain(placeholder: &Placeholder) -> String {
    let author = placeholder.author();
    let who = match author.name.as_deref().map(shown).filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} <{}>", author.address),
        None => author.address.to_string(),
    };
    let until = match placeholder.origin().expires {
        Some(moment) => format!("until {}", moment.rfc5322()),
        None => "for a limited time".to_owned(),
    };
    let mut lines = vec![
        "This is a Cargomail message: its content did not travel with it.".to_owned(),
        String::new(),
        format!("Sent by: {who}"),
        format!("Kept at: {}", placeholder.origin().locator),
        format!("         {until}"),
        String::new(),
    ];
    let parts = placeholder.parts();
    if parts.is_empty() {
        lines.push("It has no content.".to_owned());
    } else {
        lines.push("It contains:".to_owned());
        lines.extend(
            parts
                .iter()
                .take(LISTED)
                .map(|part| format!("  - {}", listed(part))),
        );
        if let Some(more) = parts.len().checked_sub(LISTED).filter(|more| *more > 0) {
            lines.push(format!("  - and {more} more"));
        }
    }
    lines.push(String::new());
    lines.push("To read it, open this mailbox with a mail program that understands".to_owned());
    lines.push("Cargomail. It fetches the content from the place named above. If you".to_owned());
    lines.push("have none, ask the sender to send the content as an ordinary message.".to_owned());
    lines.push(String::new());
    lines.join("\r\n")
}

fn listed(part: &Part) -> String {
    let description = &part.description;
    let kind = description.media_type();
    let what = match description
        .file_name()
        .as_deref()
        .map(shown)
        .filter(|name| !name.is_empty())
    {
        Some(name) => name,
        None if description.disposition() == Some(Disposition::Attachment) => {
            "a file without a name".to_owned()
        }
        None => match kind.as_str() {
            "text/plain" => "the text".to_owned(),
            "text/html" => "the text with formatting".to_owned(),
            "message/rfc822" => "a message".to_owned(),
            _ => "a part without a name".to_owned(),
        },
    };
    format!("{what} ({}, {})", shown(&kind), size(part.resource.size))
}

/// A stranger's text on one line: without control and direction characters, and not too long.
fn shown(text: &str) -> String {
    let kept = text.chars().filter(|c| !c.is_control() && !is_invisible(*c));
    let mut out: String = kept.take(NAME + 1).collect();
    if out.chars().count() > NAME {
        out = out.chars().take(NAME - 1).chain(['…']).collect();
    }
    out.trim().to_owned()
}

/// Octets as a person counts them: `87.3 MB`.
fn size(octets: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if octets < 1000 {
        return format!("{octets} bytes");
    }
    let mut tenths = octets.div_ceil(100);
    let mut unit = UNITS.iter();
    let mut name = unit.next().copied().unwrap_or_default();
    while tenths >= 10_000 {
        tenths = tenths.div_ceil(1000);
        name = unit.next().copied().unwrap_or(name);
    }
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}
