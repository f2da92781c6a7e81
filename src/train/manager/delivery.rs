//! Weights and learners as messages: whole if they fit, in chunks otherwise.

use crate::train::topic::Pupil;
use crate::train::transfer;
use crate::train::wire::{Body, Content, Message, Weights};
use bytes::Bytes;
use prost::Message as _;

/// What of an envelope is beside the bytes of its tensors: names, numbers, hashes.
const ENVELOPE: usize = 512;

/// Whose weights or learner it is, and which.
#[derive(Clone, Copy)]
pub(super) struct Address<'a> {
    pub pupil: &'a Pupil,
    pub epoch: u64,
    pub sequence: u64,
}

impl Address<'_> {
    /// The messages that bring these weights to a device that takes `max_message` bytes at once.
    pub fn weights(self, weights: Weights, max_message: usize) -> Vec<Bytes> {
        if weights.tensors.len() + ENVELOPE <= max_message {
            return vec![self.message(Body::Weights(weights))];
        }
        self.in_chunks(Content::Weights, weights.encode_to_vec().into(), max_message)
    }

    /// A manifest and chunks.
    pub fn in_chunks(self, content: Content, bytes: Bytes, max_message: usize) -> Vec<Bytes> {
        let (manifest, chunks) = transfer::split(content, bytes, max_message);
        let first = std::iter::once(Body::Manifest(manifest));
        let all = first.chain(chunks.map(Body::Chunk));
        all.map(|body| self.message(body)).collect()
    }

    fn message(self, body: Body) -> Bytes {
        let message = Message {
            pupil: self.pupil.clone(),
            epoch: self.epoch,
            sequence: self.sequence,
            body,
        };
        message.encode()
    }
}
