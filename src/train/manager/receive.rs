//! Messages: checked, and sorted to their learner.

use super::Manager;
use super::admission::Recipe;
use super::lesson::Entry;
use super::output::Output;
use super::seat::{Life, Place, Seat};
use super::timers::PATIENCE;
use crate::train::topic::{self, Channel, Pupil};
use crate::train::transfer::{Assembly, Progress, Version};
use crate::train::wire::{Body, Chunk, Content, Experience, Manifest, Message, Presence, Weights};
use bytes::Bytes;
use prost::Message as _;
use std::time::Instant;

/// Devices that may be heard of before they have said that they are there.
const MAX_EARLY: usize = 100_000;
/// Uploads of weights that wait for their experience.
const MAX_UPLOADS: usize = 4;

impl Manager {
    /// Takes a message. `retained`: the broker had kept it, so it may be old.
    pub fn receive(&mut self, topic: &str, payload: Bytes, retained: bool, now: Instant) {
        if self.hear_group(topic, &payload, retained, now) {
            return;
        }
        let Some((channel, pupil)) = topic::parse(topic) else {
            return self.drop_unowned(format_args!("nothing of ours comes on {topic:?}"));
        };
        let seat = self.seats.get(&pupil);
        let is_mine = match seat {
            Some(seat) => !seat.released,
            None => self.config.membership.is_mine(&pupil.device),
        };
        if !is_mine {
            return self.not_mine(channel, &pupil);
        }
        let bytes = payload.len() as u64;
        if bytes == 0 && channel == Channel::Status {
            return self.gone(&pupil);
        }
        let decoded = Message::decode(payload, &pupil);
        if let Some(seat) = self.seats.get_mut(&pupil) {
            seat.counters.bytes_up += bytes;
        }
        match decoded {
            Ok(message) => self.sort(channel, message, retained, now),
            Err(why) => self.drop_of(&pupil, format_args!("{why}")),
        }
    }

    fn sort(&mut self, channel: Channel, message: Message, retained: bool, now: Instant) {
        let Message {
            pupil,
            epoch,
            sequence,
            body,
        } = message;
        match (channel, body) {
            (Channel::Status, Body::Presence(presence)) => {
                self.presence(pupil, epoch, sequence, presence, retained, now);
            }
            (Channel::Experience, Body::Experience(_)) if !self.seats.contains_key(&pupil) => {
                self.too_early(pupil, epoch, sequence);
            }
            (Channel::Experience, Body::Experience(experience)) => {
                self.of_life(&pupil, epoch, |seat, inbox| {
                    seat.experience(sequence, experience, inbox, now)
                });
                self.after(&pupil, now);
            }
            (Channel::Model, body) => {
                let largest = self.config.max_learner_bytes;
                self.of_life(&pupil, epoch, |seat, _| seat.model(sequence, body, largest, now));
                self.after(&pupil, now);
            }
            _ => self.drop_of(&pupil, format_args!("it does not belong on this topic")),
        }
    }

    /// A broker hands over what it kept for this trainer before it tells who is there. That the experience exists is
    /// remembered, so that it is asked for.
    fn too_early(&mut self, pupil: Pupil, epoch: u64, sequence: u64) {
        self.drop_unowned(format_args!("{pupil} has not said yet how its learner is made"));
        if self.early.len() < MAX_EARLY {
            let last = self.early.entry(pupil).or_default();
            *last = (*last).max((epoch, sequence));
        }
    }

    /// Does it with the learner if it is of its present life, and counts it as dropped otherwise, or if `act` says so.
    fn of_life(
        &mut self,
        pupil: &Pupil,
        epoch: u64,
        act: impl FnOnce(&mut Seat, usize) -> Result<(), &'static str>,
    ) {
        let inbox = self.config.inbox;
        let Some(seat) = self.seats.get_mut(pupil) else {
            return self.drop_unowned(format_args!("{pupil} has not said how its learner is made"));
        };
        let result = match epoch.cmp(&seat.life.epoch) {
            std::cmp::Ordering::Equal => act(seat, inbox),
            std::cmp::Ordering::Less => {
                // Perhaps the device does not know that a newer life has begun.
                seat.wanted.ack = true;
                Err("it is of a life that is over")
            }
            std::cmp::Ordering::Greater => Err("it is of a life that has not begun here"),
        };
        if let Err(why) = result {
            self.drop_of(pupil, format_args!("{why}"));
        }
    }

    /// What a message may have made necessary.
    fn after(&mut self, pupil: &Pupil, now: Instant) {
        if let Some(seat) = self.seats.get_mut(pupil)
            && seat.is_behind()
            && seat.may_ask_again(now)
        {
            seat.ask_again(pupil, &mut self.outbox, now);
        }
        self.call(pupil);
    }

    fn presence(
        &mut self,
        pupil: Pupil,
        epoch: u64,
        head: u64,
        presence: Presence,
        retained: bool,
        now: Instant,
    ) {
        let config = &self.config;
        if !config.of_type.is_mine(&config.trainer, &presence.device_type) {
            return self.let_go(&pupil);
        }
        let Some(seat) = self.seats.get_mut(&pupil) else {
            if presence.online {
                self.arrived(pupil, Life { epoch, presence }, head);
            }
            return;
        };
        if !presence.online {
            seat.online = false;
            return;
        }
        if epoch < seat.life.epoch {
            seat.wanted.ack = true;
            return self.drop_of(&pupil, format_args!("a life that is over says that it is there"));
        }
        seat.online = true;
        if epoch > seat.life.epoch {
            seat.head = head;
            return self.begin(&pupil, Life { epoch, presence }, now);
        }
        if !seat.life.is_made_as(&presence) {
            return self.drop_of(&pupil, format_args!("the same life is said to be made otherwise"));
        }
        seat.head = seat.head.max(head);
        seat.life.presence = presence;
        if !retained && !matches!(seat.place, Place::Unknown) {
            // It was away, and may have missed what was said meanwhile.
            seat.wanted.weights = seat.applied > seat.life.presence.base_sequence;
            seat.say_where(&pupil, &mut self.outbox, now);
        }
        self.call(&pupil);
    }

    /// A device that nobody here knows yet: perhaps the store does.
    fn arrived(&mut self, pupil: Pupil, life: Life, head: u64) {
        if self.seats.len() >= self.config.max_known {
            return self.drop_unowned(format_args!("there are too many learners for {pupil}"));
        }
        for channel in [Channel::Experience, Channel::Model] {
            self.outbox.push(Output::Subscribe(channel.topic(&pupil)));
        }
        self.speak_for_the_gone(&pupil);
        let early = self
            .early
            .remove(&pupil)
            .filter(|(epoch, _)| *epoch == life.epoch);
        let mut seat = Seat {
            life,
            head: head.max(early.map_or(0, |(_, sequence)| sequence)),
            online: true,
            ..Seat::default()
        };
        seat.wanted.open = true;
        self.seats.insert(pupil.clone(), seat);
        self.call(&pupil);
    }

    /// Begins a life of a device that is known, unless such a learner cannot be had.
    pub(super) fn begin(&mut self, pupil: &Pupil, life: Life, now: Instant) {
        let config = &self.config;
        let recipe = Recipe::of(
            &pupil.learner,
            &life.presence,
            config.engine,
            config.max_learner_bytes,
        );
        let Some(seat) = self.seats.get_mut(pupil) else {
            return;
        };
        if matches!(seat.place, Place::Unknown) {
            // The store is being asked, or will be.
            seat.life = life;
            seat.wanted.open |= !seat.busy;
            return self.call(pupil);
        }
        self.totals.in_memory -= usize::from(matches!(seat.place, Place::Memory(_)));
        self.leaving.take_if(|leaving| leaving == pupil);
        match recipe {
            Ok(recipe) => seat.begin(life, Some(recipe)),
            Err(why) => {
                seat.begin(life, None);
                seat.place = Place::Refused(why);
            }
        }
        match seat.place {
            // How far it is, is said when it is sure that there is such a learner.
            Place::Fresh => seat.wanted.open = true,
            _ => seat.say_where(pupil, &mut self.outbox, now),
        }
        self.call(pupil);
    }

    /// The device has removed its presence.
    fn gone(&mut self, pupil: &Pupil) {
        if let Some(seat) = self.seats.get_mut(pupil) {
            seat.online = false;
        }
    }

    /// Of another trainer's device: left over from a time when it was ours, unless it is what all trainers hear.
    fn not_mine(&mut self, channel: Channel, pupil: &Pupil) {
        if channel != Channel::Status {
            self.outbox.push(Output::Unsubscribe(channel.topic(pupil)));
            self.drop_unowned(format_args!("{pupil} is another trainer's"));
        }
    }

    fn drop_unowned(&mut self, why: std::fmt::Arguments<'_>) {
        self.totals.dropped += 1;
        tracing::debug!("message dropped: {why}");
    }

    fn drop_of(&mut self, pupil: &Pupil, why: std::fmt::Arguments<'_>) {
        match self.seats.get_mut(pupil) {
            Some(seat) => {
                seat.counters.dropped += 1;
                tracing::debug!("message of {pupil} dropped: {why}");
            }
            None => self.drop_unowned(why),
        }
    }
}

impl Life {
    /// Whether the learner is the same; how it is served may change.
    fn is_made_as(&self, other: &Presence) -> bool {
        let of = |p: &Presence| (p.seed, p.reset_on_divergence, p.base_sequence);
        of(&self.presence) == of(other) && self.presence.settings == other.settings
    }
}

impl Seat {
    fn experience(
        &mut self,
        sequence: u64,
        experience: Experience,
        inbox: usize,
        now: Instant,
    ) -> Result<(), &'static str> {
        self.head = self.head.max(sequence);
        match &self.place {
            Place::Unknown => return Err("how far its learner is, is not known yet"),
            Place::Refused(_) => return Err("its learner is refused"),
            _ => {}
        }
        if sequence <= self.received {
            self.counters.duplicates += 1;
            self.wanted.ack = true;
            return Ok(());
        }
        if sequence > self.received + 1 {
            return Err("experiences before it are missing");
        }
        if self.inbox.len() >= inbox {
            return Err("too many experiences of it wait");
        }
        self.received = sequence;
        self.progressed(now);
        self.inbox.push_back(Entry {
            sequence,
            experience,
            weights: None,
            arrived: now,
        });
        Ok(())
    }

    fn model(&mut self, sequence: u64, body: Body, largest: usize, now: Instant) -> Result<(), &'static str> {
        match body {
            Body::Fetch(fetch) => {
                // The device has had this experience, so it exists.
                self.head = self.head.max(fetch.after);
                self.wanted.whole_after = Some(fetch.after);
                Ok(())
            }
            Body::Weights(weights) => self.upload(sequence, weights),
            Body::Manifest(manifest) => {
                self.progressed(now);
                self.announced(sequence, manifest, largest)
            }
            Body::Chunk(chunk) => {
                self.progressed(now);
                self.piece(sequence, &chunk)
            }
            _ => Err("it does not belong on this topic"),
        }
    }

    fn upload(&mut self, version: u64, weights: Weights) -> Result<(), &'static str> {
        if !self.life.presence.uploads_weights {
            return Err("weights were not to be uploaded");
        }
        if version < self.applied {
            return Err("weights of an old version");
        }
        self.uploads.insert(version, weights);
        if self.uploads.len() > MAX_UPLOADS {
            // The last one: those before it are needed first.
            self.uploads.pop_last();
        }
        Ok(())
    }

    fn announced(&mut self, sequence: u64, manifest: Manifest, largest: usize) -> Result<(), &'static str> {
        let is_wanted = match manifest.content() {
            Content::Weights => self.life.presence.uploads_weights && sequence >= self.applied,
            Content::Checkpoint => {
                matches!(self.place, Place::OnDevice) && sequence == self.life.presence.base_sequence
            }
        };
        if !is_wanted {
            return Err("nobody asked for this transfer");
        }
        let version = self.version(sequence);
        let assembly = self.assembly.get_or_insert_with(|| Assembly::new(largest));
        let progress = assembly.manifest(version, manifest);
        self.came(sequence, progress)
    }

    fn piece(&mut self, sequence: u64, chunk: &Chunk) -> Result<(), &'static str> {
        let version = self.version(sequence);
        let assembly = self.assembly.as_mut().ok_or("a piece of no transfer")?;
        let progress = assembly.chunk(version, chunk);
        self.came(sequence, progress)
    }

    fn came(&mut self, sequence: u64, progress: Progress) -> Result<(), &'static str> {
        match progress {
            Progress::More => Ok(()),
            Progress::Whole(content, bytes) => self.whole(sequence, content, bytes),
            Progress::Bad(why) => {
                tracing::debug!("part of a transfer was not used: {why}");
                Err("part of a transfer cannot be used")
            }
        }
    }

    fn version(&self, sequence: u64) -> Version {
        Version {
            epoch: self.life.epoch,
            sequence,
        }
    }

    fn whole(&mut self, sequence: u64, content: Content, bytes: Bytes) -> Result<(), &'static str> {
        match content {
            Content::Weights => {
                let weights = Weights::decode(bytes).map_err(|_| "damaged weights")?;
                self.upload(sequence, weights)
            }
            Content::Checkpoint => {
                self.assembly = None;
                self.place = Place::Uploaded(bytes);
                self.wanted.open = true;
                Ok(())
            }
        }
    }

    /// Whether experiences that there are have not come.
    pub fn is_behind(&self) -> bool {
        self.head > self.received && !matches!(self.place, Place::Unknown | Place::Refused(_))
    }

    /// Not before those that were asked for had time to come; the longer in vain, the longer.
    pub fn may_ask_again(&self, now: Instant) -> bool {
        let patience = PATIENCE * (1 << self.asked.saturating_sub(1).min(5));
        let waited = |since: Instant| now.saturating_duration_since(since) >= patience;
        self.times.asked_again.is_none_or(waited)
    }

    fn progressed(&mut self, now: Instant) {
        self.times.progressed = Some(now);
        self.asked = 0;
    }
}
