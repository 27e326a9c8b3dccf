//! What `mail-auth` asks the DNS, answered by this node's own [`Dns`] port.
//!
//! That crate asks a cache first and its own resolver then; it cannot be given another resolver. So its resolver here has
//! no servers and answers nothing, and the cache notes what it was asked for and did not have. [`Answers::complete`] asks
//! the port for that and lets the judge judge again, until nothing is missing. No question leaves by another way, and
//! what cannot be answered counts as a temporary failure of the DNS, as it should.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cargomail_protocol::limits;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::{Atps, DomainKeyReport};
use mail_auth::dmarc::Dmarc;
use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::hickory_resolver::config::{ResolveHosts, ResolverConfig};
use mail_auth::hickory_resolver::net::runtime::TokioRuntimeProvider;
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::spf::{Macro, Mechanism, Spf};
use mail_auth::{
    DnsError as Missing, DnssecStatus, Error, MX, MessageAuthenticator, Parameters, RecordSet, ResolverCache,
    Txt,
};
use rustls::{ClientConfig, RootCertStore};

use crate::dns::{Answer, Dns, DnsError};

/// What stands before a name whose mere existence is asked for, see [`spf`].
const EXISTS: &str = "\u{1}exists.";

/// A judge whose own resolver knows nobody.
pub(super) fn judge() -> MessageAuthenticator {
    let provider = TokioRuntimeProvider::default();
    let nobody = ResolverConfig::from_name_servers(Vec::new());
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for its versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut builder = TokioResolver::builder_with_config(nobody, provider).with_tls_config(tls);
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.attempts = 0;
    options.cache_size = 0;
    MessageAuthenticator(builder.build().expect("nothing has to be read to ask nobody"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Txt,
    Mx,
    V4,
    V6,
}

/// A name as the judge spells it, and the type.
type Question = (Kind, Box<str>);

#[derive(Default)]
struct Known {
    txt: HashMap<Box<str>, Txt>,
    mx: HashMap<Box<str>, RecordSet<MX>>,
    v4: HashMap<Box<str>, RecordSet<Ipv4Addr>>,
    v6: HashMap<Box<str>, RecordSet<Ipv6Addr>>,
    wanted: BTreeSet<Question>,
    /// Asked for, and no answer came.
    missed: HashSet<Question>,
    asked: usize,
}

/// The answers for one message.
pub(super) struct Answers<'d> {
    dns: &'d dyn Dns,
    known: Mutex<Known>,
}

impl<'d> Answers<'d> {
    pub(super) fn new(dns: &'d dyn Dns) -> Self {
        let known = Mutex::default();
        Self { dns, known }
    }

    /// The judge's parameters, with these answers.
    pub(super) fn parameters<'a, P>(&'a self, params: P) -> Parameters<'a, P, Self, Self, Self, Self, Self> {
        Parameters {
            params,
            cache_txt: Some(self),
            cache_mx: Some(self),
            cache_ptr: Some(self),
            cache_ipv4: Some(self),
            cache_ipv6: Some(self),
        }
    }

    /// Whether a question had no answer.
    pub(super) fn missed(&self) -> bool {
        !self.lock().missed.is_empty()
    }

    /// Asks for what the judge wanted and was not answered; whether nothing was, so that its judgement stands.
    pub(super) async fn complete(&self) -> bool {
        let wanted: Vec<Question> = {
            let mut known = self.lock();
            let left = limits::AUTHENTICATION_QUESTIONS.saturating_sub(known.asked);
            let wanted: Vec<_> = std::mem::take(&mut known.wanted).into_iter().take(left).collect();
            known.asked += wanted.len();
            wanted
        };
        let complete = wanted.is_empty();
        let asking: Vec<_> = wanted.into_iter().map(|question| self.ask(question)).collect();
        futures::future::join_all(asking).await;
        complete
    }

    async fn ask(&self, question: Question) {
        let (kind, spelled) = &question;
        let exists = spelled.strip_prefix(EXISTS);
        let name = exists.unwrap_or(spelled).trim_end_matches('.');
        let answered = match (kind, exists) {
            (Kind::Txt, _) => self
                .dns
                .txt(name)
                .await
                .map(|answer| self.learn_txt(spelled, &answer.records)),
            (Kind::Mx, _) => self
                .dns
                .mx(name)
                .await
                .map(|answer| self.learn_mx(spelled, answer)),
            (Kind::V4 | Kind::V6, None) => {
                let answer = self.dns.addresses(name).await;
                answer.map(|answer| self.learn_addresses(spelled, &answer.records))
            }
            // RFC 7208 §5.7: only A counts, also for a client with an IPv6 address.
            (Kind::V4 | Kind::V6, Some(_)) => self.dns.addresses(name).await.map(|answer| {
                let any = answer.records.iter().any(IpAddr::is_ipv4);
                let all = [
                    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                ];
                self.learn_addresses(spelled, if any { &all } else { &[] });
            }),
        };
        match answered {
            Ok(()) => {}
            Err(DnsError::NoRecord { .. }) => match kind {
                Kind::Txt => self.learn(
                    spelled,
                    Error::Dns(Missing::RecordNotFound(ResponseCode::NXDomain)),
                ),
                Kind::Mx => drop(self.lock().mx.insert(spelled.clone(), set(Vec::new()))),
                Kind::V4 | Kind::V6 => self.learn_addresses(spelled, &[]),
            },
            Err(error) => {
                tracing::debug!(%error, "no answer for the authentication of a message");
                self.lock().missed.insert(question);
            }
        }
    }

    fn learn(&self, spelled: &str, txt: impl Into<Learned>) {
        let Learned(txt) = txt.into();
        self.lock().txt.insert(spelled.into(), txt);
    }

    fn learn_txt(&self, spelled: &str, records: &[String]) {
        let records: Vec<&str> = records
            .iter()
            .map(String::as_str)
            .take(limits::TXT_RECORDS)
            .collect();
        if spelled.starts_with("_dmarc.") {
            self.learn(spelled, only_one::<Dmarc>(&records, "v=DMARC1"));
        } else if spelled.contains("_report._domainkey.") {
            self.learn(spelled, first::<DomainKeyReport>(&records));
        } else if spelled.contains("._domainkey.") {
            self.learn(spelled, first::<DomainKey>(&records));
        } else if spelled.contains("._atps.") {
            self.learn(spelled, first::<Atps>(&records));
        } else {
            self.learn(spelled, spf(&records));
        }
    }

    fn learn_mx(&self, spelled: &str, answer: Answer<crate::dns::Mx>) {
        let hosts = answer.records.into_iter().map(|mx| MX {
            exchanges: Box::new([mx.host.into_boxed_str()]),
            preference: mx.preference,
        });
        self.lock().mx.insert(spelled.into(), set(hosts.collect()));
    }

    fn learn_addresses(&self, spelled: &str, addresses: &[IpAddr]) {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(*address),
                IpAddr::V6(address) => v6.push(*address),
            }
        }
        let mut known = self.lock();
        known.v4.insert(spelled.into(), set(v4));
        known.v6.insert(spelled.into(), set(v6));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every critical section is a few map operations that leave it whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, or a note that it is wanted.
    fn find<Q: Hash + ?Sized, V: Clone>(
        &self,
        kind: Kind,
        name: &Q,
        find: impl FnOnce(&Known) -> Option<&V>,
    ) -> Option<V> {
        let mut known = self.lock();
        let found = find(&known).cloned();
        if found.is_none()
            && let Some(spelled) = spelled(name)
            && !known.missed.contains(&(kind, spelled.clone()))
        {
            known.wanted.insert((kind, spelled));
        }
        found
    }
}

/// What is kept of a TXT question.
struct Learned(Txt);

impl From<Error> for Learned {
    fn from(error: Error) -> Self {
        Self(Txt::Error(error))
    }
}

impl<T: Into<Txt>> From<Result<T, Error>> for Learned {
    fn from(parsed: Result<T, Error>) -> Self {
        Self(parsed.into())
    }
}

fn set<T>(records: Vec<T>) -> RecordSet<T> {
    RecordSet {
        rrset: records.into(),
        dnssec_status: DnssecStatus::Indeterminate,
    }
}

/// The first record of that form.
fn first<T: TxtRecordParser>(records: &[&str]) -> Result<T, Error> {
    let mut last = Err(Error::Dns(Missing::InvalidRecordType));
    for record in records {
        last = T::parse(record.as_bytes());
        if last.is_ok() {
            break;
        }
    }
    last
}

/// The one record that begins so; of several none counts.
fn only_one<T: TxtRecordParser>(records: &[&str], version: &str) -> Result<T, Error> {
    let mut meant = records.iter().filter(|record| begins(record, version));
    match (meant.next(), meant.next()) {
        (Some(record), None) => T::parse(record.as_bytes()),
        _ => Err(Error::Dns(Missing::InvalidRecordType)),
    }
}

fn begins(record: &str, version: &str) -> bool {
    let same = |head: &str| head.eq_ignore_ascii_case(version);
    record.get(..version.len()).is_some_and(same)
}

/// The one SPF record; several are an error (RFC 7208 §4.5). The crate takes any answer about a name that is in its cache
/// for its existence, also that it has no records; so `exists` is asked as `a` with a mask that every address fits, under
/// a name of its own.
fn spf(records: &[&str]) -> Result<Spf, Error> {
    let meant = |record: &&&str| {
        let rest = record.get("v=spf1".len()..).unwrap_or_default();
        begins(record, "v=spf1") && (rest.is_empty() || rest.starts_with(' '))
    };
    let mut meant = records.iter().filter(meant);
    let record = match (meant.next(), meant.next()) {
        (Some(record), None) => record,
        (Some(_), Some(_)) => return Err(Error::ParseError),
        (None, _) => return Err(Error::Dns(Missing::InvalidRecordType)),
    };
    let mut spf = Spf::parse(record.as_bytes())?;
    for directive in &mut spf.directives {
        if let Mechanism::Exists { macro_string } = &mut directive.mechanism {
            let mark = Macro::Literal(EXISTS.as_bytes().into());
            let name = match std::mem::replace(macro_string, Macro::None) {
                Macro::List(parts) => parts.into_vec(),
                part => vec![part],
            };
            directive.mechanism = Mechanism::A {
                macro_string: Macro::List(std::iter::once(mark).chain(name).collect()),
                ip4_mask: 0,
                ip6_mask: 0,
            };
        }
    }
    Ok(spf)
}

/// The text behind a key that is only known to be hashable: what it gives its hasher. None when it is no text.
fn spelled<Q: Hash + ?Sized>(name: &Q) -> Option<Box<str>> {
    let mut listening = Listening(Vec::new());
    name.hash(&mut listening);
    // A text's hash is over its octets and 0xff, which no text contains.
    let (_, octets) = listening.0.split_last().filter(|(end, _)| **end == 0xff)?;
    Some(std::str::from_utf8(octets).ok()?.into())
}

struct Listening(Vec<u8>);

impl Hasher for Listening {
    fn write(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    fn finish(&self) -> u64 {
        0
    }
}

macro_rules! cache {
    ($value:ty, $kind:expr, $map:ident) => {
        impl ResolverCache<Box<str>, $value> for Answers<'_> {
            fn get<Q>(&self, name: &Q) -> Option<$value>
            where
                Box<str>: Borrow<Q>,
                Q: Hash + Eq + ?Sized,
            {
                self.find($kind, name, |known| known.$map.get(name))
            }

            fn remove<Q>(&self, name: &Q) -> Option<$value>
            where
                Box<str>: Borrow<Q>,
                Q: Hash + Eq + ?Sized,
            {
                self.lock().$map.remove(name)
            }

            fn insert(&self, name: Box<str>, value: $value, _until: Instant) {
                self.lock().$map.insert(name, value);
            }
        }
    };
}

cache!(Txt, Kind::Txt, txt);
cache!(RecordSet<MX>, Kind::Mx, mx);
cache!(RecordSet<Ipv4Addr>, Kind::V4, v4);
cache!(RecordSet<Ipv6Addr>, Kind::V6, v6);

/// Nobody's address is looked up by name: `ptr` never matches (RFC 7208 §5.5 tells not to use it).
impl ResolverCache<IpAddr, RecordSet<Box<str>>> for Answers<'_> {
    fn get<Q>(&self, _address: &Q) -> Option<RecordSet<Box<str>>>
    where
        IpAddr: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        Some(set(Vec::new()))
    }

    fn remove<Q>(&self, _address: &Q) -> Option<RecordSet<Box<str>>>
    where
        IpAddr: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _address: IpAddr, _value: RecordSet<Box<str>>, _until: Instant) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_heard_when_it_is_hashed() {
        assert_eq!(spelled("_dmarc.foo.test.").as_deref(), Some("_dmarc.foo.test."));
        assert_eq!(spelled::<Box<str>>(&"".into()).as_deref(), Some(""));
        assert_eq!(spelled(&7_u8), None);
    }
}
