//! Devices that are another trainer's from now on.

use super::Manager;
use super::handover::take_back;
use super::seat::{Life, Place};
use crate::train::topic::Pupil;

impl Manager {
    /// The device has moved to a board of another type, for which there is another trainer. What is not stored is not
    /// missed: the device sends everything to that one.
    pub(super) fn let_go(&mut self, pupil: &Pupil) {
        self.drop_from_memory(pupil);
        let Some(seat) = self.seats.get_mut(pupil) else {
            return;
        };
        let is_told = !matches!(seat.place, Place::Unknown);
        self.turns.retain(|waiting| waiting != pupil);
        self.openings.retain(|waiting| waiting != pupil);
        // What a thread has of it is of a life that is over; the store is asked again if the device ever comes back, for
        // its counts too.
        seat.forget();
        (seat.life, seat.queued, seat.online) = (Life::default(), false, false);
        seat.told = None;
        if is_told {
            take_back(&mut self.outbox, &self.config.trainer, pupil);
        }
    }
}
