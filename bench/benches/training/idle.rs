//! What a learner takes in memory that waits in the store: the process' resident memory before and after many were
//! trained once and put away. A manager without threads and network, so that nothing else is counted.

use hwmeter::learn::{Cost, LearnerName, Settings, environment};
use hwmeter::train::manager::{Config, Lane, Manager, TICK};
use hwmeter::train::store::Store;
use hwmeter::train::topic::{Channel, Pupil};
use hwmeter::train::wire::{Body, Experience, Message, Presence};
use std::time::Instant;

/// Learners in memory at once.
const ACTIVE: usize = 8;

/// Prints it for some learners.
pub fn report(learners: usize) {
    for learner in [LearnerName::Ac, LearnerName::Dqn] {
        // A store's files are of the size of checkpoints: fewer large ones.
        let learners = match learner {
            LearnerName::Ac => learners,
            _ => learners / 20,
        };
        let (each, checkpoint) = measure(learner, learners);
        println!(
            "idle      {learners} learners, {learner}: {each:.0} B of memory each; their checkpoints have {checkpoint:.0} B each"
        );
    }
}

/// Bytes of memory and of checkpoints, of each.
fn measure(learner: LearnerName, learners: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::folder(folder.path()).expect("a store");
    let mut config = Config::new("bench".parse().expect("a name"));
    config.max_learners = ACTIVE;
    let mut world = World {
        manager: Manager::new(config),
        store,
        now: Instant::now(),
    };
    // What is used for all, such as the largest buffers, is there before it is counted.
    world.train(learner, 0..4 * ACTIVE);
    let before = resident();
    world.train(learner, 4 * ACTIVE..4 * ACTIVE + learners);
    let after = resident();
    let totals = world.manager.totals();
    assert_eq!(totals.updates as usize, 4 * ACTIVE + learners);
    assert!(totals.in_memory <= ACTIVE, "{totals}");
    let stored: Vec<u64> = walk(folder.path());
    let mean = stored.iter().sum::<u64>() as f64 / stored.len() as f64;
    ((after - before) / learners as f64, mean)
}

struct World {
    manager: Manager,
    store: Store,
    now: Instant,
}

impl World {
    /// A device each, that has had one experience and leaves.
    fn train(&mut self, learner: LearnerName, devices: std::ops::Range<usize>) {
        let transition = environment::transitions(1, 1).remove(0);
        let cost = Cost {
            energy_j: 1.0,
            latency_s: 0.1,
            in_time: true,
        };
        let presence = |online| Presence {
            online,
            settings: serde_json::to_string(&Settings::default()).expect("numbers"),
            sync_every: 1,
            ..Presence::default()
        };
        for device in devices {
            let pupil = Pupil {
                device: format!("device-{device}").parse().expect("a name"),
                learner: learner.to_string().parse().expect("a name"),
            };
            let experience = Body::Experience(Experience::of(&transition, &cost));
            self.hear(&pupil, Channel::Status, 0, Body::Presence(presence(true)));
            self.hear(&pupil, Channel::Experience, 1, experience);
            self.hear(&pupil, Channel::Status, 1, Body::Presence(presence(false)));
        }
        // What was said of each is kept as well.
        self.now += TICK;
        self.manager.tick(self.now);
        self.work();
    }

    fn hear(&mut self, pupil: &Pupil, channel: Channel, sequence: u64, body: Body) {
        let message = Message {
            pupil: pupil.clone(),
            epoch: 1,
            sequence,
            body,
        };
        let topic = channel.topic(pupil);
        self.manager.receive(&topic, message.encode(), false, self.now);
        self.work();
    }

    /// Does all that is to be done; nobody listens.
    fn work(&mut self) {
        loop {
            while self.manager.output().is_some() {}
            let next = |lane| self.manager.next(lane, self.now);
            let Some(task) = Lane::ALL.into_iter().find_map(next) else {
                return;
            };
            let done = task.run(&self.store);
            self.manager.done(done, self.now);
        }
    }
}

/// Bytes of this process that are in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    1024.0 * kib.expect("a number")
}

/// The sizes of all learners below a folder.
fn walk(folder: &std::path::Path) -> Vec<u64> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => sizes.extend(walk(&path)),
            false if path.extension().is_some_and(|end| end == "learner") => {
                sizes.extend(entry.metadata().map(|of| of.len()));
            }
            false => {}
        }
    }
    sizes
}
