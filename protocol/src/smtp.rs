//! The server's side of an SMTP session as a machine (RFC 5321, with SIZE, 8BITMIME, SMTPUTF8, PIPELINING, CHUNKING,
//! ENHANCEDSTATUSCODES and STARTTLS).
//!
//! Not here: sockets, TLS and time, and who may send to whom: the machine asks. What always holds: only CR LF ends a
//! line, only CR LF . CR LF ends a message (row S01), what was said in clear text before TLS counts for nothing
//! behind it (S05), and no message is acknowledged before [`Event::Message`] said that it was taken.
//!
//! How to drive it: write what [`Session::poll`] gives, answer what it asks, and while [`Session::listens`] hand it
//! what the client sends. Nothing that a client sends makes it hold more than one message of the allowed size, one
//! command line, and the octets of the last [`Event::Octets`].

mod command;
mod reply;
mod text;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::address::{Address, Domain};
use crate::channel;
use crate::fault::Fault;
use crate::limits;
use command::{Bad, Command, Sender};
use reply::Reply;
use text::{Coding, Text};

/// What the server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What the server calls itself.
    pub hostname: String,
    /// The domain whose postmaster `<postmaster>` is (RFC 5321 §4.5.1).
    pub domain: Domain,
    /// The largest message, in octets.
    pub size: usize,
    /// Whether the connection can be protected by TLS.
    pub starttls: bool,
}

/// What happens to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The client sent this.
    Octets(&'a [u8]),
    /// The answer to [`Action::Recipient`].
    Recipient(Result<(), Fault>),
    /// The answer to [`Action::Message`]: taken, and durable; or not.
    Message(Result<(), Fault>),
    /// The handshake of [`Action::StartTls`] is over.
    Secured,
    /// There is no memory for the message that is coming.
    NoRoom,
    /// The client was silent for too long, or its message comes too slowly.
    Silence,
    /// The server stops.
    Shutdown,
}

/// What has to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this to the client.
    Send(Vec<u8>),
    /// Say whether mail from this sender is taken for this recipient.
    Recipient {
        /// The reverse path; none for `<>`.
        sender: Option<Address>,
        /// The forward path.
        recipient: Address,
    },
    /// Take this message.
    Message(Envelope),
    /// Shake hands.
    StartTls,
    /// Close the connection; nothing follows.
    Close,
}

/// A message with its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the client called itself: letters, digits and `.-_:[]`.
    pub helo: String,
    /// The reverse path; none for `<>`.
    pub sender: Option<Address>,
    /// The forward paths that were allowed, each once.
    pub recipients: Vec<Address>,
    /// The message: lines end with CR LF, dots are unstuffed.
    pub message: Bytes,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    offer: Offer,
    input: Vec<u8>,
    actions: VecDeque<Action>,
    secured: bool,
    helo: Option<String>,
    mail: Option<Transaction>,
    phase: Phase,
    waits: Option<Wait>,
    commands: u32,
    bad: u32,
}

#[derive(Debug)]
struct Transaction {
    sender: Sender,
    recipients: Vec<Address>,
    text: Option<Text>,
}

/// How the next octets are read.
#[derive(Debug)]
enum Phase {
    Commands,
    Data,
    /// So many octets of a chunk are to come; with a reply they are only skipped.
    Chunk {
        left: usize,
        last: bool,
        skip: Option<Reply>,
    },
    Closed,
}

/// What was asked and not yet answered.
#[derive(Debug)]
enum Wait {
    Recipient(Address),
    Message,
    Handshake,
}

impl Session {
    /// A session that begins with the greeting.
    #[must_use]
    pub fn new(offer: Offer) -> Self {
        let greeting = Reply::plain(220, format!("{} ESMTP", offer.hostname));
        Self {
            offer,
            input: Vec::new(),
            actions: VecDeque::from([Action::Send(greeting.octets())]),
            secured: false,
            helo: None,
            mail: None,
            phase: Phase::Commands,
            waits: None,
            commands: 0,
            bad: 0,
        }
    }

    /// What has to be done next.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether the client may speak now: every question is answered, and the session is not over.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.waits.is_none() && !matches!(self.phase, Phase::Closed)
    }

    /// Whether a message is coming in, and not a command.
    #[must_use]
    pub fn receives(&self) -> bool {
        matches!(self.phase, Phase::Data | Phase::Chunk { .. })
    }

    /// Octets of memory that the message takes which is coming.
    #[must_use]
    pub fn holds(&self) -> usize {
        let text = self.mail.as_ref().and_then(|mail| mail.text.as_ref());
        text.map_or(0, Text::holds)
    }

    /// Takes in what happened. Answers to what was not asked change nothing.
    pub fn handle(&mut self, event: Event<'_>) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        match event {
            // What comes in clear text behind STARTTLS is not looked at (S05).
            Event::Octets(_) if matches!(self.waits, Some(Wait::Handshake)) => {}
            Event::Octets(octets) => self.input.extend_from_slice(octets),
            Event::Recipient(answer) => self.recipient_answered(answer),
            Event::Message(answer) => self.message_answered(answer),
            Event::Secured => self.secured(),
            Event::NoRoom => {
                if let Some(text) = self.mail.as_mut().and_then(|mail| mail.text.as_mut()) {
                    text.no_room();
                }
            }
            Event::Silence => self.close(Reply::new(421, (4, 4, 2), "too little came in time")),
            Event::Shutdown => self.close(Reply::new(421, (4, 3, 2), "the server stops, come back later")),
        }
        self.advance();
    }

    /// Reads what is there, as far as it can be read now.
    fn advance(&mut self) {
        while self.waits.is_none() {
            let more = match self.phase {
                Phase::Commands => self.line(),
                Phase::Data => self.data(),
                Phase::Chunk { .. } => self.chunk(),
                Phase::Closed => false,
            };
            if !more {
                break;
            }
        }
    }

    /// One command line; false when it has not come whole.
    fn line(&mut self) -> bool {
        let within = self.input.get(..limits::SMTP_LINE).unwrap_or(&self.input);
        let Some(end) = within.iter().position(|octet| *octet == b'\n') else {
            let first = self.input.first().copied().unwrap_or(b'\r');
            if self.input.len() >= limits::SMTP_LINE {
                self.close(Reply::new(500, (5, 5, 2), "the line is too long"));
            } else if first.is_ascii_control() && first != b'\r' {
                self.close(Reply::new(500, (5, 5, 2), "this is not SMTP")); // a TLS hello, for one (S11)
            }
            return false;
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        self.commands += 1;
        if self.commands > limits::SMTP_COMMANDS {
            self.close(Reply::new(421, (4, 7, 0), "too many commands"));
            return false;
        }
        match command::parse(&line) {
            Ok(command) => self.command(command),
            Err(Bad::Last(reply)) => self.close(reply),
            Err(Bad::Reply(reply)) => self.bad(reply),
        }
        true
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Hello { host, extended } => self.hello(host, extended),
            Command::Mail(sender) => self.mail(sender),
            Command::Recipient(recipient) => self.recipient(recipient),
            Command::Data => self.begin_data(),
            Command::Chunk { size, last } => self.begin_chunk(size, last),
            Command::Reset => {
                self.mail = None;
                self.say(Reply::new(250, (2, 0, 0), "forgotten"));
            }
            Command::Noop => self.say(Reply::new(250, (2, 0, 0), "nothing done")),
            Command::Help => self.say(Reply::new(214, (2, 0, 0), "RFC 5321 says it all")),
            Command::Verify => self.say(Reply::new(252, (2, 5, 0), "send it, and see")),
            Command::StartTls => self.begin_tls(),
            Command::Quit => self.close(Reply::new(221, (2, 0, 0), "good bye")),
        }
    }

    fn hello(&mut self, host: String, extended: bool) {
        if self.rushed() {
            return;
        }
        self.helo = Some(host);
        self.mail = None;
        let name = self.offer.hostname.clone();
        if !extended {
            return self.say(Reply::plain(250, name));
        }
        let size = format!("SIZE {}", self.offer.size);
        let mut lines = vec![name, "PIPELINING".to_owned(), size];
        lines.extend(["8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"].map(str::to_owned));
        if self.offer.starttls && !self.secured {
            lines.push("STARTTLS".to_owned());
        }
        self.actions.push_back(Action::Send(reply::lines(250, &lines)));
    }

    fn mail(&mut self, sender: Sender) {
        if self.helo.is_none() {
            return self.bad(Reply::new(503, (5, 5, 1), "say EHLO first"));
        }
        if self.mail.is_some() {
            return self.bad(Reply::new(503, (5, 5, 1), "one message at a time"));
        }
        if sender.size > self.offer.size {
            return self.say(Reply::fault(Fault::TooLarge));
        }
        self.mail = Some(Transaction {
            sender,
            recipients: Vec::new(),
            text: None,
        });
        self.say(Reply::new(250, (2, 1, 0), "sender noted"));
    }

    fn recipient(&mut self, recipient: command::Recipient) {
        let Some(mail) = self.mail.as_ref().filter(|mail| mail.text.is_none()) else {
            return self.bad(Reply::new(503, (5, 5, 1), "say MAIL first"));
        };
        let recipient = match recipient {
            command::Recipient::Address(address) => address,
            command::Recipient::Postmaster => channel::reporter(&self.offer.domain),
        };
        if !mail.sender.utf8 && !recipient.local().is_ascii() {
            return self.bad(Reply::new(553, (5, 6, 7), "say SMTPUTF8 with MAIL first"));
        }
        if mail.recipients.contains(&recipient) {
            return self.say(Reply::new(250, (2, 1, 5), "recipient noted"));
        }
        if mail.recipients.len() >= limits::RECIPIENTS {
            return self.say(Reply::new(452, (4, 5, 3), "too many recipients in one go"));
        }
        self.actions.push_back(Action::Recipient {
            sender: mail.sender.address.clone(),
            recipient: recipient.clone(),
        });
        self.waits = Some(Wait::Recipient(recipient));
    }

    fn recipient_answered(&mut self, answer: Result<(), Fault>) {
        let recipient = match self.waits.take() {
            Some(Wait::Recipient(recipient)) => recipient,
            other => return self.waits = other,
        };
        match (answer, &mut self.mail) {
            (Ok(()), Some(mail)) => {
                mail.recipients.push(recipient);
                self.say(Reply::new(250, (2, 1, 5), "recipient noted"));
            }
            (Ok(()), None) => {}
            (Err(fault), _) => self.say(Reply::fault(fault)),
        }
    }

    /// What forbids a message now.
    fn not_yet(&self) -> Option<Reply> {
        match &self.mail {
            None => Some(Reply::new(503, (5, 5, 1), "say MAIL first")),
            Some(mail) if mail.recipients.is_empty() => Some(Reply::new(554, (5, 5, 1), "no recipients")),
            Some(_) => None,
        }
    }

    fn begin_data(&mut self) {
        if self.rushed() {
            return;
        }
        if let Some(refusal) = self.not_yet() {
            return self.bad(refusal);
        }
        let Some(mail) = self.mail.as_mut().filter(|mail| mail.text.is_none()) else {
            return self.bad(Reply::new(503, (5, 5, 1), "the message comes by BDAT already"));
        };
        mail.text = Some(Text::new(Coding::Stuffed, self.offer.size));
        self.phase = Phase::Data;
        self.say(Reply::plain(354, "end with <CRLF>.<CRLF>".to_owned()));
    }

    /// Octets of a message; false when more are needed.
    fn data(&mut self) -> bool {
        let input = std::mem::take(&mut self.input);
        let Some(text) = self.mail.as_mut().and_then(|mail| mail.text.as_mut()) else {
            self.phase = Phase::Commands;
            self.input = input;
            return true;
        };
        let taken = text.take(&input);
        if text.seen() > endless(self.offer.size) {
            self.close(Reply::fault(Fault::TooLarge));
            return false;
        }
        let Some(taken) = taken else { return false };
        self.input = input.get(taken..).unwrap_or_default().to_vec();
        self.phase = Phase::Commands;
        self.complete();
        true
    }

    fn begin_chunk(&mut self, size: usize, last: bool) {
        if size > endless(self.offer.size) {
            return self.close(Reply::fault(Fault::TooLarge));
        }
        let skip = self.not_yet();
        if let (Some(mail), None) = (&mut self.mail, &skip) {
            mail.text
                .get_or_insert_with(|| Text::new(Coding::Plain, self.offer.size));
        }
        self.phase = Phase::Chunk {
            left: size,
            last,
            skip,
        };
    }

    /// Octets of a chunk; false when more are needed.
    fn chunk(&mut self) -> bool {
        let Phase::Chunk { left, last, skip } = &mut self.phase else {
            return false;
        };
        let here: Vec<u8> = self.input.drain(..self.input.len().min(*left)).collect();
        *left -= here.len();
        let over = *left == 0;
        let last = *last;
        let skip = if over { skip.take() } else { None };
        let text = self.mail.as_mut().and_then(|mail| mail.text.as_mut());
        let mut refusal = skip;
        if let Some(text) = text {
            text.take(&here);
            if text.seen() > endless(self.offer.size) {
                self.close(Reply::fault(Fault::TooLarge));
                return false;
            }
            refusal = refusal.or_else(|| text.flaw().map(text::Flaw::reply));
        }
        if !over {
            return false;
        }
        self.phase = Phase::Commands;
        match refusal {
            // Of a message that is refused no more is taken: the chunks that follow belong to no message.
            Some(refusal) => {
                self.mail = None;
                self.bad(refusal);
            }
            None if last => self.complete(),
            None => self.say(Reply::new(250, (2, 0, 0), "chunk taken")),
        }
        true
    }

    /// The message has come whole.
    fn complete(&mut self) {
        let (Some(mail), Some(helo)) = (self.mail.take(), &self.helo) else {
            return;
        };
        match mail.text.map(Text::finish) {
            Some(Ok(message)) => {
                self.actions.push_back(Action::Message(Envelope {
                    helo: helo.clone(),
                    sender: mail.sender.address,
                    recipients: mail.recipients,
                    message,
                }));
                self.waits = Some(Wait::Message);
            }
            Some(Err(flaw)) => self.say(flaw.reply()),
            None => {}
        }
    }

    fn message_answered(&mut self, answer: Result<(), Fault>) {
        match self.waits.take() {
            Some(Wait::Message) => self.say(match answer {
                Ok(()) => Reply::new(250, (2, 0, 0), "taken"),
                Err(fault) => Reply::fault(fault),
            }),
            other => self.waits = other,
        }
    }

    fn begin_tls(&mut self) {
        if self.secured {
            return self.bad(Reply::new(503, (5, 5, 1), "TLS is on already"));
        }
        if !self.offer.starttls {
            return self.bad(Reply::new(502, (5, 5, 1), "no TLS here"));
        }
        self.input.clear();
        self.say(Reply::new(220, (2, 0, 0), "shake hands"));
        self.actions.push_back(Action::StartTls);
        self.waits = Some(Wait::Handshake);
    }

    fn secured(&mut self) {
        match self.waits.take() {
            Some(Wait::Handshake) => {
                self.secured = true;
                self.helo = None;
                self.mail = None;
                self.input.clear();
            }
            other => self.waits = other,
        }
    }

    /// Whether the client spoke on where it has to wait for the answer (RFC 2920 §3.1, S07); then the session is over.
    fn rushed(&mut self) -> bool {
        let rushed = !self.input.is_empty();
        if rushed {
            self.close(Reply::new(503, (5, 5, 0), "wait for the answer before going on"));
        }
        rushed
    }

    fn say(&mut self, reply: Reply) {
        self.actions.push_back(Action::Send(reply.octets()));
    }

    /// Says no to a client that does not know its trade; not for ever.
    fn bad(&mut self, reply: Reply) {
        self.bad += 1;
        if self.bad > limits::SMTP_BAD_COMMANDS {
            return self.close(Reply::new(421, (4, 7, 0), "too many errors"));
        }
        self.say(reply);
    }

    fn close(&mut self, reply: Reply) {
        self.say(reply);
        self.actions.push_back(Action::Close);
        self.phase = Phase::Closed;
        self.waits = None;
        self.mail = None;
        self.input = Vec::new();
    }
}

/// A client that goes on sending so much of a message that is too large is not listened to further.
fn endless(size: usize) -> usize {
    size.saturating_mul(2)
}

#[cfg(test)]
mod tests;
