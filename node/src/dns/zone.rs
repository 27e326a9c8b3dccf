//! A small authoritative DNS server in this process, for the demonstration, the simulator and tests.
//!
//! Not here: DNSSEC, transfers, updates, wildcards. What always holds: a name that does not exist gets NXDOMAIN, a name
//! that has only other types, or only names below it, gets an empty answer (RFC 2308, RFC 8020).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA, SRV, TXT};
use hickory_server::proto::rr::{Name, RData, Record as Resource, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use super::{Mx, Srv};

/// The longest character-string of a TXT record (RFC 1035 §3.3).
const CHARACTER_STRING: usize = 255;
/// Aliases followed for one question.
const ALIASES: usize = 8;
/// TTL of what does not exist.
const NEGATIVE_TTL: u32 = 60;
/// How often a port is looked for that is free for both UDP and TCP.
const PORTS: usize = 16;

/// What stands at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A text of any length; it is split into character-strings of 255 octets.
    Txt(String),
    /// A service record.
    Srv(Srv),
    /// A mail exchanger.
    Mx(Mx),
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
    /// Another name of this zone, where the records stand.
    Alias(String),
}

type Records = Arc<Mutex<BTreeMap<String, Vec<(Record, u32)>>>>;

/// An authoritative server over UDP and TCP at one port, for every name that was added to it. Cheap to clone; stops
/// when the last clone is dropped.
#[derive(Clone)]
pub struct Zone {
    records: Records,
    local: SocketAddr,
    _server: Arc<Server<Answering>>,
}

impl std::fmt::Debug for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Zone({})", self.local)
    }
}

impl Zone {
    /// Serves at the address; port 0 lets the system choose one that is free for UDP and TCP.
    ///
    /// # Errors
    /// When the port cannot be taken.
    pub async fn start(at: SocketAddr) -> io::Result<Self> {
        let (udp, tcp) = bind(at).await?;
        let local = tcp.local_addr()?;
        let records = Records::default();
        let mut server = Server::new(Answering(records.clone()));
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 32);
        Ok(Self {
            records,
            local,
            _server: Arc::new(server),
        })
    }

    /// Where it serves: the server to put into [`super::ResolverOptions::servers`].
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Adds a record with a TTL of one minute.
    pub fn add(&self, name: &str, record: Record) {
        self.add_with_ttl(name, record, Duration::from_secs(60));
    }

    /// Adds a record with this TTL, in whole seconds.
    pub fn add_with_ttl(&self, name: &str, record: Record, ttl: Duration) {
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        lock(&self.records)
            .entry(plain(name))
            .or_default()
            .push((record, ttl));
    }

    /// Removes every record at a name.
    pub fn remove(&self, name: &str) {
        lock(&self.records).remove(&plain(name));
    }
}

fn lock(records: &Records) -> MutexGuard<'_, BTreeMap<String, Vec<(Record, u32)>>> {
    // Every critical section is one map operation, so a poisoned map is still whole.
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

async fn bind(at: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORTS {
        let tcp = TcpListener::bind(at).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if at.port() == 0 => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Answers questions out of the records.
struct Answering(Records);

impl Answering {
    /// The answer section, and whether the last name asked for exists.
    fn find(&self, name: &str, kind: RecordType) -> (Vec<Resource>, ResponseCode) {
        let records = lock(&self.0);
        let mut found = Vec::new();
        let mut name = plain(name);
        for _ in 0..=ALIASES {
            let Some(here) = records.get(&name) else {
                let below = format!(".{name}");
                let exists = !found.is_empty() || records.keys().any(|other| other.ends_with(&below));
                return (
                    found,
                    if exists {
                        ResponseCode::NoError
                    } else {
                        ResponseCode::NXDomain
                    },
                );
            };
            let alias = here.iter().find_map(|(record, _)| match record {
                Record::Alias(target) if kind != RecordType::CNAME => Some(plain(target)),
                _ => None,
            });
            let wanted = if alias.is_some() { RecordType::CNAME } else { kind };
            found.extend(
                here.iter()
                    .filter_map(|(record, ttl)| resource(&name, record, *ttl, wanted)),
            );
            match alias {
                Some(target) => name = target,
                None => break,
            }
        }
        (found, ResponseCode::NoError)
    }
}

#[async_trait]
impl RequestHandler for Answering {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut to: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let mut answers = Vec::new();
        match request.request_info() {
            Ok(info) if request.metadata.op_code == OpCode::Query => {
                let asked = info.query.name().to_string();
                (answers, metadata.response_code) = self.find(&asked, info.query.query_type());
            }
            _ => metadata.response_code = ResponseCode::NotImp,
        }
        let soa = if answers.is_empty() {
            Some(authority())
        } else {
            None
        };
        let builder = MessageResponseBuilder::from_message_request(request);
        let response = builder.build(metadata, answers.iter(), [], soa.iter(), []);
        to.send_response(response).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "an answer could not be sent");
            let mut metadata = Metadata::new(
                request.metadata.id,
                MessageType::Response,
                request.metadata.op_code,
            );
            metadata.response_code = ResponseCode::ServFail;
            ResponseInfo::from(Header {
                metadata,
                counts: HeaderCounts::default(),
            })
        })
    }
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = if name.is_empty() {
        Name::root()
    } else {
        Name::from_ascii(name).ok()?
    };
    name.set_fqdn(true);
    Some(name)
}

/// The record in the wire's form, when it is of the kind that was asked for.
fn resource(name: &str, record: &Record, ttl: u32, kind: RecordType) -> Option<Resource> {
    let data = match record {
        Record::Txt(text) => RData::TXT(TXT::from_bytes(
            text.as_bytes().chunks(CHARACTER_STRING).collect(),
        )),
        Record::Srv(srv) => RData::SRV(SRV::new(
            srv.priority,
            srv.weight,
            srv.port,
            absolute(&plain(&srv.host))?,
        )),
        Record::Mx(mx) => RData::MX(MX::new(mx.preference, absolute(&plain(&mx.host))?)),
        Record::Address(IpAddr::V4(v4)) => RData::A(A(*v4)),
        Record::Address(IpAddr::V6(v6)) => RData::AAAA(AAAA(*v6)),
        Record::Alias(target) => RData::CNAME(CNAME(absolute(&plain(target))?)),
    };
    let wanted = kind == RecordType::ANY || data.record_type() == kind;
    wanted
        .then(|| absolute(name).map(|name| Resource::from_rdata(name, ttl, data)))
        .flatten()
}

/// The authority of everything here, which carries the TTL of negative answers.
fn authority() -> Resource {
    let soa = SOA::new(Name::root(), Name::root(), 1, 3600, 600, 86_400, NEGATIVE_TTL);
    Resource::from_rdata(Name::root(), NEGATIVE_TTL, RData::SOA(soa))
}
