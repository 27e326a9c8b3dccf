//! One connection to the next server: greeting, EHLO or LHLO, STARTTLS, and one message.
//!
//! What always holds: only CR LF is written as a line's end; nothing that came before TLS counts behind it (row S06);
//! nobody is asked for longer than RFC 5321 §4.5.3.2 tells to wait.

use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::address::Address;
use cargomail_protocol::channel::StatusCode;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

use super::delivery::{Delivery, Needs, Said, stuffed};
use super::reply::{self, Broken, Reply};
use crate::network::ByteStream;

/// For the greeting, and for commands before the message.
const COMMAND: Duration = Duration::from_secs(5 * 60);
/// For the answer to DATA.
const DATA: Duration = Duration::from_secs(2 * 60);
/// For some octets of the message to be taken.
const BLOCK: Duration = Duration::from_secs(3 * 60);
/// For the answer to the message.
const TAKEN: Duration = Duration::from_secs(10 * 60);
/// For the answer to QUIT, which nothing depends on.
const QUIT: Duration = Duration::from_secs(2);
/// For the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// Octets of the message written at once.
const PIECE: usize = 64 * 1024;

/// Which of the two is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Smtp,
    /// RFC 2033: LHLO, and one answer for each recipient after the message.
    Lmtp,
}

/// What the server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extensions {
    pub(super) starttls: bool,
    eight_bit: bool,
    utf8: bool,
    /// Whether SIZE is understood, and the largest message; 0 when that was not said.
    size: Option<usize>,
}

impl Extensions {
    fn of(reply: &Reply) -> Self {
        let mut offered = Self::default();
        for line in reply.lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "STARTTLS" => offered.starttls = true,
                "8BITMIME" => offered.eight_bit = true,
                "SMTPUTF8" => offered.utf8 = true,
                "SIZE" => offered.size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0)),
                _ => {}
            }
        }
        offered
    }
}

/// What became of a step that the server may decline.
#[derive(Debug)]
pub(super) enum Step<T> {
    Done(T),
    Declined(Reply),
}

pub(super) struct Dialogue {
    stream: Box<dyn ByteStream>,
    /// What came behind the last reply.
    left: Vec<u8>,
    /// Whether octets of the message were written.
    begun: bool,
}

impl Dialogue {
    /// Waits for the greeting.
    pub(super) async fn open(stream: Box<dyn ByteStream>) -> Result<Step<Self>, Broken> {
        let mut dialogue = Self {
            stream,
            left: Vec::new(),
            begun: false,
        };
        let greeting = reply::read(&mut dialogue.stream, &mut dialogue.left, COMMAND).await?;
        Ok(if greeting.is_positive() {
            Step::Done(dialogue)
        } else {
            Step::Declined(greeting)
        })
    }

    /// Introduces this node, and learns what is offered.
    pub(super) async fn hello(&mut self, protocol: Protocol, helo: &str) -> Result<Step<Extensions>, Broken> {
        let verb = match protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        let reply = self.command(&format!("{verb} {helo}"), COMMAND).await?;
        if reply.is_positive() {
            return Ok(Step::Done(Extensions::of(&reply)));
        }
        if protocol == Protocol::Lmtp || !(500..600).contains(&reply.code) {
            return Ok(Step::Declined(reply));
        }
        let reply = self.command(&format!("HELO {helo}"), COMMAND).await?;
        Ok(if reply.is_positive() {
            Step::Done(Extensions::default())
        } else {
            Step::Declined(reply)
        })
    }

    /// Asks for TLS; whether the server is ready for the handshake.
    pub(super) async fn starttls(&mut self) -> Result<bool, Broken> {
        let reply = self.command("STARTTLS", COMMAND).await?;
        Ok(reply.code == 220)
    }

    /// Shakes hands. What came in clear text behind the server's answer is dropped.
    pub(super) async fn secure(mut self, host: &str, config: Arc<ClientConfig>) -> Result<Self, Broken> {
        if !self.left.is_empty() {
            tracing::warn!(
                host,
                "a server sent clear text behind its answer to STARTTLS; dropped"
            );
            self.left.clear();
        }
        let unusable = |error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
        let name = ServerName::try_from(host.to_owned()).map_err(unusable)?;
        let handshake = TlsConnector::from(config).connect(name, self.stream);
        let stream = tokio::time::timeout(HANDSHAKE, handshake)
            .await
            .map_err(|_| Broken::Timeout)??;
        Ok(Self {
            stream: Box::new(stream),
            left: self.left,
            begun: self.begun,
        })
    }

    /// Gives the message over; what the server says of each recipient, in order.
    pub(super) async fn transact(
        &mut self,
        protocol: Protocol,
        offered: Extensions,
        delivery: &Delivery,
        needs: Needs,
    ) -> Result<Vec<Said>, Broken> {
        let all = |said: Said| vec![said; delivery.recipients.len()];
        if let Some(refusal) = unfit(offered, delivery, needs) {
            return Ok(all(refusal));
        }
        let utf8 = offered.utf8 && (needs.utf8 || delivery.recipients.iter().any(needs_utf8));
        let mail = self
            .command(&mail(delivery, offered, needs, utf8), COMMAND)
            .await?;
        if !mail.is_positive() {
            return Ok(all(mail.said()));
        }
        let mut said = Vec::with_capacity(delivery.recipients.len());
        for recipient in &delivery.recipients {
            if needs_utf8(recipient) && !utf8 {
                said.push(refused(
                    6,
                    7,
                    "the server does not take such an address: no SMTPUTF8",
                ));
                continue;
            }
            let reply = self.command(&format!("RCPT TO:<{recipient}>"), COMMAND).await?;
            said.push(reply.said());
        }
        if !said.contains(&Said::Accepted) {
            return Ok(said);
        }
        let data = self.command("DATA", DATA).await?;
        if data.code != 354 {
            // Nothing was sent yet that could have been accepted.
            if data.is_positive() {
                return Err(Broken::Garbled);
            }
            accepted_become(&mut said, &data);
            return Ok(said);
        }
        self.message(&delivery.message).await?;
        match protocol {
            Protocol::Smtp => {
                let reply = self.reply(TAKEN).await?;
                accepted_become(&mut said, &reply);
            }
            Protocol::Lmtp => {
                for accepted in said.iter_mut().filter(|said| **said == Said::Accepted) {
                    *accepted = reply::read(&mut self.stream, &mut self.left, TAKEN).await?.said();
                }
            }
        }
        Ok(said)
    }

    /// Whether the server may have seen octets of the message.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes leave; whether the server does, too, does not matter any more.
    pub(super) async fn quit(mut self) {
        if let Err(error) = self.command("QUIT", QUIT).await {
            tracing::debug!(%error, "no good bye");
        }
    }

    async fn message(&mut self, message: &[u8]) -> Result<(), Broken> {
        self.begun = true;
        let pieces = stuffed(message).flat_map(|piece| piece.chunks(PIECE));
        let mut buffer = Vec::with_capacity(2 * PIECE);
        for piece in pieces {
            buffer.extend_from_slice(piece);
            if buffer.len() >= PIECE {
                self.write(&buffer, BLOCK).await?;
                buffer.clear();
            }
        }
        self.write(&buffer, BLOCK).await
    }

    async fn command(&mut self, line: &str, patience: Duration) -> Result<Reply, Broken> {
        if !self.left.is_empty() {
            return Err(Broken::Unasked);
        }
        // The parts of a line are addresses and names, whose types have no control characters.
        debug_assert!(!line.contains(char::is_control));
        self.write(format!("{line}\r\n").as_bytes(), patience).await?;
        self.reply(patience).await
    }

    async fn reply(&mut self, patience: Duration) -> Result<Reply, Broken> {
        reply::read(&mut self.stream, &mut self.left, patience).await
    }

    async fn write(&mut self, octets: &[u8], patience: Duration) -> Result<(), Broken> {
        let write = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        Ok(tokio::time::timeout(patience, write)
            .await
            .map_err(|_| Broken::Timeout)??)
    }
}

fn needs_utf8(recipient: &Address) -> bool {
    !recipient.local().is_ascii()
}

fn refused(subject: u16, detail: u16, text: &str) -> Said {
    Said::Refused {
        status: StatusCode::new(subject, detail).expect("both are below a thousand"),
        text: text.to_owned(),
    }
}

/// What forbids to give this message to this server.
fn unfit(offered: Extensions, delivery: &Delivery, needs: Needs) -> Option<Said> {
    let most = offered.size.filter(|size| *size > 0);
    if most.is_some_and(|most| delivery.message.len() > most) {
        return Some(refused(3, 4, "the server does not take so large a message"));
    }
    if needs.utf8 && !offered.utf8 {
        return Some(refused(
            6,
            7,
            "the server does not take such addresses: no SMTPUTF8",
        ));
    }
    if needs.eight_bit && !(offered.eight_bit || offered.utf8) {
        return Some(refused(6, 3, "the server does not take such octets: no 8BITMIME"));
    }
    None
}

fn mail(delivery: &Delivery, offered: Extensions, needs: Needs, utf8: bool) -> String {
    let mut line = match &delivery.sender {
        Some(sender) => format!("MAIL FROM:<{sender}>"),
        None => "MAIL FROM:<>".to_owned(),
    };
    if offered.size.is_some() {
        line.push_str(&format!(" SIZE={}", delivery.message.len()));
    }
    if needs.eight_bit && offered.eight_bit {
        line.push_str(" BODY=8BITMIME");
    }
    if utf8 {
        line.push_str(" SMTPUTF8");
    }
    line
}

/// The message's own answer holds for all recipients that were accepted before it.
fn accepted_become(said: &mut [Said], reply: &Reply) {
    let answer = reply.said();
    for accepted in said.iter_mut().filter(|said| **said == Said::Accepted) {
        *accepted = answer.clone();
    }
}
