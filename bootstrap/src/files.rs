//! Open files: each connection over TCP is one, and systems begin with room for 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside those of the connections: listeners, the runtime's own, the key, those who ask for metrics.
const OTHERS: u64 = 96;

/// Makes room for so many connections, as far as the system lets it; says so when that is not enough.
pub(crate) fn make_room(connections: usize) {
    let needed = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    let bounds = getrlimit(Resource::Nofile);
    let now = bounds.current.unwrap_or(u64::MAX);
    let most = bounds.maximum.unwrap_or(u64::MAX);
    if now >= needed {
        return;
    }
    let raised = Rlimit {
        current: Some(needed.min(most)),
        maximum: bounds.maximum,
    };
    if let Err(why) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%why, "the bound of open files cannot be raised");
    }
    if most < needed {
        tracing::warn!(
            needed,
            most,
            "too few files may be open for connections.total: raise the hard bound (LimitNOFILE= of systemd), or lower the number"
        );
    }
}
