//! What people may do at their mailbox, and what they may not.

use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::ledger::Act;
use cargomail_protocol::share::SharedResource;
use futures::stream;
use http::{Request, Response, StatusCode, header};
use uuid::Uuid;

use super::rig::*;

async fn refused(response: Response<Body>) -> (StatusCode, Bytes) {
    (response.status(), octets(response).await)
}

#[tokio::test]
async fn h05_what_is_somebody_elses_looks_exactly_like_what_is_not_there() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    hospital.account(&bob(), None).await;
    let posted = hospital.post(&alice(), content(100, 1)).await;
    let nothing = "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu";
    let missing = hospital.read(&bob(), nothing).await;
    assert_eq!(missing.0, StatusCode::NOT_FOUND);
    assert_eq!(hospital.read(&bob(), &posted.cid).await, missing);
    for other in [&posted.cid.to_uppercase(), "no-cid", "..%2f..%2fetc%2fpasswd"] {
        assert_eq!(hospital.read(&bob(), other).await, missing);
    }
    let share = hospital
        .share(
            &alice(),
            &new_share(&world, &[carol()], std::slice::from_ref(&posted)),
        )
        .await;
    assert!(hospital.shares(&bob()).await.is_empty());
    let revoke = async |id: String| {
        let request = Request::post(format!("/api/v1/shares/{id}/revoke"));
        refused(hospital.ask(&bob(), request.body(Body::empty()).unwrap()).await).await
    };
    assert_eq!(
        revoke(share.id.to_string()).await,
        revoke(Uuid::nil().to_string()).await
    );
    assert_eq!(revoke("no-id".to_owned()).await.0, StatusCode::NOT_FOUND);
    assert_eq!(hospital.shares(&alice()).await[0].revoked, None);
    // Nor can Bob share what he does not hold.
    let new = new_share(&world, &[carol()], &[posted]);
    let response = hospital.ask(&bob(), json("/api/v1/shares", &new)).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn q09_a_quota_bounds_what_is_posted_before_and_while_it_comes() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    hospital.account(&bob(), Some(1000)).await;
    let post = async |announced: Option<&'static str>, body: Body| {
        let mut request = Request::post("/api/v1/resources");
        if let Some(announced) = announced {
            request = request.header(header::CONTENT_LENGTH, announced);
        }
        hospital.ask(&bob(), request.body(body).unwrap()).await.status()
    };
    let crowd = StatusCode::INSUFFICIENT_STORAGE;
    assert_eq!(post(Some("1001"), Body::empty()).await, crowd);
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![7; 300])));
    assert_eq!(post(None, Body::from_stream(endless)).await, crowd);
    assert_eq!(post(None, content(600, 1).into()).await, StatusCode::CREATED);
    assert_eq!(post(None, content(401, 2).into()).await, crowd);
    assert_eq!(post(None, content(300, 2).into()).await, StatusCode::CREATED);
    assert_eq!(post(None, content(50, 3).into()).await, StatusCode::CREATED);
    // The same octets again take nothing more.
    assert_eq!(post(None, content(50, 3).into()).await, StatusCode::CREATED);
    assert_eq!(post(None, content(50, 5).into()).await, StatusCode::CREATED);
    assert_eq!(post(None, content(1, 7).into()).await, crowd);
    assert_eq!(hospital.count(Act::Posted).await, 4);
    let huge = "1099511627777";
    let request = Request::post("/api/v1/resources").header(header::CONTENT_LENGTH, huge);
    let response = hospital.ask(&alice(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_that_breaks_off_posts_nothing() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    let pieces = [
        Ok(Bytes::from(content(2_000_000, 1))),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ];
    let request = Request::post("/api/v1/resources").body(Body::from_stream(stream::iter(pieces)));
    let response = hospital.ask(&alice(), request.unwrap()).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(hospital.acts().await.is_empty());
}

#[tokio::test]
async fn two_posts_at_once_never_pass_the_quota_together() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    hospital.account(&bob(), Some(1000)).await;
    let posts = (0..8).map(|seed| {
        let request = Request::post("/api/v1/resources").body(content(300, 2 * seed + 1).into());
        hospital.answer(bob(), request.unwrap())
    });
    let mut stored = 0;
    for status in futures::future::join_all(posts).await {
        stored += usize::from(status.status() == StatusCode::CREATED);
    }
    assert_eq!(stored, 3);
}

#[tokio::test]
async fn h06_a_share_of_nothing_of_other_sizes_with_nobody_or_in_another_form_is_refused() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    let posted = hospital.post(&alice(), content(100, 1)).await;
    let good = new_share(&world, &[bob()], std::slice::from_ref(&posted));
    let status = async |request| hospital.ask(&alice(), request).await.status();
    let mut other_size = good.clone();
    let cid = *shared(&posted).cid();
    other_size.resources = vec![SharedResource::new(cid, 101).unwrap()];
    assert_eq!(
        status(json("/api/v1/shares", &other_size)).await,
        StatusCode::NOT_FOUND
    );
    let mut nobody = good.clone();
    nobody.recipients.clear();
    let mut nothing = good.clone();
    nothing.resources.clear();
    for empty in [nobody, nothing] {
        assert_eq!(
            status(json("/api/v1/shares", &empty)).await,
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }
    let mut twice = good.clone();
    twice.recipients.push(bob());
    let mut over = good.clone();
    over.expires = world.now();
    let mut no_id = good.clone();
    no_id.message_id = "1@foo.test\r\nBcc: carol@bar.test".to_owned();
    for bad in [twice, over, no_id] {
        assert_eq!(
            status(json("/api/v1/shares", &bad)).await,
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
    let more = Request::post("/api/v1/shares")
        .header(header::CONTENT_TYPE, "application/json")
        .body(
            serde_json::to_string(&good)
                .unwrap()
                .replace("{\"recipients\"", "{\"sender\":\"bob@bar.test\",\"recipients\"")
                .into(),
        );
    assert_eq!(status(more.unwrap()).await, StatusCode::UNPROCESSABLE_ENTITY);
    let text = Request::post("/api/v1/shares").body(serde_json::to_vec(&good).unwrap().into());
    assert_eq!(status(text.unwrap()).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(hospital.shares(&alice()).await.is_empty());
    assert_eq!(status(json("/api/v1/shares", &good)).await, StatusCode::CREATED);
}

#[tokio::test]
async fn shares_are_listed_newest_first_and_revoking_twice_is_revoking_once() {
    let world = World::new().await;
    let hospital = world.hospital().await;
    let posted = vec![hospital.post(&alice(), content(100, 1)).await];
    let mut made = Vec::new();
    for _ in 0..3 {
        world.clock.by(std::time::Duration::from_secs(1));
        made.push(
            hospital
                .share(&alice(), &new_share(&world, &[bob()], &posted))
                .await
                .id,
        );
    }
    made.reverse();
    let listed = hospital.shares(&alice()).await;
    assert_eq!(listed.iter().map(|share| share.id).collect::<Vec<_>>(), made);
    assert_eq!(hospital.revoke(&alice(), &listed[1]).await, StatusCode::OK);
    let revoked = hospital.shares(&alice()).await[1].revoked;
    assert!(revoked.is_some());
    world.clock.by(HOUR);
    assert_eq!(hospital.revoke(&alice(), &listed[1]).await, StatusCode::OK);
    assert_eq!(hospital.shares(&alice()).await[1].revoked, revoked);
    assert_eq!(hospital.count(Act::Revoked).await, 1);
}
