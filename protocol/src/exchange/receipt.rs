//! The destination's side of a receipt's stream: sends token 3, and hears whether the origin has noted it.

use super::decoder::{Expect, Heard};
use super::frame::{Frame, FrameError, Refused};

/// One receipt on its way. Only [`ReceiptOutcome::Noted`] ends the sending; the same receipt may be sent again after
/// everything else.
#[derive(Debug)]
pub struct Receipting {
    state: State,
}

#[derive(Debug)]
enum State {
    Unsent(String),
    Waiting,
    Ending(ReceiptOutcome),
    Done,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptAction {
    /// Write this frame.
    Send(Frame),
    /// The stream is over: close it. Nothing follows.
    Finish(ReceiptOutcome),
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptOutcome {
    /// The origin has made it durable.
    Noted,
    /// The origin refuses it.
    Refused(Refused),
    /// The stream ended early: send it again.
    Broken,
    /// The origin sent what may not come.
    Violated(FrameError),
}

impl Receipting {
    /// A stream for one receipt: token 3 with token 1 in it, as compact JWS.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self {
            state: State::Unsent(token),
        }
    }

    /// What may be read from the stream now.
    #[must_use]
    pub fn expect(&self) -> Expect {
        match self.state {
            State::Unsent(_) | State::Waiting => Expect::Noted,
            State::Ending(_) | State::Done => Expect::Nothing,
        }
    }

    /// The next thing to do; none until something happens.
    pub fn poll(&mut self) -> Option<ReceiptAction> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Unsent(token) => {
                self.state = State::Waiting;
                Some(ReceiptAction::Send(Frame::Receipt(token)))
            }
            State::Ending(outcome) => Some(ReceiptAction::Finish(outcome)),
            state => {
                self.state = state;
                None
            }
        }
    }

    /// Takes what the stream brought.
    pub fn handle(&mut self, heard: Heard) {
        if matches!(self.state, State::Ending(_) | State::Done) {
            return;
        }
        self.state = State::Ending(match heard {
            Heard::Frame(Frame::Noted) => ReceiptOutcome::Noted,
            Heard::Frame(Frame::Refused(refused)) => ReceiptOutcome::Refused(refused),
            Heard::Frame(frame) => ReceiptOutcome::Violated(FrameError::Unexpected(frame.name())),
            Heard::Malformed(error) => ReceiptOutcome::Violated(error),
            Heard::Ended => ReceiptOutcome::Broken,
        });
    }
}
