//! The Cargomail node: performs what `cargomail_protocol` decides.
//!
//! Folders are roles ([`mailbox`], [`broker`], [`app`]) and edges ([`smtp`], [`https`], [`peers`], [`dns`], [`store`]).
#![doc = include_str!("../README.md")]

pub mod accounts;
pub mod agent;
pub mod api;
pub mod app;
pub mod broker;
pub mod cli;
pub mod clock;
mod compute;
pub mod config;
pub mod demo;
pub mod dns;
pub mod grip;
pub mod harness;
pub mod https;
pub mod identity;
pub mod keeping;
pub mod ledger;
pub mod mailbox;
pub mod network;
pub mod node;
pub mod peers;
mod private;
pub mod publish;
mod rate;
pub mod services;
pub mod smtp;
pub mod store;
