//! What the deep pipelines of import and fetch must not change: names, order, what is sent twice, who waits for whom.

use axum::body::Body;
use bytes::Bytes;
use cargomail_node::store::Op;
use cargomail_protocol::address::Address;
use cargomail_protocol::dag::Importer;
use cargomail_protocol::ledger::Act;
use cargomail_protocol::notification::JobState;
use futures::stream;
use http::StatusCode;
use serde::Serialize;

use super::lines::Rule;
use super::rig::*;

const MIB: usize = 1024 * 1024;

/// Octets of frames, nodes and of what one stream costs besides its blocks.
const BESIDES: u64 = 64 * 1024;

#[tokio::test]
async fn what_is_hashed_on_many_threads_has_the_names_that_the_protocol_gives() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    for size in [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 9 * MIB + 7] {
        let octets = content(size, size as u64);
        let mut importer = Importer::new();
        importer.push(Bytes::copy_from_slice(&octets));
        let expected = importer.finish();
        let pieces: Vec<_> = octets
            .chunks(77_777)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let posted = hospital
            .post(&alice(), Body::from_stream(stream::iter(pieces)))
            .await;
        assert_eq!(posted.cid, expected.root.to_string(), "{size}");
        assert_eq!(posted.sha256, data_encoding::HEXLOWER.encode(&expected.sha256));
        assert_eq!(posted.size, size as u64);
        assert!(hospital.read(&alice(), &posted.cid).await.1 == octets);
    }
}

#[tokio::test]
async fn q04_a_break_in_the_middle_of_a_deep_pipeline_costs_one_block_at_most() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let (size, small) = (24 * MIB, 5000);
    let octets = content(size, 5);
    let mut posted = vec![hospital.post(&alice(), octets.clone()).await];
    for seed in 0..200 {
        posted.push(hospital.post(&alice(), content(small, 1001 + 2 * seed)).await);
    }
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    // Three times within the large resource, once among the small ones.
    let cuts = [7 * MIB + MIB / 2, 3 * MIB + 17, MIB / 2, 15 * MIB + 500_000];
    insurance.lines.rule(cuts.map(|octets| Rule::Cut(octets as u64)));
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    assert_eq!(
        broker.insist(&world, &insurance, &notification).await,
        JobState::Stored
    );
    assert!(insurance.read(&bob(), &posted[0].cid).await.1 == octets);
    let all = (size + 200 * small) as u64;
    let twice = insurance.lines.heard() - all;
    let streams = cuts.len() as u64 + 1;
    assert!(twice < (cuts.len() * MIB) as u64 + streams * BESIDES, "{twice}");
    assert_eq!(hospital.count(Act::Granted).await as u64, streams);
}

#[tokio::test]
async fn what_goes_to_many_users_of_one_mailbox_travels_once_and_is_fetched_again_once_it_has_gone() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let members: Vec<_> = (0..20)
        .map(|n| Address::parse(&format!("member{n}@bar.test")).unwrap())
        .collect();
    for member in &members {
        insurance.account(member, None).await;
    }
    let octets = content(5 * MIB + 7, 5);
    let posted = vec![
        hospital.post(&alice(), octets.clone()).await,
        hospital.post(&alice(), content(300, 1)).await,
    ];
    let share = hospital
        .share(&alice(), &new_share(&world, &members, &posted))
        .await;
    let all = octets.len() as u64 + 300;
    let to = |member| notification(&hospital.locator(), &share, &alice(), member);
    // All at once: whoever comes first brings it, the others wait for that.
    let mut jobs = Vec::new();
    for member in &members {
        jobs.push(broker.notify(&world, &insurance, &to(member)).await);
    }
    for (member, job) in members.iter().zip(jobs) {
        assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
        assert!(insurance.read(member, &posted[0].cid).await.1 == octets);
    }
    let heard = insurance.lines.heard();
    assert!(
        heard < all + members.len() as u64 * BESIDES / 8,
        "{heard} of {all}"
    );
    assert_eq!(hospital.count(Act::Granted).await, members.len());
    until("all receipts", async || {
        (hospital.count(Act::Receipt).await == members.len()).then_some(())
    })
    .await;
    assert_eq!(insurance.collect().await.freed_blocks, 0);
    // Nobody keeps it: it goes, and that it came once is no reason to believe that it is here.
    for member in &members {
        for posted in &posted {
            insurance.delete(member, posted, false).await;
        }
    }
    assert!(insurance.collect().await.freed_blocks > 0);
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Stored);
    assert!(insurance.read(&bob(), &posted[0].cid).await.1 == octets);
    assert!(insurance.lines.heard() >= heard + all);
}

#[tokio::test]
async fn t11_what_one_origin_sent_is_not_here_for_another_that_only_knows_its_name() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let clinic = world.mailbox("mailbox.clinic.test", "clinic.test", 3).await;
    clinic.account(&alice(), None).await;
    let broker = world.broker("bar.test", 9);
    let octets = content(3 * MIB, 5);
    let mut heard = 0;
    // From the hospital to Carol, then from the clinic to Bob: each origin shows that it has it.
    for (origin, to) in [(&hospital, carol()), (&clinic, bob())] {
        let posted = [origin.post(&alice(), octets.clone()).await];
        let share = origin
            .share(&alice(), &new_share(&world, std::slice::from_ref(&to), &posted))
            .await;
        let notification = notification(&origin.locator(), &share, &alice(), &to);
        let end = broker.insist(&world, &insurance, &notification).await;
        assert_eq!(end, JobState::Stored);
        assert!(insurance.lines.heard() >= heard + octets.len() as u64);
        heard = insurance.lines.heard();
    }
}

#[tokio::test]
async fn t11_what_an_origin_sent_is_given_to_nobody_with_whom_it_is_not_shared() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let secret = hospital.post(&alice(), content(3 * MIB, 5)).await;
    let share = hospital
        .share(
            &alice(),
            &new_share(&world, &[carol()], std::slice::from_ref(&secret)),
        )
        .await;
    let to_carol = notification(&hospital.locator(), &share, &alice(), &carol());
    let end = broker.insist(&world, &insurance, &to_carol).await;
    assert_eq!(end, JobState::Stored);
    // Another user of the hospital knows its name, shares something of her own with Bob, and names both.
    let bait = hospital.post(&alice(), content(300, 1)).await;
    let mut new = new_share(&world, &[bob()], std::slice::from_ref(&bait));
    new.message_id = "<2@foo.test>".to_owned();
    let share = hospital.share(&alice(), &new).await;
    let mut notification = notification(&hospital.locator(), &share, &alice(), &bob());
    notification.resources.push(shared(&secret));
    let end = broker.insist(&world, &insurance, &notification).await;
    assert!(matches!(end, JobState::Refused { .. }), "{end:?}");
    assert_eq!(insurance.read(&bob(), &secret.cid).await.0, StatusCode::NOT_FOUND);
    assert_eq!(insurance.read(&bob(), &bait.cid).await.0, StatusCode::NOT_FOUND);
}

/// A record `job-place/<id>` as a node leaves it.
#[derive(Serialize)]
struct Came {
    durable: Place,
    verified: Place,
}

#[derive(Serialize)]
struct Place {
    resource: u64,
    leaves: u64,
}

/// Fetches 6 of 12 leaves, then dies: the journal tells of fewer that are durable than the packs hold, and of `verified`
/// ones. How many octets the next try brings.
async fn octets_after_a_death(verified: u64) -> u64 {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let octets = content(12 * MIB, 6);
    let posted = vec![hospital.post(&alice(), octets.clone()).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    insurance.lines.rule([Rule::Stall(6 * MIB as u64 + BESIDES)]);
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    let job = broker.notify(&world, &insurance, &notification).await;
    until("six leaves", async || {
        match broker.state(&insurance, &job).await {
            JobState::Retrieving { bytes, .. } if bytes >= 6 * MIB as u64 => Some(()),
            _ => None,
        }
    })
    .await;
    let record = serde_ipld_dagcbor::to_vec(&Came {
        durable: Place {
            resource: 0,
            leaves: 1,
        },
        verified: Place {
            resource: 0,
            leaves: verified,
        },
    })
    .unwrap();
    let change = vec![Op::Put(format!("job-place/{job}"), record.into())];
    let insurance = world.restart_with(insurance, change).await;
    assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
    assert!(insurance.read(&bob(), &posted[0].cid).await.1 == octets);
    insurance.lines.heard()
}

#[tokio::test]
async fn q04_a_node_that_died_goes_on_from_what_its_disk_holds_and_not_only_from_what_was_durable() {
    let heard = octets_after_a_death(6).await;
    assert!(heard < 6 * MIB as u64 + 2 * BESIDES, "{heard}");
}

#[tokio::test]
async fn t11_a_node_that_died_counts_no_block_that_its_job_did_not_bring() {
    // The others lie in the store as they would if somebody else had posted them.
    let heard = octets_after_a_death(3).await;
    assert!(heard > 9 * MIB as u64, "{heard}");
}

#[tokio::test]
async fn q02_a_reader_that_stops_costs_the_origin_its_own_stream_and_nobody_else_anything() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let stalls = MIB as u64;
    insurance.lines.rule([Rule::Stall(stalls)]);
    let mut jobs = Vec::new();
    for mail in 1..=3 {
        let posted = vec![hospital.post(&alice(), content(8 * MIB, mail)).await];
        let mut new = new_share(&world, &[bob()], &posted);
        new.message_id = format!("<{mail}@foo.test>");
        let share = hospital.share(&alice(), &new).await;
        let notification = notification(&hospital.locator(), &share, &alice(), &bob());
        jobs.push(broker.notify(&world, &insurance, &notification).await);
        if mail == 1 {
            until("the stalled stream", async || {
                (insurance.lines.heard() >= stalls).then_some(())
            })
            .await;
        }
    }
    for job in &jobs[1..] {
        assert_eq!(broker.end(&insurance, job).await, JobState::Stored);
    }
    assert!(!broker.state(&insurance, &jobs[0]).await.is_final());
}
