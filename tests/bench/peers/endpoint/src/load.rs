//! The load: every request carries the same body and its signature, made once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{KEY, SIGNATURE, tls};

/// Sent before the clock runs, on each connection.
const WARM: usize = 50;

#[derive(Clone)]
struct Message {
    body: Bytes,
    key: String,
    signature: String,
}

impl Message {
    fn new(size: usize) -> anyhow::Result<Self> {
        let pair = Ed25519KeyPair::generate()?;
        let body = Bytes::from(vec![b'm'; size]);
        Ok(Self {
            key: HEXLOWER.encode(pair.public_key().as_ref()),
            signature: HEXLOWER.encode(pair.sign(&body).as_ref()),
            body,
        })
    }

    fn request(&self, uri: &str) -> anyhow::Result<Request<Full<Bytes>>> {
        Ok(Request::post(uri)
            .header("host", "localhost")
            .header(KEY, &self.key)
            .header(SIGNATURE, &self.signature)
            .body(Full::new(self.body.clone()))?)
    }
}

pub(crate) async fn load(
    address: SocketAddr,
    connections: usize,
    streams: Option<usize>,
    size: usize,
    seconds: u64,
) -> anyhow::Result<()> {
    let message = Message::new(size)?;
    let time = Duration::from_secs(seconds);
    let mut senders = JoinSet::new();
    if let Some(streams) = streams {
        let stream = tls::connect(TcpStream::connect(address).await?, "h2").await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        for _ in 0..streams {
            senders.spawn(many(sender.clone(), message.clone(), time));
        }
    } else {
        for _ in 0..connections {
            let stream = tls::connect(TcpStream::connect(address).await?, "http/1.1").await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            senders.spawn(single(sender, message.clone(), time));
        }
    }
    let mut rate = 0.0;
    for answered in senders.join_all().await {
        rate += answered?;
    }
    println!(
        "{}",
        serde_json::json!({ "per_second": rate, "size": size, "seconds": seconds })
    );
    Ok(())
}

async fn finished(response: Response<Incoming>) -> anyhow::Result<()> {
    ensure!(
        response.status() == StatusCode::OK,
        "answered {}",
        response.status()
    );
    response.into_body().collect().await?;
    Ok(())
}

/// One request after another by HTTP/1.1; the answers in a second.
async fn single(
    mut sender: http1::SendRequest<Full<Bytes>>,
    message: Message,
    time: Duration,
) -> anyhow::Result<f64> {
    for _ in 0..WARM {
        finished(sender.send_request(message.request("/")?).await?).await?;
    }
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < time {
        finished(sender.send_request(message.request("/")?).await?).await?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// One of the streams of an HTTP/2 connection.
async fn many(
    mut sender: http2::SendRequest<Full<Bytes>>,
    message: Message,
    time: Duration,
) -> anyhow::Result<f64> {
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < time {
        sender.ready().await?;
        let request = message.request("https://localhost/")?;
        finished(sender.send_request(request).await?).await?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}
