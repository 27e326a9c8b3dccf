//! One command line. The grammar is `smtp-proto`'s; stricter here is what a line is, and what a path is: that parser
//! unquotes local parts and drops source routes, and this server takes neither (S04).

use smtp_proto::{Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_SMTPUTF8, MailFrom, RcptTo, Request};

use super::reply::Reply;
use crate::address::Address;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Hello { host: String, extended: bool },
    Mail(Sender),
    Recipient(Recipient),
    Data,
    Chunk { size: usize, last: bool },
    Reset,
    Noop,
    Help,
    Verify,
    StartTls,
    Quit,
}

/// The reverse path and what was said with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sender {
    /// None for `<>`.
    pub(super) address: Option<Address>,
    /// The announced size; 0 when none was.
    pub(super) size: usize,
    /// Whether SMTPUTF8 was said.
    pub(super) utf8: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recipient {
    Address(Address),
    /// `<postmaster>`, without a domain (RFC 5321 §4.5.1).
    Postmaster,
}

/// Why a line is no command that is carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// What it is told.
    Reply(Reply),
    /// What it is told last: it does not speak SMTP, or nobody knows where its commands go on.
    Last(Reply),
}

fn bad(code: u16, enhanced: (u8, u16, u16), text: &str) -> Bad {
    Bad::Reply(Reply::new(code, enhanced, text))
}

/// Reads a line, with its end.
pub(super) fn parse(line: &[u8]) -> Result<Command, Bad> {
    let Some(text) = line.strip_suffix(b"\r\n") else {
        return Err(bad(500, (5, 5, 2), "a line ends with CR LF"));
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return Err(bad(500, (5, 5, 2), "the line is not UTF-8"));
    };
    if text.chars().any(char::is_control) {
        return Err(bad(500, (5, 5, 2), "control characters in a command"));
    }
    if http(text) {
        return Err(Bad::Last(Reply::new(554, (5, 5, 1), "this is not HTTP")));
    }
    let request = Request::parse(&mut line.iter()).map_err(|error| refused(&error, text))?;
    Ok(match request {
        Request::Ehlo { host } => hello(&host, true)?,
        Request::Helo { host } => hello(&host, false)?,
        Request::Mail { from } => Command::Mail(sender(text, &from)?),
        Request::Rcpt { to } => Command::Recipient(recipient(text, &to)?),
        Request::Data => Command::Data,
        Request::Bdat { chunk_size, is_last } => Command::Chunk {
            size: chunk_size,
            last: is_last,
        },
        Request::Rset => Command::Reset,
        Request::Noop { .. } => Command::Noop,
        Request::Help { .. } => Command::Help,
        Request::Vrfy { .. } => Command::Verify,
        Request::StartTls => Command::StartTls,
        Request::Quit => Command::Quit,
        Request::Lhlo { .. }
        | Request::Auth { .. }
        | Request::Expn { .. }
        | Request::Etrn { .. }
        | Request::Atrn { .. }
        | Request::Burl { .. } => return Err(bad(502, (5, 5, 1), "not offered here")),
    })
}

/// A browser, or something that was made to speak like one (S11).
fn http(text: &str) -> bool {
    let verb = text.split(' ').next().unwrap_or_default();
    let verbs = [
        "GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI",
    ];
    verbs.contains(&verb)
}

fn refused(error: &Error, text: &str) -> Bad {
    // A chunk follows, of unknown size.
    if text
        .get(..4)
        .is_some_and(|verb| verb.eq_ignore_ascii_case("BDAT"))
    {
        return Bad::Last(Reply::new(501, (5, 5, 4), "not the size of a chunk"));
    }
    match error {
        Error::UnknownCommand => bad(500, (5, 5, 1), "no such command"),
        Error::InvalidSenderAddress => bad(553, (5, 1, 7), "not a sender's address"),
        Error::InvalidRecipientAddress => bad(553, (5, 1, 3), "not a recipient's address"),
        Error::UnsupportedParameter { .. } => bad(555, (5, 5, 4), "a parameter that is not offered"),
        Error::InvalidParameter { .. } => bad(501, (5, 5, 4), "a parameter's value is wrong"),
        Error::SyntaxError { .. }
        | Error::NeedsMoreData { .. }
        | Error::ResponseTooLong
        | Error::InvalidResponse { .. } => bad(501, (5, 5, 2), "not the form of this command"),
    }
}

fn hello(host: &str, extended: bool) -> Result<Command, Bad> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if !host.chars().all(fits) {
        return Err(bad(501, (5, 5, 4), "not a name"));
    }
    let host = host.to_owned();
    Ok(Command::Hello { host, extended })
}

/// What stands between the angle brackets, as written.
fn path(text: &str) -> Option<&str> {
    Some(text.split_once('<')?.1.split_once('>')?.0)
}

fn sender<T>(text: &str, from: &MailFrom<T>) -> Result<Sender, Bad> {
    let foreign = from.flags & !(MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_SMTPUTF8) != 0
        || from.trans_id.is_some()
        || from.env_id.is_some()
        || from.solicit.is_some()
        || from.mtrk.is_some()
        || from.auth.is_some()
        || (from.by, from.hold_for, from.hold_until, from.mt_priority) != (0, 0, 0, 0);
    if foreign {
        return Err(bad(555, (5, 5, 4), "a parameter that is not offered"));
    }
    let utf8 = from.flags & MAIL_SMTPUTF8 != 0;
    let address = match path(text) {
        Some("") => None,
        Some(path) => match Address::parse(path) {
            Ok(address) => Some(address),
            Err(_) => return Err(bad(553, (5, 1, 7), "not a sender's address")),
        },
        None => return Err(bad(501, (5, 5, 2), "not the form of this command")),
    };
    if !utf8 && !path(text).unwrap_or_default().is_ascii() {
        return Err(bad(553, (5, 6, 7), "say SMTPUTF8 with MAIL first"));
    }
    let size = from.size;
    Ok(Sender { address, size, utf8 })
}

fn recipient<T>(text: &str, to: &RcptTo<T>) -> Result<Recipient, Bad> {
    if to.orcpt.is_some() || to.rrvs != 0 || to.flags != 0 {
        return Err(bad(555, (5, 5, 4), "a parameter that is not offered"));
    }
    let path = path(text).unwrap_or_default();
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok(Recipient::Postmaster);
    }
    match Address::parse(path) {
        Ok(address) => Ok(Recipient::Address(address)),
        Err(_) => Err(bad(553, (5, 1, 3), "not a recipient's address")),
    }
}
