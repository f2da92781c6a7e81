//! A device and a trainer without a network between them, and a clock that is turned by hand.

use super::super::seat::Seat;
use super::super::task::{Done, Kind, Outcome};
use super::super::{Config, Lane, Manager, Output, TICK, Task};
use crate::learn::guard::Guard;
use crate::learn::{Checkpoint, Cost, Engine, Placement, Settings, State, Transition};
use crate::train::store::{Store, StoreError};
use crate::train::topic::{self, Channel, Pupil};
use crate::train::wire::{
    Body, Codec, Content, Envelope, Experience, LearnerStatus, Message, Presence, Weights,
};
use crate::train::{codec, transfer};
use bytes::Bytes;
use object_store::memory::InMemory;
use prost::Message as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub fn pupil(device: &str, learner: &str) -> Pupil {
    Pupil {
        device: device.parse().unwrap(),
        learner: learner.parse().unwrap(),
    }
}

pub fn config() -> Config {
    Config::new("trainer".parse().unwrap())
}

pub fn presence() -> Presence {
    Presence {
        online: true,
        sync_every: 1,
        ..Presence::default()
    }
}

/// A device that has had all its experiences already.
#[derive(Clone)]
pub struct Device {
    pub pupil: Pupil,
    pub epoch: u64,
    pub base: u64,
    /// As its presence says.
    pub head: u64,
    pub seed: u64,
    pub settings: String,
    pub uploads: bool,
    pub max_message: u32,
    pub experiences: Vec<Experience>,
}

impl Device {
    pub fn new(device: &str, learner: &str, experiences: usize) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(device.bytes().map(u64::from).sum());
        let settings = r#"{"dqn":{"hidden":[8,8],"replay":8,"replay_batch":1},"ac":{"hidden":[8]},"stream-q":{"hidden":[8]}}"#;
        Self {
            pupil: pupil(device, learner),
            epoch: 1000,
            base: 0,
            head: 0,
            seed: 7,
            settings: settings.to_owned(),
            uploads: false,
            max_message: 0,
            experiences: (0..experiences).map(|_| experience(&mut rng)).collect(),
        }
    }

    pub fn message(&self, sequence: u64, body: Body) -> Message {
        Message {
            pupil: self.pupil.clone(),
            epoch: self.epoch,
            sequence,
            body,
        }
    }

    pub fn presence(&self) -> Message {
        let presence = Presence {
            settings: self.settings.clone(),
            seed: self.seed,
            base_sequence: self.base,
            uploads_weights: self.uploads,
            max_message: self.max_message,
            ..presence()
        };
        self.message(self.head.max(self.base), Body::Presence(presence))
    }

    pub fn experience(&self, n: u64) -> Message {
        self.message(n, Body::Experience(self.experiences[n as usize - 1]))
    }

    /// Its own learner after the first `n` experiences, trained without any network.
    fn guard(&self, n: u64) -> Guard {
        let settings: Settings = serde_json::from_str(&self.settings).unwrap();
        let name = clap::ValueEnum::from_str(self.pupil.learner.as_str(), false).unwrap();
        let mut guard = Guard::new(Engine::Native.build(name, self.seed, &settings).unwrap());
        for experience in &self.experiences[..n as usize] {
            let (transition, cost) = experience.taken().unwrap();
            guard.learn(&transition, &cost).unwrap();
        }
        guard
    }

    pub fn undisturbed(&self, n: u64) -> Checkpoint {
        self.guard(n).save()
    }

    pub fn sha256(&self, n: u64) -> Bytes {
        crate::train::weights::sha256(&self.guard(n).weights())
            .to_vec()
            .into()
    }

    pub fn checkpoint(&self, n: u64) -> Vec<Message> {
        let bytes = self.undisturbed(n).to_bytes().unwrap().into();
        let (manifest, chunks) = transfer::split(Content::Checkpoint, bytes, 2048);
        let manifest = std::iter::once(Body::Manifest(manifest));
        let all = manifest.chain(chunks.map(Body::Chunk));
        all.map(|body| self.message(n, body)).collect()
    }

    pub fn weights(&self, n: u64) -> Message {
        let encoded = codec::to_wire(&self.guard(n).weights(), Codec::F32);
        let weights = Weights {
            sha256: encoded.sha256.to_vec().into(),
            tensors: encoded.bytes,
            ..Weights::default()
        };
        self.message(n, Body::Weights(weights))
    }
}

fn experience(rng: &mut ChaCha12Rng) -> Experience {
    let mut state = || State {
        device_free: rng.random_range(0.0..1.0),
        mec_free: rng.random_range(0.0..1.0),
        throughput_bps: rng.random_range(1e5..1e8),
        cycles: rng.random_range(1e6..1e9),
        deadline_s: rng.random_range(0.1..1.0),
    };
    let (state, next_state) = (state(), state());
    let transition = Transition {
        state,
        placement: Placement::ALL[rng.random_range(0..3)],
        reward: rng.random_range(-3.0..0.0),
        next_state,
    };
    let cost = Cost {
        energy_j: -transition.reward,
        latency_s: 0.1,
        in_time: true,
    };
    Experience::of(&transition, &cost)
}

/// Which topic a device's message goes to.
pub fn up(message: &Message) -> String {
    let channel = match message.body {
        Body::Presence(_) => Channel::Status,
        Body::Experience(_) => Channel::Experience,
        _ => Channel::Model,
    };
    channel.topic(&message.pupil)
}

pub struct World {
    pub manager: Manager,
    pub store: Store,
    /// What is in it.
    pub objects: Arc<InMemory>,
    pub now: Instant,
    pub store_fails: bool,
    pub subscribed: Vec<String>,
    config: Config,
    payloads: Vec<(String, Bytes)>,
    ticked: Instant,
}

impl World {
    pub fn new() -> Self {
        Self::of(config())
    }

    pub fn of(config: Config) -> Self {
        let now = Instant::now();
        let objects = Arc::new(InMemory::new());
        Self {
            manager: Manager::new(config.clone()),
            store: Store::objects(objects.clone()).unwrap(),
            objects,
            now,
            store_fails: false,
            subscribed: Vec::new(),
            config,
            payloads: Vec::new(),
            ticked: now,
        }
    }

    /// Killed, and started again.
    pub fn restart(&mut self) {
        self.manager = Manager::new(self.config.clone());
        self.payloads.clear();
    }

    pub fn seat(&self, device: &Device) -> &Seat {
        &self.manager.seats[&device.pupil]
    }

    /// A message arrives, and is not looked at further.
    pub fn put(&mut self, message: &Message) {
        self.manager
            .receive(&up(message), message.encode(), false, self.now);
    }

    /// A message arrives, and all is done that is to be done.
    pub fn hear(&mut self, message: &Message) {
        self.put(message);
        self.work();
    }

    /// One lesson, if there is one.
    pub fn turn(&mut self) -> bool {
        let task = self.manager.next(Lane::Learn, self.now);
        let is_one = task.is_some();
        if let Some(task) = task {
            self.manager.done(task.run(&self.store), self.now);
        }
        is_one
    }

    pub fn work(&mut self) {
        loop {
            let tasks = Lane::ALL.map(|lane| self.manager.next(lane, self.now));
            let tasks: Vec<Task> = tasks.into_iter().flatten().collect();
            if tasks.is_empty() {
                break;
            }
            for task in tasks {
                let done = run(task, &self.store, self.store_fails);
                self.manager.done(done, self.now);
            }
            self.listen();
        }
        self.listen();
    }

    pub fn wait(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.now += TICK;
            self.ticked = self.now;
            self.manager.tick(self.now);
            self.work();
            self.echo();
        }
    }

    fn listen(&mut self) {
        while let Some(output) = self.manager.output() {
            match output {
                Output::Publish(outgoing) => self.payloads.push((outgoing.topic, outgoing.payload)),
                Output::Subscribe(filter) => self.subscribed.push(filter),
                Output::Unsubscribe(filter) => self.subscribed.retain(|f| *f != filter),
            }
        }
    }

    /// What was said last on a topic.
    pub fn last_of(&mut self, topic: &str) -> Option<Bytes> {
        self.listen();
        let said = self.payloads.iter().rev().find(|(said, _)| said == topic);
        said.map(|(_, payload)| payload.clone())
    }

    /// What was said in the group comes back.
    pub fn echo(&mut self) {
        self.listen();
        let (group, rest) = std::mem::take(&mut self.payloads)
            .into_iter()
            .partition(|(topic, _)| topic.starts_with("group/"));
        self.payloads = rest;
        let group: Vec<(String, Bytes)> = group;
        for (topic, payload) in group {
            self.manager.receive(&topic, payload, false, self.now);
        }
    }

    /// What was said to devices since this was last asked.
    pub fn said(&mut self) -> Vec<Message> {
        self.listen();
        let (said, rest) = std::mem::take(&mut self.payloads)
            .into_iter()
            .partition(|(topic, _)| topic.starts_with("client/"));
        self.payloads = rest;
        let said: Vec<(String, Bytes)> = said;
        said.into_iter()
            .map(|(topic, payload)| understood(&topic, payload))
            .collect()
    }

    /// What was said to anybody, with the number of the experience.
    pub fn told(&mut self) -> Vec<(LearnerStatus, u64)> {
        self.listen();
        let of = |(topic, payload): (String, Bytes)| {
            let envelope = Envelope::decode(payload).unwrap();
            match envelope.body {
                Some(Body::Status(status)) if topic.starts_with("trainer/trainer/learner/") => {
                    Some((status, envelope.sequence))
                }
                _ => None,
            }
        };
        std::mem::take(&mut self.payloads)
            .into_iter()
            .filter_map(of)
            .collect()
    }

    /// The whole learner, as it came in chunks.
    pub fn whole(&mut self, device: &Device) -> Checkpoint {
        let said = self.said();
        assemble(&device.pupil, &said).unwrap()
    }
}

/// The checkpoint of some messages, if it is among them.
pub fn assemble(pupil: &Pupil, said: &[Message]) -> Option<Checkpoint> {
    let mut assembly = transfer::Assembly::new(1 << 20);
    for message in said.iter().filter(|m| m.pupil == *pupil) {
        let version = transfer::Version {
            epoch: message.epoch,
            sequence: message.sequence,
        };
        let progress = match &message.body {
            Body::Manifest(manifest) => assembly.manifest(version, manifest.clone()),
            Body::Chunk(chunk) => assembly.chunk(version, chunk),
            _ => continue,
        };
        if let transfer::Progress::Whole(Content::Checkpoint, bytes) = progress {
            return Some(Checkpoint::from_bytes(&bytes, "in memory".to_owned()).unwrap());
        }
    }
    None
}

pub fn understood(topic: &str, payload: Bytes) -> Message {
    let (channel, pupil) = topic::parse(topic).unwrap();
    assert_eq!(channel, Channel::Weights);
    Message::decode(payload, &pupil).unwrap()
}

/// Does it, except that nothing can be written where the store fails.
pub fn run(task: Task, store: &Store, fails: bool) -> Done {
    match task.0 {
        Kind::Write(writing) if fails => Done(Outcome::Written {
            pupil: writing.pupil,
            term: writing.term,
            applied: writing.record.applied,
            result: Err(StoreError::Thread(std::io::ErrorKind::StorageFull.into())),
        }),
        kind => Task(kind).run(store),
    }
}
