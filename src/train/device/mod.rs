//! The device's side of the protocol, without sockets and clocks: time and messages are passed in, messages are passed out.
//!
//! ```text
//! push      an experience gets its number, goes into the queue, and out when the trainer is there
//! receive   what the trainer says (incoming.rs)
//! pump      sends what is due: presence, uploads, wishes, experiences, the same again after a silence
//! take_*    weights and learners that have arrived whole, for whoever puts them to use
//! ```
//!
//! Nothing is sent before the trainer has said where it is: [`Presence`] asks, [`Ack`](super::wire::Ack) answers. After any
//! trouble (a new connection, a silence, a gap) the device asks again and goes on from there.

mod incoming;

use super::link::Outgoing;
use super::queue::Queue;
use super::topic::{Channel, Pupil};
use super::transfer::{self, Assembly};
use super::wire::{Body, Content, Experience, Fetch, Message, Presence};
use bytes::Bytes;
use incoming::Arrivals;
pub use incoming::{ArrivedWeights, Dropped};
use serde::Serialize;
use std::collections::VecDeque;
use std::fs::File;
use std::time::Duration;

/// After this silence the device asks again; twice as long each time, up to [`LONGEST_RETRY`].
pub const RETRY: Duration = Duration::from_secs(2);
/// The longest time between two questions.
pub const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// At least so many experiences may be on their way.
const WINDOW: u64 = 256;

/// What a device is and wants.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// The device and its learner.
    pub pupil: Pupil,
    /// What it says of itself; `online` and `base_sequence` are filled in.
    pub presence: Presence,
    /// Messages to the trainer are at most this long.
    pub max_message: usize,
    /// No transfer from the trainer is longer than this.
    pub largest: usize,
    /// Training begins elsewhere: see [`Device::rest`].
    pub rests: bool,
}

/// A whole learner: a checkpoint's bytes and the last experience it has learned from.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeLearner {
    /// The last experience learned from.
    pub sequence: u64,
    /// A safetensors file.
    pub bytes: Bytes,
}

/// What went over the wire, and what was not as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Bytes of topics and messages sent.
    pub bytes_up: u64,
    /// Bytes of topics and messages received.
    pub bytes_down: u64,
    /// Experiences that found no place in the queue.
    pub lost: u64,
    /// Experiences that reached the trainer more than once, by its own count.
    pub duplicates: u64,
    /// Messages that were dropped.
    pub dropped: Dropped,
    /// Epochs that had to be begun for trouble: another device of this name, or a trainer that lost its learner.
    pub begun_again: u64,
}

/// The device's side.
pub struct Device {
    config: DeviceConfig,
    queue: Queue,
    /// Uploaded when the trainer has not got the learner that the epoch began with; `None`: it can build it.
    base: Option<WholeLearner>,
    is_connected: bool,
    /// Training is elsewhere: nothing is sent and nobody is asked.
    rests: bool,
    is_leaving: bool,
    presence_due: bool,
    /// The trainer has said where it is since the device asked last.
    is_served: bool,
    refused: Option<String>,
    /// The newest experience that was sent, and that was learned from.
    sent: u64,
    learned: u64,
    uploads: VecDeque<Message>,
    /// Weights to be uploaded before the experience of that number (the paper's way).
    weights_before: Option<(u64, Bytes)>,
    fetch: Option<u64>,
    fetch_due: bool,
    arrivals: Arrivals,
    assembly: Assembly,
    counts: Counts,
    /// When the trainer was heard last, and when it was asked since.
    heard: Duration,
    asked: Duration,
    retry: Duration,
}

impl Device {
    /// A device with these experiences; `base` is the learner that the epoch began with unless the trainer can build it.
    pub fn new(config: DeviceConfig, queue: Queue, base: Option<WholeLearner>) -> Self {
        let learned = queue.before();
        Self {
            assembly: Assembly::new(config.largest),
            rests: config.rests,
            config,
            queue,
            base,
            is_connected: false,
            is_leaving: false,
            presence_due: true,
            is_served: false,
            refused: None,
            sent: learned,
            learned,
            uploads: VecDeque::new(),
            weights_before: None,
            fetch: None,
            fetch_due: false,
            arrivals: Arrivals::default(),
            counts: Counts::default(),
            heard: Duration::ZERO,
            asked: Duration::ZERO,
            retry: RETRY,
        }
    }

    /// Training goes on elsewhere, until [`begin_epoch`](Self::begin_epoch). The experiences stay.
    pub fn rest(&mut self) {
        self.stop_fetching();
        self.rests = true;
    }

    /// Where the trainer's answers come.
    pub fn topic(&self) -> String {
        Channel::Weights.topic(&self.config.pupil)
    }

    /// What the broker says when the device is gone without a word.
    pub fn last_will(&self) -> Outgoing {
        self.presence(false)
    }

    /// The experiences.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What is to be brought to the disk: see [`Queue::to_sync`].
    pub fn to_sync(&mut self) -> Option<File> {
        self.queue.to_sync()
    }

    /// Figures so far.
    pub fn counts(&self) -> Counts {
        Counts {
            lost: self.queue.lost(),
            ..self.counts
        }
    }

    /// The newest experience that the trainer has learned from, as far as is known.
    pub fn learned(&self) -> u64 {
        self.learned
    }

    /// The newest experience.
    pub fn last(&self) -> u64 {
        self.queue.last()
    }

    /// Why the trainer does not serve this device.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The learner from which the epoch's experiences lead to the present one; `None`: a fresh one.
    pub fn base(&self) -> Option<&WholeLearner> {
        self.base.as_ref()
    }

    /// For how long something has been waited for in vain; zero while nothing is.
    pub fn silence(&self, now: Duration) -> Duration {
        match self.waits() && !self.rests {
            true => now.saturating_sub(self.heard),
            false => Duration::ZERO,
        }
    }

    /// Takes an experience. `weights` are uploaded before it (the paper's way). `None`: the queue is full, it is lost.
    pub fn push(
        &mut self,
        task: u64,
        experience: &Experience,
        weights: Option<Bytes>,
        now: Duration,
    ) -> Option<u64> {
        if !self.waits() {
            // The silence begins with what is waited for.
            self.heard = now;
            self.asked = now;
        }
        let sequence = self.queue.push(task, experience)?;
        self.weights_before = weights.map(|bytes| (sequence, bytes));
        Some(sequence)
    }

    /// The connection is there: where is the trainer?
    pub fn connected(&mut self, now: Duration) {
        self.is_connected = true;
        self.retry = RETRY;
        self.ask(now);
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.is_connected = false;
        self.is_served = false;
    }

    /// Asks for the whole learner as it is after experience `after`.
    pub fn fetch(&mut self, after: u64, now: Duration) {
        if !self.waits() {
            (self.heard, self.asked) = (now, now);
        }
        self.fetch = Some(after);
        self.fetch_due = true;
    }

    /// Whether a learner is waited for.
    pub fn is_fetching(&self) -> bool {
        self.fetch.is_some()
    }

    /// No learner is waited for any more.
    pub fn stop_fetching(&mut self) {
        (self.fetch, self.fetch_due) = (None, false);
    }

    /// The next epoch begins with this learner; there are no experiences yet.
    pub fn begin_epoch(&mut self, epoch: u64, base: WholeLearner, now: Duration) {
        self.rests = false;
        self.queue
            .begin_epoch(epoch.max(self.queue.epoch() + 1), base.sequence);
        self.base = Some(base);
        self.start_over(now);
    }

    /// A learner that is at hand here stands for the experiences up to its own, which are forgotten.
    pub fn set_base(&mut self, base: WholeLearner) {
        self.base = Some(base);
        self.forget_what_is_safe();
    }

    /// Whether the queue fills up with experiences that are stored durably and only a newer learner here could let go.
    pub fn wants_base(&self) -> bool {
        let known = self.base.as_ref().map_or(0, |base| base.sequence);
        self.queue.is_half_full()
            && self.queue.durable() > known.max(self.queue.before())
            && self.fetch.is_none()
    }

    /// Says that the device leaves; nothing else is sent from now on.
    pub fn leave(&mut self) {
        self.is_leaving = true;
        self.presence_due = true;
    }

    /// Sends what is due, until `send` says that there is no room.
    pub fn pump(&mut self, now: Duration, send: &mut dyn FnMut(&Outgoing) -> bool) {
        if !self.is_connected || (self.rests && !self.is_leaving) {
            return;
        }
        self.look_at_the_clock(now);
        if self.presence_due {
            let presence = self.presence(!self.is_leaving);
            if !self.send(&presence, send) {
                return;
            }
            self.presence_due = false;
        }
        if self.is_leaving || !self.pump_uploads(send) || !self.is_served {
            return;
        }
        self.pump_experiences(send);
        if self.fetch_due && self.sent == self.queue.last() {
            let after = self.fetch.unwrap_or_default();
            let wish = self.message(Channel::Model, after, Body::Fetch(Fetch { after }));
            self.fetch_due = !self.send(&wish, send);
        }
    }

    fn pump_uploads(&mut self, send: &mut dyn FnMut(&Outgoing) -> bool) -> bool {
        while let Some(message) = self.uploads.front() {
            let outgoing = outgoing(Channel::Model, message);
            if !self.send(&outgoing, send) {
                return false;
            }
            self.uploads.pop_front();
        }
        true
    }

    fn pump_experiences(&mut self, send: &mut dyn FnMut(&Outgoing) -> bool) {
        let window = WINDOW.max(2 * u64::from(self.config.presence.sync_every));
        while self.sent < self.queue.last() && self.sent < self.learned + window {
            let next = self.sent + 1;
            if let Some((_, bytes)) = self.weights_before.take_if(|(before, _)| *before == next) {
                self.upload(Content::Weights, self.sent, bytes);
            }
            if !self.pump_uploads(send) {
                return;
            }
            let Some(entry) = self.queue.after(self.sent).next() else {
                return;
            };
            let (sequence, body) = (entry.sequence, Body::Experience(entry.experience()));
            let experience = self.message(Channel::Experience, sequence, body);
            if !self.send(&experience, send) {
                return;
            }
            self.sent = sequence;
        }
    }

    fn waits(&self) -> bool {
        self.learned < self.queue.last() || self.fetch.is_some()
    }

    /// Asks again after a silence.
    fn look_at_the_clock(&mut self, now: Duration) {
        let quiet = now.saturating_sub(self.heard.max(self.asked));
        if quiet < self.retry || (self.is_served && !self.waits()) {
            return;
        }
        self.retry = (2 * self.retry).min(LONGEST_RETRY);
        self.ask(now);
    }

    fn ask(&mut self, now: Duration) {
        self.asked = now;
        self.presence_due = true;
        self.is_served = false;
        self.fetch_due = self.fetch.is_some();
    }

    fn start_over(&mut self, now: Duration) {
        (self.sent, self.learned) = (self.queue.before(), self.queue.before());
        self.uploads.clear();
        self.weights_before = None;
        self.assembly = Assembly::new(self.config.largest);
        self.arrivals = Arrivals::default();
        (self.heard, self.retry) = (now, RETRY);
        self.ask(now);
    }

    /// What neither the trainer nor a rebuilt learner here will need.
    fn forget_what_is_safe(&mut self) {
        if let Some(base) = &self.base {
            self.queue.forget(base.sequence.min(self.queue.durable()));
        }
    }

    fn upload(&mut self, content: Content, sequence: u64, bytes: Bytes) {
        let (manifest, chunks) = transfer::split(content, bytes, self.config.max_message);
        let manifest = self.envelope(sequence, Body::Manifest(manifest));
        let chunks: Vec<_> = chunks
            .map(|chunk| self.envelope(sequence, Body::Chunk(chunk)))
            .collect();
        self.uploads.clear();
        self.uploads.push_back(manifest);
        self.uploads.extend(chunks);
    }

    fn presence(&self, online: bool) -> Outgoing {
        let presence = Presence {
            online,
            base_sequence: self.queue.base(),
            ..self.config.presence.clone()
        };
        let body = Body::Presence(presence);
        Outgoing {
            retain: true,
            ..self.message(Channel::Status, self.queue.last(), body)
        }
    }

    fn message(&self, channel: Channel, sequence: u64, body: Body) -> Outgoing {
        outgoing(channel, &self.envelope(sequence, body))
    }

    fn envelope(&self, sequence: u64, body: Body) -> Message {
        Message {
            pupil: self.config.pupil.clone(),
            epoch: self.queue.epoch(),
            sequence,
            body,
        }
    }

    fn send(&mut self, outgoing: &Outgoing, send: &mut dyn FnMut(&Outgoing) -> bool) -> bool {
        let taken = send(outgoing);
        if taken {
            self.counts.bytes_up += (outgoing.topic.len() + outgoing.payload.len()) as u64;
        }
        taken
    }
}

fn outgoing(channel: Channel, message: &Message) -> Outgoing {
    Outgoing {
        topic: channel.topic(&message.pupil),
        payload: message.encode(),
        retain: false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
