//! What each cut has cost: what came over the wire between two grants, less what the destination had more at the second.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use cargomail_protocol::limits::LEAF;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::FRAMING;
use super::link::Link;

/// The same command, with its log in a file that tells of every grant.
pub(super) fn telling(mut command: Command, log: &Path) -> anyhow::Result<Command> {
    let options = OpenOptions::new().create(true).append(true).open(log);
    command.stderr(options.with_context(|| log.display().to_string())?);
    command.env(
        "CARGOMAIL_LOG",
        "warn,libp2p=error,cargomail_node::mailbox::authorize=info",
    );
    Ok(command)
}

/// Where the destination stood when a connection began.
#[derive(Debug, Clone, Copy)]
struct Resumed {
    /// Octets that had come until then.
    counted: u64,
    /// Leaves that it had.
    leaf: u64,
}

/// Of the cut that cost most: the blocks that came whole for the second time, and what shows it.
pub(super) fn twice(link: &Link, log: &Path, size: u64) -> anyhow::Result<(u64, String)> {
    let connections = link.connections();
    let mut resumed: Vec<Resumed> = Vec::new();
    for line in BufReader::new(File::open(log)?).lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let at = words.next().unwrap_or_default();
        let Some(leaf) = words.find_map(|word| word.strip_prefix("skipped=")) else {
            continue;
        };
        let leaf = leaf
            .parse()
            .with_context(|| format!("a number of leaves in the log: {leaf}"))?;
        let at = OffsetDateTime::parse(at, &Rfc3339).with_context(|| format!("a time in the log: {at}"))?;
        let connection = connections.iter().rev().find(|connection| connection.at <= at);
        let counted = connection
            .context("nothing is granted before there is a connection")?
            .counted;
        // Over one connection a fetch may be tried again; what counts is where the first one began.
        if resumed.last().is_none_or(|last| last.counted != counted) {
            resumed.push(Resumed { counted, leaf });
        }
    }
    resumed.push(Resumed {
        counted: link.counted(),
        leaf: size.div_ceil(LEAF as u64),
    });
    let cost = resumed.windows(2).filter_map(|pair| {
        let [before, after] = pair else { return None };
        let came = after.counted - before.counted;
        let framing = came * FRAMING / 1000;
        let gained = after.leaf.saturating_sub(before.leaf) * LEAF as u64;
        let twice = came.saturating_sub(framing + gained) / LEAF as u64;
        Some((twice, format!("{before:?} to {after:?}")))
    });
    Ok(cost.max().unwrap_or_default())
}
