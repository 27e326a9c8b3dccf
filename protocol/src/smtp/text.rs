//! The octets of a message, as DATA or BDAT bring them.
//!
//! What always holds: a message with a bare CR, a bare LF or a NUL, with a line above 1000 octets, with too long a header
//! or itself too long is never given out, and none of that shifts where the message ends: only CR LF . CR LF does.

use bytes::Bytes;

use super::reply::Reply;
use crate::fault::Fault;
use crate::limits;

/// How the octets come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// DATA: dots are stuffed, a dot alone on its line is the end.
    Stuffed,
    /// BDAT: as they are.
    Plain,
}

/// Why the message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A CR or LF that does not belong to a CR LF.
    LineEnd,
    /// A NUL.
    Nul,
    /// A line above 1000 octets (RFC 5321 §4.5.3.1.6).
    LongLine,
    /// The header is too long.
    LongHeader,
    /// The message is too long.
    TooLarge,
    /// There is no memory for it now.
    NoRoom,
}

impl Flaw {
    pub(super) fn reply(self) -> Reply {
        let of = |fault: Fault, text| {
            let reply = fault.smtp();
            Reply::new(reply.code, reply.enhanced, text)
        };
        match self {
            Flaw::LineEnd => of(Fault::Malformed, "CR or LF that is not a line's end"),
            Flaw::Nul => of(Fault::Malformed, "NUL in the message"),
            Flaw::LongLine => of(Fault::Malformed, "a line is longer than 1000 octets"),
            Flaw::LongHeader => of(Fault::TooLarge, "the header is too large"),
            Flaw::TooLarge => Reply::fault(Fault::TooLarge),
            Flaw::NoRoom => Reply::new(452, (4, 3, 1), "no room for it now, try again later"),
        }
    }
}

/// Where the last octet stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the beginning of a line.
    Begin,
    /// Behind the first dot of a line.
    Dot,
    /// Behind a CR that follows that dot.
    DotCr,
    /// Within a line.
    Within,
    /// Behind a CR.
    Cr,
}

/// A message that is coming.
#[derive(Debug)]
pub(super) struct Text {
    coding: Coding,
    size: usize,
    octets: Vec<u8>,
    at: At,
    /// Octets of the line so far.
    line: usize,
    /// Octets of the header so far; none behind it.
    header: Option<usize>,
    seen: usize,
    flaw: Option<Flaw>,
}

impl Text {
    pub(super) fn new(coding: Coding, size: usize) -> Self {
        Self {
            coding,
            size,
            octets: Vec::new(),
            at: At::Begin,
            line: 0,
            header: Some(0),
            seen: 0,
            flaw: None,
        }
    }

    /// Octets of memory taken.
    pub(super) fn holds(&self) -> usize {
        self.octets.capacity()
    }

    /// Octets that came, kept or not.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// What is wrong so far.
    pub(super) fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }

    /// There is no memory: nothing more is kept.
    pub(super) fn no_room(&mut self) {
        self.spoil(Flaw::NoRoom);
    }

    /// Takes octets in; the number of those that were still the message's, with its end, when it ended.
    pub(super) fn take(&mut self, input: &[u8]) -> Option<usize> {
        let mut rest = input;
        while let Some((&octet, behind)) = rest.split_first() {
            if self.at == At::Within {
                let special = |octet: &u8| matches!(octet, 0 | b'\r' | b'\n');
                let plain = rest.iter().position(special).unwrap_or(rest.len());
                if let (1.., Some((run, tail))) = (plain, rest.split_at_checked(plain)) {
                    self.seen += plain;
                    self.keep(run);
                    rest = tail;
                    continue;
                }
            }
            self.seen += 1;
            rest = behind;
            if self.step(octet) {
                return Some(input.len() - rest.len());
            }
        }
        None
    }

    /// One octet; true when it ends the message.
    fn step(&mut self, octet: u8) -> bool {
        match (self.at, octet) {
            (At::DotCr, b'\n') => return true,
            (At::Begin, b'.') if self.coding == Coding::Stuffed => self.at = At::Dot,
            (At::Dot, b'\r') => self.at = At::DotCr,
            (At::DotCr, _) => {
                self.spoil(Flaw::LineEnd);
                self.within(octet);
            }
            (At::Cr, b'\n') => {
                self.keep(b"\r\n");
                self.line_ends();
            }
            (At::Cr, _) => {
                self.spoil(Flaw::LineEnd);
                self.within(octet);
            }
            (At::Begin | At::Dot | At::Within, _) => self.within(octet),
        }
        false
    }

    fn within(&mut self, octet: u8) {
        self.at = match octet {
            b'\r' => At::Cr,
            b'\n' => {
                self.spoil(Flaw::LineEnd);
                At::Within
            }
            0 => {
                self.spoil(Flaw::Nul);
                At::Within
            }
            octet => {
                self.keep(&[octet]);
                At::Within
            }
        };
    }

    fn keep(&mut self, octets: &[u8]) {
        self.line += octets.len();
        if self.line > limits::SMTP_TEXT_LINE {
            self.spoil(Flaw::LongLine);
        }
        if let Some(header) = &mut self.header {
            *header += octets.len();
            if *header > limits::HEADERS {
                self.spoil(Flaw::LongHeader);
            }
        }
        if self.flaw.is_some() {
            return;
        }
        if self.octets.len() + octets.len() > self.size {
            return self.spoil(Flaw::TooLarge);
        }
        let needed = self.octets.len() + octets.len();
        if needed > self.octets.capacity() {
            // Not more than the largest message needs: what is reserved counts as taken.
            let room = needed.max(self.octets.capacity() * 2).min(self.size);
            self.octets.reserve_exact(room - self.octets.len());
        }
        self.octets.extend_from_slice(octets);
    }

    fn line_ends(&mut self) {
        if self.line == 2 {
            self.header = None;
        }
        self.line = 0;
        self.at = At::Begin;
    }

    fn spoil(&mut self, flaw: Flaw) {
        self.flaw.get_or_insert(flaw);
        self.octets = Vec::new();
    }

    /// The message, when there is nothing wrong with it; its last line has an end.
    pub(super) fn finish(mut self) -> Result<Bytes, Flaw> {
        match self.at {
            At::Cr => self.spoil(Flaw::LineEnd),
            At::Within => self.keep(b"\r\n"),
            At::Begin | At::Dot | At::DotCr => {}
        }
        match self.flaw {
            Some(flaw) => Err(flaw),
            None => Ok(Bytes::from(self.octets)),
        }
    }
}
