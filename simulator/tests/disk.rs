//! The virtual disk does what every implementation of the storage ports must do, and what only a crash shows.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unused_imports)]
#[path = "."]
mod store {
    pub(crate) use cargomail_node::store::*;

    #[path = "../../node/src/store/conformance.rs"]
    pub(crate) mod conformance;
}

use cargomail_simulator::world::Disk;
use cargomail_simulator::world::disk::Mounted;
use std::sync::Arc;

async fn open() -> (Disk, Arc<Mounted>, Arc<Mounted>) {
    let disk = Disk::default();
    let mounted = Arc::new(disk.mount());
    (disk, mounted.clone(), mounted)
}

store::conformance::conforms!(open);
