//! Composing from scratch, of parts that are stored already.

use cargomail_protocol::limits;
use cargomail_protocol::placeholder::{
    ContentId, Description, Disposition, Draft, Header, HeaderError, Invalid, Mailbox, Part, Piece,
    Placeholder, TransferEncoding, download_name,
};
use cargomail_protocol::timestamp::Timestamp;

use crate::people::{alice, assert_strict, bob, healthcare, hospital, stored};

pub(crate) fn part(content_type: &str, octets: &[u8]) -> Part {
    Part {
        resource: stored(octets),
        description: Description::new(content_type).unwrap(),
    }
}

fn file(content_type: &str, how: Disposition, name: &str, octets: &[u8]) -> Part {
    let description = Description::new(content_type)
        .unwrap()
        .disposed(how, Some(name))
        .unwrap();
    Part {
        resource: stored(octets),
        description,
    }
}

pub(crate) fn draft() -> Draft {
    let image = file("image/png", Disposition::Inline, "x-ray.png", b"a picture");
    let html = format!("<p>Look:</p><img src=\"cid:{}\">", image.resource.cid);
    Draft {
        from: alice(),
        sender: None,
        reply_to: Vec::new(),
        to: vec![bob()],
        cc: Vec::new(),
        subject: "Test message".to_owned(),
        date: Timestamp::from_seconds(1_677_935_101),
        message_id: "<b07d0cdf@foo.com>".to_owned(),
        in_reply_to: None,
        references: Vec::new(),
        text: Some(part("text/plain; charset=utf-8", b"Look!\r\n")),
        html: Some(part("text/html; charset=utf-8", html.as_bytes())),
        inline: vec![image],
        attachments: vec![file(
            "video/mp4",
            Disposition::Attachment,
            "pregled žil.mp4",
            b"a film",
        )],
    }
}

#[test]
fn a_letter_with_pictures_and_files_has_the_tree_that_mail_programs_expect() {
    let placeholder = draft().into_placeholder(hospital(), healthcare()).unwrap();
    assert_eq!(
        placeholder.structure().to_string(),
        "mixed(alternative(1 related(2 3)) 4)"
    );
    let encoded = placeholder.encode().unwrap();
    assert_strict(&encoded);
    assert_eq!(Placeholder::parse(&encoded).unwrap().unwrap(), placeholder);
    let picture = &placeholder.parts()[2];
    assert!(picture.is_referred_to_as(&picture.resource.cid.to_string()));
    let head = placeholder
        .reconstruct()
        .iter()
        .fold(String::new(), |all, piece| match piece {
            Piece::Bytes(bytes) => all + std::str::from_utf8(bytes).unwrap(),
            Piece::Resource { .. } => all,
        });
    assert!(head.contains(&format!("Content-ID: <{}>\r\n", picture.resource.cid)));
}

#[test]
fn smaller_letters_have_no_more_multiparts_than_they_need() {
    let bare = Draft {
        html: None,
        inline: Vec::new(),
        attachments: Vec::new(),
        ..draft()
    };
    assert_eq!(
        bare.into_placeholder(hospital(), healthcare())
            .unwrap()
            .structure()
            .to_string(),
        "1"
    );
    let film = Draft {
        text: None,
        html: None,
        inline: Vec::new(),
        ..draft()
    };
    assert_eq!(
        film.into_placeholder(hospital(), healthcare())
            .unwrap()
            .structure()
            .to_string(),
        "1"
    );
    let nothing = Draft {
        text: None,
        html: None,
        inline: Vec::new(),
        attachments: Vec::new(),
        ..draft()
    };
    let nothing = nothing.into_placeholder(hospital(), healthcare()).unwrap();
    assert_eq!(nothing.structure().to_string(), "mixed()");
    assert_eq!(
        Placeholder::parse(&nothing.encode().unwrap()).unwrap().unwrap(),
        nothing
    );
}

#[test]
fn s03_no_value_breaks_out_of_its_field() {
    let refused = |draft: Draft| {
        let error = draft.into_placeholder(hospital(), healthcare()).unwrap_err();
        assert!(
            matches!(error, Invalid::Header(HeaderError::LineBreak { .. })),
            "{error:?}"
        );
    };
    for evil in [
        "x\r\nBcc: eve@evil.com",
        "x\nBcc: eve@evil.com",
        "x\rBcc: eve@evil.com",
        "x\0",
    ] {
        refused(Draft {
            subject: evil.to_owned(),
            ..draft()
        });
        refused(Draft {
            message_id: format!("<{evil}>"),
            ..draft()
        });
        refused(Draft {
            in_reply_to: Some(evil.to_owned()),
            ..draft()
        });
        refused(Draft {
            references: vec![evil.to_owned()],
            ..draft()
        });
        refused(Draft {
            from: Mailbox::named(evil, alice().address),
            ..draft()
        });
        refused(Draft {
            to: vec![Mailbox::named(evil, bob().address)],
            ..draft()
        });
        assert!(matches!(
            Header::new("X-Thing", evil),
            Err(HeaderError::LineBreak { .. })
        ));
        assert!(matches!(Header::new(evil, "x"), Err(HeaderError::Name(_))));
        let named = Description::new("a/b")
            .unwrap()
            .disposed(Disposition::Attachment, Some(evil));
        assert!(matches!(named, Err(HeaderError::LineBreak { .. })));
        assert!(Description::new(&format!("text/plain; charset=\"{evil}\"")).is_err());
        let mut with_id = draft();
        with_id.attachments[0].description = Description::new("a/b")
            .unwrap()
            .identified(ContentId::Own(evil.to_owned()));
        assert_eq!(
            with_id.into_placeholder(hospital(), healthcare()),
            Err(Invalid::Identifier("Content-ID"))
        );
    }
}

#[test]
fn no_hidden_recipient_and_no_foreign_field_is_written() {
    let mut with_bcc = draft();
    with_bcc.attachments[0].description = Description::new("a/b")
        .unwrap()
        .with(Header::new("X-Cargomail-Content-ID", "<a>").unwrap());
    let error = with_bcc.into_placeholder(hospital(), healthcare()).unwrap_err();
    assert_eq!(error, Invalid::Foreign("X-Cargomail-Content-ID".to_owned()));
    let split = cargomail_protocol::placeholder::split(
        b"From: alice@foo.com\r\nTo: bob@bar.com\r\nBCC: carol@bar.com,\r\n dave@bar.com\r\nMessage-ID: <1@foo.com>\r\n\
          X-Destination-Resource-Mailbox-URL: evil.com\r\nX-Correspondence-Category: Business\r\n\r\nHi",
    )
    .unwrap();
    assert!(split.template.headers.first("Bcc").is_none());
    assert_eq!(split.template.category.as_ref().unwrap().as_str(), "business");
    let encoded = String::from_utf8(crate::people::posted(&split).encode().unwrap()).unwrap();
    assert!(!encoded.contains("carol") && !encoded.contains("dave") && !encoded.contains("evil.com"));
}

#[test]
fn long_names_and_long_lists_are_folded() {
    let draft = Draft {
        to: (0..90)
            .map(|n| Mailbox::named(format!("Person Number {n}"), bob().address))
            .collect(),
        subject: "ö".repeat(2000),
        ..draft()
    };
    let placeholder = draft.into_placeholder(hospital(), healthcare()).unwrap();
    let encoded = placeholder.encode().unwrap();
    assert_strict(&encoded);
    assert!(encoded.split(|b| *b == b'\n').all(|line| line.len() <= 79));
    let read = Placeholder::parse(&encoded).unwrap().unwrap();
    assert_eq!(read.subject(), "ö".repeat(2000));
    assert_eq!(read.addresses("To").len(), 90);
}

#[test]
fn m08_a_strangers_file_name_is_never_a_path() {
    for (hostile, harmless) in [
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\x", "x"),
        ("a\0b", "ab"),
        ("photo\u{202e}gnp.exe", "photognp.exe"),
        (".htaccess", "htaccess"),
        ("..", "file"),
        ("", "file"),
        ("a/", "file"),
        ("CON", "_CON"),
        ("lpt1.txt", "_lpt1.txt"),
        ("nul.tar.gz", "_nul.tar.gz"),
        ("x:y|z?.txt", "x_y_z_.txt"),
        ("trailing. ", "trailing"),
    ] {
        assert_eq!(download_name(hostile), harmless, "{hostile:?}");
    }
    let long = download_name(&format!("{}.pdf", "ž".repeat(2048)));
    assert!(long.len() <= 200 && long.ends_with(".pdf"));
    let description = Description::new("a/b").unwrap();
    let hostile = "\u{202e}../../x";
    let description = description
        .disposed(Disposition::Attachment, Some(hostile))
        .unwrap();
    assert_eq!(
        description.file_name().as_deref(),
        Some(hostile),
        "metadata stays as it was written"
    );
}

#[test]
fn the_explanation_tells_a_person_who_where_until_when_and_what() {
    let mut draft = draft();
    draft.from = Mailbox::named("Eve\u{202e}\u{7}", alice().address);
    let text = draft
        .into_placeholder(hospital(), healthcare())
        .unwrap()
        .encode()
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    let start = text.find("This is a Cargomail message").unwrap();
    let explanation = &text[start..start + text[start..].find("\r\n--=_").unwrap()];
    for word in [
        "Eve <alice@foo.com>",
        "mailbox.hospital.com",
        "2026",
        "x-ray.png",
        "6 bytes",
        "pregled =C5=BEil.mp4",
    ] {
        assert!(explanation.contains(word), "{word} is not in\n{explanation}");
    }
    assert!(!explanation.contains("bob@"), "no recipient is named");
}

#[test]
fn messages_and_multiparts_are_never_encoded() {
    assert_eq!(
        TransferEncoding::suited_to("message/rfc822"),
        TransferEncoding::Identity
    );
    assert_eq!(
        TransferEncoding::suited_to("multipart/signed"),
        TransferEncoding::Identity
    );
    assert_eq!(
        TransferEncoding::suited_to("text/html"),
        TransferEncoding::QuotedPrintable
    );
    assert_eq!(TransferEncoding::suited_to("video/mp4"), TransferEncoding::Base64);
}

#[test]
fn what_no_reader_would_take_is_not_written() {
    let mut many = draft();
    many.attachments = vec![many.attachments.remove(0); limits::RESOURCES - 3];
    let written = many
        .clone()
        .into_placeholder(hospital(), healthcare())
        .unwrap()
        .encode()
        .unwrap();
    assert_eq!(
        Placeholder::parse(&written).unwrap().unwrap().parts().len(),
        limits::RESOURCES
    );
    many.attachments.push(many.attachments[0].clone());
    assert!(many.into_placeholder(hospital(), healthcare()).is_err());
    let loud = Draft {
        subject: "x ".repeat(limits::HEADERS / 2),
        ..draft()
    };
    assert_eq!(
        loud.into_placeholder(hospital(), healthcare()),
        Err(Invalid::Header(HeaderError::TooLarge))
    );
}
