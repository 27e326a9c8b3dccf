//! The allocator of this program, and what it is told.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// A virtual world is one thread that takes and gives back small pieces of memory.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a world of gigabytes needs of mimalloc (3): nothing is given back to the system before the end, so that huge pages stay whole, and it does
/// not go over all that it holds every ten thousand slow allocations, but every million. What they are worth stands in the README.
const OPTIONS: [(&str, &str); 2] = [
    ("MIMALLOC_PURGE_DELAY", "-1"),
    ("MIMALLOC_GENERIC_COLLECT", "1000000"),
];

/// Has the allocator be told: it reads its options from the environment before `main`, so this program begins once more in its own place. What is set
/// there already stays. Where that cannot be done, it goes on as it is, and a large world takes longer.
pub(crate) fn tell() {
    let missing = OPTIONS
        .iter()
        .filter(|(name, _)| std::env::var_os(name).is_none());
    let missing: Vec<_> = missing.copied().collect();
    let mut all = std::env::args_os();
    if let (false, Some(name), Ok(program)) = (missing.is_empty(), all.next(), std::env::current_exe()) {
        // It comes back only when it has failed.
        let _ = Command::new(program).arg0(name).args(all).envs(missing).exec();
    }
}
