//! Whether the ledger of a running node is whole, as its administrator sees it.

use cargomail_protocol::ledger::Checker;

use crate::app::administration::Administration;

/// Checks every entry of a node's ledger, and its head; how many entries there are.
///
/// # Errors
/// When an entry or the head does not fit, or the node does not answer.
pub async fn verify_ledger(administration: &Administration) -> anyhow::Result<u64> {
    let mut checker = Checker::new();
    let mut next = 0;
    loop {
        let (entries, head) = administration.ledger(next).await?;
        for entry in &entries {
            checker.push(entry)?;
            next += 1;
        }
        if next >= head.entries {
            checker.finish(&head)?;
            return Ok(next);
        }
        anyhow::ensure!(!entries.is_empty(), "entry {next} of {} is missing", head.entries);
    }
}
