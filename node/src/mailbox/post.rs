//! Step 1, compose: a user posts a resource, which is complete, hashed and durable before the answer.

use axum::body::Body;
use cargomail_protocol::address::Address;
use cargomail_protocol::dag::Imported;
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::limits;
use data_encoding::HEXLOWER;
use futures::TryStreamExt;

use super::holdings::{Resource, arrived, hold};
use super::import::import;
use super::{COMMITS, Mailbox, MailboxError};
use crate::api::Posted;
use crate::store::CommitError;

impl Mailbox {
    /// Takes a resource. `announced` is the length that the caller says it has.
    pub(super) async fn post(
        &self,
        caller: &Address,
        announced: Option<u64>,
        body: Body,
    ) -> Result<Posted, MailboxError> {
        let account = self.holdings.account(caller).await?;
        let usage = self.holdings.usage(caller).await?.usage;
        let check = |octets: u64| {
            if octets > limits::RESOURCE {
                return Err(MailboxError::TooLarge(limits::RESOURCE));
            }
            usage.check(&account, self.coming.to(caller), octets)
        };
        check(announced.unwrap_or(0))?;
        let pieces = body.into_data_stream();
        let pieces = pieces.map_err(|error| MailboxError::Body(error.to_string()));
        let shelter = self.needs.shelters.open();
        let imported = import(self.needs.blocks.clone(), Some(&shelter), pieces, check).await?;
        self.keep(caller, &imported).await?;
        drop(shelter);
        let posted = Posted {
            cid: imported.root.to_string(),
            size: imported.size,
            sha256: HEXLOWER.encode(&imported.sha256),
        };
        tracing::info!(step = "post", cid = %posted.cid, size = posted.size, "a resource is stored");
        Ok(posted)
    }

    /// Records a resource whose blocks are durable. One that the caller holds already stays as it is.
    async fn keep(&self, caller: &Address, imported: &Imported) -> Result<(), MailboxError> {
        let account = self.holdings.account(caller).await?;
        let resource = Resource {
            size: imported.size,
            sha256: Some(HEXLOWER.encode(&imported.sha256)),
            from: Vec::new(),
        };
        for _ in 0..COMMITS {
            if self.holdings.size(caller, &imported.root).await?.is_some() {
                return Ok(());
            }
            let mut kept = self.holdings.usage(caller).await?;
            kept.usage
                .check(&account, self.coming.to(caller), imported.size)?;
            kept.usage.held += imported.size;
            let then = vec![
                kept.put(),
                arrived(&imported.root, &resource),
                hold(caller, &imported.root, imported.size, self.now()),
            ];
            let event = Event {
                act: Act::Posted,
                parties: vec![account.address.to_string()],
                message_id: String::new(),
                resources: vec![imported.root],
                evidence: String::new(),
            };
            match self
                .needs
                .ledger
                .commit(vec![kept.unchanged()], then, vec![event])
                .await
            {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(MailboxError::Busy)
    }
}
