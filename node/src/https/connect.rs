//! From a server's name to an open connection: addresses that the policy allows, TLS, the proof of the server's key, and
//! the version of HTTP that both sides speak.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::broken;
use super::pool::{Connection, Sender};
use super::tls::{self, Trust};
use super::watch::{Progress, Watched};
use super::{Client, HttpsError, Proof, Server};
use crate::identity;
use crate::network::{ByteStream, ConnectError, reach};

/// A connection to one address, and the TLS handshake on it.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for this long is closed.
const STALLED: Duration = Duration::from_secs(60);
/// The header of one response.
pub(super) const HEADER: usize = 32 * 1024;
/// What one HTTP/2 stream may have on its way before it is read.
const WINDOW: u32 = 1024 * 1024;

impl Client {
    pub(super) async fn connect(&self, server: &Server, trust: Trust) -> Result<Connection, HttpsError> {
        let stream = self.reach(server).await?;
        let progress = Progress::default();
        let pinned = matches!(trust, Trust::Pinned(_));
        let config = tls::client(
            trust,
            self.identity.as_ref(),
            self.versions,
            self.world.clock.clone(),
        )
        .map_err(|error| self.tls_failure(server, pinned, &error))?;
        let name = ServerName::try_from(server.name.clone()).map_err(|error| HttpsError::Tls {
            name: server.name.clone(),
            why: error.to_string(),
        })?;
        let handshake = TlsConnector::from(config).connect(name, Watched::new(stream, progress.clone()));
        let stream = match tokio::time::timeout(CONNECT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let cause = error
                    .get_ref()
                    .and_then(|inner| inner.downcast_ref::<rustls::Error>());
                return Err(match cause {
                    Some(cause) => self.tls_failure(server, pinned, cause),
                    None => HttpsError::Tls {
                        name: server.name.clone(),
                        why: error.to_string(),
                    },
                });
            }
            Err(_) => {
                return Err(HttpsError::Timeout {
                    name: server.name.clone(),
                });
            }
        };
        self.shake_hands(server, stream, progress, pinned).await
    }

    async fn reach(&self, server: &Server) -> Result<Box<dyn ByteStream>, HttpsError> {
        let world = &self.world;
        let Ok(address) = server.host.parse::<IpAddr>() else {
            let (dns, network) = (&*world.dns, &*world.network);
            let reached = reach(dns, network, &world.policy, &server.host, server.port, CONNECT).await?;
            return Ok(reached.0);
        };
        // An address with a fingerprint comes from this node's own configuration, not from a stranger.
        let address = match server.proof {
            Proof::Fingerprints(_) => address,
            Proof::Dns | Proof::WebPki => {
                world
                    .policy
                    .check(address)
                    .map_err(|forbidden| ConnectError::Forbidden {
                        host: server.host.clone(),
                        forbidden,
                    })?
            }
        };
        let unreachable = |why| ConnectError::Unreachable {
            host: server.host.clone(),
            port: server.port,
            why,
        };
        let connecting = world.network.connect(SocketAddr::new(address, server.port));
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => Ok(connected.map_err(unreachable)?),
            Err(_) => Err(unreachable(std::io::ErrorKind::TimedOut.into()).into()),
        }
    }

    async fn shake_hands(
        &self,
        server: &Server,
        stream: TlsStream<Watched<Box<dyn ByteStream>>>,
        progress: Progress,
        is_pinned: bool,
    ) -> Result<Connection, HttpsError> {
        let (_, session) = stream.get_ref();
        let der = session.peer_certificates().and_then(|chain| chain.first());
        let key = der
            .and_then(|der| identity::spki_sha256(der).ok())
            .ok_or_else(|| HttpsError::Tls {
                name: server.name.clone(),
                why: "no certificate".to_owned(),
            })?;
        let two = session.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        if two {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(2 * WINDOW)
                .max_header_list_size(HEADER as u32)
                .max_send_buf_size(WINDOW as usize / 4);
            let (sender, driver) = Box::pin(builder.handshake(io))
                .await
                .map_err(|error| broken(&server.name, error))?;
            drive(driver, progress);
            let shared = Connection {
                sender: Sender::Two(sender.clone()),
                key,
                is_pinned,
            };
            self.pool.keep(server, shared);
            return Ok(Connection {
                sender: Sender::Two(sender),
                key,
                is_pinned,
            });
        }
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(HEADER)
            .handshake(io)
            .await
            .map_err(|error| broken(&server.name, error))?;
        drive(driver, progress);
        Ok(Connection {
            sender: Sender::One(sender),
            key,
            is_pinned,
        })
    }

    fn tls_failure(&self, server: &Server, pinned: bool, error: &rustls::Error) -> HttpsError {
        let name = server.name.clone();
        let refused = rustls::CertificateError::ApplicationVerificationFailure;
        if pinned && *error == rustls::Error::InvalidCertificate(refused) {
            HttpsError::WrongPin { name }
        } else {
            HttpsError::Tls {
                name,
                why: error.to_string(),
            }
        }
    }
}

/// Moves a connection's octets until it ends or stalls.
pub(super) fn drive(
    driver: impl Future<Output = Result<(), hyper::Error>> + Send + 'static,
    progress: Progress,
) {
    tokio::spawn(async move {
        tokio::select! {
            biased;
            ended = driver => if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            },
            () = progress.stalled(STALLED) => tracing::debug!("connection stalled"),
        }
    });
}
