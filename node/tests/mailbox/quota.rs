//! What of a quota is kept free for what is on its way (row Q09): enough that it comes, and nothing for a promise that is not kept.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use cargomail_node::api::{Posted, Retrieval, UsageView};
use cargomail_node::peers::{PeerAddress, PeerStream, Peers, Spoken};
use cargomail_protocol::grip::Digest;
use cargomail_protocol::ledger::Act;
use cargomail_protocol::notification::{JobState, Notification, Reason};
use cargomail_protocol::placeholder::Category;
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use http::{Request, StatusCode};
use tokio::task::JoinHandle;

use super::lines::Rule;
use super::rig::*;

const MIB: usize = 1024 * 1024;

/// Of a resource of so many octets that the origin has not got.
fn promise(world: &World, origin: &str, size: u64) -> Notification {
    let cid = Digest::of(&size.to_le_bytes()).cid();
    Notification {
        origin: locator(origin),
        message_id: format!("<{size}@foo.test>"),
        sender: alice(),
        recipient: bob(),
        category: Category::parse("general").unwrap(),
        expires: Timestamp::from_seconds(world.now().plus(24 * HOUR).seconds()),
        resources: vec![SharedResource::new(cid, size).unwrap()],
    }
}

async fn told(world: &World, broker: &Broker, to: &Node, notification: &Notification) -> StatusCode {
    let token = broker.token(world, &to.locator(), notification);
    let body = notification.to_bytes().unwrap();
    broker.send(to, &token, body).await.status()
}

async fn post(at: &Node, size: usize) -> StatusCode {
    let request = Request::post("/api/v1/resources").body(content(size, 1).into());
    at.ask(&bob(), request.unwrap()).await.status()
}

async fn usage(at: &Node) -> UsageView {
    at.look(&bob(), "/api/v1/usage").await
}

/// What Bob's agent is told of a share of Alice's.
async fn shared_with_bob(world: &World, hospital: &Node, posted: &[Posted]) -> Notification {
    let share = hospital
        .share(&alice(), &new_share(world, &[bob()], posted))
        .await;
    notification(&hospital.locator(), &share, &alice(), &bob())
}

/// Waits until so much is kept free.
async fn kept_free(at: &Node, octets: u64) {
    until("room", async || (usage(at).await.claimed == octets).then_some(())).await;
}

/// An origin that takes every stream, and says nothing.
struct Silent {
    stranger: Stranger,
    streams: Arc<Mutex<Vec<PeerStream>>>,
    accepting: JoinHandle<()>,
}

const SILENT: &str = "mailbox.silent.test";

impl Silent {
    async fn new(world: &World) -> Self {
        let stranger = Stranger::new(31).await;
        world.bind(&format!("_grip.{SILENT}"), stranger.identity.spki_sha256());
        for PeerAddress(address) in stranger.host.addresses() {
            world.publish(&format!("_dnsaddr.{SILENT}"), format!("dnsaddr={address}"));
        }
        let streams = Arc::<Mutex<Vec<_>>>::default();
        let (host, kept) = (stranger.host.clone(), streams.clone());
        let accepting = tokio::spawn(async move {
            while let Some(stream) = host.accept(Spoken::Exchange).await {
                kept.lock().unwrap().push(stream);
            }
        });
        Self {
            stranger,
            streams,
            accepting,
        }
    }

    /// And nobody is there any more.
    fn hang_up(self) {
        self.accepting.abort();
        self.streams.lock().unwrap().clear();
        drop(self.stranger);
    }
}

#[tokio::test]
async fn q09_what_passes_the_quota_is_refused_before_anything_is_fetched() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    insurance.account(&bob(), Some(1000)).await;
    let (silent, large) = (Silent::new(&world).await, promise(&world, SILENT, 600));
    let ask = async |size| {
        let notification = promise(&world, "mailbox.nowhere.test", size);
        told(&world, &broker, &insurance, &notification).await
    };
    assert_eq!(ask(1001).await, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(
        told(&world, &broker, &insurance, &large).await,
        StatusCode::ACCEPTED
    );
    // What is on its way counts as if it were here, but may never come: nobody is refused for good because of it.
    kept_free(&insurance, 600).await;
    assert_eq!(ask(401).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(post(&insurance, 401).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(post(&insurance, 399).await, StatusCode::CREATED);
    assert_eq!(ask(602).await, StatusCode::INSUFFICIENT_STORAGE);
    // The same one again is no other one.
    assert_eq!(
        told(&world, &broker, &insurance, &large).await,
        StatusCode::ACCEPTED
    );
    assert_eq!(insurance.count(Act::Notified).await, 1);
    // What comes to nothing is free again.
    silent.hang_up();
    until("room", async || {
        (ask(601).await == StatusCode::ACCEPTED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn q09_a_user_ends_what_a_stranger_keeps_open() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    insurance.account(&bob(), Some(1000)).await;
    let _silent = Silent::new(&world).await;
    let job = broker
        .notify(&world, &insurance, &promise(&world, SILENT, 600))
        .await;
    kept_free(&insurance, 600).await;
    let end = async |caller, job: &str| {
        let request = Request::delete(format!("/api/v1/retrievals/{job}")).body(Body::empty());
        let response = insurance.ask(&caller, request.unwrap()).await;
        let status = response.status();
        let shown = serde_json::from_slice::<Retrieval>(&octets(response).await);
        (status, shown.ok().map(|retrieval| retrieval.progress))
    };
    let missing = (StatusCode::NOT_FOUND, None);
    assert_eq!(end(carol(), &job).await, missing);
    assert_eq!(end(bob(), "0123456789abcdef0123456789abcdef").await, missing);
    assert_eq!(usage(&insurance).await.retrievals, 1);
    let ended = JobState::Expired;
    for _ in 0..2 {
        assert_eq!(end(bob(), &job).await, (StatusCode::OK, Some(ended)));
    }
    // Its origin serves it still, and nobody hears.
    kept_free(&insurance, 0).await;
    assert_eq!(usage(&insurance).await.retrievals, 0);
    assert_eq!(broker.state(&insurance, &job).await, ended);
    // One that waits for its next try.
    let waits = promise(&world, "mailbox.nowhere.test", 700);
    let job = broker.notify(&world, &insurance, &waits).await;
    assert_eq!(end(bob(), &job).await, (StatusCode::OK, Some(ended)));
    // What has come has come, and its origin hears of it.
    let posted = vec![hospital.post(&alice(), content(700, 5)).await];
    let notification = shared_with_bob(&world, &hospital, &posted).await;
    let job = broker.notify(&world, &insurance, &notification).await;
    assert_eq!(broker.end(&insurance, &job).await, JobState::Stored);
    assert_eq!(end(bob(), &job).await, (StatusCode::OK, Some(JobState::Stored)));
    until("the receipt", async || {
        (hospital.count(Act::Receipt).await == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn q09_a_promise_that_is_not_kept_keeps_nothing_free() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    insurance.account(&bob(), Some(1000)).await;
    let posted = vec![hospital.post(&alice(), content(700, 5)).await];
    let notification = shared_with_bob(&world, &hospital, &posted).await;
    // Nobody is there for the first tries.
    insurance.lines.rule([Rule::Closed; 3]);
    let job = broker.notify(&world, &insurance, &notification).await;
    let waiting = usage(&insurance).await;
    assert_eq!((waiting.held, waiting.claimed, waiting.retrievals), (0, 0, 1));
    assert_eq!(post(&insurance, 400).await, StatusCode::CREATED);
    // It comes when it is too late: then it is as if it were announced now.
    assert_eq!(
        broker.insist(&world, &insurance, &notification).await,
        JobState::Refused {
            reason: Reason::OverQuota
        }
    );
    assert!(broker.state(&insurance, &job).await.is_final());
    let after = usage(&insurance).await;
    assert_eq!((after.held, after.claimed, after.retrievals), (400, 0, 0));
    let read = insurance.read(&bob(), &posted[0].cid).await.0;
    assert_eq!(read, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn q09_of_what_broke_off_that_which_came_is_kept_free_and_the_rest_when_it_goes_on() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let (all, quota) = (9 * MIB as u64, 10 * MIB as u64);
    insurance.account(&bob(), Some(quota)).await;
    let octets = content(9 * MIB, 5);
    let posted = vec![hospital.post(&alice(), octets.clone()).await];
    let notification = shared_with_bob(&world, &hospital, &posted).await;
    // Nobody is there for the next two tries.
    let cut = Rule::Cut(3 * MIB as u64 + 500);
    insurance.lines.rule([cut, Rule::Closed, Rule::Closed]);
    broker.notify(&world, &insurance, &notification).await;
    let claimed = until("a break", async || {
        Some(usage(&insurance).await.claimed).filter(|claimed| *claimed > 0 && *claimed < all)
    })
    .await;
    // Whole leaves of one MiB each.
    assert!(
        [1, 2, 3].map(|leaves| leaves * MIB as u64).contains(&claimed),
        "{claimed}"
    );
    let other = promise(&world, "mailbox.nowhere.test", quota - claimed + 1);
    assert_eq!(
        told(&world, &broker, &insurance, &other).await,
        StatusCode::TOO_MANY_REQUESTS
    );
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Stored);
    assert!(insurance.read(&bob(), &posted[0].cid).await.1 == octets);
    let after = usage(&insurance).await;
    assert_eq!((after.held, after.claimed), (all, 0));
}

#[tokio::test]
async fn q09_what_finds_no_room_beside_what_is_coming_waits_for_it() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    insurance.account(&bob(), Some(1000)).await;
    let posted = vec![hospital.post(&alice(), content(700, 5)).await];
    let notification = shared_with_bob(&world, &hospital, &posted).await;
    let (silent, theirs) = (Silent::new(&world).await, promise(&world, SILENT, 301));
    // Both are taken before either is begun.
    insurance.lines.rule([Rule::Closed]);
    let job = broker.notify(&world, &insurance, &notification).await;
    let answer = told(&world, &broker, &insurance, &theirs).await;
    assert_eq!(answer, StatusCode::ACCEPTED);
    kept_free(&insurance, 301).await;
    broker.notify(&world, &insurance, &notification).await;
    assert!(!broker.state(&insurance, &job).await.is_final());
    silent.hang_up();
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Stored);
    let after = usage(&insurance).await;
    assert_eq!((after.held, after.claimed), (700, 0));
}

#[tokio::test]
async fn a_body_without_an_end_is_not_taken_while_others_are_on_their_way() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    insurance.account(&bob(), Some(1000)).await;
    let _silent = Silent::new(&world).await;
    let large = promise(&world, SILENT, 600);
    assert_eq!(
        told(&world, &broker, &insurance, &large).await,
        StatusCode::ACCEPTED
    );
    kept_free(&insurance, 600).await;
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![7; 300])));
    let request = Request::post("/api/v1/resources").body(Body::from_stream(endless));
    let response = insurance.ask(&bob(), request.unwrap()).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn q09_of_two_that_wait_for_each_others_room_one_comes_through() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    insurance.account(&bob(), Some(10 * MIB as u64)).await;
    let mut notifications = Vec::new();
    for (seed, size) in [(5, 8), (7, 6)] {
        let posted = vec![hospital.post(&alice(), content(size * MIB, seed)).await];
        let mut new = new_share(&world, &[bob()], &posted);
        new.message_id = format!("<{seed}@foo.test>");
        let share = hospital.share(&alice(), &new).await;
        notifications.push(notification(&hospital.locator(), &share, &alice(), &bob()));
    }
    // Of each comes a part, and with that neither has room for all of itself.
    for (notification, octets) in notifications.iter().zip([4 * MIB, 3 * MIB]) {
        let before = usage(&insurance).await.claimed;
        insurance.lines.rule([Rule::Cut(octets as u64 + 500)]);
        broker.notify(&world, &insurance, notification).await;
        until("a break", async || {
            let came = usage(&insurance).await.claimed - before;
            (came > MIB as u64 && came <= octets as u64).then_some(())
        })
        .await;
    }
    let ends = [&notifications[0], &notifications[1]].map(|one| broker.insist(&world, &insurance, one));
    let ends = futures::future::join_all(ends).await;
    let refused = JobState::Refused {
        reason: Reason::OverQuota,
    };
    let [stored, refused] =
        [JobState::Stored, refused].map(|state| ends.iter().filter(|end| **end == state).count());
    assert_eq!((stored, refused), (1, 1), "{ends:?}");
    let after = usage(&insurance).await;
    assert_eq!((after.claimed, after.retrievals), (0, 0));
    assert!([6, 8].contains(&(after.held / MIB as u64)));
}

#[tokio::test]
async fn q09_what_is_held_is_not_counted_again_when_a_part_of_the_rest_has_come() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let mut posted = Vec::new();
    for (seed, size) in [(5, 3), (7, 4)] {
        posted.push(hospital.post(&alice(), content(size * MIB, seed)).await);
    }
    insurance.post(&bob(), content(3 * MIB, 5)).await;
    let notification = shared_with_bob(&world, &hospital, &posted).await;
    let cut = Rule::Cut(2 * MIB as u64 + 500);
    insurance.lines.rule([cut, Rule::Closed, Rule::Closed]);
    broker.notify(&world, &insurance, &notification).await;
    until("a break", async || {
        let claimed = usage(&insurance).await.claimed;
        (claimed > 0 && claimed <= 2 * MIB as u64).then_some(())
    })
    .await;
    let end = broker.insist(&world, &insurance, &notification).await;
    assert_eq!(end, JobState::Stored);
    // What is coming is given back a moment after that is known.
    kept_free(&insurance, 0).await;
    assert_eq!(usage(&insurance).await.held, 7 * MIB as u64);
}
