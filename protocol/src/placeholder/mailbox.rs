//! Addresses as header fields show them (RFC 5322 §3.4): a display name and an address.
//!
//! Not here: what an address is ([`crate::address`]), and whether it is the author's (nothing in a header proves that).

use super::header::{Header, HeaderError, refuse_line_breaks};
use super::words;
use crate::address::{Address, NameError};

/// Why a list of addresses was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// The grammar of RFC 5322 §3.4 is broken.
    #[error("{0:?} is not a list of addresses")]
    Grammar(String),
    /// An address in it is none.
    #[error(transparent)]
    Address(#[from] NameError),
}

/// `Alice Sanders <alice@foo.com>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// What a person reads, decoded. It proves nothing.
    pub name: Option<String>,
    /// The address.
    pub address: Address,
}

impl Mailbox {
    /// An address without a display name.
    #[must_use]
    pub fn bare(address: Address) -> Self {
        Self { name: None, address }
    }

    /// An address with a display name.
    #[must_use]
    pub fn named(name: impl Into<String>, address: Address) -> Self {
        Self {
            name: Some(name.into()),
            address,
        }
    }

    /// A field that lists addresses, names as encoded words where needed, folded between addresses.
    ///
    /// # Errors
    /// [`HeaderError`] for a line break or NUL in a display name (row S03).
    pub fn header(field: &str, list: &[Mailbox]) -> Result<Header, HeaderError> {
        let mut value = String::new();
        for mailbox in list {
            if !value.is_empty() {
                value.push_str(", ");
            }
            match mailbox.name.as_deref().map(|name| name.trim_matches([' ', '\t'])) {
                Some(name) if !name.is_empty() => {
                    refuse_line_breaks(field, name)?;
                    value.push_str(&phrase(name));
                    value.push_str(&format!(" <{}>", mailbox.address));
                }
                _ => value.push_str(&mailbox.address.to_string()),
            }
        }
        Header::folded(field, &value)
    }
}

/// A display name as atoms, as a quoted string, or as encoded words, whatever it needs (RFC 5322 §3.2.5).
fn phrase(name: &str) -> String {
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    if name.contains("=?") || !name.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return words::encode_whole(name);
    }
    if name
        .split(' ')
        .all(|word| !word.is_empty() && word.bytes().all(atom))
    {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Reads a list of addresses strictly: display names, comments, quoted strings, groups (whose members are listed).
///
/// # Errors
/// [`MailboxError`] at the first element that is none.
pub fn mailboxes(body: &str) -> Result<Vec<Mailbox>, MailboxError> {
    elements(body)?.into_iter().collect()
}

/// The elements of a list that can be read.
pub(super) fn readable(body: &str) -> Vec<Mailbox> {
    elements(body)
        .map(|list| list.into_iter().flatten().collect())
        .unwrap_or_default()
}

/// The one mailbox of a From field; a group names nobody in particular, and of several nobody is the author (row S10).
#[must_use]
pub fn author(body: &str) -> Option<Mailbox> {
    match mailboxes(body).ok()?.as_slice() {
        [author] if !has_group(body) => Some(author.clone()),
        _ => None,
    }
}

/// Whether a list of addresses has a group in it.
pub(super) fn has_group(body: &str) -> bool {
    tokens(body)
        .unwrap_or_default()
        .iter()
        .any(|token| token.kind == Kind::Special(':'))
}

/// What the grammar of addresses is made of. `glued`: nothing stands between it and the token before.
#[derive(Debug, PartialEq)]
enum Kind {
    Word(String),
    Quoted(String),
    Special(char),
}

struct Token {
    kind: Kind,
    glued: bool,
}

fn grammar(body: &str) -> MailboxError {
    MailboxError::Grammar(body.chars().take(128).collect())
}

fn tokens(body: &str) -> Option<Vec<Token>> {
    let mut out: Vec<Token> = Vec::new();
    let mut chars = body.chars().peekable();
    let mut glued = true;
    while let Some(c) = chars.next() {
        let kind = match c {
            ' ' | '\t' => {
                glued = false;
                continue;
            }
            '(' => {
                let mut depth = 1_usize;
                while depth > 0 {
                    match chars.next()? {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        '\\' => drop(chars.next()?),
                        _ => {}
                    }
                }
                glued = false;
                continue;
            }
            '"' => {
                let mut text = String::new();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => text.push(chars.next()?),
                        c => text.push(c),
                    }
                }
                Kind::Quoted(text)
            }
            '<' | '>' | ',' | ':' | ';' | '@' => Kind::Special(c),
            '[' | ']' | ')' | '\\' => return None,
            c if c.is_control() => return None,
            c => {
                let mut text = String::from(c);
                while let Some(c) = chars.next_if(|c| !" \t()<>,:;@[]\\\"".contains(*c) && !c.is_control()) {
                    text.push(c);
                }
                Kind::Word(text)
            }
        };
        out.push(Token { kind, glued });
        glued = true;
    }
    Some(out)
}

fn elements(body: &str) -> Result<Vec<Result<Mailbox, MailboxError>>, MailboxError> {
    let mut out = Vec::new();
    let mut element: Vec<Token> = Vec::new();
    let mut in_group = false;
    let mut in_angle = false;
    let mut closed_group = false;
    for token in tokens(body).ok_or_else(|| grammar(body))? {
        match token.kind {
            Kind::Special('<') => in_angle = true,
            Kind::Special('>') => in_angle = false,
            _ => {}
        }
        match token.kind {
            Kind::Special(':') if !in_angle && !in_group && element.iter().all(is_phrase) => {
                in_group = true;
                element.clear();
            }
            Kind::Special(';') if !in_angle && in_group => {
                in_group = false;
                closed_group = true;
                if !element.is_empty() {
                    out.push(one(&element, body));
                    element.clear();
                }
            }
            Kind::Special(',') if !in_angle => {
                if !(closed_group && element.is_empty()) {
                    out.push(one(&element, body));
                }
                closed_group = false;
                element.clear();
            }
            _ => element.push(token),
        }
    }
    if in_group {
        return Err(grammar(body));
    }
    if !element.is_empty() || !(closed_group || out.is_empty()) {
        out.push(one(&element, body));
    }
    Ok(out)
}

fn is_phrase(token: &Token) -> bool {
    !matches!(token.kind, Kind::Special(_))
}

/// `addr-spec`, or a phrase and `<addr-spec>`.
fn one(element: &[Token], body: &str) -> Result<Mailbox, MailboxError> {
    let open = element.iter().position(|token| token.kind == Kind::Special('<'));
    let (name, spec) = match open {
        None => (None, element),
        Some(at) => {
            let (phrase, rest) = element.split_at_checked(at).ok_or_else(|| grammar(body))?;
            let spec = match rest {
                [_, spec @ .., last] if last.kind == Kind::Special('>') => spec,
                _ => return Err(grammar(body)),
            };
            if !phrase.iter().all(is_phrase) {
                return Err(grammar(body));
            }
            (display(phrase), spec)
        }
    };
    let [local, at, domain] = spec else {
        return Err(grammar(body));
    };
    let (Kind::Word(left) | Kind::Quoted(left), Kind::Special('@'), Kind::Word(right)) =
        (&local.kind, &at.kind, &domain.kind)
    else {
        return Err(grammar(body));
    };
    if !at.glued || !domain.glued {
        return Err(grammar(body));
    }
    Ok(Mailbox {
        name,
        address: Address::parse(&format!("{left}@{right}"))?,
    })
}

fn display(phrase: &[Token]) -> Option<String> {
    let mut text = String::new();
    for token in phrase {
        let (Kind::Word(word) | Kind::Quoted(word)) = &token.kind else {
            continue;
        };
        if !text.is_empty() && !token.glued {
            text.push(' ');
        }
        text.push_str(word);
    }
    let text = words::decode(&text);
    (!text.is_empty()).then_some(text)
}
