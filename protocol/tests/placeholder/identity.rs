//! What goes in comes out: split, encode, parse, reconstruct, split again.

use cargomail_protocol::placeholder::{Multipart, Node, Placeholder, Split, is_placeholder, split, surgery};
use proptest::prelude::*;

use crate::people::{assert_strict, posted, written};

/// A part as a test writes it into a message.
#[derive(Debug, Clone)]
enum Tree {
    Leaf {
        fields: String,
        encoding: Encoding,
        octets: Vec<u8>,
    },
    Multipart(Multipart, Vec<Tree>),
}

#[derive(Debug, Clone, Copy)]
enum Encoding {
    Base64,
    Quoted,
    EightBit,
}

fn kind() -> impl Strategy<Value = Multipart> {
    prop_oneof![
        Just(Multipart::Mixed),
        Just(Multipart::Alternative),
        Just(Multipart::Related)
    ]
}

fn fields() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("Content-Type: text/plain; charset=utf-8\r\n".to_owned()),
        Just("Content-Type: TEXT/html;\r\n\tcharset=\"iso-8859-1\"\r\nContent-Language: sl\r\n".to_owned()),
        Just("Content-Type: application/x-thing;\r\n name=\"a \\\"b\\\".bin\"\r\nContent-ID: <part1@foo.com>\r\n".to_owned()),
        Just("Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n".to_owned()),
        Just("Content-Type: image/png\r\nContent-Disposition: inline;\r\n filename*=utf-8''na%C5%A1a.png\r\nX-Attachment-Id: 7\r\n".to_owned()),
        Just("Content-Type: multipart/signed; boundary=zz; protocol=\"application/pgp-signature\"\r\n".to_owned()),
    ]
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..300),
        "[ -~\t]{0,40}(\r\n[ -~\t]{0,90}){0,6}(\r\n)?".prop_map(String::into_bytes),
        "\\PC{0,200}".prop_map(String::into_bytes),
        proptest::collection::vec(
            prop_oneof![
                Just(b'\r'),
                Just(b'\n'),
                Just(b' '),
                Just(b'='),
                Just(b'-'),
                Just(b'.')
            ],
            0..60
        ),
        (900_usize..1200).prop_map(|n| vec![b'x'; n]),
    ]
}

fn leaf() -> impl Strategy<Value = Tree> {
    let encoding = prop_oneof![
        Just(Encoding::Base64),
        Just(Encoding::Quoted),
        Just(Encoding::EightBit)
    ];
    (fields(), encoding, octets()).prop_map(|(fields, encoding, octets)| {
        let whole = fields.contains("multipart/") || fields.contains("message/");
        Tree::Leaf {
            fields,
            encoding: if whole { Encoding::EightBit } else { encoding },
            octets,
        }
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    leaf().prop_recursive(10, 40, 4, |inner| {
        (kind(), proptest::collection::vec(inner, 1..4))
            .prop_map(|(kind, children)| Tree::Multipart(kind, children))
    })
}

/// Ten multiparts, one in the other.
fn deep() -> Tree {
    let leaf = Tree::Leaf {
        fields: String::new(),
        encoding: Encoding::Base64,
        octets: b"core".to_vec(),
    };
    (0..10).fold(leaf, |inner, level| {
        let kind = [Multipart::Mixed, Multipart::Related, Multipart::Alternative][level % 3];
        let beside = Tree::Leaf {
            fields: String::new(),
            encoding: Encoding::EightBit,
            octets: vec![0, level as u8],
        };
        Tree::Multipart(kind, vec![inner, beside])
    })
}

fn write(tree: &Tree, counter: &mut usize, out: &mut Vec<u8>) {
    match tree {
        Tree::Leaf {
            fields,
            encoding,
            octets,
        } => {
            out.extend_from_slice(fields.as_bytes());
            match encoding {
                Encoding::EightBit => {
                    out.extend_from_slice(b"Content-Transfer-Encoding: 8bit\r\n\r\n");
                    out.extend_from_slice(octets);
                }
                Encoding::Base64 => {
                    out.extend_from_slice(b"Content-Transfer-Encoding: BASE64\r\n\r\n");
                    let whole = data_encoding::BASE64.encode(octets);
                    for line in whole.as_bytes().chunks(60) {
                        out.extend_from_slice(line);
                        out.extend_from_slice(b" \r\n");
                    }
                }
                Encoding::Quoted => {
                    out.extend_from_slice(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n");
                    for (at, octet) in octets.iter().enumerate() {
                        out.extend_from_slice(format!("={octet:02x}").as_bytes());
                        if at % 20 == 19 {
                            out.extend_from_slice(b"=  \r\n");
                        }
                    }
                }
            }
        }
        Tree::Multipart(kind, children) => {
            *counter += 1;
            let boundary = format!("----=_Part_{counter}_'(42)");
            out.extend_from_slice(
                format!(
                    "Content-Type: multipart/{};\r\n boundary=\"{boundary}\"\r\n\r\nA preamble.\r\n",
                    kind.name()
                )
                .as_bytes(),
            );
            for child in children {
                out.extend_from_slice(format!("\r\n--{boundary} \t\r\n").as_bytes());
                write(child, counter, out);
            }
            out.extend_from_slice(format!("\r\n--{boundary}--\r\nAn epilogue.\r\n").as_bytes());
        }
    }
}

const HEADER: &str = "Received: from a by b; Sat, 4 Mar 2023 14:05:01 +0100\r\n\
    From: Alice Sanders <alice@foo.com>\r\nTo: bob@bar.com,\r\n\t\"Carol, C.\" <carol@bar.com>\r\nCc: \r\n\
    Subject:  =?utf-8?Q?Gr=C3=BC=C3=9Fe?=   and\r\n  more \r\nDate: Sat, 4 Mar 2023 14:05:01 +0100\r\n\
    Message-ID: <1@foo.com>\r\nX-Mailer:unspaced\r\nContent-Language: en\r\nMIME-Version: 1.0\r\n";

fn message(tree: &Tree) -> Vec<u8> {
    let mut out = HEADER.as_bytes().to_vec();
    write(tree, &mut 0, &mut out);
    out
}

fn bodies(tree: &Tree) -> Vec<Vec<u8>> {
    match tree {
        Tree::Leaf { octets, .. } => vec![octets.clone()],
        Tree::Multipart(_, children) => children.iter().flat_map(bodies).collect(),
    }
}

fn shape(tree: &Tree, count: &mut usize) -> Node {
    match tree {
        Tree::Leaf { .. } => {
            *count += 1;
            Node::Part(*count - 1)
        }
        Tree::Multipart(kind, children) => {
            Node::Multipart(*kind, children.iter().map(|child| shape(child, count)).collect())
        }
    }
}

fn octets_of(split: &Split) -> Vec<Vec<u8>> {
    split.bodies.iter().map(|body| body.octets.clone()).collect()
}

fn round(message: &[u8]) -> (Split, Split) {
    let first = split(message).unwrap();
    let placeholder = posted(&first);
    let encoded = placeholder.encode().unwrap();
    assert_strict(&encoded);
    let read = Placeholder::parse(&encoded).unwrap().expect("a placeholder");
    assert_eq!(read, placeholder);
    let again = written(&read.reconstruct(), &octets_of(&first), 7);
    let whole = written(&read.reconstruct(), &octets_of(&first), usize::MAX);
    assert_eq!(again, whole, "how a resource is cut into chunks changes nothing");
    assert!(!is_placeholder(&again));
    (first.clone(), split(&again).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_split_and_reconstructed_is_what_alice_wrote(tree in tree()) {
        let (first, second) = round(&message(&tree));
        prop_assert_eq!(octets_of(&first), bodies(&tree));
        prop_assert_eq!(first.template.structure.root(), &shape(&tree, &mut 0));
        prop_assert_eq!(&first, &second);
    }

    #[test]
    fn any_octets_survive_every_transfer_encoding(octets in octets(), chunk in 1_usize..9) {
        for media_type in ["text/plain", "image/png", "message/rfc822"] {
            let head = format!(
                "From: alice@foo.com\r\nMessage-ID: <1@foo.com>\r\nContent-Type: {media_type}\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n"
            );
            let mut message = head.into_bytes();
            message.extend_from_slice(data_encoding::BASE64.encode(&octets).as_bytes());
            let first = split(&message).unwrap();
            prop_assert_eq!(&octets_of(&first), &vec![octets.clone()]);
            let again = written(&posted(&first).reconstruct(), &octets_of(&first), chunk);
            prop_assert_eq!(octets_of(&split(&again).unwrap()), vec![octets.clone()]);
        }
    }

    #[test]
    fn random_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        exercise(&octets);
    }

    #[test]
    fn random_messages_never_panic(
        head in "(From|X-Origin-Resource-Mailbox-URL|Content-Type|X-Cargomail-Structure| |):[ -~\r\n]{0,80}\r\n",
        body in "[-a= \r\n]{0,80}",
    ) {
        exercise(format!("{head}\r\n{body}").as_bytes());
    }

    #[test]
    fn placeholders_changed_at_random_never_panic(
        tree in tree(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut encoded = posted(&split(&message(&tree)).unwrap()).encode().unwrap();
        for (at, octet) in changes {
            let at = at.index(encoded.len());
            encoded[at] = octet;
        }
        exercise(&encoded);
    }
}

/// Every way in. What is read as a placeholder can be written again and is read as the same.
fn exercise(octets: &[u8]) {
    let _ = split(octets);
    let _ = surgery::without_destination(octets);
    let _ = is_placeholder(octets);
    if let Ok(Some(placeholder)) = Placeholder::parse(octets) {
        let _ = (
            placeholder.reconstruct(),
            placeholder.subject(),
            placeholder.addresses("To"),
            placeholder.date(),
        );
        placeholder
            .parts()
            .iter()
            .for_each(|part| drop(part.description.file_name()));
        if let Ok(encoded) = placeholder.encode() {
            let again = Placeholder::parse(&encoded).unwrap().expect("a placeholder");
            assert_eq!(again.parts(), placeholder.parts());
            assert_eq!(again.headers(), placeholder.headers());
            assert_eq!(again.structure(), placeholder.structure());
        }
    }
}

#[test]
fn ten_multiparts_one_in_the_other_come_back() {
    let tree = deep();
    let (first, second) = round(&message(&tree));
    assert_eq!(octets_of(&first), bodies(&tree));
    assert_eq!(first, second);
}

#[test]
fn a_plain_message_without_mime_comes_back() {
    let message = b"From: alice@foo.com\r\nMessage-ID: <1@foo.com>\r\n\r\nHi Bob,\r\n.\r\nFrom here\r\n";
    let (first, second) = round(message);
    assert_eq!(octets_of(&first), [b"Hi Bob,\r\n.\r\nFrom here\r\n".to_vec()]);
    assert_eq!(first.template.structure.to_string(), "1");
    assert_eq!(first, second);
}

#[test]
fn text_that_is_not_ascii_becomes_encoded_words_and_stays_the_same_text() {
    let message = "From: \"Ålice Ünder\" <alice@foo.com>\r\nTo: Bôb (the Bøb) <bob@bar.com>\r\n\
        Subject: Grüße an alle = well, «nearly»   alle\r\nMessage-ID: <1@foo.com>\r\n\
        Content-Type: application/pdf; name=\"übersicht.pdf\"\r\n\
        Content-Disposition: attachment; filename=\"übersicht einer sehr sehr langen Datei mit vielen Wörtern.pdf\"\r\n\r\n";
    let (first, second) = round(message.as_bytes());
    assert_eq!(first, second);
    let placeholder = posted(&first);
    assert_eq!(placeholder.subject(), "Grüße an alle = well, «nearly»   alle");
    assert_eq!(placeholder.author().name.as_deref(), Some("Ålice Ünder"));
    assert_eq!(placeholder.addresses("To")[0].name.as_deref(), Some("Bôb"));
    let name = placeholder.parts()[0].description.file_name().unwrap();
    assert_eq!(
        name,
        "übersicht einer sehr sehr langen Datei mit vielen Wörtern.pdf"
    );
}

#[test]
fn signed_and_unclosed_and_disputed_multiparts_are_kept_whole() {
    let head = "From: alice@foo.com\r\nMessage-ID: <1@foo.com>\r\nContent-Type: multipart/";
    for (kind, body) in [
        (
            "signed; boundary=a; protocol=x/y",
            "--a\r\n\r\nsigned\r\n--a\r\n\r\nsignature\r\n--a--\r\n",
        ),
        ("mixed; boundary=a", "--a\r\n\r\nnever closed\r\n"),
        (
            "mixed; boundary=a",
            "--a\r\n\r\none\n--a\r\n\r\nor two\r\n--a--\r\n",
        ),
        (
            "mixed; boundary=a",
            "--a\r\n\r\none\r\n--ab\r\n\r\nor two\r\n--a--\r\n",
        ),
        (
            "mixed; boundary=a",
            "--a\r\n\r\none\r\n--a--\r\n--a\r\n\r\nor two\r\n--a--\r\n",
        ),
        (
            "related; boundary=a; start=\"<2>\"",
            "--a\r\n\r\none\r\n--a\r\nContent-ID: <2>\r\n\r\ntwo\r\n--a--\r\n",
        ),
        ("mixed", "no boundary"),
    ] {
        let (first, second) = round(format!("{head}{kind}\r\n\r\n{body}").as_bytes());
        assert_eq!(octets_of(&first), [body.as_bytes().to_vec()], "{kind}");
        assert_eq!(first, second);
    }
}

#[test]
fn a_field_may_be_called_like_the_beginning_of_json() {
    let (first, second) = round(b"{\"a: b\r\nFrom: alice@foo.com\r\nMessage-ID: <1@foo.com>\r\n\r\n}");
    assert_eq!(first, second);
    assert_eq!(Placeholder::parse(b"{\"a: b\r\n\r\nHi"), Ok(None));
}

#[test]
fn m01_the_name_of_a_field_cannot_be_the_delimiter() {
    let message = |field: &str| {
        format!(
            "From: alice@foo.com\r\nMessage-ID: <1@foo.com>\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n\
                 --a\r\n{field}: x\r\n\r\none\r\n--a--\r\n"
        )
    };
    let boundary = |message: &[u8]| {
        let text = String::from_utf8(message.to_vec()).unwrap();
        text.split("boundary=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    let plain = posted(&split(message("X-Plain").as_bytes()).unwrap());
    let guessed = [
        boundary(&plain.encode().unwrap()),
        boundary(&written(&plain.reconstruct(), &[b"one".to_vec()], 9)),
    ];
    for guess in guessed {
        let (first, second) = round(message(&format!("--{guess}")).as_bytes());
        assert_eq!(first, second);
    }
}
