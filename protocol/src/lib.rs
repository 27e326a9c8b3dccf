//! The rules of Cargomail. This crate decides everything and does nothing: it has no I/O, no clock, no
//! randomness and no async runtime; time, keys and bytes are arguments.
//!
// The README links to files; in these pages, where the first definition of a link holds, they lead to the modules.
//! [spec/grip.md]: crate::grip
//! [spec/resources.md]: crate::dag
//! [spec/placeholder.md]: crate::placeholder
//! [spec/channel.md]: crate::channel
//! [spec/routing.md]: crate::routing
//! [spec/notification.md]: crate::notification
//! [spec/exchange.md]: crate::exchange
//! [spec/ledger.md]: crate::ledger
//! [m-grip]: crate::grip
//! [m-address]: crate::address
//! [m-dag]: crate::dag
//! [m-placeholder]: crate::placeholder
//! [m-channel]: crate::channel
//! [m-queue]: crate::queue
//! [m-routing]: crate::routing
//! [m-notification]: crate::notification
//! [m-share]: crate::share
//! [m-exchange]: crate::exchange
//! [m-receipt]: crate::receipt
//! [m-ledger]: crate::ledger
//! [m-smtp]: crate::smtp
//! [m-limits]: crate::limits
//! [m-fault]: crate::fault
//!
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
