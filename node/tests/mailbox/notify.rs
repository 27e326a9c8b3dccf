//! Which notifications are taken, and what a broker learns of them.

use axum::Extension;
use axum::body::Body;
use cargomail_node::agent::Agent;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::grip::{self, Digest, NodeKey, Proved};
use cargomail_protocol::ledger::Act;
use cargomail_protocol::limits;
use cargomail_protocol::notification::{self as wire, JobState, Notification, Taken};
use cargomail_protocol::placeholder::Category;
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use data_encoding::BASE64URL_NOPAD;
use http::{Request, StatusCode, header};
use serde_json::json;
use tower::ServiceExt;

use super::rig::*;

/// What a broker says of a resource that nobody ever gets: its origin does not exist.
fn of_nowhere(world: &World, recipient: &Address, size: u64) -> Notification {
    let cid = Digest::of(&size.to_le_bytes()).cid();
    Notification {
        origin: locator("mailbox.nowhere.test"),
        message_id: "<1@foo.test>".to_owned(),
        sender: alice(),
        recipient: recipient.clone(),
        category: Category::parse("general").unwrap(),
        expires: Timestamp::from_seconds(world.now().plus(24 * HOUR).seconds()),
        resources: vec![SharedResource::new(cid, size).unwrap()],
    }
}

async fn status(broker: &Broker, to: &Node, token: &str, notification: &Notification) -> StatusCode {
    let body = notification.to_bytes().unwrap();
    broker.send(to, token, body).await.status()
}

#[tokio::test]
async fn the_same_notification_gives_the_same_job_and_needs_a_fresh_token() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let notification = of_nowhere(&world, &bob(), 5);
    let job = broker.notify(&world, &insurance, &notification).await;
    assert_eq!(broker.notify(&world, &insurance, &notification).await, job);
    let other = of_nowhere(&world, &bob(), 6);
    assert_ne!(broker.notify(&world, &insurance, &other).await, job);
    let for_carol = of_nowhere(&world, &carol(), 5);
    assert_ne!(broker.notify(&world, &insurance, &for_carol).await, job);
    assert_eq!(insurance.count(Act::Notified).await, 3);
    assert_eq!(insurance.retrievals(&bob()).await.len(), 2);
}

#[tokio::test]
async fn t07_a_replayed_token_is_refused_after_a_restart_too() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let notification = of_nowhere(&world, &bob(), 5);
    let token = broker.token(&world, &insurance.locator(), &notification);
    assert_eq!(
        status(&broker, &insurance, &token, &notification).await,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        status(&broker, &insurance, &token, &notification).await,
        StatusCode::UNAUTHORIZED
    );
    let insurance = world.restart(insurance).await;
    assert_eq!(
        status(&broker, &insurance, &token, &notification).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(insurance.count(Act::Notified).await, 1);
}

#[tokio::test]
async fn t05_a_token_of_one_key_over_the_channel_of_another_is_refused() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    // Both keys are bound to the broker's name.
    let second = world.broker("bar.test", 8);
    let notification = of_nowhere(&world, &bob(), 5);
    let token = broker.token(&world, &insurance.locator(), &notification);
    assert_eq!(
        status(&second, &insurance, &token, &notification).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        status(&broker, &insurance, &token, &notification).await,
        StatusCode::ACCEPTED
    );
}

/// Both are a 401; only what may pass says when to come back.
#[tokio::test]
async fn t13_a_key_that_is_not_heard_of_yet_is_to_come_back_and_a_token_for_somebody_else_is_not() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let notification = of_nowhere(&world, &bob(), 5);
    let told = async |locator: &Locator| {
        let token = broker.token(&world, locator, &notification);
        let response = broker
            .send(&insurance, &token, notification.to_bytes().unwrap())
            .await;
        let wait = response.headers().get(header::RETRY_AFTER).cloned();
        (
            response.status(),
            wait.map(|wait| wait.to_str().unwrap().to_owned()),
        )
    };
    world.zone.remove("_cb.bar.test");
    world.bind("_cb.bar.test", [7; 32]);
    let later = (StatusCode::UNAUTHORIZED, Some("30".to_owned()));
    assert_eq!(told(&insurance.locator()).await, later);
    world.publish(
        "_cb.bar.test",
        format!("v=grip1; h=sha256; p={}", broker.key.hash()),
    );
    let never = (StatusCode::UNAUTHORIZED, None);
    assert_eq!(told(&locator("mailbox.clinic.test")).await, never);
    let taken = (StatusCode::ACCEPTED, None);
    assert_eq!(told(&insurance.locator()).await, taken);
}

#[tokio::test]
async fn a_stranger_with_a_valid_certificate_is_refused() {
    let world = World::new().await;
    let insurance = world.insurance().await;
    let key = NodeKey::from_seed(&[7; 32]).unwrap();
    let bound = world.broker("bar.test", 9);
    let stranger = Broker { key, id: bound.id };
    let notification = of_nowhere(&world, &bob(), 5);
    let token = stranger.token(&world, &insurance.locator(), &notification);
    assert_eq!(
        status(&stranger, &insurance, &token, &notification).await,
        StatusCode::UNAUTHORIZED
    );
    // Also one whose certificate claims another name than its token.
    let broker = world.broker("bar.test", 6);
    let token = broker.token(&world, &insurance.locator(), &notification);
    let proved = Proved::Certificate {
        key: broker.key.hash(),
        name: "_cb.evil.test".to_owned(),
    };
    let request = Request::post(wire::PATH)
        .header(header::AUTHORIZATION, grip::authorization(&token))
        .header(header::CONTENT_TYPE, wire::MEDIA_TYPE)
        .body(Body::from(notification.to_bytes().unwrap()));
    let router = insurance.mailbox.grip_routes();
    let response = router
        .clone()
        .layer(Extension(proved))
        .oneshot(request.unwrap())
        .await;
    assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
    // And one who proved no key at all.
    let bare = Request::post(wire::PATH).body(Body::empty()).unwrap();
    assert_eq!(
        router.clone().oneshot(bare).await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    let bare = Request::get(format!("{}/x", wire::PATH))
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        router.oneshot(bare).await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    assert!(insurance.acts().await.is_empty());
}

#[tokio::test]
async fn t11_a_broker_speaks_for_nobody_of_another_domain() {
    let world = World::new().await;
    let (insurance, evil) = (world.insurance().await, world.broker("evil.test", 13));
    let notification = of_nowhere(&world, &bob(), 5);
    // Our own library would not issue such a token.
    let seconds = world.now().seconds();
    let claims = json!({
        "iss": evil.id, "aud": insurance.name, "sub": bob(), "jwk": evil.key.public().jwk(),
        "iat": seconds, "exp": seconds + 3600, "jti": world.stamp().id,
        "digest": Digest::of(&notification.to_bytes().unwrap()).to_string(),
    });
    let part = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let said = format!(
        "{}.{}",
        part(json!({"alg": "EdDSA", "typ": "grip-notify+jwt"})),
        part(claims)
    );
    let token = format!(
        "{said}.{}",
        BASE64URL_NOPAD.encode(&evil.key.sign(said.as_bytes()))
    );
    assert_eq!(
        status(&evil, &insurance, &token, &notification).await,
        StatusCode::FORBIDDEN
    );
    // A token for one of its own people does not carry a notification for another.
    let mallory = Address::parse("mallory@evil.test").unwrap();
    let token = wire::token(
        &evil.key,
        &mallory,
        &insurance.locator(),
        Digest::of(&notification.to_bytes().unwrap()),
        notification.expires,
        world.stamp(),
    );
    assert_eq!(
        status(&evil, &insurance, &token.unwrap(), &notification).await,
        StatusCode::FORBIDDEN
    );
    // Nor does it make an account here.
    let own = of_nowhere(&world, &mallory, 5);
    let token = evil.token(&world, &insurance.locator(), &own);
    assert_eq!(
        status(&evil, &insurance, &token, &own).await,
        StatusCode::FORBIDDEN
    );
    assert!(insurance.retrievals(&bob()).await.is_empty());
}

#[tokio::test]
async fn t10_token_1_for_another_notification_or_another_mailbox_is_refused() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let (one, other) = (of_nowhere(&world, &bob(), 5), of_nowhere(&world, &bob(), 6));
    let token = broker.token(&world, &insurance.locator(), &one);
    assert_eq!(
        status(&broker, &insurance, &token, &other).await,
        StatusCode::FORBIDDEN
    );
    for elsewhere in [
        "mailbox.hospital.test",
        "insurance.test",
        "mailbox.insurance.test.evil.test",
    ] {
        let token = broker.token(&world, &locator(elsewhere), &one);
        assert_eq!(
            status(&broker, &insurance, &token, &one).await,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test]
async fn a_request_in_another_form_is_refused() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let notification = of_nowhere(&world, &bob(), 5);
    let body = notification.to_bytes().unwrap();
    let token = || broker.token(&world, &insurance.locator(), &notification);
    let ask = async |authorization: Vec<String>, media_type: &str, body: Vec<u8>| {
        let mut request = Request::post(wire::PATH).header(header::CONTENT_TYPE, media_type);
        for value in authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let response = broker
            .request(&insurance, request.body(body.into()).unwrap())
            .await;
        assert!(octets(response).await.is_empty());
    };
    let told = async |authorization: Vec<String>, media_type: &str, body: Vec<u8>| {
        let mut request = Request::post(wire::PATH).header(header::CONTENT_TYPE, media_type);
        for value in authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        broker
            .request(&insurance, request.body(body.into()).unwrap())
            .await
            .status()
    };
    let good = || vec![grip::authorization(&token())];
    ask(Vec::new(), "application/json", body.clone()).await;
    for bad in [
        Vec::new(),
        vec![format!("Bearer {}", token())],
        vec!["GRIP".to_owned()],
        vec!["GRIP a.b.c".to_owned()],
        [good(), good()].concat(),
    ] {
        assert_eq!(
            told(bad, "application/json", body.clone()).await,
            StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(
        told(good(), "text/plain", body.clone()).await,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let huge = vec![b' '; 1024 * 1024 + 1];
    assert_eq!(
        told(good(), "application/json", huge).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    // A token for octets that are no notification.
    let nonsense = b"{}".to_vec();
    let speaks = wire::token(
        &broker.key,
        &bob(),
        &insurance.locator(),
        Digest::of(&nonsense),
        notification.expires,
        world.stamp(),
    );
    let speaks = vec![grip::authorization(&speaks.unwrap())];
    assert_eq!(
        told(speaks, "application/json", nonsense).await,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        told(good(), "application/json; charset=utf-8", body).await,
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn q10_an_origin_that_never_answers_keeps_nobody_elses_mail_away() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let told = async |notification: &Notification| {
        let token = broker.token(&world, &insurance.locator(), notification);
        status(&broker, &insurance, &token, notification).await
    };
    let most = u64::from(limits::RETRIEVALS_PER_USER_AND_ORIGIN);
    for number in 1..=most {
        // However the sender spells it, it is one person.
        let spelled = ["bob@bar.test", "Bob@bar.test"].map(|text| Address::parse(text).unwrap());
        let one = of_nowhere(&world, &spelled[number as usize % 2], number);
        assert_eq!(told(&one).await, StatusCode::ACCEPTED, "{number}");
    }
    let one_more = of_nowhere(&world, &bob(), most + 1);
    assert_eq!(told(&one_more).await, StatusCode::TOO_MANY_REQUESTS);
    let of_another = Notification {
        origin: locator("mailbox.elsewhere.test"),
        ..one_more
    };
    assert_eq!(told(&of_another).await, StatusCode::ACCEPTED);
    let for_another = of_nowhere(&world, &carol(), most + 1);
    assert_eq!(told(&for_another).await, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn q09_a_list_of_retrievals_is_short_whatever_they_name() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let mut large = of_nowhere(&world, &bob(), 5);
    let root = |number: usize| Digest::of(&number.to_le_bytes()).cid();
    large.resources = (0..limits::RESOURCES)
        .map(|number| SharedResource::new(root(number), 1000).unwrap())
        .collect();
    broker.notify(&world, &insurance, &large).await;
    let request = Request::get("/api/v1/retrievals").body(Body::empty()).unwrap();
    let list = octets(insurance.ask(&bob(), request).await).await;
    assert!(list.len() < 1000);
    let retrievals = insurance.retrievals(&bob()).await;
    let first = &retrievals[0];
    assert_eq!((first.count, first.size), (limits::RESOURCES, 8_192_000));
    let request = Request::get("/api/v1/retrievals?origin=x").body(Body::empty());
    let status = insurance.ask(&bob(), request.unwrap()).await.status();
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn what_has_expired_is_refused() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let mut notification = of_nowhere(&world, &bob(), 5);
    notification.expires = Timestamp::from_seconds(world.now().seconds() + 1);
    let token = broker.token(&world, &insurance.locator(), &notification);
    world.clock.by(std::time::Duration::from_secs(2));
    assert_eq!(
        status(&broker, &insurance, &token, &notification).await,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn h05_a_broker_learns_nothing_of_the_jobs_of_others() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let notification = of_nowhere(&world, &bob(), 5);
    let job = broker.notify(&world, &insurance, &notification).await;
    assert!(!broker.state(&insurance, &job).await.is_final());
    let ask = async |broker: &Broker, job: &str| {
        let request = Request::get(format!("{}/{job}", wire::PATH)).body(Body::empty());
        let response = broker.request(&insurance, request.unwrap()).await;
        (response.status(), octets(response).await)
    };
    let missing = ask(&broker, "0123456789abcdef0123456789abcdef").await;
    assert_eq!(missing.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&world.broker("foo.test", 10), &job).await, missing);
    // Nor one with the name of the broker and another key, even a bound one.
    let second = world.broker("bar.test", 8);
    assert_eq!(ask(&second, &job).await, missing);
    // Whose it becomes when it notifies itself.
    let token = second.token(&world, &insurance.locator(), &notification);
    let response = second
        .send(&insurance, &token, notification.to_bytes().unwrap())
        .await;
    assert_eq!(Taken::parse(&octets(response).await).unwrap().job, job);
    assert!(!second.state(&insurance, &job).await.is_final());
}

#[tokio::test]
async fn a_broker_in_the_same_process_is_answered_what_it_is_answered_by_https() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    insurance.account(&bob(), Some(1000)).await;
    let agent: &dyn Agent = &*insurance.mailbox;
    assert_eq!(*agent.locator(), insurance.locator());
    let mut ended = of_nowhere(&world, &bob(), 7);
    ended.expires = Timestamp::from_seconds(world.now().seconds() + 1);
    let late = broker.token(&world, &insurance.locator(), &ended);
    world.clock.by(std::time::Duration::from_secs(2));
    let small = of_nowhere(&world, &bob(), 5);
    let elsewhere = locator("mailbox.hospital.test");
    let dave = Address::parse("dave@bar.test").unwrap();
    let token = |to: &Notification| broker.token(&world, &insurance.locator(), to);
    let (huge, unknown) = (of_nowhere(&world, &bob(), 1001), of_nowhere(&world, &dave, 5));
    let refused = [
        ("over quota", token(&huge), &huge),
        ("an unknown recipient", token(&unknown), &unknown),
        ("an expired share", late, &ended),
        (
            "another mailbox",
            broker.token(&world, &elsewhere, &small),
            &small,
        ),
        ("another notification", token(&huge), &small),
        ("no token", String::new(), &small),
    ];
    for (what, token, notification) in &refused {
        let octets = notification.to_bytes().unwrap();
        let answer = agent.notify(&broker.proved(), token, octets.clone().into()).await;
        let fault = answer.unwrap_err();
        let by_https = broker.send(&insurance, token, octets).await.status();
        assert_eq!(fault.http(), by_https.as_u16(), "{what}");
    }
    // A key that is not the token's, and a token that was used.
    let other = world.broker("bar.test", 8);
    let octets = bytes::Bytes::from(small.to_bytes().unwrap());
    let good = token(&small);
    let notify = |certificate, token| {
        let octets = octets.clone();
        async move { agent.notify(&certificate, token, octets).await }
    };
    assert_eq!(notify(other.proved(), &good).await.unwrap_err().http(), 401);
    let taken = notify(broker.proved(), &good).await.unwrap();
    assert_eq!(notify(broker.proved(), &good).await.unwrap_err().http(), 401);
    assert_eq!(insurance.count(Act::Notified).await, 1);
    // By whichever way it comes again, it is the same job, and only its broker learns of it.
    assert_eq!(broker.notify(&world, &insurance, &small).await, taken.job);
    let state = agent.progress(&broker.proved(), &taken.job).await;
    assert_eq!(state.unwrap(), broker.state(&insurance, &taken.job).await);
    let theirs = agent.progress(&other.proved(), &taken.job).await;
    assert_eq!(theirs.unwrap_err().http(), 404);
}

#[tokio::test]
async fn h05_over_a_stream_a_job_is_shown_to_the_key_that_notified_and_to_nobody_else() {
    let world = World::new().await;
    let (insurance, broker) = (world.insurance().await, world.broker("bar.test", 9));
    let other = world.broker("bar.test", 8);
    let notification = of_nowhere(&world, &bob(), 5);
    let peer = |broker: &Broker| Proved::Peer {
        key: broker.key.hash(),
    };
    let ask = async |proved: Proved, request: Request<Body>| {
        let router = insurance.mailbox.grip_routes().layer(Extension(proved));
        router.oneshot(request).await.unwrap()
    };
    let notify = |token: &str| {
        Request::post(wire::PATH)
            .header(header::AUTHORIZATION, grip::authorization(token))
            .header(header::CONTENT_TYPE, wire::MEDIA_TYPE)
            .body(Body::from(notification.to_bytes().unwrap()))
            .unwrap()
    };
    let token = broker.token(&world, &insurance.locator(), &notification);
    let theirs = ask(peer(&other), notify(&token)).await;
    assert_eq!(theirs.status(), StatusCode::UNAUTHORIZED);
    let taken = ask(peer(&broker), notify(&token)).await;
    assert_eq!(taken.status(), StatusCode::ACCEPTED);
    let job = Taken::parse(&octets(taken).await).unwrap().job;
    let question = || {
        let request = Request::get(format!("{}/{job}", wire::PATH));
        request.body(Body::empty()).unwrap()
    };
    let state = ask(peer(&broker), question()).await;
    assert_eq!(state.status(), StatusCode::OK);
    assert!(!JobState::parse(&octets(state).await).unwrap().is_final());
    let renamed = Proved::Certificate {
        key: broker.key.hash(),
        name: "_cb.evil.test".to_owned(),
    };
    for nobody in [peer(&other), renamed, Proved::Nothing] {
        assert_eq!(ask(nobody, question()).await.status(), StatusCode::NOT_FOUND);
    }
    // It is the same job as by HTTPS.
    assert_eq!(broker.notify(&world, &insurance, &notification).await, job);
}
