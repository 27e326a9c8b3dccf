//! The exchange: how blocks travel from an origin to a destination, and the receipt back (libp2p protocol
//! `/cargomail/exchange/1.0.0`).
//!
//! Two stream uses, each opened by the destination. A **fetch**: `fetch`, then `granted` and blocks and `end`, or `refused`.
//! A **receipt**: `receipt`, then `noted` or `refused`. The machines here decide what is said and what is believed; whoever
//! runs them moves octets:
//!
//! ```text
//! loop {
//!     while let Some(action) = machine.poll() { /* Send: write the frame; Finish: close the stream, stop */ }
//!     read octets into the decoder; at the stream's end: machine.handle(Ended)
//!     match decoder.poll(machine.expect()) { a frame: machine.handle(Frame), an error: machine.handle(Malformed) }
//! }
//! ```
//!
//! What always holds: a frame's length is checked before anything is allocated for it; a block is hashed before anything
//! looks into it; only `end` with the right counts makes a fetch complete. The machines have no clock: whoever runs one
//! gives each frame [`crate::limits::STALLED`], from when it can be read or written until it is whole, and cuts off who
//! takes longer. The specification is `spec/exchange.md`.

mod decoder;
mod destination;
mod frame;
mod origin;
mod receipt;

pub use self::decoder::{Decoder, Expect, Heard};
pub use self::destination::{
    Destination, DestinationAction, Outcome, Progress, RequestError, Violation, Wanted,
};
pub use self::frame::{End, Fetch, Frame, FrameError, Grant, Name, Refused, Want};
pub use self::origin::{Origin, OriginAction, OriginEvent, Served};
pub use self::receipt::{ReceiptAction, ReceiptOutcome, Receipting};

/// The name under which libp2p negotiates the protocol.
pub const PROTOCOL: &str = "/cargomail/exchange/1.0.0";

#[cfg(test)]
mod tests;
