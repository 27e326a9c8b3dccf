//! What of a quota is kept free for what is on its way (row Q09): enough that it comes, and nothing for a promise that is not kept.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use cargomail_node::api::UsageView;
use cargomail_node::peers::{PeerAddress, PeerStream, Peers, Spoken};
use cargomail_protocol::grip::Digest;
use cargomail_protocol::ledger::Act;
use cargomail_protocol::notification::{JobState, Notification, Reason};
use cargomail_protocol::placeholder::Category;
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use http::{Request, StatusCode};

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

/// An origin that takes every stream, and says nothing.
struct Silent {
    stranger: Stranger,
    streams: Arc<Mutex<Vec<PeerStream>>>,
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
        tokio::spawn(async move {
            while let Some(stream) = host.accept(Spoken::Exchange).await {
                kept.lock().unwrap().push(stream);
            }
        });
        Self { stranger, streams }
    }

    async fn is_asked(&self) {
        until("a stream", async || {
            (!self.streams.lock().unwrap().is_empty()).then_some(())
        })
        .await;
    }

    fn hang_up(self) {
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
    silent.is_asked().await;
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
async fn q09_a_promise_that_is_not_kept_keeps_nothing_free() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    insurance.account(&bob(), Some(1000)).await;
    let posted = vec![hospital.post(&alice(), content(700, 5)).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    insurance.lines.rule([Rule::Closed; 2]);
    let job = broker.notify(&world, &insurance, &notification).await;
    until("that nothing is kept free", async || {
        (usage(&insurance).await.claimed == 0).then_some(())
    })
    .await;
    let waiting = usage(&insurance).await;
    assert_eq!((waiting.held, waiting.retrievals), (0, 1));
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
    let (all, quota) = (9 * MIB as u64, 9 * MIB as u64 + 1000);
    insurance.account(&bob(), Some(quota)).await;
    let octets = content(9 * MIB, 5);
    let posted = vec![hospital.post(&alice(), octets.clone()).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    insurance.lines.rule([Rule::Cut(3 * MIB as u64 + 500)]);
    broker.notify(&world, &insurance, &notification).await;
    let claimed = until("a break", async || {
        Some(usage(&insurance).await.claimed).filter(|claimed| *claimed < all)
    })
    .await;
    // Whole leaves of one MiB: the last one had not come whole.
    assert_eq!(claimed, 2 * MIB as u64);
    let other = promise(&world, "mailbox.nowhere.test", quota - claimed + 1);
    assert_eq!(
        told(&world, &broker, &insurance, &other).await,
        StatusCode::TOO_MANY_REQUESTS
    );
    // Somebody else's is under way when it would go on: both do not fit, so it waits, and comes when that one has ended.
    let (silent, theirs) = (Silent::new(&world).await, promise(&world, SILENT, 1001));
    assert_eq!(
        told(&world, &broker, &insurance, &theirs).await,
        StatusCode::ACCEPTED
    );
    silent.is_asked().await;
    let job = broker.notify(&world, &insurance, &notification).await;
    assert!(!broker.state(&insurance, &job).await.is_final());
    silent.hang_up();
    assert_eq!(
        broker.insist(&world, &insurance, &notification).await,
        JobState::Stored
    );
    assert!(insurance.read(&bob(), &posted[0].cid).await.1 == octets);
    let after = usage(&insurance).await;
    assert_eq!((after.held, after.claimed), (all, 0));
}

#[tokio::test]
async fn a_body_without_an_end_is_not_taken_while_others_are_on_their_way() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    insurance.account(&bob(), Some(1000)).await;
    let silent = Silent::new(&world).await;
    let large = promise(&world, SILENT, 600);
    assert_eq!(
        told(&world, &broker, &insurance, &large).await,
        StatusCode::ACCEPTED
    );
    silent.is_asked().await;
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![7; 300])));
    let request = Request::post("/api/v1/resources").body(Body::from_stream(endless));
    let response = insurance.ask(&bob(), request.unwrap()).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
}
