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
use tokio::time::Instant;

use super::Broker;
use crate::dns::DnsError;
use crate::https::{self, Found, discover};
use crate::peers::{self, PeerAddress};

/// The longest answer that is read: a receipt of the web channel, in JSON.
const ANSWER: usize = 64 * 1024;
/// How long one server is asked, the request's octets included: whoever takes longer keeps others waiting.
const ASKING: Duration = Duration::from_secs(600);
/// How long all servers of one name are asked together.
const ASKING_ALL: Duration = Duration::from_secs(900);
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
        let mut turns = Turns::of(servers.len() + usize::from(https.has_peers()));
        for server in servers {
            let sending = async { Ok(https.send(&server, build()?).await?) };
            match answer(name, &server.host, turns.next(), sending).await? {
                answer @ Reached::Answer { .. } => return Ok(answer),
                silent => last = Some(silent),
            }
        }
        let over_stream = match self.peers_of(name).await {
            Ok(at) if at.is_empty() => None,
            Ok(at) => {
                let sending = async { Ok(https.send_to_peer(name, at, build()?).await?) };
                Some(answer(name, "its peer", turns.next(), sending).await?)
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

/// The time for all servers of a name: each has its part of what the ones before have left.
struct Turns {
    end: Instant,
    left: u32,
}

impl Turns {
    fn of(servers: usize) -> Self {
        Self {
            end: Instant::now() + ASKING_ALL,
            left: u32::try_from(servers).unwrap_or(u32::MAX),
        }
    }

    /// How long the next one is asked.
    fn next(&mut self) -> Duration {
        let time = self.end.saturating_duration_since(Instant::now()) / self.left.max(1);
        self.left = self.left.saturating_sub(1);
        time.min(ASKING)
    }
}

/// Waits for the answer of one server, and reads it.
async fn answer(
    name: &Domain,
    place: &str,
    time: Duration,
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
    match tokio::time::timeout(time, Box::pin(answered)).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn q02_many_silent_servers_of_one_name_are_asked_no_longer_together_than_a_few() {
        let began = Instant::now();
        let mut turns = Turns::of(9);
        for _ in 0..8 {
            tokio::time::sleep(turns.next()).await;
        }
        assert!(turns.next() >= ASKING_ALL / 10, "each has its turn");
        assert!(began.elapsed() <= ASKING_ALL);
        assert_eq!(Turns::of(1).next(), ASKING);
        let mut turns = Turns::of(2);
        turns.next();
        assert_eq!(turns.next(), ASKING, "what one leaves, the other has");
    }
}
