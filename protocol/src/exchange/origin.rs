//! The origin's side of one stream: hears a fetch or a receipt, asks who decides, and sends.

use std::collections::VecDeque;

use ::cid::Cid;
use bytes::Bytes;

use super::decoder::Expect;
use super::frame::{End, Fetch, Frame, FrameError, Grant, Refused, Want};
use crate::dag::{Kind, Walk, WalkError};
use crate::fault::Fault;
use crate::limits;

/// One stream at the origin. [`poll`](Origin::poll) until it gives none, then [`handle`](Origin::handle) what happened.
///
/// The machine holds no block: a block goes from the event that brings it to the action that sends it. It asks for a few
/// blocks at a time, so that they are read while those before are written.
#[derive(Debug)]
pub struct Origin {
    state: State,
    actions: VecDeque<OriginAction>,
}

#[derive(Debug)]
enum State {
    /// Waits for the first frame.
    Request,
    /// Waits for the decision on a fetch.
    Deciding(Vec<Want>),
    /// Waits until a receipt is durable or refused.
    Noting,
    /// Sends blocks.
    Serving(Serving),
    /// Gave [`OriginAction::Finish`].
    Done,
}

#[derive(Debug)]
struct Serving {
    /// What is still to be sent, in the order of the wants; the first is under way.
    walks: VecDeque<Walk>,
    sent: End,
    /// The blocks that the caller was asked for and has not brought yet.
    reading: VecDeque<Cid>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginEvent {
    /// A frame was decoded.
    Frame(Frame),
    /// The octets were no frame that may come.
    Malformed(FrameError),
    /// The stream ended, broke, or was too slow.
    Ended,
    /// After [`OriginAction::Authorize`]: the fetch may be served. The sizes of the resources, in the order of the wants.
    Granted(Vec<u64>),
    /// After [`OriginAction::Authorize`], [`OriginAction::Note`], or while blocks are sent (a share was revoked, the node
    /// stops): no, or no further. Why, the peer does not learn; see [`Fault::stream`].
    Refused(Refused),
    /// After [`OriginAction::Note`]: the receipt is durable.
    Noted,
    /// After [`OriginAction::Read`]: the octets of the next of those blocks, checked as they were stored.
    Block(Bytes),
    /// After [`OriginAction::Read`]: the next of those blocks is not here, although a share says so.
    Missing,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginAction {
    /// Decide whether this fetch may be served; answer with [`OriginEvent::Granted`] or [`OriginEvent::Refused`]. What is
    /// not here, not shared with the peer, or expired is refused in the same words and the same time.
    Authorize(Fetch),
    /// Verify token 3 and make the receipt durable; answer with [`OriginEvent::Noted`] or [`OriginEvent::Refused`].
    Note(String),
    /// Read these blocks; answer for each in this order with [`OriginEvent::Block`] or [`OriginEvent::Missing`]. At least
    /// one, together at most [`limits::READ_AHEAD`] octets if it is more than one.
    Read(Vec<Cid>),
    /// Write this frame. It may be written while the next blocks are read.
    Send(Frame),
    /// The stream is over: close it behind what was sent. Nothing follows.
    Finish(Served),
}

/// How a stream ended at the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// All blocks and the end were handed over for sending.
    Whole(End),
    /// The receipt was noted.
    Noted,
    /// The caller refused.
    Refused,
    /// The destination wants to skip more than there is; it was refused.
    Skip(WalkError),
    /// Our own store has no such block; the peer was told to come back.
    Missing(Cid),
    /// Our own store gave octets that cannot be this block, or the share's size is wrong; the peer was told to come back.
    Corrupt(Cid, WalkError),
    /// The peer sent what may not come.
    Violated(FrameError),
    /// The stream ended early.
    Broken,
}

impl Default for Origin {
    fn default() -> Self {
        Self::new()
    }
}

impl Origin {
    /// A stream that was just accepted.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Request,
            actions: VecDeque::new(),
        }
    }

    /// What may be read from the stream now.
    #[must_use]
    pub fn expect(&self) -> Expect {
        match self.state {
            State::Request => Expect::Request,
            _ => Expect::Nothing,
        }
    }

    /// The next thing to do; none until something happens.
    pub fn poll(&mut self) -> Option<OriginAction> {
        if self.actions.is_empty() {
            self.go_on();
        }
        self.actions.pop_front()
    }

    /// Takes what happened. An event that answers no question is ignored.
    pub fn handle(&mut self, event: OriginEvent) {
        match (std::mem::replace(&mut self.state, State::Done), event) {
            (State::Done, _) => {}
            (_, OriginEvent::Ended) => self.finish(Served::Broken),
            (_, OriginEvent::Malformed(error)) => self.finish(Served::Violated(error)),
            (State::Request, OriginEvent::Frame(Frame::Fetch(fetch))) => self.ask(fetch),
            (State::Request, OriginEvent::Frame(Frame::Receipt(token))) => {
                self.state = State::Noting;
                self.actions.push_back(OriginAction::Note(token));
            }
            (_, OriginEvent::Frame(frame)) => {
                self.finish(Served::Violated(FrameError::Unexpected(frame.name())));
            }
            (State::Deciding(wants), OriginEvent::Granted(sizes)) => self.grant(&wants, &sizes),
            (State::Deciding(_) | State::Noting | State::Serving(_), OriginEvent::Refused(refused)) => {
                self.refuse(refused, Served::Refused);
            }
            (State::Noting, OriginEvent::Noted) => {
                self.actions.push_back(OriginAction::Send(Frame::Noted));
                self.finish(Served::Noted);
            }
            (State::Serving(serving), OriginEvent::Block(bytes)) => self.send(serving, bytes),
            (State::Serving(serving), OriginEvent::Missing) => match serving.reading.front() {
                Some(cid) => self.refuse(later(), Served::Missing(*cid)),
                None => self.state = State::Serving(serving),
            },
            (state, _) => self.state = state,
        }
    }

    fn ask(&mut self, fetch: Fetch) {
        self.state = State::Deciding(fetch.wants.clone());
        self.actions.push_back(OriginAction::Authorize(fetch));
    }

    fn grant(&mut self, wants: &[Want], sizes: &[u64]) {
        let mut walks = VecDeque::with_capacity(wants.len());
        let mut grants = Vec::with_capacity(wants.len());
        for (want, size) in wants.iter().zip(sizes) {
            match Walk::resume(want.root, *size, want.skip) {
                Ok(walk) => walks.push_back(walk),
                Err(error @ WalkError::Part { .. }) => return self.refuse(never(), Served::Skip(error)),
                Err(error) => return self.refuse(later(), Served::Corrupt(want.root, error)),
            }
            grants.push(Grant {
                root: want.root,
                size: *size,
            });
        }
        if let Some(forgotten) = wants.get(sizes.len()) {
            return self.refuse(later(), Served::Missing(forgotten.root));
        }
        self.actions.push_back(OriginAction::Send(Frame::Granted(grants)));
        self.state = State::Serving(Serving {
            walks,
            sent: End::default(),
            reading: VecDeque::new(),
        });
    }

    /// Asks for the next blocks, or ends.
    fn go_on(&mut self) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        if !serving.reading.is_empty() {
            return;
        }
        while serving.walks.front().is_some_and(Walk::is_complete) {
            serving.walks.pop_front();
        }
        let next = next(&serving.walks);
        if !next.is_empty() {
            serving.reading.extend(&next);
            self.actions.push_back(OriginAction::Read(next));
        } else {
            let sent = serving.sent;
            self.actions.push_back(OriginAction::Send(Frame::End(sent)));
            self.finish(Served::Whole(sent));
        }
    }

    fn send(&mut self, mut serving: Serving, bytes: Bytes) {
        while serving.walks.front().is_some_and(Walk::is_complete) {
            serving.walks.pop_front();
        }
        let (Some(cid), Some(walk)) = (serving.reading.pop_front(), serving.walks.front_mut()) else {
            self.state = State::Serving(serving);
            return;
        };
        if let Err(error) = walk.trust(&bytes) {
            return self.refuse(later(), Served::Corrupt(cid, error));
        }
        serving.sent.blocks += 1;
        serving.sent.bytes += bytes.len() as u64;
        self.state = State::Serving(serving);
        self.actions
            .push_back(OriginAction::Send(Frame::Block(bytes.into())));
    }

    fn refuse(&mut self, refused: Refused, served: Served) {
        self.actions
            .push_back(OriginAction::Send(Frame::Refused(refused)));
        self.finish(served);
    }

    fn finish(&mut self, served: Served) {
        self.state = State::Done;
        self.actions.push_back(OriginAction::Finish(served));
    }
}

/// The blocks that come next for certain, as many as are read at a time: of the walk that is under way, and of those behind
/// it while everything before is known.
fn next(walks: &VecDeque<Walk>) -> Vec<Cid> {
    let mut next = Vec::new();
    let mut octets = 0;
    for walk in walks {
        for expected in walk.coming() {
            octets += expected.longest();
            let full = octets > limits::READ_AHEAD || next.len() >= limits::READ_AHEAD_BLOCKS;
            if full && !next.is_empty() {
                return next;
            }
            next.push(expected.cid);
            if expected.kind == Kind::Node {
                return next;
            }
        }
    }
    next
}

/// Our own fault: the peer may come back.
fn later() -> Refused {
    Fault::Local.stream().into()
}

fn never() -> Refused {
    Fault::Malformed.stream().into()
}
