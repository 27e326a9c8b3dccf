//! HTTPS, both sides, over the byte-stream port; and the same requests over streams of peers.
//!
//! [`serve`] answers HTTP/1.1 and HTTP/2 with every phase of a connection bounded in time and size. [`Client`] sends
//! requests to servers that it authenticates by their DNS pin, a configured fingerprint, or the web PKI. Not here:
//! what a request means, and who a caller is: a client certificate proves a key and claims a name, and GRIP judges them.

mod answer;
mod client;
mod connect;
mod discover;
mod pool;
mod renewable;
mod server;
mod stream;
mod tls;
mod watch;
mod whom;

pub use answer::{explanation, refusal};
pub use client::{Client, HttpsError, read};
pub use discover::{Found, discover, pins};
pub use renewable::Renewable;
pub use server::{PeerCertificate, RemoteAddress, Serving, ServingLimits, serve};
pub use stream::serve_peers;
pub use tls::{BadCertificate, TlsError, grip_server, inspect, user_server};
pub use whom::{Proof, Server};
