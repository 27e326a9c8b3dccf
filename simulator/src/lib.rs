//! The proving ground: many Cargomail nodes together, people who write to each other, and promises that are checked over
//! everything that happened.
//!
//! A scenario ([`scenario`]) and its seed make a plan ([`plan`]); [`run()`] carries it out on real nodes in this process
//! (real DNS, TLS, libp2p, SMTP and disks, on loopback only), [`run_virtually()`] in a virtual [`world`]. Both write down a
//! [`history`]; [`promise`]s are judged over that history alone; [`report`] tells it. A [`sweep`] is many
//! runs.

mod ask;
pub mod cost;
mod ground;
pub mod history;
pub mod hostile;
mod ledgers;
mod observe;
pub mod path;
pub mod plan;
pub mod promise;
mod provider;
mod read;
mod replies;
pub mod report;
mod run;
pub mod scenario;
mod shell;
pub mod shrink;
pub mod sweep;
mod traffic;
mod view;
pub mod world;

pub use run::{Options, Progress, Traced, run, run_virtually};
