//! Content-Transfer-Encoding (RFC 2045 §6), exact to the octet: writing in constant memory, reading without guessing.

use data_encoding::BASE64;

/// How octets are written into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferEncoding {
    /// As they are, announced as 8bit: for messages and multiparts, which must not be encoded (RFC 2045 §6.4).
    Identity,
    /// RFC 2045 §6.7; octets that are no text survive it too.
    QuotedPrintable,
    /// RFC 2045 §6.8, in lines of 76 characters.
    Base64,
}

impl TransferEncoding {
    /// The value of Content-Transfer-Encoding.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "8bit",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }

    /// The encoding that suits a media type: text stays readable, messages and multiparts stay as they are.
    #[must_use]
    pub fn suited_to(media_type: &str) -> Self {
        match media_type.split('/').next().unwrap_or_default() {
            "message" | "multipart" => Self::Identity,
            "text" => Self::QuotedPrintable,
            _ => Self::Base64,
        }
    }
}

/// Octets that make one line of base64.
const BASE64_LINE: usize = 57;
/// The longest line of quoted-printable without the `=` of a soft break (RFC 2045 §6.7 rule 5).
const QUOTED_LINE: usize = 75;

/// Encodes octets as they come. Memory does not grow with them, and how they are cut into calls changes nothing.
#[derive(Debug, Clone)]
pub struct TransferEncoder {
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Identity,
    Base64 { line: Vec<u8> },
    Quoted(Quoted),
}

/// Quoted-printable in the middle: what may not be written before the next octet is known.
#[derive(Debug, Clone, Default)]
struct Quoted {
    column: usize,
    white: Option<u8>,
    carriage_return: bool,
}

impl TransferEncoder {
    /// An encoder that has seen nothing.
    #[must_use]
    pub fn new(encoding: TransferEncoding) -> Self {
        let state = match encoding {
            TransferEncoding::Identity => State::Identity,
            TransferEncoding::QuotedPrintable => State::Quoted(Quoted::default()),
            TransferEncoding::Base64 => State::Base64 {
                line: Vec::with_capacity(BASE64_LINE),
            },
        };
        Self { state }
    }

    /// Takes the next octets and appends what can be written of them to `out`.
    pub fn write(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match &mut self.state {
            State::Identity => out.extend_from_slice(octets),
            State::Base64 { line } => {
                out.reserve(octets.len() / 3 * 4 + octets.len() / 28 + 80);
                let mut rest = octets;
                while !rest.is_empty() {
                    let room = BASE64_LINE.saturating_sub(line.len()).min(rest.len());
                    let (taken, left) = rest.split_at(room);
                    rest = left;
                    if line.is_empty() && taken.len() == BASE64_LINE {
                        base64_line(taken, out);
                        continue;
                    }
                    line.extend_from_slice(taken);
                    if line.len() == BASE64_LINE {
                        base64_line(line, out);
                        line.clear();
                    }
                }
            }
            State::Quoted(quoted) => octets.iter().for_each(|octet| quoted.take(*octet, out)),
        }
    }

    /// Appends what is left to `out`. What base64 and quoted-printable wrote then ends with CR LF, or is empty.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.state {
            State::Base64 { line } if !line.is_empty() => base64_line(&line, out),
            State::Quoted(quoted) => quoted.finish(out),
            _ => {}
        }
    }
}

fn base64_line(octets: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + BASE64.encode_len(octets.len()), 0);
    if let Some(room) = out.get_mut(start..) {
        BASE64.encode_mut(octets, room);
    }
    out.extend_from_slice(b"\r\n");
}

impl Quoted {
    fn take(&mut self, octet: u8, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.carriage_return) {
            if octet == b'\n' {
                if let Some(white) = self.white.take() {
                    self.escaped(white, out); // white space at the end of a line would be lost (rule 3)
                }
                out.extend_from_slice(b"\r\n");
                self.column = 0;
                return;
            }
            self.flush_white(out);
            self.escaped(b'\r', out);
        }
        match octet {
            b'\r' => self.carriage_return = true,
            b' ' | b'\t' => {
                self.flush_white(out);
                self.white = Some(octet);
            }
            b'=' => {
                self.flush_white(out);
                self.escaped(octet, out);
            }
            b'!'..=b'~' => {
                self.flush_white(out);
                self.put(&[octet], out);
            }
            _ => {
                self.flush_white(out);
                self.escaped(octet, out);
            }
        }
    }

    fn flush_white(&mut self, out: &mut Vec<u8>) {
        if let Some(white) = self.white.take() {
            self.put(&[white], out);
        }
    }

    fn escaped(&mut self, octet: u8, out: &mut Vec<u8>) {
        let digit = |nibble: u8| {
            if nibble < 10 {
                b'0' + nibble
            } else {
                b'A' + nibble - 10
            }
        };
        self.put(&[b'=', digit(octet >> 4), digit(octet & 15)], out);
    }

    fn put(&mut self, token: &[u8], out: &mut Vec<u8>) {
        if self.column + token.len() > QUOTED_LINE {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
        out.extend_from_slice(token);
        self.column += token.len();
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        if let Some(white) = self.white.take() {
            self.escaped(white, out);
        }
        if self.carriage_return {
            self.escaped(b'\r', out);
        }
        if self.column > 0 {
            out.extend_from_slice(b"=\r\n"); // a line break that is not part of the octets
        }
    }
}

/// Undoes base64. White space is passed; anything else that is not of the alphabet, and anything behind the padding,
/// is refused, because readers disagree on it (row M02).
pub(super) fn base64(body: &[u8]) -> Option<Vec<u8>> {
    let mut compact = Vec::with_capacity(body.len());
    let mut padding = 0_usize;
    for byte in body {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'=' => padding += 1,
            _ if padding > 0 => return None,
            _ => compact.push(*byte),
        }
    }
    let rest = compact.len() % 4;
    let fits = padding == 0 || (rest >= 2 && padding == 4 - rest);
    if rest == 1 || !fits {
        return None;
    }
    LENIENT_BITS.decode(&compact).ok()
}

/// The alphabet of RFC 4648 §4 without padding; the bits that fill the last character are not looked at.
static LENIENT_BITS: std::sync::LazyLock<data_encoding::Encoding> = std::sync::LazyLock::new(|| {
    let mut specification = data_encoding::BASE64_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification
        .encoding()
        .expect("BASE64_NOPAD with unchecked trailing bits is a valid encoding")
});

/// Undoes quoted-printable. White space at the end of a line was added on the way and goes (rule 3); an `=` that
/// begins neither an escape nor a soft break is refused.
pub(super) fn quoted_printable(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while !rest.is_empty() {
        let (line, broken, tail) = match rest.windows(2).position(|pair| pair == b"\r\n") {
            Some(at) => (rest.get(..at)?, true, rest.get(at + 2..)?),
            None => (rest, false, b"".as_slice()),
        };
        rest = tail;
        let line = without_trailing_white(line);
        let soft = line.last() == Some(&b'=');
        let line = if soft { line.get(..line.len() - 1)? } else { line };
        unescape(line, &mut out)?;
        if broken && !soft {
            out.extend_from_slice(b"\r\n");
        }
    }
    Some(out)
}

fn unescape(line: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        if *byte != b'=' {
            out.push(*byte);
            at += 1;
            continue;
        }
        let digit = |b: &u8| char::from(*b).to_digit(16);
        let octet = digit(line.get(at + 1)?)? * 16 + digit(line.get(at + 2)?)?;
        out.push(u8::try_from(octet).ok()?);
        at += 3;
    }
    Some(())
}

fn without_trailing_white(line: &[u8]) -> &[u8] {
    let end = line
        .iter()
        .rposition(|b| !matches!(b, b' ' | b'\t'))
        .map_or(0, |at| at + 1);
    line.get(..end).unwrap_or_default()
}
