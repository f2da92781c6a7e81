//! What came of a task.

use super::Manager;
use super::lesson::Taught;
use super::output::{Outbox, Output};
use super::seat::{Life, Place, Seat, down};
use super::task::{Done, Found, Opened, Outcome, Writing};
use super::timers::RETRY;
use crate::learn::Checkpoint;
use crate::learn::guard::Guard;
use crate::train::link::Outgoing;
use crate::train::store::{Claim, StoreError};
use crate::train::topic::Pupil;
use crate::train::wire::proto::Record;
use bytes::Bytes;
use std::time::Instant;

impl Manager {
    /// Takes what came of a task.
    pub fn done(&mut self, done: Done, now: Instant) {
        let pupil = match done.0 {
            Outcome::Taught(taught) => self.taught(*taught, now),
            Outcome::Opened(opened) => self.opened(*opened, now),
            Outcome::Panicked { pupil, term, what } => self.panicked(pupil, term, &what, now),
            Outcome::Written {
                pupil,
                term,
                applied,
                result,
            } => self.written(pupil, term, applied, result, now),
        };
        self.call(&pupil);
    }

    fn taught(&mut self, taught: Taught, now: Instant) -> Pupil {
        let pupil = taught.pupil.clone();
        let Some(seat) = self.seats.get_mut(&pupil) else {
            return pupil;
        };
        seat.busy = false;
        if taught.term != seat.term {
            // A newer life has begun meanwhile, or another trainer has the learner.
            self.totals.in_memory -= 1;
            return pupil;
        }
        self.totals.updates += taught.applied - seat.applied;
        let snapshot = seat.learned(taught, &pupil, &mut self.outbox, now);
        if !matches!(seat.place, Place::Memory(_)) {
            self.totals.in_memory -= 1;
        }
        if seat.applied - seat.durable() >= self.config.store_updates && seat.may_store(now) {
            seat.wanted.snapshot = true;
        }
        if let Some(checkpoint) = snapshot {
            let record = seat.record();
            seat.writing = Some(seat.applied);
            self.writings.push_back(Writing {
                pupil: pupil.clone(),
                term: seat.term,
                claim: seat.claim,
                record,
                checkpoint,
            });
        }
        if self.leaving.as_ref() == Some(&pupil) && seat.writing.is_none() {
            self.leave_or_store(&pupil);
        }
        pupil
    }

    fn opened(&mut self, opened: Opened, now: Instant) -> Pupil {
        let Opened { pupil, term, result } = opened;
        let Some(seat) = self.seats.get_mut(&pupil) else {
            return pupil;
        };
        seat.busy = false;
        // What is made is put back below; what is not, has no place in memory.
        self.totals.in_memory -= 1;
        if term != seat.term {
            return pupil;
        }
        match result {
            Found::Made(guard) => {
                // A learner that came from the device is nowhere else yet.
                seat.wanted.snapshot = seat.is_unstored();
                self.seated(&pupil, guard, now);
            }
            Found::Impossible(why) => {
                tracing::warn!("{pupil} is refused: {why}");
                seat.place = Place::Refused(why);
                seat.say_where(&pupil, &mut self.outbox, now);
            }
            Found::Stored(record, claim, recipe, guard) if record.epoch >= seat.life.epoch => {
                seat.claim = claim;
                seat.recipe = Some(*recipe);
                seat.adopt(*record);
                self.seated(&pupil, guard, now);
            }
            Found::Stored(record, claim, ..) => {
                seat.claim = claim;
                seat.adopt_counts(&record);
                self.begin_unknown(&pupil, now);
            }
            Found::Nothing => {
                seat.claim = Claim::default();
                self.begin_unknown(&pupil, now);
            }
            Found::Later(error) => self.look_later(&pupil, &error, now),
        }
        pupil
    }

    /// The learner is gone, and its like would panic again: this life of it is not served any more.
    fn panicked(&mut self, pupil: Pupil, term: u64, what: &str, now: Instant) -> Pupil {
        self.totals.in_memory -= 1;
        self.totals.panics += 1;
        tracing::error!("the learner {pupil} panicked and is given up: {what}");
        if let Some(seat) = self.seats.get_mut(&pupil) {
            seat.busy = false;
            if term == seat.term {
                self.leaving.take_if(|leaving| *leaving == pupil);
                seat.inbox.clear();
                seat.place = Place::Refused(format!("the trainer cannot go on with this learner ({what})"));
                seat.say_where(&pupil, &mut self.outbox, now);
            }
        }
        pupil
    }

    /// A learner has come into memory.
    fn seated(&mut self, pupil: &Pupil, guard: Box<Guard>, now: Instant) {
        self.totals.in_memory += 1;
        if let Some(seat) = self.seats.get_mut(pupil) {
            let is_first = !seat.opened;
            seat.opened = true;
            seat.place = Place::Memory(guard);
            if is_first {
                // Weights of before a restart may never have been sent.
                seat.wanted.weights = seat.online && seat.applied > seat.life.presence.base_sequence;
                seat.say_where(pupil, &mut self.outbox, now);
            }
        }
    }

    /// The store has nothing of this life, or no longer.
    fn begin_unknown(&mut self, pupil: &Pupil, now: Instant) {
        if let Some(seat) = self.seats.get_mut(pupil) {
            let life = std::mem::take(&mut seat.life);
            seat.place = Place::OnDevice;
            self.begin(pupil, life, now);
        }
    }

    fn look_later(&mut self, pupil: &Pupil, error: &StoreError, now: Instant) {
        self.totals.store_failures += 1;
        tracing::error!("{error}; it is tried again");
        if let Some(seat) = self.seats.get_mut(pupil) {
            if !matches!(seat.place, Place::Unknown) {
                seat.place = Place::Stored;
            }
            seat.times.not_before = Some(now + RETRY);
        }
    }

    fn written(
        &mut self,
        pupil: Pupil,
        term: u64,
        applied: u64,
        result: Result<Claim, StoreError>,
        now: Instant,
    ) -> Pupil {
        let is_fenced = matches!(result, Err(StoreError::Fenced(_)));
        if let Err(error) = &result
            && !is_fenced
        {
            self.totals.store_failures += 1;
            tracing::error!("{error}; nothing is lost, it is tried again");
        }
        let Some(seat) = self.seats.get_mut(&pupil) else {
            return pupil;
        };
        if let (Ok(claim), true) = (&result, seat.claim == Claim::default()) {
            seat.claim = *claim;
        }
        if seat.term != term {
            return pupil;
        }
        if let Err(error @ StoreError::Fenced(_)) = &result {
            self.fenced(&pupil, error, now);
            return pupil;
        }
        seat.writing = None;
        match result {
            Ok(claim) => {
                (seat.claim, seat.fenced) = (claim, 0);
                seat.stored = Some(applied);
                seat.times.unstored = seat.is_unstored().then_some(now);
                match seat.released {
                    // What is missing is for its new trainer to ask for.
                    true => seat.acknowledge(&pupil, 0, &mut self.outbox, now),
                    false => seat.say_where(&pupil, &mut self.outbox, now),
                }
            }
            Err(_) => {
                seat.times.not_before = Some(now + RETRY);
                self.leaving.take_if(|leaving| *leaving == pupil);
            }
        }
        if self.leaving.as_ref() == Some(&pupil) && !seat.busy {
            self.leave_or_store(&pupil);
        }
        pupil
    }

    /// A learner that is to leave, leaves when it is stored as it is.
    fn leave_or_store(&mut self, pupil: &Pupil) {
        match self.seats.get_mut(pupil) {
            Some(seat) if seat.is_unstored() => seat.wanted.snapshot = true,
            _ => self.leave(pupil),
        }
    }
}

impl Seat {
    /// Takes over the results of a lesson; what is to be stored, if anything.
    fn learned(
        &mut self,
        taught: Taught,
        pupil: &Pupil,
        outbox: &mut Outbox,
        now: Instant,
    ) -> Option<Checkpoint> {
        let has_learned = taught.applied > self.applied;
        self.applied = taught.applied;
        self.since_sync = taught.since_sync;
        self.energy_since_sync = taught.energy_since_sync;
        self.energy += taught.energy;
        self.counters.unusable += taught.unusable;
        for entry in taught.rest.into_iter().rev() {
            self.inbox.push_front(entry);
        }
        if has_learned {
            self.times.unstored = self.times.unstored.or(Some(now));
            self.wanted.ack = true;
        }
        self.place = Place::Memory(taught.guard);
        if let Some(weights) = taught.weights {
            self.weights_sha256 = weights.sha256;
            self.send(pupil, weights.payloads, outbox);
            // They say all that an Ack says of progress.
            self.wanted.ack = false;
            self.times.acked = Some(now);
        }
        match taught.whole {
            Some(Ok(payloads)) => self.send(pupil, payloads, outbox),
            Some(Err(why)) => tracing::error!("the learner of {pupil} cannot be sent: {why}"),
            // Asked for again meanwhile, that is what counts.
            None => self.wanted.whole_after = self.wanted.whole_after.or(taught.whole_after),
        }
        if let Some(why) = taught.refused {
            tracing::warn!("{pupil} is refused: {why}");
            self.place = Place::Refused(why);
            self.say_where(pupil, outbox, now);
        }
        taught.snapshot
    }

    /// Goes on from what the store has.
    fn adopt(&mut self, record: Record) {
        self.adopt_counts(&record);
        let presence = record.presence.unwrap_or_default();
        if record.epoch > self.life.epoch {
            self.life = Life {
                epoch: record.epoch,
                presence,
            };
        }
        self.applied = record.applied;
        self.stored = Some(record.applied);
        // What waits goes on from here, or has to come again.
        let goes_on = self.inbox.front().is_some_and(|e| e.sequence == self.applied + 1);
        if !goes_on {
            self.inbox.clear();
            self.received = self.applied;
        }
    }

    /// Those of before this process began.
    fn adopt_counts(&mut self, record: &Record) {
        if self.opened {
            return;
        }
        self.counters.unusable += record.unusable;
        self.counters.duplicates += record.duplicates;
        self.counters.dropped += record.dropped;
        self.counters.bytes_up += record.bytes_up;
        self.counters.bytes_down += record.bytes_down;
    }

    /// All of it but the learner itself.
    fn record(&self) -> Record {
        Record {
            epoch: self.life.epoch,
            presence: Some(self.life.presence.clone()),
            applied: self.applied,
            unusable: self.counters.unusable,
            duplicates: self.counters.duplicates,
            dropped: self.counters.dropped,
            bytes_up: self.counters.bytes_up,
            bytes_down: self.counters.bytes_down,
            // The store says.
            fence: 0,
            checkpoint: Bytes::new(),
        }
    }

    /// Tells the device how far its learner is, and what is missing.
    pub fn say_where(&mut self, pupil: &Pupil, outbox: &mut Outbox, now: Instant) {
        match self.is_behind() {
            true => self.ask_again(pupil, outbox, now),
            false => self.acknowledge(pupil, 0, outbox, now),
        }
    }

    /// Asks for what is missing, experiences or the model.
    pub fn ask_again(&mut self, pupil: &Pupil, outbox: &mut Outbox, now: Instant) {
        self.asked += 1;
        self.times.asked_again = Some(now);
        let from = if self.is_behind() { self.received + 1 } else { 0 };
        self.acknowledge(pupil, from, outbox, now);
    }

    pub fn acknowledge(&mut self, pupil: &Pupil, resend_from: u64, outbox: &mut Outbox, now: Instant) {
        self.wanted.ack = false;
        self.times.acked = Some(now);
        let payload = self.ack(pupil, resend_from).encode();
        self.send(pupil, vec![payload], outbox);
    }

    fn send(&mut self, pupil: &Pupil, payloads: Vec<Bytes>, outbox: &mut Outbox) {
        for payload in payloads {
            self.counters.bytes_down += payload.len() as u64;
            outbox.push(Output::Publish(Outgoing {
                topic: down(pupil),
                payload,
                retain: false,
            }));
        }
    }
}
