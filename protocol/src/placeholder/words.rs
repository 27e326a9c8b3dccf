//! Text that is not ASCII in header fields: encoded words (RFC 2047). Written as UTF-8 in base64, read in any charset.

use std::borrow::Cow;

use data_encoding::BASE64;
use mail_parser::decoders::charsets::map::charset_decoder;

use super::transfer;

/// Octets of one encoded word: 52 characters with its frame, which fits behind every usual field name.
const CHUNK: usize = 30;

/// Whether `word` cannot stand in a header as it is: it is not printable ASCII, or looks like an encoded word.
fn needs_encoding(word: &str) -> bool {
    word.contains("=?") || !word.bytes().all(|b| b.is_ascii_graphic())
}

/// Free text, with each run of words that need it as encoded words. White space between words stays.
pub(super) fn encode(text: &str) -> Cow<'_, str> {
    if !text.split(BLANK).any(needs_encoding_unless_empty) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while !rest.is_empty() {
        let plain = rest.len() - rest.trim_start_matches(BLANK).len();
        let word_end = |from: usize| {
            let tail = rest.get(from..).unwrap_or_default();
            from + tail.find(BLANK).unwrap_or(tail.len())
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
                let gap = tail.len() - tail.trim_start_matches(BLANK).len();
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

/// Unfolded text as a person reads it: encoded words decoded, control characters left out. White space stays as it
/// is, apart from that between two encoded words, which is not shown (RFC 2047 §6.2).
pub(super) fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut run: Option<(&str, Vec<u8>)> = None;
    while let Some(start) = rest.find("=?") {
        let (before, tail) = rest.split_at(start);
        let Some((charset, octets, behind)) = word(tail) else {
            flush(&mut run, &mut out);
            out.push_str(before);
            out.push_str("=?");
            rest = tail.get(2..).unwrap_or_default();
            continue;
        };
        let adjacent = run.is_some() && before.trim_matches([' ', '\t']).is_empty();
        match &mut run {
            // some writers cut a character in two, so words of one charset are joined before they are decoded
            Some((same, joined)) if adjacent && same.eq_ignore_ascii_case(charset) => joined.extend(octets),
            _ => {
                flush(&mut run, &mut out);
                if !adjacent {
                    out.push_str(before);
                }
                run = Some((charset, octets));
            }
        }
        rest = behind;
    }
    flush(&mut run, &mut out);
    out.push_str(rest);
    out.retain(|c| !c.is_control());
    out
}

fn flush(run: &mut Option<(&str, Vec<u8>)>, out: &mut String) {
    if let Some((charset, octets)) = run.take() {
        out.push_str(&in_charset(charset, &octets));
    }
}

/// The encoded word at the beginning of `text`: its charset, its octets, and what stands behind it.
fn word(text: &str) -> Option<(&str, Vec<u8>, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (coded, rest) = rest.split_once("?=")?;
    if charset.contains(BLANK) || coded.contains(BLANK) {
        return None;
    }
    let charset = charset.split('*').next().unwrap_or_default(); // RFC 2231 §5: a language may follow
    let octets = match encoding {
        "B" | "b" => transfer::base64(coded.as_bytes())?,
        "Q" | "q" => transfer::quoted_printable(coded.replace('_', "=20").as_bytes())?,
        _ => return None,
    };
    Some((charset, octets, rest))
}

const BLANK: [char; 2] = [' ', '\t'];

/// Octets in a charset as text. What is UTF-8 is that, whatever it says.
pub(super) fn in_charset(charset: &str, octets: &[u8]) -> String {
    let stateful = ["iso-2022-jp", "iso-2022-kr", "utf-7", "hz-gb-2312"]
        .iter()
        .any(|s| charset.eq_ignore_ascii_case(s));
    match (std::str::from_utf8(octets), charset_decoder(charset.as_bytes())) {
        (Ok(text), _) if !stateful => text.to_owned(),
        (_, Some(decode)) => decode(octets),
        _ => String::from_utf8_lossy(octets).into_owned(),
    }
}
