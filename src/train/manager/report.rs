//! What a trainer says of its learners to anybody who asks: retained, and not more often than worth it.

use super::seat::{Counters, Place, Seat};
use crate::train::topic::{Name, Pupil};
use crate::train::wire::{Body, LearnerStatus, Message};
use std::time::Instant;

/// What was said last, to tell what is new and how fast it goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    said: Option<Message>,
    updates_per_s: f64,
}

impl Seat {
    /// What there is to say now; `None`: what was said last is still true.
    pub fn report(&mut self, trainer: &Name, pupil: &Pupil, now: Instant) -> Option<Message> {
        if matches!(self.place, Place::Unknown) {
            return None;
        }
        let rate = self.updates_per_s(now);
        let message = self.status(trainer, pupil, rate);
        if self.told.said.as_ref() == Some(&message) {
            return None;
        }
        self.told = Told {
            said: Some(message.clone()),
            updates_per_s: rate,
        };
        self.times.told = Some(now);
        Some(message)
    }

    /// Since what was said last; of a life that began after it, unknown and so as before.
    fn updates_per_s(&self, now: Instant) -> f64 {
        let (Some(said), Some(told)) = (&self.told.said, self.times.told) else {
            return 0.0;
        };
        let seconds = now.saturating_duration_since(told).as_secs_f64();
        match said.epoch == self.life.epoch && self.applied >= said.sequence && seconds > 0.0 {
            true => (self.applied - said.sequence) as f64 / seconds,
            false => self.told.updates_per_s,
        }
    }

    fn status(&self, trainer: &Name, pupil: &Pupil, updates_per_s: f64) -> Message {
        let Counters {
            duplicates,
            dropped,
            bytes_up,
            bytes_down,
            ..
        } = self.counters;
        let status = LearnerStatus {
            trainer: trainer.to_string(),
            updates: self.applied.saturating_sub(self.life.presence.base_sequence),
            updates_per_s,
            lag: self.head.saturating_sub(self.applied),
            bytes_up,
            bytes_down,
            dropped,
            duplicates,
            active: matches!(self.place, Place::Memory(_) | Place::Away),
            online: self.online,
            weights_sha256: self.weights_sha256.clone(),
        };
        Message {
            pupil: pupil.clone(),
            epoch: self.life.epoch,
            sequence: self.applied,
            body: Body::Status(status),
        }
    }
}
