//! Devices that are another trainer's from now on.

use super::Manager;
use super::output::Output;
use super::seat::{Life, Place};
use crate::train::link::Outgoing;
use crate::train::topic::{self, Pupil};
use bytes::Bytes;

impl Manager {
    /// The device has moved to a board of another type, for which there is another trainer. What is not stored is not
    /// missed: the device sends everything to that one.
    pub(super) fn let_go(&mut self, pupil: &Pupil) {
        let Some(seat) = self.seats.get_mut(pupil) else {
            return;
        };
        let is_told = !matches!(seat.place, Place::Unknown);
        self.totals.in_memory -= usize::from(matches!(seat.place, Place::Memory(_)));
        self.leaving.take_if(|leaving| leaving == pupil);
        self.turns.retain(|waiting| waiting != pupil);
        self.openings.retain(|waiting| waiting != pupil);
        // What a thread has of it is of a life that is over; the store is asked again if the device ever comes back.
        seat.begin(Life::default(), None);
        (seat.place, seat.queued, seat.online) = (Place::Unknown, false, false);
        seat.told = None;
        if is_told {
            self.outbox.push(Output::Publish(Outgoing {
                topic: topic::learner_status(&self.config.trainer, pupil),
                payload: Bytes::new(),
                retain: true,
            }));
        }
    }
}
