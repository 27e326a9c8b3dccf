//! Asking the server of a name, wherever the DNS says that it is: a destination's agent, another domain's broker. By HTTPS where an SRV
//! record says so; over a stream of libp2p where none does, or where nobody answers there.
//!
//! Not here: what is asked and what the answer means. What always holds: a request is tried at the next server, or the other way,
//! only when the one before gave no answer at all.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::address::Domain;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::IssueError;
use http::{HeaderMap, Request, Response, StatusCode, header};

use super::Broker;
use crate::dns::DnsError;
use crate::https::{self, Found, discover};
use crate::peers::{self, PeerAddress};

/// The longest answer that is read: a receipt of the web channel, in JSON.
const ANSWER: usize = 64 * 1024;
/// How long one server is asked, the request's octets included: whoever takes longer keeps others waiting.
const ASKING: Duration = Duration::from_secs(600);
/// The longest Retry-After that is believed.
const LONGEST_WAIT: u64 = 24 * 3600;

/// What came of it.
#[derive(Debug)]
pub(super) enum Reached {
    /// A server answered.
    Answer {
        status: StatusCode,
        retry_after: Option<Duration>,
        body: Bytes,
    },
    /// The DNS says that there is no such server, or its address is not one to connect to, or its peer is no such server.
    Nowhere(String),
    /// Nobody answered; later perhaps.
    Away(String),
}

impl Broker {
    /// Sends the request that `build` makes, anew for each server that is tried.
    ///
    /// # Errors
    /// Those of `build`.
    pub(super) async fn ask(
        &self,
        name: &Domain,
        mut build: impl FnMut() -> Result<Request<Body>, IssueError>,
    ) -> Result<Reached, IssueError> {
        let servers = match discover(&*self.needs.dns, name).await {
            Ok(Found::Servers(servers)) => servers,
            Ok(Found::None) => Vec::new(),
            Err(error) => return Ok(failed(&error)),
        };
        let https = &self.needs.https;
        let mut last = None;
        for server in servers {
            let sending = async { Ok(https.send(&server, build()?).await?) };
            match answer(name, &server.host, sending).await? {
                answer @ Reached::Answer { .. } => return Ok(answer),
                silent => last = Some(silent),
            }
        }
        let over_stream = match self.peers_of(name).await {
            Ok(at) if at.is_empty() => None,
            Ok(at) => {
                let sending = async { Ok(https.send_to_peer(name, at, build()?).await?) };
                Some(answer(name, "its peer", sending).await?)
            }
            Err(error) => Some(failed(&error)),
        };
        Ok(match (last, over_stream) {
            (_, Some(answer @ Reached::Answer { .. })) => answer,
            // Whoever may be back later says more than whoever is nowhere.
            (Some(away @ Reached::Away(_)), _) | (_, Some(away @ Reached::Away(_))) => away,
            (Some(nowhere), _) | (None, Some(nowhere)) => nowhere,
            (None, None) => Reached::Nowhere(format!("{name} has no server in the DNS")),
        })
    }

    /// Where the peer of a name is, if it has one and this node could reach it.
    async fn peers_of(&self, name: &Domain) -> Result<Vec<PeerAddress>, DnsError> {
        if !self.needs.https.has_peers() {
            return Ok(Vec::new());
        }
        match peers::lookup(&*self.needs.dns, name.as_str()).await {
            Err(DnsError::NoRecord { .. }) => Ok(Vec::new()),
            found => found,
        }
    }
}

/// Waits for the answer of one server, and reads it.
async fn answer(
    name: &Domain,
    place: &str,
    sending: impl Future<Output = Result<Response<Body>, Failure>>,
) -> Result<Reached, IssueError> {
    let answered = async {
        let response = sending.await?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = https::read(response.into_body(), ANSWER).await?;
        Ok::<_, Failure>(Reached::Answer {
            status,
            retry_after,
            body,
        })
    };
    match tokio::time::timeout(ASKING, Box::pin(answered)).await {
        Err(_) => Ok(Reached::Away(format!("{name}: {place} takes too long"))),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Failure::Issue(error))) => Err(error),
        Ok(Err(Failure::Https(error))) => {
            tracing::debug!(%name, place, %error, "a server gave no answer");
            Ok(failed(&error))
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Https(#[from] https::HttpsError),
}

/// An address that this node must not connect to will not become another one; everything else may pass.
fn failed(error: &impl Faulty) -> Reached {
    match error.fault() {
        Fault::Refused => Reached::Nowhere(error.to_string()),
        _ => Reached::Away(error.to_string()),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
}
