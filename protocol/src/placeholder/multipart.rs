//! Where the parts of a multipart stand (RFC 2046 §5.1.1), and whether readers may disagree on it.
//!
//! A delimiter is a line of its own that begins with two hyphens and the boundary, and holds nothing more than two
//! further hyphens and white space. Always: the parts do not overlap and stand in order.

use std::ops::Range;

/// What a look for delimiters found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The parts, without the CR LF that belongs to the delimiter behind them.
    pub(super) parts: Vec<Range<usize>>,
    /// Whether the close delimiter was found.
    pub(super) closed: bool,
    /// Whether something looks like a delimiter and is none by the letter: a line end of CR or LF alone, more text on
    /// the line, a delimiter behind the last one.
    pub(super) doubtful: bool,
}

/// Looks for at most `limit` + 1 parts.
pub(super) fn scan(body: &[u8], boundary: &str, limit: usize) -> Scan {
    let mut found = Scan::default();
    let mut open: Option<usize> = None;
    let mut line = 0;
    let mut proper = true; // the beginning counts as the beginning of a line
    loop {
        let rest = body.get(line..).unwrap_or_default();
        if let Some(delimiter) = delimiter(rest, boundary) {
            if !proper || delimiter.doubtful || found.closed {
                found.doubtful = true;
            } else {
                if let Some(start) = open.take() {
                    found.parts.push(start..line.saturating_sub(2).max(start));
                }
                found.closed = delimiter.closes;
                if !delimiter.closes {
                    open = Some(line + delimiter.length);
                }
                if found.parts.len() > limit {
                    return found;
                }
            }
        }
        let Some(end) = rest.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
            return found;
        };
        proper = rest.get(end..).is_some_and(|tail| tail.starts_with(b"\r\n"));
        line += end + if proper { 2 } else { 1 };
    }
}

struct Delimiter {
    closes: bool,
    doubtful: bool,
    /// Octets of the line with its CR LF.
    length: usize,
}

/// The delimiter at the beginning of `rest`, if one is there.
fn delimiter(rest: &[u8], boundary: &str) -> Option<Delimiter> {
    let tail = rest.strip_prefix(b"--")?.strip_prefix(boundary.as_bytes())?;
    let (closes, tail) = match tail.strip_prefix(b"--") {
        Some(tail) => (true, tail),
        None => (false, tail),
    };
    let blank = tail.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let end = tail.get(blank..).unwrap_or_default();
    let ended = end.starts_with(b"\r\n") || (closes && end.is_empty());
    Some(Delimiter {
        closes,
        doubtful: !ended,
        length: rest.len() - end.len() + 2,
    })
}

/// Whether `boundary` is one by RFC 2046 §5.1.1.
pub(super) fn is_boundary(boundary: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    (1..=70).contains(&boundary.len()) && boundary.bytes().all(allowed) && !boundary.ends_with(' ')
}
