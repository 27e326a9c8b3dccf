//! A machine with a name and a key of its own in the DNS, and no services: whoever sits at it says what they like.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Body;
use bytes::Bytes;
use cargomail_node::app;
use cargomail_node::clock::{self, Clock};
use cargomail_node::dns::{Dns, Record};
use cargomail_node::https::{self, Client, Found, Server, discover};
use cargomail_node::identity::{Certificate, Identity};
use cargomail_node::network::{ByteStream, Network};
use cargomail_node::peers::{PeerAddress, Peers, Spoken};
use cargomail_protocol::address::{ClientId, Domain};
use cargomail_protocol::exchange::{Decoder, Expect, Frame};
use cargomail_protocol::grip::{self, KeyHash, NodeKey, Record as Grip, Stamp};
use http::{Request, StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::World;
use super::network::{Machine, Peer};
use super::time::Seeded;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest line of a mail server's answer.
const LINE: usize = 4096;
/// The longest body of an answer that is read.
const BODY: usize = 64 * 1024;

/// Somebody of whom nobody knows anything but a name and a key, which stand in the DNS.
pub struct Sybil {
    /// The name.
    pub domain: Domain,
    /// The key.
    pub key: NodeKey,
    /// What it shows others in TLS.
    pub certificate: Certificate,
}

/// The machine.
pub struct Villain {
    machine: Arc<Machine>,
    peer: Arc<Peer>,
    /// Beside every machine that it asks.
    client: Client,
    /// From where the machine is.
    away: Client,
    dns: Arc<dyn Dns>,
    clock: Arc<dyn Clock>,
    chance: Arc<Seeded>,
    /// Its key, which the DNS binds to its name.
    pub key: NodeKey,
    /// What it shows others in TLS.
    pub certificate: Certificate,
}

impl World {
    /// The machine of a site that is laid out and was never started, for whoever wants to do harm from there.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn villain(&self, name: &str) -> anyhow::Result<Villain> {
        let site = self.at(name)?;
        let alive = Arc::new(AtomicBool::new(true));
        let machine = |alive| self.wires.machine(site.ports.address, alive);
        let world = self.world_of(name);
        let from_afar = app::World {
            network: Arc::new(machine(&alive)),
            ..world.clone()
        };
        Ok(Villain {
            machine: Arc::new(machine(&alive)),
            peer: Arc::new(Peer::new(machine(&alive), site.identity.public(), Vec::new())),
            client: world.client(),
            away: from_afar.client(),
            dns: world.dns,
            clock: world.clock,
            chance: site.chance.clone(),
            key: self.key(name)?,
            certificate: self.certificate(name, &Domain::parse(name)?)?,
        })
    }

    /// Somebody who says to be the broker of a domain below a site's, with a key that the DNS binds to it.
    ///
    /// # Errors
    /// When it is no domain.
    pub fn sybil(&self, label: &str, below: &str) -> anyhow::Result<Sybil> {
        let domain = Domain::parse(&format!("{label}.{below}"))?;
        let (identity, id) = (Identity::generate(&self.chance), ClientId::broker(&domain));
        let bound = Grip(KeyHash::from_bytes(identity.spki_sha256())).to_string();
        self.zone.add(&id.to_string(), Record::Txt(bound));
        Ok(Sybil {
            key: NodeKey::from_seed(identity.seed())?,
            certificate: identity.certificate(&id, self.clock().now())?,
            domain,
        })
    }
}

impl Villain {
    /// Makes a token unlike every other, and dates it.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp {
            id: clock::uuid(&*self.clock, &*self.chance),
            now: self.clock.now(),
        }
    }

    /// Octets that mean nothing.
    #[must_use]
    pub fn garbage(&self, octets: usize) -> Vec<u8> {
        let mut garbage = vec![0; octets];
        cargomail_node::clock::Randomness::fill(&*self.chance, &mut garbage);
        garbage
    }

    async fn server(&self, name: &Domain) -> anyhow::Result<Server> {
        match discover(&*self.dns, name).await? {
            Found::Servers(servers) => servers.into_iter().next().context("a name has servers"),
            Found::None => bail!("{name} has no server"),
        }
    }

    /// Posts something to the server of a name, showing this certificate; the status of the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(
        &self,
        shown: &Certificate,
        to: &Domain,
        path: &'static str,
        kind: &str,
        token: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<StatusCode> {
        let asked = self.ask(&self.client, shown, to, path, kind, token, body);
        Ok(asked.await?.0)
    }

    /// The same from where the machine is; the status of the answer, and the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post_from_afar(
        &self,
        shown: &Certificate,
        to: &Domain,
        path: &'static str,
        kind: &str,
        token: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.ask(&self.away, shown, to, path, kind, token, body).await
    }

    #[expect(clippy::too_many_arguments, reason = "what a request is made of")]
    async fn ask(
        &self,
        client: &Client,
        shown: &Certificate,
        to: &Domain,
        path: &'static str,
        kind: &str,
        token: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, kind)
            .header(header::AUTHORIZATION, grip::authorization(token))
            .body(Body::from(body))?;
        let client = client.with_identity(shown)?;
        let server = self.server(to).await?;
        let answered = async {
            let answer = client.send(&server, request).await?;
            let status = answer.status();
            anyhow::Ok((status, https::read(answer.into_body(), BODY).await?))
        };
        timeout(PATIENCE, answered).await.context("no answer in time")?
    }

    /// Answers the streams of peers from now on, until somebody else sits at the machine.
    pub fn serve<A>(&self, answer: impl Fn(Box<dyn ByteStream>) -> A + Send + 'static)
    where
        A: Future<Output = ()> + Send + 'static,
    {
        let peer = self.peer.clone();
        tokio::spawn(async move {
            while let Some(stream) = peer.accept(Spoken::Exchange).await {
                tokio::spawn(answer(stream.io));
            }
        });
    }

    /// A stream to a peer.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn open(&self, to: &[PeerAddress]) -> anyhow::Result<Box<dyn ByteStream>> {
        Ok(self.peer.open(Spoken::Exchange, to).await?.io)
    }

    /// Says one frame on a stream of its own, and hears the first that comes back; none when the stream ends or nothing comes.
    ///
    /// # Errors
    /// When the peer does not listen.
    pub async fn say(
        &self,
        to: &[PeerAddress],
        frame: Frame,
        expect: Expect,
    ) -> anyhow::Result<Option<Frame>> {
        let mut stream = self.open(to).await?;
        tell(&mut stream, frame).await?;
        Ok(hear(&mut stream, &mut Decoder::new(), expect).await)
    }

    /// Speaks SMTP with a mail server: a line, its answer, and the next line when that is a 2xx or 3xx; the last answer.
    ///
    /// # Errors
    /// When the server does not listen, or says nothing.
    pub async fn dictate(&self, to: SocketAddr, lines: &[String]) -> anyhow::Result<String> {
        let mut stream = self.machine.connect(to).await?;
        let mut answer = heard(&mut stream).await?;
        for line in lines {
            if !answer.starts_with(['2', '3']) {
                break;
            }
            stream.write_all(line.as_bytes()).await?;
            stream.write_all(b"\r\n").await?;
            stream.flush().await?;
            answer = heard(&mut stream).await?;
        }
        Ok(answer)
    }
}

/// Says one frame.
pub(crate) async fn tell(stream: &mut Box<dyn ByteStream>, frame: Frame) -> io::Result<()> {
    for part in frame.encode() {
        stream.write_all(&part).await?;
    }
    stream.flush().await
}

/// The next frame; none when the stream ends, means nothing, or nothing comes.
pub(crate) async fn hear(
    stream: &mut Box<dyn ByteStream>,
    decoder: &mut Decoder,
    expect: Expect,
) -> Option<Frame> {
    let hearing = async {
        loop {
            match decoder.poll(expect) {
                Ok(None) => {}
                polled => return polled.ok().flatten(),
            }
            match stream.read(decoder.room()).await {
                Ok(read) if read > 0 => decoder.fill(read),
                _ => return None,
            }
        }
    };
    timeout(PATIENCE, hearing).await.unwrap_or_default()
}

/// The last line of an answer.
async fn heard(stream: &mut Box<dyn ByteStream>) -> anyhow::Result<String> {
    let reading = async {
        let mut line = Vec::new();
        loop {
            let octet = stream.read_u8().await?;
            line.push(octet);
            anyhow::ensure!(line.len() <= LINE, "an answer without an end");
            if octet == b'\n' {
                if line.get(3) != Some(&b'-') {
                    return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
                }
                line.clear();
            }
        }
    };
    timeout(PATIENCE, reading).await.context("no answer in time")?
}
