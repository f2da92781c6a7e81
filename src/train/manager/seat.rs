//! What a manager knows of one learner of one device.

use super::admission::Recipe;
use super::lesson::Entry;
use crate::learn::guard::Guard;
use crate::train::energy::UpdateEnergy;
use crate::train::store::Claim;
use crate::train::topic::{Channel, Pupil};
use crate::train::transfer::Assembly;
use crate::train::wire::{Ack, Body, Message, Presence, Weights};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Where a learner is.
#[derive(Default)]
pub(super) enum Place {
    /// Nobody has looked yet whether it is stored.
    #[default]
    Unknown,
    /// It has learned nothing here: it is made from settings and seed whenever it is needed.
    Fresh,
    /// The device has it, and must send it.
    OnDevice,
    /// It came from the device and must be made of these bytes.
    Uploaded(bytes::Bytes),
    /// In the store, exactly as it is.
    Stored,
    /// Here.
    Memory(Box<Guard>),
    /// A thread has it, or makes it.
    Away,
    /// This trainer does not serve it, and why.
    Refused(String),
}

/// One life of a learner.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub epoch: u64,
    pub presence: Presence,
}

/// What is counted of a learner, over all its lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Experiences that no learner can use; they are part of the sequence all the same.
    pub unusable: u64,
    /// Experiences that came more than once.
    pub duplicates: u64,
    /// Messages dropped: of another version or epoch, damaged, beyond a gap, beyond what may wait.
    pub dropped: u64,
    /// Bytes received from the device.
    pub bytes_up: u64,
    /// Bytes sent to it.
    pub bytes_down: u64,
}

/// When something was last done that must not be done too often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub acked: Option<Instant>,
    pub asked_again: Option<Instant>,
    pub told: Option<Instant>,
    pub not_before: Option<Instant>,
    /// Of the first update that is not stored.
    pub unstored: Option<Instant>,
    /// Its last turn since it came into memory.
    pub used: Option<Instant>,
    /// Something that was missing came.
    pub progressed: Option<Instant>,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// An Ack, at the next occasion.
    pub ack: bool,
    /// The device, its weights, because it was away.
    pub weights: bool,
    /// The store, a checkpoint.
    pub snapshot: bool,
    /// The learner is to come into memory although nothing waits for it.
    pub open: bool,
    /// The device, the whole learner, once it has learned from this experience.
    pub whole_after: Option<u64>,
}

/// The state of one learner.
#[derive(Default)]
pub(super) struct Seat {
    pub life: Life,
    pub recipe: Option<Recipe>,
    pub place: Place,
    /// A thread works on it; perhaps on a life that is over.
    pub busy: bool,
    /// Another trainer of the group has the device: it is only stored any more.
    pub released: bool,
    /// It waits for its turn.
    pub queued: bool,
    /// It has been in memory in this life.
    pub opened: bool,
    /// Times in a row that missing experiences were asked for in vain.
    pub asked: u32,
    pub online: bool,
    /// Grows when what threads have of it is not to be used any more: with each life, and when another trainer has it.
    pub term: u64,
    /// Under which it is stored.
    pub claim: Claim,
    /// Times in a row that another trainer had claimed it.
    pub fenced: u32,
    /// The last experience learned from.
    pub applied: u64,
    /// The last one that is here.
    pub received: u64,
    /// The last one that there is.
    pub head: u64,
    /// The last one of what is stored; none of this life is.
    pub stored: Option<u64>,
    /// The one that is on its way to the store.
    pub writing: Option<u64>,
    /// Updates since weights were sent.
    pub since_sync: u64,
    pub energy_since_sync: UpdateEnergy,
    /// What the updates of this life have cost here, as far as it is known.
    pub energy: UpdateEnergy,
    pub inbox: VecDeque<Entry>,
    /// Weights that the device uploaded, by their version.
    pub uploads: BTreeMap<u64, Weights>,
    pub assembly: Option<Assembly>,
    pub counters: Counters,
    pub wanted: Wanted,
    pub times: Times,
    pub weights_sha256: bytes::Bytes,
    pub told: Option<super::report::Facts>,
}

impl Seat {
    /// Begins a life: nothing of the one before counts any more, except what was counted.
    pub fn begin(&mut self, life: Life, recipe: Option<Recipe>) {
        let base = life.presence.base_sequence;
        let place = match base {
            0 => Place::Fresh,
            _ => Place::OnDevice,
        };
        *self = Self {
            recipe,
            place,
            applied: base,
            received: base,
            life,
            busy: self.busy,
            queued: self.queued,
            online: self.online,
            head: self.head,
            term: self.term + 1,
            claim: self.claim,
            fenced: self.fenced,
            released: self.released,
            counters: self.counters,
            times: Times {
                told: self.times.told,
                ..Times::default()
            },
            told: std::mem::take(&mut self.told),
            ..Self::default()
        };
    }

    /// How many of the waiting experiences may be learned from now.
    pub fn ready(&self) -> usize {
        if !self.life.presence.uploads_weights {
            return self.inbox.len();
        }
        let has_weights = |entry: &&Entry| self.uploads.contains_key(&(entry.sequence - 1));
        self.inbox.iter().take_while(has_weights).count()
    }

    /// Whether there is something to do for which the learner is needed.
    pub fn has_work(&self) -> bool {
        let wanted = &self.wanted;
        self.ready() > 0 || wanted.weights || wanted.snapshot || self.owes_the_whole()
    }

    /// Whether the device waits for the whole learner, and it has learned all that the device asked for.
    pub fn owes_the_whole(&self) -> bool {
        self.wanted.whole_after.is_some_and(|after| self.applied >= after)
    }

    /// The last experience that a restarted trainer would know of.
    pub fn durable(&self) -> u64 {
        self.stored.unwrap_or(self.life.presence.base_sequence)
    }

    /// Whether this is lost when it is dropped.
    pub fn is_unstored(&self) -> bool {
        match self.stored {
            Some(stored) => stored != self.applied,
            // A fresh learner can be made again, an uploaded one cannot.
            None => self.applied > 0,
        }
    }

    /// Why it is not served; empty if it is.
    pub fn refused(&self) -> &str {
        match &self.place {
            Place::Refused(why) => why,
            _ => "",
        }
    }

    /// Where the trainer is with this learner; `resend_from`: from where on something is missing, or 0.
    pub fn ack(&self, pupil: &Pupil, resend_from: u64) -> Message {
        Message {
            pupil: pupil.clone(),
            epoch: self.life.epoch,
            sequence: self.applied,
            body: Body::Ack(Ack {
                durable: self.durable(),
                resend_from,
                need_model: matches!(self.place, Place::OnDevice),
                refused: self.refused().to_owned(),
                duplicates: self.counters.duplicates,
            }),
        }
    }

    /// What the device can receive at once.
    pub fn max_message(&self, largest: usize) -> usize {
        match self.life.presence.max_message as usize {
            0 => largest,
            max => max.clamp(1024, largest),
        }
    }
}

/// Where the trainer speaks to a device.
pub(super) fn down(pupil: &Pupil) -> String {
    Channel::Weights.topic(pupil)
}
