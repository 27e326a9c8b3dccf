#![allow(clippy::unwrap_used)]
use cargomail_protocol::address::Domain;
use cargomail_protocol::placeholder::Placeholder;
use data_encoding::BASE64;

use super::*;
use crate::app::double::{Node, address, nobody_watches};

fn people(list: &[&str]) -> Vec<Mailbox> {
    list.iter().map(|text| Mailbox::bare(address(text))).collect()
}

fn letter() -> Letter {
    Letter {
        to: people(&["bob@bar.test"]),
        subject: "Scan für Bob".to_owned(),
        text: Some("Hello,\nBob.".to_owned()),
        ..Letter::new(Category::parse("healthcare").unwrap())
    }
}

/// The placeholders that were sent, each with its envelopes.
fn sent(node: &Node) -> Vec<(Placeholder, Vec<Vec<Address>>)> {
    let kept = node.kept.lock().unwrap();
    let read = |(from, new): &(Address, NewMessage)| {
        assert_eq!(*from, address("alice@foo.test"));
        let message = BASE64.decode(new.message.as_bytes()).unwrap();
        (
            Placeholder::parse(&message).unwrap().unwrap(),
            new.envelopes.clone(),
        )
    };
    kept.sent.iter().map(read).collect()
}

#[tokio::test]
async fn a_letter_becomes_resources_a_share_and_a_placeholder() {
    let node = Node::start().await;
    let scan = node.folder.path().join("scan ü.png");
    std::fs::write(&scan, vec![7; 3_000_000]).unwrap();
    let mut letter = letter();
    letter.files = vec![scan.clone(), scan];
    letter.in_reply_to = Some("<before@bar.test>".to_owned());
    let outcome = node.alice().await.send(&letter, &nobody_watches()).await.unwrap();
    let (placeholder, envelopes) = sent(&node).pop().unwrap();
    assert_eq!(envelopes, [[address("bob@bar.test")]]);
    assert_eq!(placeholder.message_id(), outcome.message_id);
    assert_eq!(placeholder.subject(), "Scan für Bob");
    assert_eq!(placeholder.category().as_str(), "healthcare");
    assert_eq!(placeholder.origin().locator.as_str(), "mailbox.foo.test");
    assert_eq!(placeholder.origin().expires, Some(outcome.expires));
    assert_eq!(placeholder.structure().to_string(), "mixed(1 2 3)");
    let [text, first, second] = placeholder.parts() else {
        panic!()
    };
    assert_eq!(text.description.charset().as_deref(), Some("utf-8"));
    assert_eq!(first.description.file_name().as_deref(), Some("scan ü.png"));
    assert_eq!(first.description.media_type(), "image/png");
    assert_eq!(first.resource, second.resource);
    let kept = node.kept.lock().unwrap();
    let stored = |part: &Part| kept.resources[&part.resource.cid.to_string()].clone();
    assert_eq!(&stored(text)[..], b"Hello,\r\nBob.");
    assert_eq!(stored(first).len(), 3_000_000);
    // The file that is there twice is shared once.
    assert_eq!(kept.shares.len(), 1);
    assert_eq!(kept.shares[0].resources.len(), 2);
    assert_eq!(kept.shares[0].message_id, outcome.message_id);
    assert_eq!(kept.shares[0].expires, outcome.expires);
    let answered = placeholder.headers().first("In-Reply-To").unwrap().unfolded();
    assert_eq!(answered, "<before@bar.test>");
}

#[tokio::test]
async fn nobody_sees_who_is_hidden() {
    let node = Node::start().await;
    let mut letter = letter();
    letter.cc = people(&["carol@baz.test", "BOB@bar.test"]);
    letter.bcc = people(&[
        "dave@hid.test",
        "erin@hid.test",
        "carol@baz.test",
        "dave@hid.test",
    ]);
    node.alice().await.send(&letter, &nobody_watches()).await.unwrap();
    let (placeholder, envelopes) = sent(&node).pop().unwrap();
    let groups = [
        people(&["bob@bar.test", "carol@baz.test"]),
        people(&["dave@hid.test"]),
        people(&["erin@hid.test"]),
    ];
    let groups = groups.map(|group| group.into_iter().map(|one| one.address).collect::<Vec<_>>());
    assert_eq!(envelopes, groups);
    let text = String::from_utf8(placeholder.encode().unwrap()).unwrap();
    assert!(!text.contains("hid.test"));
    let kept = node.kept.lock().unwrap();
    let shared: Vec<_> = kept.shares.iter().map(|share| share.recipients.clone()).collect();
    assert_eq!(shared, groups);
}

#[tokio::test]
async fn html_refers_to_its_images_by_their_cids() {
    let node = Node::start().await;
    let folder = node.folder.path();
    let images: Vec<_> = ["a b.png", "a.png", "a.png.gif"]
        .iter()
        .map(|name| folder.join(name))
        .collect();
    for (index, image) in images.iter().enumerate() {
        std::fs::write(image, vec![u8::try_from(index).unwrap(); 10]).unwrap();
    }
    let mut letter = letter();
    letter.inline = images;
    letter.html =
        Some("<img src=\"cid:a.png\"><img src='cid:a%20b.png'><img src=cid:a.png.gif>\n".to_owned());
    node.alice().await.send(&letter, &nobody_watches()).await.unwrap();
    let (placeholder, _) = sent(&node).pop().unwrap();
    assert_eq!(
        placeholder.structure().to_string(),
        "alternative(1 related(2 3 4 5))"
    );
    let [_, html, spaced, plain, gif] = placeholder.parts() else {
        panic!()
    };
    let kept = node.kept.lock().unwrap();
    let html = String::from_utf8(kept.resources[&html.resource.cid.to_string()].to_vec()).unwrap();
    let cid = |part: &Part| part.resource.cid.to_string();
    assert_eq!(
        html,
        format!(
            "<img src=\"cid:{}\"><img src='cid:{}'><img src=cid:{}>\r\n",
            cid(plain),
            cid(spaced),
            cid(gif)
        )
    );
}

#[tokio::test]
async fn a_letter_that_cannot_be_is_told_why_and_posts_nothing() {
    let node = Node::start().await;
    let alice = node.alice().await;
    let image = node.folder.path().join("logo.png");
    std::fs::write(&image, b"png").unwrap();
    let with = |change: fn(&mut Letter, PathBuf)| {
        let mut letter = letter();
        change(&mut letter, image.clone());
        letter
    };
    let cases: [(Letter, &str); 7] = [
        (with(|letter, _| letter.to.clear()), "--to"),
        (with(|letter, _| letter.text = None), "empty"),
        (with(|letter, image| letter.inline = vec![image]), "--html"),
        (
            with(|letter, image| {
                letter.inline = vec![image];
                letter.html = Some("<p>no image</p>".to_owned());
            }),
            "cid:logo.png",
        ),
        (
            with(|letter, _| letter.html = Some("<img src=\"cid:gone.png\">".to_owned())),
            "cid:gone.png",
        ),
        (
            with(|letter, image| {
                letter.inline = vec![image.clone(), image];
                letter.html = Some("<img src=\"cid:logo.png\">".to_owned());
            }),
            "two inline images",
        ),
        (
            with(|letter, _| letter.origin = Some(Locator::parse("mailbox.bar.test").unwrap())),
            "mailbox.bar.test is not in the profile",
        ),
    ];
    for (letter, part) in cases {
        let error = alice
            .send(&letter, &nobody_watches())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
    let kept = node.kept.lock().unwrap();
    assert!(kept.resources.is_empty() && kept.shares.is_empty() && kept.sent.is_empty());
}

#[tokio::test]
async fn s03_a_line_break_in_a_subject_or_a_name_never_becomes_a_header() {
    let node = Node::start().await;
    let alice = node.alice().await;
    let mut letter = letter();
    letter.subject = "Hi\r\nBcc: eve@evil.test".to_owned();
    assert!(alice.send(&letter, &nobody_watches()).await.is_err());
    letter.subject = "Hi".to_owned();
    letter.to = vec![Mailbox::named("Bob\nX: y", address("bob@bar.test"))];
    assert!(alice.send(&letter, &nobody_watches()).await.is_err());
    letter.to = vec![Mailbox::bare(address("bob@bar.test"))];
    letter.in_reply_to = Some("<1@bar.test>\r\nBcc: eve@evil.test".to_owned());
    assert!(alice.send(&letter, &nobody_watches()).await.is_err());
    let kept = node.kept.lock().unwrap();
    assert!(kept.sent.is_empty() && kept.resources.is_empty());
}

#[tokio::test]
async fn a_file_that_is_not_there_or_is_a_folder_is_named() {
    let node = Node::start().await;
    let alice = node.alice().await;
    let before = node.folder.path().join("before.bin");
    std::fs::write(&before, b"before").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(node.folder.path().join("socket")).unwrap();
    for (path, part) in [
        ("absent.bin", "absent.bin"),
        ("", "irectory"),
        ("socket", "socket: not a regular file"),
    ] {
        let mut letter = letter();
        letter.files = vec![before.clone(), node.folder.path().join(path)];
        let error = alice
            .send(&letter, &nobody_watches())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(node.kept.lock().unwrap().resources.is_empty());
}

#[test]
fn what_is_wrong_is_said_once() {
    let error = Header::new("Subject", "Hi\nBcc: eve@evil.test").unwrap_err();
    let said = error.to_string();
    assert_eq!(
        format!("{:#}", anyhow::Error::from(ComposeError::from(error))),
        said
    );
}

#[tokio::test]
async fn a_letter_goes_by_the_profiles_smtp_server_once_for_each_group() {
    use std::sync::Mutex;

    use crate::app::double::world;
    use crate::network::{Network, Tcp};
    use crate::smtp::{self, Mail, Receiver, ServerOptions};

    #[derive(Default)]
    struct Took(Mutex<Vec<Mail>>);

    #[async_trait::async_trait]
    impl Receiver for Took {
        fn domain(&self) -> cargomail_protocol::address::Domain {
            address("alice@foo.test").domain().clone()
        }

        async fn recipient(
            &self,
            _: std::net::SocketAddr,
            _: Option<&Address>,
            recipient: &Address,
        ) -> Result<(), Fault> {
            match recipient.local() {
                "gone" => Err(Fault::NoSuchUser),
                _ => Ok(()),
            }
        }
        async fn message(&self, mail: Mail) -> Result<(), Fault> {
            self.0.lock().unwrap().push(mail);
            Ok(())
        }
    }

    let took = Arc::new(Took::default());
    let listener = Tcp.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let options = ServerOptions::new("mail.foo.test".to_owned());
    let serving = smtp::serve(listener, took.clone(), options, stop).unwrap();
    let node = with_old(1 << 20).await;
    let mut profile = node.alice().await.profile().clone();
    profile.submission = Some(serving.local_addr().to_string());
    let app = App::new(profile, world());
    let mut letter = letter();
    letter.bcc = people(&["dave@hid.test"]);
    app.send(&letter, &nobody_watches()).await.unwrap();
    letter.bcc = people(&["gone@hid.test"]);
    let error = app
        .send(&letter, &nobody_watches())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("gone@hid.test"), "{error}");
    letter.bcc.clear();
    letter.cc = people(&["carol@old.test"]);
    app.send(&letter, &nobody_watches()).await.unwrap();
    let mails = took.0.lock().unwrap();
    let envelopes: Vec<_> = mails.iter().map(|mail| mail.recipients.clone()).collect();
    let (bob, dave) = (address("bob@bar.test"), address("dave@hid.test"));
    let carol = address("carol@old.test");
    let groups = [&bob, &dave, &bob, &bob, &carol].map(|one| vec![one.clone()]);
    assert_eq!(envelopes, groups);
    assert_eq!(mails[0].message, mails[1].message);
    let is_placeholder = |mail: &Mail| Placeholder::parse(&mail.message).unwrap().is_some();
    assert!(is_placeholder(&mails[3]) && !is_placeholder(&mails[4]));
    let read = mail_parser::MessageParser::default()
        .parse(&mails[4].message)
        .unwrap();
    assert_eq!(read.body_text(0).unwrap(), "Hello,\r\nBob.");
    assert_eq!(mails[0].sender, Some(address("alice@foo.test")));
    assert!(node.kept.lock().unwrap().sent.is_empty());
}

/// A node that takes old.test for a domain without Cargomail, and lets so much leave for it.
async fn with_old(largest: usize) -> Node {
    let node = Node::start().await;
    node.kept.lock().unwrap().ordinary = (vec![Domain::parse("old.test").unwrap()], largest);
    node
}

#[tokio::test]
async fn who_has_no_cargomail_gets_the_content_and_no_share() {
    let node = with_old(1 << 20).await;
    let scan = node.folder.path().join("scan ü.png");
    std::fs::write(&scan, (0..=255).cycle().take(30_000).collect::<Vec<u8>>()).unwrap();
    let mut letter = letter();
    letter.to = people(&["bob@bar.test", "carol@old.test"]);
    letter.bcc = people(&["dave@old.test"]);
    letter.files = vec![scan.clone()];
    let outcome = node.alice().await.send(&letter, &nobody_watches()).await.unwrap();
    assert_eq!(
        outcome.ordinary,
        [address("carol@old.test"), address("dave@old.test")]
    );
    let (placeholder, envelopes) = sent(&node).pop().unwrap();
    assert_eq!(envelopes, [[address("bob@bar.test")]]);
    let kept = node.kept.lock().unwrap();
    let shared: Vec<_> = kept.shares.iter().map(|share| share.recipients.clone()).collect();
    assert_eq!(shared, [[address("bob@bar.test")]]);
    let ordinary = kept.sent[0].1.ordinary.clone().unwrap();
    assert_eq!(
        ordinary.envelopes,
        [[address("carol@old.test")], [address("dave@old.test")]]
    );
    let message = BASE64.decode(ordinary.message.as_bytes()).unwrap();
    assert_eq!(Placeholder::parse(&message).unwrap(), None);
    let read = mail_parser::MessageParser::default().parse(&message).unwrap();
    assert_eq!(read.subject(), Some("Scan für Bob"));
    assert_eq!(
        format!("<{}>", read.message_id().unwrap()),
        placeholder.message_id()
    );
    assert_eq!(read.body_text(0).unwrap(), "Hello,\r\nBob.");
    let file = read.attachment(0).unwrap();
    assert_eq!(
        mail_parser::MimeHeaders::attachment_name(file),
        Some("scan ü.png")
    );
    assert_eq!(file.contents(), std::fs::read(&scan).unwrap());
    let text = String::from_utf8(message).unwrap();
    assert!(!text.contains("dave") && !text.contains("X-Origin"), "{text}");
}

#[tokio::test]
async fn what_cannot_go_as_ordinary_mail_is_told_before_anything_is_stored() {
    for (largest, only_cargomail, files, expected) in [
        (
            1 << 20,
            true,
            0,
            "carol@old.test: no Cargomail there, and the letter may not go as ordinary mail",
        ),
        (
            0,
            false,
            0,
            "carol@old.test: no Cargomail there, and your broker sends no ordinary mail",
        ),
        (
            100_000,
            false,
            80_000,
            "carol@old.test: no Cargomail there, so the content goes in the message",
        ),
    ] {
        let node = with_old(largest).await;
        let file = node.folder.path().join("file.bin");
        std::fs::write(&file, vec![7; files]).unwrap();
        let mut letter = letter();
        letter.cc = people(&["carol@old.test"]);
        letter.files = vec![file];
        letter.only_cargomail = only_cargomail;
        let told = node.alice().await.send(&letter, &nobody_watches()).await;
        let told = told.unwrap_err().to_string();
        assert!(told.starts_with(expected), "{told}");
        let kept = node.kept.lock().unwrap();
        assert!(kept.resources.is_empty() && kept.shares.is_empty() && kept.sent.is_empty());
    }
}

#[tokio::test]
async fn text_that_grows_when_it_is_encoded_is_found_too_large_before_anything_is_stored() {
    let node = with_old(40_000).await;
    let file = node.folder.path().join("letters.txt");
    std::fs::write(&file, "ü".repeat(10_000)).unwrap();
    let mut letter = letter();
    letter.to = people(&["carol@old.test"]);
    letter.files = vec![file.clone()];
    let alice = node.alice().await;
    let told = alice.send(&letter, &nobody_watches()).await;
    assert!(matches!(told, Err(ComposeError::TooLarge { .. })), "{told:?}");
    assert!(node.kept.lock().unwrap().resources.is_empty());
    // As much of what hardly grows is not too large.
    std::fs::write(&file, "all of it in ASCII\n".repeat(1_000)).unwrap();
    alice.send(&letter, &nobody_watches()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_known_is_not_guessed_and_can_be_sent_later() {
    let node = with_old(1 << 20).await;
    node.kept.lock().unwrap().unknown = vec![Domain::parse("away.test").unwrap()];
    let mut letter = letter();
    letter.cc = people(&["dave@away.test"]);
    let mut alice = node.alice().await;
    let told = alice.send(&letter, &nobody_watches()).await.unwrap_err();
    assert!(matches!(told.fault(), Fault::TryLater(_)), "{told:?}");
    assert!(told.to_string().starts_with("away.test: whether"), "{told}");
    // Without a broker nobody can tell, and only who wants to know hears of it.
    alice.profile.broker = None;
    letter.only_cargomail = true;
    let told = alice.compose(&letter, &nobody_watches()).await.unwrap_err();
    assert!(
        told.to_string().starts_with("away.test, bar.test: nobody"),
        "{told}"
    );
    letter.only_cargomail = false;
    let composed = alice.compose(&letter, &nobody_watches()).await.unwrap();
    assert!(composed.ordinary.is_none());
}
