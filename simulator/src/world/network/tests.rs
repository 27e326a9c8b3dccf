#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use super::*;

fn machine(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 128, 0, number))
}

fn set(numbers: &[u8]) -> BTreeSet<IpAddr> {
    numbers.iter().map(|number| machine(*number)).collect()
}

/// Milliseconds and kilobytes a second, there.
fn way(wires: &Wires, from: u8, to: u8) -> (u128, u64) {
    let quality = wires.state().quality(machine(from), machine(to));
    (
        quality.latency.as_millis(),
        quality.speed.unwrap_or_default() / 1000,
    )
}

fn wires() -> Wires {
    Wires::new(Quality::FIBRE, Trace::new(None))
}

#[test]
fn without_lines_of_their_own_all_machines_are_at_fibre() {
    let wires = wires();
    assert_eq!(way(&wires, 1, 2), (8, 62_500));
    assert_eq!(wires.state().quality(machine(1), machine(1)), Quality::LOCAL);
}

#[test]
fn between_two_lines_latencies_add_up_and_the_slower_end_decides() {
    let wires = wires();
    wires.connect(machine(1), Condition::Dsl);
    wires.connect(machine(2), Condition::Mobile);
    // Up from the one and down to the other.
    assert_eq!(way(&wires, 1, 2), (40, 1250));
    assert_eq!(way(&wires, 2, 1), (40, 1250));
    wires.connect(machine(3), Condition::Satellite);
    assert_eq!(way(&wires, 3, 1), (315, 375));
    assert_eq!(way(&wires, 1, 3), (315, 1250));
    // Who has no line of its own makes nothing better or worse.
    assert_eq!(way(&wires, 4, 1), (15, 6250));
    assert_eq!(way(&wires, 1, 4), (15, 1250));
    wires.connect(machine(5), Condition::DataCentre);
    assert_eq!(way(&wires, 5, 4), (8, 62_500));
}

#[test]
fn a_link_overrides_lines_and_of_several_the_last_is_meant() {
    let wires = wires();
    wires.connect(machine(1), Condition::Dsl);
    wires.link(set(&[1, 2]), set(&[3, 4]), Condition::Satellite);
    for (from, to) in [(1, 3), (2, 4)] {
        assert_eq!(way(&wires, from, to), (300, 375));
        assert_eq!(way(&wires, to, from), (300, 3125));
    }
    assert_eq!(way(&wires, 1, 2), (15, 1250));
    wires.link(set(&[2]), set(&[2, 4]), Condition::DataCentre);
    assert_eq!(way(&wires, 2, 4), (0, 1_250_000));
    assert_eq!(way(&wires, 1, 4), (300, 375));
    assert_eq!(way(&wires, 2, 5), (8, 62_500));
}

#[test]
fn a_slow_machine_is_so_on_lines_that_are_there_already_and_no_longer_than_it_is() {
    let wires = wires();
    let line = wires.state().line(machine(1), machine(2));
    wires.slow(machine(2), true);
    assert_eq!(line.latency(), Duration::from_millis(80));
    assert_eq!(way(&wires, 2, 1), (80, 625));
    assert_eq!(way(&wires, 1, 3), (8, 62_500));
    wires.slow(machine(1), true);
    assert_eq!(way(&wires, 2, 1), (80, 625));
    wires.slow(machine(1), false);
    wires.slow(machine(2), false);
    assert_eq!(line.latency(), Duration::from_millis(8));
}

#[test]
fn machines_that_were_cut_off_twice_are_back_when_both_are_over() {
    let wires = wires();
    let (some, all) = (set(&[1, 2]), [machine(1), machine(2), machine(3)]);
    let flows = || wires.state().flows(machine(1), machine(3));
    wires.part(&some, &all, true);
    wires.part(&some, &all, true);
    wires.part(&some, &all, false);
    assert!(!flows());
    wires.part(&some, &all, false);
    assert!(flows());
    // That nothing is cut which is mended is no harm.
    wires.part(&some, &all, false);
    assert!(flows());
}
