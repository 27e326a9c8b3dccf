//! Whether all of a resource is here, for whoever is about to refer to what is here already.

use cargomail_protocol::dag::{Kind, Walk};
use cargomail_protocol::limits;
use cid::Cid;

use crate::store::{BlockStore, StoreError};

/// Whether all of a resource of `size` octets is here; it stays then, though it may be condemned at this moment, as if somebody had put
/// it again.
///
/// # Errors
/// [`StoreError`], but for what is damaged: that is not here.
pub(crate) async fn stays(blocks: &dyn BlockStore, cid: &Cid, size: u64) -> Result<bool, StoreError> {
    let Ok(mut walk) = Walk::new(*cid, size) else {
        return Ok(false);
    };
    let mut leaves = Vec::new();
    while let Some(next) = walk.next() {
        let stepped = match next.kind {
            Kind::Node if blocks.keep(&[next.cid]).await? == [true] => match blocks.get(&next.cid).await {
                Ok(Some(node)) => walk.trust(&node).is_ok(),
                Ok(None) | Err(StoreError::Damaged { .. }) => false,
                Err(error) => return Err(error),
            },
            Kind::Node => false,
            Kind::Leaf => {
                leaves.push(next.cid);
                walk.pass().is_ok()
            }
        };
        let is_last = walk.next().is_none();
        if stepped && (is_last || leaves.len() >= limits::LINKS) {
            let kept = blocks.keep(&std::mem::take(&mut leaves)).await?;
            if !kept.into_iter().all(|kept| kept) {
                return Ok(false);
            }
        }
        if !stepped {
            return Ok(false);
        }
    }
    Ok(true)
}
