//! The tree of a message over the numbers of its parts: `mixed(alternative(1 related(2 3)) 4)`.
//!
//! Always: each part is named exactly once, and the tree is at most [`limits::PART_DEPTH`] multiparts deep, so that walking
//! it by recursion is bounded. Reading the text form does not recurse.

use std::fmt;
use std::str::FromStr;

use crate::limits;

/// Why a structure was refused: it is ambiguous, and is not guessed (row M02).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    /// The grammar is broken at this octet.
    #[error("the structure breaks its grammar at octet {at}")]
    Grammar {
        /// Octets before the break.
        at: usize,
    },
    /// A word other than mixed, alternative, related.
    #[error("{0:?} is not a kind of multipart that a structure knows")]
    UnknownMultipart(String),
    /// Deeper than [`limits::PART_DEPTH`].
    #[error("the structure is deeper than {}", limits::PART_DEPTH)]
    TooDeep,
    /// A multipart without parts, other than the one that is all of the message.
    #[error("the structure has an empty multipart")]
    Empty,
    /// Not as many numbers as parts, or more than [`limits::RESOURCES`].
    #[error("the structure has {found} numbers for {parts} parts")]
    Count {
        /// Numbers in the structure.
        found: usize,
        /// Parts of the message.
        parts: usize,
    },
    /// A number that is no part.
    #[error("the structure names part {0}, which is not there")]
    OutOfRange(usize),
    /// A number that stands twice.
    #[error("the structure names part {0} twice")]
    Twice(usize),
}

/// The kinds of multipart that a structure knows; every other kind is one part, kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Multipart {
    /// Parts one after the other (RFC 2046 §5.1.3).
    Mixed,
    /// The same in several forms, the best last (RFC 2046 §5.1.4).
    Alternative,
    /// A root and what it refers to (RFC 2387).
    Related,
}

impl Multipart {
    /// The subtype.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Alternative => "alternative",
            Self::Related => "related",
        }
    }

    /// The kind of this subtype, in any case.
    #[must_use]
    pub fn named(subtype: &str) -> Option<Self> {
        [Self::Mixed, Self::Alternative, Self::Related]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(subtype))
    }
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// The part at this index, counted from 0 (the text form counts from 1).
    Part(usize),
    /// A multipart with its children in order.
    Multipart(Multipart, Vec<Node>),
}

/// A tree that names each part exactly once and is at most [`limits::PART_DEPTH`] deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    root: Node,
    parts: usize,
}

impl Structure {
    /// A tree over `parts` parts.
    ///
    /// # Errors
    /// [`StructureError`] when it does not name each of them exactly once, is too deep, or has an empty multipart.
    pub fn new(root: Node, parts: usize) -> Result<Self, StructureError> {
        let mut seen = vec![false; parts.min(limits::RESOURCES)];
        let mut found = 0_usize;
        let mut stack = vec![(&root, 0_usize)];
        while let Some((node, depth)) = stack.pop() {
            match node {
                Node::Part(index) => {
                    let place = seen
                        .get_mut(*index)
                        .ok_or(StructureError::OutOfRange(index.saturating_add(1)))?;
                    if std::mem::replace(place, true) {
                        return Err(StructureError::Twice(index + 1));
                    }
                    found += 1;
                }
                Node::Multipart(_, _) if depth >= limits::PART_DEPTH => return Err(StructureError::TooDeep),
                Node::Multipart(_, children) if children.is_empty() && depth > 0 => {
                    return Err(StructureError::Empty);
                }
                Node::Multipart(_, children) => {
                    stack.extend(children.iter().rev().map(|child| (child, depth + 1)));
                }
            }
        }
        if found != parts {
            return Err(StructureError::Count { found, parts });
        }
        Ok(Self { root, parts })
    }

    /// What a placeholder without a structure means: the only part, or all of them one after the other.
    #[must_use]
    pub fn flat(parts: usize) -> Self {
        let root = match parts {
            1 => Node::Part(0),
            _ => Node::Multipart(Multipart::Mixed, (0..parts).map(Node::Part).collect()),
        };
        Self { root, parts }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// How many parts it names.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The same without the parts for which `known` does not hold, the others numbered anew.
    pub(super) fn only(self, known: &[bool]) -> Self {
        let mut numbers = Vec::with_capacity(known.len());
        let mut parts = 0;
        for known in known {
            numbers.push(known.then_some(parts));
            parts += usize::from(*known);
        }
        let root = pruned(self.root, &numbers).unwrap_or(Node::Multipart(Multipart::Mixed, Vec::new()));
        Self { root, parts }
    }
}

/// Recursion as deep as the tree, which is bounded.
fn pruned(node: Node, numbers: &[Option<usize>]) -> Option<Node> {
    match node {
        Node::Part(index) => numbers.get(index).copied().flatten().map(Node::Part),
        Node::Multipart(kind, children) => {
            let kept: Vec<Node> = children
                .into_iter()
                .filter_map(|child| pruned(child, numbers))
                .collect();
            (!kept.is_empty()).then_some(Node::Multipart(kind, kept))
        }
    }
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(&self.root, f)
    }
}

/// Recursion as deep as the tree, which is bounded.
fn write(node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match node {
        Node::Part(index) => write!(f, "{}", index + 1),
        Node::Multipart(kind, children) => {
            write!(f, "{}(", kind.name())?;
            for (at, child) in children.iter().enumerate() {
                if at > 0 {
                    f.write_str(" ")?;
                }
                write(child, f)?;
            }
            f.write_str(")")
        }
    }
}

impl FromStr for Structure {
    type Err = StructureError;

    /// Reads the text form; white space may stand around numbers, words with their parenthesis, and closing parentheses. The parts are those that it names.
    fn from_str(text: &str) -> Result<Self, StructureError> {
        let mut open: Vec<(Multipart, Vec<Node>)> = Vec::new();
        let mut root: Option<Node> = None;
        let mut parts = 0;
        let mut rest = text;
        loop {
            let blank = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            let apart = blank.len() < rest.len();
            rest = blank;
            if rest.is_empty() {
                break;
            }
            let at = text.len() - rest.len();
            let grammar = StructureError::Grammar { at };
            if root.is_some() {
                return Err(grammar);
            }
            let behind_close = at > 0 && text.as_bytes().get(at - 1) == Some(&b')');
            let first = open.last().is_none_or(|(_, children)| children.is_empty());
            let done = if let Some(tail) = rest.strip_prefix(')') {
                rest = tail;
                let (kind, children) = open.pop().ok_or(grammar)?;
                Node::Multipart(kind, children)
            } else if !first && !apart && !behind_close {
                return Err(grammar);
            } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let (digits, tail) = rest.split_at(end);
                rest = tail;
                parts += 1;
                Node::Part(number(digits).ok_or(grammar)? - 1)
            } else {
                let end = rest.find('(').ok_or(grammar.clone())?;
                let (word, tail) = rest.split_at(end);
                let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                if !plain {
                    return Err(grammar);
                }
                let kind = Multipart::named(word)
                    .ok_or_else(|| StructureError::UnknownMultipart(word.chars().take(64).collect()))?;
                if open.len() >= limits::PART_DEPTH {
                    return Err(StructureError::TooDeep);
                }
                rest = tail.get(1..).unwrap_or_default();
                open.push((kind, Vec::new()));
                continue;
            };
            match open.last_mut() {
                Some((_, children)) => children.push(done),
                None => root = Some(done),
            }
        }
        let root = root
            .filter(|_| open.is_empty())
            .ok_or(StructureError::Grammar { at: text.len() })?;
        if parts > limits::RESOURCES {
            return Err(StructureError::Count {
                found: parts,
                parts: limits::RESOURCES,
            });
        }
        Self::new(root, parts)
    }
}

/// A number from 1, without leading zeros.
fn number(digits: &str) -> Option<usize> {
    (digits.len() <= 5 && !digits.starts_with('0'))
        .then(|| digits.parse().ok())
        .flatten()
}
