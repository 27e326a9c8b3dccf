//! What the tests of this room share: other people's programs, and a way to crash at an exact point.
#![doc = include_str!("../README.md")]

pub mod crash;
pub mod cuts;
pub mod disk;
pub mod dovecot;
pub mod peers;
pub mod postfix;
pub mod powercut;
pub mod processes;
