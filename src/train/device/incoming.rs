//! What the trainer says: checked, and dropped and counted if it is of no use.

use super::{Device, RETRY, WholeLearner};
use crate::train::topic::{self, Channel};
use crate::train::transfer::{Progress, Version};
use crate::train::wire::{self, Ack, Body, Chunk, Content, Manifest, Message, Weights};
use bytes::Bytes;
use prost::Message as _;
use serde::Serialize;
use std::time::Duration;

/// Messages that were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Of another device or learner, or on a topic of no use here.
    pub of_another: u64,
    /// No protobuf, cut short, or with something in it that cannot be.
    pub damaged: u64,
    /// Of another version of the protocol.
    pub other_protocol: u64,
    /// Of an epoch that is over.
    pub other_epoch: u64,
    /// Weights of a version that is not newer than what there is: late, or a replay.
    pub old: u64,
    /// Weights with a wrong hash, of another shape, or with numbers that are not finite.
    pub bad_weights: u64,
}

/// Weights that have arrived whole; their numbers have not been looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrivedWeights {
    /// The epoch they are of: another may have begun before they are of use.
    pub epoch: u64,
    /// The last experience learned from: the version.
    pub sequence: u64,
    /// As they came.
    pub weights: Weights,
    /// When the last byte came.
    pub at: Duration,
}

/// What has arrived and not been taken. Only the newest counts.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    newest: u64,
    weights: Option<ArrivedWeights>,
    learner: Option<WholeLearner>,
}

impl Device {
    /// Takes a message.
    pub fn receive(&mut self, topic: &str, payload: Bytes, now: Duration) {
        self.counts.bytes_down += (topic.len() + payload.len()) as u64;
        let ours = topic::parse(topic).filter(|(channel, _)| *channel == Channel::Weights);
        let message = match ours {
            Some((_, pupil)) if pupil == self.config.pupil => Message::decode(payload, &pupil),
            _ => {
                self.counts.dropped.of_another += 1;
                return;
            }
        };
        match message {
            Ok(message) => self.take(message, now),
            Err(wire::Dropped::OfAnother { .. }) => self.counts.dropped.of_another += 1,
            Err(wire::Dropped::Version(_)) => self.counts.dropped.other_protocol += 1,
            Err(_) => self.counts.dropped.damaged += 1,
        }
    }

    /// The newest weights, once.
    pub fn take_weights(&mut self) -> Option<ArrivedWeights> {
        self.arrivals.weights.take()
    }

    /// The learner that was fetched, once.
    pub fn take_learner(&mut self) -> Option<WholeLearner> {
        self.arrivals.learner.take()
    }

    fn take(&mut self, message: Message, now: Duration) {
        if message.epoch != self.queue.epoch() {
            return self.take_of_other_epoch(&message, now);
        }
        match message.body {
            Body::Ack(ack) => self.take_ack(message.sequence, ack, now),
            Body::Weights(weights) => self.take_weights_of(message.sequence, weights, now),
            Body::Manifest(manifest) => self.take_manifest(message.sequence, manifest, now),
            Body::Chunk(chunk) => self.take_chunk(message.sequence, &chunk, now),
            _ => self.counts.dropped.damaged += 1,
        }
    }

    /// A trainer that knows a later epoch than ours: that of another device of this name, or of an earlier run of this
    /// one whose clock was ahead. What there is goes into an epoch that is later still.
    fn take_of_other_epoch(&mut self, message: &Message, now: Duration) {
        self.counts.dropped.other_epoch += 1;
        if message.epoch > self.queue.epoch() && matches!(message.body, Body::Ack(_)) {
            self.begin_again(message.epoch + 1, now);
        }
    }

    fn take_ack(&mut self, sequence: u64, ack: Ack, now: Duration) {
        self.heard(now);
        self.counts.duplicates = self.counts.duplicates.max(ack.duplicates);
        if !ack.refused.is_empty() {
            if self.refused.as_ref() != Some(&ack.refused) {
                tracing::warn!("the trainer does not serve this device: {}", ack.refused);
            }
            self.refused = Some(ack.refused);
            return;
        }
        self.refused = None;
        if ack.need_model {
            return self.give_model(now);
        }
        if sequence > self.queue.last() {
            // A power cut has taken what the trainer has learned from.
            tracing::warn!(
                "the trainer has learned from experience {sequence}, the last one here is {}: those between are not \
                 sent again",
                self.queue.last()
            );
            self.queue.skip_to(sequence);
        }
        let next = if ack.resend_from > 0 {
            ack.resend_from
        } else {
            sequence + 1
        };
        if next <= self.queue.before() {
            // It lost what it had stored; from a learner that we have it can go on.
            return self.begin_again(self.queue.epoch() + 1, now);
        }
        self.progress(sequence, ack.durable);
        if !self.is_served || ack.resend_from > 0 {
            self.sent = (next - 1).min(self.queue.last());
        }
        self.is_served = true;
    }

    /// The trainer lacks the learner that the epoch began with.
    fn give_model(&mut self, now: Duration) {
        match &self.base {
            Some(base) if base.sequence == self.queue.base() => {
                let (sequence, bytes) = (base.sequence, base.bytes.clone());
                if self.uploads.is_empty() {
                    self.upload(Content::Checkpoint, sequence, bytes);
                }
            }
            _ => self.begin_again(self.queue.epoch() + 1, now),
        }
    }

    /// The same experiences in a later epoch, from the newest learner that is at hand.
    fn begin_again(&mut self, epoch: u64, now: Duration) {
        let base = self.base.as_ref().map_or(0, |base| base.sequence);
        if base < self.queue.before() {
            self.refused = Some(format!(
                "the trainer has not got experience {}, and it is not here any more",
                self.queue.before()
            ));
            return;
        }
        self.counts.begun_again += 1;
        self.queue.rename_epoch(epoch, base);
        self.start_over(now);
    }

    fn take_weights_of(&mut self, sequence: u64, weights: Weights, now: Duration) {
        if sequence > self.queue.last() || sequence < self.queue.base() {
            self.counts.dropped.damaged += 1;
            return;
        }
        self.heard(now);
        self.progress(sequence, weights.durable);
        if sequence <= self.arrivals.newest {
            self.counts.dropped.old += 1;
            return;
        }
        self.arrivals.newest = sequence;
        self.arrivals.weights = Some(ArrivedWeights {
            epoch: self.queue.epoch(),
            sequence,
            weights,
            at: now,
        });
    }

    fn take_manifest(&mut self, sequence: u64, manifest: Manifest, now: Duration) {
        let progress = self.assembly.manifest(self.version(sequence), manifest);
        self.take_progress(sequence, progress, now);
    }

    fn take_chunk(&mut self, sequence: u64, chunk: &Chunk, now: Duration) {
        let progress = self.assembly.chunk(self.version(sequence), chunk);
        self.take_progress(sequence, progress, now);
    }

    fn take_progress(&mut self, sequence: u64, progress: Progress, now: Duration) {
        self.heard(now);
        match progress {
            Progress::More => {}
            Progress::Whole(content, bytes) => self.take_whole(sequence, content, bytes, now),
            Progress::Bad(why) => {
                tracing::debug!("part of a transfer is dropped: {why}");
                self.counts.dropped.damaged += 1;
            }
        }
    }

    fn version(&self, sequence: u64) -> Version {
        Version {
            epoch: self.queue.epoch(),
            sequence,
        }
    }

    fn take_whole(&mut self, sequence: u64, content: Content, bytes: Bytes, now: Duration) {
        match content {
            Content::Weights => match Weights::decode(bytes) {
                Ok(weights) => self.take_weights_of(sequence, weights, now),
                Err(_) => self.counts.dropped.damaged += 1,
            },
            Content::Checkpoint if self.fetch.is_some_and(|after| sequence >= after) => {
                self.stop_fetching();
                self.progress(sequence, 0);
                self.arrivals.learner = Some(WholeLearner { sequence, bytes });
            }
            Content::Checkpoint => self.counts.dropped.old += 1,
        }
    }

    fn heard(&mut self, now: Duration) {
        self.heard = now;
        self.retry = RETRY;
    }

    fn progress(&mut self, learned: u64, durable: u64) {
        self.learned = self.learned.max(learned);
        self.sent = self.sent.max(self.learned.min(self.queue.last()));
        self.queue.set_durable(durable);
        self.forget_what_is_safe();
    }
}
