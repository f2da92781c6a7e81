//! Many devices at once, each with a connection, a learner at the trainer and experiences of a toy device: what a broker
//! and a trainer take.

use super::device::{Counts, DeviceConfig};
use super::energy::UpdateEnergy;
use super::link::{LinkConfig, LinkError};
use super::queue::{Limits, Queue, QueueError, now_ms};
use super::remote::Remote;
use super::topic::{InvalidName, Name, Pupil};
use super::wire::{Codec, Experience, Presence};
use crate::file_limit::raise_file_limit;
use crate::learn::environment::transitions;
use crate::learn::{Cost, LearnerName, Settings, Transition};
use crate::quantile::quantile;
use hwmeter_hw::sensor::Kind;
use serde::Serialize;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

/// Transitions that all devices go through again and again, each from another one on.
const TRANSITIONS: usize = 1000;
/// How often a device is looked after.
const LOOK: Duration = Duration::from_millis(10);
/// How long weights may come in after the last experience.
const LAST_WEIGHTS: Duration = Duration::from_secs(5);
/// No learner is larger.
const LARGEST: usize = 64 << 20;

/// What the devices are like.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Where the broker is, and how to get in; the client id is that of each device.
    pub link: LinkConfig,
    /// Names are this, `-` and a number.
    pub name: String,
    /// How many.
    pub devices: usize,
    /// Experiences of each per second, evenly spaced; devices begin at different moments.
    pub rate_hz: f64,
    /// What they have trained.
    pub learner: LearnerName,
    /// Its settings.
    pub settings: Settings,
    /// How weights come.
    pub codec: Codec,
    /// After so many updates.
    pub sync_every: u32,
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub struct FleetReport {
    /// Devices.
    pub devices: usize,
    /// Seconds from the first to the last experience.
    pub duration_s: f64,
    /// Experiences sent.
    pub experiences: u64,
    /// Of these, learned from, as weights that came say.
    pub learned: u64,
    /// Versions of weights that came.
    pub versions: u64,
    /// Seconds from an experience to weights that know it, ready to decide with: the middle of all.
    pub update_p50_s: Option<f64>,
    /// Of 99 in a hundred at most.
    pub update_p99_s: Option<f64>,
    /// Bytes of topics and messages, per experience, from the devices.
    pub bytes_up_each: f64,
    /// To them.
    pub bytes_down_each: f64,
    /// Joules of the trainer's machine above idle for an update, as it says; `None`: it does not.
    pub update_j: Option<f64>,
    /// Whether these are measured or modelled.
    pub update_j_kind: Option<Kind>,
    /// Experiences that found no place in a queue.
    pub lost: u64,
    /// Experiences that reached the trainer more than once.
    pub duplicates: u64,
}

/// Why the devices could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// Their names.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Their connections.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Their queues.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The folder of the queues.
    #[error("cannot make a folder for the queues of experiences: {0}")]
    Folder(#[from] io::Error),
}

/// One device.
struct Member {
    remote: Remote,
    next: Instant,
    at: usize,
    on_their_way: VecDeque<(u64, Instant)>,
    learned: u64,
}

/// Runs until `stop` says yes, which is told how long the devices have been at it since all were set up.
pub fn run(config: &FleetConfig, stop: &dyn Fn(Duration) -> bool) -> Result<FleetReport, FleetError> {
    // Each device has a connection and a queue.
    raise_file_limit();
    let queues = tempfile::tempdir()?;
    let experiences: Vec<Experience> = transitions(TRANSITIONS, 1).iter().map(experience).collect();
    let began = Instant::now();
    let period = Duration::from_secs_f64(1.0 / config.rate_hz);
    let mut members = Vec::with_capacity(config.devices);
    for i in 0..config.devices {
        let queue = queues.path().join(i.to_string());
        members.push(Member {
            remote: connect(config, i, &queue)?,
            // The golden ratio spreads them, however many there are.
            next: Instant::now() + period.mul_f64(i as f64 * 0.618_033_988_75 % 1.0),
            at: i,
            on_their_way: VecDeque::new(),
            learned: 0,
        });
    }
    let mut tally = Tally::default();
    let first = Instant::now();
    while !stop(first.elapsed()) {
        let next_look = Instant::now() + LOOK;
        for member in &mut members {
            member.send(&experiences, period, &mut tally);
            member.take(&mut tally);
        }
        std::thread::sleep(next_look.saturating_duration_since(Instant::now()));
    }
    let duration_s = first.elapsed().as_secs_f64();
    let give_up = Instant::now() + LAST_WEIGHTS;
    while Instant::now() < give_up && members.iter().any(|m| !m.on_their_way.is_empty()) {
        members.iter_mut().for_each(|member| member.take(&mut tally));
        std::thread::sleep(LOOK);
    }
    tracing::debug!("{} devices, connected within {:?}", config.devices, first - began);
    Ok(tally.report(members, duration_s))
}

fn experience(transition: &Transition) -> Experience {
    let cost = Cost {
        energy_j: -transition.reward,
        latency_s: transition.state.deadline_s / 2.0,
        in_time: true,
    };
    Experience::of(transition, &cost)
}

fn connect(config: &FleetConfig, i: usize, queue: &std::path::Path) -> Result<Remote, FleetError> {
    let pupil = Pupil {
        device: format!("{}-{i}", config.name).parse::<Name>()?,
        learner: config.learner.to_string().parse()?,
    };
    let mut link = config.link.clone();
    link.client_id = pupil.to_string();
    let device = DeviceConfig {
        pupil,
        presence: Presence {
            device_type: "load".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: serde_json::to_string(&config.settings).unwrap_or_default(),
            seed: i as u64,
            codec: config.codec as i32,
            sync_every: config.sync_every,
            max_message: u32::try_from(link.max_message).unwrap_or(u32::MAX),
            ..Presence::default()
        },
        max_message: link.max_message,
        largest: LARGEST,
        rests: false,
    };
    let queue = Queue::create(queue, now_ms(), 0, Limits::default())?;
    Ok(Remote::start(link, device, queue, None)?)
}

impl Member {
    /// The next experience, if it is time.
    fn send(&mut self, experiences: &[Experience], period: Duration, tally: &mut Tally) {
        if Instant::now() < self.next {
            return;
        }
        self.next += period;
        self.at += 1;
        let experience = &experiences[self.at % experiences.len()];
        if let Some(pushed) = self.remote.push(self.at as u64, experience, None) {
            tally.experiences += 1;
            self.on_their_way.push_back((pushed.sequence, pushed.begin));
        }
    }

    /// Weights that have come.
    fn take(&mut self, tally: &mut Tally) {
        let Some(weights) = self.remote.take_weights() else {
            return;
        };
        tally.versions += 1;
        let updates = weights.sequence.saturating_sub(self.learned);
        if let Some((joules, kind)) = weights.server_j {
            tally.energy += UpdateEnergy::of(updates, Some(joules * updates as f64));
            tally.energy_kind = Some(kind);
        }
        self.learned = self.learned.max(weights.sequence);
        while let Some((_, begin)) = self.on_their_way.pop_front_if(|(n, _)| *n <= weights.sequence) {
            let taken = (weights.arrived - begin).as_secs_f64() + weights.prepare_s;
            tally.updates_s.push(taken);
        }
    }
}

#[derive(Default)]
struct Tally {
    experiences: u64,
    versions: u64,
    updates_s: Vec<f64>,
    energy: UpdateEnergy,
    energy_kind: Option<Kind>,
}

impl Tally {
    fn report(mut self, members: Vec<Member>, duration_s: f64) -> FleetReport {
        let devices = members.len();
        let learned = members.iter().map(|member| member.learned).sum();
        let counts: Vec<Counts> = members
            .into_iter()
            .map(|member| {
                let counts = member.remote.counts();
                member.remote.stop();
                counts
            })
            .collect();
        let sum = |of: fn(&Counts) -> u64| counts.iter().map(of).sum::<u64>();
        let each = |bytes: u64| bytes as f64 / self.experiences.max(1) as f64;
        FleetReport {
            devices,
            duration_s,
            experiences: self.experiences,
            learned,
            versions: self.versions,
            update_p50_s: quantile(&mut self.updates_s, 0.50),
            update_p99_s: quantile(&mut self.updates_s, 0.99),
            bytes_up_each: each(sum(|c| c.bytes_up)),
            bytes_down_each: each(sum(|c| c.bytes_down)),
            update_j: self.energy.mean(),
            update_j_kind: self.energy_kind,
            lost: sum(|c| c.lost),
            duplicates: sum(|c| c.duplicates),
        }
    }
}
