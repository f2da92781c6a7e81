//! Devices that go from one trainer of a group to another, and learners that another has claimed.

use super::Manager;
use super::membership::Membership;
use super::output::{Outbox, Output};
use super::seat::{Place, Seat};
use crate::train::link::Outgoing;
use crate::train::store::StoreError;
use crate::train::topic::{self, Channel, Name, Pupil};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// How long one whose learner another has claimed waits before it claims it again, if it still takes it for its own: the
/// first time; each time in a row twice as long.
const FENCED_WAIT: Duration = Duration::from_secs(1);
/// Longer than after which a learner is stored, so that of two who both go on claiming it each gets somewhere.
const FENCED_DOUBLINGS: u32 = 6;
/// Of so many times that what is missing was asked for in vain, the store is looked at in the last one's stead: perhaps
/// another trainer has had it.
const IN_VAIN: u32 = 4;

impl Manager {
    /// Takes a message if it is of the group; whether it was.
    pub(super) fn hear_group(&mut self, topic: &str, payload: &Bytes, retained: bool, now: Instant) -> bool {
        let heard = self.config.membership.group();
        let heard = heard.and_then(|group| group.receive(topic, payload, retained, now));
        if heard == Some(true) {
            self.regroup();
        }
        heard.is_some()
    }

    /// What is due in the group.
    pub(super) fn tick_group(&mut self, now: Instant) {
        let Some(group) = self.config.membership.group() else {
            return;
        };
        let has_changed = group.tick(now);
        self.outbox.extend(group.beat(now).map(Output::Publish));
        if has_changed {
            self.regroup();
        }
        self.see_off();
    }

    /// Lets go of what is another's; and looks for what may be taken, once that is settled: what the broker keeps comes to
    /// whoever subscribes, again too.
    fn regroup(&mut self) {
        let Membership::Group(group) = &self.config.membership else {
            return;
        };
        for (pupil, seat) in &mut self.seats {
            if !seat.released && !group.keeps(&pupil.device) {
                seat.released = true;
                for channel in [Channel::Experience, Channel::Model] {
                    self.outbox.push(Output::Unsubscribe(channel.topic(pupil)));
                }
            }
        }
        if group.is_settled() {
            self.outbox.push(Output::Subscribe(Channel::Status.of_all()));
        }
    }

    /// Those that were let go of and are stored are not known here any more.
    fn see_off(&mut self) {
        let may_go = |seat: &Seat| {
            let loses = matches!(seat.place, Place::Memory(_)) && seat.is_unstored();
            seat.released && !seat.busy && seat.writing.is_none() && !loses
        };
        let going = self.seats.iter().filter(|(_, seat)| may_go(seat));
        let going: Vec<Pupil> = going.map(|(pupil, _)| pupil.clone()).collect();
        let mut comes_back = false;
        for pupil in going {
            self.drop_from_memory(&pupil);
            self.seats.remove(&pupil);
            take_back(&mut self.outbox, &self.config.trainer, &pupil);
            comes_back |= self.config.membership.is_mine(&pupil.device);
        }
        if comes_back {
            // It has become ours again before it was gone.
            self.outbox.push(Output::Subscribe(Channel::Status.of_all()));
        }
    }

    /// The learner is another's by now. Nothing is said to the device: that one speaks. Should it be ours after all, it
    /// is read again after a while, as the other has left it.
    pub(super) fn fenced(&mut self, pupil: &Pupil, error: &StoreError, now: Instant) {
        self.totals.fenced += 1;
        match &self.config.membership {
            Membership::Group(_) => tracing::info!("{pupil} was claimed by another trainer of the group"),
            Membership::Alone | Membership::Shard(_) => tracing::warn!("{error}"),
        }
        self.drop_from_memory(pupil);
        if let Some(seat) = self.seats.get_mut(pupil) {
            let wait = FENCED_WAIT * (1 << seat.fenced.min(FENCED_DOUBLINGS));
            seat.forget();
            seat.fenced += 1;
            seat.times.not_before = Some(now + wait);
        }
    }

    /// Reads a stored learner again, which another may have brought further.
    pub(super) fn look_again(&mut self, pupil: &Pupil) {
        self.drop_from_memory(pupil);
        if let Some(seat) = self.seats.get_mut(pupil) {
            seat.forget();
            seat.asked += 1;
            seat.wanted.open = true;
        }
        self.call(pupil);
    }

    pub(super) fn drop_from_memory(&mut self, pupil: &Pupil) {
        self.leaving.take_if(|leaving| leaving == pupil);
        let seat = self.seats.get(pupil);
        let is_here = seat.is_some_and(|seat| matches!(seat.place, Place::Memory(_)));
        self.totals.in_memory -= usize::from(is_here);
    }

    /// Members that disappeared cannot say any more that they do not have the device.
    pub(super) fn speak_for_the_gone(&mut self, pupil: &Pupil) {
        if let Membership::Group(group) = &self.config.membership {
            for trainer in group.gone() {
                take_back(&mut self.outbox, trainer, pupil);
            }
        }
    }

    /// The others may take everything; whether there are others.
    pub(super) fn leave_group(&mut self) -> bool {
        let Membership::Group(group) = &self.config.membership else {
            return false;
        };
        for pupil in self.seats.keys() {
            take_back(&mut self.outbox, &self.config.trainer, pupil);
        }
        self.outbox.push(Output::Publish(group.goodbye()));
        true
    }
}

/// Nobody shall believe any more that the trainer has this learner.
pub(super) fn take_back(outbox: &mut Outbox, trainer: &Name, pupil: &Pupil) {
    outbox.push(Output::Publish(Outgoing {
        topic: topic::learner_status(trainer, pupil),
        payload: Bytes::new(),
        retain: true,
    }));
}

impl Seat {
    /// As if the device had just been heard of.
    pub(super) fn forget(&mut self) {
        *self = Self {
            life: std::mem::take(&mut self.life),
            head: self.head,
            online: self.online,
            busy: self.busy,
            queued: self.queued,
            released: self.released,
            fenced: self.fenced,
            asked: self.asked,
            term: self.term + 1,
            claim: self.claim,
            told: std::mem::take(&mut self.told),
            times: super::seat::Times {
                told: self.times.told,
                asked_again: self.times.asked_again,
                ..Default::default()
            },
            ..Self::default()
        };
    }

    /// Whether the device does not have what is missing, so that another trainer may have learned from it.
    pub(super) fn asks_in_vain(&self) -> bool {
        self.asked % IN_VAIN == IN_VAIN - 1
    }

    /// Whether all there is of it is in the store.
    pub(super) fn can_be_read_again(&self) -> bool {
        let is_idle = !self.busy && self.writing.is_none() && !self.is_unstored();
        is_idle && matches!(self.place, Place::Memory(_) | Place::Stored | Place::Fresh)
    }
}
