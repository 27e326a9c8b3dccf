//! What the node keeps as blocks: who refers to it, how long, and what becomes of it when nobody does.
//!
//! - `references` names every kind of record that refers to resources, and what each refers to;
//! - [`Shelters`] are what somebody has stored and is about to refer to;
//! - [`LegalHolds`] keep an account's matter, or one resource, whatever else happens;
//! - the [`Collector`] removes what nothing of these refers to, and says why it keeps the rest.
//!
//! Not here: how room is given back on the disk, which is the store's.
//!
//! What always holds, and makes it safe to collect while everything else goes on: whoever stores blocks and then commits the
//! record that refers to them has them in a shelter from before the first is put until after the commit; a record that takes
//! over a reference from another one is committed under the condition that the other one still stands, or refers already. So
//! what no record and no shelter refers to at one moment can only be referred to later by whoever puts it anew, and a
//! block that is put anew is condemned no longer.

mod collector;
mod hold;
pub(crate) mod references;
mod shelter;
mod stays;
#[cfg(test)]
mod tests;

pub use collector::{CollectError, Collected, Collector, Mode};
pub(crate) use hold::Standing;
pub use hold::{HoldError, LegalHold, LegalHolds, Subject};
pub use shelter::{Shelter, Shelters};
pub(crate) use stays::stays;
