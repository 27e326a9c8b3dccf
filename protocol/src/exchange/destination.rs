//! The destination's side of a fetch: says what it wants, and believes only what it can verify.

use std::collections::{HashSet, VecDeque};

use ::cid::Cid;

use super::decoder::{Expect, Heard};
use super::frame::{End, Fetch, Frame, FrameError, Grant, Refused, Want};
use crate::dag::{BlockError, ClaimedBlock, Expected, Kind, Octets, VerifiedBlock, Walk, WalkError};
use crate::fault::{Fault, Faulty};
use crate::limits;

/// One fetch. [`poll`](Destination::poll) until it gives none, then [`handle`](Destination::handle) what the stream
/// brought, or tell what became of a block ([`verified`](Destination::verified)). It holds at most one block, the one that
/// came last.
///
/// The stream goes on while blocks are hashed elsewhere: how many of them wait for it is bounded by whoever runs the
/// machine. Whatever ends the stream, the machine finishes when it has heard of all of them.
#[derive(Debug)]
pub struct Destination {
    state: State,
    /// What is still to come, with the index of its want; the first is under way.
    walks: VecDeque<(usize, Walk)>,
    wanted: Vec<Wanted>,
    received: End,
    /// Octets of the resources that are verified, skipped ones included.
    content: u64,
    /// Blocks that were given to be verified.
    claimed: VecDeque<Claimed>,
    actions: VecDeque<DestinationAction>,
}

/// A block that was given to be verified.
#[derive(Debug, Clone, Copy)]
struct Claimed {
    want: usize,
    cid: Cid,
    /// Octets of the resource up to the next block.
    content: u64,
    /// Whether it is the want's last.
    last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Asked, waits for the answer.
    Asking,
    /// Granted, takes blocks.
    Taking,
    /// Nothing more is heard; waits for blocks to be verified.
    Ending(Outcome),
    /// Gave [`DestinationAction::Finish`].
    Done,
}

/// A resource that shall be fetched. One that is held whole is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, as notified.
    pub root: Cid,
    /// Its size in octets, as notified.
    pub size: u64,
    /// Leaves of 1 MiB that are already durable here, from the first on: what the last [`DestinationAction::Verify`] of an
    /// earlier fetch called `resume`. The nodes above them are durable, too.
    pub skip: u64,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationAction {
    /// Write this frame.
    Send(Frame),
    /// Verify this block, tell the machine what came of it ([`Destination::verified`]), and store it. Blocks are told of in
    /// the order in which they were given.
    Verify {
        /// Whose block it is: the index of the want.
        want: usize,
        /// The block.
        block: ClaimedBlock,
        /// For a leaf, where its octets begin in the resource; none for a node.
        leaf: Option<u64>,
        /// With what `skip` a later fetch goes on, once this block and all before it are durable.
        resume: u64,
        /// Whether it is the want's last block.
        last: bool,
    },
    /// All blocks of the want with this index are verified.
    Arrived(usize),
    /// The stream is over: close it, and reset it if the origin violated the protocol. Nothing follows.
    Finish(Outcome),
}

/// How a fetch ended. After all but [`Outcome::Complete`] the blocks that were verified stay so and are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every wanted block was verified.
    Complete(End),
    /// The origin refuses, or refuses to go on.
    Refused(Refused),
    /// The stream ended early: fetch again, from what is held.
    Broken,
    /// The origin cannot be believed: count it against its reputation.
    Violated(Violation),
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Blocks and their octets that this fetch received.
    pub received: End,
    /// Octets of all wanted resources that are here, skipped ones included.
    pub content: u64,
    /// Octets of all wanted resources.
    pub of: u64,
}

/// Why a fetch cannot be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More than [`limits::RESOURCES`] are wanted.
    #[error("{0} resources")]
    Count(usize),
    /// A root is wanted twice; the same octets under two names in a mail are one resource.
    #[error("{0} is wanted twice")]
    Twice(Cid),
    /// The token is longer than [`limits::TOKEN_CHAIN`].
    #[error("a token of {0} octets")]
    Token(usize),
    /// The notification is longer than [`limits::NOTIFICATION`].
    #[error("a notification of {0} octets")]
    Notification(usize),
    /// The announced size, the name or the skip of a want is out of bounds.
    #[error("want {want} cannot be: {error}")]
    Want {
        /// The index of the want.
        want: usize,
        /// Why.
        error: WalkError,
    },
}

impl Faulty for RequestError {
    fn fault(&self) -> Fault {
        match self {
            RequestError::Twice(_) => Fault::Malformed,
            RequestError::Count(_) | RequestError::Token(_) | RequestError::Notification(_) => {
                Fault::TooLarge
            }
            RequestError::Want { error, .. } => error.fault(),
        }
    }
}

/// What an origin did that it may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Octets that are no frame, or a frame that may not come.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It granted another number of resources than wanted.
    #[error("{granted} resources granted, {wanted} wanted")]
    GrantCount {
        /// How many were wanted.
        wanted: usize,
        /// How many were granted.
        granted: usize,
    },
    /// It granted another resource than the one wanted at this index.
    #[error("want {0} was granted as another resource")]
    GrantRoot(usize),
    /// It granted a resource with another size than was notified.
    #[error("want {want} has {granted} octets, notified were {notified}")]
    GrantSize {
        /// The index of the want.
        want: usize,
        /// The size that it was notified with.
        notified: u64,
        /// The size that it was granted with.
        granted: u64,
    },
    /// A block that is not the one that comes next, or that makes no resource of the notified size.
    #[error("want {want}: {error}")]
    Block {
        /// The index of the want.
        want: usize,
        /// What is wrong.
        error: WalkError,
    },
    /// The end's counts are not those of the blocks that came.
    #[error("the end counts {said:?}, came {came:?}")]
    Miscounted {
        /// What the origin said.
        said: End,
        /// What came.
        came: End,
    },
}

impl Faulty for Violation {
    fn fault(&self) -> Fault {
        match self {
            Violation::Frame(error) => error.fault(),
            Violation::Block { error, .. } => error.fault(),
            _ => Fault::Malformed,
        }
    }
}

impl Destination {
    /// A fetch of `wants`, in this order; of none, it asks for the permission alone. `token` is token 2 with token 1 in it; `notification` the notification's octets as
    /// they were received.
    ///
    /// # Errors
    /// A [`RequestError`] for what no origin could grant.
    pub fn new(token: String, notification: Vec<u8>, wanted: Vec<Wanted>) -> Result<Self, RequestError> {
        check_request(&token, &notification, &wanted)?;
        let mut walks = VecDeque::with_capacity(wanted.len());
        let mut content = 0;
        for (want, Wanted { root, size, skip }) in wanted.iter().enumerate() {
            let walk =
                Walk::resume(*root, *size, *skip).map_err(|error| RequestError::Want { want, error })?;
            content += walk.position();
            walks.push_back((want, walk));
        }
        let fetch = Fetch {
            token,
            notification,
            wants: wanted
                .iter()
                .map(|Wanted { root, skip, .. }| Want {
                    root: *root,
                    skip: *skip,
                })
                .collect(),
        };
        Ok(Self {
            state: State::Asking,
            walks,
            wanted,
            received: End::default(),
            content,
            claimed: VecDeque::new(),
            actions: VecDeque::from([DestinationAction::Send(Frame::Fetch(fetch))]),
        })
    }

    /// What may be read from the stream now.
    #[must_use]
    pub fn expect(&self) -> Expect {
        match (self.state, self.next()) {
            (State::Asking, _) => Expect::Answer,
            (State::Taking, Some(next)) => Expect::Block(next.longest()),
            (State::Taking, None) => Expect::End,
            (State::Ending(_) | State::Done, _) => Expect::Nothing,
        }
    }

    /// The block that comes next; none before the grant and after the last block.
    #[must_use]
    pub fn next(&self) -> Option<Expected> {
        match self.state {
            State::Taking => self.walks.front().and_then(|(_, walk)| walk.next()),
            State::Asking | State::Ending(_) | State::Done => None,
        }
    }

    /// How far the fetch is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            received: self.received,
            content: self.content,
            of: self.wanted.iter().map(|wanted| wanted.size).sum(),
        }
    }

    /// The next thing to do; none until the stream brings something.
    pub fn poll(&mut self) -> Option<DestinationAction> {
        self.actions.pop_front()
    }

    /// Takes what the stream brought.
    pub fn handle(&mut self, heard: Heard) {
        if matches!(self.state, State::Ending(_) | State::Done) {
            return;
        }
        let taken = match heard {
            Heard::Ended => return self.finish(Outcome::Broken),
            Heard::Malformed(error) => Err(Violation::Frame(error)),
            Heard::Frame(frame) => self.take(frame),
        };
        if let Err(violation) = taken {
            self.finish(Outcome::Violated(violation));
        }
    }

    /// Takes what came of the first block that was given and not told of yet.
    pub fn verified(&mut self, verified: Result<&VerifiedBlock, BlockError>) {
        let Some(first) = self.claimed.pop_front() else {
            return;
        };
        let Claimed { want, cid, .. } = first;
        let fits = verified.and_then(|block| match *block.cid() == cid {
            true => Ok(()),
            false => Err(BlockError::Mismatch(cid)),
        });
        if let Err(error) = fits {
            // What came behind it is of no use to anybody.
            self.claimed.clear();
            let error = error.into();
            return self.finish(Outcome::Violated(Violation::Block { want, error }));
        }
        self.content += first.content;
        if first.last {
            self.actions.push_back(DestinationAction::Arrived(want));
        }
        if let State::Ending(outcome) = self.state {
            self.finish(outcome);
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), Violation> {
        self.expect().check(frame.name())?;
        match frame {
            Frame::Refused(refused) => self.finish(Outcome::Refused(refused)),
            Frame::Granted(grants) => self.take_grants(&grants)?,
            Frame::Block(octets) => self.take_block(octets)?,
            Frame::End(said) => self.take_end(said)?,
            other => return Err(FrameError::Unexpected(other.name()).into()),
        }
        Ok(())
    }

    fn take_grants(&mut self, grants: &[Grant]) -> Result<(), Violation> {
        if grants.len() != self.wanted.len() {
            return Err(Violation::GrantCount {
                wanted: self.wanted.len(),
                granted: grants.len(),
            });
        }
        for (want, (wanted, grant)) in self.wanted.iter().zip(grants).enumerate() {
            if grant.root != wanted.root {
                return Err(Violation::GrantRoot(want));
            }
            if grant.size != wanted.size {
                return Err(Violation::GrantSize {
                    want,
                    notified: wanted.size,
                    granted: grant.size,
                });
            }
        }
        self.state = State::Taking;
        Ok(())
    }

    fn take_block(&mut self, octets: Octets) -> Result<(), Violation> {
        let Some((want, walk)) = self.walks.front_mut() else {
            return Err(FrameError::Unexpected(super::Name::Block).into());
        };
        let want = *want;
        let before = walk.position();
        let next = walk.next();
        let block = walk
            .claim(octets)
            .map_err(|error| Violation::Block { want, error })?;
        let resume = walk.leaves();
        let last = walk.is_complete();
        self.claimed.push_back(Claimed {
            want,
            cid: *block.cid(),
            content: walk.position() - before,
            last,
        });
        self.received.blocks += 1;
        self.received.bytes += block.size() as u64;
        let leaf = next
            .filter(|next| next.kind == Kind::Leaf)
            .map(|next| next.offset);
        if last {
            self.walks.pop_front();
        }
        self.actions.push_back(DestinationAction::Verify {
            want,
            block,
            leaf,
            resume,
            last,
        });
        Ok(())
    }

    fn take_end(&mut self, said: End) -> Result<(), Violation> {
        let came = self.received;
        if said != came {
            return Err(Violation::Miscounted { said, came });
        }
        self.finish(Outcome::Complete(said));
        Ok(())
    }

    /// Ends, once every block that was given is told of.
    fn finish(&mut self, outcome: Outcome) {
        if self.claimed.is_empty() {
            self.state = State::Done;
            self.actions.push_back(DestinationAction::Finish(outcome));
        } else {
            self.state = State::Ending(outcome);
        }
    }
}

fn check_request(token: &str, notification: &[u8], wanted: &[Wanted]) -> Result<(), RequestError> {
    if wanted.len() > limits::RESOURCES {
        return Err(RequestError::Count(wanted.len()));
    }
    if token.len() > limits::TOKEN_CHAIN {
        return Err(RequestError::Token(token.len()));
    }
    if notification.len() > limits::NOTIFICATION {
        return Err(RequestError::Notification(notification.len()));
    }
    let mut seen = HashSet::with_capacity(wanted.len());
    for Wanted { root, .. } in wanted {
        if !seen.insert(root) {
            return Err(RequestError::Twice(*root));
        }
    }
    Ok(())
}
