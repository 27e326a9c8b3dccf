//! What a message over HTTPS costs at the least: mutual TLS 1.3, one EdDSA verification and an append that is synced before
//! the answer, with one sync for all requests that wait.
//!
//! `serve` prints its address and runs until it is killed; `load` sends for some seconds and prints one JSON object with the
//! number of requests that were answered with 200 in a second. Certificates are self-signed and taken as they are: the
//! handshake's signatures are verified, names and pins are not looked at.

mod append;
mod load;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use clap::Parser;
use data_encoding::HEXLOWER;
use hyper::{HeaderMap, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

/// The body's signature and the key that made it, in hex.
const SIGNATURE: &str = "x-signature";
const KEY: &str = "x-key";

#[derive(Parser)]
#[command(about = "A bare HTTPS endpoint that verifies and appends, and its load")]
enum Arguments {
    /// Takes requests and appends their bodies to a file
    Serve {
        /// The file
        file: PathBuf,
    },
    /// Sends requests for some seconds
    Load {
        /// What `serve` printed
        address: SocketAddr,
        /// Connections; one request at a time on each, by HTTP/1.1
        #[arg(long, default_value_t = 1)]
        connections: usize,
        /// One connection of HTTP/2 with so many requests at once instead
        #[arg(long)]
        streams: Option<usize>,
        /// Octets of a request's body
        #[arg(long, default_value_t = 2048)]
        size: usize,
        /// How long
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse() {
        Arguments::Serve { file } => serve(file).await,
        Arguments::Load {
            address,
            connections,
            streams,
            size,
            seconds,
        } => load::load(address, connections, streams, size, seconds).await,
    }
}

async fn serve(file: PathBuf) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/", post(take))
        .with_state(append::start(&file)?);
    let acceptor = tls::acceptor()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}

async fn take(State(appender): State<Arc<append::Appender>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match verify(&headers, &body) {
        Ok(()) if appender.append(body).await => StatusCode::OK,
        Ok(()) => StatusCode::INTERNAL_SERVER_ERROR,
        Err(_) => StatusCode::UNAUTHORIZED,
    }
}

fn verify(headers: &HeaderMap, body: &[u8]) -> anyhow::Result<()> {
    let hex = |name: &str| -> anyhow::Result<Vec<u8>> {
        let value = headers.get(name).with_context(|| format!("no {name}"))?;
        Ok(HEXLOWER.decode(value.as_bytes())?)
    };
    UnparsedPublicKey::new(&ED25519, hex(KEY)?)
        .verify(body, &hex(SIGNATURE)?)
        .context("the signature is wrong")
}
