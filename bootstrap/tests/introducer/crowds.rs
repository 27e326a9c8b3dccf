//! How much memory a crowd takes. It is measured where the program is built as it runs:
//! `cargo test --release -p cargomail-bootstrap crowd -- --ignored --nocapture`.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::peer::{Kind, knock, live, peer};
use crate::started::Introducer;

const CROWD: usize = 5000;
/// Peers of the crowd that come at once.
const AT_ONCE: usize = 32;
/// Peers that hold a reservation besides.
const RESERVED: usize = 1000;
const BOUND: u64 = 100 * 1024 * 1024;

/// One line of the kernel's account of a process (proc_pid_status(5)), octets.
fn status(process: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kib: u64 = line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap();
    kib * 1024
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures: takes some minutes, and 11,000 open files"]
async fn a_crowd_of_5000_peers_fits_into_100_mib() {
    let introducer = Introducer::relay(
        "[connections]\nper-network = 6000\npending-per-network = 256\nidle-seconds = 3600\n\
         [relay]\nreservations-per-network = 2000\nrequests-per-minute = 100000\nrequests-per-minute-per-network = 100000\n",
    );
    let process = introducer.process.id();
    let introducer = Arc::new(introducer);
    println!("{:>9} connections: {:>6} KiB", 0, status(process, "VmRSS") / 1024);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut coming = JoinSet::new();
    for number in 0..CROWD {
        let (introducer, places) = (Arc::clone(&introducer), Arc::clone(&places));
        coming.spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            let mut one = peer(Kind {
                mode: libp2p_kad::Mode::Server,
                ..Kind::default()
            });
            // As many over each transport; those with a reservation over TCP, as a circuit's address says.
            let at = if number % 2 == 0 {
                introducer.tcp()
            } else {
                introducer.quic()
            };
            while knock(&mut one, at, introducer.name()).await.is_none() {}
            if number % 2 == 0 && number / 2 < RESERVED {
                one.listen_on(introducer.circuit()).unwrap();
            }
            live(one);
        });
    }
    let mut arrived = 0;
    while let Some(came) = coming.join_next().await {
        came.unwrap();
        arrived += 1;
        if arrived % 500 == 0 {
            println!(
                "{arrived:>9} connections: {:>6} KiB",
                status(process, "VmRSS") / 1024
            );
        }
    }
    let counted = |name: &str| introducer.counted(&format!("cargomail_bootstrap_{name}"));
    while counted("connections") < CROWD as u64 || counted("relay_reservations") < RESERVED as u64 {
        tokio::task::yield_now().await;
    }
    let most = status(process, "VmHWM");
    println!(
        "{} connections, {} reservations, {} peers in the table",
        counted("connections"),
        counted("relay_reservations"),
        counted("table_peers")
    );
    println!(
        "now {} KiB, at most {} KiB",
        status(process, "VmRSS") / 1024,
        most / 1024
    );
    assert!(most < BOUND, "{most}");
}
