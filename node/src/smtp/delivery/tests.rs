#![allow(clippy::unwrap_used)]
use super::*;

fn delivery(message: &[u8]) -> Delivery {
    Delivery {
        sender: Some(Address::parse("alice@foo.test").unwrap()),
        recipients: vec![Address::parse("bob@bar.test").unwrap()],
        message: Bytes::copy_from_slice(message),
    }
}

#[test]
fn s02_dots_are_stuffed_and_the_end_is_the_only_one() {
    let cases: [(&[u8], &[u8]); 9] = [
        (b"", b".\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"..\r\n...\r\n", b"...\r\n....\r\n.\r\n"),
        (b"a.b\r\n\r\n.", b"a.b\r\n\r\n..\r\n.\r\n"),
        (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n.\r\n"),
    ];
    for (message, sent) in cases {
        let pieces: Vec<&[u8]> = stuffed(message).collect();
        assert_eq!(pieces.concat(), sent, "{:?}", String::from_utf8_lossy(message));
    }
}

#[test]
fn s02_bare_line_ends_and_nul_are_not_sent() {
    let cases: [(&[u8], Unclean); 8] = [
        (b"a\nb\r\n", Unclean::LineEnd),
        (b"a\rb\r\n", Unclean::LineEnd),
        (b"a\r\n\n.\r\nb", Unclean::LineEnd),
        (b"a\r\n.\r\r\n", Unclean::LineEnd),
        (b"a\r", Unclean::LineEnd),
        (b"\n", Unclean::LineEnd),
        (b"a\0b\r\n", Unclean::Nul),
        (b"\r\n\0.\r\n", Unclean::Nul),
    ];
    for (message, why) in cases {
        let text = String::from_utf8_lossy(message);
        assert_eq!(Needs::of(&delivery(message)), Err(why), "{text:?}");
    }
}

#[test]
fn what_a_message_needs_is_seen_in_its_octets() {
    let plain = Needs::default();
    assert_eq!(Needs::of(&delivery(b"Subject: x\r\n\r\ny\r\n")), Ok(plain));
    let eight_bit = Needs {
        eight_bit: true,
        utf8: false,
    };
    assert_eq!(
        Needs::of(&delivery("Subject: x\r\n\r\nÿ\r\n".as_bytes())),
        Ok(eight_bit)
    );
    let both = Needs {
        eight_bit: true,
        utf8: true,
    };
    assert_eq!(
        Needs::of(&delivery("Subject: ÿ\r\n\r\nx\r\n".as_bytes())),
        Ok(both)
    );
    let mut from_utf8 = delivery(b"Subject: x\r\n\r\ny\r\n");
    from_utf8.sender = Some(Address::parse("älice@foo.test").unwrap());
    let utf8 = Needs {
        eight_bit: false,
        utf8: true,
    };
    assert_eq!(Needs::of(&from_utf8), Ok(utf8));
}
