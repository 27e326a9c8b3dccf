//! An SMTP session: whatever a client says, in whatever pieces, the server keeps its promises.
//!
//! The input is what the client sends; its first octet says in which pieces, and what is answered to the questions.
#![no_main]

use cargomail_protocol::address::Domain;
use cargomail_protocol::fault::Fault;
use cargomail_protocol::limits;
use cargomail_protocol::smtp::{Action, Envelope, Event, Offer, Session};
use libfuzzer_sys::fuzz_target;

const SIZE: usize = 4096;

fn judge(envelope: &Envelope) {
    let message = &envelope.message;
    assert!(message.len() <= SIZE + 2 && !message.contains(&0));
    let lines = message.split_inclusive(|octet| *octet == b'\n');
    for line in lines {
        let text = line.strip_suffix(b"\r\n").expect("every line has its end");
        assert!(!text.contains(&b'\r') && line.len() <= limits::SMTP_TEXT_LINE);
    }
    assert!((1..=limits::RECIPIENTS).contains(&envelope.recipients.len()));
    assert!(envelope.helo.is_ascii() && !envelope.helo.contains(char::is_control));
}

fuzz_target!(|input: &[u8]| {
    let Some((first, said)) = input.split_first() else {
        return;
    };
    let answer = [Ok(()), Err(Fault::Refused), Err(Fault::Local)][usize::from(first & 3) % 3];
    let mut session = Session::new(Offer {
        hostname: "mx.bar.test".to_owned(),
        domain: Domain::parse("bar.test").expect("a domain"),
        size: SIZE,
        starttls: first & 4 != 0,
    });
    let mut closed = false;
    for octets in said.chunks(usize::from(first >> 3) + 1) {
        session.handle(Event::Octets(octets));
        assert!(session.holds() <= SIZE);
        while let Some(action) = session.poll() {
            assert!(!closed, "nothing follows a close");
            match action {
                Action::Send(reply) => assert!(reply.ends_with(b"\r\n") && reply.len() < 1000),
                Action::Recipient { .. } => session.handle(Event::Recipient(answer)),
                Action::Message(envelope) => {
                    judge(&envelope);
                    session.handle(Event::Message(Ok(())));
                }
                Action::StartTls => session.handle(Event::Secured),
                Action::Close => closed = true,
            }
        }
        assert_eq!(session.listens(), !closed);
    }
});
