//! Copies a folder over one stream, without hashing and without asking who it is: what a channel alone costs.
//!
//! `serve` prints the address at which it gives the folder's files to everybody who connects, until it is killed. `fetch`
//! ends when every file is on the disk, and prints one JSON object: seconds from before the connection to after the sync,
//! octets, and its own peak of memory. Both channels of libp2p have the project's windows, or those that libp2p has of itself.

mod copy;
mod libp2p_channel;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::net::{TcpListener, TcpStream};

#[derive(Parser)]
#[command(about = "Copies a folder over one stream, durable at the receiver")]
struct Arguments {
    /// What the stream goes over
    #[arg(long, value_enum, global = true, default_value = "tcp")]
    over: Channel,
    /// Windows of libp2p's own making instead of the project's
    #[arg(long, global = true)]
    default_windows: bool,
    #[command(subcommand)]
    end: End,
}

#[derive(Subcommand)]
enum End {
    /// Gives the files of a folder to everybody who connects, and prints where
    Serve {
        /// The folder
        folder: PathBuf,
    },
    /// Takes all files into a folder and syncs them
    Fetch {
        /// What `serve` printed
        address: String,
        /// The folder, which must be there
        folder: PathBuf,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Channel {
    Tcp,
    Tls,
    Libp2pTcp,
    Libp2pQuic,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments {
        over,
        default_windows,
        end,
    } = Arguments::parse();
    match (over, end) {
        (Channel::Tcp | Channel::Tls, End::Serve { folder }) => serve(over, &folder).await,
        (Channel::Tcp | Channel::Tls, End::Fetch { address, folder }) => {
            let begin = Instant::now();
            let stream = connect(&address).await?;
            let octets = match over {
                Channel::Tls => copy::receive(tls::connect(stream).await?, &folder).await?,
                _ => copy::receive(stream, &folder).await?,
            };
            report(begin, octets)
        }
        (_, End::Serve { folder }) => {
            libp2p_channel::serve(over == Channel::Libp2pQuic, default_windows, &folder).await
        }
        (_, End::Fetch { address, folder }) => {
            let begin = Instant::now();
            let stream = libp2p_channel::connect(&address, default_windows).await?;
            report(begin, copy::receive(stream, &folder).await?)
        }
    }
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn serve(over: Channel, folder: &Path) -> anyhow::Result<()> {
    let acceptor = tls::acceptor()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match over {
            Channel::Tls => copy::send(acceptor.accept(stream).await?, folder).await?,
            _ => copy::send(stream, folder).await?,
        }
    }
}

fn report(begin: Instant, octets: u64) -> anyhow::Result<()> {
    let seconds = begin.elapsed().as_secs_f64();
    let peak = peak_kib()?;
    println!(
        "{}",
        serde_json::json!({ "seconds": seconds, "octets": octets, "receiver_kib": peak })
    );
    Ok(())
}

/// The most memory that this process has had resident, from the kernel.
fn peak_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| anyhow::anyhow!("the kernel does not tell the peak of memory"))
}
