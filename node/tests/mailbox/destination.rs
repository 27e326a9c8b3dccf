//! What a destination believes of an origin, and what it does when it cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cargomail_node::network::AddressPolicy;
use cargomail_node::peers::{PeerAddress, Peers, Spoken};
use cargomail_protocol::dag::{Codec, Importer, VerifiedBlock};
use cargomail_protocol::exchange::{End, Expect, Frame, Grant};
use cargomail_protocol::ledger::Act;
use cargomail_protocol::limits;
use cargomail_protocol::notification::{JobState, Notification, Reason};
use cargomail_protocol::placeholder::Category;
use cargomail_protocol::queue::Tries;
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use http::StatusCode;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::lines::Rule;
use super::rig::*;

/// An origin that does as it likes: it grants everything and answers every fetch with the same frames.
struct Liar {
    stranger: Stranger,
    fetches: Arc<AtomicUsize>,
}

const NAME: &str = "mailbox.liar.test";

impl Liar {
    async fn new(world: &World, answer: Vec<Frame>) -> Self {
        Self::each(world, vec![answer]).await
    }

    /// Answers the first fetch with the first of these, and so on, and all further ones with the last.
    async fn each(world: &World, mut answers: Vec<Vec<Frame>>) -> Self {
        answers.reverse();
        let stranger = Stranger::new(30).await;
        world.bind(&format!("_grip.{NAME}"), stranger.identity.spki_sha256());
        for PeerAddress(address) in stranger.host.addresses() {
            world.publish(&format!("_dnsaddr.{NAME}"), format!("dnsaddr={address}"));
        }
        let fetches = Arc::new(AtomicUsize::new(0));
        let (host, count) = (stranger.host.clone(), fetches.clone());
        tokio::spawn(async move {
            while let Some(mut stream) = host.accept(Spoken::Exchange).await {
                if let Some(Frame::Fetch(_)) = hear(&mut stream, Expect::Request).await {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                let answer = match answers.len() {
                    0 | 1 => answers.first().cloned(),
                    _ => answers.pop(),
                };
                for frame in answer.unwrap_or_default() {
                    for part in frame.encode() {
                        let _ = stream.io.write_all(&part).await;
                    }
                }
                let _ = stream.io.shutdown().await;
            }
        });
        Self { stranger, fetches }
    }
}

fn resource(octets: &[u8]) -> (SharedResource, Vec<VerifiedBlock>) {
    let mut importer = Importer::new();
    let mut blocks = importer.push(Bytes::copy_from_slice(octets));
    let imported = importer.finish();
    blocks.extend(imported.blocks);
    (SharedResource::new(imported.root, imported.size).unwrap(), blocks)
}

fn notification_of(world: &World, origin: &str, resource: SharedResource) -> Notification {
    Notification {
        origin: locator(origin),
        message_id: "<1@foo.test>".to_owned(),
        sender: alice(),
        recipient: bob(),
        category: Category::parse("general").unwrap(),
        expires: Timestamp::from_seconds(world.now().plus(24 * HOUR).seconds()),
        resources: vec![resource],
    }
}

async fn ends_as_unverifiable(octets: &[u8], answer: impl FnOnce(SharedResource) -> Vec<Frame>) {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let (resource, _) = resource(octets);
    let liar = Liar::new(&world, answer(resource)).await;
    let notification = notification_of(&world, NAME, resource);
    let reason = Reason::Unverifiable;
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Failed { reason });
    // More than once, for lines break, and not forever.
    assert_eq!(liar.fetches.load(Ordering::SeqCst), 4);
    let cid = resource.cid().to_string();
    assert_eq!(insurance.read(&bob(), &cid).await.0, StatusCode::NOT_FOUND);
    assert_eq!(insurance.acts().await, [Act::Notified]);
    drop(liar.stranger);
}

fn granted(resource: &SharedResource, size: u64) -> Frame {
    Frame::Granted(vec![Grant {
        root: *resource.cid(),
        size,
    }])
}

#[tokio::test]
async fn c05_a_block_of_wrong_octets_is_not_stored_and_its_origin_not_believed() {
    ends_as_unverifiable(b"what Alice wrote", |resource| {
        vec![
            granted(&resource, resource.size()),
            Frame::Block(Bytes::from_static(b"what Mallory did").into()),
            Frame::End(End { blocks: 1, bytes: 16 }),
        ]
    })
    .await;
}

#[tokio::test]
async fn c04_a_size_other_than_announced_is_not_believed() {
    ends_as_unverifiable(b"what Alice wrote", |resource| vec![granted(&resource, 17)]).await;
}

#[tokio::test]
async fn an_end_that_counts_what_did_not_come_is_not_believed() {
    let octets = b"what Alice wrote";
    ends_as_unverifiable(octets, |resource| {
        vec![
            granted(&resource, resource.size()),
            Frame::Block(Bytes::from_static(octets).into()),
            Frame::End(End { blocks: 2, bytes: 16 }),
        ]
    })
    .await;
}

#[tokio::test]
async fn t11_a_cid_that_is_here_for_carol_is_not_given_to_bob_by_an_origin_that_only_knows_its_name() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let secret = insurance.post(&carol(), content(3_000_000, 1)).await;
    let octets = b"a bait";
    let (bait, _) = resource(octets);
    let grant = |resource: &SharedResource| Grant {
        root: *resource.cid(),
        size: resource.size(),
    };
    let frames = vec![
        Frame::Granted(vec![grant(&bait), grant(&shared(&secret))]),
        Frame::Block(Bytes::from_static(octets).into()),
        Frame::End(End { blocks: 1, bytes: 6 }),
    ];
    let _liar = Liar::new(&world, frames).await;
    let mut notification = notification_of(&world, NAME, bait);
    notification.resources.push(shared(&secret));
    let reason = Reason::Unverifiable;
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Failed { reason });
    assert_eq!(insurance.read(&bob(), &secret.cid).await.0, StatusCode::NOT_FOUND);
    assert_eq!(insurance.read(&carol(), &secret.cid).await.0, StatusCode::OK);
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    while value >= 0x80 {
        octets.push(value as u8 | 0x80);
        value >>= 7;
    }
    octets.push(value as u8);
    octets
}

fn field(tag: u8, octets: &[u8]) -> Vec<u8> {
    [&[tag], varint(octets.len() as u64).as_slice(), octets].concat()
}

/// A file of dag-pb with such small leaves that a walk through all of it has more blocks than any resource may have.
fn crumbs(leaf: usize, count: usize) -> (VerifiedBlock, Vec<VerifiedBlock>) {
    let leaves: Vec<_> = (0..count)
        .map(|n| VerifiedBlock::hash(Codec::Raw, content(leaf, 1 + 2 * n as u64).into()).unwrap())
        .collect();
    let size = varint(leaf as u64);
    let mut node = Vec::new();
    let mut file = [&[0x08, 2, 0x18], varint((leaf * count) as u64).as_slice()].concat();
    for leaf in &leaves {
        let link = [
            field(0x0a, &leaf.cid().to_bytes()),
            field(0x12, b""),
            [&[0x18], size.as_slice()].concat(),
        ];
        node.extend(field(0x12, &link.concat()));
        file.extend([&[0x20], size.as_slice()].concat());
    }
    node.extend(field(0x0a, &file));
    (VerifiedBlock::hash(Codec::DagPb, node.into()).unwrap(), leaves)
}

#[tokio::test]
async fn c05_tries_that_together_bring_no_resource_end_and_the_collector_goes_on() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let (root, leaves) = crumbs(2048, 1024);
    let resource = SharedResource::new(*root.cid(), 2048 * 1024).unwrap();
    let grant = granted(&resource, resource.size());
    let block = |block: &VerifiedBlock| Frame::Block(block.bytes().clone().into());
    let half = |leaves: &[VerifiedBlock]| {
        let mut frames = vec![grant.clone(), block(&root)];
        frames.extend(leaves.iter().map(block));
        frames
    };
    let (first, second) = leaves.split_at(512);
    let end = |blocks, bytes| Frame::End(End { blocks, bytes });
    let mut rest = half(second);
    rest.push(end(513, root.bytes().len() as u64 + 512 * 2048));
    let permission = vec![Frame::Granted(Vec::new()), end(0, 0)];
    let liar = Liar::each(&world, vec![half(first), rest, permission]).await;
    let notification = notification_of(&world, NAME, resource);
    let reason = Reason::Unverifiable;
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Failed { reason });
    assert!(liar.fetches.load(Ordering::SeqCst) > 2);
    // Nothing refers to it, and nobody's collection fails over it.
    assert_eq!(insurance.collect().await.freed_blocks, 1025);
}

#[tokio::test]
async fn blocks_without_an_end_are_a_break_and_no_success() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let octets = b"what Alice wrote";
    let (resource, _) = resource(octets);
    let frames = vec![
        granted(&resource, resource.size()),
        Frame::Block(Bytes::from_static(octets).into()),
    ];
    let liar = Liar::new(&world, frames).await;
    let notification = notification_of(&world, NAME, resource);
    let job = broker.notify(&world, &insurance, &notification).await;
    until("the second try", async || {
        broker.notify(&world, &insurance, &notification).await;
        (liar.fetches.load(Ordering::SeqCst) >= 2).then_some(())
    })
    .await;
    assert!(!broker.state(&insurance, &job).await.is_final());
    assert_eq!(insurance.acts().await, [Act::Notified]);
}

#[tokio::test]
async fn nothing_is_said_to_a_peer_whose_key_is_not_pinned_for_the_origin() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let (resource, _) = resource(b"what Alice wrote");
    let liar = Liar::new(&world, Vec::new()).await;
    world.zone.remove(&format!("_grip.{NAME}"));
    world.bind(&format!("_grip.{NAME}"), [7; 32]);
    let notification = notification_of(&world, NAME, resource);
    let reason = Reason::OriginUnreachable;
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Failed { reason });
    assert_eq!(liar.fetches.load(Ordering::SeqCst), 0);
}

/// What is looked at of a job's record.
#[derive(Deserialize)]
struct Tried {
    tries: Tries,
}

/// Its operator changes the key, and publishes it later. Until then its name leads to somebody else.
#[tokio::test]
async fn an_origin_whose_key_is_published_late_is_asked_until_it_is() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let name = "_grip.mailbox.hospital.test";
    world.zone.remove(name);
    world.bind(name, [7; 32]);
    let posted = vec![hospital.post(&alice(), content(100, 1)).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    for tries in 1..=8 {
        let job = broker.notify(&world, &insurance, &notification).await;
        until("another try", async || {
            let record = insurance
                .store
                .records()
                .get(&[format!("job/{job}")])
                .await
                .unwrap();
            let job: Tried = serde_ipld_dagcbor::from_slice(&record[0].as_ref()?.value).unwrap();
            (job.tries.failed >= tries).then_some(())
        })
        .await;
        assert!(!broker.state(&insurance, &job).await.is_final());
    }
    assert_eq!(hospital.count(Act::Granted).await, 0);
    world.zone.remove(name);
    world.bind(name, hospital.identity.spki_sha256());
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Stored);
}

#[tokio::test]
async fn d04_an_origin_that_leads_to_this_machine_is_not_dialled() {
    let world = World::new().await;
    let mut insurance = world.insurance().await;
    let broker = world.broker("bar.test", 9);
    insurance.lines.policy = AddressPolicy::public();
    let insurance = world.restart(insurance).await;
    let (resource, _) = resource(b"what Alice wrote");
    let liar = Liar::new(&world, Vec::new()).await;
    let notification = notification_of(&world, NAME, resource);
    let reason = Reason::OriginUnreachable;
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Failed { reason });
    assert_eq!(liar.fetches.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_does_not_come_before_the_share_ends_is_expired_and_the_ledger_tells_it() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let (resource, _) = resource(b"what Alice wrote");
    let liar = Liar::new(&world, Vec::new()).await;
    let notification = notification_of(&world, NAME, resource);
    let job = broker.notify(&world, &insurance, &notification).await;
    until("a try", async || {
        (liar.fetches.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    world.clock.by(24 * HOUR);
    let insurance = world.restart(insurance).await;
    until("the next try", async || {
        world.clock.by(HOUR);
        broker.state(&insurance, &job).await.is_final().then_some(())
    })
    .await;
    assert_eq!(broker.state(&insurance, &job).await, JobState::Expired);
    assert_eq!(insurance.acts().await, [Act::Notified, Act::Expired]);
}

#[tokio::test]
async fn q09_a_share_without_an_end_keeps_a_retrieval_open_for_a_month_at_most() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let (resource, _) = resource(b"what Alice wrote");
    let _liar = Liar::new(&world, Vec::new()).await;
    let mut notification = notification_of(&world, NAME, resource);
    notification.expires = Timestamp::parse_rfc3339("9999-12-31T23:59:59Z").unwrap();
    let job = broker.notify(&world, &insurance, &notification).await;
    world.clock.by(limits::RETRIEVAL_LIFE - HOUR);
    let insurance = world.restart(insurance).await;
    assert!(!broker.state(&insurance, &job).await.is_final());
    world.clock.by(2 * HOUR);
    let insurance = world.restart(insurance).await;
    assert_eq!(broker.end(&insurance, &job).await, JobState::Expired);
}

#[tokio::test]
async fn an_expired_token_1_waits_for_a_fresh_one_and_does_not_fail() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let posted = vec![hospital.post(&alice(), content(100, 1)).await];
    let mut new = new_share(&world, &[bob()], &posted);
    new.expires = world.now().plus(Duration::from_secs(30 * 24 * 3600));
    let share = hospital.share(&alice(), &new).await;
    insurance.lines.rule([Rule::Closed; 2]);
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    let job = broker.notify(&world, &insurance, &notification).await;
    // A week and a day later the token is over, the share is not.
    world.clock.by(8 * 24 * HOUR);
    let insurance = world.restart(insurance).await;
    assert_eq!(broker.state(&insurance, &job).await, JobState::Queued);
    assert_eq!(broker.notify(&world, &insurance, &notification).await, job);
    assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
    assert_eq!(insurance.read(&bob(), &posted[0].cid).await.0, StatusCode::OK);
}
