//! A world of Resource Mailboxes: a DNS server, a clock that can be set forward, and brokers that notify.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use axum::{Extension, Router};
use bytes::Bytes;
use cargomail_node::accounts::{Accounts, Caller};
use cargomail_node::api::{NewShare, Posted, Quota, Retrieval, ShareView, UsageView};
use cargomail_node::clock::{self, Clock, SystemClock, SystemRandomness};
use cargomail_node::dns::{Dns, Dnssec, Record, Resolver, ResolverOptions, Zone};
use cargomail_node::grip::{Signer, Verifier};
use cargomail_node::https;
use cargomail_node::identity::Identity;
use cargomail_node::keeping::{Collected, Collector, LegalHolds, Mode, Shelters};
use cargomail_node::ledger::Ledger;
use cargomail_node::mailbox::{Mailbox, Needs, Options};
use cargomail_node::network::AddressPolicy;
use cargomail_node::peers::{Host, HostOptions, PeerAddress, PeerStream, Peers, Spoken};
use cargomail_node::store::{Embedded, EmbeddedOptions, Op};
use cargomail_protocol::address::{Address, ClientId, Domain, Locator};
use cargomail_protocol::exchange::{Decoder, Expect, Frame};
use cargomail_protocol::grip::{self, Digest, NodeKey, Proved, Stamp};
use cargomail_protocol::ledger::{Act, Entry};
use cargomail_protocol::notification::{self, JobState, Notification, Taken};
use cargomail_protocol::placeholder::Category;
use cargomail_protocol::share::{SharedResource, parse_root};
use cargomail_protocol::timestamp::Timestamp;
use http::{Request, StatusCode, header};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::lines::{Cuttable, Lines};

pub(crate) const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn alice() -> Address {
    Address::parse("alice@foo.test").unwrap()
}

pub(crate) fn bob() -> Address {
    Address::parse("bob@bar.test").unwrap()
}

pub(crate) fn carol() -> Address {
    Address::parse("carol@bar.test").unwrap()
}

pub(crate) fn locator(text: &str) -> Locator {
    Locator::parse(text).unwrap()
}

/// The machine's clock, set forward.
#[derive(Default)]
pub(crate) struct Forward(AtomicU64);

impl Forward {
    pub(crate) fn by(&self, time: Duration) {
        self.0.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for Forward {
    fn now(&self) -> Timestamp {
        SystemClock
            .now()
            .plus(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }
}

/// The DNS and the time.
pub(crate) struct World {
    pub(crate) zone: Zone,
    pub(crate) clock: Arc<Forward>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self {
            zone: Zone::start(ANYWHERE).await.unwrap(),
            clock: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            id: clock::uuid(&*self.clock, &SystemRandomness),
            now: self.now(),
        }
    }

    /// Publishes a text that is never kept by a resolver.
    pub(crate) fn publish(&self, name: &str, text: String) {
        self.zone.add_with_ttl(name, Record::Txt(text), Duration::ZERO);
    }

    pub(crate) fn bind(&self, name: &str, hash: [u8; 32]) {
        let hex = data_encoding::HEXLOWER.encode(&hash);
        self.publish(name, format!("v=grip1; h=sha256; p={hex}"));
    }

    pub(crate) fn resolver(&self) -> Arc<dyn Dns> {
        let options = ResolverOptions {
            servers: vec![self.zone.local_addr()],
            dnssec: Dnssec::Off,
        };
        Arc::new(Resolver::new(&options, self.clock.clone()).unwrap())
    }

    /// A Resource Mailbox of that name whose agent is `_rra.<service>`, with its DNS records.
    pub(crate) async fn mailbox(&self, name: &str, service: &str, seed: u8) -> Node {
        let identity = Identity::from_seed(&[seed; 32]);
        self.bind(&format!("_rra.{service}"), identity.spki_sha256());
        self.bind(&format!("_grip.{name}"), identity.spki_sha256());
        let folder = tempfile::tempdir().unwrap();
        self.start(name, service, identity, folder, Lines::default())
            .await
    }

    /// hospital.test: Alice's.
    pub(crate) async fn hospital(&self) -> Node {
        let node = self.mailbox("mailbox.hospital.test", "hospital.test", 1).await;
        node.account(&alice(), None).await;
        node
    }

    /// insurance.test: Bob's and Carol's.
    pub(crate) async fn insurance(&self) -> Node {
        let node = self.mailbox("mailbox.insurance.test", "insurance.test", 2).await;
        node.account(&bob(), None).await;
        node.account(&carol(), None).await;
        node
    }

    async fn start(
        &self,
        name: &str,
        service: &str,
        identity: Identity,
        folder: TempDir,
        lines: Lines,
    ) -> Node {
        let options = HostOptions {
            quic: Some(ANYWHERE),
            policy: lines.policy.clone(),
            ..HostOptions::default()
        };
        let host = Host::start(&identity, options).await.unwrap();
        let at = format!("_dnsaddr.{name}");
        self.zone.remove(&at);
        for PeerAddress(address) in host.addresses() {
            self.publish(&at, format!("dnsaddr={address}"));
        }
        let store = Embedded::open(folder.path(), EmbeddedOptions::default())
            .await
            .unwrap();
        let clock: Arc<dyn Clock> = self.clock.clone();
        let randomness = Arc::new(SystemRandomness);
        let (dns, records) = (self.resolver(), store.records());
        let accounts = Accounts::new(records.clone(), clock.clone(), randomness.clone());
        let ledger = Ledger::open(records.clone(), clock.clone()).await.unwrap();
        let shelters = Shelters::default();
        let holds = LegalHolds::new(
            store.blocks(),
            records.clone(),
            ledger.clone(),
            accounts.clone(),
            clock.clone(),
            randomness.clone(),
        );
        let collector = Collector::new(
            store.blocks(),
            records.clone(),
            shelters.clone(),
            holds.clone(),
            clock.clone(),
        );
        let needs = Needs {
            identity: identity.clone(),
            blocks: store.blocks(),
            shelters: shelters.clone(),
            records: records.clone(),
            ledger: ledger.clone(),
            accounts: accounts.clone(),
            verifier: Verifier::new(dns.clone(), records, clock.clone()),
            signer: Signer::new(&identity, clock.clone(), randomness.clone()).unwrap(),
            dns,
            peers: Arc::new(Cuttable {
                host: host.clone(),
                lines: lines.clone(),
            }),
            clock,
            randomness,
        };
        let options = Options {
            locator: locator(name),
            service: Domain::parse(service).unwrap(),
            concurrent: 4,
        };
        let mailbox = Mailbox::open(options, needs).await.unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(mailbox.clone().run(shutdown.clone()));
        Node {
            name: name.to_owned(),
            service: service.to_owned(),
            identity,
            folder,
            store,
            host,
            lines,
            accounts,
            ledger,
            holds,
            collector,
            mailbox,
            shutdown,
            running,
        }
    }

    /// Stops a node, and starts it on what is left on its disk.
    pub(crate) async fn restart(&self, node: Node) -> Node {
        self.restart_with(node, Vec::new()).await
    }

    /// Stops a node, changes records on its disk, and starts it on that.
    pub(crate) async fn restart_with(&self, node: Node, change: Vec<Op>) -> Node {
        let (name, service, identity) = (node.name.clone(), node.service.clone(), node.identity.clone());
        let lines = node.lines.anew();
        let folder = node.stop().await;
        if !change.is_empty() {
            let store = Embedded::open(folder.path(), EmbeddedOptions::default())
                .await
                .unwrap();
            store.records().commit(Vec::new(), change).await.unwrap();
            store.close().await.unwrap();
        }
        self.start(&name, &service, identity, folder, lines).await
    }

    /// The broker of a domain, with its DNS record.
    pub(crate) fn broker(&self, domain: &str, seed: u8) -> Broker {
        let key = NodeKey::from_seed(&[seed; 32]).unwrap();
        let id = ClientId::broker(&Domain::parse(domain).unwrap());
        self.bind(&id.to_string(), *key.hash().as_bytes());
        Broker { key, id }
    }
}

/// A Resource Mailbox that runs.
pub(crate) struct Node {
    pub(crate) name: String,
    service: String,
    pub(crate) identity: Identity,
    folder: TempDir,
    pub(crate) store: Embedded,
    pub(crate) host: Host,
    pub(crate) lines: Lines,
    accounts: Accounts,
    pub(crate) ledger: Ledger,
    pub(crate) holds: LegalHolds,
    pub(crate) collector: Collector,
    pub(crate) mailbox: Arc<Mailbox>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Node {
    pub(crate) fn locator(&self) -> Locator {
        locator(&self.name)
    }

    pub(crate) async fn account(&self, address: &Address, quota: Option<u64>) {
        let quota = quota.map_or(Quota::Unbounded, Quota::Octets);
        self.accounts
            .set(address, "a password", Some(quota))
            .await
            .unwrap();
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.running.await.unwrap();
        self.host.stop().await;
        drop(self.mailbox);
        drop((self.accounts, self.ledger, self.holds, self.collector));
        self.store.close().await.unwrap();
        self.folder
    }

    fn router(&self, caller: &Address) -> Router {
        self.mailbox
            .user_routes()
            .layer(Extension(Caller(caller.clone())))
    }

    /// What a person's program is answered.
    pub(crate) async fn ask(&self, caller: &Address, request: Request<Body>) -> Response {
        self.router(caller).oneshot(request).await.unwrap()
    }

    /// The same, to be awaited together with others.
    pub(crate) fn answer(&self, caller: Address, request: Request<Body>) -> impl Future<Output = Response> {
        let router = self.router(&caller);
        async move { router.oneshot(request).await.unwrap() }
    }

    pub(crate) async fn read(&self, caller: &Address, cid: &str) -> (StatusCode, Bytes) {
        let request = Request::get(format!("/api/v1/resources/{cid}"));
        let response = self.ask(caller, request.body(Body::empty()).unwrap()).await;
        (response.status(), octets(response).await)
    }

    pub(crate) async fn post(&self, caller: &Address, body: impl Into<Body>) -> Posted {
        let request = Request::post("/api/v1/resources").body(body.into()).unwrap();
        let response = self.ask(caller, request).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        serde_json::from_slice(&octets(response).await).unwrap()
    }

    pub(crate) async fn share(&self, caller: &Address, new: &NewShare) -> ShareView {
        let response = self.ask(caller, json("/api/v1/shares", new)).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        serde_json::from_slice(&octets(response).await).unwrap()
    }

    pub(crate) async fn shares(&self, caller: &Address) -> Vec<ShareView> {
        let request = Request::get("/api/v1/shares").body(Body::empty()).unwrap();
        serde_json::from_slice(&octets(self.ask(caller, request).await).await).unwrap()
    }

    pub(crate) async fn revoke(&self, caller: &Address, share: &ShareView) -> StatusCode {
        let request = Request::post(format!("/api/v1/shares/{}/revoke", share.id));
        self.ask(caller, request.body(Body::empty()).unwrap())
            .await
            .status()
    }

    pub(crate) async fn delete(&self, caller: &Address, posted: &Posted, force: bool) -> StatusCode {
        let path = format!("/api/v1/resources/{}?force={force}", posted.cid);
        let request = Request::delete(path).body(Body::empty()).unwrap();
        self.ask(caller, request).await.status()
    }

    pub(crate) async fn look<T: serde::de::DeserializeOwned>(&self, caller: &Address, path: &str) -> T {
        let response = self
            .ask(caller, Request::get(path).body(Body::empty()).unwrap())
            .await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        serde_json::from_slice(&octets(response).await).unwrap()
    }

    /// Octets that the caller's quota is charged with.
    pub(crate) async fn used(&self, caller: &Address) -> u64 {
        self.look::<UsageView>(caller, "/api/v1/usage").await.held
    }

    pub(crate) async fn collect(&self) -> Collected {
        self.collector.collect(Mode::Brisk).await.unwrap()
    }

    pub(crate) async fn retrievals(&self, caller: &Address) -> Vec<Retrieval> {
        let request = Request::get("/api/v1/retrievals").body(Body::empty()).unwrap();
        serde_json::from_slice(&octets(self.ask(caller, request).await).await).unwrap()
    }

    /// The ledger, checked from its first entry to its head.
    pub(crate) async fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.ledger
            .verify(|entry| entries.push(entry.clone()))
            .await
            .unwrap();
        entries
    }

    pub(crate) async fn acts(&self) -> Vec<Act> {
        let entries = self.entries().await;
        entries.iter().map(|entry| entry.event.act).collect()
    }

    pub(crate) async fn count(&self, act: Act) -> usize {
        self.acts().await.iter().filter(|other| **other == act).count()
    }
}

/// Says over and over whether something is so, until it is.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

pub(crate) async fn octets(response: Response) -> Bytes {
    https::read(response.into_body(), 256 * 1024 * 1024)
        .await
        .unwrap()
}

pub(crate) fn json(path: &str, value: &impl serde::Serialize) -> Request<Body> {
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(value).unwrap().into())
        .unwrap()
}

/// Octets that repeat nowhere.
pub(crate) fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut octets = Vec::with_capacity(length + 8);
    while octets.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets.extend_from_slice(&state.to_le_bytes());
    }
    octets.truncate(length);
    octets
}

pub(crate) fn shared(posted: &Posted) -> SharedResource {
    SharedResource::new(parse_root(&posted.cid).unwrap(), posted.size).unwrap()
}

pub(crate) fn new_share(world: &World, recipients: &[Address], posted: &[Posted]) -> NewShare {
    NewShare {
        recipients: recipients.to_vec(),
        resources: posted.iter().map(shared).collect(),
        category: Category::parse("healthcare").unwrap(),
        message_id: "<1@foo.test>".to_owned(),
        expires: world.now().plus(24 * HOUR),
    }
}

/// What a recipient's broker makes of a placeholder for this share.
pub(crate) fn notification(
    origin: &Locator,
    share: &ShareView,
    sender: &Address,
    recipient: &Address,
) -> Notification {
    Notification {
        origin: origin.clone(),
        message_id: share.message_id.clone(),
        sender: sender.clone(),
        recipient: recipient.clone(),
        category: share.category.clone(),
        expires: Timestamp::from_seconds(share.expires.seconds()),
        resources: share.resources.clone(),
    }
}

/// A Cargo Broker: only what it says to agents.
pub(crate) struct Broker {
    pub(crate) key: NodeKey,
    pub(crate) id: ClientId,
}

impl Broker {
    pub(crate) fn proved(&self) -> Proved {
        Proved::Certificate {
            key: self.key.hash(),
            name: self.id.to_string(),
        }
    }

    pub(crate) fn token(&self, world: &World, to: &Locator, notification: &Notification) -> String {
        notification::token(
            &self.key,
            &notification.recipient,
            to,
            Digest::of(&notification.to_bytes().unwrap()),
            notification.expires,
            world.stamp(),
        )
        .unwrap()
    }

    pub(crate) async fn notify(&self, world: &World, to: &Node, notification: &Notification) -> String {
        let token = self.token(world, &to.locator(), notification);
        let response = self.send(to, &token, notification.to_bytes().unwrap()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        Taken::parse(&octets(response).await).unwrap().job
    }

    pub(crate) async fn send(&self, to: &Node, token: &str, body: Vec<u8>) -> Response {
        let request = Request::post(notification::PATH)
            .header(header::AUTHORIZATION, grip::authorization(token))
            .header(header::CONTENT_TYPE, notification::MEDIA_TYPE)
            .body(body.into())
            .unwrap();
        self.request(to, request).await
    }

    pub(crate) async fn request(&self, to: &Node, request: Request<Body>) -> Response {
        let router = to.mailbox.grip_routes().layer(Extension(self.proved()));
        router.oneshot(request).await.unwrap()
    }

    pub(crate) async fn state(&self, of: &Node, job: &str) -> JobState {
        let request = Request::get(format!("{}/{job}", notification::PATH));
        let response = self.request(of, request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        JobState::parse(&octets(response).await).unwrap()
    }

    /// Waits until a job has come to its end.
    pub(crate) async fn end(&self, of: &Node, job: &str) -> JobState {
        until("the end of a retrieval", async || {
            Some(self.state(of, job).await).filter(JobState::is_final)
        })
        .await
    }

    /// Notifies again and again, each time with a fresh token, until the job has come to its end.
    pub(crate) async fn insist(&self, world: &World, to: &Node, notification: &Notification) -> JobState {
        until("the end of a retrieval", async || {
            let job = self.notify(world, to, notification).await;
            Some(self.state(to, &job).await).filter(JobState::is_final)
        })
        .await
    }
}

/// A peer without a mailbox: says one frame and hears one.
pub(crate) struct Stranger {
    pub(crate) identity: Identity,
    pub(crate) host: Host,
}

impl Stranger {
    pub(crate) async fn new(seed: u8) -> Self {
        let identity = Identity::from_seed(&[seed; 32]);
        let options = HostOptions {
            quic: Some(ANYWHERE),
            policy: AddressPolicy::allowing_loopback(),
            ..HostOptions::default()
        };
        let host = Host::start(&identity, options).await.unwrap();
        Self { identity, host }
    }

    pub(crate) fn key(&self) -> NodeKey {
        NodeKey::from_seed(self.identity.seed()).unwrap()
    }

    pub(crate) async fn say(&self, to: &Node, frame: Frame, expect: Expect) -> Option<Frame> {
        say(&self.host, to, frame, expect).await
    }
}

/// Says one frame on a stream of its own, and hears the first that comes back.
pub(crate) async fn say(host: &Host, to: &Node, frame: Frame, expect: Expect) -> Option<Frame> {
    let mut stream = host.open(Spoken::Exchange, &to.host.addresses()).await.unwrap();
    for part in frame.encode() {
        stream.io.write_all(&part).await.unwrap();
    }
    stream.io.flush().await.unwrap();
    hear(&mut stream, expect).await
}

pub(crate) async fn hear(stream: &mut PeerStream, expect: Expect) -> Option<Frame> {
    let mut decoder = Decoder::new();
    let mut piece = [0; 1024];
    loop {
        if let Some(frame) = decoder.poll(expect).unwrap() {
            return Some(frame);
        }
        match stream.io.read(&mut piece).await {
            Ok(read) if read > 0 => decoder.push(&piece[..read]),
            _ => return None,
        }
    }
}
