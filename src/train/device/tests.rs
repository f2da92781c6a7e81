//! The device against a trainer that does as `proto/train.proto` says, over a network that does what it likes.

use super::*;
use crate::train::queue::Limits;
use crate::train::topic;
use crate::train::transfer::{Progress, Version};
use crate::train::wire::{Ack, Weights};
use proptest::prelude::*;
use std::path::Path;
use tempfile::TempDir;

const STEP: Duration = Duration::from_millis(100);

/// A trainer whose learner is the list of rewards that it has seen.
#[derive(Default)]
struct Trainer {
    epoch: u64,
    base: u64,
    lacks_model: bool,
    rewards: Vec<f64>,
    /// How many of them a crash leaves.
    stored: usize,
    fetch: Option<u64>,
    uploads: Option<Assembly>,
    duplicates: u64,
    uploaded_weights: Vec<u64>,
}

impl Trainer {
    fn last(&self) -> u64 {
        self.base + self.rewards.len() as u64
    }

    fn durable(&self) -> u64 {
        self.base + self.stored as u64
    }

    fn crash(&mut self) {
        self.rewards.truncate(self.stored);
        self.fetch = None;
    }

    fn ack(&self, resend_from: u64) -> Body {
        Body::Ack(Ack {
            durable: self.durable(),
            resend_from,
            need_model: self.lacks_model,
            refused: String::new(),
            duplicates: self.duplicates,
        })
    }

    fn receive(&mut self, outgoing: &Outgoing, out: &mut Vec<Outgoing>) {
        let (_, pupil) = topic::parse(&outgoing.topic).unwrap();
        let message = Message::decode(outgoing.payload.clone(), &pupil).unwrap();
        if let Body::Presence(presence) = &message.body {
            if !presence.online {
                return;
            }
            if message.epoch > self.epoch {
                *self = Self {
                    epoch: message.epoch,
                    base: presence.base_sequence,
                    lacks_model: presence.base_sequence > 0,
                    ..Self::default()
                };
            }
            return self.say(&message.pupil, self.ack(0), out);
        }
        if message.epoch != self.epoch {
            return;
        }
        let sequence = message.sequence;
        match message.body {
            Body::Experience(experience) => self.learn(sequence, &experience, &message.pupil, out),
            Body::Fetch(fetch) => self.fetch = Some(fetch.after),
            Body::Manifest(manifest) => {
                let uploads = self.uploads.insert(Assembly::new(1 << 20));
                let progress = uploads.manifest(version(self.epoch, sequence), manifest);
                assert_eq!(progress, Progress::More);
            }
            Body::Chunk(chunk) => {
                let Some(uploads) = &mut self.uploads else { return };
                match uploads.chunk(version(self.epoch, sequence), &chunk) {
                    Progress::Whole(Content::Checkpoint, _) => {
                        self.lacks_model = false;
                        self.say(&message.pupil, self.ack(0), out);
                    }
                    Progress::Whole(Content::Weights, _) => self.uploaded_weights.push(sequence),
                    _ => {}
                }
            }
            _ => panic!("the device does not say that"),
        }
        if let Some(after) = self.fetch.filter(|after| *after <= self.last()) {
            self.fetch = None;
            let learner: Vec<u8> = self.rewards.iter().flat_map(|r| r.to_le_bytes()).collect();
            let (manifest, chunks) = transfer::split(Content::Checkpoint, learner.into(), 4096);
            self.say(&message.pupil, Body::Manifest(manifest), out);
            for chunk in chunks {
                self.say(&message.pupil, Body::Chunk(chunk), out);
            }
            assert!(self.last() >= after);
        }
    }

    fn learn(&mut self, sequence: u64, experience: &Experience, pupil: &Pupil, out: &mut Vec<Outgoing>) {
        if self.lacks_model || sequence > self.last() + 1 {
            return self.say(pupil, self.ack(self.last() + 1), out);
        }
        if sequence <= self.last() {
            self.duplicates += 1;
            return;
        }
        self.rewards.push(experience.reward);
        if self.rewards.len().is_multiple_of(7) {
            self.stored = self.rewards.len();
        }
        let weights = Weights {
            durable: self.durable(),
            train_s: 0.001,
            ..Weights::default()
        };
        self.say(pupil, Body::Weights(weights), out);
    }

    fn say(&self, pupil: &Pupil, body: Body, out: &mut Vec<Outgoing>) {
        let message = Message {
            pupil: pupil.clone(),
            epoch: self.epoch,
            sequence: self.last(),
            body,
        };
        out.push(outgoing(Channel::Weights, &message));
    }
}

fn version(epoch: u64, sequence: u64) -> Version {
    Version { epoch, sequence }
}

fn config() -> DeviceConfig {
    DeviceConfig {
        pupil: Pupil {
            device: "pi-1".parse().unwrap(),
            learner: "dqn".parse().unwrap(),
        },
        presence: Presence::default(),
        max_message: 4096,
        largest: 1 << 20,
        rests: false,
    }
}

fn experience(number: u64) -> Experience {
    Experience {
        reward: -(number as f64),
        ..Experience::default()
    }
}

fn device(folder: &Path) -> Device {
    let queue = Queue::create(&folder.join("queue"), 5, 0, Limits::default()).unwrap();
    Device::new(config(), queue, None)
}

/// A device and a trainer side by side; what is on its way between them is here.
struct World {
    folder: TempDir,
    device: Device,
    trainer: Trainer,
    up: Vec<Outgoing>,
    down: Vec<Outgoing>,
    now: Duration,
    versions: Vec<u64>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            device: device(folder.path()),
            folder,
            trainer: Trainer::default(),
            up: Vec::new(),
            down: Vec::new(),
            now: Duration::ZERO,
            versions: Vec::new(),
        }
    }

    fn push(&mut self, number: u64) {
        self.device.push(number, &experience(number), None, self.now);
    }

    /// A moment passes, in which everything arrives.
    fn step(&mut self) {
        self.now += STEP;
        let up = &mut self.up;
        self.device.pump(self.now, &mut |outgoing| {
            up.push(outgoing.clone());
            true
        });
        for outgoing in std::mem::take(&mut self.up) {
            self.trainer.receive(&outgoing, &mut self.down);
        }
        for outgoing in std::mem::take(&mut self.down) {
            self.device.receive(&outgoing.topic, outgoing.payload, self.now);
        }
        self.versions
            .extend(self.device.take_weights().map(|w| w.sequence));
    }

    fn steps_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("never: {what}");
    }

    fn settle(&mut self) {
        self.steps_until("everything is learned", |world| {
            world.device.learned() == world.device.last()
        });
    }

    /// Killed, and started again with what is on disk.
    fn restart_device(&mut self) {
        let queue = Queue::open(&self.folder.path().join("queue"), Limits::default()).unwrap();
        self.device = Device::new(config(), queue, None);
        self.device.connected(self.now);
    }
}

#[test]
fn every_experience_goes_out_once_and_its_weights_come_back() {
    let mut world = World::new();
    world.push(1);
    world.step();
    assert_eq!(world.trainer.epoch, 0, "nothing is sent without a connection");
    world.device.connected(world.now);
    for number in 2..=40 {
        world.push(number);
        world.step();
    }
    world.settle();
    let expected: Vec<_> = (1..=40).map(|n| -f64::from(n)).collect();
    assert_eq!(world.trainer.rewards, expected);
    assert_eq!((world.trainer.duplicates, world.versions.last()), (0, Some(&40)));
    assert_eq!(world.device.queue().durable(), 35);
    assert_eq!(world.device.silence(world.now), Duration::ZERO);
}

#[test]
fn a_trainer_that_was_killed_is_sent_what_it_had_not_stored() {
    let mut world = World::new();
    world.device.connected(world.now);
    (1..=20).for_each(|number| world.push(number));
    world.settle();
    world.trainer.crash();
    assert_eq!(world.trainer.last(), 14);
    world.push(21);
    world.settle();
    assert_eq!(world.trainer.last(), 21);
    assert_eq!(world.versions.last(), Some(&21));
}

#[test]
fn a_device_that_was_killed_goes_on_where_it_was() {
    let mut world = World::new();
    world.device.connected(world.now);
    (1..=10).for_each(|number| world.push(number));
    world.step();
    (11..=20).for_each(|number| world.push(number));
    world.restart_device();
    (21..=30).for_each(|number| world.push(number));
    world.settle();
    assert_eq!(world.trainer.last(), 30);
    assert_eq!(world.trainer.rewards.last(), Some(&-30.0));
}

#[test]
fn a_learner_that_did_not_begin_afresh_is_uploaded_and_fetched_again() {
    let mut world = World::new();
    world.device.connected(world.now);
    let base = WholeLearner {
        sequence: 50,
        bytes: Bytes::from(vec![1; 20_000]),
    };
    world.device.begin_epoch(9, base, world.now);
    (51..=60).for_each(|number| world.push(number));
    world.device.fetch(60, world.now);
    world.steps_until("the learner is here", |world| !world.device.is_fetching());
    assert_eq!((world.trainer.epoch, world.trainer.base), (9, 50));
    let learner = world.device.take_learner().unwrap();
    assert_eq!((learner.sequence, learner.bytes.len()), (60, 10 * 8));
}

#[test]
fn the_papers_way_uploads_weights_before_each_experience() {
    let mut world = World::new();
    world.device.connected(world.now);
    for number in 1..=3 {
        let weights = Bytes::from(vec![7; 10_000]);
        world
            .device
            .push(number, &experience(number), Some(weights), world.now);
        world.settle();
    }
    assert_eq!(world.trainer.uploaded_weights, [0, 1, 2]);
}

#[test]
fn a_silence_is_noticed_and_the_trainer_asked_less_and_less_often() {
    let mut world = World::new();
    world.device.connected(world.now);
    world.push(1);
    let (mut asked, mut now) = (0, Duration::ZERO);
    for _ in 0..1200 {
        now += STEP;
        world.device.pump(now, &mut |_| {
            asked += 1;
            true
        });
    }
    assert!((5..12).contains(&asked), "{asked} times in two minutes");
    assert!(world.device.silence(now) > Duration::from_secs(100));
}

#[test]
fn a_later_epoch_of_another_is_outdone() {
    let mut world = World::new();
    world.trainer.epoch = 100;
    world.device.connected(world.now);
    (1..=5).for_each(|number| world.push(number));
    world.settle();
    assert_eq!((world.trainer.epoch, world.trainer.last()), (101, 5));
    assert_eq!(world.device.counts().begun_again, 1);
}

#[test]
fn what_is_not_for_this_device_or_is_old_is_dropped_and_counted() {
    let mut world = World::new();
    world.device.connected(world.now);
    (1..=3).for_each(|number| world.push(number));
    world.settle();
    let pupil = config().pupil;
    let weights = |epoch, sequence| {
        let message = Message {
            pupil: pupil.clone(),
            epoch,
            sequence,
            body: Body::Weights(Weights::default()),
        };
        outgoing(Channel::Weights, &message)
    };
    let ours = weights(5, 2);
    let other_pupil = Pupil {
        device: "pi-2".parse().unwrap(),
        ..pupil.clone()
    };
    let messages = [
        (ours.topic.clone(), ours.payload.clone()),
        (ours.topic.clone(), weights(4, 3).payload),
        (ours.topic.clone(), weights(5, 99).payload),
        (ours.topic.clone(), ours.payload.slice(..7)),
        (Channel::Weights.topic(&other_pupil), ours.payload.clone()),
        (Channel::Model.topic(&pupil), ours.payload),
    ];
    for (topic, payload) in messages {
        world.device.receive(&topic, payload, world.now);
    }
    let expected = Dropped {
        of_another: 2,
        damaged: 2,
        other_epoch: 1,
        old: 1,
        ..Dropped::default()
    };
    assert_eq!(world.device.counts().dropped, expected);
    assert_eq!(world.device.take_weights(), None);
}

/// What may happen between two steps.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Nothing,
    LoseUp(usize),
    LoseDown(usize),
    RepeatUp(usize),
    RepeatDown(usize),
    SwapUp(usize),
    SwapDown(usize),
    KillTrainer,
    KillDevice,
    CutConnection,
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        6 => Just(Mishap::Nothing),
        2 => (0_usize..50).prop_map(Mishap::LoseUp),
        2 => (0_usize..50).prop_map(Mishap::LoseDown),
        2 => (0_usize..50).prop_map(Mishap::RepeatUp),
        2 => (0_usize..50).prop_map(Mishap::RepeatDown),
        2 => (0_usize..50).prop_map(Mishap::SwapUp),
        2 => (0_usize..50).prop_map(Mishap::SwapDown),
        1 => Just(Mishap::KillTrainer),
        1 => Just(Mishap::KillDevice),
        1 => Just(Mishap::CutConnection),
    ]
}

impl World {
    /// A step whose messages meet with a mishap.
    fn hostile_step(&mut self, mishap: Mishap) {
        self.now += STEP;
        let up = &mut self.up;
        self.device.pump(self.now, &mut |outgoing| {
            up.push(outgoing.clone());
            true
        });
        match mishap {
            Mishap::LoseUp(i) => lose(&mut self.up, i),
            Mishap::RepeatUp(i) => repeat(&mut self.up, i),
            Mishap::SwapUp(i) => swap(&mut self.up, i),
            _ => {}
        }
        for outgoing in std::mem::take(&mut self.up) {
            self.trainer.receive(&outgoing, &mut self.down);
        }
        match mishap {
            Mishap::LoseDown(i) => lose(&mut self.down, i),
            Mishap::RepeatDown(i) => repeat(&mut self.down, i),
            Mishap::SwapDown(i) => swap(&mut self.down, i),
            Mishap::KillTrainer => self.trainer.crash(),
            Mishap::KillDevice => self.restart_device(),
            Mishap::CutConnection => {
                self.down.clear();
                self.device.disconnected();
                self.device.connected(self.now);
            }
            _ => {}
        }
        for outgoing in std::mem::take(&mut self.down) {
            self.device.receive(&outgoing.topic, outgoing.payload, self.now);
        }
    }
}

fn lose(messages: &mut Vec<Outgoing>, i: usize) {
    if !messages.is_empty() {
        messages.remove(i % messages.len());
    }
}

fn repeat(messages: &mut Vec<Outgoing>, i: usize) {
    if !messages.is_empty() {
        messages.push(messages[i % messages.len()].clone());
    }
}

fn swap(messages: &mut [Outgoing], i: usize) {
    if messages.len() > 1 {
        let last = messages.len() - 1;
        messages.swap(i % last, last);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Messages are lost, doubled and reordered, both ends are killed, the connection is cut: every experience is learned
    /// from once and in order.
    #[test]
    fn whatever_happens_each_experience_is_learned_from_once_and_in_order(
        mishaps in prop::collection::vec(mishap(), 20..80),
        at_once in 1_u64..6,
    ) {
        let mut world = World::new();
        world.device.connected(world.now);
        let mut number = 0;
        for mishap in mishaps {
            for _ in 0..at_once {
                number += 1;
                world.push(number);
            }
            world.hostile_step(mishap);
        }
        world.settle();
        world.device.fetch(number, world.now);
        world.steps_until("the learner is here", |world| !world.device.is_fetching());
        let expected: Vec<_> = (1..=number).map(|n| -(n as f64)).collect();
        prop_assert_eq!(&world.trainer.rewards, &expected);
        prop_assert_eq!(world.device.take_learner().unwrap().sequence, number);
    }

    /// No bytes under the right topic, or changed ones of a good message, do more than being counted.
    #[test]
    fn strange_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..60, bit in 0_u8..8) {
        let mut world = World::new();
        world.device.connected(world.now);
        (1..=3).for_each(|n| world.push(n));
        world.settle();
        let topic = world.device.topic();
        world.device.receive(&topic, bytes.into(), world.now);
        let message = Message { pupil: config().pupil, epoch: 5, sequence: 3, body: world.trainer.ack(2) };
        let mut changed = message.encode().to_vec();
        let at = at % changed.len();
        changed[at] ^= 1 << bit;
        world.device.receive(&topic, changed.into(), world.now);
        world.device.pump(world.now, &mut |_| true);
    }
}
