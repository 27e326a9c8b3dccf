//! The mails and the promises as comma-separated values (RFC 4180).

use std::io::{self, Write};

use super::Report;
use crate::history::{Fate, Mail, Reading, Sending};
use crate::promise::Judged;

/// The columns of `mails.csv`. Times are milliseconds since the traffic began, and empty where a thing was not seen.
const MAIL: [&str; 18] = [
    "number",
    "answers",
    "message_id",
    "author",
    "recipient",
    "category",
    "channel",
    "files",
    "octets",
    "accepted_ms",
    "delivered_ms",
    "read_ms",
    "acknowledged_ms",
    "copies",
    "reports",
    "reading",
    "reported_ms",
    "destination",
];
/// The columns of `promises.csv`.
const PROMISE: [&str; 6] = ["promise", "verdict", "checked", "broken", "what", "against"];

/// One row for each mail and recipient; a mail that was not accepted has one without a recipient.
pub(super) fn mails(report: &Report, mut out: impl Write) -> io::Result<()> {
    row(&mut out, MAIL.map(str::to_owned))?;
    for mail in &report.history.mails {
        if mail.fates.is_empty() {
            row(&mut out, of_mail(mail, None))?;
        }
        for fate in &mail.fates {
            row(&mut out, of_mail(mail, Some(fate)))?;
        }
    }
    Ok(())
}

/// One row for each promise; the cases against it stand on lines of one field.
pub(super) fn promises(promises: &[Judged], mut out: impl Write) -> io::Result<()> {
    row(&mut out, PROMISE.map(str::to_owned))?;
    for judged in promises {
        let fields = [
            judged.promise.to_string(),
            kebab(&judged.verdict),
            judged.checked.to_string(),
            judged.broken.to_string(),
            judged.what.clone(),
            judged.against.join("\n"),
        ];
        row(&mut out, fields)?;
    }
    Ok(())
}

fn of_mail(mail: &Mail, fate: Option<&Fate>) -> [String; 18] {
    let (message_id, octets, accepted) = match &mail.sending {
        Sending::Accepted {
            message_id,
            octets,
            at,
            ..
        } => (message_id.clone(), octets.to_string(), at.to_string()),
        Sending::Not { .. } | Sending::NotDue => Default::default(),
    };
    let of_fate = |tell: fn(&Fate) -> String| fate.map(tell).unwrap_or_default();
    [
        mail.number.to_string(),
        optional(mail.answers),
        message_id,
        mail.author.to_string(),
        of_fate(|fate| fate.recipient.to_string()),
        mail.category.to_string(),
        kebab(&mail.channel),
        mail.files.to_string(),
        octets,
        accepted,
        of_fate(|fate| optional(fate.delivered_at)),
        of_fate(|fate| optional(fate.read_at)),
        of_fate(|fate| optional(fate.acknowledged_at)),
        of_fate(|fate| fate.copies.to_string()),
        of_fate(|fate| fate.reports.to_string()),
        of_fate(|fate| reading(&fate.reading).to_owned()),
        of_fate(|fate| optional(fate.reported_at)),
        of_fate(|fate| optional(fate.destination.as_ref())),
    ]
}

/// What came of reading, in a word.
pub(super) const fn reading(reading: &Reading) -> &'static str {
    match reading {
        Reading::NotTried => "not-tried",
        Reading::Equal { .. } => "equal",
        Reading::Different { .. } => "different",
        Reading::Unreadable { .. } => "unreadable",
    }
}

/// The name that stands in the JSON, too.
pub(super) fn kebab(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

pub(super) fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Fields as a line.
pub(super) fn row<const N: usize>(out: &mut impl Write, fields: [String; N]) -> io::Result<()> {
    let fields = fields.map(field);
    write!(out, "{}\r\n", fields.join(","))
}

fn field(text: String) -> String {
    match text.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_quotes_and_lines_are_quoted() {
        let mut out = Vec::new();
        let fields = ["plain", "a,b", "say \"no\"", "two\nlines"];
        row(&mut out, fields.map(str::to_owned)).expect("memory takes everything");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "plain,\"a,b\",\"say \"\"no\"\"\",\"two\nlines\"\r\n"
        );
    }
}
