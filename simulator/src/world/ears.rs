//! A machine to which others are misled: it takes whatever they say to it, and only writes down that it was said.
//!
//! What always holds: who proves to others that it has the key which they expect is heard; this machine has only its own. It takes
//! requests of HTTPS, and streams of peers; nobody takes mail by SMTP there, which has no means to tell whom it speaks to.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use cargomail_node::clock::Clock;
use cargomail_node::https::{self, ServingLimits};
use cargomail_node::identity::Certificate;
use cargomail_node::network::Listener;
use cargomail_node::peers::{Peers, Spoken};
use http::{Request, StatusCode};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::network::Peer;

/// What was said at most that is remembered.
const REMEMBERED: usize = 100;

/// What was said to it. Clones hear the same.
#[derive(Clone, Default)]
pub struct Ears(Arc<Mutex<Vec<String>>>);

impl Ears {
    /// Takes requests for as long as there is a world, and refuses them.
    pub(super) fn take_requests(
        &self,
        listener: Box<dyn Listener>,
        certificate: &Certificate,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<()> {
        let ears = self.clone();
        let answer = move |request: Request<axum::body::Body>| {
            ears.hear(format!("{} {}", request.method(), request.uri().path()));
            std::future::ready(StatusCode::FORBIDDEN)
        };
        let router = Router::new().fallback(answer);
        let tls = https::grip_server(certificate, clock)?;
        let limits = ServingLimits::default();
        https::serve(listener, tls, router, limits, CancellationToken::new())?;
        Ok(())
    }

    /// Takes streams for as long as there is a world, whatever shall be spoken on them.
    pub(super) fn take_streams(&self, peer: Peer) {
        let peer = Arc::new(peer);
        for spoken in [Spoken::Exchange, Spoken::Grip] {
            let (ears, peer) = (self.clone(), peer.clone());
            tokio::spawn(async move {
                while let Some(mut stream) = peer.accept(spoken).await {
                    let ears = ears.clone();
                    tokio::spawn(async move {
                        if stream.io.read_u8().await.is_ok() {
                            ears.hear(format!("octets on a stream {}", spoken.as_ref()));
                        }
                    });
                }
            });
        }
    }

    fn hear(&self, what: String) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < REMEMBERED {
            heard.push(what);
        }
    }

    /// What was said so far.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
