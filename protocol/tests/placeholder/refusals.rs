//! Placeholders and messages that are refused, by name.

use std::time::{Duration, Instant};

use cargomail_protocol::limits;
use cargomail_protocol::placeholder::{
    Broken, Headers, Invalid, Placeholder, SplitError, Structure, StructureError, split,
};

const CID: &str = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

/// A placeholder of two parts, with `edit` made to its text.
fn edited(edit: impl Fn(String) -> String) -> Result<Option<Placeholder>, Broken> {
    let part = |kind: &str, size: u32| {
        format!(
            "--42\r\nContent-Type: message/external-body; access-type=content-addressed-uri;\r\n \
             hash-algorithm=sha256; size={size}\r\n\r\nContent-Type: {kind}\r\nContent-ID: <{CID}>\r\n\r\n"
        )
    };
    let text = format!(
        "From: alice@foo.com\r\nTo: bob@bar.com\r\nMessage-ID: <1@foo.com>\r\n\
         X-Origin-Resource-Mailbox-URL: mailbox.hospital.com;\r\n expiration=\"Sat, 4 Mar 2023 14:05:01 +0100\"\r\n\
         X-Correspondence-Category: healthcare\r\nX-Cargomail-Structure: mixed(1 2)\r\n\
         Content-Type: multipart/mixed; boundary=42\r\nMIME-Version: 1.0\r\n\r\n\
         --42\r\n\r\nRead me.\r\n{}{}--42--\r\n",
        part("text/plain", 11),
        part("video/mp4", 22)
    );
    Placeholder::parse(edit(text).as_bytes())
}

fn replaced(from: &'static str, to: &str) -> Result<Option<Placeholder>, Broken> {
    edited(|text| {
        assert!(text.contains(from), "{from:?} stands in the text");
        text.replace(from, to)
    })
}

fn invalid(result: Result<Option<Placeholder>, Broken>) -> Invalid {
    match result.unwrap_err() {
        Broken::Invalid(invalid) => invalid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_placeholder_that_the_refusals_are_made_of_is_good() {
    let placeholder = edited(|text| text).unwrap().unwrap();
    assert_eq!(placeholder.parts().len(), 2);
    assert_eq!(
        replaced("X-Origin-Resource-Mailbox-URL", "X-Other").unwrap(),
        None,
        "an ordinary message passes"
    );
}

#[test]
fn m02_a_structure_that_is_ambiguous_is_refused() {
    let structure = |text: &str| match replaced("mixed(1 2)", text).unwrap_err() {
        Broken::Structure(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        structure("mixed(1)"),
        StructureError::Count { found: 1, parts: 2 }
    );
    assert_eq!(
        structure("mixed(1 2 3)"),
        StructureError::Count { found: 3, parts: 2 }
    );
    assert_eq!(structure("mixed(1 1)"), StructureError::Twice(1));
    assert_eq!(structure("mixed(1 3)"), StructureError::OutOfRange(3));
    assert_eq!(
        structure("mixed(2 4294967297)"),
        StructureError::Grammar { at: 8 }
    );
    assert_eq!(
        structure("digest(1 2)"),
        StructureError::UnknownMultipart("digest".to_owned())
    );
    assert_eq!(structure("mixed(1 2 mixed())"), StructureError::Empty);
    for bad in [
        "",
        "mixed",
        "mixed(1 2",
        "mixed(1 2))",
        "mixed(0 1)",
        "mixed(01 2)",
        "1 2",
        "mixed(1,2)",
        "mixed(1 2)x",
    ] {
        assert!(
            matches!(structure(bad), StructureError::Grammar { .. }),
            "{bad:?}"
        );
    }
    assert!(replaced("mixed(1 2)", "MIXED( 2\r\n  1 )").is_ok());
}

#[test]
fn m02_what_stands_twice_is_refused() {
    for (from, twice, name) in [
        (
            "MIME-Version",
            "Content-Type: multipart/mixed; boundary=43\r\nMIME-Version",
            "Content-Type",
        ),
        (
            "MIME-Version",
            "content-transfer-encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\nMIME-Version",
            "Content-Transfer-Encoding",
        ),
        (
            "X-Cargomail-Structure",
            "X-Cargomail-Structure: mixed(2 1)\r\nX-Cargomail-Structure",
            "X-Cargomail-Structure",
        ),
        (
            "X-Corr",
            "X-Correspondence-Category: business\r\nX-Corr",
            "X-Correspondence-Category",
        ),
        (
            "X-Corr",
            "X-Origin-Resource-Mailbox-URL: evil.com\r\nX-Corr",
            "X-Origin-Resource-Mailbox-URL",
        ),
        ("To:", "Message-ID: <2@foo.com>\r\nTo:", "Message-ID"),
        (
            "Content-Type: text/plain",
            "Content-Type: text/html\r\nContent-Type: text/plain",
            "Content-Type",
        ),
        ("Content-ID:", "Content-ID: <x>\r\nContent-ID:", "Content-ID"),
    ] {
        assert_eq!(
            invalid(replaced(from, twice)),
            Invalid::Duplicate(name.to_owned())
        );
    }
    let parameters = |result: Result<Option<Placeholder>, Broken>| {
        assert!(matches!(result, Err(Broken::Parameters { .. })), "{result:?}");
    };
    parameters(replaced("boundary=42", "boundary=42; BOUNDARY=43"));
    parameters(replaced("boundary=42", "boundary=42; boundary*=us-ascii''43"));
    parameters(replaced("size=11", "size=11; size=12"));
    parameters(replaced("size=11", "size=11; size*0=12"));
    parameters(replaced("size=11", "size=11; access-type=anon-ftp"));
    parameters(replaced("expiration=", "expiration=x; expiration="));
}

#[test]
fn m01_m02_boundary_games_are_refused() {
    assert_eq!(replaced("--42--\r\n", ""), Err(Broken::Boundary));
    assert_eq!(replaced("Read me.", "Read\n--42\r\nme."), Err(Broken::Boundary));
    assert_eq!(
        replaced("Read me.", "Read\r\n--42x\r\nme."),
        Err(Broken::Boundary)
    );
    assert_eq!(
        replaced("--42--\r\n", "--42--\r\n--42\r\n"),
        Err(Broken::Boundary)
    );
    assert_eq!(replaced("boundary=42", "boundary=\"\""), Err(Broken::Boundary));
    assert_eq!(
        replaced("multipart/mixed", "multipart/alternative"),
        Err(Broken::NotMixed)
    );
    assert_eq!(
        replaced("MIME", "Content-Transfer-Encoding: base64\r\nMIME"),
        Err(Broken::NotMixed)
    );
    assert_eq!(
        replaced(
            "--42\r\n\r\nRead",
            "--42\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\nRead"
        ),
        Err(Broken::NotMixed)
    );
}

#[test]
fn m03_hostile_external_body_fields_are_ignored_or_refused() {
    let foreign = replaced(
        "access-type=content-addressed-uri;\r\n hash-algorithm=sha256; size=11",
        "access-type=URL; url=\"javascript:1\"",
    );
    let placeholder = foreign.unwrap().unwrap();
    assert_eq!(placeholder.ignored(), ["url"]);
    assert_eq!(placeholder.parts().len(), 1);
    assert_eq!(placeholder.structure().to_string(), "mixed(1)");
    assert_eq!(placeholder.parts()[0].description.media_type(), "video/mp4");
    let md5 = replaced("hash-algorithm=sha256", "hash-algorithm=md5")
        .unwrap()
        .unwrap();
    assert!(md5.parts().is_empty() && md5.author().address.to_string() == "alice@foo.com");
    for (from, to) in [
        ("size=11", "size=-1"),
        ("size=11", "size=99999999999999999999999"),
        ("size=11", "sizes=11"),
        ("size=11", "size=11; sha256=abc"),
        ("access-type=", "access="),
        ("bafkrei", "bafkreh"),
        (CID, "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"),
        (CID, "bafkqaaa"),
        ("<bafk", "bafk"),
    ] {
        assert!(
            matches!(replaced(from, to), Err(Broken::Part { .. })),
            "{to}: {:?}",
            replaced(from, to)
        );
    }
    assert!(matches!(
        replaced("Sat, 4 Mar 2023 14:05:01 +0100", "never"),
        Err(Broken::Expiry(_))
    ));
    assert!(matches!(
        replaced("mailbox.hospital.com", "http://127.0.0.1/"),
        Err(Broken::Locator { .. } | Broken::Parameters { .. })
    ));
    assert!(matches!(
        replaced("mailbox.hospital.com", "127.0.0.1"),
        Err(Broken::Locator { .. })
    ));
}

#[test]
fn s10_an_ambiguous_author_is_refused() {
    for from in [
        "alice@foo.com\r\nFrom: eve@evil.com",
        "alice@foo.com\r\nFROM : eve@evil.com",
        "<alice@foo.com>,<eve@evil.com>",
        "team: alice@foo.com;",
        "alice@foo.com <eve@evil.com> <alice@foo.com>",
        "alice@foo.com eve@evil.com",
        "<alice@foo.com> eve@evil.com",
        "@evil.com:alice@foo.com",
        "=?utf-8?Q?alice=40foo.com=00?=",
        "alice@foo.com (",
        "alice @foo.com",
        "",
    ] {
        let result = replaced("From: alice@foo.com", &format!("From: {from}"));
        assert!(
            matches!(
                result,
                Err(Broken::Invalid(Invalid::Author | Invalid::Duplicate(_)) | Broken::Header(_))
            ),
            "{from:?}: {result:?}"
        );
    }
    let shown = replaced("From: alice@foo.com", "From: \"bob@bar.com\" <alice@foo.com>")
        .unwrap()
        .unwrap();
    assert_eq!(shown.author().address.to_string(), "alice@foo.com");
    let colon = replaced("From: alice@foo.com", "From: \"Dr: Alice\" <alice@foo.com>")
        .unwrap()
        .unwrap();
    assert_eq!(
        colon.author().name.as_deref(),
        Some("Dr: Alice"),
        "a colon in a name makes no group"
    );
    let nul = replaced(
        "From: alice@foo.com",
        "From: =?utf-8?Q?bob=40bar.com=00?= <alice@foo.com>",
    )
    .unwrap()
    .unwrap();
    assert_eq!(nul.author().name.as_deref(), Some("bob@bar.com"));
    assert_eq!(nul.author().address.to_string(), "alice@foo.com");
}

#[test]
fn what_a_placeholder_needs_must_be_there() {
    assert_eq!(
        invalid(replaced("Message-ID: <1@foo.com>\r\n", "")),
        Invalid::Missing("Message-ID")
    );
    assert_eq!(
        invalid(replaced("<1@foo.com>", "<a b>")),
        Invalid::Identifier("Message-ID")
    );
    assert_eq!(
        invalid(replaced("X-Correspondence-Category", "X-Other")),
        Invalid::Missing("X-Correspondence-Category")
    );
    assert_eq!(invalid(replaced("From:", "Form:")), Invalid::Missing("From"));
    assert!(matches!(replaced("healthcare", "a b"), Err(Broken::Category(_))));
    assert_eq!(
        replaced("Content-Type: multipart/mixed; boundary=42\r\n", ""),
        Err(Broken::NotMixed)
    );
}

#[test]
fn m02_only_space_and_tab_continue_a_field() {
    assert!(replaced("To: bob", "To:\r\n\tbob").is_ok());
    for white in ["\x0c", "\x0b", "\u{a0}"] {
        let result = replaced(
            "To: bob",
            &format!("To:\r\n{white}X-Destination-Resource-Mailbox-URL: bob"),
        );
        assert!(matches!(result, Err(Broken::Header(_))), "{result:?}");
    }
}

/// Runs in far less than the second that a stranger may cost us; the rest is for slow machines and debug builds.
#[allow(clippy::disallowed_methods)] // a test may look at the clock
fn soon<T>(what: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let out = what();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    out
}

#[test]
fn m01_nesting_and_counting_without_end_are_refused_soon() {
    let mut deep = String::from("From: alice@foo.com\r\n");
    for level in 0..20_000 {
        deep.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{level}e\r\n\r\n--b{level}e\r\n"
        ));
    }
    for level in (0..20_000).rev() {
        deep.push_str(&format!("\r\n--b{level}e--\r\n"));
    }
    assert_eq!(soon(|| split(deep.as_bytes())).err(), Some(SplitError::TooDeep));
    let many = format!(
        "From: alice@foo.com\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n{}--a--\r\n",
        "--a\r\n\r\n\r\n".repeat(100_000)
    );
    assert_eq!(
        soon(|| split(many.as_bytes())).err(),
        Some(SplitError::TooManyParts)
    );
    let fat = format!(
        "From: alice@foo.com\r\nX: {}\r\n\r\n",
        "y\r\n ".repeat(25_000_000)
    );
    assert!(matches!(
        soon(|| split(fat.as_bytes())),
        Err(SplitError::Header(_))
    ));
    assert!(soon(|| Headers::of_message(fat.as_bytes())).is_err());
    let parameters = format!(
        "From: alice@foo.com\r\nContent-Type: a/b{}\r\n\r\n",
        ";a=b".repeat(60_000)
    );
    assert!(soon(|| split(parameters.as_bytes())).is_err());
    let nested = format!("{}1{}", "mixed(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(soon(|| nested.parse::<Structure>()), Err(StructureError::TooDeep));
    let placeholder = soon(|| edited(|text| text.replace("Read me.", &"x".repeat(limits::PLACEHOLDER))));
    assert_eq!(placeholder, Err(Broken::TooLarge));
    let crowd = soon(|| {
        edited(|text| {
            text.replace(
                "Read me.\r\n",
                &format!("\r\n{}", "--42\r\n\r\n\r\n".repeat(100_000)),
            )
        })
    });
    assert_eq!(crowd, Err(Broken::TooManyParts));
    let json = format!(
        "{{\"headers\":{{}},\"parts\":{}}}",
        "[{\"headers\":{},\"parts\":".repeat(50_000)
    );
    assert_eq!(soon(|| Placeholder::parse(json.as_bytes())), Err(Broken::Json));
}

#[test]
fn m02_bodies_that_are_not_what_they_claim_are_refused() {
    let message = |encoding: &str, body: &str| {
        split(
            format!("From: alice@foo.com\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}").as_bytes(),
        )
    };
    for junk in ["QUJD!", "QUJD=QUJD", "QUJ=D", "Q", "QUI==", "QUJD="] {
        assert_eq!(
            message("base64", junk),
            Err(SplitError::BadEncoding("base64")),
            "{junk}"
        );
    }
    for junk in ["a=", "a=4", "a=XY", "a=\n"] {
        let soft_end = junk == "a=";
        assert_eq!(message("quoted-printable", junk).is_err(), !soft_end, "{junk:?}");
    }
    assert_eq!(
        message("x-uuencode", ""),
        Err(SplitError::UnknownEncoding("x-uuencode".to_owned()))
    );
    let twice = split(b"From: alice@foo.com\r\nContent-Type: a/b\r\ncontent-type: c/d\r\n\r\n");
    assert_eq!(
        twice,
        Err(SplitError::Invalid(Invalid::Duplicate("Content-Type".to_owned())))
    );
}
