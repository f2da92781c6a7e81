//! What a trainer says of its learners to anybody who asks: retained, and not more often than worth it.

use super::Manager;
use super::output::Output;
use super::seat::{Counters, Place, Seat};
use crate::train::energy::{self, UpdateEnergy};
use crate::train::link::Outgoing;
use crate::train::topic::{self, Name, Pupil};
use crate::train::wire::{Body, LearnerStatus, Message};
use bytes::Bytes;
use std::time::Instant;

/// What there is to say of a learner. Compared with what was said last, every tick and of every learner.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    epoch: u64,
    applied: u64,
    updates_per_s: f64,
    lag: u64,
    counters: Counters,
    active: bool,
    online: bool,
    weights_sha256: Bytes,
    refused: String,
    energy: UpdateEnergy,
}

impl Manager {
    /// There is a connection anew, perhaps to a broker that knows nothing of what was said: all is told again.
    pub fn connected(&mut self) {
        for seat in self.seats.values_mut() {
            seat.told = None;
        }
    }
}

impl Seat {
    /// What there is to say now, for everybody and to be kept; `None`: what was said last is still true, or it is not
    /// known yet how far the learner is. `active`: whether it is told that somebody works with it.
    pub fn report(&mut self, trainer: &Name, pupil: &Pupil, active: bool, now: Instant) -> Option<Output> {
        if matches!(self.place, Place::Unknown) {
            return None;
        }
        let facts = self.facts(active, now);
        if self.told.as_ref() == Some(&facts) {
            return None;
        }
        let payload = self.status(&facts, trainer, pupil).encode();
        self.told = Some(facts);
        self.times.told = Some(now);
        Some(Output::Publish(Outgoing {
            topic: topic::learner_status(trainer, pupil),
            payload,
            retain: true,
        }))
    }

    /// Whether it is in memory.
    pub fn is_active(&self) -> bool {
        matches!(self.place, Place::Memory(_) | Place::Away)
    }

    fn facts(&self, active: bool, now: Instant) -> Facts {
        Facts {
            epoch: self.life.epoch,
            applied: self.applied,
            updates_per_s: self.updates_per_s(now),
            lag: self.head.saturating_sub(self.applied),
            counters: self.counters,
            active,
            online: self.online,
            weights_sha256: self.weights_sha256.clone(),
            refused: self.refused().to_owned(),
            energy: self.energy,
        }
    }

    /// Since what was said last; of a life that began after it, unknown and so as before.
    fn updates_per_s(&self, now: Instant) -> f64 {
        let (Some(last), Some(told)) = (&self.told, self.times.told) else {
            return 0.0;
        };
        let seconds = now.saturating_duration_since(told).as_secs_f64();
        match last.epoch == self.life.epoch && self.applied >= last.applied && seconds > 0.0 {
            true => (self.applied - last.applied) as f64 / seconds,
            false => last.updates_per_s,
        }
    }

    fn status(&self, facts: &Facts, trainer: &Name, pupil: &Pupil) -> Message {
        let Counters {
            duplicates,
            dropped,
            bytes_up,
            bytes_down,
            ..
        } = facts.counters;
        let update_j = facts.energy.mean();
        let status = LearnerStatus {
            trainer: trainer.to_string(),
            updates: facts.applied.saturating_sub(self.life.presence.base_sequence),
            updates_per_s: facts.updates_per_s,
            lag: facts.lag,
            bytes_up,
            bytes_down,
            dropped,
            duplicates,
            active: facts.active,
            online: facts.online,
            weights_sha256: facts.weights_sha256.clone(),
            refused: facts.refused.clone(),
            update_j,
            update_j_kind: update_j.map_or_else(String::new, |_| energy::KIND.to_string()),
        };
        Message {
            pupil: pupil.clone(),
            epoch: facts.epoch,
            sequence: facts.applied,
            body: Body::Status(status),
        }
    }
}
