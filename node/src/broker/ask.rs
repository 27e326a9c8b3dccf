//! Asking the server of a name, wherever the DNS says that it is: a destination's agent, another domain's broker.
//!
//! Not here: what is asked and what the answer means. What always holds: a request is tried at the next server only when
//! the one before gave no answer at all.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::address::Domain;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::IssueError;
use http::{HeaderMap, Request, StatusCode, header};

use super::Broker;
use crate::https::{self, Found, discover};

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
    /// The DNS says that there is no such server, or its address is not one to connect to.
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
            Ok(Found::None) => {
                return Ok(Reached::Nowhere(format!("{name} has no server in the DNS")));
            }
            Err(error) => return Ok(failed(&error)),
        };
        let mut last = Reached::Away(format!("{name}: no server"));
        for server in servers {
            let answered = async {
                let response = self.needs.https.send(&server, build()?).await?;
                let (status, retry_after) = (response.status(), retry_after(response.headers()));
                let body = https::read(response.into_body(), ANSWER).await?;
                Ok::<_, Failure>(Reached::Answer {
                    status,
                    retry_after,
                    body,
                })
            };
            match tokio::time::timeout(ASKING, Box::pin(answered)).await {
                Err(_) => last = Reached::Away(format!("{name}: {} takes too long", server.host)),
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Failure::Issue(error))) => return Err(error),
                Ok(Err(Failure::Https(error))) => {
                    tracing::debug!(%name, host = server.host, %error, "a server gave no answer");
                    last = failed(&error);
                }
            }
        }
        Ok(last)
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
