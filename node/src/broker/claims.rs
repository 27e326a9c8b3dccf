//! What the records of the broker refer to, for the collector.

use super::inbound::Inbound;
use super::inbox::Kept;
use super::outbound::Outbound;
use super::user;
use crate::keeping::Standing;
use crate::keeping::references::{Claim, Holder, Root};
use crate::store::{Record, StoreError, typed};
use cargomail_protocol::limits;

/// What a record refers to: messages, and the notifications of their resources.
pub(crate) fn claim(
    holder: Holder,
    record: &Record,
    standing: &Standing,
) -> Result<Option<Claim>, StoreError> {
    let (whose, message_id, stored) = match holder {
        Holder::Arriving => {
            let entry: Inbound = typed::decode(record)?;
            let notification = entry.wishes.map(|wishes| wishes.notification);
            let stored = std::iter::once(entry.message).chain(notification).collect();
            (user(&entry.recipient), entry.message_id, stored)
        }
        Holder::Leaving => {
            let entry: Outbound = typed::decode(record)?;
            let sender = entry.sender.as_ref().map(user);
            // What has left is sent no more; what was put aside is there for somebody to look at.
            let is_kept = entry.finished.is_none() || entry.stumbles >= limits::STUMBLES;
            let stored = Some(entry.message).filter(|_| is_kept).into_iter().collect();
            (sender.unwrap_or_default(), entry.message_id, stored)
        }
        Holder::HiddenMessage if !standing.holds_account(&owner(record, holder)) => return Ok(None),
        Holder::Message | Holder::HiddenMessage => {
            let kept: Kept = typed::decode(record)?;
            (owner(record, holder), kept.view.message_id, vec![kept.octets])
        }
        _ => return Ok(None),
    };
    Ok(Some(Claim {
        holder,
        key: record.key.clone(),
        whose,
        message_id,
        until: None,
        roots: stored.iter().filter_map(Root::of).collect(),
    }))
}

/// Whose User Mailbox it is, by the key.
pub(super) fn owner(record: &Record, holder: Holder) -> String {
    let rest = record.key.strip_prefix(holder.prefix());
    let owner = rest.and_then(|rest| rest.rsplit_once('/'));
    owner.map(|(owner, _)| owner.to_owned()).unwrap_or_default()
}
