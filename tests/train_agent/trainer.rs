//! A small trainer that does as `proto/train.proto` says, for one device: another one than the shipped, so that the device is
//! not only tested against its own kin.

use bytes::Bytes;
use hwmeter::learn::guard::Guard;
use hwmeter::learn::{Checkpoint, Engine, LearnerName, Settings, build};
use hwmeter::train::codec::to_wire;
use hwmeter::train::link::{Event, Link, LinkConfig};
use hwmeter::train::topic::{self, Channel, Pupil};
use hwmeter::train::transfer::{Assembly, Progress, Version, split};
use hwmeter::train::wire::{Ack, Body, Chunk, Content, Message, Presence, Weights};
use prost::Message as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Experiences between two checkpoints.
const STORE_EVERY: u64 = 4;

/// What a trainer that was killed finds again.
#[derive(Default)]
pub struct Stored {
    epoch: u64,
    presence: Presence,
    sequence: u64,
    learner: Option<Bytes>,
}

/// A trainer on a thread.
pub struct Trainer {
    killed: Arc<AtomicBool>,
    pub updates: Arc<AtomicU64>,
    thread: Option<JoinHandle<Stored>>,
}

impl Trainer {
    pub fn start(url: &str, stored: Stored) -> Self {
        let mut config = LinkConfig::new(url.parse().unwrap(), "trainer");
        config.clean = true;
        let (link, events) = Link::start(config).unwrap();
        let (killed, updates) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (killed, updates) = (Arc::clone(&killed), Arc::clone(&updates));
            move || Lessons::new(link, stored, updates).run(&events, &killed)
        });
        Self {
            killed,
            updates,
            thread: Some(thread),
        }
    }

    /// It disappears without a word, and has what it had stored.
    pub fn kill(mut self) -> Stored {
        self.killed.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        self.killed.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Lessons {
    link: Link,
    stored: Stored,
    epoch: u64,
    presence: Presence,
    sequence: u64,
    learner: Option<Guard>,
    upload: Assembly,
    fetch: Option<u64>,
    duplicates: u64,
    updates: Arc<AtomicU64>,
}

impl Lessons {
    fn new(link: Link, stored: Stored, updates: Arc<AtomicU64>) -> Self {
        let learner = stored.learner.as_ref().map(restored);
        link.subscribe(&Channel::Status.of_all()).unwrap();
        for channel in [Channel::Experience, Channel::Model] {
            link.subscribe(&channel.of_all()).unwrap();
        }
        Self {
            link,
            epoch: stored.epoch,
            presence: stored.presence.clone(),
            sequence: stored.sequence,
            stored,
            learner,
            upload: Assembly::new(1 << 26),
            fetch: None,
            duplicates: 0,
            updates,
        }
    }

    fn run(mut self, events: &Receiver<Event>, killed: &AtomicBool) -> Stored {
        while !killed.load(Ordering::Relaxed) {
            let Ok(event) = events.recv_timeout(Duration::from_millis(10)) else {
                continue;
            };
            if let Event::Message { topic, payload, .. } = event {
                let (_, pupil) = topic::parse(&topic).unwrap();
                let message = Message::decode(payload, &pupil).unwrap();
                self.take(message);
            }
        }
        self.stored
    }

    fn take(&mut self, message: Message) {
        let Message {
            pupil,
            epoch,
            sequence,
            body,
        } = message;
        match body {
            Body::Presence(presence) if presence.online => self.greet(&pupil, epoch, presence),
            Body::Experience(experience) if epoch == self.epoch => {
                if sequence != self.sequence + 1 || self.learner.is_none() {
                    self.duplicates += u64::from(sequence <= self.sequence);
                    return self.ack(&pupil, self.sequence + 1);
                }
                let begin = Instant::now();
                let (transition, cost) = experience.taken().unwrap();
                let _ = self.learner.as_mut().unwrap().learn(&transition, &cost);
                self.sequence = sequence;
                self.updates.fetch_add(1, Ordering::Relaxed);
                if sequence.is_multiple_of(STORE_EVERY) {
                    self.store();
                }
                self.send_weights(&pupil, begin.elapsed());
            }
            Body::Manifest(manifest) => {
                let progress = self.upload.manifest(Version { epoch, sequence }, manifest);
                assert_eq!(progress, Progress::More);
            }
            Body::Chunk(chunk) => self.take_chunk(&pupil, sequence, &chunk),
            Body::Fetch(fetch) => self.fetch = Some(fetch.after),
            _ => {}
        }
        if self.fetch.is_some_and(|after| after <= self.sequence) && self.learner.is_some() {
            self.fetch = None;
            self.send_learner(&pupil);
        }
    }

    fn greet(&mut self, pupil: &Pupil, epoch: u64, presence: Presence) {
        if epoch > self.epoch {
            self.sequence = presence.base_sequence;
            self.learner = match presence.base_sequence {
                0 => Some(fresh(pupil, &presence)),
                _ => None,
            };
            (self.epoch, self.presence) = (epoch, presence);
            self.store();
        }
        self.ack(pupil, 0);
    }

    fn take_chunk(&mut self, pupil: &Pupil, sequence: u64, chunk: &Chunk) {
        let version = Version {
            epoch: self.epoch,
            sequence,
        };
        if let Progress::Whole(Content::Checkpoint, bytes) = self.upload.chunk(version, chunk) {
            self.learner = Some(restored(&bytes));
            self.store();
            self.ack(pupil, 0);
        }
    }

    fn store(&mut self) {
        let learner = self.learner.as_ref().map(|l| l.save().to_bytes().unwrap().into());
        self.stored = Stored {
            epoch: self.epoch,
            presence: self.presence.clone(),
            sequence: self.sequence,
            learner,
        };
    }

    fn ack(&self, pupil: &Pupil, resend_from: u64) {
        let ack = Ack {
            durable: self.stored.sequence,
            resend_from,
            need_model: self.learner.is_none(),
            refused: String::new(),
            duplicates: self.duplicates,
        };
        self.say(pupil, Body::Ack(ack));
    }

    fn send_weights(&self, pupil: &Pupil, took: Duration) {
        let encoded = to_wire(&self.learner.as_ref().unwrap().weights(), self.presence.codec());
        let weights = Weights {
            codec: self.presence.codec,
            sha256: Bytes::copy_from_slice(&encoded.sha256),
            tensors: encoded.bytes,
            train_s: took.as_secs_f64(),
            durable: self.stored.sequence,
            ..Weights::default()
        };
        if weights.encoded_len() + 1000 < self.presence.max_message as usize {
            return self.say(pupil, Body::Weights(weights));
        }
        self.send_chunks(pupil, Content::Weights, weights.encode_to_vec().into());
    }

    fn send_learner(&self, pupil: &Pupil) {
        let learner = self.learner.as_ref().unwrap().save().to_bytes().unwrap();
        self.send_chunks(pupil, Content::Checkpoint, learner.into());
    }

    fn send_chunks(&self, pupil: &Pupil, content: Content, bytes: Bytes) {
        let (manifest, chunks) = split(content, bytes, self.presence.max_message as usize);
        self.say(pupil, Body::Manifest(manifest));
        chunks.for_each(|chunk| self.say(pupil, Body::Chunk(chunk)));
    }

    fn say(&self, pupil: &Pupil, body: Body) {
        let message = Message {
            pupil: pupil.clone(),
            epoch: self.epoch,
            sequence: self.sequence,
            body,
        };
        let topic = Channel::Weights.topic(pupil);
        self.link.publish(topic, message.encode(), false).unwrap();
    }
}

fn fresh(pupil: &Pupil, presence: &Presence) -> Guard {
    let settings: Settings = serde_json::from_str(&presence.settings).unwrap();
    let name: LearnerName = clap::ValueEnum::from_str(pupil.learner.as_str(), false).unwrap();
    Guard::new(build(name, presence.seed, &settings).unwrap())
}

fn restored(bytes: &Bytes) -> Guard {
    let checkpoint = Checkpoint::from_bytes(bytes, "uploaded".to_owned()).unwrap();
    Guard::restore(&checkpoint, Engine::Native, false).unwrap()
}
