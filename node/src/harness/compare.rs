//! Whether what a reader reads equals what its author wrote, octet for octet.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cargomail_protocol::placeholder::{Header, Placeholder};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::app::save::{Existing, Which};
use crate::app::{App, Letter, Opened, Watch};

/// What was compared.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// Bodies and files.
    pub parts: usize,
    /// Their octets.
    pub octets: u64,
}

/// Saves everything that a reader received, and compares it with what the author wrote.
///
/// # Errors
/// Names the first part that differs.
pub async fn compare(
    reader: &App,
    opened: &Opened,
    letter: &Letter,
    into: &Path,
    patience: Duration,
    watch: &Arc<dyn Watch>,
) -> anyhow::Result<Compared> {
    let Some(placeholder) = &opened.placeholder else {
        bail!("an ordinary message was received");
    };
    compare_head(placeholder, letter)?;
    let saved = reader
        .save(opened, Which::All, into, Existing::Replace, patience, watch)
        .await?;
    ensure!(saved.len() == placeholder.parts().len(), "a part was not saved");
    let mut written = Vec::new();
    if let Some(text) = &letter.text {
        written.push(("the text".to_owned(), hash_of(text.as_bytes())));
    }
    if let Some(html) = &letter.html {
        // What the author wrote as a file's name is now the name of its content.
        let mut html = html.clone();
        for (part, file) in inline(placeholder).zip(&letter.inline) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            html = html.replace(&format!("cid:{name}"), &format!("cid:{part}"));
        }
        written.push(("the HTML".to_owned(), hash_of(html.as_bytes())));
    }
    for file in letter.inline.iter().chain(&letter.files) {
        written.push((file.display().to_string(), hash_file(file).await?));
    }
    ensure!(
        saved.len() == written.len(),
        "{} parts were read, {} were written",
        saved.len(),
        written.len()
    );
    let mut octets = 0;
    for (saved, (name, expected)) in saved.iter().zip(&written) {
        let found = hash_file(&saved.path).await?;
        ensure!(
            found == *expected,
            "{name} is not what was read into {}",
            saved.path.display()
        );
        octets += saved.size;
    }
    Ok(Compared {
        parts: saved.len(),
        octets,
    })
}

/// Compares the subject, and which message is answered, with what the author wrote.
///
/// # Errors
/// Names the field that differs.
pub fn compare_head(placeholder: &Placeholder, letter: &Letter) -> anyhow::Result<()> {
    // Blanks around it are not sent.
    let subject = placeholder.subject();
    ensure!(
        subject == letter.subject.trim(),
        "the subject is {subject:?}, {:?} was written",
        letter.subject
    );
    let answered = placeholder.headers().first("In-Reply-To").map(Header::text);
    ensure!(
        answered == letter.in_reply_to,
        "it answers {}, written was an answer to {}",
        answered.as_deref().unwrap_or("nothing"),
        letter.in_reply_to.as_deref().unwrap_or("nothing")
    );
    Ok(())
}

/// The CIDs of the images, in order.
fn inline(placeholder: &Placeholder) -> impl Iterator<Item = cid::Cid> {
    let images = placeholder.parts().iter();
    images
        .filter(|part| part.description.media_type().starts_with("image/"))
        .map(|part| part.resource.cid)
}

fn hash_of(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}

async fn hash_file(path: &Path) -> anyhow::Result<[u8; 32]> {
    let failed = || format!("{} cannot be read", path.display());
    let mut file = tokio::fs::File::open(path).await.with_context(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).await.with_context(failed)?;
        match buffer.get(..count) {
            Some(octets) if count > 0 => hash.update(octets),
            _ => return Ok(hash.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cargomail_protocol::address::{Address, Locator};
    use cargomail_protocol::grip::Digest;
    use cargomail_protocol::placeholder::{Category, Description, Draft, Mailbox, Origin, Part, ResourceRef};
    use cargomail_protocol::timestamp::Timestamp;

    use super::*;

    fn category() -> Category {
        Category::parse("personal").unwrap()
    }

    fn placeholder(letter: &Letter) -> Placeholder {
        let digest = Digest::of(b"Hello");
        let someone = |address| Mailbox::bare(Address::parse(address).unwrap());
        let draft = Draft {
            from: someone("alice@foo.test"),
            sender: None,
            reply_to: Vec::new(),
            to: vec![someone("bob@bar.test")],
            cc: Vec::new(),
            subject: letter.subject.clone(),
            date: Timestamp::from_seconds(1_767_225_600),
            message_id: "<2@foo.test>".to_owned(),
            in_reply_to: letter.in_reply_to.clone(),
            references: Vec::new(),
            text: Some(Part {
                resource: ResourceRef {
                    cid: digest.cid(),
                    size: 5,
                    sha256: Some(*digest.sha256()),
                },
                description: Description::new("text/plain").unwrap(),
            }),
            html: None,
            inline: Vec::new(),
            attachments: Vec::new(),
        };
        let origin = Origin {
            locator: Locator::parse("mailbox.foo.test").unwrap(),
            expires: Some(Timestamp::from_seconds(1_798_761_600)),
        };
        let sent = draft.into_placeholder(origin, category()).unwrap();
        Placeholder::parse(&sent.encode().unwrap()).unwrap().unwrap()
    }

    #[test]
    fn the_head_that_was_read_is_the_one_that_was_written() {
        let mut letter = Letter::new(category());
        letter.subject = "Grüße aus Tallinn, ".repeat(9).trim_end().to_owned();
        compare_head(&placeholder(&letter), &letter).unwrap();
        letter.in_reply_to = Some("<1@bar.test>".to_owned());
        let read = placeholder(&letter);
        compare_head(&read, &letter).unwrap();
        let another = placeholder(&Letter {
            in_reply_to: None,
            ..letter.clone()
        });
        let told = compare_head(&another, &letter).unwrap_err().to_string();
        assert_eq!(told, "it answers nothing, written was an answer to <1@bar.test>");
        letter.in_reply_to = None;
        let told = compare_head(&read, &letter).unwrap_err().to_string();
        assert_eq!(told, "it answers <1@bar.test>, written was an answer to nothing");
        "Grüße".clone_into(&mut letter.subject);
        let told = compare_head(&read, &letter).unwrap_err().to_string();
        assert!(told.ends_with(" Tallinn,\", \"Grüße\" was written"), "{told}");
    }
}
