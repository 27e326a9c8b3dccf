//! Metrics and health for whoever watches this program: two pages over HTTP/1.1, and nothing else.
//!
//! What always holds: so many connections at once, each for one request, a small one, and a few seconds.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once.
const CONNECTIONS: usize = 16;
/// How long one lasts at most.
const TIME: Duration = Duration::from_secs(10);
/// The head of a request, octets; the least that hyper takes.
const HEAD: usize = 8 * 1024;
/// A loop that did not come round for so long hangs.
const STALLED: u64 = 60;
/// What the text format is called (OpenMetrics 1.0).
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the program does what it is for.
pub(crate) struct Health {
    listening: AtomicBool,
    start: Instant,
    beat: AtomicU64,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            listening: AtomicBool::new(false),
            start: Instant::now(),
            beat: AtomicU64::new(0),
        }
    }

    /// Everything listens, or no longer.
    pub(crate) fn listens(&self, listening: bool) {
        self.listening.store(listening, Ordering::Relaxed);
    }

    /// The loop came round.
    pub(crate) fn beat(&self) {
        self.beat.store(self.start.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn state(&self) -> (StatusCode, &'static str) {
        let silent = self
            .start
            .elapsed()
            .as_secs()
            .saturating_sub(self.beat.load(Ordering::Relaxed));
        if !self.listening.load(Ordering::Relaxed) {
            (StatusCode::SERVICE_UNAVAILABLE, "not listening\n")
        } else if silent > STALLED {
            (StatusCode::SERVICE_UNAVAILABLE, "hangs\n")
        } else {
            (StatusCode::OK, "ok\n")
        }
    }
}

/// What is to be seen.
pub(crate) struct Watch {
    pub(crate) health: Arc<Health>,
    pub(crate) registry: Registry,
}

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, watch: Watch) {
    let watch = Arc::new(watch);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let watch = Arc::clone(&watch);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(TIME, answer(stream, watch)).await;
                    drop(place);
                });
            }
            Err(why) => {
                tracing::warn!(%why, "nobody can be let in to the metrics");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, watch: Arc<Watch>) {
    let pages = service_fn(move |request: Request<Incoming>| {
        let page = page(&request, &watch);
        async move { Ok::<_, Infallible>(page) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIME)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), pages)
        .await;
    if let Err(why) = served {
        tracing::debug!(%why, "a request for metrics broke off");
    }
}

fn page(request: &Request<Incoming>, watch: &Watch) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => {
            let (status, text) = watch.health.state();
            (status, "text/plain", text.to_owned())
        }
        (&Method::GET, "/metrics") => {
            let mut text = String::new();
            match encode(&mut text, &watch.registry) {
                Ok(()) => (StatusCode::OK, TEXT, text),
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", String::new()),
            }
        }
        (_, "/health" | "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", String::new()),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "/health and /metrics\n".to_owned(),
        ),
    };
    let mut response = Response::builder().status(status).header(CONTENT_TYPE, kind);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response = response.header(ALLOW, "GET");
    }
    response
        .body(Full::new(text.into()))
        .expect("every header is a constant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_well_only_while_it_listens() {
        let health = Health::new();
        assert_eq!(health.state().0, StatusCode::SERVICE_UNAVAILABLE);
        health.listens(true);
        assert_eq!(health.state().0, StatusCode::OK);
        health.listens(false);
        assert_eq!(health.state().0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
