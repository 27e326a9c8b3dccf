//! Replies of the server (RFC 5321 §4.2, RFC 2034).

use crate::fault::Fault;

/// One reply of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    code: u16,
    enhanced: Option<(u8, u16, u16)>,
    text: String,
}

impl Reply {
    pub(super) fn new(code: u16, enhanced: (u8, u16, u16), text: &str) -> Self {
        Self {
            code,
            enhanced: Some(enhanced),
            text: text.to_owned(),
        }
    }

    /// Without an enhanced code: greetings, and what comes before a message.
    pub(super) fn plain(code: u16, text: String) -> Self {
        Self {
            code,
            enhanced: None,
            text,
        }
    }

    pub(super) fn fault(fault: Fault) -> Self {
        let reply = fault.smtp();
        Self::new(reply.code, reply.enhanced, reply.text)
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        let text = match self.enhanced {
            Some((class, subject, detail)) => format!("{class}.{subject}.{detail} {}", self.text),
            None => self.text.clone(),
        };
        lines(self.code, &[text])
    }
}

/// A reply of several lines.
pub(super) fn lines(code: u16, lines: &[String]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let mark = if index + 1 == lines.len() { ' ' } else { '-' };
        octets.extend_from_slice(format!("{code}{mark}{line}\r\n").as_bytes());
    }
    octets
}
