//! A resource's octets from a mailbox to wherever they are written, checked as they pass.

use std::sync::Arc;

use bytes::Bytes;
use cargomail_protocol::dag::{Codec, cid};
use cargomail_protocol::placeholder::{ResourceRef, TransferEncoder, TransferEncoding};
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::read::ReadError;
use super::{Session, Watch};

/// Writes a whole resource, through a transfer encoding where one is named.
///
/// The size is checked, and SHA-256 where it is known: from the placeholder, or from the CID of a resource of one block. The blocks
/// of others were checked by the mailbox.
pub(super) async fn pour(
    session: &Session,
    resource: &ResourceRef,
    encoding: Option<TransferEncoding>,
    out: &mut (impl AsyncWrite + Unpin + ?Sized),
    watch: &Arc<dyn Watch>,
) -> Result<(), ReadError> {
    let mut octets = session.resource(&resource.cid, None).await?.into_data_stream();
    let mut encoder = encoding.map(TransferEncoder::new);
    let mut encoded = Vec::new();
    let mut hash = Sha256::new();
    let mut count = 0_u64;
    let broken = |why: String| ReadError::Broken {
        cid: resource.cid,
        why,
    };
    while let Some(chunk) = octets.next().await {
        let chunk: Bytes = chunk.map_err(|why| broken(why.to_string()))?;
        count += chunk.len() as u64;
        if count > resource.size {
            return Err(ReadError::Unverifiable(resource.cid));
        }
        hash.update(&chunk);
        watch.moved(chunk.len() as u64);
        let written = match &mut encoder {
            None => out.write_all(&chunk).await,
            Some(encoder) => {
                encoded.clear();
                encoder.write(&chunk, &mut encoded);
                out.write_all(&encoded).await
            }
        };
        written.map_err(ReadError::Write)?;
    }
    if count < resource.size {
        return Err(broken(format!("{count} of {} octets came", resource.size)));
    }
    let hash: [u8; 32] = hash.finalize().into();
    if known_hash(resource).is_some_and(|known| known != hash) {
        return Err(ReadError::Unverifiable(resource.cid));
    }
    if let Some(encoder) = encoder {
        encoded.clear();
        encoder.finish(&mut encoded);
        out.write_all(&encoded).await.map_err(ReadError::Write)?;
    }
    Ok(())
}

/// SHA-256 over all octets, as far as the placeholder or the CID tells it.
pub(super) fn known_hash(resource: &ResourceRef) -> Option<[u8; 32]> {
    match resource.sha256 {
        Some(hash) => Some(hash),
        None if cid::check(&resource.cid) == Ok(Codec::Raw) => cid::digest(&resource.cid).ok(),
        None => None,
    }
}
