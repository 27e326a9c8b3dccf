#![allow(clippy::unwrap_used)]
use cargomail_protocol::placeholder::{Category, Mailbox};
use mail_parser::MessageParser;

use super::*;
use crate::api::Retrieval;
use crate::app::Letter;
use crate::app::double::{Node, address, nobody_watches};
use crate::clock::{Clock, SystemClock};

const NO_TIME: Duration = Duration::ZERO;

/// Puts a letter of alice into her own User Mailbox, routed to `destination`.
pub(in crate::app) async fn delivered(
    node: &Node,
    app: &App,
    letter: &Letter,
    destination: Option<&str>,
) -> String {
    let composed = app.compose(letter, &nobody_watches()).await.unwrap();
    let placeholder = Placeholder::parse(&composed.message).unwrap().unwrap();
    let destination = destination.map(|text| Locator::parse(text).unwrap());
    let message = placeholder.with_destination(destination).encode().unwrap();
    let mut kept = node.kept.lock().unwrap();
    let id = format!("m{}", kept.messages.len());
    kept.messages.insert(id.clone(), message);
    id
}

pub(in crate::app) fn letter() -> Letter {
    Letter {
        to: vec![Mailbox::named("Bob", address("bob@bar.test"))],
        subject: "Hi".to_owned(),
        text: Some("Hello \u{1b}[31mBob\u{202e}\nbye".to_owned()),
        ..Letter::new(Category::parse("personal").unwrap())
    }
}

fn arriving(opened: &Opened, progress: JobState) -> Retrieval {
    let placeholder = opened.placeholder.as_ref().unwrap();
    let part = placeholder.parts().first().unwrap();
    Retrieval {
        job: "1".to_owned(),
        origin: placeholder.origin().locator.clone(),
        sender: address("alice@foo.test"),
        message_id: placeholder.message_id().to_owned(),
        count: 1,
        size: part.resource.size,
        progress,
        since: SystemClock.now(),
    }
}

#[tokio::test]
async fn a_message_is_shown_without_what_could_steer_a_terminal() {
    let node = Node::start().await;
    let app = node.alice().await;
    let id = delivered(&node, &app, &letter(), Some("mailbox.foo.test")).await;
    let opened = app.open(&id).await.unwrap();
    let shown = app.show(&opened, NO_TIME, &nobody_watches()).await.unwrap();
    assert_eq!(shown.text, "Hello [31mBob\nbye");
    assert_eq!(shown.from, "alice@foo.test");
    assert_eq!(shown.to, "Bob <bob@bar.test>");
    assert_eq!(shown.destination.unwrap().as_str(), "mailbox.foo.test");
    assert_eq!(shown.parts.len(), 1);
}

#[tokio::test]
async fn an_ordinary_message_is_shown_without_what_could_steer_a_terminal() {
    let node = Node::start().await;
    let app = node.alice().await;
    let message = "From: =?utf-8?q?Eve=1B[2J?= <eve@evil.test>\r\nSubject: =?utf-8?q?=1B]0;x=07?=\r\n\
        Message-ID: <a\u{1b}[2J@evil.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nHi \u{1b}[31m\r\n\
        --b\r\nContent-Type: image/\u{1b}[2Jpng; name=\"\u{1b}[2J\"\r\nContent-Disposition: attachment\r\n\r\none\r\n--b--\r\n";
    node.kept
        .lock()
        .unwrap()
        .messages
        .insert("e".to_owned(), message.into());
    let opened = app.open("e").await.unwrap();
    let shown = app.show(&opened, NO_TIME, &nobody_watches()).await.unwrap();
    assert_eq!(shown.parts.len(), 1);
    let all = serde_json::to_string(&shown).unwrap();
    assert!(!all.contains("\\u00") && all.contains("image/[2jpng"), "{all}");
}

#[tokio::test]
async fn somebody_who_waits_for_ever_may() {
    let node = Node::start().await;
    let app = node.alice().await;
    let id = delivered(&node, &app, &letter(), Some("mailbox.foo.test")).await;
    let opened = app.open(&id).await.unwrap();
    let for_ever = Duration::from_secs(u64::MAX);
    app.show(&opened, for_ever, &nobody_watches()).await.unwrap();
}

#[tokio::test]
async fn a_message_of_html_alone_is_shown_as_text() {
    let node = Node::start().await;
    let app = node.alice().await;
    let mut letter = letter();
    letter.text = None;
    letter.html = Some("<p>Hello <b>Bob</b></p><script>alert(1)</script>".to_owned());
    let id = delivered(&node, &app, &letter, Some("mailbox.foo.test")).await;
    let opened = app.open(&id).await.unwrap();
    let shown = app.show(&opened, NO_TIME, &nobody_watches()).await.unwrap();
    assert!(
        shown.text.contains("Hello Bob") && !shown.text.contains('<'),
        "{}",
        shown.text
    );
}

#[tokio::test]
async fn the_authors_message_is_given_back() {
    let node = Node::start().await;
    let app = node.alice().await;
    let file = node.folder.path().join("scan.bin");
    let octets: Vec<u8> = (0..2_500_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    std::fs::write(&file, &octets).unwrap();
    let mut letter = letter();
    letter.files = vec![file];
    let id = delivered(&node, &app, &letter, Some("mailbox.foo.test")).await;
    let opened = app.open(&id).await.unwrap();
    let mut message = Vec::new();
    app.write_message(&opened, &mut message, NO_TIME, &nobody_watches())
        .await
        .unwrap();
    let parsed = MessageParser::default().parse(&message).unwrap();
    assert_eq!(parsed.subject(), Some("Hi"));
    assert_eq!(
        parsed.body_text(0).unwrap().replace("\r\n", "\n"),
        letter.text.unwrap()
    );
    assert_eq!(parsed.attachment(0).unwrap().contents(), octets);
}

#[tokio::test]
async fn what_is_not_as_announced_is_refused() {
    let node = Node::start().await;
    let app = node.alice().await;
    let id = delivered(&node, &app, &letter(), Some("mailbox.foo.test")).await;
    let opened = app.open(&id).await.unwrap();
    let cid = opened.placeholder.as_ref().unwrap().parts()[0]
        .resource
        .cid
        .to_string();
    let good = node.kept.lock().unwrap().resources[&cid].clone();
    let mut other = good.to_vec();
    other[0] ^= 1;
    let longer = [&good[..], b"more"].concat();
    let shorter = good[1..].to_vec();
    for (octets, unverifiable) in [(other, true), (longer, true), (shorter, false)] {
        node.kept
            .lock()
            .unwrap()
            .resources
            .insert(cid.clone(), octets.into());
        let mut message = Vec::new();
        let error = app
            .write_message(&opened, &mut message, NO_TIME, &nobody_watches())
            .await
            .unwrap_err();
        assert_eq!(
            matches!(error, ReadError::Unverifiable(_)),
            unverifiable,
            "{error}"
        );
        assert!(app.show(&opened, NO_TIME, &nobody_watches()).await.is_err());
    }
}

#[tokio::test]
async fn what_is_on_its_way_is_waited_for_and_what_does_not_come_is_told_why() {
    let node = Node::start().await;
    let app = node.alice().await;
    let id = delivered(&node, &app, &letter(), Some("mailbox.foo.test")).await;
    let opened = app.open(&id).await.unwrap();
    let at = |progress| node.kept.lock().unwrap().retrievals = vec![arriving(&opened, progress)];
    at(JobState::Retrieving { bytes: 3, of: 10 });
    let error = app.show(&opened, NO_TIME, &nobody_watches()).await.unwrap_err();
    assert!(matches!(error, ReadError::OnTheirWay { bytes: 3, .. }), "{error}");
    at(JobState::Refused {
        reason: Reason::OverQuota,
    });
    let error = app.show(&opened, NO_TIME, &nobody_watches()).await.unwrap_err();
    assert!(error.to_string().contains("quota"), "{error}");
    at(JobState::Queued);
    let watch = nobody_watches();
    let patience = Duration::from_secs(30);
    let (shown, ()) = tokio::join!(app.show(&opened, patience, &watch), async {
        // The first question has been asked once the second one can be answered otherwise.
        tokio::task::yield_now().await;
        at(JobState::Stored);
    });
    assert!(shown.is_ok());
}

#[tokio::test]
async fn without_a_destination_only_ones_own_origin_is_read_from() {
    let node = Node::start().await;
    let app = node.alice().await;
    let own = delivered(&node, &app, &letter(), None).await;
    let opened = app.open(&own).await.unwrap();
    assert!(app.show(&opened, NO_TIME, &nobody_watches()).await.is_ok());
    let foreign = delivered(&node, &app, &letter(), Some("mailbox.bar.test")).await;
    let opened = app.open(&foreign).await.unwrap();
    let error = app.show(&opened, NO_TIME, &nobody_watches()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("mailbox.bar.test is not in the profile"),
        "{error}"
    );
}

#[tokio::test]
async fn an_ordinary_message_is_shown_as_it_is() {
    let node = Node::start().await;
    let app = node.alice().await;
    let message = "From: Bob <bob@bar.test>\r\nTo: alice@foo.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHi\u{7}\r\n";
    let add = |id: &str| {
        node.kept
            .lock()
            .unwrap()
            .messages
            .insert(id.to_owned(), message.into())
    };
    add("o1");
    let opened = app.open("o1").await.unwrap();
    let shown = app.show(&opened, NO_TIME, &nobody_watches()).await.unwrap();
    assert_eq!((shown.subject.as_str(), shown.text.as_str()), ("Grüße", "Hi\n"));
    let mut out = Vec::new();
    app.write_message(&opened, &mut out, NO_TIME, &nobody_watches())
        .await
        .unwrap();
    assert_eq!(out, message.as_bytes());
    for bad in ["../admin/accounts", "", "a/b", "a?b", ".."] {
        assert!(
            matches!(app.open(bad).await, Err(ReadError::App(AppError::Name(_)))),
            "{bad}"
        );
    }
    let missing = app.open("absent").await.unwrap_err();
    assert_eq!(missing.fault(), Fault::NotFound);
}
