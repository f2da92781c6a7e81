//! One turn of a learner: some updates, and what is to be made of it afterwards. Runs on any thread.

use super::delivery::Address;
use crate::learn::{Checkpoint, guard::Guard};
use crate::train::codec;
use crate::train::energy::{self, Charge, Price, UpdateEnergy};
use crate::train::topic::Pupil;
use crate::train::wire::{Codec, Content, Experience, Weights};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a turn lasts before it is another learner's, one update longer at most.
const TURN: Duration = Duration::from_millis(4);
/// Most bytes of weights that a device may upload, uncompressed.
const LARGEST_WEIGHTS: usize = 256 << 20;

/// An experience that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub sequence: u64,
    pub experience: Experience,
    /// To be used for this update, where the device uploads them.
    pub weights: Option<Weights>,
    pub arrived: Instant,
}

/// When weights are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sync {
    pub codec: Codec,
    /// After so many updates, if nothing else waits.
    pub every: u64,
    /// Updates since the last.
    pub since: u64,
    /// What these cost, as far as it is known.
    pub energy: UpdateEnergy,
    /// Whether more experiences wait than this lesson has.
    pub more_waits: bool,
    /// Whether the device needs them in any case.
    pub wanted: bool,
}

impl Sync {
    /// While experiences wait, weights are out of date as soon as they are sent: only now and then, so that a device
    /// that has gathered many still hears of progress.
    const PATIENCE: u64 = 16;

    fn is_due(&self, is_last: bool) -> bool {
        let every = self.every.max(1);
        self.wanted || (is_last && self.since >= every) || self.since >= every.saturating_mul(Self::PATIENCE)
    }
}

/// A learner and what it is to learn from.
pub(super) struct Lesson {
    pub pupil: Pupil,
    pub term: u64,
    pub epoch: u64,
    pub guard: Box<Guard>,
    pub applied: u64,
    /// In order, the first is the one after `applied`.
    pub entries: VecDeque<Entry>,
    pub sync: Sync,
    /// Experiences up to here are stored.
    pub durable: u64,
    /// What the device can receive at once.
    pub max_message: usize,
    /// Whether the learner is to be stored.
    pub snapshot: bool,
    /// Whether the device wants the whole learner, and after which experience.
    pub whole_after: Option<u64>,
    /// Of a CPU second, where it is known.
    pub price: Option<Price>,
}

/// What came of a lesson.
pub(super) struct Taught {
    pub pupil: Pupil,
    pub term: u64,
    pub guard: Box<Guard>,
    /// The last experience learned from.
    pub applied: u64,
    /// Updates since weights were made, these included.
    pub since_sync: u64,
    /// What these cost, as far as it is known.
    pub energy_since_sync: UpdateEnergy,
    /// What the updates of this lesson cost, as far as it is known.
    pub energy: UpdateEnergy,
    /// Experiences that no learner can use.
    pub unusable: u64,
    /// What there was no time for.
    pub rest: VecDeque<Entry>,
    pub weights: Option<Fresh>,
    pub snapshot: Option<Checkpoint>,
    /// The whole learner, ready to be sent.
    pub whole: Option<Result<Vec<Bytes>, String>>,
    /// As it was asked.
    pub whole_after: Option<u64>,
    /// The device sends weights that cannot be used, and why.
    pub refused: Option<String>,
}

/// Weights, ready to be sent.
pub(super) struct Fresh {
    /// SHA-256 of them.
    pub sha256: Bytes,
    pub payloads: Vec<Bytes>,
}

impl Lesson {
    /// Learns until nothing is left or the turn is over.
    pub fn run(mut self) -> Taught {
        let began = Instant::now();
        let waited = self.entries.front().map(|entry| began - entry.arrived.min(began));
        let (before, mut charge) = (self.applied, Charge::begin(self.price.take()));
        let (mut unusable, mut refused) = (0, None);
        while let Some(entry) = self.entries.pop_front() {
            if let Err(why) = use_weights(&mut self.guard, entry.weights.as_ref()) {
                refused = Some(why);
                self.entries.clear();
                break;
            }
            unusable += u64::from(!learn(&mut self.guard, &entry.experience));
            self.applied = entry.sequence;
            self.sync.since += 1;
            if began.elapsed() >= TURN {
                break;
            }
        }
        let train_s = began.elapsed().as_secs_f64();
        let mut energy = charge.take(self.applied - before);
        self.sync.energy += energy;
        let is_last = self.entries.is_empty() && !self.sync.more_waits;
        let weights = self
            .sync
            .is_due(is_last)
            .then(|| self.weights(waited.unwrap_or_default().as_secs_f64(), train_s));
        // What it takes to write them can be told with the next ones only.
        let written = charge.take(0);
        energy += written;
        let is_whole = self.whole_after.is_some_and(|after| self.applied >= after);
        let saved = (self.snapshot || is_whole).then(|| self.guard.save());
        let whole = saved.as_ref().filter(|_| is_whole).map(|saved| self.whole(saved));
        Taught {
            since_sync: if weights.is_some() { 0 } else { self.sync.since },
            energy_since_sync: match weights {
                Some(_) => written,
                None => self.sync.energy,
            },
            energy,
            whole,
            whole_after: self.whole_after,
            snapshot: saved.filter(|_| self.snapshot),
            pupil: self.pupil,
            term: self.term,
            guard: self.guard,
            applied: self.applied,
            unusable,
            rest: self.entries,
            weights,
            refused,
        }
    }

    fn weights(&self, queue_s: f64, train_s: f64) -> Fresh {
        let encoded = codec::to_wire(&self.guard.weights(), self.sync.codec);
        let sha256 = Bytes::copy_from_slice(&encoded.sha256);
        let server_j = self.sync.energy.mean();
        let weights = Weights {
            codec: self.sync.codec.into(),
            sha256: sha256.clone(),
            tensors: encoded.bytes,
            queue_s,
            train_s,
            server_j,
            server_j_kind: server_j.map_or_else(String::new, |_| energy::KIND.to_string()),
            durable: self.durable,
        };
        Fresh {
            sha256,
            payloads: self.address().weights(weights, self.max_message),
        }
    }

    fn whole(&self, saved: &Checkpoint) -> Result<Vec<Bytes>, String> {
        let bytes = bytes_of(saved)?;
        Ok(self
            .address()
            .in_chunks(Content::Checkpoint, bytes, self.max_message))
    }

    fn address(&self) -> Address<'_> {
        Address {
            pupil: &self.pupil,
            epoch: self.epoch,
            sequence: self.applied,
        }
    }
}

/// A checkpoint as a file.
pub(super) fn bytes_of(checkpoint: &Checkpoint) -> Result<Bytes, String> {
    checkpoint
        .to_bytes()
        .map(Bytes::from)
        .map_err(|error| error.to_string())
}

/// Whether the experience could be used. One that cannot is part of the sequence all the same: the device would
/// send it for ever.
fn learn(guard: &mut Guard, experience: &Experience) -> bool {
    match experience.taken() {
        Ok((transition, cost)) => guard.learn(&transition, &cost).is_ok(),
        Err(_) => false,
    }
}

fn use_weights(guard: &mut Guard, weights: Option<&Weights>) -> Result<(), String> {
    let Some(weights) = weights else {
        return Ok(());
    };
    let decoded = codec::from_wire(
        &weights.tensors,
        weights.codec(),
        &weights.sha256,
        LARGEST_WEIGHTS,
    );
    let decoded = decoded.map_err(|error| format!("the uploaded weights cannot be used: {error}"))?;
    guard
        .set_weights(&decoded)
        .map_err(|error| format!("the uploaded weights cannot be used: {error}"))
}
