//! What the records of the Resource Mailbox refer to, for the collector.

use cargomail_protocol::share::{Share, SharedResource, parse_root};

use super::authorize::Grant;
use super::holdings::Holding;
use super::jobs::{self, Job};
use super::who;
use crate::keeping::references::{Claim, Holder, Judge, Root};
use crate::store::{Record, StoreError, typed};

/// What a record refers to at this moment, if to anything.
pub(crate) async fn claim(
    holder: Holder,
    record: &Record,
    judge: &Judge<'_>,
) -> Result<Option<Claim>, StoreError> {
    match holder {
        Holder::Share => share(record, judge),
        Holder::Retrieval => retrieval(record, judge).await.map(Some),
        Holder::Grant => {
            let grant: Grant = typed::decode(record)?;
            let mut claim = of(holder, record, who(&grant.recipient));
            claim.roots.extend(Root::of(&grant.notification));
            Ok(Some(claim))
        }
        _ => holding(record, judge),
    }
}

fn of(holder: Holder, record: &Record, whose: String) -> Claim {
    Claim {
        holder,
        key: record.key.clone(),
        whose,
        message_id: String::new(),
        until: None,
        roots: Vec::new(),
    }
}

/// What its user has not deleted; of what was deleted, while a legal hold stands, as much as is here: it may have gone before the
/// hold was placed.
fn holding(record: &Record, judge: &Judge<'_>) -> Result<Option<Claim>, StoreError> {
    let holding: Holding = typed::decode(record)?;
    let named = record.key.strip_prefix(Holder::Holding.prefix());
    let named = named.and_then(|rest| rest.rsplit_once('/'));
    let Some((whose, Ok(cid))) = named.map(|(whose, cid)| (whose, parse_root(cid))) else {
        return Err(StoreError::Damaged {
            what: format!("record {}", record.key),
            why: "its key does not end with the CID of a resource".to_owned(),
        });
    };
    let whole = holding.hidden.is_none();
    let size = holding.size;
    let held = whole || judge.standing.holds(whose, &cid);
    Ok(held.then(|| Claim {
        roots: vec![Root { cid, size, whole }],
        ..of(Holder::Holding, record, whose.to_owned())
    }))
}

/// What is shared, until the share has ended; of an account on which a legal hold stands, as long as it does, and of a share that has
/// ended as much as is here: it may have gone before the hold was placed.
fn share(record: &Record, judge: &Judge<'_>) -> Result<Option<Claim>, StoreError> {
    let share: Share = typed::decode(record)?;
    let parts = share.parts();
    let whose = who(&parts.sender);
    let open = share.is_open(judge.now);
    if !open && !judge.standing.holds_account(&whose) {
        return Ok(None);
    }
    let roots = parts.resources.iter().map(|resource| Root {
        whole: open,
        ..part(resource)
    });
    Ok(Some(Claim {
        message_id: parts.message_id.clone(),
        until: open.then_some(parts.expires),
        roots: roots.collect(),
        ..of(Holder::Share, record, whose)
    }))
}

/// The notification as long as the job is listed; what it names, as far as it has come, until the job has ended.
async fn retrieval(record: &Record, judge: &Judge<'_>) -> Result<Claim, StoreError> {
    let job: Job = typed::decode(record)?;
    let mut claim = Claim {
        message_id: job.message_id.clone(),
        roots: Root::of(&job.notification).into_iter().collect(),
        ..of(Holder::Retrieval, record, who(&job.recipient))
    };
    if !job.state.is_final() {
        let (notification, _) = jobs::notification(judge.blocks, &job).await?;
        claim.until = Some(job.expires);
        claim.roots.extend(notification.resources.iter().map(part));
    }
    Ok(claim)
}

fn part(resource: &SharedResource) -> Root {
    Root {
        cid: *resource.cid(),
        size: resource.size(),
        whole: false,
    }
}
