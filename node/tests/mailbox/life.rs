//! What becomes of resources: deleted, expired, held by law, collected.

use std::time::Duration;

use axum::body::Body;
use cargomail_node::api::{HeldView, Why};
use cargomail_node::keeping::{Collected, HoldError, Mode, Subject};
use cargomail_node::store::Op;
use cargomail_protocol::dag::Codec;
use cargomail_protocol::dag::cid::digest;
use cargomail_protocol::ledger::Act;
use cargomail_protocol::limits;
use cargomail_protocol::notification::JobState;
use cargomail_protocol::share::parse_root;
use http::{Request, StatusCode};
use uuid::Uuid;

use super::lines::Rule;
use super::rig::*;

/// Two and a half leaves.
const LARGE: usize = 5 * 1024 * 1024 / 2;

async fn blocks(node: &Node) -> usize {
    node.store.blocks().list(None, 10_000).await.unwrap().len()
}

#[tokio::test]
async fn q09_what_is_deleted_is_gone_at_once_and_the_quota_free() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    hospital.account(&bob(), Some(3_000_000)).await;
    let posted = hospital.post(&bob(), content(LARGE, 1)).await;
    assert_eq!(hospital.used(&bob()).await, LARGE as u64);
    let request = || {
        Request::post("/api/v1/resources")
            .body(content(LARGE, 2).into())
            .unwrap()
    };
    let full = hospital.ask(&bob(), request()).await.status();
    assert_eq!(full, StatusCode::INSUFFICIENT_STORAGE);
    // What that upload brought is nobody's.
    hospital.collect().await;
    let held: Vec<HeldView> = hospital.look(&bob(), "/api/v1/resources").await;
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].cid, posted.cid);
    assert_eq!(hospital.delete(&bob(), &posted, false).await, StatusCode::OK);
    assert_eq!(hospital.used(&bob()).await, 0);
    assert_eq!(hospital.read(&bob(), &posted.cid).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        hospital.delete(&bob(), &posted, false).await,
        StatusCode::NOT_FOUND
    );
    assert_eq!(hospital.count(Act::Deleted).await, 1);
    assert_eq!(
        hospital.ask(&bob(), request()).await.status(),
        StatusCode::CREATED
    );
    let collected = hospital.collect().await;
    assert_eq!(collected.freed_blocks, 4, "three leaves and the node above them");
    assert_eq!(blocks(&hospital).await, 4);
}

#[tokio::test]
async fn h05_nobody_deletes_or_sees_what_is_somebody_elses() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    hospital.account(&bob(), None).await;
    let posted = hospital.post(&alice(), content(100, 1)).await;
    let missing = StatusCode::NOT_FOUND;
    for force in [false, true] {
        assert_eq!(hospital.delete(&bob(), &posted, force).await, missing);
    }
    let why = format!("/api/v1/resources/{}/why", posted.cid);
    let request = Request::get(&why).body(Body::empty()).unwrap();
    assert_eq!(hospital.ask(&bob(), request).await.status(), missing);
    assert!(
        hospital
            .look::<Vec<HeldView>>(&bob(), "/api/v1/resources")
            .await
            .is_empty()
    );
    let request = Request::get("/api/v1/resources?after=../..")
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        hospital.ask(&bob(), request).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    // Bob posts the same: each is told of their own.
    hospital.post(&bob(), content(100, 1)).await;
    for who in [alice(), bob()] {
        let told: Why = hospital.look(&who, &why).await;
        assert!(told.here);
        let whose: Vec<_> = told.holders.iter().map(|holder| holder.whose.clone()).collect();
        assert_eq!(whose, [who.to_string()]);
    }
    let everybody = hospital
        .collector
        .why(&parse_root(&posted.cid).unwrap())
        .await
        .unwrap();
    assert_eq!(everybody.holders.len(), 2);
}

#[tokio::test]
async fn c10_another_owners_copy_stays_and_the_last_ones_goes() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    hospital.account(&bob(), None).await;
    let posted = hospital.post(&alice(), content(LARGE, 1)).await;
    hospital.post(&bob(), content(LARGE, 1)).await;
    assert_eq!(hospital.delete(&alice(), &posted, false).await, StatusCode::OK);
    assert_eq!(hospital.collect().await.freed_blocks, 0);
    assert_eq!(
        hospital.read(&alice(), &posted.cid).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(hospital.read(&bob(), &posted.cid).await.1, content(LARGE, 1));
    assert_eq!(hospital.delete(&bob(), &posted, false).await, StatusCode::OK);
    let dry = hospital.collector.collect(Mode::Dry).await.unwrap();
    assert_eq!(blocks(&hospital).await, 4, "only looked");
    let freed = hospital.collect().await;
    assert_eq!(
        freed,
        Collected {
            dry_run: false,
            ..dry
        }
    );
    assert_eq!(blocks(&hospital).await, 0);
    let why = hospital
        .collector
        .why(&parse_root(&posted.cid).unwrap())
        .await
        .unwrap();
    assert!(!why.here && why.holders.is_empty());
    // It may come again.
    hospital.post(&bob(), content(LARGE, 1)).await;
    assert_eq!(hospital.read(&bob(), &posted.cid).await.1, content(LARGE, 1));
}

#[tokio::test]
async fn what_is_shared_is_deleted_only_by_force_and_a_share_that_ended_keeps_nothing() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    let (first, second) = (
        hospital.post(&alice(), content(100, 1)).await,
        hospital.post(&alice(), content(LARGE, 2)).await,
    );
    let both = [first.clone(), second.clone()];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &both))
        .await;
    let request = Request::delete(format!("/api/v1/resources/{}", first.cid));
    let response = hospital.ask(&alice(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let said = String::from_utf8(octets(response).await.to_vec()).unwrap();
    assert!(
        said.contains(&share.id.to_string()) && said.contains("force"),
        "{said}"
    );
    assert_eq!(hospital.delete(&alice(), &first, true).await, StatusCode::OK);
    assert!(hospital.shares(&alice()).await[0].revoked.is_some());
    let expected = [Act::Posted, Act::Posted, Act::Shared, Act::Revoked, Act::Deleted];
    assert_eq!(hospital.acts().await, expected);
    assert_eq!(hospital.collect().await.freed_blocks, 1);
    // A share that has ended is written down once, and keeps nothing.
    hospital
        .share(
            &alice(),
            &new_share(&world, &[bob()], std::slice::from_ref(&second)),
        )
        .await;
    world.clock.by(25 * HOUR);
    let hospital = world.restart(hospital).await;
    until("the end of the share", async || {
        (hospital.count(Act::Expired).await == 1).then_some(())
    })
    .await;
    assert_eq!(hospital.collect().await.freed_blocks, 0, "she holds it");
    assert_eq!(hospital.delete(&alice(), &second, false).await, StatusCode::OK);
    assert_eq!(hospital.collect().await.freed_blocks, 4);
    let hospital = world.restart(hospital).await;
    assert_eq!(hospital.count(Act::Expired).await, 1);
}

#[tokio::test]
async fn t11_a_retrieval_keeps_what_it_brought_and_what_is_deleted_is_nobodys_for_the_asking() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let posted = hospital.post(&alice(), content(LARGE, 1)).await;
    let share = hospital
        .share(
            &alice(),
            &new_share(&world, &[bob()], std::slice::from_ref(&posted)),
        )
        .await;
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    // One leaf and a half, then the line is cut: what came stays until the job has ended.
    insurance
        .lines
        .rule([Rule::Cut(1_700_000), Rule::Closed, Rule::Closed, Rule::Closed]);
    let job = broker.notify(&world, &insurance, &notification).await;
    until("something of it", async || {
        let all = insurance.store.blocks().list(None, 100).await.unwrap();
        all.iter().any(|(_, size)| *size > 1_000_000).then_some(())
    })
    .await;
    let before = blocks(&insurance).await;
    assert_eq!(insurance.collect().await.freed_blocks, 0);
    assert_eq!(blocks(&insurance).await, before);
    assert_eq!(
        broker.insist(&world, &insurance, &notification).await,
        JobState::Stored
    );
    assert_eq!(broker.state(&insurance, &job).await, JobState::Stored);
    assert_eq!(insurance.collect().await.freed_blocks, 0);
    assert_eq!(insurance.read(&bob(), &posted.cid).await.1, content(LARGE, 1));
    // T11: once Bob has deleted it, that its blocks are still here gives him nothing.
    assert_eq!(insurance.delete(&bob(), &posted, false).await, StatusCode::OK);
    assert_eq!(insurance.read(&bob(), &posted.cid).await.0, StatusCode::NOT_FOUND);
    assert_eq!(insurance.used(&bob()).await, 0);
    assert_eq!(insurance.collect().await.freed_blocks, 4);
    assert_eq!(hospital.read(&alice(), &posted.cid).await.1, content(LARGE, 1));
}

#[tokio::test]
async fn a_legal_hold_outlasts_expiry_and_deletion_and_its_user_does_not_see_it() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    hospital.account(&bob(), None).await;
    let posted = hospital.post(&alice(), content(LARGE, 1)).await;
    let other = hospital.post(&alice(), content(100, 2)).await;
    hospital
        .share(
            &alice(),
            &new_share(&world, &[bob()], std::slice::from_ref(&posted)),
        )
        .await;
    let hold = hospital
        .holds
        .place(Subject::Account(alice()), "court order 12")
        .await
        .unwrap();
    let one = Subject::Resource(other.cid.clone());
    let second = hospital.holds.place(one, "complaint 7").await.unwrap();
    assert_eq!(hospital.count(Act::Access).await, 2);
    assert_eq!(hospital.delete(&alice(), &posted, true).await, StatusCode::OK);
    assert_eq!(hospital.delete(&alice(), &other, false).await, StatusCode::OK);
    // For her it is gone.
    assert_eq!(hospital.used(&alice()).await, 0);
    assert!(
        hospital
            .look::<Vec<HeldView>>(&alice(), "/api/v1/resources")
            .await
            .is_empty()
    );
    assert_eq!(
        hospital.read(&alice(), &posted.cid).await.0,
        StatusCode::NOT_FOUND
    );
    let again = new_share(&world, &[bob()], std::slice::from_ref(&posted));
    let response = hospital.ask(&alice(), json("/api/v1/shares", &again)).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    // And yet it stays.
    world.clock.by(Duration::from_secs(400 * 24 * 3600));
    let hospital = world.restart(hospital).await;
    assert_eq!(hospital.collect().await.freed_blocks, 0);
    assert_eq!(blocks(&hospital).await, 5);
    // Posted again it is hers again, and counts again.
    hospital.post(&alice(), content(100, 2)).await;
    assert_eq!(hospital.used(&alice()).await, 100);
    assert_eq!(hospital.delete(&alice(), &other, false).await, StatusCode::OK);
    hospital.holds.release(hold.id).await.unwrap();
    assert_eq!(
        hospital.collect().await.freed_blocks,
        4,
        "the other one is held by its name"
    );
    hospital.holds.release(second.id).await.unwrap();
    assert_eq!(hospital.collect().await.freed_blocks, 1);
    assert_eq!(hospital.count(Act::Access).await, 4);
    let listed = hospital.holds.list().await.unwrap();
    assert!(listed.iter().all(|hold| hold.released.is_some()));
    // What had gone before a hold is placed does not keep the collector from the rest.
    let third = hospital
        .holds
        .place(Subject::Account(alice()), "court order 13")
        .await
        .unwrap();
    let rest = hospital.post(&bob(), content(100, 3)).await;
    assert_eq!(hospital.delete(&bob(), &rest, false).await, StatusCode::OK);
    assert_eq!(hospital.collect().await.freed_blocks, 1);
    hospital.holds.release(third.id).await.unwrap();
    assert!(matches!(
        hospital.holds.release(hold.id).await,
        Err(HoldError::NoSuchHold(_))
    ));
}

#[tokio::test]
async fn a_hold_names_something_that_is_here_and_says_why() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    let holds = &hospital.holds;
    let nothing = "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu".to_owned();
    assert!(matches!(
        holds.place(Subject::Resource(nothing), "x").await,
        Err(HoldError::NoSuchResource(_))
    ));
    assert!(matches!(
        holds.place(Subject::Account(carol()), "x").await,
        Err(HoldError::NoSuchUser(_))
    ));
    for reason in ["", "  ", &"x".repeat(1001)] {
        let placed = holds.place(Subject::Account(alice()), reason).await;
        assert!(matches!(placed, Err(HoldError::Reason)));
    }
    assert!(matches!(
        holds.release(Uuid::nil()).await,
        Err(HoldError::NoSuchHold(_))
    ));
    assert_eq!(hospital.count(Act::Access).await, 0);
}

#[tokio::test]
async fn what_was_deleted_and_has_gone_before_a_hold_does_not_stop_the_collector() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    let posted = hospital.post(&alice(), content(LARGE, 1)).await;
    let account = Subject::Account(alice());
    let first = hospital.holds.place(account.clone(), "court order 12").await;
    assert_eq!(hospital.delete(&alice(), &posted, false).await, StatusCode::OK);
    let records = hospital.store.records();
    let hidden = records.list("holding/", None, 10).await.unwrap().pop().unwrap();
    hospital.holds.release(first.unwrap().id).await.unwrap();
    assert_eq!(hospital.collect().await.freed_blocks, 4);
    // A collection during which another hold is placed leaves the record of what was hidden.
    let put = Op::Put(hidden.key, hidden.value);
    records.commit(vec![], vec![put]).await.unwrap();
    hospital.holds.place(account, "court order 13").await.unwrap();
    hospital.post(&alice(), content(100, 2)).await;
    assert_eq!(hospital.collect().await.freed_blocks, 0);
}

#[tokio::test]
async fn a_resource_of_which_something_has_gone_already_cannot_be_held() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    let posted = hospital.post(&alice(), content(LARGE, 1)).await;
    assert_eq!(hospital.delete(&alice(), &posted, false).await, StatusCode::OK);
    // A collection takes the blocks in the order of their digests, so leaves may go long before their root.
    let root = digest(&parse_root(&posted.cid).unwrap()).unwrap();
    let all = hospital.store.blocks().list(None, 10).await.unwrap();
    let (leaf, _) = all.iter().find(|(digest, _)| *digest != root).unwrap();
    let leaf = [Codec::Raw.cid(*leaf)];
    let subject = Subject::Resource(posted.cid.clone());
    let blocks = hospital.store.blocks();
    blocks.condemn(&leaf).await.unwrap();
    let held = hospital
        .holds
        .place(subject.clone(), "complaint 7")
        .await
        .unwrap();
    assert_eq!(blocks.sweep(&leaf).await.unwrap(), [false], "the hold came first");
    hospital.holds.release(held.id).await.unwrap();
    blocks.condemn(&leaf).await.unwrap();
    assert_eq!(blocks.sweep(&leaf).await.unwrap(), [true]);
    let placed = hospital.holds.place(subject, "complaint 7").await;
    assert!(matches!(placed, Err(HoldError::NoSuchResource(_))));
    assert_eq!(hospital.count(Act::Access).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_collecting_races_posting_deleting_and_reading_the_same_octets() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    hospital.account(&bob(), None).await;
    let (fellow, octets_of) = (content(LARGE, 1), content(LARGE, 1));
    let acting = async {
        for _ in 0..12 {
            for who in [alice(), bob()] {
                let posted = hospital.post(&who, fellow.clone()).await;
                let (status, read) = hospital.read(&who, &posted.cid).await;
                assert_eq!(status, StatusCode::OK);
                assert_eq!(read, octets_of, "what is acknowledged is there, whole");
                assert_eq!(hospital.delete(&who, &posted, false).await, StatusCode::OK);
            }
        }
    };
    let collecting = async {
        loop {
            hospital.collect().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = acting => {}
        _ = collecting => {}
    }
    hospital.collect().await;
    assert_eq!(blocks(&hospital).await, 0);
}

/// Records whose keys begin like one of these.
async fn records(node: &Node, prefixes: &[&str]) -> usize {
    let mut count = 0;
    for prefix in prefixes {
        count += node.store.records().list(prefix, None, 100).await.unwrap().len();
    }
    count
}

#[tokio::test]
async fn q09_the_collector_leaves_a_notification_as_long_as_somebody_may_ask_for_it() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let mut posted = Vec::new();
    for number in 0..400 {
        posted.push(hospital.post(&alice(), format!("{number}").into_bytes()).await);
    }
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    assert!(notification.to_bytes().unwrap().len() > limits::INLINE);
    let resources = blocks(&hospital).await;
    let job = broker.notify(&world, &insurance, &notification).await;
    assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
    until("the receipt", async || {
        (!hospital.shares(&alice()).await[0].received_by.is_empty()).then_some(())
    })
    .await;
    // At the origin the grant refers to it, at the destination the job does.
    for node in [&hospital, &insurance] {
        assert!(blocks(node).await > resources);
        assert_eq!(node.collect().await.freed_blocks, 0);
    }
    // The share is over for nearly as long as a receipt may come, and the retrieval for nearly as long as its broker may ask.
    let (granted, retrieved) = (["grant/", "granted/", "receipt/"], ["job"]);
    world.clock.by(24 * HOUR + limits::NOTIFY_TOKEN_LIFE - HOUR);
    let hospital = world.restart(hospital).await;
    until("the end of the share", async || {
        (hospital.count(Act::Expired).await == 1).then_some(())
    })
    .await;
    assert_eq!(records(&hospital, &granted).await, 3);
    world.clock.by(2 * HOUR);
    let hospital = world.restart(hospital).await;
    until("forgetting", async || {
        (records(&hospital, &granted).await == 0).then_some(())
    })
    .await;
    assert_eq!(broker.state(&insurance, &job).await, JobState::Stored);
    world.clock.by(limits::REMEMBERED);
    let insurance = world.restart(insurance).await;
    until("forgetting", async || {
        (records(&insurance, &retrieved).await == 0).then_some(())
    })
    .await;
    assert!(insurance.retrievals(&bob()).await.is_empty());
    for (node, whose) in [(&hospital, alice()), (&insurance, bob())] {
        assert_eq!(node.collect().await.freed_blocks, 1);
        let (status, octets) = node.read(&whose, &posted[7].cid).await;
        assert_eq!((status, &octets[..]), (StatusCode::OK, &b"7"[..]));
    }
    assert_eq!(blocks(&insurance).await, resources);
}
