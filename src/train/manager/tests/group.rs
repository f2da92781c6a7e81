//! Trainers of a group: what one does when devices come and go, and two of them in a world in which the group's own messages
//! are lost and late, trainers die, and each believes at times that it is alone.

use super::chaos::{EXPERIENCES, Later, STEP, STEPS, Sender, devices, due, send};
use super::world::{self, Device, World, run, understood, up};
use super::*;
use crate::train::link::Outgoing;
use crate::train::manager::Done;
use crate::train::store::{Claim, Store};
use crate::train::topic;
use crate::train::wire::Member;
use object_store::memory::InMemory;
use prost::Message as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LEASE: Duration = Duration::from_secs(6);

fn group(me: &str, instance: u64) -> Group {
    Group::new("g".parse().unwrap(), me.parse().unwrap(), instance, LEASE)
}

fn config(me: &str, instance: u64) -> Config {
    Config {
        trainer: me.parse().unwrap(),
        membership: Membership::Group(Box::new(group(me, instance))),
        ..world::config()
    }
}

/// A member of a group alone, that has the device.
fn alone_with(device: &Device) -> World {
    let mut world = World::of(Config {
        store_after: Duration::from_secs(2),
        ..config("trainer", 0)
    });
    world.wait(1.75);
    world.hear(&device.presence());
    world
}

/// Somebody else says that it is there.
fn other(world: &mut World, name: &str) {
    let beat = group(name, 9).beat(world.now).unwrap();
    world.manager.receive(&beat.topic, beat.payload, false, world.now);
}

/// A device that goes to the other of two.
fn device_of(other: &str) -> Device {
    let now = Instant::now();
    let mut view = group("trainer", 0);
    for (i, name) in ["trainer", other].into_iter().enumerate() {
        let beat = group(name, i as u64).beat(now).unwrap();
        view.receive(&beat.topic, &beat.payload, false, now);
    }
    let mut devices = (0..).map(|n| Device::new(&format!("pi-{n}"), "dqn", 6));
    devices.find(|device| !view.keeps(&device.pupil.device)).unwrap()
}

#[test]
fn a_device_that_becomes_anothers_is_stored_and_nothing_is_said_of_it_any_more() {
    let device = device_of("b");
    let mut world = alone_with(&device);
    for n in 1..=3 {
        world.hear(&device.experience(n));
    }
    world.wait(0.5);
    let topic = "client/".to_owned() + device.pupil.device.as_str() + "/experience/dqn/v1";
    assert!(world.subscribed.contains(&topic));
    other(&mut world, "b");
    world.put(&device.experience(4));
    world.wait(0.5);
    let stored = world.store.get(&device.pupil).unwrap().unwrap();
    assert_eq!(stored.applied, 3, "what came later is the other's");
    let totals = world.manager.totals();
    assert_eq!((totals.learners, totals.in_memory), (0, 0));
    assert!(!world.subscribed.contains(&topic));
    let status = topic::learner_status(&"trainer".parse().unwrap(), &device.pupil);
    assert_eq!(world.last_of(&status), Some(Bytes::new()));
    // Its next presence is for the other to hear.
    world.hear(&device.presence());
    assert_eq!(world.manager.totals().learners, 0);
}

#[test]
fn a_learner_that_another_has_claimed_is_dropped_without_a_word_and_read_again_where_that_left_it() {
    let device = Device::new("pi-1", "dqn", 6);
    let mut world = alone_with(&device);
    world.hear(&device.experience(1));
    world.wait(3.0);
    assert_eq!(world.seat(&device).durable(), 1);
    let other = Store::objects(world.objects.clone()).unwrap();
    let (mut record, claim) = other.claim(&device.pupil, Claim::default()).unwrap().unwrap();
    (record.applied, record.checkpoint) = (3, device.undisturbed(3).to_bytes().unwrap().into());
    other.put(&device.pupil, &record, claim).unwrap();
    world.hear(&device.experience(2));
    world.said();
    world.wait(2.25);
    assert_eq!(world.manager.totals().fenced, 1);
    assert_eq!(world.said().len(), 0);
    assert_eq!(world.store.get(&device.pupil).unwrap().unwrap().applied, 3);
    // It is ours all the same.
    world.wait(2.0);
    assert_eq!(world.seat(&device).applied, 3);
    for n in 4..=6 {
        world.hear(&device.experience(n));
    }
    world.hear(&device.message(6, Body::Fetch(Fetch { after: 6 })));
    assert_eq!(world.whole(&device), device.undisturbed(6));
    assert_eq!(world.manager.totals().in_memory, 1);
}

#[test]
fn what_a_device_does_not_have_any_more_another_trainer_may_have_stored() {
    let device = Device::new("pi-1", "dqn", 6);
    let mut world = alone_with(&device);
    let other = Store::objects(world.objects.clone()).unwrap();
    let Body::Presence(presence) = device.presence().body else {
        panic!("it is one")
    };
    let record = crate::train::wire::proto::Record {
        epoch: device.epoch,
        presence: Some(presence),
        applied: 4,
        checkpoint: device.undisturbed(4).to_bytes().unwrap().into(),
        ..Default::default()
    };
    other.put(&device.pupil, &record, Claim::default()).unwrap();
    world.hear(&device.experience(5));
    assert_eq!(world.seat(&device).applied, 0);
    world.wait(12.0);
    assert_eq!(world.seat(&device).applied, 4);
}

#[test]
fn one_that_ends_takes_back_what_it_said_and_leaves_when_all_is_stored() {
    let device = Device::new("pi-1", "dqn", 2);
    let mut world = alone_with(&device);
    world.hear(&device.experience(1));
    world.wait(6.0);
    world.manager.stop(world.now);
    world.work();
    assert!(world.manager.is_stored());
    world.manager.farewell(world.now);
    let status = topic::learner_status(&"trainer".parse().unwrap(), &device.pupil);
    assert_eq!(world.last_of(&status), Some(Bytes::new()));
    assert_eq!(world.last_of("group/g/member/trainer/v1"), Some(Bytes::new()));
}

/// What a thread has in hand: it has not begun, or nobody has heard of its end.
enum Work {
    Begun(Done),
    Waits(Task),
}

/// A trainer and its connection.
struct Trainer {
    name: &'static str,
    manager: Manager,
    store: Store,
    working: Vec<Later<Work>>,
    subscribed: BTreeSet<String>,
    inbox: Vec<Later<(String, Bytes, bool)>>,
    /// Neither hears nor is heard in the group until then.
    cut: Option<Instant>,
}

struct Chaos {
    rng: ChaCha12Rng,
    now: Instant,
    objects: Arc<InMemory>,
    looker: Store,
    retained: BTreeMap<String, Bytes>,
    trainers: Vec<Trainer>,
    up: Vec<Later<Outgoing>>,
    down: Vec<Later<(String, Bytes)>>,
    stored: BTreeMap<Pupil, (u64, u64)>,
    instances: u64,
    kills: u32,
    cuts: u32,
    fenced: u64,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let objects = Arc::new(InMemory::new());
        let mut chaos = Self {
            rng: ChaCha12Rng::seed_from_u64(seed),
            now: Instant::now(),
            looker: Store::objects(objects.clone()).unwrap(),
            objects,
            retained: BTreeMap::new(),
            trainers: Vec::new(),
            up: Vec::new(),
            down: Vec::new(),
            stored: BTreeMap::new(),
            instances: 0,
            kills: 0,
            cuts: 0,
            fenced: 0,
        };
        chaos.trainers = vec![chaos.trainer("a"), chaos.trainer("b")];
        chaos
    }

    fn trainer(&mut self, name: &'static str) -> Trainer {
        self.instances += 1;
        let config = Config {
            max_learners: 2,
            inbox: 16,
            store_updates: 10,
            store_after: TICK * 4,
            ..config(name, self.instances)
        };
        Trainer {
            name,
            manager: Manager::new(config),
            store: Store::objects(self.objects.clone()).unwrap(),
            working: Vec::new(),
            subscribed: BTreeSet::new(),
            inbox: Vec::new(),
            cut: None,
        }
    }

    /// By the broker to whoever wants it, over a bad network.
    fn publish(&mut self, outgoing: &Outgoing) {
        let Outgoing {
            topic,
            payload,
            retain,
        } = outgoing;
        match (retain, payload.is_empty()) {
            (true, true) => drop(self.retained.remove(topic)),
            (true, false) => drop(self.retained.insert(topic.clone(), payload.clone())),
            _ => {}
        }
        if topic.starts_with("client/") && topic.contains("/weights/") {
            let what = (topic.clone(), payload.clone());
            send(&mut self.rng, self.now, &mut self.down, what);
        }
        for trainer in &mut self.trainers {
            let is_cut = trainer.cut.is_some() && topic.starts_with("group/");
            if !is_cut && trainer.subscribed.iter().any(|filter| matches(filter, topic)) {
                let what = (topic.clone(), payload.clone(), false);
                send(&mut self.rng, self.now, &mut trainer.inbox, what);
            }
        }
    }

    fn step(&mut self, senders: &mut [Sender]) {
        self.now += STEP;
        let now = self.now;
        for sender in senders.iter_mut() {
            for message in sender.speak(&mut self.rng, now) {
                let what = Outgoing {
                    topic: up(&message),
                    payload: message.encode(),
                    retain: matches!(message.body, Body::Presence(_)),
                };
                send(&mut self.rng, now, &mut self.up, what);
            }
        }
        for outgoing in due(&mut self.up, now) {
            self.publish(&outgoing);
        }
        for i in 0..self.trainers.len() {
            self.let_work(i);
        }
        for (topic, payload) in due(&mut self.down, now) {
            let message = understood(&topic, payload);
            let to = senders.iter_mut().find(|s| s.device.pupil == message.pupil);
            to.unwrap().hear(message);
        }
        for sender in senders.iter() {
            self.look_at(&sender.device);
        }
    }

    fn let_work(&mut self, i: usize) {
        let now = self.now;
        let trainer = &mut self.trainers[i];
        trainer.cut.take_if(|until| *until <= now);
        for (topic, payload, retained) in due(&mut trainer.inbox, now) {
            trainer.manager.receive(&topic, payload, retained, now);
        }
        for work in due(&mut trainer.working, now) {
            let done = match work {
                Work::Begun(done) => done,
                Work::Waits(task) => run(task, &trainer.store, self.rng.random_bool(0.1)),
            };
            trainer.manager.done(done, now);
        }
        trainer.manager.tick(now);
        for lane in Lane::ALL {
            while let Some(task) = trainer.manager.next(lane, now) {
                let at = now + Duration::from_millis(self.rng.random_range(0..200));
                let what = match self.rng.random_bool(0.5) {
                    true => Work::Waits(task),
                    false => Work::Begun(run(task, &trainer.store, self.rng.random_bool(0.1))),
                };
                trainer.working.push(Later { at, what });
            }
        }
        while let Some(output) = self.trainers[i].manager.output() {
            match output {
                Output::Publish(outgoing) => self.say(i, &outgoing),
                Output::Subscribe(filter) => self.subscribe(i, filter),
                Output::Unsubscribe(filter) => {
                    self.trainers[i].subscribed.remove(&filter);
                }
            }
        }
    }

    fn say(&mut self, i: usize, outgoing: &Outgoing) {
        let is_cut = self.trainers[i].cut.is_some() && outgoing.topic.starts_with("group/");
        if !is_cut {
            self.publish(outgoing);
        }
        if !outgoing.topic.starts_with("client/") {
            return;
        }
        let message = understood(&outgoing.topic, outgoing.payload.clone());
        if let Body::Ack(ack) = &message.body {
            let stored = self.stored_of(&message.pupil).map_or(0, |(_, applied)| applied);
            let base = if message.pupil.device.as_str() == "pi-3" {
                5
            } else {
                0
            };
            assert!(ack.durable <= stored.max(base), "said to be stored and is not");
        }
    }

    /// What the broker keeps comes, in time or late.
    fn subscribe(&mut self, i: usize, filter: String) {
        let trainer = &mut self.trainers[i];
        for (topic, payload) in &self.retained {
            let is_cut = trainer.cut.is_some() && topic.starts_with("group/");
            if matches(&filter, topic) && !is_cut {
                let at = self.now + Duration::from_millis(self.rng.random_range(0..100));
                let what = (topic.clone(), payload.clone(), true);
                trainer.inbox.push(Later { at, what });
            }
        }
        trainer.subscribed.insert(filter);
    }

    fn stored_of(&self, pupil: &Pupil) -> Option<(u64, u64)> {
        let record = self.looker.get(pupil).unwrap();
        record.map(|record| (record.epoch, record.applied))
    }

    /// What is stored never goes back.
    fn look_at(&mut self, device: &Device) {
        let Some(stored) = self.stored_of(&device.pupil) else {
            return;
        };
        let before = self.stored.insert(device.pupil.clone(), stored);
        assert!(before <= Some(stored), "{}: {before:?}, {stored:?}", device.pupil);
    }

    /// One is killed, and starts again; or one does not hear of the others for a while, nor they of it.
    fn disturb(&mut self) {
        let i = self.rng.random_range(0..self.trainers.len());
        if self.rng.random_bool(0.5) {
            let seconds = self.rng.random_range(1..20);
            self.trainers[i].cut = Some(self.now + Duration::from_secs(seconds));
            self.cuts += 1;
            return;
        }
        self.kills += 1;
        self.fenced += self.trainers[i].manager.totals().fenced;
        let name = self.trainers[i].name;
        self.trainers[i] = self.trainer(name);
        // Its last will; without it the others wait for the end of its lease.
        if self.rng.random_bool(0.5) {
            let will = group(name, 0).goodbye();
            self.publish(&will);
        }
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let (mut words, mut parts) = (topic.split('/'), filter.split('/'));
    let is_equal = parts.by_ref().all(|part| {
        let word = words.next();
        word.is_some() && (part == "+" || word == Some(part))
    });
    is_equal && words.next().is_none()
}

/// Kills, cuts, refused puts.
fn survive(seed: u64) -> (u32, u32, u64) {
    let mut chaos = Chaos::new(seed);
    let mut senders = devices();
    for sender in &senders {
        let presence = sender.device.presence();
        let (topic, payload) = (up(&presence), presence.encode());
        chaos.retained.insert(topic, payload);
    }
    let mut left: Vec<usize> = (0..senders.len()).collect();
    for step in 0..STEPS {
        chaos.step(&mut senders);
        if chaos.rng.random_bool(0.004) {
            chaos.disturb();
        }
        if step % 10 == 0 {
            left.retain(|i| {
                let sender = &senders[*i];
                let stored = chaos.stored.get(&sender.device.pupil);
                let all = EXPERIENCES as u64;
                !(stored.is_some_and(|(_, applied)| *applied == all) && sender.is_done())
            });
        }
        if left.is_empty() {
            for sender in &senders {
                let record = chaos.looker.get(&sender.device.pupil).unwrap().unwrap();
                let undisturbed = sender.device.undisturbed(EXPERIENCES as u64);
                assert_eq!(record.checkpoint, undisturbed.to_bytes().unwrap());
            }
            let fenced = chaos.trainers.iter().map(|t| t.manager.totals().fenced);
            return (chaos.kills, chaos.cuts, chaos.fenced + fenced.sum::<u64>());
        }
    }
    panic!("seed {seed}: {} learners are not done", left.len());
}

#[test]
fn two_trainers_that_at_times_both_believe_to_have_a_device_store_each_experience_once_and_in_order() {
    let (mut kills, mut cuts, mut fenced) = (0, 0, 0);
    for seed in 0..12 {
        let (k, c, f) = survive(seed);
        (kills, cuts, fenced) = (kills + k, cuts + c, fenced + f);
    }
    assert!(
        kills > 12 && cuts > 12 && fenced > 12,
        "hardly anything happened: {kills} {cuts} {fenced}"
    );
}

#[test]
fn filters_are_those_of_mqtt() {
    assert!(matches("client/+/status/+/v1", "client/pi/status/dqn/v1"));
    assert!(!matches("client/+/status/+/v1", "client/pi/status/dqn"));
    assert!(!matches("client/+/status", "client/pi/status/dqn"));
    let beat = group("a", 1).beat(Instant::now()).unwrap();
    assert!(matches(&group("b", 2).filter(), &beat.topic));
    assert_eq!(Member::decode(beat.payload).unwrap().lease_ms, 6000);
}
