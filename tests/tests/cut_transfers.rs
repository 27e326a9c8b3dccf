//! Row Q04, between two nodes and in short: one transfer that is cut a few times. `tests/cuts` cuts a large one a hundred times.
#![allow(clippy::unwrap_used)]

use cargomail_tests::cuts::{self, Plan};

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn q04_a_transfer_that_is_cut_again_and_again_completes_and_little_comes_twice() {
    let plan = Plan {
        size: 64 * MIB,
        cuts: 4,
        seed: 4,
        rate: 16 * MIB,
        only: Vec::new(),
    };
    let outcome = cuts::run(&plan, |line| eprintln!("{line}")).await.unwrap();
    eprintln!("{outcome}");
    assert!(outcome.sent >= outcome.size);
}
