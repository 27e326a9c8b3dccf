//! The binary is started as a person starts it, and met as peers meet it: honest ones, too many, and liars.
#![allow(clippy::unwrap_used)]

mod allowed;
mod crowds;
mod dials;
mod doors;
mod hop;
mod liars;
mod operated;
mod peer;
mod relays;
mod started;
mod tables;
mod watched;
