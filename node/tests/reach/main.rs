//! A node at home: real libp2p on loopback, with introducers that relay, lie and die.
#![allow(clippy::unwrap_used)]

mod homes;
mod hop;
mod introducer;
mod people;
mod strangers;
