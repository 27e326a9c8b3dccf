//! What a server answers to our client: bounded, and never more than was asked for.

use std::io;
use std::time::Duration;

use cargomail_protocol::channel::StatusCode;
use cargomail_protocol::limits;
use smtp_proto::Error;
use smtp_proto::response::parser::ResponseReceiver;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Said;

/// What is kept of a server's words.
const WORDS: usize = 400;

/// Why a dialogue cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// No answer came in time.
    #[error("no answer in time")]
    Timeout,
    /// The server closed the connection instead of answering.
    #[error("the server closed the connection")]
    Closed,
    /// What came is no SMTP reply, or has no end.
    #[error("the answer is not SMTP")]
    Garbled,
    /// An answer came that nothing was asked for.
    #[error("the server answered more than it was asked")]
    Unasked,
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    enhanced: [u8; 3],
    /// The lines, without their codes.
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// Whether the server did what it was asked.
    pub(super) fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The server's words, in one line that can stand in a log or a report.
    pub(super) fn text(&self) -> String {
        let [class, subject, detail] = self.enhanced;
        let mut text = format!("{}", self.code);
        if class > 0 {
            text.push_str(&format!(" {class}.{subject}.{detail}"));
        }
        for line in &self.lines {
            text.push(' ');
            text.extend(line.chars().filter(|c| !c.is_control()));
        }
        text.chars().take(WORDS).collect()
    }

    /// What that comes to for a recipient.
    pub(super) fn said(&self) -> Said {
        let text = self.text();
        let [class, subject, detail] = self.enhanced;
        match self.code {
            200..300 => Said::Accepted,
            500..600 => Said::Refused {
                status: StatusCode::new(subject.into(), detail.into())
                    .filter(|_| class == 5)
                    .unwrap_or(UNDEFINED),
                text,
            },
            _ => Said::Later { text },
        }
    }
}

/// 5.0.0: permanent, and nothing more is known.
const UNDEFINED: StatusCode = match StatusCode::new(0, 0) {
    Some(code) => code,
    None => unreachable!(),
};

/// Reads one reply; what comes behind it stays in `left`.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    left: &mut Vec<u8>,
    patience: Duration,
) -> Result<Reply, Broken> {
    let mut parser = ResponseReceiver::default();
    let mut seen = 0;
    let reading = async {
        loop {
            let mut octets = left.iter();
            let parsed = parser.parse(&mut octets);
            seen += left.len() - octets.as_slice().len();
            *left = octets.as_slice().to_vec();
            match parsed {
                Ok(response) => return Ok(response),
                Err(Error::NeedsMoreData { .. }) if seen <= limits::SMTP_REPLY => {}
                Err(_) => return Err(Broken::Garbled),
            }
            let mut piece = [0_u8; 2048];
            let count = stream.read(&mut piece).await?;
            if count == 0 {
                return Err(Broken::Closed);
            }
            left.extend_from_slice(piece.get(..count).unwrap_or_default());
        }
    };
    let response = tokio::time::timeout(patience, reading)
        .await
        .map_err(|_| Broken::Timeout)??;
    if !(200..600).contains(&response.code) {
        return Err(Broken::Garbled);
    }
    Ok(Reply {
        code: response.code,
        enhanced: response.esc,
        lines: response
            .message
            .lines()
            .map(|line| line.trim().to_owned())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn reading(octets: &[u8]) -> (Result<Reply, Broken>, Vec<u8>) {
        let mut left = Vec::new();
        let mut stream = octets;
        let reply = read(&mut stream, &mut left, Duration::from_secs(5)).await;
        (reply, left)
    }

    #[tokio::test]
    async fn one_reply_is_read_and_what_follows_stays() {
        let (reply, left) = reading(b"250-mx.bar.test\r\n250 SIZE 10\r\n250 x\r\n").await;
        let reply = reply.unwrap();
        assert_eq!(
            (reply.code, reply.lines),
            (250, vec!["mx.bar.test".to_owned(), "SIZE 10".to_owned()])
        );
        assert_eq!(left, b"250 x\r\n");
    }

    #[tokio::test]
    async fn what_is_said_becomes_what_is_done() {
        let said = async |octets: &[u8]| reading(octets).await.0.unwrap().said();
        assert_eq!(said(b"250 2.1.5 fine\r\n").await, Said::Accepted);
        let refused = |subject, detail, text: &str| Said::Refused {
            status: StatusCode::new(subject, detail).unwrap(),
            text: text.to_owned(),
        };
        assert_eq!(
            said(b"550 5.1.1 nobody\r\n").await,
            refused(1, 1, "550 5.1.1 nobody")
        );
        assert_eq!(said(b"550 nobody\r\n").await, refused(0, 0, "550 nobody"));
        let later = |text: &str| Said::Later {
            text: text.to_owned(),
        };
        assert_eq!(
            said(b"451-4.3.0 not\r\n451 4.3.0 now\r\n").await,
            later("451 4.3.0 not now")
        );
        assert_eq!(said(b"354 what?\r\n").await, later("354 what?"));
    }

    #[tokio::test]
    async fn what_is_no_reply_or_has_no_end_is_given_up() {
        for bad in ["hello\r\n", "99 x\r\n", "100 x\r\n", "650 x\r\n", "2 50 x\r\n"] {
            assert!(
                matches!(reading(bad.as_bytes()).await.0, Err(Broken::Garbled)),
                "{bad:?}"
            );
        }
        assert!(matches!(reading(b"250-x\r\n").await.0, Err(Broken::Closed)));
        for line in ["250-\r\n", "250-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"] {
            let endless = line.repeat(limits::SMTP_REPLY / line.len() + 2048);
            assert!(
                matches!(reading(endless.as_bytes()).await.0, Err(Broken::Garbled)),
                "{line:?}"
            );
        }
    }
}
