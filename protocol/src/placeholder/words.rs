//! Text that is not ASCII in header fields: encoded words (RFC 2047). Written as UTF-8 in base64, read in any charset.

use std::borrow::Cow;

use data_encoding::BASE64;
use mail_parser::parsers::MessageStream;

/// Octets of one encoded word: 52 characters with its frame, which fits behind every usual field name.
const CHUNK: usize = 30;

/// Whether `word` cannot stand in a header as it is: it is not printable ASCII, or looks like an encoded word.
fn needs_encoding(word: &str) -> bool {
    word.contains("=?") || !word.bytes().all(|b| b.is_ascii_graphic())
}

/// Free text, with each run of words that need it as encoded words. White space between words stays.
pub(super) fn encode(text: &str) -> Cow<'_, str> {
    let blank = |c: char| c == ' ' || c == '\t';
    if !text.split(blank).any(needs_encoding_unless_empty) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while !rest.is_empty() {
        let plain = rest.len() - rest.trim_start_matches(blank).len();
        let word_end = |from: usize| {
            let tail = rest.get(from..).unwrap_or_default();
            from + tail.find(blank).unwrap_or(tail.len())
        };
        let mut end = word_end(plain);
        let word = rest.get(plain..end).unwrap_or_default();
        out.push_str(rest.get(..plain).unwrap_or_default());
        if word.is_empty() || !needs_encoding(word) {
            out.push_str(word);
        } else {
            // the white space between two encoded words is not shown, so a run is encoded together with it
            loop {
                let tail = rest.get(end..).unwrap_or_default();
                let gap = tail.len() - tail.trim_start_matches(blank).len();
                let next = rest.get(end + gap..word_end(end + gap)).unwrap_or_default();
                if next.is_empty() || !needs_encoding(next) {
                    break;
                }
                end = word_end(end + gap);
            }
            out.push_str(&encode_whole(rest.get(plain..end).unwrap_or_default()));
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    Cow::Owned(out)
}

fn needs_encoding_unless_empty(word: &str) -> bool {
    !word.is_empty() && needs_encoding(word)
}

/// All of `text` as encoded words, split between characters.
pub(super) fn encode_whole(text: &str) -> String {
    let mut out = String::new();
    let mut chunk = String::new();
    let mut flush = |chunk: &mut String| {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str("=?utf-8?B?");
        out.push_str(&BASE64.encode(chunk.as_bytes()));
        out.push_str("?=");
        chunk.clear();
    };
    for c in text.chars() {
        if chunk.len() + c.len_utf8() > CHUNK {
            flush(&mut chunk);
        }
        chunk.push(c);
    }
    flush(&mut chunk);
    out
}

/// Unfolded text as a person reads it: encoded words decoded, control characters left out.
pub(super) fn decode(text: &str) -> String {
    let mut line = text.as_bytes().to_vec();
    line.push(b'\n');
    let value = MessageStream::new(&line).parse_unstructured();
    let decoded = value.as_text().unwrap_or_default();
    decoded.chars().filter(|c| !c.is_control()).collect()
}
