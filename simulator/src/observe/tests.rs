//! What the people see when they look for the last time.
#![allow(clippy::unwrap_used)]

use cargomail_protocol::address::Locator;
use cargomail_protocol::dag::cid;
use tokio::time::sleep;

use super::*;
use crate::ground::Ground;
use crate::run::{make_files, prepare};
use crate::scenario::Scenario;
use crate::traffic::write_all;
use crate::view::View;
use crate::world;

/// Alice writes three mails to Bob.
const TOWN: &str = r#"
description = "a small town"
seed = 7
patience = 300

[[sites]]
name = "foo.test"
broker = true
mailbox = true
people = ["alice@foo.test"]

[[sites]]
name = "bar.test"
broker = true
mailbox = true
people = ["bob@bar.test"]

[[traffic]]
count = 3
from = ["alice@foo.test"]
to = ["bob@bar.test"]
category = "personal"
"#;

/// Has the town write its mails; when all have arrived, an observer who has never looked, and the ground.
async fn arrived(trace: &world::Trace, folder: &std::path::Path) -> (Observer, Ground) {
    let scenario = Scenario::read("town.toml", TOWN).unwrap();
    let mut ground = Ground::make(folder, &scenario, trace).await.unwrap();
    let mut stage = prepare(&scenario, &ground, folder, &View::hidden())
        .await
        .unwrap();
    make_files(&mut stage, &ground).unwrap();
    let stage = Arc::new(stage);
    let (out, mut sent) = mpsc::channel(8);
    write_all(stage.clone(), &mut ground, out).await.unwrap();
    let mut observer = Observer::new(stage);
    assert!(observer.take(&mut sent));
    sleep(Duration::from_secs(600)).await;
    (observer, ground)
}

fn in_town(work: impl AsyncFnOnce(&mut Observer, &mut Ground)) {
    world::run(None, async |trace| {
        let folder = tempfile::tempdir().unwrap();
        let (mut observer, mut ground) = arrived(&trace, folder.path()).await;
        work(&mut observer, &mut ground).await;
    })
    .unwrap();
}

fn fate(observer: &Observer, mail: usize) -> &Fate {
    &observer.mails[mail].fates[0]
}

fn is_equal(observer: &Observer, mail: usize) -> bool {
    matches!(fate(observer, mail).reading, Reading::Equal { .. })
}

#[test]
fn what_is_seen_only_in_the_last_look_is_read_too() {
    in_town(async |observer, _| {
        observer.look_for_the_last_time().await.unwrap();
        for mail in 0..3 {
            assert!(is_equal(observer, mail), "{:?}", fate(observer, mail));
            assert_eq!(fate(observer, mail).copies, 1);
        }
    });
}

#[test]
fn what_is_gone_at_the_end_was_seen_and_does_not_count() {
    in_town(async |observer, _| {
        observer.look_for_the_last_time().await.unwrap();
        let bob = observer.stage.app_of("bob@bar.test").clone();
        let known = |mail: usize| match &observer.mails[mail].sending {
            Sending::Accepted {
                message_id,
                resources,
                ..
            } => (message_id.clone(), resources.clone()),
            other => panic!("{other:?}"),
        };
        let ((gone, _), (_, lost)) = (known(0), known(1));
        let broker = bob.broker().unwrap();
        let inbox = broker.list("inbox", None, 10).await.unwrap();
        let message = inbox.iter().find(|message| message.message_id == gone).unwrap();
        broker.delete_message(&message.id).await.unwrap();
        let mailbox = bob.mailbox(&Locator::parse("mailbox.bar.test").unwrap()).unwrap();
        for root in &lost {
            mailbox
                .delete(&cid::from_text(root).unwrap(), true)
                .await
                .unwrap();
        }

        observer.look_for_the_last_time().await.unwrap();
        assert_eq!(fate(observer, 0).copies, 0);
        assert!(fate(observer, 0).delivered_at.is_some());
        assert!(!is_equal(observer, 1), "{:?}", fate(observer, 1));
        assert_eq!(fate(observer, 1).copies, 1);
        assert!(is_equal(observer, 2) && fate(observer, 2).copies == 1);
    });
}

#[test]
fn what_cannot_be_known_at_the_end_stays_as_it_was_seen() {
    in_town(async |observer, ground| {
        observer.look_for_the_last_time().await.unwrap();
        ground.stop("bar.test").await.unwrap();
        observer.look_for_the_last_time().await.unwrap();
        for mail in 0..3 {
            assert!(is_equal(observer, mail), "{:?}", fate(observer, mail));
            assert_eq!(fate(observer, mail).copies, 1);
        }
    });
}

#[test]
fn a_report_that_is_gone_at_the_end_does_not_count() {
    in_town(async |observer, _| {
        observer.look_for_the_last_time().await.unwrap();
        let Sending::Accepted { message_id, .. } = &observer.mails[0].sending else {
            panic!("{:?}", observer.mails[0].sending);
        };
        let report = Report {
            about: message_id.clone(),
            recipients: vec!["bob@bar.test".to_owned()],
        };
        let reports = observer.reports.entry("alice@foo.test".to_owned()).or_default();
        reports.insert("a message that was there".to_owned(), report);
        observer.look(Whom::Everybody).await.unwrap();
        assert_eq!(fate(observer, 0).reports, 1);
        observer.look_for_the_last_time().await.unwrap();
        assert_eq!(fate(observer, 0).reports, 0);
    });
}
