//! What is due after a while. Looked at every [`TICK`] of all learners: nothing here is urgent.

use super::Manager;
use super::seat::{Place, Seat};
use std::time::{Duration, Instant};

/// How often [`Manager::tick`] is called.
pub const TICK: Duration = Duration::from_millis(250);
/// How long what was asked for again may take to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How long the next piece of a checkpoint may take to come: a large one over a slow link.
const MODEL_PATIENCE: Duration = Duration::from_secs(10);
/// How long a store that failed is left alone.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// Progress that no weights tell is told so often.
const ACK_AFTER: Duration = Duration::from_secs(1);
/// A status is told so often, if it is new.
const TELL_AFTER: Duration = Duration::from_secs(5);
/// Learners that may wait to be written: each takes the memory of a second one meanwhile.
pub(super) const MAX_WRITINGS: usize = 16;

impl Manager {
    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        self.tick_group(now);
        let is_shared = self.config.membership.group().is_some();
        let (mut called, mut read_again) = (Vec::new(), Vec::new());
        // At the end all are to be stored; that few wait for the store at once, their turns see to.
        let mut room = match self.stopping {
            true => usize::MAX,
            false => MAX_WRITINGS.saturating_sub(self.writings.len()),
        };
        for (pupil, seat) in &mut self.seats {
            let in_vain = is_shared && seat.asks_in_vain();
            let is_due =
                self.stopping || seat.released || in_vain || seat.is_due(self.config.store_after, now);
            if room > 0 && is_due && seat.may_store(now) {
                room -= 1;
                seat.wanted.snapshot = true;
            }
            if seat.released {
                if seat.wanted.snapshot {
                    called.push(pupil.clone());
                }
                continue;
            }
            seat.give_up_on_weights(now);
            if seat.misses_something(now) && seat.may_ask_again(now) {
                if in_vain && seat.can_be_read_again() {
                    read_again.push(pupil.clone());
                    continue;
                }
                seat.ask_again(pupil, &mut self.outbox, now);
            } else if seat.wanted.ack && is_over(seat.times.acked, ACK_AFTER, now) {
                seat.acknowledge(pupil, 0, &mut self.outbox, now);
            }
            if is_over(seat.times.told, TELL_AFTER, now)
                && let Some(output) = seat.report(&self.config.trainer, pupil, seat.is_active(), now)
            {
                self.outbox.push(output);
            }
            if seat.looks_again(now) || seat.wanted.snapshot {
                called.push(pupil.clone());
            }
        }
        for pupil in called {
            self.call(&pupil);
        }
        for pupil in read_again {
            self.look_again(&pupil);
        }
    }

    /// Learns no more, and stores what is not stored.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.tick(now);
    }

    /// Whether everything is stored.
    pub fn is_stored(&self) -> bool {
        let is_here = |seat: &Seat| matches!(seat.place, Place::Memory(_));
        let waits = |seat: &Seat| seat.busy || seat.writing.is_some() || is_here(seat) && seat.is_unstored();
        self.writings.is_empty() && !self.seats.values().any(waits)
    }

    /// The last that is said: no learner is active any more.
    pub fn farewell(&mut self, now: Instant) {
        if self.leave_group() {
            return;
        }
        for (pupil, seat) in &mut self.seats {
            if let Some(output) = seat.report(&self.config.trainer, pupil, false, now) {
                self.outbox.push(output);
            }
        }
    }
}

/// Whether so much time has passed since, or it never happened.
fn is_over(since: Option<Instant>, time: Duration, now: Instant) -> bool {
    since.is_none_or(|since| now.saturating_duration_since(since) >= time)
}

impl Seat {
    fn is_due(&self, after: Duration, now: Instant) -> bool {
        self.times.unstored.is_some() && is_over(self.times.unstored, after, now)
    }

    /// Whether a checkpoint may be made now, if there is something to store.
    pub fn may_store(&self, now: Instant) -> bool {
        let may_try = self.times.not_before.is_none_or(|at| now >= at);
        let is_here = self.busy || matches!(self.place, Place::Memory(_));
        self.is_unstored() && self.writing.is_none() && may_try && is_here
    }

    /// Whether nothing that is missing comes in any more.
    fn has_stalled(&self, now: Instant) -> bool {
        is_over(self.times.progressed, PATIENCE, now)
    }

    /// Whether the device should know by now that something is missing, and does not.
    fn misses_something(&self, now: Instant) -> bool {
        let misses_model = matches!(self.place, Place::OnDevice);
        let stalled = is_over(self.times.progressed, MODEL_PATIENCE, now);
        let misses = self.is_behind() && self.has_stalled(now) || misses_model && stalled;
        misses && self.online
    }

    /// Weights that an experience waits for were lost: both have to come again.
    fn give_up_on_weights(&mut self, now: Instant) {
        if !self.inbox.is_empty() && self.ready() == 0 && self.has_stalled(now) && !self.busy {
            self.inbox.clear();
            self.received = self.applied;
        }
    }

    /// Whether the store is to be asked again after it failed.
    fn looks_again(&mut self, now: Instant) -> bool {
        let is_time = self.times.not_before.is_some_and(|at| now >= at);
        let looks = is_time && matches!(self.place, Place::Unknown | Place::Stored);
        self.wanted.open |= looks;
        if looks {
            self.times.not_before = None;
        }
        looks
    }
}
