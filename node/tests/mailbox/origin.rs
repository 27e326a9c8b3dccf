//! What an origin gives to whom, and what it says to everybody else.

use std::time::{Duration, Instant};

use cargomail_node::api::{Posted, ShareView};
use cargomail_protocol::exchange::{Expect, Fetch, Frame, Refused, Want};
use cargomail_protocol::grip::{Digest, NodeKey};
use cargomail_protocol::ledger::Act;
use cargomail_protocol::limits;
use cargomail_protocol::notification::{self as wire, JobState, Notification};
use cargomail_protocol::receipt;
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;

use super::rig::*;

/// Trying again is no use.
const NEVER: Option<Frame> = Some(Frame::Refused(Refused { retry_after: None }));

/// hospital.test with a resource of Alice's that she shared with Bob, and Bob's agent.
struct Scene {
    world: World,
    hospital: Node,
    broker: Broker,
    agent: Stranger,
    posted: Posted,
    share: ShareView,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let hospital = world.hospital().await;
        let broker = world.broker("bar.test", 9);
        let agent = Stranger::new(2).await;
        world.bind("_rra.insurance.test", agent.identity.spki_sha256());
        let posted = hospital.post(&alice(), content(100, 1)).await;
        let new = new_share(&world, &[bob()], std::slice::from_ref(&posted));
        let share = hospital.share(&alice(), &new).await;
        Self {
            world,
            hospital,
            broker,
            agent,
            posted,
            share,
        }
    }

    fn notification(&self) -> Notification {
        notification(&self.hospital.locator(), &self.share, &alice(), &bob())
    }

    /// Token 1, given to the agent of insurance.test.
    fn notify(&self, notification: &Notification) -> String {
        self.broker
            .token(&self.world, &locator("mailbox.insurance.test"), notification)
    }

    /// A fetch of everything in the notification, by the agent of a service.
    fn fetch(&self, key: &NodeKey, service: &str, notification: &Notification, notify: &str) -> Fetch {
        let octets = notification.to_bytes().unwrap();
        let token = wire::fetch_token(
            key,
            &cargomail_protocol::address::Domain::parse(service).unwrap(),
            &self.hospital.locator(),
            Digest::of(&octets),
            notify,
            self.world.stamp(),
        );
        let want = |resource: &SharedResource| Want {
            root: *resource.cid(),
            skip: 0,
        };
        Fetch {
            token: token.unwrap(),
            notification: octets,
            wants: notification.resources.iter().map(want).collect(),
        }
    }

    fn own(&self, notification: &Notification) -> Fetch {
        let notify = self.notify(notification);
        self.fetch(&self.agent.key(), "insurance.test", notification, &notify)
    }

    async fn ask(&self, fetch: Fetch) -> Option<Frame> {
        self.agent
            .say(&self.hospital, Frame::Fetch(fetch), Expect::Answer)
            .await
    }

    async fn is_granted(&self, fetch: Fetch) -> bool {
        matches!(self.ask(fetch).await, Some(Frame::Granted(_)))
    }

    fn receipt(&self, key: &NodeKey, service: &str, notification: &Notification) -> Frame {
        let token = receipt::token(
            key,
            &cargomail_protocol::address::Domain::parse(service).unwrap(),
            &self.hospital.locator(),
            Digest::of(&notification.to_bytes().unwrap()),
            &self.notify(notification),
            self.world.stamp(),
        );
        Frame::Receipt(token.unwrap())
    }
}

#[tokio::test]
async fn c07_expired_revoked_foreign_absent_and_other_things_look_the_same() {
    let scene = Scene::new().await;
    let (world, hospital) = (&scene.world, &scene.hospital);
    let posted = std::slice::from_ref(&scene.posted);
    let good = scene.notification();
    assert!(scene.is_granted(scene.own(&good)).await);
    let mut permission = scene.own(&good);
    permission.wants.clear();
    assert_eq!(scene.ask(permission).await, Some(Frame::Granted(Vec::new())));
    let mut looks = Vec::new();
    let mut look = async |name: &'static str, fetch: Fetch| {
        let began = Instant::now();
        let answer = scene.ask(fetch).await;
        looks.push((name, answer, began.elapsed()));
    };
    // Not shared with Carol.
    let foreign = notification(&hospital.locator(), &scene.share, &alice(), &carol());
    look("foreign", scene.own(&foreign)).await;
    // Shared by nobody of that name.
    let unsent = notification(&hospital.locator(), &scene.share, &carol(), &bob());
    look("another sender", scene.own(&unsent)).await;
    // Not here at all.
    let mut absent = good.clone();
    absent.resources = vec![SharedResource::new(Digest::of(b"never posted").cid(), 100).unwrap()];
    look("absent", scene.own(&absent)).await;
    // Here, but not shared.
    let other = hospital.post(&alice(), content(100, 2)).await;
    let mut unshared = good.clone();
    unshared.resources = vec![shared(&other)];
    look("unshared", scene.own(&unshared)).await;
    // With another size than it has.
    let mut larger = good.clone();
    larger.resources = vec![SharedResource::new(*shared(&scene.posted).cid(), 101).unwrap()];
    look("another size", scene.own(&larger)).await;
    // Of another origin.
    let mut elsewhere = good.clone();
    elsewhere.origin = locator("mailbox.clinic.test");
    look("another origin", scene.own(&elsewhere)).await;
    // Wanted, but not notified of.
    let mut unnamed = scene.own(&good);
    unnamed.wants.push(Want {
        root: *shared(&other).cid(),
        skip: 0,
    });
    look("unnamed", unnamed).await;
    // Of several only one is shared, and nothing is wanted but the permission for all.
    let mut mixed = good.clone();
    mixed.resources.push(shared(&other));
    let mut bare = scene.own(&mixed);
    bare.wants.clear();
    look("without wants", bare).await;
    // The same where only that one is wanted: what is not may be there already, from an earlier fetch.
    let mut part = scene.own(&mixed);
    part.wants.truncate(1);
    look("another resource", part).await;
    // Revoked.
    assert!(hospital.revoke(&alice(), &scene.share).await.is_success());
    look("revoked", scene.own(&good)).await;
    // Expired.
    let mut short = new_share(world, &[carol()], posted);
    short.expires = world.now().plus(HOUR);
    let share = hospital.share(&alice(), &short).await;
    let mut brief = notification(&hospital.locator(), &share, &alice(), &carol());
    brief.expires = Timestamp::from_seconds(world.now().plus(24 * HOUR).seconds());
    assert!(scene.is_granted(scene.own(&brief)).await);
    world.clock.by(2 * HOUR);
    look("expired", scene.own(&brief)).await;
    assert_eq!(looks.len(), 11);
    for (name, answer, took) in looks {
        assert_eq!(answer, NEVER, "{name}");
        assert!(took >= Duration::from_millis(100), "{name}: {took:?}");
    }
    assert_eq!(hospital.count(Act::Granted).await, 3);
}

#[tokio::test]
async fn t05_a_fetch_token_of_one_key_over_the_channel_of_another_is_refused() {
    let scene = Scene::new().await;
    let good = scene.notification();
    // Another machine of the same agent, also bound.
    let second = Stranger::new(21).await;
    scene
        .world
        .bind("_rra.insurance.test", second.identity.spki_sha256());
    let fetch = scene.own(&good);
    let answer = second
        .say(&scene.hospital, Frame::Fetch(fetch.clone()), Expect::Answer)
        .await;
    assert_eq!(answer, NEVER);
    assert!(scene.is_granted(fetch).await);
}

#[tokio::test]
async fn t07_a_fetch_token_serves_once_also_after_a_restart() {
    let mut scene = Scene::new().await;
    let fetch = scene.own(&scene.notification());
    assert!(scene.is_granted(fetch.clone()).await);
    assert_eq!(scene.ask(fetch.clone()).await, NEVER);
    scene.hospital = scene.world.restart(scene.hospital).await;
    assert_eq!(scene.ask(fetch).await, NEVER);
    assert!(scene.is_granted(scene.own(&scene.notification())).await);
}

#[tokio::test]
async fn t10_token_1_serves_nobody_but_the_agent_it_was_given_to() {
    let scene = Scene::new().await;
    let good = scene.notification();
    let notify = scene.notify(&good);
    let mallory = Stranger::new(22).await;
    for service in ["evil.test", "surance.test", "insurance.test.evil.test"] {
        let name = format!("_rra.{service}");
        scene.world.bind(&name, mallory.identity.spki_sha256());
        let stolen = scene.fetch(&mallory.key(), service, &good, &notify);
        let answer = mallory
            .say(&scene.hospital, Frame::Fetch(stolen), Expect::Answer)
            .await;
        assert_eq!(answer, NEVER, "{service}");
    }
    // Nor another notification than the one that it speaks of.
    let mut changed = good.clone();
    changed.message_id = "<2@foo.test>".to_owned();
    let spliced = scene.fetch(&scene.agent.key(), "insurance.test", &changed, &notify);
    assert_eq!(scene.ask(spliced).await, NEVER);
    // Nor octets that are exchanged behind the token.
    let mut exchanged = scene.own(&good);
    exchanged.notification = changed.to_bytes().unwrap();
    assert_eq!(scene.ask(exchanged).await, NEVER);
    assert_eq!(scene.hospital.count(Act::Granted).await, 0);
}

#[tokio::test]
async fn t10_a_fetch_token_for_another_origin_is_refused() {
    let scene = Scene::new().await;
    let good = scene.notification();
    let octets = good.to_bytes().unwrap();
    let elsewhere = wire::fetch_token(
        &scene.agent.key(),
        &cargomail_protocol::address::Domain::parse("insurance.test").unwrap(),
        &locator("mailbox.clinic.test"),
        Digest::of(&octets),
        &scene.notify(&good),
        scene.world.stamp(),
    );
    let fetch = Fetch {
        token: elsewhere.unwrap(),
        ..scene.own(&good)
    };
    assert_eq!(scene.ask(fetch).await, NEVER);
}

#[tokio::test]
async fn t11_an_agent_does_not_get_what_was_shared_with_somebody_else_of_its_own() {
    let scene = Scene::new().await;
    // carol@bar.test's token 1, with Bob's notification in the fetch, and the other way round.
    let (to_bob, mut to_carol) = (scene.notification(), scene.notification());
    to_carol.recipient = carol();
    assert_eq!(scene.ask(scene.own(&to_carol)).await, NEVER);
    let octets = to_bob.to_bytes().unwrap();
    let notify = wire::token(
        &scene.broker.key,
        &carol(),
        &locator("mailbox.insurance.test"),
        Digest::of(&octets),
        to_bob.expires,
        scene.world.stamp(),
    );
    let fetch = scene.fetch(&scene.agent.key(), "insurance.test", &to_bob, &notify.unwrap());
    assert_eq!(scene.ask(fetch).await, NEVER);
}

#[tokio::test]
async fn a_dns_that_does_not_answer_is_no_reason_to_give_up() {
    let scene = Scene::new().await;
    let fetch = scene.own(&scene.notification());
    scene.world.zone.remove("_cb.bar.test");
    scene.world.zone.add(
        "_cb.bar.test",
        cargomail_node::dns::Record::Alias("_cb.bar.test".to_owned()),
    );
    let answer = scene.ask(fetch).await;
    assert!(
        matches!(
            answer,
            Some(Frame::Refused(Refused {
                retry_after: Some(1..)
            }))
        ),
        "{answer:?}"
    );
}

/// A key that is bound and not heard of yet, and a clock that is wrong, of the agent and of the broker. The tokens of nobody else are worth trying
/// again.
#[tokio::test]
async fn t13_who_is_not_believed_now_is_told_to_come_back() {
    let scene = Scene::new().await;
    let good = scene.notification();
    let later = Some(Frame::Refused(Refused {
        retry_after: Some(30),
    }));
    for (name, key) in [
        ("_rra.insurance.test", scene.agent.key().hash()),
        ("_cb.bar.test", scene.broker.key.hash()),
    ] {
        scene.world.zone.remove(name);
        scene.world.bind(name, [7; 32]);
        assert_eq!(scene.ask(scene.own(&good)).await, later, "{name}");
        scene.world.zone.remove(name);
        scene.world.publish(name, format!("v=grip1; h=sha256; p={key}"));
    }
    let (old, notify) = (scene.own(&good), scene.notify(&good));
    scene.world.clock.by(HOUR);
    assert_eq!(scene.ask(old).await, later);
    let renewed = scene.fetch(&scene.agent.key(), "insurance.test", &good, &notify);
    assert!(scene.is_granted(renewed).await);
    let mut other = scene.own(&good);
    other.token = scene.own(&scene.notification()).token.replace('.', "..");
    assert_eq!(scene.ask(other).await, NEVER);
}

#[tokio::test]
async fn a_fetch_is_granted_by_the_share_of_its_own_message_and_otherwise_by_any_that_names_what_it_wants() {
    let scene = Scene::new().await;
    let posted = std::slice::from_ref(&scene.posted);
    let mut new = new_share(&scene.world, &[bob()], posted);
    for message_id in ["<2@foo.test>", "<3@foo.test>"] {
        new.message_id = message_id.to_owned();
        // Of the third message, Bob has no share: Carol has.
        new.recipients = if message_id == "<3@foo.test>" {
            vec![carol()]
        } else {
            vec![bob()]
        };
        scene.hospital.share(&alice(), &new).await;
    }
    let received = async |message_id: &str| {
        let shares = scene.hospital.shares(&alice()).await;
        let share = shares.into_iter().find(|share| share.message_id == message_id);
        share.unwrap().received_by
    };
    let mut fetched = scene.notification();
    for message_id in ["<1@foo.test>", "<3@foo.test>"] {
        fetched.message_id = message_id.to_owned();
        assert!(scene.is_granted(scene.own(&fetched)).await, "{message_id}");
        let receipt = scene.receipt(&scene.agent.key(), "insurance.test", &fetched);
        let noted = scene.agent.say(&scene.hospital, receipt, Expect::Noted).await;
        assert_eq!(noted, Some(Frame::Noted), "{message_id}");
        assert_eq!(received("<1@foo.test>").await, [bob()]);
        assert!(received("<3@foo.test>").await.is_empty());
        let by_the_newest = message_id == "<3@foo.test>";
        assert_eq!(received("<2@foo.test>").await.is_empty(), !by_the_newest);
    }
}

#[tokio::test]
async fn a_receipt_is_taken_once_and_only_from_the_agent_that_was_granted() {
    let scene = Scene::new().await;
    let good = scene.notification();
    let own = scene.receipt(&scene.agent.key(), "insurance.test", &good);
    let say = async |frame: Frame| scene.agent.say(&scene.hospital, frame, Expect::Noted).await;
    // Nothing was granted yet.
    assert_eq!(say(own.clone()).await, NEVER);
    assert!(scene.is_granted(scene.own(&good)).await);
    let mallory = Stranger::new(22).await;
    scene.world.bind("_rra.evil.test", mallory.identity.spki_sha256());
    for (key, service) in [
        (mallory.key(), "evil.test"),
        (scene.agent.key(), "insurance.test"),
    ] {
        let frame = scene.receipt(&key, service, &good);
        let answer = mallory.say(&scene.hospital, frame, Expect::Noted).await;
        assert_eq!(answer, NEVER, "{service}");
    }
    let mut changed = good.clone();
    changed.message_id = "<2@foo.test>".to_owned();
    let other = scene.receipt(&scene.agent.key(), "insurance.test", &changed);
    assert_eq!(say(other).await, NEVER);
    assert_eq!(say(Frame::Receipt("a.b.c".to_owned())).await, NEVER);
    assert!(scene.hospital.shares(&alice()).await[0].received_by.is_empty());
    assert_eq!(say(own.clone()).await, Some(Frame::Noted));
    assert_eq!(say(own).await, Some(Frame::Noted));
    let again = scene.receipt(&scene.agent.key(), "insurance.test", &good);
    assert_eq!(say(again).await, Some(Frame::Noted));
    assert_eq!(scene.hospital.count(Act::Receipt).await, 1);
    assert_eq!(scene.hospital.shares(&alice()).await[0].received_by, [bob()]);
}

#[tokio::test]
async fn what_is_no_request_ends_the_stream_and_the_next_one_is_served() {
    let scene = Scene::new().await;
    for frame in [
        Frame::Noted,
        Frame::Granted(Vec::new()),
        Frame::Block(vec![0; 9].into()),
    ] {
        let answer = scene.agent.say(&scene.hospital, frame, Expect::Answer).await;
        assert_eq!(answer, None);
    }
    assert!(scene.is_granted(scene.own(&scene.notification())).await);
}

#[tokio::test]
async fn a_share_that_was_revoked_before_it_was_fetched_ends_the_retrieval() {
    let world = World::new().await;
    let (hospital, insurance) = (world.hospital().await, world.insurance().await);
    let broker = world.broker("bar.test", 9);
    let posted = vec![hospital.post(&alice(), content(100, 1)).await];
    let share = hospital
        .share(&alice(), &new_share(&world, &[bob()], &posted))
        .await;
    assert!(hospital.revoke(&alice(), &share).await.is_success());
    let notification = notification(&hospital.locator(), &share, &alice(), &bob());
    let job = broker.notify(&world, &insurance, &notification).await;
    let reason = wire::Reason::OriginRefused;
    assert_eq!(broker.end(&insurance, &job).await, JobState::Refused { reason });
    assert_eq!(insurance.acts().await, [Act::Notified]);
}

#[tokio::test]
async fn q09_one_recipient_of_a_share_makes_the_origin_keep_little() {
    let scene = Scene::new().await;
    let good = scene.notification();
    let kept = async || {
        let records = scene.hospital.store.records();
        let grants = records.list("grant/", None, 1000).await.unwrap().len();
        let blocks = scene.hospital.store.blocks();
        (grants, blocks.list(None, 1000).await.unwrap().len())
    };
    let alone = kept().await;
    // Padded, so that it says the same in other octets.
    let mut padded = good.to_bytes().unwrap();
    padded.resize(limits::NOTIFICATION, b' ');
    let digest = Digest::of(&padded);
    let to = locator("mailbox.insurance.test");
    let notify = wire::token(
        &scene.broker.key,
        &bob(),
        &to,
        digest,
        good.expires,
        scene.world.stamp(),
    );
    let token = wire::fetch_token(
        &scene.agent.key(),
        &cargomail_protocol::address::Domain::parse("insurance.test").unwrap(),
        &scene.hospital.locator(),
        digest,
        &notify.unwrap(),
        scene.world.stamp(),
    );
    let fetch = Fetch {
        token: token.unwrap(),
        notification: padded,
        wants: Vec::new(),
    };
    assert_eq!(scene.ask(fetch).await, NEVER);
    assert_eq!(kept().await, alone);
    // The recipient's broker may say that it was another message.
    let other = |number: u32| Notification {
        message_id: format!("<{number}@foo.test>"),
        ..good.clone()
    };
    for number in 0..limits::GRANTS_PER_SHARE {
        assert!(scene.is_granted(scene.own(&other(number))).await, "{number}");
    }
    let one_more = scene.own(&other(limits::GRANTS_PER_SHARE));
    assert_eq!(scene.ask(one_more).await, NEVER);
    assert_eq!(kept().await, (limits::GRANTS_PER_SHARE as usize, alone.1));
    // What was granted stays so, now and then.
    let mut granted = limits::GRANTS_PER_SHARE;
    let asked = loop {
        match scene.ask(scene.own(&other(3))).await {
            Some(Frame::Granted(_)) => granted += 1,
            Some(Frame::Refused(refused)) => break refused.retry_after,
            answer => panic!("{answer:?}"),
        }
    };
    assert!(asked.is_some_and(|seconds| seconds <= limits::FETCHES_PAUSE.as_secs()));
    // The one that was refused was a fetch, too.
    assert!(granted + 1 >= limits::FETCHES_PER_SHARE, "{granted}");
    assert_eq!(scene.hospital.count(Act::Granted).await, granted as usize);
    assert_eq!(kept().await, (limits::GRANTS_PER_SHARE as usize, alone.1));
}
