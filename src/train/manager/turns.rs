//! Whose turn it is, and which learners are in memory.

use super::lesson::{Entry, Lesson, Sync};
use super::seat::{Place, Seat};
use super::task::{Kind, Lane, Opening, Source, Task, Writing};
use super::timers::MAX_WRITINGS;
use super::{Config, Manager};
use crate::train::topic::Pupil;
use std::collections::VecDeque;
use std::time::Instant;

/// Most experiences of a turn.
const BATCH: usize = 64;

impl Manager {
    /// Puts a learner in the line that it belongs to, if it is in none and has something to do.
    pub(super) fn call(&mut self, pupil: &Pupil) {
        let pauses = self.pauses(pupil);
        let Some(seat) = self.seats.get_mut(pupil) else {
            return;
        };
        if seat.busy || seat.queued {
            return;
        }
        let line = match &seat.place {
            Place::Memory(_) if seat.may_have_a_turn(pauses) => &mut self.turns,
            Place::Unknown | Place::Fresh | Place::Stored | Place::Uploaded(_)
                if !self.stopping && !seat.released && (seat.wanted.open || seat.has_work()) =>
            {
                &mut self.openings
            }
            _ => return,
        };
        seat.queued = true;
        line.push_back(pupil.clone());
    }

    /// Something to do for a thread of this lane; it goes back by [`Manager::done`].
    pub fn next(&mut self, lane: Lane, now: Instant) -> Option<Task> {
        match lane {
            Lane::Learn => self.next_lesson(now).map(|lesson| Kind::Learn(Box::new(lesson))),
            Lane::Open => self
                .next_opening(now)
                .map(|opening| Kind::Open(Box::new(opening))),
            Lane::Write => self.next_writing().map(|writing| Kind::Write(Box::new(writing))),
        }
        .map(Task)
    }

    /// Whether a thread of this lane should ask for something to do.
    pub fn has_task(&self, lane: Lane) -> bool {
        match lane {
            Lane::Learn => !self.turns.is_empty() && self.has_room_for_lessons(),
            Lane::Open => !self.openings.is_empty(),
            Lane::Write => !self.writings.is_empty(),
        }
    }

    /// Whether there is room for what comes of lessons: weights that nobody takes would fill the memory, and so would
    /// learners that wait to be written at the end, when all of them are.
    fn has_room_for_lessons(&self) -> bool {
        let is_store_behind = self.stopping && self.writings.len() >= MAX_WRITINGS;
        !self.outbox.is_full() && !is_store_behind
    }

    /// Whether a learner learns no more here: it is on its way out of memory, or to another trainer, or all are.
    fn pauses(&self, pupil: &Pupil) -> bool {
        let is_released = |seat: &Seat| seat.released;
        self.stopping
            || self.leaving.as_ref() == Some(pupil)
            || self.seats.get(pupil).is_some_and(is_released)
    }

    /// The next that is still of use, under the claim that the one before it may have brought.
    fn next_writing(&mut self) -> Option<Writing> {
        loop {
            let mut writing = self.writings.pop_front()?;
            let seat = self.seats.get(&writing.pupil);
            if let Some(seat) = seat.filter(|seat| seat.term == writing.term) {
                writing.claim = seat.claim;
                return Some(writing);
            }
        }
    }

    fn next_lesson(&mut self, now: Instant) -> Option<Lesson> {
        if !self.has_room_for_lessons() {
            return None;
        }
        while let Some(pupil) = self.turns.pop_front() {
            let pauses = self.pauses(&pupil);
            let Some(seat) = self.seats.get_mut(&pupil) else {
                continue;
            };
            seat.queued = false;
            if !seat.may_have_a_turn(pauses) {
                // Perhaps a new life has begun meanwhile, which is to be opened.
                self.call(&pupil);
                continue;
            }
            if let Some(lesson) = seat.lesson(&pupil, &self.config, pauses) {
                seat.times.used = Some(now);
                return Some(lesson);
            }
        }
        None
    }

    fn next_opening(&mut self, now: Instant) -> Option<Opening> {
        while let Some(pupil) = self.openings.front() {
            let is_needed = self.seats.get(pupil).is_some_and(|seat| !seat.busy);
            if is_needed && !self.make_room(now) {
                return None;
            }
            let pupil = self.openings.pop_front()?;
            let Some(seat) = self.seats.get_mut(&pupil) else {
                continue;
            };
            seat.queued = false;
            if seat.busy || seat.released {
                continue;
            }
            if let Some(opening) = seat.opening(&pupil, &self.config) {
                self.totals.in_memory += 1;
                return Some(opening);
            }
        }
        None
    }

    /// Whether one more learner may come into memory; if not, another is on its way out of it.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.totals.in_memory < self.config.max_learners.max(1) {
            return true;
        }
        if self.leaving.is_some() {
            return false;
        }
        // Those that have nothing to do first, then those that are stored, then the least recently used.
        let first = self
            .seats
            .iter_mut()
            .filter(|(_, seat)| seat.may_leave(now))
            .min_by_key(|(_, seat)| (seat.has_work(), seat.is_unstored(), seat.times.used));
        let Some((pupil, seat)) = first else {
            return false;
        };
        let pupil = pupil.clone();
        if seat.is_unstored() {
            self.leaving = Some(pupil.clone());
            seat.wanted.snapshot = seat.writing.is_none();
            self.call(&pupil);
            return false;
        }
        self.leave(&pupil);
        true
    }

    /// Drops a learner that is stored, or can be made again, from memory.
    pub(super) fn leave(&mut self, pupil: &Pupil) {
        self.leaving = None;
        let Some(seat) = self.seats.get_mut(pupil) else {
            return;
        };
        if matches!(seat.place, Place::Memory(_)) && !seat.is_unstored() {
            seat.place = match seat.stored {
                Some(_) => Place::Stored,
                None => Place::Fresh,
            };
            self.totals.in_memory -= 1;
        }
        self.call(pupil);
    }
}

impl Seat {
    /// Whether there is something to do that may be done now: what waits for one that learns no more is no reason for a
    /// turn.
    fn may_have_a_turn(&self, pauses: bool) -> bool {
        let is_free = !self.busy && matches!(self.place, Place::Memory(_));
        let may = match pauses {
            true => self.wanted.snapshot || self.owes_the_whole(),
            false => self.has_work(),
        };
        is_free && may
    }

    /// Whether it may go out of memory: not while a thread has it, and not before it had a turn, or a full trainer
    /// would do nothing but fetch and drop.
    fn may_leave(&self, now: Instant) -> bool {
        let had_a_turn = !self.has_work() || self.times.used.is_some();
        let can_be_stored = !self.is_unstored() || self.writing.is_some() || self.may_store(now);
        !self.busy && matches!(self.place, Place::Memory(_)) && had_a_turn && can_be_stored
    }

    fn lesson(&mut self, pupil: &Pupil, config: &Config, pauses: bool) -> Option<Lesson> {
        let place = std::mem::replace(&mut self.place, Place::Away);
        let Place::Memory(guard) = place else {
            self.place = place;
            return None;
        };
        let entries = if pauses {
            VecDeque::new()
        } else {
            self.take_ready()
        };
        let presence = &self.life.presence;
        let sync = Sync {
            codec: presence.codec(),
            every: u64::from(presence.sync_every),
            since: self.since_sync,
            energy: self.energy_since_sync,
            more_waits: self.ready() > 0,
            wanted: self.wanted.weights && !pauses,
        };
        let lesson = Lesson {
            pupil: pupil.clone(),
            term: self.term,
            epoch: self.life.epoch,
            guard,
            applied: self.applied,
            entries,
            sync,
            durable: self.durable(),
            max_message: self.max_message(config.max_message),
            snapshot: self.wanted.snapshot && self.writing.is_none(),
            whole_after: self.wanted.whole_after.take(),
            price: config.price.clone(),
        };
        self.wanted.snapshot = false;
        self.wanted.weights &= pauses;
        self.busy = true;
        Some(lesson)
    }

    /// Those that may be learned from now, with their weights where the device uploads them.
    fn take_ready(&mut self) -> VecDeque<Entry> {
        let n = self.ready().min(BATCH);
        let mut entries: VecDeque<Entry> = self.inbox.drain(..n).collect();
        for entry in &mut entries {
            // Those of an entry that comes back unused are with it already.
            let uploaded = self.uploads.remove(&(entry.sequence - 1));
            entry.weights = entry.weights.take().or(uploaded);
        }
        entries
    }

    fn opening(&mut self, pupil: &Pupil, config: &Config) -> Option<Opening> {
        let place = std::mem::replace(&mut self.place, Place::Away);
        let from = match (place, &self.recipe) {
            (Place::Unknown, _) => {
                self.place = Place::Unknown;
                Source::Store
            }
            (Place::Stored, _) => Source::Store,
            (Place::Fresh, Some(recipe)) => Source::Recipe(recipe.clone()),
            (Place::Uploaded(bytes), Some(recipe)) => Source::Upload(recipe.clone(), bytes),
            (place, _) => {
                self.place = place;
                return None;
            }
        };
        self.wanted.open = false;
        self.busy = true;
        self.times.used = None;
        Some(Opening {
            pupil: pupil.clone(),
            term: self.term,
            claim: self.claim,
            from,
            engine: config.engine,
            max_bytes: config.max_learner_bytes,
        })
    }
}
