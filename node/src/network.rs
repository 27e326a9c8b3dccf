//! The port for byte streams: listen and connect, in reality TCP; and the policy that says to which
//! addresses a stranger may make this node connect.

mod callers;
mod policy;
mod reach;

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

pub(crate) use callers::{Caller, Callers};
pub use policy::{AddressPolicy, BadNetwork, Cidr, Forbidden, Kind};
pub use reach::{ConnectError, reach};

/// A stream in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Accepts streams.
#[async_trait]
pub trait Listener: Send {
    /// The next stream and where it comes from.
    async fn accept(&mut self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)>;
    /// Where this listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Listens and connects.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Connects to exactly this address.
    async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn ByteStream>>;
    /// Listens at this address; port 0 lets the system choose.
    async fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>>;
}

/// TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

#[async_trait]
impl Network for Tcp {
    async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(TcpListener::bind(at).await?))
    }
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&mut self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)> {
        let (stream, from) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}
