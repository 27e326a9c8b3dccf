//! The broker changes header fields and nothing else.

use cargomail_protocol::address::Locator;
use cargomail_protocol::placeholder::{
    DESTINATION, Header, HeaderError, Placeholder, is_placeholder, surgery,
};
use proptest::prelude::*;

use crate::people::{healthcare, hospital};

fn insurance() -> Locator {
    Locator::parse("mailbox.insurance.com").unwrap()
}

#[test]
fn every_forged_destination_goes_and_nothing_else_changes() {
    let message = b"x-destination-RESOURCE-mailbox-url:\r\n evil.com\r\nFrom: alice@foo.com\r\n\
        X-Destination-Resource-Mailbox-URL : evil.com;\r\n\ta=b\r\n c\r\nSubject: a\r\n  b \r\nno field at all\r\n\
        X-Destination-Resource-Mailbox-URL:evil.com\r\nX-Destination-Resource-Mailbox-URLs: kept\r\n\r\n\
        X-Destination-Resource-Mailbox-URL: in the body\r\n\xff\0\r\n";
    let kept = b"From: alice@foo.com\r\nSubject: a\r\n  b \r\nno field at all\r\n\
        X-Destination-Resource-Mailbox-URLs: kept\r\n\r\n\
        X-Destination-Resource-Mailbox-URL: in the body\r\n\xff\0\r\n";
    assert_eq!(surgery::without_destination(message).unwrap(), kept);
    let routed = surgery::with_destination(message, &insurance()).unwrap();
    let ours = b"X-Destination-Resource-Mailbox-URL: mailbox.insurance.com\r\n".as_slice();
    assert_eq!(routed, [ours, kept].concat());
    assert_eq!(
        surgery::with_destination(&routed, &insurance()).unwrap(),
        routed,
        "twice is once"
    );
}

#[test]
fn s03_a_header_whose_lines_end_in_cr_or_lf_alone_is_refused() {
    for head in [
        "A: b\nX-Destination-Resource-Mailbox-URL: evil.com\r\n\r\n",
        "A: b\rX: y\r\n\r\n",
        "A: b\n\nbody",
    ] {
        assert_eq!(
            surgery::without_destination(head.as_bytes()),
            Err(HeaderError::BareLineEnd),
            "{head:?}"
        );
    }
    assert_eq!(
        surgery::without_destination(b"A\0: b\r\n\r\n"),
        Err(HeaderError::Nul)
    );
    assert_eq!(
        surgery::without_destination(b"A: b\r\n\r\nbare\nin the body\0").unwrap(),
        b"A: b\r\n\r\nbare\nin the body\0"
    );
}

#[test]
fn s03_a_message_cannot_continue_the_field_that_is_put_on_top_of_it() {
    let loose = b" evil.com\r\nA: b\r\n\r\n";
    assert_eq!(
        surgery::with_destination(loose, &insurance()),
        Err(HeaderError::NotAField)
    );
    assert_eq!(surgery::with_on_top(loose, &[]), Err(HeaderError::NotAField));
}

#[test]
fn the_brokers_destination_is_read_back_and_an_ordinary_message_has_none() {
    let placeholder = crate::compose::draft()
        .into_placeholder(hospital(), healthcare())
        .unwrap();
    let encoded = placeholder.encode().unwrap();
    let received = Header::new(
        "Received",
        "from mx.foo.com by mx.bar.com; Sat, 4 Mar 2023 14:05:01 +0100",
    )
    .unwrap();
    let routed = surgery::with_destination(&encoded, &insurance()).unwrap();
    let routed = surgery::with_on_top(&routed, &[received]).unwrap();
    assert!(is_placeholder(&routed));
    let read = Placeholder::parse(&routed).unwrap().unwrap();
    assert_eq!(read.destination(), Some(&insurance()));
    assert_eq!(read.parts(), placeholder.parts());
    assert!(!is_placeholder(
        b"From: a@b.c\r\n\r\nX-Origin-Resource-Mailbox-URL: in the body\r\n"
    ));
}

proptest! {
    #[test]
    fn what_is_not_a_destination_stays_octet_for_octet(
        lines in proptest::collection::vec("[ A-Za-z:;=-]{1,30}", 0..12),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        body in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let body = [b"\r\n".as_slice(), &body].concat();
        let join = |lines: &[String]| {
            let head: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            [head.as_bytes(), &body].concat()
        };
        let lines: Vec<String> = lines.into_iter().map(|line| format!("X{line}")).collect();
        let clean = join(&lines);
        prop_assert_eq!(&surgery::without_destination(&clean).unwrap(), &clean);
        let mut forged = lines;
        for place in places {
            let at = place.index(forged.len() + 1);
            forged.insert(at, format!("{DESTINATION}: evil.com"));
        }
        prop_assert_eq!(&surgery::without_destination(&join(&forged)).unwrap(), &clean);
    }
}
