//! Work that keeps a processor busy, such as hashing: on a thread of its own, so that tasks go on meanwhile. In a runtime of one thread,
//! as the virtual world's, it is done at once: nothing goes on meanwhile, and everything happens in the same order each time.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

/// Begins such work.
///
/// # Panics
/// Outside of a runtime.
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    if is_done_at_once() {
        let done = work();
        tokio::spawn(std::future::ready(done))
    } else {
        tokio::task::spawn_blocking(work)
    }
}

/// Whether the runtime has one thread.
pub(crate) fn is_done_at_once() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}
