//! The tree of a message over the numbers of its parts: `mixed(alternative(1 related(2 3)) 4)`.

use std::fmt;
use std::str::FromStr;

/// Why a structure was refused: it is ambiguous, and is not guessed (THREATS M02).
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
    /// Deeper than [`crate::limits::PART_DEPTH`].
    #[error("the structure is deeper than {}", crate::limits::PART_DEPTH)]
    TooDeep,
    /// Not as many numbers as parts, or more than [`crate::limits::RESOURCES`].
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

/// A node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// The part at this index, counted from 0 (the text form counts from 1).
    Part(usize),
    /// A multipart with its children in order.
    Multipart(Multipart, Vec<Node>),
}

/// A tree that names each part exactly once and is at most [`crate::limits::PART_DEPTH`] deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    root: Node,
    parts: usize,
}

impl Structure {
    /// A tree over `parts` parts.
    ///
    /// # Errors
    /// [`StructureError`] when it does not name each of them exactly once, or is too deep.
    pub fn new(_root: Node, _parts: usize) -> Result<Self, StructureError> {
        todo!()
    }

    /// What a placeholder without a structure means: the only part, or all of them one after the other.
    #[must_use]
    pub fn flat(_parts: usize) -> Self {
        todo!()
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
}

impl fmt::Display for Structure {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl FromStr for Structure {
    type Err = StructureError;
    fn from_str(_text: &str) -> Result<Self, StructureError> {
        todo!()
    }
}
