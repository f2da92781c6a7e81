//! A device's connection to its trainer: the state machine of [`device`](super::device), the MQTT client, and a thread that
//! takes what comes and prepares weights, so that whoever decides has only to swap them in.

use super::codec;
use super::device::{ArrivedWeights, Counts, Device, DeviceConfig, WholeLearner};
use super::link::{Event, Link, LinkConfig, LinkError, Outgoing};
use super::lock;
use super::queue::{Entry, Queue};
use super::wire::{self, Codec, Experience};
use crate::learn::Weights;
use bytes::Bytes;
use hwmeter_hw::sensor::Kind;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the clock is looked at when nothing comes.
const TICK: Duration = Duration::from_millis(50);
/// How often the queue is brought to the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// A trainer that is silent for so long at one broker may be at another.
const MOVE_ON: Duration = Duration::from_secs(6);
/// How long the last word may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Weights whose hash and numbers are right.
#[derive(Debug)]
pub struct Prepared {
    /// The last experience learned from: the version.
    pub sequence: u64,
    /// For `Guard::set_weights`.
    pub weights: Weights,
    /// When they had come.
    pub arrived: Instant,
    /// Seconds of unpacking and checking.
    pub prepare_s: f64,
    /// By the trainer: seconds that the experience waited, and of its update.
    pub queue_s: f64,
    /// By the trainer: seconds of the update.
    pub train_s: f64,
    /// By the trainer: joules of an update, and their kind.
    pub server_j: Option<(f64, Kind)>,
}

/// An experience that is on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pushed {
    /// Its number.
    pub sequence: u64,
    /// When it was begun to be sent.
    pub begin: Instant,
    /// Seconds until the MQTT client had it.
    pub send_s: f64,
}

/// A device's connection to its trainer.
pub struct Remote {
    link: Arc<Link>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    origin: Instant,
    largest: usize,
    has_brokers: bool,
    device: Mutex<Device>,
    ready: Mutex<Ready>,
    changed: Condvar,
}

#[derive(Default)]
struct Ready {
    weights: Option<Prepared>,
    learner: Option<WholeLearner>,
    /// Weights that could not be used.
    bad_weights: u64,
    /// What was of an epoch that had ended when it was ready.
    other_epoch: u64,
}

impl Remote {
    /// Begins to connect; nothing waits for the connection.
    pub fn start(
        mut link: LinkConfig,
        device: DeviceConfig,
        queue: Queue,
        base: Option<WholeLearner>,
    ) -> Result<Self, LinkError> {
        let largest = device.largest;
        let device = Device::new(device, queue, base);
        link.will = Some(device.last_will());
        let answers = device.topic();
        let has_brokers = link.urls.iter().len() > 1;
        let (link, events) = Link::start(link)?;
        let link = Arc::new(link);
        // Before the connection there is room for it.
        if let Err(error) = link.subscribe(&answers) {
            tracing::warn!("cannot read {answers}: {error}");
        }
        let shared = Arc::new(Shared {
            origin: Instant::now(),
            largest,
            has_brokers,
            device: Mutex::new(device),
            ready: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name("training".to_owned()).spawn({
            let (link, shared) = (Arc::clone(&link), Arc::clone(&shared));
            move || shared.listen(&link, &events)
        });
        Ok(Self {
            link,
            shared,
            thread: Some(thread?),
        })
    }

    /// Sends an experience, or keeps it until it can be sent. `weights` are uploaded before it (the paper's way). `None`:
    /// the queue is full, it is lost.
    pub fn push(&self, task: u64, experience: &Experience, weights: Option<Bytes>) -> Option<Pushed> {
        let begin = Instant::now();
        let mut device = lock(&self.shared.device);
        let now = self.shared.now();
        let sequence = device.push(task, experience, weights, now);
        device.pump(now, &mut |outgoing| publish(&self.link, outgoing));
        drop(device);
        Some(Pushed {
            sequence: sequence?,
            begin,
            send_s: begin.elapsed().as_secs_f64(),
        })
    }

    /// The newest weights, once.
    pub fn take_weights(&self) -> Option<Prepared> {
        lock(&self.shared.ready).weights.take()
    }

    /// Waits until there are weights of this version or a newer one.
    pub fn wait_for_weights(&self, sequence: u64, until: Instant) -> bool {
        self.wait(until, |ready| {
            ready.weights.as_ref().is_some_and(|w| w.sequence >= sequence)
        })
    }

    /// Waits for the learner that was asked for.
    pub fn wait_for_learner(&self, until: Instant) -> bool {
        self.wait(until, |ready| ready.learner.is_some())
    }

    /// The learner that was asked for, once.
    pub fn take_learner(&self) -> Option<WholeLearner> {
        lock(&self.shared.ready).learner.take()
    }

    /// Something is asked of the state machine, and what comes of it is sent.
    pub fn with<T>(&self, ask: impl FnOnce(&mut Device, Duration) -> T) -> T {
        let mut device = lock(&self.shared.device);
        let now = self.shared.now();
        let answer = ask(&mut device, now);
        device.pump(now, &mut |outgoing| publish(&self.link, outgoing));
        answer
    }

    /// Something is read of the state machine; nothing is sent.
    pub fn read<T>(&self, ask: impl FnOnce(&Device) -> T) -> T {
        ask(&lock(&self.shared.device))
    }

    /// The next epoch begins with this learner.
    pub fn begin_epoch(&self, epoch: u64, base: WholeLearner) {
        self.with(|device, now| device.begin_epoch(epoch, base, now));
        // What is being prepared now is of the epoch before, and finds that out.
        let mut ready = lock(&self.shared.ready);
        (ready.weights, ready.learner) = (None, None);
    }

    /// The experiences after a number that are still here.
    pub fn experiences_after(&self, sequence: u64) -> Vec<Entry> {
        self.read(|device| device.queue().after(sequence).cloned().collect())
    }

    /// For how long something has been waited for in vain.
    pub fn silence(&self) -> Duration {
        lock(&self.shared.device).silence(self.shared.now())
    }

    /// Figures so far.
    pub fn counts(&self) -> Counts {
        let mut counts = lock(&self.shared.device).counts();
        let ready = lock(&self.shared.ready);
        counts.dropped.bad_weights += ready.bad_weights;
        counts.dropped.other_epoch += ready.other_epoch;
        counts
    }

    /// Takes leave of the trainer and of the broker.
    pub fn stop(mut self) {
        self.with(|device, _| device.leave());
        self.end();
    }

    fn end(&mut self) {
        self.link.stop(GOODBYE);
        if let Some(thread) = self.thread.take() {
            // It panicked if this fails, and has said so.
            let _ = thread.join();
        }
        self.shared.sync();
    }

    fn wait(&self, until: Instant, mut done: impl FnMut(&Ready) -> bool) -> bool {
        let mut ready = lock(&self.shared.ready);
        while !done(&ready) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(ready, left);
            ready = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Until the link ends.
    fn listen(&self, link: &Link, events: &Receiver<Event>) {
        let mut synced = Instant::now();
        let mut moved = Instant::now();
        loop {
            let event = match events.recv_timeout(TICK) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (epoch, weights, learner) = {
                let mut device = lock(&self.device);
                let now = self.now();
                if let Some(event) = event {
                    take(&mut device, event, now);
                }
                device.pump(now, &mut |outgoing| publish(link, outgoing));
                if self.has_brokers && device.silence(now) >= MOVE_ON && moved.elapsed() >= MOVE_ON {
                    moved = Instant::now();
                    link.move_on();
                }
                (
                    device.queue().epoch(),
                    device.take_weights(),
                    device.take_learner(),
                )
            };
            if let Some(arrived) = weights {
                self.prepare(arrived);
            }
            if let Some(learner) = learner {
                self.make_ready(epoch, |ready| ready.learner = Some(learner));
            }
            if synced.elapsed() >= SYNC_EVERY {
                self.sync();
                synced = Instant::now();
            }
        }
    }

    fn prepare(&self, arrived: ArrivedWeights) {
        let ArrivedWeights {
            epoch,
            sequence,
            weights,
            at,
        } = arrived;
        let begin = Instant::now();
        let codec = Codec::try_from(weights.codec).map_err(|error| error.to_string());
        let prepared = codec.and_then(|codec| {
            codec::from_wire(&weights.tensors, codec, &weights.sha256, self.largest)
                .map_err(|error| error.to_string())
        });
        self.make_ready(epoch, |ready| match prepared {
            Ok(numbers) => {
                ready.weights = Some(Prepared {
                    sequence,
                    weights: numbers,
                    arrived: self.origin + at,
                    prepare_s: begin.elapsed().as_secs_f64(),
                    queue_s: weights.queue_s,
                    train_s: weights.train_s,
                    server_j: server_joules(&weights),
                });
            }
            Err(why) => {
                tracing::warn!("weights of version {sequence} are not used: {why}");
                ready.bad_weights += 1;
            }
        });
    }

    /// Lays something ready that came in this epoch, unless another has begun meanwhile: what is of the old one must not
    /// come after [`Remote::begin_epoch`] has cleared it away. The epoch changes before that, so it is asked for under the
    /// lock that the clearing needs.
    fn make_ready(&self, epoch: u64, lay: impl FnOnce(&mut Ready)) {
        let mut ready = lock(&self.ready);
        let is_of_now = lock(&self.device).queue().epoch() == epoch;
        match is_of_now {
            true => lay(&mut ready),
            false => ready.other_epoch += 1,
        }
        drop(ready);
        self.changed.notify_all();
    }

    /// Without holding up the agent.
    fn sync(&self) {
        let file = lock(&self.device).to_sync();
        if let Some(Err(error)) = file.map(|file| file.sync_data()) {
            tracing::warn!("cannot bring the queue of experiences to the disk: {error}");
        }
    }
}

/// A number that is no energy, or of no known kind, is not told.
fn server_joules(weights: &wire::Weights) -> Option<(f64, Kind)> {
    let joules = weights
        .server_j
        .filter(|joules| joules.is_finite() && *joules >= 0.0)?;
    let kinds = [Kind::Measured, Kind::Modelled];
    let kind = kinds
        .into_iter()
        .find(|kind| kind.to_string() == weights.server_j_kind)?;
    Some((joules, kind))
}

fn take(device: &mut Device, event: Event, now: Duration) {
    match event {
        Event::Connected => device.connected(now),
        Event::Disconnected(problem) => {
            tracing::warn!("training: {problem}");
            device.disconnected();
        }
        Event::Trouble(problem) => tracing::warn!("training: {problem}"),
        Event::Message { topic, payload, .. } => device.receive(&topic, payload, now),
    }
}

fn publish(link: &Link, outgoing: &Outgoing) -> bool {
    let Outgoing {
        topic,
        payload,
        retain,
    } = outgoing;
    link.publish(topic.as_str(), payload.clone(), *retain).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::learn::{Tensor, Values};
    use crate::train::queue::Limits;
    use crate::train::topic::Pupil;
    use crate::train::wire::{self, Presence};
    use std::path::Path;

    fn remote(folder: &Path) -> Remote {
        let device = DeviceConfig {
            pupil: Pupil {
                device: "pi-1".parse().unwrap(),
                learner: "dqn".parse().unwrap(),
            },
            presence: Presence::default(),
            max_message: 4096,
            largest: 1 << 20,
            rests: false,
        };
        let queue = Queue::create(&folder.join("queue"), 5, 0, Limits::default()).unwrap();
        // Nobody listens there.
        let link = LinkConfig::new("mqtt://127.0.0.1:9".parse().unwrap(), "pi-1/dqn");
        Remote::start(link, device, queue, None).unwrap()
    }

    fn arrived(epoch: u64, sequence: u64) -> ArrivedWeights {
        let mut weights = Weights::default();
        let tensor = Tensor::new(vec![2], Values::F32(vec![1.0, 2.0]));
        weights.insert("layer".to_owned(), tensor.unwrap());
        let encoded = codec::to_wire(&weights, Codec::F32);
        ArrivedWeights {
            epoch,
            sequence,
            weights: wire::Weights {
                codec: Codec::F32 as i32,
                sha256: Bytes::copy_from_slice(&encoded.sha256),
                tensors: encoded.bytes,
                ..wire::Weights::default()
            },
            at: Duration::ZERO,
        }
    }

    #[test]
    fn weights_that_are_unpacked_while_another_epoch_begins_are_dropped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let remote = remote(folder.path());
        remote.shared.prepare(arrived(5, 0));
        assert_eq!(remote.take_weights().map(|w| w.sequence), Some(0));
        let base = WholeLearner {
            sequence: 7,
            bytes: Bytes::new(),
        };
        remote.begin_epoch(9, base.clone());
        remote.shared.prepare(arrived(5, 3));
        let lay = |epoch| {
            let learner = base.clone();
            remote
                .shared
                .make_ready(epoch, |ready| ready.learner = Some(learner));
        };
        lay(5);
        assert!(remote.take_weights().is_none() && remote.take_learner().is_none());
        assert_eq!(remote.counts().dropped.other_epoch, 2);
        remote.shared.prepare(arrived(9, 8));
        lay(9);
        assert!(remote.take_weights().is_some() && remote.take_learner().is_some());
    }
}
