//! Row Q05, in short: a few power cuts under load. `tests/powercut` does many.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use cargomail_tests::powercut;

#[tokio::test(flavor = "multi_thread")]
async fn q05_nothing_acknowledged_is_lost_when_the_power_is_cut_under_load() {
    let program = Path::new(env!("CARGO_BIN_EXE_powercut"));
    let checked = powercut::run(program, 4, 20, |line| eprintln!("{line}"))
        .await
        .unwrap();
    assert_eq!(checked.cuts, 4);
    assert!(checked.blocks > 0 && checked.records > 0 && checked.receipts > 0);
}
