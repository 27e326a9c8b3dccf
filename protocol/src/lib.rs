//! The rules of Cargomail. This crate decides everything and does nothing: it has no I/O, no clock, no
//! randomness and no async runtime; time, keys and bytes are arguments.
#![doc = include_str!("../README.md")]

pub mod address;
pub mod channel;
pub mod dag;
pub mod exchange;
pub mod fault;
pub mod grip;
mod json;
pub mod ledger;
pub mod limits;
pub mod notification;
pub mod placeholder;
pub mod queue;
pub mod receipt;
pub mod routing;
pub mod share;
pub mod smtp;
pub mod timestamp;
