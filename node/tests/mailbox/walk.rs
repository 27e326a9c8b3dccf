//! Resources travel from Alice's mailbox to Bob's, whatever breaks on the way.

use std::sync::atomic::Ordering;

use axum::body::Body;
use cargomail_node::api::Retrieval;
use cargomail_node::identity::Identity;
use cargomail_protocol::ledger::Act;
use cargomail_protocol::notification::{JobState, Reason};
use http::{Request, StatusCode, header};

use super::lines::Rule;
use super::rig::*;

const MIB: usize = 1024 * 1024;

/// What a node heard for a fetch that was whole, at most: all octets and a little for the frames.
fn about(octets: usize) -> u64 {
    octets as u64 + 64 * 1024
}

#[tokio::test]
async fn what_alice_posts_and_shares_bob_reads_from_the_mailbox_of_his_choice() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let contents = [content(3 * MIB + 1, 1), content(5, 2), Vec::new()];
    let mut posted = Vec::new();
    for octets in &contents {
        posted.push(hospital.post(&alice(), octets.clone()).await);
    }
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob(), carol()], &posted))
        .await;
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    let job = broker.notify(&world, &insurance, &notification).await;
    assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
    for (posted, octets) in posted.iter().zip(&contents) {
        let (status, read) = insurance.read(&bob(), &posted.cid).await;
        assert_eq!(status, StatusCode::OK);
        assert!(read == *octets);
    }
    let received = until("the receipt", async || {
        let shares = hospital.shares(&alice()).await;
        Some(shares[0].received_by.clone()).filter(|people| !people.is_empty())
    })
    .await;
    assert_eq!(received, [bob()]);
    let expected = [
        vec![Act::Posted; 3],
        vec![Act::Shared, Act::Granted, Act::Receipt],
    ];
    assert_eq!(hospital.acts().await, expected.concat());
    assert_eq!(
        insurance.acts().await,
        [Act::Notified, Act::Retrieved, Act::Receipt]
    );
    let (ours, theirs) = (insurance.entries().await, hospital.entries().await);
    // Both ledgers hold the same receipt, and the same authority for the transfer.
    assert_eq!(ours[2].event.evidence, theirs[5].event.evidence);
    assert_eq!(ours[1].event.evidence, theirs[4].event.evidence);
    let retrievals = insurance.retrievals(&bob()).await;
    assert_eq!(retrievals.len(), 1);
    assert_eq!(retrievals[0].progress, JobState::Stored);
    assert_eq!((retrievals[0].count, retrievals[0].size), (3, 3 * MIB as u64 + 6));
    let of = async |message_id: &str| {
        let path = format!("/api/v1/retrievals?message_id={message_id}");
        insurance.look::<Vec<Retrieval>>(&bob(), &path).await
    };
    assert_eq!(of("%3C1%40foo.test%3E").await, retrievals);
    assert!(of("%3C2%40foo.test%3E").await.is_empty());
    assert!(insurance.retrievals(&carol()).await.is_empty());
}

#[tokio::test]
async fn a_part_of_a_resource_is_read_as_a_part_and_as_nothing_that_a_browser_would_run() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    let octets = content(3 * MIB, 7);
    let posted = hospital.post(&alice(), octets.clone()).await;
    let request = Request::get(format!("/api/v1/resources/{}", posted.cid))
        .header(header::RANGE, "bytes=1048570-2097160");
    let response = hospital.ask(&alice(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    let headers = response.headers().clone();
    assert_eq!(headers[header::CONTENT_RANGE], "bytes 1048570-2097160/3145728");
    assert_eq!(headers[header::CONTENT_LENGTH], "1048591");
    assert_eq!(headers[header::ETAG], format!("\"{}\"", posted.cid));
    assert_eq!(headers[header::CONTENT_DISPOSITION], "attachment");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[header::CONTENT_SECURITY_POLICY], "sandbox");
    assert!(self::octets(response).await == octets[1_048_570..=2_097_160]);
    let request =
        Request::get(format!("/api/v1/resources/{}", posted.cid)).header(header::RANGE, "bytes=3145728-");
    let response = hospital.ask(&alice(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(response.headers()[header::CONTENT_RANGE], "bytes */3145728");
}

#[tokio::test]
async fn what_the_recipient_holds_already_is_authorized_but_not_transferred_again() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let posted = vec![hospital.post(&alice(), content(4 * MIB, 3)).await];
    let mut new = new_share(&world, &[bob()], &posted);
    for mail in 1..=2 {
        new.message_id = format!("<{mail}@foo.test>");
        let share = hospital.share(&alice(), &new).await;
        let before = insurance.lines.heard();
        let to_bob = notification(&hospital.locator(), &share, &alice(), &bob());
        let job = broker.notify(&world, &insurance, &to_bob).await;
        assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
        let heard = insurance.lines.heard() - before;
        assert_eq!(heard < about(MIB), mail == 2, "{heard}");
    }
    assert_eq!(hospital.count(Act::Granted).await, 2);
    until("both receipts", async || {
        (hospital.count(Act::Receipt).await == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_came_for_one_is_anothers_by_the_same_origins_permission_alone_and_is_kept_once() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let posted = vec![hospital.post(&alice(), content(4 * MIB, 3)).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob(), carol()], &posted))
        .await;
    for (person, octets) in [(bob(), 4 * MIB..5 * MIB), (carol(), 0..MIB)] {
        assert_eq!(
            insurance.read(&person, &posted[0].cid).await.0,
            StatusCode::NOT_FOUND
        );
        let before = insurance.lines.heard();
        let notification = notification(&hospital.locator(), &share, &alice(), &person);
        let job = broker.notify(&world, &insurance, &notification).await;
        assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
        assert_eq!(insurance.read(&person, &posted[0].cid).await.0, StatusCode::OK);
        let heard = insurance.lines.heard() - before;
        assert!(octets.contains(&(heard as usize)), "{heard}");
    }
    // Four leaves and their node; the notifications stand in their jobs: nothing is kept twice.
    assert_eq!(insurance.store.blocks().list(None, 100).await.unwrap().len(), 5);
    assert_eq!(hospital.count(Act::Granted).await, 2);
    until("both receipts", async || {
        (hospital.shares(&alice()).await[0].received_by.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn where_origin_and_destination_are_one_nothing_travels_and_the_authorization_is_the_same() {
    let world = World::new().await;
    let single = world.mailbox("mailbox.bar.test", "bar.test", 4).await;
    for person in [alice(), bob(), carol()] {
        single.account(&person, None).await;
    }
    let broker = world.broker("bar.test", 9);
    let posted = vec![single.post(&alice(), content(2 * MIB, 4)).await];
    let share = single
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    let to_bob = notification(&single.locator(), &share, &alice(), &bob());
    let job = broker.notify(&world, &single, &to_bob).await;
    assert_eq!(broker.end(&single, &job).await, JobState::Stored);
    assert_eq!(single.read(&bob(), &posted[0].cid).await.0, StatusCode::OK);
    until("the receipt", async || {
        (single.count(Act::Receipt).await == 2).then_some(())
    })
    .await;
    assert_eq!(single.shares(&alice()).await[0].received_by, [bob()]);
    assert_eq!(single.count(Act::Granted).await, 1);
    assert_eq!(single.lines.heard(), 0);
    let to_carol = notification(&single.locator(), &share, &alice(), &carol());
    let job = broker.notify(&world, &single, &to_carol).await;
    let reason = Reason::OriginRefused;
    assert_eq!(broker.end(&single, &job).await, JobState::Refused { reason });
    assert_eq!(
        single.read(&carol(), &posted[0].cid).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_fetch_goes_on_after_a_break_from_what_is_held() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let octets = content(9 * MIB, 5);
    let posted = vec![hospital.post(&alice(), octets.clone()).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    insurance
        .lines
        .rule([Rule::Cut(3 * MIB as u64 + 500), Rule::Cut(4 * MIB as u64 + 500)]);
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    assert_eq!(
        broker.insist(&world, &insurance, &notification).await,
        JobState::Stored
    );
    assert!(insurance.read(&bob(), &posted[0].cid).await.1 == octets);
    // Twice a part of one leaf was lost, and nothing else came twice.
    assert!(insurance.lines.heard() < about(11 * MIB));
    assert_eq!(hospital.count(Act::Granted).await, 3);
}

#[tokio::test]
async fn q04_a_destination_that_stops_in_the_middle_goes_on_when_it_is_back() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let octets = content(12 * MIB, 6);
    let posted = vec![hospital.post(&alice(), octets.clone()).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    let stalls = 6 * MIB as u64 + 500;
    insurance.lines.rule([Rule::Stall(stalls)]);
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    let job = broker.notify(&world, &insurance, &notification).await;
    until("half of it", async || {
        (insurance.lines.heard() >= stalls).then_some(())
    })
    .await;
    let bytes = until("progress", async || match broker.state(&insurance, &job).await {
        JobState::Retrieving { bytes, of } if of == 12 * MIB as u64 => Some(bytes),
        _ => None,
    })
    .await;
    assert!(bytes >= 4 * MIB as u64);
    // What has come is not shown before the whole is here.
    assert_eq!(
        insurance.read(&bob(), &posted[0].cid).await.0,
        StatusCode::NOT_FOUND
    );
    let insurance = world.restart(insurance).await;
    assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
    assert!(insurance.read(&bob(), &posted[0].cid).await.1 == octets);
    assert!(insurance.lines.heard.load(Ordering::SeqCst) < about(9 * MIB));
    assert_eq!(insurance.acts().await[..2], [Act::Notified, Act::Retrieved]);
}

#[tokio::test]
async fn a_receipt_that_could_not_be_sent_is_sent_after_a_restart_and_is_the_same() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let posted = vec![hospital.post(&alice(), content(100, 8)).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    insurance.lines.rule([Rule::Open, Rule::Cut(0)]);
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    let job = broker.notify(&world, &insurance, &notification).await;
    assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
    let receipt = insurance.entries().await[2].event.evidence.clone();
    // The origin may have it, the destination has not heard of it.
    until("the receipt", async || {
        (hospital.count(Act::Receipt).await == 1).then_some(())
    })
    .await;
    let insurance = world.restart(insurance).await;
    // Sent once more, and noted once.
    until("the second sending", async || {
        (insurance.lines.heard() > 0).then_some(())
    })
    .await;
    let noted = hospital.entries().await;
    let noted: Vec<_> = noted
        .iter()
        .filter(|entry| entry.event.act == Act::Receipt)
        .collect();
    assert_eq!(noted.len(), 1);
    assert_eq!(noted[0].event.evidence, receipt);
    assert_eq!(hospital.shares(&alice()).await[0].received_by, [bob()]);
}

#[tokio::test]
async fn a_receipt_that_waits_while_the_key_is_changed_is_believed_by_the_new_one() {
    let world = World::new().await;
    let (hospital, mut insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let posted = vec![hospital.post(&alice(), content(100, 8)).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    insurance.lines.rule([Rule::Open, Rule::Closed]);
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    let job = broker.notify(&world, &insurance, &notification).await;
    assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
    insurance.identity = Identity::from_seed(&[22; 32]);
    for name in ["_rra.insurance.test", "_grip.mailbox.insurance.test"] {
        world.zone.remove(name);
        world.bind(name, insurance.identity.spki_sha256());
    }
    let _insurance = world.restart(insurance).await;
    until("the receipt", async || {
        (hospital.count(Act::Receipt).await == 1).then_some(())
    })
    .await;
    assert_eq!(hospital.shares(&alice()).await[0].received_by, [bob()]);
}

#[tokio::test]
async fn an_origin_that_was_away_is_asked_again_and_again() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let posted = vec![hospital.post(&alice(), content(100, 9)).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    insurance.lines.rule([Rule::Closed, Rule::Closed]);
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    assert_eq!(
        broker.insist(&world, &insurance, &notification).await,
        JobState::Stored
    );
}
