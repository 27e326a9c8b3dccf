//! A header and the lists of addresses in it; what a field is made of cannot break out of it.
#![no_main]

use cargomail_protocol::placeholder::{Description, Disposition, Header, Headers, Mailbox, mailboxes};
use libfuzzer_sys::fuzz_target;

fn contained(field: &Header) {
    for (at, line) in field.raw().split("\r\n").enumerate() {
        assert!(!line.contains(['\r', '\n', '\0']));
        assert!(at == 0 || (line.starts_with([' ', '\t']) && !line.trim_matches([' ', '\t']).is_empty()));
    }
}

fuzz_target!(|message: &[u8]| {
    if let Ok(headers) = Headers::of_message(message) {
        for field in headers.iter() {
            contained(field);
            let _ = field.text();
        }
    }
    let Ok(text) = std::str::from_utf8(message) else {
        return;
    };
    if let Ok(list) = mailboxes(text) {
        let field = Mailbox::header("To", &list).expect("what was read has no line breaks");
        contained(&field);
        let again = mailboxes(&field.unfolded()).expect("what is written is good");
        assert!(again.iter().zip(&list).all(|(a, b)| a.address == b.address) && again.len() == list.len());
    }
    if let Ok(field) = Header::new("Subject", text) {
        contained(&field);
        let shown: String = text
            .trim_matches([' ', '\t'])
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        assert_eq!(field.text(), shown);
    }
    if let Ok(description) = Description::new(text) {
        let _ = (
            description.media_type(),
            description.charset(),
            description.file_name(),
        );
    }
    let named = Description::new("a/b")
        .expect("a type")
        .disposed(Disposition::Attachment, Some(text));
    if let Ok(description) = named {
        description.fields().iter().for_each(contained);
    }
});
