//! Records and octets with a type: what the services keep in the two ports, as strict dag-cbor and as resources.

use bytes::{Bytes, BytesMut};
use cargomail_protocol::dag::{Importer, Step, Walk};
use cargomail_protocol::grip::Digest;
use cargomail_protocol::limits;
use cid::Cid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::keeping::Shelter;

use super::{BlockStore, Record, RecordStore, StoreError, Version};

/// The value of a record.
///
/// # Panics
/// When the value cannot be written as dag-cbor: a map with keys that are no texts, a number beyond 64 bits.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    serde_ipld_dagcbor::to_vec(value)
        .expect("records are made of texts, numbers, lists and octets")
        .into()
}

/// A record's value.
///
/// # Errors
/// [`StoreError::Damaged`] when it is not of this type.
pub fn decode<T: DeserializeOwned>(record: &Record) -> Result<T, StoreError> {
    serde_ipld_dagcbor::from_slice(&record.value).map_err(|error| StoreError::Damaged {
        what: format!("record {}", record.key),
        why: error.to_string(),
    })
}

/// One record with its version; none when there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn read<T: DeserializeOwned>(
    records: &dyn RecordStore,
    key: &str,
) -> Result<Option<(Version, T)>, StoreError> {
    match records.get(&[key.to_owned()]).await?.pop().flatten() {
        Some(record) => Ok(Some((record.version, decode(&record)?))),
        None => Ok(None),
    }
}

/// Octets that a record refers to: a message, a notification. Few stand in the record, and are durable with it; many are a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Their name as a resource, also where they are none.
    pub cid: Cid,
    /// How many they are.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    octets: Option<Vec<u8>>,
}

impl Stored {
    /// Octets that stand in so many records; none when they are too many for that.
    #[must_use]
    pub fn within(octets: &Bytes, records: usize) -> Option<Self> {
        (octets.len().saturating_mul(records) <= limits::INLINE).then(|| Self {
            cid: Digest::of(octets).cid(),
            size: octets.len() as u64,
            octets: Some(octets.to_vec()),
        })
    }

    /// Few octets for one record, or many as a resource. The shelter is dropped once the record is committed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep(blocks: &dyn BlockStore, shelter: &Shelter, octets: Bytes) -> Result<Self, StoreError> {
        match Self::within(&octets, 1) {
            Some(within) => Ok(within),
            None => Self::put(blocks, shelter, octets).await,
        }
    }

    /// Octets as a resource, durable on return. The shelter is dropped once the record is committed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(blocks: &dyn BlockStore, shelter: &Shelter, octets: Bytes) -> Result<Self, StoreError> {
        let (cid, size) = put_octets(blocks, shelter, octets).await?;
        let octets = None;
        Ok(Self { cid, size, octets })
    }

    /// Whether they are a resource.
    #[must_use]
    pub fn is_resource(&self) -> bool {
        self.octets.is_none()
    }

    /// The octets; none when a block is not here.
    ///
    /// # Errors
    /// As [`read_octets`].
    pub async fn read(&self, blocks: &dyn BlockStore) -> Result<Option<Bytes>, StoreError> {
        match &self.octets {
            Some(octets) => Ok(Some(Bytes::copy_from_slice(octets))),
            None => read_octets(blocks, &self.cid, self.size).await,
        }
    }
}

/// Stores octets as a resource, durable on return: for messages and notifications, which a record refers to. The shelter is
/// dropped once that record is committed.
///
/// # Errors
/// [`StoreError`].
pub async fn put_octets(
    blocks: &dyn BlockStore,
    shelter: &Shelter,
    octets: Bytes,
) -> Result<(Cid, u64), StoreError> {
    let mut importer = Importer::new();
    let mut batch = importer.push(octets);
    let imported = importer.finish();
    batch.extend(imported.blocks);
    shelter.keep(&batch);
    blocks.put(batch).await?;
    Ok((imported.root, imported.size))
}

/// The octets of a resource that [`put_octets`] stored; none when a block is not here.
///
/// # Errors
/// [`StoreError::Damaged`] when the blocks are no resource of that size.
pub async fn read_octets(
    blocks: &dyn BlockStore,
    root: &Cid,
    size: u64,
) -> Result<Option<Bytes>, StoreError> {
    let damaged = |error: &dyn std::fmt::Display| StoreError::Damaged {
        what: format!("resource {root}"),
        why: error.to_string(),
    };
    let mut walk = Walk::new(*root, size).map_err(|error| damaged(&error))?;
    let mut octets = BytesMut::new();
    while let Some(next) = walk.next() {
        let Some(block) = blocks.get(&next.cid).await? else {
            return Ok(None);
        };
        if let Step::Leaf { content, .. } = walk.trust(&block).map_err(|error| damaged(&error))? {
            if content.len() as u64 == size {
                return Ok(Some(content));
            }
            octets.extend_from_slice(&content);
        }
    }
    Ok(Some(octets.freeze()))
}
