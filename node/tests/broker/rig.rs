//! Nodes that are brokers, and the people.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use bytes::Bytes;
use cargomail_node::accounts::{Accounts, Caller};
use cargomail_node::api;
use cargomail_node::broker::{Broker, Deliver, Needs, Options};
use cargomail_node::clock::{Clock, Randomness, SystemClock, SystemRandomness};
use cargomail_node::dns::{Dns, Dnssec, Mx, Record, Resolver, ResolverOptions, Srv, Zone};
use cargomail_node::grip::{Signer, Verifier};
use cargomail_node::https::{self, Server, Serving, ServingLimits};
use cargomail_node::identity::Identity;
use cargomail_node::keeping::Shelters;
use cargomail_node::ledger::Ledger;
use cargomail_node::network::{AddressPolicy, Network, Tcp};
use cargomail_node::peers::{Host, HostOptions, PeerAddress, Peers, Spoken, StreamBounds};
use cargomail_node::smtp;
use cargomail_node::store::{Embedded, EmbeddedOptions};
use cargomail_protocol::address::{Address, ClientId, Domain, Locator};
use cargomail_protocol::grip::{self as rules, Digest, KeyHash, Stamp};
use cargomail_protocol::placeholder::{Category, Description, Draft, Mailbox, Origin, Part, ResourceRef};
use cargomail_protocol::routing::Preferences;
use cargomail_protocol::timestamp::Timestamp;
use data_encoding::BASE64;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::disk::Disk;

pub(crate) const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The host of everything: one machine.
const HOST: &str = "host.test";
/// Streams of one peer that a broker serves at once, and how long it waits for what is not said on one.
pub(crate) const PLACES: usize = 3;
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
/// Until a condition has to hold.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn randomness() -> Arc<dyn Randomness> {
    Arc::new(SystemRandomness)
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(crate) fn stamp() -> Stamp {
    Stamp {
        id: cargomail_node::clock::uuid(&SystemClock, &SystemRandomness),
        now: SystemClock.now(),
    }
}

/// Waits until the condition gives something.
pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(found) => found,
        Err(_) => panic!("never: {what}"),
    }
}

/// The machine's clock, and what was added to it.
#[derive(Default)]
struct Moving(AtomicU64);

impl Clock for Moving {
    fn now(&self) -> Timestamp {
        SystemClock
            .now()
            .plus(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
}

/// The DNS, the disks, and the time.
pub(crate) struct World {
    time: Arc<Moving>,
    pub(crate) zone: Zone,
    pub(crate) dns: Arc<dyn Dns>,
    disk: TempDir,
}

impl World {
    /// `RUST_LOG=cargomail_node=info` shows the walk of each mail of a test that fails.
    pub(crate) async fn new() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let zone = Zone::start(ANYWHERE).await.unwrap();
        zone.add(HOST, Record::Address(Ipv4Addr::LOCALHOST.into()));
        let options = ResolverOptions {
            servers: vec![zone.local_addr()],
            dnssec: Dnssec::Off,
        };
        let time = Arc::new(Moving::default());
        let dns = Arc::new(Resolver::new(&options, time.clone()).unwrap());
        let disk = tempfile::tempdir().unwrap();
        Self {
            time,
            zone,
            dns,
            disk,
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.time.clone()
    }

    /// So much time passes. Whoever sleeps finds out when something else wakes it.
    pub(crate) fn passes(&self, time: Duration) {
        self.time.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    /// Publishes at a name; nobody keeps it.
    pub(crate) fn publish(&self, name: &str, record: Record) {
        self.zone.add_with_ttl(name, record, Duration::ZERO);
    }

    /// Publishes which key speaks for a name, or serves it.
    pub(crate) fn bind(&self, name: &str, key: &Identity) {
        let hash = KeyHash::from_bytes(key.spki_sha256());
        self.publish(name, Record::Txt(rules::Record(hash).to_string()));
    }

    /// Publishes where notifications and the web channel of a name are taken.
    pub(crate) fn serve(&self, name: &str, port: u16) {
        let srv = Srv {
            priority: 0,
            weight: 0,
            host: HOST.to_owned(),
            port,
        };
        self.zone.remove(&format!("_grip-notify._tcp.{name}"));
        self.publish(&format!("_grip-notify._tcp.{name}"), Record::Srv(srv));
    }

    /// Publishes where mail for a domain is taken.
    pub(crate) fn mail_goes(&self, name: &str) {
        let mx = Mx {
            preference: 10,
            host: HOST.to_owned(),
        };
        self.publish(name, Record::Mx(mx));
    }

    /// Publishes where the peer of a name is.
    pub(crate) fn leads(&self, name: &str, to: &[PeerAddress]) {
        self.zone.remove(&format!("_dnsaddr.{name}"));
        for PeerAddress(address) in to {
            let text = format!("dnsaddr={address}");
            self.publish(&format!("_dnsaddr.{name}"), Record::Txt(text));
        }
    }

    pub(crate) fn client(&self) -> https::Client {
        let policy = AddressPolicy::allowing_loopback();
        https::Client::new(Arc::new(Tcp), self.dns.clone(), self.clock(), policy)
    }

    /// A client with the certificate of `_cb.<domain>` over a key.
    pub(crate) fn client_of(&self, name: &str, key: &Identity) -> https::Client {
        let id = ClientId::broker(&domain(name));
        let certificate = key.certificate(&id, SystemClock.now()).unwrap();
        self.client().with_identity(&certificate).unwrap()
    }
}

/// A peer, with few places for the streams of each other one.
pub(crate) async fn peer(key: &Identity, served: &[Spoken]) -> Host {
    let options = HostOptions {
        tcp: Some(ANYWHERE),
        policy: AddressPolicy::allowing_loopback(),
        served: served.to_vec(),
        streams_per_peer: StreamBounds {
            grip: PLACES,
            ..StreamBounds::default()
        },
        ..HostOptions::default()
    };
    Host::start(key, options).await.unwrap()
}

/// What a broker does with streams of peers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// Nothing.
    None,
    /// It opens them.
    Opened,
    /// It serves them too, and says so in the DNS.
    Served,
}

/// How a broker of a test differs from the usual one.
pub(crate) struct Setting {
    pub(crate) channel: api::Channel,
    pub(crate) deliver: Deliver,
    pub(crate) trusted: Vec<&'static str>,
    pub(crate) quota: Option<u64>,
    pub(crate) ordinary: usize,
    /// The port of other domains' mail exchangers.
    pub(crate) smtp_port: u16,
    /// Whether its domain has a server for the web channel.
    pub(crate) web: bool,
    pub(crate) streams: Streams,
    /// Where its records are.
    pub(crate) disk: Disk,
    /// The agent in its own process.
    pub(crate) agent: Option<Arc<dyn cargomail_node::agent::Agent>>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            channel: api::Channel::WebThenSmtp,
            deliver: Deliver::BuiltIn,
            trusted: Vec::new(),
            quota: None,
            ordinary: 1024 * 1024,
            smtp_port: 9,
            web: true,
            streams: Streams::None,
            disk: Disk::default(),
            agent: None,
        }
    }
}

/// A broker with its faces.
pub(crate) struct Node {
    pub(crate) name: Domain,
    pub(crate) key: Identity,
    pub(crate) broker: Arc<Broker>,
    pub(crate) store: Embedded,
    pub(crate) ledger: Ledger,
    pub(crate) accounts: Accounts,
    pub(crate) port: u16,
    pub(crate) smtp: SocketAddr,
    folder: PathBuf,
    setting: Setting,
    pub(crate) host: Option<Host>,
    streaming: Option<tokio::task::JoinHandle<()>>,
    grip: Serving,
    mail: smtp::SmtpServing,
    working: tokio::task::JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Node {
    /// Starts the broker of a domain, and publishes where it is.
    pub(crate) async fn start(world: &World, name: &str, setting: Setting) -> Self {
        let seed = Digest::of(name.as_bytes());
        let key = Identity::from_seed(seed.sha256());
        let folder = world.disk.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        world.bind(&format!("_cb.{name}"), &key);
        world.bind(&format!("_grip.{name}"), &key);
        world.mail_goes(name);
        let dkim = smtp::Dkim::new(&key, domain(name), "cargomail");
        world.publish(
            &format!("cargomail._domainkey.{name}"),
            Record::Txt(dkim.record()),
        );
        Self::up(world, domain(name), key, folder, setting).await
    }

    async fn up(world: &World, name: Domain, key: Identity, folder: PathBuf, setting: Setting) -> Self {
        let store = Embedded::open(&folder, EmbeddedOptions::default()).await.unwrap();
        let records = setting.disk.with(store.records());
        let ledger = Ledger::open(records.clone(), world.clock()).await.unwrap();
        let accounts = Accounts::new(records.clone(), world.clock(), randomness());
        let client = smtp::ClientOptions {
            helo: format!("mx.{name}"),
            port: setting.smtp_port,
            policy: AddressPolicy::allowing_loopback(),
            smart_host: None,
        };
        let served: &[Spoken] = match setting.streams {
            Streams::Served => &[Spoken::Grip],
            _ => &[],
        };
        let host = match setting.streams {
            Streams::None => None,
            _ => Some(peer(&key, served).await),
        };
        let https = world.client_of(name.as_str(), &key);
        let needs = Needs {
            identity: key.clone(),
            blocks: store.blocks(),
            shelters: Shelters::default(),
            records: records.clone(),
            ledger: ledger.clone(),
            accounts: accounts.clone(),
            verifier: Verifier::new(world.dns.clone(), records.clone(), world.clock()),
            signer: Signer::new(&key, world.clock(), randomness()).unwrap(),
            dns: world.dns.clone(),
            clock: world.clock(),
            randomness: randomness(),
            https: match &host {
                Some(host) => https.with_peers(Arc::new(host.clone())),
                None => https,
            },
            smtp: smtp::Client::new(Arc::new(Tcp), world.dns.clone(), client),
            dkim: smtp::Dkim::new(&key, name.clone(), "cargomail"),
            authenticator: smtp::Authenticator::new(world.dns.clone(), format!("mx.{name}")),
            agent: setting.agent.clone(),
        };
        let options = Options {
            domain: name.clone(),
            channel: setting.channel,
            deliver: setting.deliver.clone(),
            trusted: setting.trusted.iter().map(|text| text.parse().unwrap()).collect(),
            quota: setting.quota,
            ordinary: setting.ordinary,
            concurrent: 8,
        };
        let broker = Broker::open(options, needs).await.unwrap();
        let shutdown = CancellationToken::new();
        let certificate = key.server_certificate(name.as_str(), SystemClock.now()).unwrap();
        let tls = https::grip_server(&certificate, world.clock()).unwrap();
        let listener = Tcp.listen(ANYWHERE).await.unwrap();
        let limits = ServingLimits::default();
        let grip = https::serve(listener, tls, broker.grip_routes(), limits, shutdown.clone()).unwrap();
        let port = grip.local_addr().port();
        if setting.web {
            world.serve(name.as_str(), port);
        }
        let streaming = host.clone().filter(|_| !served.is_empty()).map(|host| {
            world.leads(name.as_str(), &host.addresses());
            let limits = ServingLimits {
                header: SILENCE,
                ..ServingLimits::default()
            };
            let routes = broker.grip_routes();
            tokio::spawn(https::serve_peers(
                Arc::new(host),
                routes,
                limits,
                shutdown.clone(),
            ))
        });
        let listener = Tcp.listen(ANYWHERE).await.unwrap();
        let options = smtp::ServerOptions::new(format!("mx.{name}"));
        let mail = smtp::serve(listener, broker.clone(), options, shutdown.clone()).unwrap();
        let working = tokio::spawn(broker.clone().run(shutdown.clone()));
        Self {
            port,
            smtp: mail.local_addr(),
            name,
            key,
            broker,
            store,
            ledger,
            accounts,
            folder,
            setting,
            host,
            streaming,
            grip,
            mail,
            working,
            shutdown,
        }
    }

    /// Stops it and everything that it has open.
    pub(crate) async fn stop(self) -> Stopped {
        self.shutdown.cancel();
        if let Some(host) = &self.host {
            host.stop().await;
        }
        if let Some(streaming) = self.streaming {
            streaming.await.unwrap();
        }
        self.grip.stopped().await;
        self.mail.stopped().await;
        self.working.await.unwrap();
        drop((self.broker, self.ledger, self.accounts));
        self.store.close().await.unwrap();
        Stopped {
            name: self.name,
            key: self.key,
            folder: self.folder,
            setting: self.setting,
        }
    }

    pub(crate) async fn user(&self, local: &str) -> User<'_> {
        let whose = address(&format!("{local}@{}", self.name));
        self.accounts.set(&whose, "a password", None).await.unwrap();
        User { node: self, whose }
    }

    pub(crate) fn server(&self) -> Server {
        Server::named(&self.name, HOST, self.port)
    }
}

/// A broker whose machine is off.
pub(crate) struct Stopped {
    name: Domain,
    key: Identity,
    folder: PathBuf,
    setting: Setting,
}

impl Stopped {
    pub(crate) async fn start(self, world: &World) -> Node {
        Node::up(world, self.name, self.key, self.folder, self.setting).await
    }
}

/// A user at their own broker.
pub(crate) struct User<'n> {
    pub(crate) node: &'n Node,
    pub(crate) whose: Address,
}

impl User<'_> {
    pub(crate) async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, Bytes) {
        let router = self
            .node
            .broker
            .user_routes()
            .layer(Extension(Caller(self.whose.clone())));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(body.into())
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    pub(crate) async fn list(&self, folder: &str) -> Vec<api::Message> {
        let path = format!("/api/v1/messages?folder={folder}");
        let (status, body) = self.ask(Method::GET, &path, Body::empty()).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) async fn raw(&self, id: &str) -> String {
        let path = format!("/api/v1/messages/{id}");
        let (status, body) = self.ask(Method::GET, &path, Body::empty()).await;
        assert_eq!(status, StatusCode::OK);
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// Waits until a folder holds so many messages.
    pub(crate) async fn holds(&self, folder: &str, count: usize) -> Vec<api::Message> {
        until(&format!("{} has {count} in {folder}", self.whose), async || {
            let messages = self.list(folder).await;
            (messages.len() == count).then_some(messages)
        })
        .await
    }

    pub(crate) async fn wishes(&self, json: &str) {
        let (status, body) = self
            .ask(Method::PUT, "/api/v1/preferences", json.to_owned())
            .await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice::<Preferences>(&body).unwrap();
    }

    pub(crate) async fn try_send(
        &self,
        message: &[u8],
        envelopes: &[&[&str]],
        channel: Option<api::Channel>,
    ) -> (StatusCode, Bytes) {
        let group = |group: &&[&str]| group.iter().map(|text| address(text)).collect();
        let new = api::NewMessage {
            ordinary: None,
            envelopes: envelopes.iter().map(group).collect(),
            message: BASE64.encode(message),
            channel,
        };
        let body = serde_json::to_vec(&new).unwrap();
        self.ask(Method::POST, "/api/v1/messages", body).await
    }

    pub(crate) async fn send(&self, message: &[u8], envelopes: &[&[&str]]) -> Vec<api::Queued> {
        let (status, body) = self.try_send(message, envelopes, None).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) async fn queue(&self) -> Vec<api::Queued> {
        let (status, body) = self.ask(Method::GET, "/api/v1/queue", Body::empty()).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&body).unwrap()
    }

    /// Waits until nothing of this user's waits any more.
    pub(crate) async fn sent(&self) -> Vec<api::Queued> {
        until("nothing waits", async || {
            let queue = self.queue().await;
            let waits = queue.iter().any(|entry| entry.delivery == api::Delivery::Waiting);
            (!waits && !queue.is_empty()).then_some(queue)
        })
        .await
    }
}

/// The placeholder of a text of alice's, whose content is at the hospital.
pub(crate) struct Letter {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) id: String,
    pub(crate) category: String,
    pub(crate) size: u64,
    pub(crate) expires: Timestamp,
}

impl Letter {
    pub(crate) fn new(id: &str) -> Self {
        Self {
            from: "alice@foo.test".to_owned(),
            to: vec!["bob@bar.test".to_owned()],
            id: format!("<{id}@foo.test>"),
            category: "healthcare".to_owned(),
            size: 87_328_426,
            expires: SystemClock.now().plus(Duration::from_secs(3 * 24 * 3600)),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let resource = ResourceRef {
            cid: Digest::of(self.id.as_bytes()).cid(),
            size: self.size,
            sha256: None,
        };
        let draft = Draft {
            from: Mailbox::named("Alice Sanders", address(&self.from)),
            sender: None,
            reply_to: Vec::new(),
            to: self.to.iter().map(|to| Mailbox::bare(address(to))).collect(),
            cc: Vec::new(),
            subject: "Your x-ray".to_owned(),
            date: SystemClock.now(),
            message_id: self.id.clone(),
            in_reply_to: None,
            references: Vec::new(),
            text: Some(Part {
                resource,
                description: Description::new("text/plain; charset=utf-8").unwrap(),
            }),
            html: None,
            inline: Vec::new(),
            attachments: Vec::new(),
        };
        let origin = Origin {
            locator: Locator::parse("mailbox.hospital.test").unwrap(),
            expires: Some(self.expires),
        };
        let category = Category::parse(&self.category).unwrap();
        draft
            .into_placeholder(origin, category)
            .unwrap()
            .encode()
            .unwrap()
    }
}

/// An ordinary message.
pub(crate) fn note(from: &str, to: &str, id: &str) -> Vec<u8> {
    format!(
        "From: {from}\r\nTo: {to}\r\nSubject: lunch?\r\nMessage-ID: <{id}@{}>\r\n\
         Date: Fri, 04 Dec 2026 13:05:01 +0000\r\n\r\nAt noon.\r\n",
        from.split('@').nth(1).unwrap()
    )
    .into_bytes()
}
