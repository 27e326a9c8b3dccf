#![allow(clippy::unwrap_used)]
use super::*;

fn offer() -> Offer {
    Offer {
        hostname: "mx.bar.test".to_owned(),
        domain: Domain::parse("bar.test").unwrap(),
        size: 4096,
        starttls: true,
    }
}

/// A client that says things, and a server that takes everything for bar.test.
struct Talk {
    session: Session,
    replies: Vec<String>,
    messages: Vec<Envelope>,
    asked: usize,
    handshakes: usize,
    closed: bool,
}

impl Talk {
    fn new() -> Self {
        let mut talk = Self {
            session: Session::new(offer()),
            replies: Vec::new(),
            messages: Vec::new(),
            asked: 0,
            handshakes: 0,
            closed: false,
        };
        talk.perform();
        talk
    }

    /// After EHLO, MAIL and RCPT.
    fn introduced() -> Self {
        let mut talk = Self::new();
        talk.say("EHLO foo.test\r\n");
        talk.say("MAIL FROM:<alice@foo.test>\r\n");
        talk.say("RCPT TO:<bob@bar.test>\r\n");
        talk.replies.clear();
        talk
    }

    fn perform(&mut self) {
        while let Some(action) = self.session.poll() {
            assert!(!self.closed, "nothing follows a close");
            match action {
                Action::Send(octets) => {
                    let text = String::from_utf8(octets).unwrap();
                    assert!(text.ends_with("\r\n"));
                    self.replies.extend(text.lines().map(str::to_owned));
                }
                Action::Recipient { recipient, .. } => {
                    self.asked += 1;
                    let ours = recipient.domain().as_str() == "bar.test";
                    let answer = if ours { Ok(()) } else { Err(Fault::Refused) };
                    self.session.handle(Event::Recipient(answer));
                }
                Action::Message(envelope) => {
                    self.messages.push(envelope);
                    self.session.handle(Event::Message(Ok(())));
                }
                Action::StartTls => {
                    self.handshakes += 1;
                    self.session.handle(Event::Secured);
                }
                Action::Close => self.closed = true,
            }
        }
    }

    fn octets(&mut self, octets: &[u8]) -> &mut Self {
        self.session.handle(Event::Octets(octets));
        self.perform();
        self
    }

    fn say(&mut self, text: &str) -> &mut Self {
        self.octets(text.as_bytes())
    }

    fn last(&self) -> &str {
        self.replies.last().map_or("", String::as_str)
    }
}

#[test]
fn a_message_comes_as_it_was_written() {
    let mut talk = Talk::introduced();
    talk.say("DATA\r\n");
    assert_eq!(talk.last(), "354 end with <CRLF>.<CRLF>");
    talk.say("..at the beginning\r\n...\r\n\r\na.b\r\n.");
    talk.say("\r\n");
    assert_eq!(talk.last(), "250 2.0.0 taken");
    let taken = &talk.messages[0];
    assert_eq!(&taken.message[..], b".at the beginning\r\n..\r\n\r\na.b\r\n");
    assert_eq!(taken.helo, "foo.test");
    assert_eq!(taken.sender.as_ref().unwrap().to_string(), "alice@foo.test");
    assert_eq!(taken.recipients[0].to_string(), "bob@bar.test");
}

#[test]
fn an_empty_message_ends() {
    let mut talk = Talk::introduced();
    talk.say("DATA\r\n").say(".\r\n");
    assert_eq!(talk.last(), "250 2.0.0 taken");
    assert!(talk.messages[0].message.is_empty());
}

#[test]
fn a_message_is_the_same_in_whatever_pieces_it_comes() {
    let text = b"Subject: x\r\n\r\n..y\r\n\r\n.\r\nNOOP\r\n";
    for piece in 1..text.len() {
        let mut talk = Talk::introduced();
        talk.say("DATA\r\n");
        for octets in text.chunks(piece) {
            talk.octets(octets);
        }
        assert_eq!(
            &talk.messages[0].message[..],
            b"Subject: x\r\n\r\n.y\r\n\r\n",
            "{piece}"
        );
        assert_eq!(talk.last(), "250 2.0.0 nothing done");
    }
}

#[test]
fn s01_nothing_but_crlf_dot_crlf_ends_a_message() {
    let ends: [&[u8]; 17] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\n.\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\0\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\n\n.\r\n",
        b"\r\n.\n\r\n",
        b"\r\n .\r\n",
        b"\r\n.\x0b\r\n",
        b"\x85.\r\n",
    ];
    for end in ends {
        let mut talk = Talk::introduced();
        talk.say("DATA\r\n");
        talk.octets(b"Subject: one\r\n\r\nhello");
        talk.octets(end);
        talk.octets(b"MAIL FROM:<mallory@foo.test>\r\nRCPT TO:<carol@bar.test>\r\nDATA\r\nSubject: two\r\n\r\nsmuggled");
        let before = talk.replies.len();
        assert_eq!(talk.messages.len(), 0, "{end:?} ended a message");
        talk.octets(b"\r\n.\r\n");
        assert_eq!(talk.replies.len(), before + 1, "{end:?}");
        // A line that is only odd belongs to the text; what is no line's end spoils all of it.
        let harmless = [&b"\r\n .\r\n"[..], b"\r\n.\x0b\r\n", b"\x85.\r\n"].contains(&end);
        if harmless {
            assert_eq!(talk.messages.len(), 1, "{end:?}");
        } else {
            assert!(talk.last().starts_with("554 5.6.0 "), "{end:?}: {}", talk.last());
            assert_eq!(talk.messages.len(), 0, "{end:?}");
        }
        talk.say("NOOP\r\n");
        assert_eq!(talk.last(), "250 2.0.0 nothing done", "{end:?}");
    }
}

#[test]
fn s01_a_chunk_with_a_bare_line_end_or_nul_is_refused() {
    for text in ["a\nb\r\n", "a\rb\r\n", "a\0b\r\n", "a\r"] {
        let mut talk = Talk::introduced();
        talk.say(&format!("BDAT {} LAST\r\n{text}NOOP\r\n", text.len()));
        let refused = talk.replies.iter().any(|reply| reply.starts_with("554 5.6.0"));
        assert!(
            refused && talk.messages.is_empty(),
            "{text:?}: {:?}",
            talk.replies
        );
        assert_eq!(talk.last(), "250 2.0.0 nothing done");
    }
}

#[test]
fn s03_a_command_with_a_control_character_is_refused() {
    let lines = [
        "MAIL FROM:<alice@foo.test>\rRCPT TO:<x@y.test>\r\n",
        "MAIL FROM:<alice@foo.test\0>\r\n",
        "MAIL FROM:<alice@foo.test>\n",
        "MAIL FROM:<alice\t@foo.test>\r\n",
    ];
    for line in lines {
        let mut talk = Talk::new();
        talk.say("EHLO foo.test\r\n");
        talk.say(line);
        assert!(talk.last().starts_with("500 5.5.2"), "{line:?}: {}", talk.last());
    }
    let mut talk = Talk::new();
    talk.say("EHLO foo(test)\r\n");
    assert!(talk.last().starts_with("501 5.5.4"));
}

#[test]
fn s04_source_routes_quotes_and_the_percent_hack_are_refused() {
    let paths = [
        "@x.test:bob@bar.test",
        "@x.test,@y.test:bob@bar.test",
        "\"bob\"@bar.test",
        "\"a@b\"@bar.test",
        "\"a>b\"@bar.test",
        "bob%elsewhere.test@bar.test",
        "bob@elsewhere.test@bar.test",
        "elsewhere.test!bob",
        "bob",
        "bob@[127.0.0.1]",
        "bob@ bar.test",
        "",
    ];
    for path in paths {
        let mut talk = Talk::introduced();
        talk.say(&format!("RCPT TO:<{path}>\r\n"));
        assert!(talk.last().starts_with('5'), "{path}: {}", talk.last());
        assert_eq!(talk.asked, 1, "{path}");
    }
    let mut talk = Talk::introduced();
    talk.say("RCPT TO:<bob@elsewhere.test>\r\n");
    assert_eq!(talk.last(), "550 5.7.1 refused");
    talk.say("RCPT TO:<PostMaster>\r\n");
    assert_eq!(talk.asked, 3);
}

#[test]
fn s05_what_was_said_before_tls_counts_for_nothing_behind_it() {
    let mut talk = Talk::introduced();
    talk.say("STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<mallory@foo.test>\r\nRSET\r\n");
    assert_eq!(talk.replies, ["220 2.0.0 shake hands"]);
    assert_eq!(talk.handshakes, 1);
    talk.say("MAIL FROM:<alice@foo.test>\r\n");
    assert!(
        talk.last().starts_with("503 5.5.1"),
        "EHLO is forgotten: {}",
        talk.last()
    );
    talk.say("EHLO foo.test\r\n");
    assert!(!talk.replies.iter().any(|reply| reply.contains("STARTTLS")));
    talk.say("STARTTLS\r\n");
    assert!(talk.last().starts_with("503"));
}

#[test]
fn s05_octets_that_come_during_the_handshake_are_not_commands() {
    let mut session = Session::new(offer());
    session.handle(Event::Octets(b"STARTTLS\r\nRSET\r\n"));
    session.handle(Event::Octets(b"RSET\r\n"));
    session.handle(Event::Secured);
    session.handle(Event::Octets(b"QUIT\r\n"));
    let said: Vec<_> = std::iter::from_fn(|| session.poll()).collect();
    assert_eq!(said.len(), 5, "greeting, 220, handshake, 221, close: {said:?}");
}

#[test]
fn s07_who_does_not_wait_for_an_answer_is_sent_away() {
    for rush in [
        "EHLO foo.test\r\nMAIL FROM:<alice@foo.test>\r\n",
        "DATA\r\nSubject: x\r\n\r\n.\r\n",
    ] {
        let mut talk = Talk::introduced();
        talk.say(rush);
        assert!(talk.last().starts_with("503 5.5.0"), "{}", talk.last());
        assert!(talk.closed && talk.messages.is_empty());
    }
    let mut talk = Talk::new();
    talk.say("EHLO foo.test\r\n");
    talk.say("MAIL FROM:<alice@foo.test>\r\nRCPT TO:<bob@bar.test>\r\nRCPT TO:<carol@bar.test>\r\nDATA\r\n");
    assert!(talk.last().starts_with("354"), "what may be pipelined is");
}

#[test]
fn s07_endless_lines_recipients_commands_and_errors_are_bounded() {
    let mut talk = Talk::new();
    talk.octets(&vec![b'a'; limits::SMTP_LINE]);
    assert!(talk.last().starts_with("500 5.5.2") && talk.closed);

    let mut talk = Talk::introduced();
    for n in 1..limits::RECIPIENTS {
        talk.say(&format!("RCPT TO:<bob{n}@bar.test>\r\n"));
        assert!(talk.last().starts_with("250"));
    }
    talk.say("RCPT TO:<carol@bar.test>\r\n");
    assert_eq!(talk.last(), "452 4.5.3 too many recipients in one go");
    talk.say("RCPT TO:<bob@bar.test>\r\n");
    assert!(
        talk.last().starts_with("250"),
        "one that is in it already is no more"
    );

    let mut talk = Talk::new();
    for _ in 0..limits::SMTP_COMMANDS {
        talk.say("NOOP\r\n");
    }
    assert!(!talk.closed);
    talk.say("NOOP\r\n");
    assert!(talk.last().starts_with("421 4.7.0") && talk.closed);

    let mut talk = Talk::new();
    for _ in 0..=limits::SMTP_BAD_COMMANDS {
        talk.say("XYZZY\r\n");
    }
    assert!(talk.last().starts_with("421 4.7.0") && talk.closed);
}

/// What a session with room for much says to a message.
fn told(message: &[u8]) -> Action {
    let mut session = Session::new(Offer {
        size: 1 << 20,
        ..offer()
    });
    session.handle(Event::Octets(b"EHLO foo.test\r\n"));
    session.handle(Event::Octets(b"MAIL FROM:<>\r\nRCPT TO:<bob@bar.test>\r\n"));
    session.handle(Event::Recipient(Ok(())));
    session.handle(Event::Octets(b"DATA\r\n"));
    for octets in message.chunks(8192) {
        session.handle(Event::Octets(octets));
    }
    session.handle(Event::Octets(b".\r\n"));
    std::iter::from_fn(|| session.poll()).last().unwrap()
}

#[test]
fn s07_a_long_line_and_a_long_header_are_refused() {
    let refused =
        |message: &[u8], code: &[u8]| matches!(told(message), Action::Send(said) if said.starts_with(code));
    let line = [vec![b'a'; limits::SMTP_TEXT_LINE - 1], b"\r\n".to_vec()].concat();
    assert!(refused(&line, b"554 5.6.0"));
    assert!(matches!(told(&line[1..]), Action::Message(_)));
    let header = b"a: b\r\n".repeat(limits::HEADERS / 6 + 1);
    assert!(refused(&header, b"552 5.3.4"));
    let body = [b"a: b\r\n\r\n".to_vec(), header].concat();
    assert!(matches!(told(&body), Action::Message(_)));
}

#[test]
fn s08_a_size_lie_gains_nothing() {
    let mut talk = Talk::new();
    talk.say("EHLO foo.test\r\n");
    talk.say("MAIL FROM:<alice@foo.test> SIZE=4097\r\n");
    assert!(talk.last().starts_with("552 5.3.4"));
    talk.say("MAIL FROM:<alice@foo.test> SIZE=1\r\n");
    talk.say("RCPT TO:<bob@bar.test>\r\n");
    talk.say("DATA\r\n");
    for _ in 0..50 {
        talk.say(&format!("{}\r\n", "a".repeat(98)));
    }
    talk.say(".\r\n");
    assert!(talk.last().starts_with("552 5.3.4"));
    assert!(talk.messages.is_empty() && !talk.closed);
    talk.say("MAIL FROM:<alice@foo.test>\r\nRCPT TO:<bob@bar.test>\r\nDATA\r\n");
    for _ in 0..83 {
        talk.say(&format!("{}\r\n", "a".repeat(98)));
    }
    assert!(talk.closed, "who goes on for ever is not listened to");
}

#[test]
fn s08_data_and_bdat_do_not_mix_and_a_chunk_is_never_taken_for_commands() {
    let mut talk = Talk::introduced();
    talk.say("BDAT 4\r\na\r\nb");
    assert!(talk.last().starts_with("250"));
    talk.say("DATA\r\n");
    assert!(talk.last().starts_with("503"));
    talk.say("RCPT TO:<carol@bar.test>\r\n");
    assert!(talk.last().starts_with("503"));
    talk.say("BDAT 7 LAST\r\n\r\n.\r\nc\r");
    assert!(talk.last().starts_with("554 5.6.0"), "{}", talk.last());

    let mut talk = Talk::introduced();
    talk.say("BDAT 4\r\na\r\nb");
    talk.say("BDAT 7 LAST\r\n\r\n.\r\n.c");
    assert_eq!(&talk.messages[0].message[..], b"a\r\nb\r\n.\r\n.c\r\n");

    let mut talk = Talk::new();
    talk.say("EHLO foo.test\r\n");
    talk.say("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    let tail = &talk.replies[talk.replies.len() - 2..];
    assert!(
        tail[0].starts_with("503") && tail[1].starts_with("250"),
        "{tail:?}"
    );
    talk.say("BDAT 99999999999999999999 LAST\r\n");
    assert!(talk.closed);
}

#[test]
fn s08_what_is_not_offered_is_refused() {
    let cases = [
        ("MAIL FROM:<alice@foo.test> BODY=BINARYMIME\r\n", "555"),
        ("MAIL FROM:<alice@foo.test> REQUIRETLS\r\n", "555"),
        ("MAIL FROM:<alice@foo.test> AUTH=<>\r\n", "555"),
        ("MAIL FROM:<alice@foo.test> X-Y=1\r\n", "555"),
        ("MAIL FROM:<alice@foo.test> BODY=9BIT\r\n", "501"),
        ("MAIL FROM:<älice@foo.test>\r\n", "553 5.6.7"),
        (
            "MAIL FROM:<älice@foo.test> SMTPUTF8 BODY=8BITMIME SIZE=12\r\n",
            "250",
        ),
        ("AUTH PLAIN AGEAYg==\r\n", "502"),
        ("LHLO foo.test\r\n", "502"),
        ("EXPN all\r\n", "502"),
        ("VRFY bob\r\n", "252"),
    ];
    for (line, code) in cases {
        let mut talk = Talk::new();
        talk.say("EHLO foo.test\r\n");
        talk.say(line);
        assert!(talk.last().starts_with(code), "{line:?}: {}", talk.last());
    }
    let mut talk = Talk::introduced();
    talk.say("RCPT TO:<bøb@bar.test>\r\n");
    assert!(talk.last().starts_with("553 5.6.7"));
    talk.say("RCPT TO:<carol@bar.test> NOTIFY=NEVER\r\n");
    assert!(talk.last().starts_with("555"));
}

#[test]
fn s11_a_browser_and_a_tls_hello_are_disconnected() {
    for line in ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n"] {
        let mut talk = Talk::new();
        talk.say(line);
        assert!(talk.closed, "{line:?}");
    }
    let mut talk = Talk::new();
    talk.octets(&[0x16, 3, 1, 2, 0]);
    assert!(talk.closed);
}

#[test]
fn nothing_is_acknowledged_before_it_was_taken() {
    let mut session = Session::new(offer());
    let said = |session: &mut Session| std::iter::from_fn(|| session.poll()).last();
    session.handle(Event::Octets(b"HELO foo.test\r\n"));
    session.handle(Event::Octets(b"MAIL FROM:<>\r\nRCPT TO:<bob@bar.test>\r\n"));
    assert!(matches!(
        said(&mut session),
        Some(Action::Recipient { sender: None, .. })
    ));
    assert!(!session.listens());
    session.handle(Event::Recipient(Ok(())));
    session.handle(Event::Octets(b"DATA\r\n"));
    session.handle(Event::Octets(b"hello\r\n.\r\nQUIT\r\n"));
    assert!(matches!(said(&mut session), Some(Action::Message(_))));
    assert!(!session.listens());
    session.handle(Event::Recipient(Ok(())));
    assert_eq!(said(&mut session), None, "an answer to another question is none");
    session.handle(Event::Message(Err(Fault::Local)));
    let said: Vec<_> = std::iter::from_fn(|| session.poll()).collect();
    assert!(
        matches!(&said[0], Action::Send(reply) if reply.starts_with(b"451 4.3.0")),
        "{said:?}"
    );
}

#[test]
fn the_postmaster_of_the_domain_needs_no_domain() {
    let mut talk = Talk::introduced();
    talk.say("RCPT TO:<Postmaster>\r\n");
    assert!(talk.last().starts_with("250"));
    talk.say("DATA\r\n").say("hello\r\n.\r\n");
    let named = &talk.messages[0].recipients[1];
    assert_eq!(named.to_string(), "postmaster@bar.test");
}

#[test]
fn s07_a_message_reserves_no_more_memory_than_the_largest_one_takes() {
    let mut talk = Talk::introduced();
    talk.say("DATA\r\n");
    let line = format!("{}\r\n", "a".repeat(98));
    for lines in 1..=40 {
        talk.say(&line);
        let holds = talk.session.holds();
        assert!((lines * 100..=4096).contains(&holds), "{lines}: {holds}");
    }
}

#[test]
fn without_room_the_client_is_told_to_come_back() {
    let mut talk = Talk::introduced();
    talk.say("DATA\r\n").say("hello\r\n");
    assert!(talk.session.holds() > 0);
    talk.session.handle(Event::NoRoom);
    assert_eq!(talk.session.holds(), 0);
    talk.say("more\r\n.\r\n");
    assert!(talk.last().starts_with("452 4.3.1") && talk.messages.is_empty());
}
