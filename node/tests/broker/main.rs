//! The Cargo Broker on real parts: DNS, mutual TLS, SMTP and disk on loopback; alice at foo.test, bob and carol at bar.test.
#![allow(clippy::unwrap_used)]

mod agents;
mod channel;
mod disk;
mod full;
mod lmtp;
mod ordinary;
mod queue;
mod report;
mod rig;
mod route;
mod send;
mod smtp;
mod streams;
mod unnoted;
