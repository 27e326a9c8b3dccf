//! Resource Mailboxes on real disks, with real libp2p on loopback and a real DNS server.
#![allow(clippy::unwrap_used)]

mod destination;
mod life;
mod lines;
mod notify;
mod origin;
mod people;
mod pipeline;
mod quota;
mod rig;
mod walk;
