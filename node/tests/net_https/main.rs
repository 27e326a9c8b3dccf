//! HTTPS over real sockets: who gets in, who is believed, and what a slow or rude caller costs the others.
#![allow(clippy::unwrap_used)]

mod connections;
mod rude;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Extension, Router};
use cargomail_node::clock::{Clock, SystemClock};
use cargomail_node::dns::{Dnssec, Record, Resolver, ResolverOptions, Srv, Zone};
use cargomail_node::https::{
    self, Client, Found, HttpsError, RemoteAddress, Renewable, Server, Serving, ServingLimits,
};
use cargomail_node::identity::{Certificate, Identity};
use cargomail_node::network::{AddressPolicy, ConnectError, Network, Tcp};
use cargomail_protocol::address::{ClientId, Domain};
use cargomail_protocol::fault::Faulty;
use cargomail_protocol::grip::Proved;
use futures::StreamExt;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// bar.test's node and alice's view of the DNS.
struct World {
    zone: Zone,
    dns: Arc<Resolver>,
    serving: Serving,
    shutdown: CancellationToken,
}

fn insurance() -> Identity {
    Identity::from_seed(&[1; 32])
}

fn name() -> Domain {
    Domain::parse("mailbox.insurance.test").unwrap()
}

fn broker() -> Certificate {
    let id = ClientId::parse("_cb.bar.test").unwrap();
    Identity::from_seed(&[2; 32])
        .certificate(&id, SystemClock.now())
        .unwrap()
}

async fn count(body: Body) -> String {
    let mut chunks = body.into_data_stream();
    let mut octets = 0;
    while let Some(chunk) = chunks.next().await {
        octets += chunk.unwrap().len();
    }
    octets.to_string()
}

async fn flood() -> Body {
    let chunks = futures::stream::repeat(bytes::Bytes::from(vec![7_u8; 64 * 1024])).take(256);
    Body::from_stream(chunks.map(Ok::<_, std::io::Error>))
}

fn router() -> Router {
    Router::new()
        .route(
            "/who",
            get(async |Extension(proved): Extension<Proved>| proved.to_string()),
        )
        .route(
            "/where",
            get(async |Extension(from): Extension<RemoteAddress>| from.0.to_string()),
        )
        .route("/count", post(count))
        .route("/flood", get(flood))
        .route("/never", get(std::future::pending::<()>))
        .route(
            "/elsewhere",
            get(async || Redirect::temporary("https://169.254.169.254/")),
        )
}

async fn serve(limits: ServingLimits) -> World {
    let certificate = insurance()
        .server_certificate(name().as_str(), SystemClock.now())
        .unwrap();
    let tls = https::grip_server(&certificate, clock()).unwrap();
    let listener = Tcp.listen(ANYWHERE).await.unwrap();
    let shutdown = CancellationToken::new();
    let serving = https::serve(listener, tls, router(), limits, shutdown.clone()).unwrap();
    let zone = Zone::start(ANYWHERE).await.unwrap();
    zone.add("host.insurance.test", Record::Address(Ipv4Addr::LOCALHOST.into()));
    zone.add(
        "_grip-notify._tcp.mailbox.insurance.test",
        Record::Srv(Srv {
            priority: 0,
            weight: 0,
            host: "host.insurance.test".to_owned(),
            port: serving.local_addr().port(),
        }),
    );
    let options = ResolverOptions {
        servers: vec![zone.local_addr()],
        dnssec: Dnssec::Off,
    };
    let dns = Arc::new(Resolver::new(&options, clock()).unwrap());
    World {
        zone,
        dns,
        serving,
        shutdown,
    }
}

impl World {
    fn pin(&self, hash: [u8; 32]) {
        let hex = data_encoding::HEXLOWER.encode(&hash);
        self.zone.add(
            "_grip.mailbox.insurance.test",
            Record::Txt(format!("v=grip1; h=sha256; p={hex}")),
        );
    }

    fn client(&self, policy: AddressPolicy) -> Client {
        Client::new(Arc::new(Tcp), self.dns.clone(), clock(), policy)
    }

    async fn server(&self) -> Server {
        match https::discover(&*self.dns, &name()).await.unwrap() {
            Found::Servers(mut servers) => servers.remove(0),
            Found::None => panic!("no SRV record"),
        }
    }
}

fn get_request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

async fn text(client: &Client, server: &Server, path: &str) -> String {
    let response = client.send(server, get_request(path)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    String::from_utf8(https::read(response.into_body(), 1024).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_broker_with_a_certificate_reaches_a_pinned_server_and_both_know_each_other() {
    let world = serve(ServingLimits::default()).await;
    world.pin([9; 32]);
    world.pin(insurance().spki_sha256());
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let server = world.server().await;
    assert_eq!(text(&client, &server, "/who").await, "_cb.bar.test");
}

#[tokio::test]
async fn bodies_stream_in_both_directions_and_a_response_is_bounded() {
    let world = serve(ServingLimits::default()).await;
    world.pin(insurance().spki_sha256());
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let server = world.server().await;
    let upload = Request::post("/count").body(flood().await).unwrap();
    let response = client.send(&server, upload).await.unwrap();
    assert_eq!(https::read(response.into_body(), 100).await.unwrap(), "16777216");
    let response = client.send(&server, get_request("/flood")).await.unwrap();
    assert_eq!(count(response.into_body()).await, "16777216");
    let response = client.send(&server, get_request("/flood")).await.unwrap();
    let refused = https::read(response.into_body(), 1024 * 1024).await.unwrap_err();
    assert!(matches!(refused, HttpsError::TooLarge { limit: 1_048_576 }));
}

#[tokio::test]
async fn d05_a_redirect_is_an_answer_and_is_not_followed() {
    let world = serve(ServingLimits::default()).await;
    world.pin(insurance().spki_sha256());
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let response = client
        .send(&world.server().await, get_request("/elsewhere"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn a_server_with_another_key_than_the_pinned_one_is_refused() {
    let world = serve(ServingLimits::default()).await;
    world.pin([9; 32]);
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let refused = client
        .send(&world.server().await, get_request("/who"))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, HttpsError::WrongPin { name } if name == "mailbox.insurance.test"),
        "{refused}"
    );
    assert!(!refused.fault().is_temporary());
}

#[tokio::test]
async fn a_self_signed_server_without_a_pin_is_refused_by_the_web_pki() {
    let world = serve(ServingLimits::default()).await;
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let refused = client
        .send(&world.server().await, get_request("/who"))
        .await
        .unwrap_err();
    assert!(matches!(refused, HttpsError::Tls { .. }), "{refused}");
}

#[tokio::test]
async fn d04_a_server_whose_name_resolves_to_this_machine_is_not_connected_to() {
    let world = serve(ServingLimits::default()).await;
    world.pin(insurance().spki_sha256());
    let client = world
        .client(AddressPolicy::public())
        .with_identity(&broker())
        .unwrap();
    let mut server = world.server().await;
    for host in [
        "host.insurance.test",
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "localhost",
    ] {
        server.host = host.to_owned();
        let refused = client.send(&server, get_request("/who")).await.unwrap_err();
        let forbidden = matches!(refused, HttpsError::Connect(ConnectError::Forbidden { .. }));
        assert!(forbidden, "{host}: {refused}");
        assert!(!refused.fault().is_temporary());
    }
    for host in ["0x7f.0.0.1", "017700000001", "2130706433", "127.1"] {
        server.host = host.to_owned();
        assert!(client.send(&server, get_request("/who")).await.is_err(), "{host}");
    }
}

#[tokio::test]
async fn a_user_reaches_the_own_node_by_its_fingerprint_without_any_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = Certificate::for_people(folder.path(), &names, SystemClock.now()).unwrap();
    let shown = Renewable::new(certificate.clone()).unwrap();
    let tls = https::user_server(&shown).unwrap();
    let listener = Tcp.listen(ANYWHERE).await.unwrap();
    let shutdown = CancellationToken::new();
    let serving = https::serve(
        listener,
        tls,
        router(),
        ServingLimits::default(),
        shutdown.clone(),
    )
    .unwrap();
    let world = serve(ServingLimits::default()).await;
    let client = world.client(AddressPolicy::public());
    let server = Server::at(serving.local_addr(), vec![certificate.spki_sha256()]);
    assert!(text(&client, &server, "/where").await.starts_with("127.0.0.1:"));
    let stranger = Server::at(serving.local_addr(), vec![[3; 32]]);
    assert!(matches!(
        client.send(&stranger, get_request("/where")).await,
        Err(HttpsError::WrongPin { .. })
    ));
    // Without a client certificate there is no name in the request, so the handler that wants one refuses.
    let response = client.send(&server, get_request("/who")).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);

    // Another certificate is shown from the next connection on.
    let folder = tempfile::tempdir().unwrap();
    let renewed = Certificate::for_people(folder.path(), &names, SystemClock.now()).unwrap();
    shown.renew(renewed.clone()).unwrap();
    let client = world.client(AddressPolicy::public());
    let old = client.send(&server, get_request("/where")).await;
    assert!(matches!(old, Err(HttpsError::WrongPin { .. })));
    let server = Server::at(serving.local_addr(), vec![renewed.spki_sha256()]);
    assert!(text(&client, &server, "/where").await.starts_with("127.0.0.1:"));
    shutdown.cancel();
    serving.stopped().await;
}

#[tokio::test]
async fn a_shutdown_lets_an_open_request_end() {
    let world = serve(ServingLimits::default()).await;
    world.pin(insurance().spki_sha256());
    let client = world
        .client(AddressPolicy::allowing_loopback())
        .with_identity(&broker())
        .unwrap();
    let server = world.server().await;
    let response = client.send(&server, get_request("/flood")).await.unwrap();
    world.shutdown.cancel();
    assert_eq!(count(response.into_body()).await, "16777216");
    world.serving.stopped().await;
    let refused = client.send(&server, get_request("/who")).await.unwrap_err();
    assert!(refused.fault().is_temporary(), "{refused}");
}
