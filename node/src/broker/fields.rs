//! The header fields of a message as a broker needs them: who wrote it, what it is called, whether it goes in circles.
//!
//! Read from the raw fields, so that an ordinary message whose header breaks some rule still passes through unchanged.
//! What always holds: a field that stands twice is nobody's (row S10, M02).

use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::placeholder::{self, Header, HeaderError, Headers, surgery};

/// What a stand-in for a missing Message-ID, and the longest one, may hold.
const MESSAGE_ID: usize = 996;

/// What the header of a message says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// How many Received fields there are.
    pub(super) received: usize,
    from: Vec<String>,
    message_id: Vec<String>,
    /// Whether a program sent it by itself (RFC 3834).
    pub(super) automatic: bool,
}

impl Fields {
    /// Reads the fields, and removes those for which `remove` holds of the name and the unfolded body.
    ///
    /// # Errors
    /// [`HeaderError`] where readers disagree on where a field ends.
    pub(super) fn read(
        message: &[u8],
        remove: impl Fn(&str, &str) -> bool,
    ) -> Result<(Vec<u8>, Fields), HeaderError> {
        let mut fields = Fields::default();
        let cleaned = surgery::without(message, |name, body| {
            let text = String::from_utf8_lossy(body).replace("\r\n", "");
            let text = text.trim();
            if remove(name, text) {
                return true;
            }
            match name.to_ascii_lowercase().as_str() {
                "received" => fields.received += 1,
                "from" => fields.from.push(text.to_owned()),
                "message-id" => fields.message_id.push(text.to_owned()),
                "auto-submitted" => {
                    let value = text.split([';', ' ', '(']).next().unwrap_or_default();
                    fields.automatic |= !value.eq_ignore_ascii_case("no");
                }
                _ => {}
            }
            false
        })?;
        Ok((cleaned, fields))
    }

    /// The one author that From names. It proves nothing.
    pub(super) fn author(&self) -> Option<Address> {
        match self.from.as_slice() {
            [from] => placeholder::author(from).map(|author| author.address),
            _ => None,
        }
    }

    /// The one Message-ID, with its angle brackets.
    pub(super) fn message_id(&self) -> Option<&str> {
        let [id] = self.message_id.as_slice() else {
            return None;
        };
        let bare = id.strip_prefix('<')?.strip_suffix('>')?;
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'<' && byte != b'>';
        (id.len() <= MESSAGE_ID && !bare.is_empty() && bare.bytes().all(plain)).then_some(id)
    }
}

/// Whether an Authentication-Results field claims to be written by the domain's own servers (RFC 8601 §5): from outside
/// that is a forgery.
pub(super) fn is_forged_result(name: &str, body: &str, domain: &Domain) -> bool {
    if !name.eq_ignore_ascii_case("Authentication-Results") {
        return false;
    }
    let by = body.split([';', ' ', '\t', '(']).next().unwrap_or_default();
    // What cannot be read as a name might be read as ours by somebody else.
    Domain::parse(by).map_or(true, |by| by.is_or_is_below(domain))
}

/// Text of a stranger inside a trace field: printable ASCII that neither ends a comment nor the field.
pub(super) fn harmless(text: &str) -> String {
    let kept = |c: &char| c.is_ascii_graphic() && !"()<>;,\\\"".contains(*c);
    text.chars().filter(kept).take(255).collect()
}

/// What a list of messages shows of one.
pub(super) struct Shown {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) subject: String,
}

impl Shown {
    /// Never fails: what cannot be read is shown as far as it can.
    pub(super) fn of(message: &[u8]) -> Self {
        let text = |headers: &Headers, name: &str| headers.first(name).map(Header::text).unwrap_or_default();
        if let Ok(headers) = Headers::of_message(message) {
            return Self {
                from: text(&headers, "From"),
                to: text(&headers, "To"),
                subject: text(&headers, "Subject"),
            };
        }
        let mut shown = Self {
            from: String::new(),
            to: String::new(),
            subject: String::new(),
        };
        let _ = surgery::without(message, |name, body| {
            let text: String = String::from_utf8_lossy(body)
                .chars()
                .filter(|c| !c.is_control())
                .take(998)
                .collect();
            let field = match name.to_ascii_lowercase().as_str() {
                "from" => &mut shown.from,
                "to" => &mut shown.to,
                "subject" => &mut shown.subject,
                _ => return false,
            };
            if field.is_empty() {
                text.trim().clone_into(field);
            }
            false
        });
        shown
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(message: &str) -> Fields {
        Fields::read(message.as_bytes(), |_, _| false).unwrap().1
    }

    #[test]
    fn s10_only_one_author_in_one_from_field_counts() {
        let alice = Address::parse("alice@foo.test").unwrap();
        assert_eq!(
            read("From: Alice <alice@foo.test>\r\n\r\n").author(),
            Some(alice.clone())
        );
        assert_eq!(read("from:\r\n alice@foo.test\r\n\r\n").author(), Some(alice));
        for bad in [
            "From: alice@foo.test\r\nFrom: bob@bar.test\r\n\r\n",
            "From: alice@foo.test, bob@bar.test\r\n\r\n",
            "From: <alice@foo.test>,<bob@bar.test>\r\n\r\n",
            "From: us:alice@foo.test;\r\n\r\n",
            "From: =?utf-8?q?alice=40foo.test=00?= <>\r\n\r\n",
            "Subject: nobody\r\n\r\n",
        ] {
            assert_eq!(read(bad).author(), None, "{bad:?}");
        }
    }

    #[test]
    fn a_message_id_stands_once_between_brackets() {
        assert_eq!(
            read("Message-ID: <1@foo.test>\r\n\r\n").message_id(),
            Some("<1@foo.test>")
        );
        for bad in [
            "\r\n",
            "Message-ID: <1@foo.test>\r\nMessage-Id: <1@foo.test>\r\n\r\n",
            "Message-ID: 1@foo.test\r\n\r\n",
            "Message-ID: <a b>\r\n\r\n",
            "Message-ID: <>\r\n\r\n",
        ] {
            assert_eq!(read(bad).message_id(), None, "{bad:?}");
        }
    }

    #[test]
    fn results_that_claim_to_be_ours_are_found_however_they_are_written() {
        let ours = Domain::parse("bar.test").unwrap();
        for forged in [
            "bar.test; dmarc=pass",
            "MX.Bar.Test 1; spf=pass",
            "mx.bar.test(x); a",
            "",
            "_;",
        ] {
            assert!(
                is_forged_result("authentication-results", forged, &ours),
                "{forged:?}"
            );
        }
        assert!(!is_forged_result(
            "Authentication-Results",
            "mx.other.test; spf=pass",
            &ours
        ));
        assert!(!is_forged_result("Subject", "bar.test; dmarc=pass", &ours));
    }

    #[test]
    fn s03_what_a_stranger_calls_itself_cannot_leave_its_place() {
        assert_eq!(
            harmless("mx.foo.test) by evil.test (\r\nX: y;"),
            "mx.foo.testbyevil.testX:y"
        );
    }

    #[test]
    fn automatic_messages_and_hops_are_counted() {
        let fields = read("Received: a\r\nreceived: b\r\n c\r\nAuto-Submitted: auto-replied\r\n\r\n");
        assert_eq!((fields.received, fields.automatic), (2, true));
        assert!(!read("Auto-Submitted: no\r\n\r\n").automatic);
    }

    #[test]
    fn a_list_shows_what_can_be_read() {
        let shown = Shown::of(b"From: Alice <alice@foo.test>\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n\r\n");
        assert_eq!((shown.subject.as_str(), shown.to.as_str()), ("café", ""));
        let broken = Shown::of(b"no field\r\nSubject: caf\xe9\r\n\r\n");
        assert!(broken.subject.starts_with("caf"));
    }
}
