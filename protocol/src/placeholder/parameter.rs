//! Values with parameters (RFC 2045 §5.1, RFC 2231): Content-Type, Content-Disposition, the origin field.

use super::header::{Header, HeaderError, refuse_line_breaks};
use super::words::{self, in_charset};

/// Parameters of one field: comparing each with each must stay cheap (row M01).
const PARAMETERS: usize = 64;
/// The longest parameter value that is written in one piece.
const PIECE: usize = 60;

/// A value and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameterised {
    /// What stands before the first semicolon.
    pub(super) value: String,
    /// The attributes, lower case, with their values, quoting undone.
    parameters: Vec<(String, String)>,
}

impl Parameterised {
    /// A value without parameters.
    pub(super) fn new(value: &str) -> Self {
        Self {
            value: value.to_owned(),
            parameters: Vec::new(),
        }
    }

    /// Reads an unfolded field. None when it breaks the grammar or an attribute stands twice (row M02).
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut scan = Scan { rest: text };
        scan.blank()?;
        let value = scan
            .until(|c| c == ';' || c == '(')?
            .trim_end_matches([' ', '\t'])
            .to_owned();
        scan.blank()?;
        if value.contains([' ', '\t', '"', ',']) {
            return None;
        }
        let mut out = Self {
            value,
            parameters: Vec::new(),
        };
        while !scan.rest.is_empty() {
            scan.rest = scan.rest.strip_prefix(';')?;
            scan.blank()?;
            if scan.rest.is_empty() || scan.rest.starts_with(';') {
                continue;
            }
            let name = scan.until(|c| " \t=;()\"".contains(c))?.to_ascii_lowercase();
            scan.blank()?;
            scan.rest = scan.rest.strip_prefix('=')?;
            scan.blank()?;
            let value = scan.value()?;
            scan.blank()?;
            let twice = out.parameters.iter().any(|(known, _)| *known == name);
            if name.is_empty() || twice || out.parameters.len() >= PARAMETERS {
                return None;
            }
            out.parameters.push((name, value));
        }
        Some(out)
    }

    /// A parameter that is a plain value. None when it is absent, or hidden in RFC 2231's forms.
    pub(super) fn plain(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the parameter stands there in any form but the plain one, so that readers may disagree on it.
    pub(super) fn is_disguised(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|(known, _)| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('*')))
    }

    /// A parameter of text: RFC 2231's forms before the plain one, in which encoded words are decoded.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        if let Some(whole) = self.plain(&format!("{name}*")) {
            return Some(extended(whole));
        }
        if let Some(joined) = self.continued(name) {
            return Some(joined);
        }
        self.plain(name).map(words::decode)
    }

    /// RFC 2231 §3: `name*0`, `name*1*` and so on.
    fn continued(&self, name: &str) -> Option<String> {
        let mut octets = Vec::new();
        let mut charset = String::new();
        for index in 0..PARAMETERS {
            if let Some(plain) = self.plain(&format!("{name}*{index}")) {
                octets.extend_from_slice(plain.as_bytes());
            } else if let Some(coded) = self.plain(&format!("{name}*{index}*")) {
                let mut coded = coded;
                if index == 0 {
                    let mut pieces = coded.splitn(3, '\'');
                    charset = pieces.next()?.to_owned();
                    pieces.next()?;
                    coded = pieces.next()?;
                }
                octets.extend(percent_decoded(coded));
            } else if index == 0 {
                return None;
            } else {
                break;
            }
        }
        Some(in_charset(&charset, &octets))
    }

    /// Adds a plain parameter, quoted where needed. The value must be printable ASCII.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.parameters.push((name.to_owned(), value.into()));
        self
    }

    /// The field, in ASCII, with long and non-ASCII values in RFC 2231's forms.
    pub(super) fn header(&self, field: &str) -> Result<Header, HeaderError> {
        let mut out = self.value.clone();
        if !out.is_ascii() {
            return Err(HeaderError::Value {
                name: field.to_owned(),
            });
        }
        for (name, value) in &self.parameters {
            refuse_line_breaks(field, value)?;
            if !name.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(HeaderError::Value {
                    name: field.to_owned(),
                });
            }
            write(&mut out, name, value);
        }
        Header::folded(field, &out)
    }
}

fn write(out: &mut String, name: &str, value: &str) {
    let token = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?='%*".contains(&b);
    if !value.is_empty() && value.bytes().all(token) {
        out.push_str(&format!("; {name}={value}"));
        return;
    }
    let printable = value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let coded_already = name.ends_with('*');
    if printable && (value.len() <= PIECE || name.contains('*')) {
        match coded_already {
            true => out.push_str(&format!("; {name}={value}")),
            false => {
                let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
                out.push_str(&format!("; {name}=\"{quoted}\""));
            }
        }
        return;
    }
    let pieces = pieces(value);
    match pieces.as_slice() {
        [whole] => out.push_str(&format!("; {name}*=utf-8''{whole}")),
        many => {
            for (index, piece) in many.iter().enumerate() {
                let charset = if index == 0 { "utf-8''" } else { "" };
                out.push_str(&format!("; {name}*{index}*={charset}{piece}"));
            }
        }
    }
}

/// Percent-encoded, in pieces of at most [`PIECE`] characters, split between octets.
fn pieces(value: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for byte in value.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&byte);
        let coded = if plain {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        };
        match out.last_mut() {
            Some(last) if last.len() + coded.len() <= PIECE => last.push_str(&coded),
            _ => out.push(coded),
        }
    }
    out
}

/// RFC 2231 §4: `charset'language'percent-encoded`.
fn extended(text: &str) -> String {
    let mut pieces = text.splitn(3, '\'');
    match (pieces.next(), pieces.next(), pieces.next()) {
        (Some(charset), Some(_), Some(coded)) => in_charset(charset, &percent_decoded(coded)),
        _ => text.to_owned(),
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

struct Scan<'t> {
    rest: &'t str,
}

impl<'t> Scan<'t> {
    /// Passes white space and comments. None for a comment that does not end.
    fn blank(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t']);
            if !self.rest.starts_with('(') {
                return Some(());
            }
            let mut depth = 0_usize;
            let mut chars = self.rest.char_indices();
            let end = loop {
                match chars.next()? {
                    (_, '(') => depth += 1,
                    (at, ')') => {
                        depth -= 1;
                        if depth == 0 {
                            break at + 1;
                        }
                    }
                    (_, '\\') => drop(chars.next()?),
                    _ => {}
                }
            };
            self.rest = self.rest.get(end..)?;
        }
    }

    fn until(&mut self, stop: impl Fn(char) -> bool) -> Option<&'t str> {
        let end = self.rest.find(stop).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(taken)
    }

    /// A token or a quoted string. Tokens may hold the characters that writers forget to quote.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return self
                .until(|c| " \t;()\"\\,".contains(c))
                .filter(|t| !t.is_empty())
                .map(str::to_owned);
        };
        let mut out = String::new();
        let mut chars = quoted.char_indices();
        loop {
            match chars.next()? {
                (at, '"') => {
                    self.rest = quoted.get(at + 1..)?;
                    return Some(out);
                }
                (_, '\\') => out.push(chars.next()?.1),
                (_, c) => out.push(c),
            }
        }
    }
}
