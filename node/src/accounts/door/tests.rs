#![allow(clippy::unwrap_used)]
use std::os::unix::fs::PermissionsExt;

use axum::body::Body;
use cargomail_protocol::ledger::{Act, Checker};
use http::{Method, Request, StatusCode};

use super::*;
use crate::api::{NewAccount, Quota};
use crate::app::administration::Administration;
use crate::app::double::{Node, PASSWORD, address, world};
use crate::app::{AppError, Session};
use crate::clock::SystemRandomness;
use crate::https;

/// A request without anything that the application would add.
async fn ask(
    node: &Node,
    method: Method,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> http::Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let server = node.url.server(Some(&node.fingerprint));
    world().client().send(&server, request).await.unwrap()
}

async fn status(node: &Node, path: &str, fields: &[(&str, &str)]) -> u16 {
    ask(node, Method::GET, path, fields, "").await.status().as_u16()
}

async fn log_in(node: &Node, who: &str, password: &str) -> Result<String, u16> {
    let client = world().client();
    let begun = Session::log_in(
        &client,
        &node.url,
        Some(node.fingerprint),
        &address(who),
        password,
    )
    .await;
    match begun {
        Ok(access) => Ok(access.token),
        Err(AppError::Said { status, .. }) => Err(status),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn whoever_logs_in_is_known_behind_the_door() {
    let node = Node::start().await;
    let token = log_in(&node, "alice@foo.test", PASSWORD).await.unwrap();
    let bearer = format!("Bearer {token}");
    let response = ask(
        &node,
        Method::GET,
        "/api/v1/me",
        &[("authorization", &bearer)],
        "",
    )
    .await;
    let me: Me = serde_json::from_slice(&https::read(response.into_body(), 4096).await.unwrap()).unwrap();
    assert_eq!(me.address, address("alice@foo.test"));
    assert_eq!(me.mailbox.unwrap().as_str(), "mailbox.foo.test");
    assert_eq!(me.broker.unwrap().as_str(), "foo.test");
}

#[tokio::test]
async fn without_a_token_nothing_but_a_login_is_answered() {
    let node = Node::start().await;
    let token = log_in(&node, "alice@foo.test", PASSWORD).await.unwrap();
    let twice = format!("Bearer {token}");
    for path in [
        "/api/v1/me",
        "/api/v1/shares",
        "/api/v1/admin/accounts",
        "/nothing",
        "/",
        "/api/v1/messages/x",
    ] {
        assert_eq!(status(&node, path, &[]).await, 401, "{path}");
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Basic YTpi",
            &token,
            &format!("Bearer {token}x"),
        ] {
            assert_eq!(
                status(&node, path, &[("authorization", wrong)]).await,
                401,
                "{path} {wrong}"
            );
        }
        let both = [
            ("authorization", twice.as_str()),
            ("authorization", twice.as_str()),
        ];
        assert_eq!(status(&node, path, &both).await, 401, "{path}");
    }
    assert_eq!(status(&node, "/nothing", &[("authorization", &twice)]).await, 404);
}

#[tokio::test]
async fn the_administrators_paths_are_not_the_users_and_the_users_not_the_administrators() {
    let node = Node::start().await;
    let token = log_in(&node, "alice@foo.test", PASSWORD).await.unwrap();
    let user = format!("Bearer {token}");
    let admin = format!("Bearer {}", node.admin.text());
    for path in [
        "/api/v1/admin/accounts",
        "/api/v1/admin/ledger",
        "/api/v1/admin/queue",
    ] {
        assert_eq!(
            status(&node, path, &[("authorization", &user)]).await,
            401,
            "{path}"
        );
    }
    assert_eq!(
        status(&node, "/api/v1/me", &[("authorization", &admin)]).await,
        401
    );
    assert_eq!(
        status(&node, "/api/v1/admin/accounts", &[("authorization", &admin)]).await,
        200
    );
    // Another spelling of the path is not the administrator's.
    assert_eq!(
        status(&node, "/api/v1/%61dmin/accounts", &[("authorization", &user)]).await,
        404
    );
    assert_eq!(
        status(&node, "/api/v1/admin/queue", &[("authorization", &admin)]).await,
        404
    );
}

#[tokio::test]
async fn h04_no_cookie_is_set_or_read_and_no_other_site_may_show_or_read_an_answer() {
    let node = Node::start().await;
    let login = format!(r#"{{"address":"alice@foo.test","password":"{PASSWORD}"}}"#);
    let json = [
        ("content-type", "application/json"),
        ("origin", "https://evil.test"),
    ];
    let response = ask(&node, Method::POST, "/api/v1/sessions", &json, &login).await;
    assert_eq!(response.status(), StatusCode::OK);
    let fields = response.headers().clone();
    assert!(fields.get("set-cookie").is_none() && fields.get("access-control-allow-origin").is_none());
    let session: crate::api::Session =
        serde_json::from_slice(&https::read(response.into_body(), 4096).await.unwrap()).unwrap();
    let cookie = format!("session={}; token={}", session.token, session.token);
    assert_eq!(status(&node, "/api/v1/me", &[("cookie", &cookie)]).await, 401);
    // A form of another site can send no JSON.
    let form = [("content-type", "text/plain")];
    let response = ask(&node, Method::POST, "/api/v1/sessions", &form, &login).await;
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    // Every login has a token of its own.
    assert_ne!(
        log_in(&node, "alice@foo.test", PASSWORD).await.unwrap(),
        session.token
    );
    for path in ["/api/v1/me", "/nothing"] {
        let response = ask(&node, Method::GET, path, &[], "").await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn h07_guessing_is_slowed_down_alike_for_addresses_that_exist_and_that_do_not() {
    let node = Node::start().await;
    node.accounts
        .set(&address("carol@foo.test"), PASSWORD, None)
        .await
        .unwrap();
    let mut answers = Vec::new();
    for who in ["alice@foo.test", "nobody@foo.test"] {
        let mut of_one = Vec::new();
        for _ in 0..12 {
            of_one.push(log_in(&node, who, "guess").await.unwrap_err());
        }
        answers.push(of_one);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].iter().filter(|status| **status == 401).count(), 10);
    // The right password does not help now, in whatever case the address is written, and others are let in.
    assert_eq!(log_in(&node, "Alice@foo.test", PASSWORD).await, Err(429));
    assert!(log_in(&node, "carol@foo.test", PASSWORD).await.is_ok());
}

#[tokio::test]
async fn h07_guessing_many_addresses_from_one_place_is_slowed_down_too() {
    let brake = brake::Brake::new();
    let place = Some("203.0.113.5".parse().unwrap());
    let passed = (0..200).filter(|n| brake.pass(place, &address(&format!("u{n}@foo.test"))).is_ok());
    assert!((60..70).contains(&passed.count()));
    // Neighbours in one IPv6 /48 are one place, others are not.
    let v6 = |n: u16| Some(std::net::IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]));
    let passed = (0..200).filter(|n| brake.pass(v6(*n), &address(&format!("v{n}@foo.test"))).is_ok());
    assert!((60..70).contains(&passed.count()));
    let wait = brake.pass(v6(1), &address("alice@foo.test")).unwrap_err();
    assert!(
        wait > Duration::ZERO && wait <= Duration::from_secs(2),
        "{wait:?}"
    );
    let elsewhere = Some("2001:db8:1:1::1".parse().unwrap());
    assert!(brake.pass(elsewhere, &address("alice@foo.test")).is_ok());
}

#[tokio::test]
async fn a_login_that_is_too_long_or_has_other_members_is_refused() {
    let node = Node::start().await;
    let json = [("content-type", "application/json")];
    let long = format!(
        r#"{{"address":"alice@foo.test","password":"{}"}}"#,
        "x".repeat(100_000)
    );
    let other = r#"{"address":"alice@foo.test","password":"x","admin":true}"#;
    for (body, expected) in [(long.as_str(), 413), (other, 422), ("{", 400), ("", 400)] {
        let response = ask(&node, Method::POST, "/api/v1/sessions", &json, body).await;
        assert_eq!(
            response.status().as_u16(),
            expected,
            "{}",
            body.chars().take(60).collect::<String>()
        );
    }
    let token = log_in(&node, "alice@foo.test", PASSWORD).await.unwrap();
    let bearer = format!("Bearer {token}");
    let known = [json[0], ("authorization", bearer.as_str())];
    let response = ask(&node, Method::PUT, "/api/v1/sessions", &known, "{}").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    let response = ask(&node, Method::PUT, "/api/v1/sessions", &json, "{}").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_administrator_makes_accounts_and_the_ledger_tells_of_it() {
    let node = Node::start().await;
    let client = world().client();
    let admin = Administration::at(&client, node.local, node.fingerprint.0, node.admin.text());
    let new = NewAccount {
        address: address("bob@foo.test"),
        password: "another".to_owned(),
        quota: Some(Quota::Octets(5)),
    };
    assert_eq!(admin.set_account(&new).await.unwrap().quota, Some(5));
    assert_eq!(admin.accounts().await.unwrap().len(), 2);
    assert!(log_in(&node, "bob@foo.test", "another").await.is_ok());
    let (entries, head) = admin.ledger(0).await.unwrap();
    let mut checker = Checker::new();
    let entry = checker.push(&entries[0]).unwrap();
    assert_eq!(entry.event.act, Act::Access);
    assert_eq!(entry.event.parties, ["administrator", "bob@foo.test"]);
    checker.finish(&head).unwrap();
    assert_eq!(head, node.ledger.head().await);
    assert!(admin.ledger(1).await.unwrap().0.is_empty());
    for (quota, expected) in [(None, Some(5)), (Some(Quota::Unbounded), None)] {
        let new = NewAccount { quota, ..new.clone() };
        assert_eq!(admin.set_account(&new).await.unwrap().quota, expected);
    }
}

#[tokio::test]
async fn a_logout_ends_the_session_that_asks_for_it() {
    let node = Node::start().await;
    let mut bearers = Vec::new();
    for _ in 0..2 {
        let token = log_in(&node, "alice@foo.test", PASSWORD).await.unwrap();
        bearers.push(format!("Bearer {token}"));
    }
    let log_out = async |fields: &[(&str, &str)]| {
        ask(&node, Method::DELETE, "/api/v1/sessions", fields, "")
            .await
            .status()
    };
    assert_eq!(log_out(&[]).await, StatusCode::UNAUTHORIZED);
    let [first, second] = [&bearers[0], &bearers[1]].map(|bearer| [("authorization", bearer.as_str())]);
    assert_eq!(log_out(&first).await, StatusCode::NO_CONTENT);
    assert_eq!(log_out(&first).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&node, "/api/v1/me", &first).await, 401);
    assert_eq!(status(&node, "/api/v1/me", &second).await, 200);
    node.accounts
        .set(&address("alice@foo.test"), "another", None)
        .await
        .unwrap();
    assert_eq!(status(&node, "/api/v1/me", &second).await, 401);
}

#[test]
fn the_administrators_token_is_made_once_and_only_its_owner_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let token = AdminToken::open_or_create(folder.path(), &SystemRandomness).unwrap();
    let again = AdminToken::open_or_create(folder.path(), &SystemRandomness).unwrap();
    assert_eq!(token.text(), again.text());
    assert!(token.is(again.text()) && !token.is("") && !token.is(&again.text()[1..]));
    let file = folder.path().join("admin.token");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        AdminToken::open(folder.path()),
        Err(TokenError::TooOpen { .. })
    ));
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(
        AdminToken::open(folder.path()),
        Err(TokenError::Empty { .. })
    ));
    assert!(!format!("{token:?}").contains(token.text()));
}
