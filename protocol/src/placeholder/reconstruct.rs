//! Giving the author's message back.

use super::model::Placeholder;
use super::transfer::TransferEncoding;

/// A piece of a message that is written piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Octets to write as they are.
    Bytes(Vec<u8>),
    /// The octets of the part at `index` (from 0), through a [`super::TransferEncoder`] of this encoding.
    Resource {
        /// The part, counted from 0.
        index: usize,
        /// How to write its octets.
        encoding: TransferEncoding,
    },
}

pub(super) fn reconstruct(_placeholder: &Placeholder) -> Vec<Piece> {
    todo!()
}
