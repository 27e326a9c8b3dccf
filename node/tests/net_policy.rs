//! Row D04: every notation of an address that a stranger has no business naming.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use cargomail_node::network::{AddressPolicy, Kind};

fn kind(text: &str) -> Option<Kind> {
    AddressPolicy::public()
        .check(text.parse().unwrap())
        .err()
        .map(|forbidden| forbidden.kind)
}

#[test]
fn d04_every_special_address_is_refused_with_its_name() {
    let cases = [
        ("0.0.0.0", Kind::Unspecified),
        ("0.1.2.3", Kind::Unspecified),
        ("::", Kind::Unspecified),
        ("127.0.0.1", Kind::Loopback),
        ("127.255.255.254", Kind::Loopback),
        ("::1", Kind::Loopback),
        ("10.0.0.1", Kind::Private),
        ("172.16.0.1", Kind::Private),
        ("172.31.255.255", Kind::Private),
        ("192.168.1.1", Kind::Private),
        ("fd00::1", Kind::UniqueLocal),
        ("fec0::1", Kind::UniqueLocal),
        ("169.254.169.254", Kind::LinkLocal),
        ("fe80::1", Kind::LinkLocal),
        ("100.64.0.1", Kind::CarrierNat),
        ("100.100.100.200", Kind::CarrierNat),
        ("224.0.0.1", Kind::Multicast),
        ("ff02::1", Kind::Multicast),
        ("168.63.129.16", Kind::CloudMetadata),
        ("fd00:ec2::254", Kind::UniqueLocal),
        ("192.0.0.192", Kind::Reserved),
        ("198.18.0.1", Kind::Reserved),
        ("203.0.113.1", Kind::Reserved),
        ("255.255.255.255", Kind::Reserved),
        ("2001:db8::1", Kind::Reserved),
        ("100::1", Kind::Reserved),
    ];
    for (text, expected) in cases {
        assert_eq!(kind(text), Some(expected), "{text}");
    }
}

#[test]
fn d04_an_ipv4_address_in_ipv6_clothes_is_judged_as_itself() {
    let cases = [
        ("::ffff:127.0.0.1", Kind::Loopback),
        ("::ffff:10.1.2.3", Kind::Private),
        ("::127.0.0.1", Kind::Loopback),
        ("::ffff:0:127.0.0.1", Kind::Loopback),
        ("64:ff9b::127.0.0.1", Kind::Loopback),
        ("64:ff9b::a9fe:a9fe", Kind::LinkLocal),
        ("64:ff9b:1::1", Kind::Tunnel),
        ("2002:7f00:1::", Kind::Loopback),
        ("2002:c0a8:101::1", Kind::Private),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Kind::Tunnel),
    ];
    for (text, expected) in cases {
        assert_eq!(kind(text), Some(expected), "{text}");
    }
    let reduced = AddressPolicy::public().check("::ffff:1.1.1.1".parse().unwrap());
    assert_eq!(reduced, Ok("1.1.1.1".parse::<IpAddr>().unwrap()));
}

#[test]
fn d04_public_addresses_pass_and_own_ones_do_not() {
    for public in [
        "1.1.1.1",
        "172.15.0.1",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "2a00::1",
    ] {
        assert_eq!(kind(public), None, "{public}");
    }
    let policy = AddressPolicy {
        allow: Vec::new(),
        own: vec!["1.2.3.4".parse().unwrap()],
    };
    let refused = policy.check("::ffff:1.2.3.4".parse().unwrap()).unwrap_err();
    assert_eq!(refused.kind, Kind::Own);
}

#[test]
fn d04_only_the_networks_that_are_named_are_allowed() {
    let policy = AddressPolicy::allowing(&["127.0.0.0/8", "fd12::/16"]).unwrap();
    assert!(policy.check("127.4.5.6".parse().unwrap()).is_ok());
    assert!(policy.check("::ffff:127.4.5.6".parse().unwrap()).is_ok());
    assert!(policy.check("fd12::1".parse().unwrap()).is_ok());
    assert!(policy.check("fd13::1".parse().unwrap()).is_err());
    assert!(policy.check("::1".parse().unwrap()).is_err());
    assert!(policy.check("10.0.0.1".parse().unwrap()).is_err());
    assert!(
        AddressPolicy::allowing(&["0.0.0.0/0"])
            .unwrap()
            .check("10.0.0.1".parse().unwrap())
            .is_ok()
    );
    for bad in [
        "127.0.0.0/33",
        "127.0.0/8",
        "0x7f.1",
        "017700000001",
        "::/129",
        "",
        "/8",
        "1.2.3.4/-1",
    ] {
        assert!(AddressPolicy::allowing(&[bad]).is_err(), "{bad:?}");
    }
}
