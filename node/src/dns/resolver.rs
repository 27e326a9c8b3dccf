//! The real resolver: DNS over UDP with TCP behind it, every answer kept by the rules of `spec/grip.md`.
//!
//! What always holds: a question takes five seconds at most, with all its retries; what failed is never kept; only
//! records at the name asked for, or at the end of its chain of aliases, are believed (rows D02, D03).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cargomail_protocol::limits;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Negative, NetError, NoRecords};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record as Resource, RecordType};

use super::cache::{Cache, Kept};
use super::{Answer, Dns, DnsError, Mx, Srv, order};
use crate::clock::Clock;

/// One try of one server.
const TRY: Duration = Duration::from_millis(1500);
/// Aliases followed for one question (row D03).
const ALIASES: usize = 8;

/// Aliases that do not end, or too late.
const ENDLESS: NetError = NetError::Message("the chain of aliases leads nowhere");

/// What DNSSEC is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dnssec {
    /// Not at all: no answer counts as authenticated.
    #[default]
    Off,
    /// Answers are validated where their zones are signed; bogus ones are refused.
    Validate,
    /// Answers that are not validated are refused too (`require_dnssec`).
    Require,
}

/// Which servers are asked, and how.
#[derive(Debug, Clone, Default)]
pub struct ResolverOptions {
    /// The servers; none means the system's.
    pub servers: Vec<SocketAddr>,
    /// What DNSSEC is used for.
    pub dnssec: Dnssec,
}

/// Asks real DNS servers and keeps their answers. Cheap to clone; clones share what is kept.
#[derive(Clone)]
pub struct Resolver {
    asks: TokioResolver,
    dnssec: Dnssec,
    clock: Arc<dyn Clock>,
    cache: Arc<Cache>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver")
            .field("dnssec", &self.dnssec)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver; nothing is asked yet.
    ///
    /// # Errors
    /// [`DnsError::Unavailable`] when the system's configuration cannot be read.
    pub fn new(options: &ResolverOptions, clock: Arc<dyn Clock>) -> Result<Self, DnsError> {
        let unusable = |error: NetError| DnsError::Unavailable {
            name: "the resolver's configuration".to_owned(),
            kind: "any",
            why: error.to_string(),
        };
        let provider = TokioRuntimeProvider::default();
        let mut builder = if options.servers.is_empty() {
            TokioResolver::builder(provider).map_err(unusable)?
        } else {
            let servers = options.servers.iter().map(|at| server(*at)).collect();
            TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), provider)
        };
        let wanted = builder.options_mut();
        wanted.timeout = TRY;
        wanted.attempts = 2;
        wanted.cache_size = 0; // kept here instead, by the node's own clock
        wanted.use_hosts_file = ResolveHosts::Never;
        wanted.preserve_intermediates = true;
        wanted.try_tcp_on_error = true;
        wanted.case_randomization = true;
        wanted.validate = options.dnssec != Dnssec::Off;
        let asks = builder.build().map_err(unusable)?;
        Ok(Self {
            asks,
            dnssec: options.dnssec,
            clock,
            cache: Arc::new(Cache::default()),
        })
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Answer<RData>, DnsError> {
        let key = (name.trim_end_matches('.').to_ascii_lowercase(), kind);
        if let Some(kept) = self.cache.find(&key, self.clock.now()) {
            return kept.into_answer(name, text_of(kind));
        }
        let (kept, life) = self.ask(&key.0, kind).await?;
        let now = self.clock.now();
        let kept = Kept {
            valid_until: now.plus(life),
            ..kept
        };
        if life > Duration::ZERO {
            self.cache.keep(key, kept.clone(), now);
        }
        kept.into_answer(name, text_of(kind))
    }

    /// Asks the servers. A chain of aliases that was given up looks like nothing found without an authority that says so;
    /// one more question tells the two apart, because the one is temporary and the other is not (row D03).
    async fn asks(&self, name: &Name, kind: RecordType) -> Result<Vec<Resource>, NetError> {
        if kind == RecordType::SRV {
            return self.asks_for_services(name).await;
        }
        let answered = self.asks.lookup(name.clone(), kind).await;
        if let Err(NetError::Dns(Negative::NoRecordsFound(nothing))) = &answered {
            let unsaid = nothing.soa.is_none() && nothing.response_code == ResponseCode::NoError;
            if unsaid && self.asks.lookup(name.clone(), RecordType::CNAME).await.is_ok() {
                return Err(ENDLESS);
            }
        }
        Ok(answered?.answers().to_vec())
    }

    /// The aliases from a name on, and the services at their end. What answers the questions takes the host of a service for one more alias
    /// and goes on there, so it is asked for each alias by itself.
    async fn asks_for_services(&self, name: &Name) -> Result<Vec<Resource>, NetError> {
        let (mut records, mut end) = (Vec::new(), name.clone());
        for _ in 0..=ALIASES {
            let alias = match self.asks.lookup(end.clone(), RecordType::CNAME).await {
                Ok(answered) => alias_of(&end, answered.answers()),
                Err(error) if negative(&error, &end).is_some() => None,
                Err(error) => return Err(error),
            };
            let Some((record, target)) = alias else {
                let services = self.asks.lookup(end, RecordType::SRV).await?;
                records.extend_from_slice(services.answers());
                return Ok(records);
            };
            records.push(record);
            end = target;
        }
        Err(ENDLESS)
    }

    /// Asks the servers, and tells how long the answer may be kept.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<(Kept, Duration), DnsError> {
        let no_record = || DnsError::NoRecord {
            name: name.to_owned(),
            kind: text_of(kind),
        };
        let unavailable = |why: String| DnsError::Unavailable {
            name: name.to_owned(),
            kind: text_of(kind),
            why,
        };
        // What is no name in the DNS has no records there.
        let mut absolute = Name::from_ascii(name).map_err(|_| no_record())?;
        absolute.set_fqdn(true);
        let asked = tokio::time::timeout(limits::DNS_QUERY, self.asks(&absolute, kind)).await;
        let (records, authenticated, life) = match asked {
            Err(_) => return Err(unavailable("no answer in time".to_owned())),
            Ok(Ok(answers)) => {
                let (records, proved, ttl) = follow(&answers, &absolute, kind)
                    .ok_or_else(|| unavailable("too long a chain of aliases".to_owned()))?;
                let longest = if records.is_empty() {
                    Duration::ZERO
                } else {
                    limits::DNS_POSITIVE
                };
                (records, proved, Duration::from_secs(ttl.into()).min(longest))
            }
            Ok(Err(error)) => match negative(&error, &absolute) {
                Some((proved, ttl)) => (
                    Vec::new(),
                    proved,
                    Duration::from_secs(ttl.into()).min(limits::DNS_NEGATIVE),
                ),
                None => return Err(unavailable(error.to_string())),
            },
        };
        let authenticated = authenticated && self.dnssec != Dnssec::Off;
        if self.dnssec == Dnssec::Require && !authenticated {
            return Err(DnsError::Unauthenticated {
                name: name.to_owned(),
                kind: text_of(kind),
            });
        }
        let kept = Kept {
            records: records.into(),
            authenticated,
            valid_until: self.clock.now(),
        };
        Ok((kept, life))
    }
}

fn server(at: SocketAddr) -> NameServerConfig {
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, connections.into())
}

fn text_of(kind: RecordType) -> &'static str {
    match kind {
        RecordType::TXT => "TXT",
        RecordType::SRV => "SRV",
        RecordType::MX => "MX",
        _ => "address",
    }
}

/// The records at the end of the name's chain of aliases, whether DNSSEC proved all of the chain, and the shortest TTL;
/// none when the chain does not end.
fn follow(answers: &[Resource], name: &Name, kind: RecordType) -> Option<(Vec<RData>, bool, u32)> {
    let mut owner = name.clone();
    let mut proved = true;
    let mut ttl = u32::MAX;
    for _ in 0..=ALIASES {
        let mut found = Vec::new();
        let mut alias = None;
        for record in answers.iter().filter(|record| record.name == owner) {
            match &record.data {
                RData::CNAME(target) => alias = Some(target.0.clone()),
                data if data.record_type() == kind => found.push(data.clone()),
                _ => continue,
            }
            proved &= record.proof == Proof::Secure;
            ttl = ttl.min(record.ttl);
        }
        match alias {
            Some(target) if found.is_empty() => owner = target,
            _ => return Some((found, proved, ttl)),
        }
    }
    None
}

/// The alias that stands at a name, and what it leads to.
fn alias_of(name: &Name, answers: &[Resource]) -> Option<(Resource, Name)> {
    answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *name => Some((record.clone(), target.0.clone())),
        _ => None,
    })
}

/// Whether DNSSEC proved that there is nothing at the name, and the TTL of that; none when nothing is known.
fn negative(error: &NetError, name: &Name) -> Option<(bool, u32)> {
    let NetError::Dns(error) = error else { return None };
    match error {
        Negative::NoRecordsFound(nothing) => {
            let referred = nothing.soa.is_none() && nothing.ns.as_ref().is_some_and(|ns| !ns.is_empty());
            let known = matches!(
                nothing.response_code,
                ResponseCode::NXDomain | ResponseCode::NoError
            );
            // At the end of a chain of aliases, what was proved of the chain is not told.
            let proved = is_proved(nothing) && nothing.query.name() == name;
            (known && !referred).then(|| (proved, lasts(nothing)))
        }
        Negative::Nsec { response, proof, .. } => match proof {
            Proof::Secure | Proof::Insecure => {
                Some((*proof == Proof::Secure, response.negative_ttl().unwrap_or(0)))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether there are signed records that say that there is nothing. What they prove was judged before they came here: an answer
/// that proves nothing is an error of its own.
fn is_proved(nothing: &NoRecords) -> bool {
    let said = nothing.authorities.as_deref().unwrap_or_default();
    let denies = |record: &Resource| matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3);
    let holds =
        |record: &Resource| record.record_type() == RecordType::RRSIG || record.proof == Proof::Secure;
    said.iter().any(denies) && said.iter().all(holds)
}

/// The TTL of nothing, in seconds (RFC 2308 §5), which is not told where DNSSEC validates.
fn lasts(nothing: &NoRecords) -> u32 {
    let soa = nothing.soa.as_ref().map(|soa| soa.ttl.min(soa.data.minimum));
    nothing.negative_ttl.or(soa).unwrap_or(0)
}

/// A host name as the node writes names.
fn host(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.trim_end_matches('.').to_owned()
}

#[async_trait]
impl Dns for Resolver {
    async fn txt(&self, name: &str) -> Result<Answer<String>, DnsError> {
        let answer = self.lookup(name, RecordType::TXT).await?;
        Ok(answer.filter_map(|data| match data {
            RData::TXT(text) => String::from_utf8(text.txt_data.concat()).ok(),
            _ => None,
        }))
    }

    async fn srv(&self, name: &str) -> Result<Answer<Srv>, DnsError> {
        let answer = self.lookup(name, RecordType::SRV).await?;
        let mut answer = answer.filter_map(|data| match data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                host: host(&srv.target),
                port: srv.port,
            }),
            _ => None,
        });
        order::services(&mut answer.records);
        Ok(answer)
    }

    async fn mx(&self, name: &str) -> Result<Answer<Mx>, DnsError> {
        let answer = self.lookup(name, RecordType::MX).await?;
        let mut answer = answer.filter_map(|data| match data {
            RData::MX(mx) => Some(Mx {
                preference: mx.preference,
                host: host(&mx.exchange),
            }),
            _ => None,
        });
        order::exchangers(&mut answer.records);
        Ok(answer)
    }

    async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, DnsError> {
        let (v4, v6) = tokio::join!(
            self.lookup(name, RecordType::A),
            self.lookup(name, RecordType::AAAA)
        );
        let answer = match (v4, v6) {
            (Ok(mut v4), Ok(v6)) => {
                v4.records.extend(v6.records);
                v4.authenticated &= v6.authenticated;
                v4.valid_until = v4.valid_until.min(v6.valid_until);
                v4
            }
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one,
            (Err(DnsError::NoRecord { .. }), Err(error)) | (Err(error), Err(_)) => return Err(error),
        };
        Ok(answer.filter_map(|data| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(a) => Some(IpAddr::V6(a.0)),
            _ => None,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hickory_resolver::proto::dnssec::rdata::{DNSSECRData, NSEC};
    use hickory_resolver::proto::op::Query;
    use hickory_resolver::proto::rr::rdata::SOA;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// What is told of a name without services, in a zone whose records have these proofs: the denial's, and its authority's.
    fn nothing(denial: Option<Proof>, authority: Proof) -> NetError {
        let soa = SOA::new(name("bar.test."), name("bar.test."), 1, 3600, 600, 86_400, 20);
        let soa = Resource::from_rdata(name("bar.test."), 60, soa);
        let mut authorities = vec![soa.clone().into_record_of_rdata()];
        authorities[0].proof = authority;
        if let Some(proof) = denial {
            let nsec = NSEC::new(name("z.bar.test."), [RecordType::TXT]);
            let nsec = RData::DNSSEC(DNSSECRData::NSEC(nsec));
            let mut nsec = Resource::from_rdata(name("a.bar.test."), 20, nsec);
            nsec.proof = proof;
            authorities.push(nsec);
        }
        let query = Query::query(name("a.bar.test."), RecordType::SRV);
        let mut nothing = NoRecords::new(query, ResponseCode::NoError);
        nothing.soa = Some(Box::new(soa));
        nothing.authorities = Some(authorities.into());
        NetError::Dns(Negative::NoRecordsFound(nothing))
    }

    #[test]
    fn d02_what_signed_records_deny_is_proved_and_lasts_as_its_zone_says() {
        let (here, secure) = (name("A.bar.test."), Proof::Secure);
        assert_eq!(negative(&nothing(Some(secure), secure), &here), Some((true, 20)));
        for unproved in [
            nothing(None, secure),
            nothing(None, Proof::Insecure),
            nothing(Some(Proof::Insecure), Proof::Insecure),
            nothing(Some(secure), Proof::Indeterminate),
        ] {
            assert_eq!(negative(&unproved, &here), Some((false, 20)));
        }
        // The end of a chain of aliases, of which nothing is known.
        let alias = name("www.bar.test.");
        assert_eq!(
            negative(&nothing(Some(secure), secure), &alias),
            Some((false, 20))
        );
    }
}
