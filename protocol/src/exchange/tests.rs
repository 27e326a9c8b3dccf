//! A mailbox of the hospital, an agent of the insurance, and the octets between them.

mod attacks;
mod framing;
mod talking;

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use ::cid::Cid;
use bytes::Bytes;

use super::{
    Decoder, Destination, DestinationAction, Frame, Heard, Origin, OriginAction, OriginEvent, Outcome,
    Served, Wanted,
};
use crate::dag::{Importer, VerifiedBlock};
use crate::limits;

/// What the hospital has posted.
pub(super) struct Hospital {
    pub(super) blocks: HashMap<Cid, Bytes>,
    pub(super) sizes: HashMap<Cid, u64>,
    /// A text, an empty file, an image of three leaves and a bit.
    pub(super) roots: Vec<Cid>,
}

/// The same for all tests: a few megabytes.
pub(super) fn hospital() -> &'static Hospital {
    static HOSPITAL: OnceLock<Hospital> = OnceLock::new();
    HOSPITAL.get_or_init(|| {
        let mut hospital = Hospital {
            blocks: HashMap::new(),
            sizes: HashMap::new(),
            roots: Vec::new(),
        };
        for size in [300, 0, 3 * limits::LEAF + 77] {
            let octets: Vec<u8> = (0..size).map(|x| (x % 251) as u8 ^ (x >> 16) as u8).collect();
            hospital.post(octets.into());
        }
        hospital
    })
}

impl Hospital {
    fn post(&mut self, octets: Bytes) {
        let mut importer = Importer::new();
        let early = importer.push(octets);
        let resource = importer.finish();
        for block in early.iter().chain(&resource.blocks) {
            self.blocks.insert(*block.cid(), block.bytes().clone());
        }
        self.sizes.insert(resource.root, resource.size);
        self.roots.push(resource.root);
    }

    /// All roots, nothing held yet.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        self.roots
            .iter()
            .map(|root| Wanted {
                root: *root,
                size: self.sizes[root],
                skip: 0,
            })
            .collect()
    }
}

/// The insurance's agent, that asks for `wanted`.
pub(super) fn agent(wanted: Vec<Wanted>) -> Destination {
    Destination::new("a.b.c".into(), b"{}".to_vec(), wanted).expect("it can be asked for")
}

/// What an agent had at the end.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) blocks: Vec<VerifiedBlock>,
    pub(super) held: HashSet<Cid>,
    pub(super) leaves: Vec<(usize, u64)>,
    pub(super) arrived: Vec<usize>,
    /// The last `resume` of each want.
    pub(super) resume: HashMap<usize, u64>,
    pub(super) outcome: Option<Outcome>,
    pub(super) fetch: Option<Frame>,
}

impl Got {
    /// Does what an agent asks for, until it asks for nothing.
    pub(super) fn follow(&mut self, agent: &mut Destination) {
        while let Some(action) = agent.poll() {
            match action {
                DestinationAction::Send(frame) => self.fetch = Some(frame),
                DestinationAction::Verify {
                    want,
                    block,
                    leaf,
                    resume,
                    ..
                } => match block.verify() {
                    Ok(block) => {
                        agent.verified(Ok(&block));
                        self.held.insert(*block.cid());
                        self.blocks.push(block);
                        self.leaves.extend(leaf.map(|offset| (want, offset)));
                        self.resume.insert(want, resume);
                    }
                    Err(error) => agent.verified(Err(error)),
                },
                DestinationAction::Arrived(want) => self.arrived.push(want),
                DestinationAction::Finish(outcome) => {
                    assert_eq!(self.outcome.replace(outcome), None, "it finishes once");
                }
            }
        }
    }

    /// Gives octets to an agent in chunks, as a stream would, then ends the stream.
    pub(super) fn hear(&mut self, agent: &mut Destination, octets: &[u8], chunk: usize) {
        let mut decoder = Decoder::new();
        for part in octets.chunks(chunk) {
            decoder.push(part);
            loop {
                self.follow(agent);
                if self.outcome.is_some() {
                    return;
                }
                match decoder.poll(agent.expect()) {
                    Ok(Some(frame)) => agent.handle(Heard::Frame(frame)),
                    Ok(None) => break,
                    Err(error) => agent.handle(Heard::Malformed(error)),
                }
            }
        }
        agent.handle(Heard::Ended);
        self.follow(agent);
    }
}

/// What an honest origin answers to a first frame, frame by frame, and how that ended.
pub(super) fn answer(hospital: &Hospital, request: Frame) -> (Vec<Frame>, Served) {
    let mut origin = Origin::new();
    let mut frames = Vec::new();
    origin.handle(OriginEvent::Frame(request));
    loop {
        match origin.poll().expect("it always has something to do") {
            OriginAction::Authorize(fetch) => {
                let sizes = fetch
                    .wants
                    .iter()
                    .map(|want| hospital.sizes[&want.root])
                    .collect();
                origin.handle(OriginEvent::Granted(sizes));
            }
            OriginAction::Note(_) => origin.handle(OriginEvent::Noted),
            OriginAction::Read(cids) => {
                for cid in &cids {
                    origin.handle(match hospital.blocks.get(cid) {
                        Some(bytes) => OriginEvent::Block(bytes.clone()),
                        None => OriginEvent::Missing,
                    });
                }
            }
            OriginAction::Send(frame) => frames.push(frame),
            OriginAction::Finish(served) => {
                assert_eq!(origin.poll(), None);
                return (frames, served);
            }
        }
    }
}

/// Frames as they stand on the wire.
pub(super) fn octets(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    frames
        .into_iter()
        .flat_map(Frame::encode)
        .flat_map(|part| part.to_vec())
        .collect()
}

/// What an honest origin answers to this agent.
pub(super) fn served(hospital: &Hospital, agent: &mut Destination, got: &mut Got) -> Vec<Frame> {
    got.follow(agent);
    let fetch = got.fetch.clone().expect("an agent begins with a fetch");
    answer(hospital, fetch).0
}
