//! How much memory a crowd takes. It is measured where the program is built as it runs:
//! `cargo test --release -p cargomail-bootstrap crowds -- --ignored --nocapture --test-threads 1`.

use std::sync::Arc;

use libp2p::Multiaddr;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::peer::{anybody, knock, live};
use crate::started::Introducer;

const CROWD: usize = 5000;
/// Peers of the crowd that come at once.
const AT_ONCE: usize = 32;
/// Peers that hold a reservation besides.
const RESERVED: usize = 1000;

/// One line of the kernel's account of a process (proc_pid_status(5)), KiB.
fn status(process: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap()
}

/// The crowd comes, and stays until it has been counted; what the process has taken then for each, KiB.
async fn memory_of_each(at: impl Fn(&Introducer) -> &Multiaddr) -> u64 {
    let introducer = Introducer::relay(
        "[connections]\nper-network = 5000\npending-per-network = 256\nidle-seconds = 3600\n\
         [relay]\nreservations-per-network = 1000\n\
         requests-per-minute = 100000\nrequests-per-minute-per-network = 100000\n",
    );
    let (name, at) = (introducer.name(), at(&introducer).clone());
    let circuit = at.clone().with(libp2p::multiaddr::Protocol::P2pCircuit);
    let process = introducer.process.id();
    let before = status(process, "VmRSS");
    println!("{:>5} connections: {before:>6} KiB", 0);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut coming = JoinSet::new();
    for number in 0..CROWD {
        let (at, circuit, places) = (at.clone(), circuit.clone(), Arc::clone(&places));
        coming.spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            let mut one = anybody();
            while knock(&mut one, &at, name).await.is_none() {}
            if number < RESERVED {
                one.listen_on(circuit).unwrap();
            }
            live(one);
        });
    }
    let mut arrived = 0;
    while let Some(came) = coming.join_next().await {
        came.unwrap();
        arrived += 1;
        if arrived % 1000 == 0 {
            println!("{arrived:>5} connections: {:>6} KiB", status(process, "VmRSS"));
        }
    }
    let counted = |name: &str| introducer.counted(&format!("cargomail_bootstrap_{name}"));
    while counted("connections") < CROWD as u64 || counted("relay_reservations") < RESERVED as u64 {
        tokio::task::yield_now().await;
    }
    let most = status(process, "VmHWM");
    println!(
        "with {RESERVED} reservations: {} KiB, at most {most} KiB",
        status(process, "VmRSS")
    );
    (most - before) / CROWD as u64
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures: takes a minute or more, 10,000 open files and some GiB for the crowd"]
async fn each_of_a_crowd_over_tcp_takes_less_than_40_kib() {
    assert!(memory_of_each(Introducer::tcp).await < 40);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures: takes a minute or more, 10,000 open files and some GiB for the crowd"]
async fn each_of_a_crowd_over_quic_takes_less_than_80_kib() {
    assert!(memory_of_each(Introducer::quic).await < 80);
}
