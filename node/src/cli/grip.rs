//! `cargomail grip`: tokens made with the node's key, looked into, and verified against the DNS. For whoever searches a fault; a node
//! never asks this program.

mod issue;
mod verify;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use cargomail_protocol::grip::{self, Digest, Inspection};
use clap::{Args, Subcommand};
use sha2::{Digest as _, Sha256};

use super::{Everywhere, value};
use crate::clock::SystemClock;
use crate::dns::{Resolver, ResolverOptions};

#[derive(Debug, Subcommand)]
pub(super) enum GripCommand {
    /// Make a token with this node's key, for testing
    Issue(issue::IssueArgs),
    /// Show what a token says, without believing it
    #[command(after_help = "\
Examples:
  cargomail grip inspect eyJhbGciOi…
  cargomail grip inspect token.txt --json
  pbpaste | cargomail grip inspect -")]
    Inspect {
        /// The token, a file that holds it, or `-`
        token: String,
    },
    /// Verify a token against the DNS, and explain each check
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail grip verify token.txt --audience mailbox.insurance.test --digest-of notification.json
  cargomail grip verify eyJhbGciOi… --dns 127.0.0.1:5353

What only the receiving node knows is taken from the token and said so: which key the connection proved, and whether the
token was used before.")]
pub(super) struct VerifyArgs {
    /// The token, a file that holds it, or `-`
    token: String,
    /// Who it should be for; by default whoever it names
    #[arg(long, value_name = "NAME")]
    audience: Option<cargomail_protocol::address::Domain>,
    /// The octets that it should speak of: a notification or a message; by default whatever it names
    #[arg(long, value_name = "FILE")]
    digest_of: Option<PathBuf>,
    /// The DNS server to ask; by default that of --config if the file is there, else the system's
    #[arg(long, value_name = "ADDRESS:PORT")]
    dns: Option<SocketAddr>,
}

impl GripCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        match self {
            Self::Issue(args) => args.run(everywhere),
            Self::Inspect { token } => {
                let inspection = grip::inspect(&token_of(&token)?)?;
                everywhere
                    .out()
                    .one(&inspection, |inspection| people(inspection, 0))
            }
            Self::Verify(args) => {
                let digest = args.digest_of.as_deref().map(digest_of).transpose()?;
                let dns = resolver(everywhere, args.dns)?;
                let token = token_of(&args.token)?;
                verify::run(everywhere.out(), &dns, &token, args.audience, digest).await
            }
        }
    }
}

/// A token, or the one in a file or on standard input.
fn token_of(text: &str) -> anyhow::Result<String> {
    let file = Path::new(text);
    if text == "-" || (text.matches('.').count() != 2 || file.exists()) {
        return Ok(value::text_of(file)?.trim().to_owned());
    }
    Ok(text.to_owned())
}

fn digest_of(file: &Path) -> anyhow::Result<Digest> {
    let mut hash = Sha256::new();
    let mut file_octets = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    std::io::copy(&mut file_octets, &mut Hashing(&mut hash)).with_context(|| file.display().to_string())?;
    Ok(Digest::from_sha256(hash.finalize().into()))
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.update(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn resolver(everywhere: &Everywhere, server: Option<SocketAddr>) -> anyhow::Result<Resolver> {
    let options = match server {
        Some(server) => ResolverOptions {
            servers: vec![server],
            ..ResolverOptions::default()
        },
        None if everywhere.config.exists() => everywhere.settings()?.dns,
        None => ResolverOptions::default(),
    };
    Ok(Resolver::new(&options, Arc::new(SystemClock))?)
}

/// What can be seen, the nested token indented. Nested at most as deep as the protocol looks.
fn people(inspection: &Inspection, indent: usize) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{:indent$}{name:10} {value}\n", ""));
    };
    line("is", inspection.kind.unwrap_or("a token of no known type"));
    if let Some(flaw) = &inspection.flaw {
        line("flaw", flaw);
    }
    let signature = match inspection.signature {
        grip::Signature::Fits => "made by the key inside; whose key that is, only the DNS says",
        grip::Signature::DoesNotFit => "NOT made by the key inside",
        grip::Signature::CannotBeChecked => "cannot be checked: no usable key, or another algorithm",
    };
    line("signature", signature);
    line("issued", inspection.issued.as_deref().unwrap_or("-"));
    line("expires", inspection.expires.as_deref().unwrap_or("-"));
    if let (Some(at), Some(record)) = (&inspection.record_at, &inspection.record) {
        line("needs", &format!("{at} TXT \"{record}\""));
    }
    line("size", &format!("{} octets, {}", inspection.size, inspection.cid));
    for (name, part) in [("header", &inspection.header), ("claims", &inspection.claims)] {
        let mut part = part.clone();
        if let Some(tokens) = part.get_mut("tokens") {
            *tokens = "below".into();
        }
        line(name, &part.to_string());
    }
    for nested in &inspection.nested {
        text.push_str(&format!("{:indent$}around:\n", ""));
        match nested {
            Ok(inside) => text.push_str(&people(inside, indent + 4)),
            Err(opaque) => text.push_str(&format!("{:indent$}    {opaque}\n", "")),
        }
    }
    text
}

#[cfg(test)]
mod tests;
