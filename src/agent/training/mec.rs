//! Training on the MEC: experiences out, weights in, and the whole learner over and back.

use super::{Times, TrainingSite, Update};
use crate::agent::checkpoints::EXPERIENCES;
use crate::learn::guard::Guard;
use crate::learn::{Checkpoint, Cost, LearnError, Transition};
use crate::train::codec;
use crate::train::device::{Counts, Device, WholeLearner};
use crate::train::queue::{Entry, now_ms};
use crate::train::remote::{Prepared, Pushed, Remote};
use crate::train::wire::{Codec, Experience, Weights};
use bytes::Bytes;
use hwmeter_hw::meter::Meter;
use prost::Message as _;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A row waits for its update for no longer than this.
const ROW_PATIENCE: Duration = Duration::from_secs(2);
/// So many rows wait at most.
const MOST_ROWS: usize = 256;
/// At the end, a trainer that says nothing for so long is not waited for.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
/// And one that learns nothing, nor sends the learner, for no longer than this.
const LAST_PROGRESS: Duration = Duration::from_secs(60);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// Makes a learner of a checkpoint, or a fresh one as this run's was in the beginning.
pub type Restore = Box<dyn Fn(Option<&Checkpoint>) -> Result<Guard, LearnError>>;

/// How training on the MEC is done.
pub struct MecOptions {
    /// Uploads the device's weights before each experience and waits for the new ones, as the paper does.
    pub uploads_weights: bool,
    /// Every so many updates the agent waits, so that the joules of one can be told; 0: never.
    pub measure_every: u64,
    /// For so long at most.
    pub wait: Duration,
    /// How weights are written.
    pub codec: Codec,
    /// The trainer sends weights after so many updates.
    pub sync_every: u64,
    /// Where the learner is kept from which the experiences in the queue lead on.
    pub base_path: PathBuf,
    /// Makes learners.
    pub restore: Restore,
}

/// An experience whose weights are not in use yet.
struct OnItsWay {
    pushed: Pushed,
    /// Its row waits for it.
    has_row: bool,
}

/// Training on the MEC.
pub struct MecSite {
    remote: Remote,
    options: MecOptions,
    on_its_way: VecDeque<OnItsWay>,
    finished: Vec<Update>,
    since_measured: u64,
    refused_weights: u64,
    is_used: bool,
    is_asked_back: bool,
}

impl MecSite {
    /// Through this connection.
    pub fn new(remote: Remote, options: MecOptions) -> Self {
        Self {
            remote,
            since_measured: options.measure_every,
            options,
            on_its_way: VecDeque::new(),
            finished: Vec::new(),
            refused_weights: 0,
            is_used: false,
            is_asked_back: false,
        }
    }

    /// The newest experience.
    pub fn last(&self) -> u64 {
        self.remote.read(Device::last)
    }

    /// Whether anything was sent to train on.
    pub fn is_used(&self) -> bool {
        self.is_used
    }

    /// Figures of the connection.
    pub fn counts(&self) -> Counts {
        let mut counts = self.remote.counts();
        counts.dropped.bad_weights += self.refused_weights;
        counts
    }

    /// How weights are written.
    pub fn codec(&self) -> &'static str {
        match self.options.codec {
            Codec::F32 => "f32",
            Codec::F16 => "f16",
            Codec::F32Zstd => "f32-zstd",
        }
    }

    /// Whether something was waited for in vain for so long.
    pub fn is_silent(&self, bound: Duration) -> bool {
        self.remote.silence() > bound
    }

    /// What has become of experiences since the last call.
    pub fn take_finished(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.finished)
    }

    /// Takes leave of the trainer.
    pub fn stop(self) {
        self.remote.stop();
    }

    /// Sends an experience. When the energy of an update is to be told, or the paper's way is gone, waits for its weights
    /// with nothing else running. `None`: it is lost.
    pub fn send(
        &mut self,
        task: u64,
        learner: &mut Guard,
        transition: &Transition,
        cost: &Cost,
        meter: &Meter,
    ) -> Option<u64> {
        self.is_used = true;
        let experience = Experience::of(transition, cost);
        let waits = self.is_to_be_waited_for();
        let span = waits.then(|| meter.span("train"));
        let weights = self.options.uploads_weights.then(|| self.encode(learner));
        let pushed = self.remote.push(task, &experience, weights)?;
        let sequence = pushed.sequence;
        self.on_its_way.push_back(OnItsWay {
            pushed,
            has_row: true,
        });
        if waits
            && self
                .remote
                .wait_for_weights(sequence, Instant::now() + self.options.wait)
        {
            self.since_measured = 0;
            self.swap_in(learner);
            let newest = self.finished.last_mut();
            if let Some(update) = newest.filter(|update| update.sequence == sequence) {
                update.span = span.map(|span| span.end());
            }
        }
        Some(sequence)
    }

    /// Swaps in what has come; rows that waited for too long are let go.
    pub fn poll(&mut self, learner: &mut Guard, is_in_use: bool) {
        if is_in_use {
            self.swap_in(learner);
        }
        let too_many = self.on_its_way.len().saturating_sub(MOST_ROWS);
        for (i, late) in self.on_its_way.iter_mut().enumerate() {
            late.has_row &= i >= too_many && late.pushed.begin.elapsed() < ROW_PATIENCE;
        }
        self.keep_base();
    }

    /// Whether the row of this experience should wait for its update.
    pub fn awaits(&self, sequence: u64) -> bool {
        let awaited = self.on_its_way.iter().find(|o| o.pushed.sequence == sequence);
        awaited.is_some_and(|o| o.has_row)
    }

    /// Training goes over to the MEC, with the whole learner after `count` experiences.
    pub fn take_over(&mut self, learner: &Guard, count: u64) -> bool {
        let base = match whole(learner, count) {
            Ok(base) => base,
            Err(error) => {
                tracing::warn!("the learner cannot go to the MEC: {error}");
                return false;
            }
        };
        self.write_base(&base);
        self.remote.begin_epoch(now_ms(), base);
        true
    }

    /// Asks for the whole learner.
    pub fn ask_back(&mut self) {
        self.is_asked_back = true;
        self.remote.with(|device, now| device.fetch(device.last(), now));
    }

    /// Takes the learner that was asked for, if it has come, and learns here what it has not learned there.
    pub fn take_back(&mut self, learner: &mut Guard) -> bool {
        let Some(whole) = self.remote.take_learner() else {
            return false;
        };
        if let Err(error) = self.install(learner, Some(&whole)) {
            tracing::warn!("the trainer's learner is of no use: {error}");
            self.rebuild(learner);
        }
        self.rest();
        true
    }

    /// Makes the learner anew: the one that the epoch began with, and the experiences since.
    pub fn rebuild(&mut self, learner: &mut Guard) {
        self.rest();
        let base = self.remote.read(|device| device.base().cloned());
        if let Err(error) = self.install(learner, base.as_ref()) {
            tracing::warn!("the learner goes on with the last weights that came: {error}");
        }
    }

    /// At the end: the whole learner, from the trainer if it answers.
    pub fn bring_back(&mut self, learner: &mut Guard) {
        self.ask_back();
        let (mut learned, mut since) = (0, Instant::now());
        while !self.remote.wait_for_learner(Instant::now() + LOOK) {
            // Weights on the way say when updates were in use.
            self.swap_in(learner);
            let now = self.remote.read(Device::learned);
            if now > learned {
                (learned, since) = (now, Instant::now());
            }
            // One that answers and gets nowhere is no better than one that does not answer.
            if self.is_silent(LAST_PATIENCE) || since.elapsed() > LAST_PROGRESS {
                tracing::warn!("the trainer gets no further: what it has not learned from is learned here");
                return self.rebuild(learner);
            }
        }
        self.swap_in(learner);
        self.take_back(learner);
    }

    /// The agent waits for the first update in a row whose weights come by themselves.
    fn is_to_be_waited_for(&mut self) -> bool {
        if self.options.uploads_weights {
            return true;
        }
        self.since_measured += 1;
        let (measure_every, sync_every) = (self.options.measure_every, self.options.sync_every.max(1));
        let is_due = measure_every > 0 && self.since_measured >= measure_every;
        // The device is asked last: this is done for every experience.
        is_due
            && (self.on_its_way.len() as u64) < sync_every
            && self.remote.read(|device| {
                let of_epoch = device.last() + 1 - device.queue().base();
                of_epoch.is_multiple_of(sync_every)
            })
    }

    fn encode(&self, learner: &Guard) -> Bytes {
        let encoded = codec::to_wire(&learner.weights(), self.options.codec);
        let message = Weights {
            codec: self.options.codec as i32,
            sha256: Bytes::copy_from_slice(&encoded.sha256),
            tensors: encoded.bytes,
            ..Weights::default()
        };
        message.encode_to_vec().into()
    }

    fn swap_in(&mut self, learner: &mut Guard) {
        let Some(prepared) = self.remote.take_weights() else {
            return;
        };
        let begin = Instant::now();
        if let Err(error) = learner.set_weights(&prepared.weights) {
            tracing::warn!("weights of version {} are not used: {error}", prepared.sequence);
            self.refused_weights += 1;
            return;
        }
        let apply_s = prepared.prepare_s + begin.elapsed().as_secs_f64();
        self.finish_up_to(prepared.sequence, |pushed| times(pushed, &prepared, apply_s));
    }

    fn finish_up_to(&mut self, sequence: u64, times: impl Fn(&Pushed) -> Times) {
        while let Some(done) = self.on_its_way.pop_front_if(|o| o.pushed.sequence <= sequence) {
            self.finished.push(Update {
                sequence: done.pushed.sequence,
                site: TrainingSite::Mec,
                times: times(&done.pushed),
                span: None,
            });
        }
    }

    /// Puts a whole learner in the place of the one at hand, which keeps deciding as it would have, and learns from the
    /// experiences after it.
    fn install(&mut self, learner: &mut Guard, whole: Option<&WholeLearner>) -> Result<(), LearnError> {
        let from = whole.map_or(0, |whole| whole.sequence);
        self.finish_up_to(from, |_| Times::default());
        let before = self.remote.read(|device| device.queue().before());
        let entries = self.remote.experiences_after(from);
        let mut learned = Vec::new();
        rebuilt(
            learner,
            &self.options.restore,
            whole,
            before,
            entries.iter(),
            |sequence, train_s| {
                learned.push((sequence, train_s));
            },
        )?;
        for (sequence, train_s) in learned {
            self.finish_here(sequence, Some(train_s));
        }
        Ok(())
    }

    fn rest(&mut self) {
        self.is_asked_back = false;
        self.remote.with(|device, _| device.rest());
    }

    fn finish_here(&mut self, sequence: u64, train_s: Option<f64>) {
        if self
            .on_its_way
            .pop_front_if(|o| o.pushed.sequence == sequence)
            .is_some()
        {
            self.finished.push(Update {
                sequence,
                site: TrainingSite::Local,
                times: Times {
                    train_s,
                    ..Times::default()
                },
                span: None,
            });
        }
    }

    /// A queue that fills up asks for the learner so that it can forget what that one has learned from.
    fn keep_base(&mut self) {
        if self.is_asked_back {
            return;
        }
        if let Some(whole) = self.remote.take_learner() {
            match with_number(&whole) {
                // Without its file a killed run could not go on from it: then nothing may be forgotten yet.
                Ok(base) if self.write_base(&base) => {
                    self.remote.with(|device, _| device.set_base(base));
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("the trainer's learner is of no use: {error}"),
            }
        }
        if self.remote.read(Device::wants_base) {
            self.remote
                .with(|device, now| device.fetch(device.learned(), now));
        }
    }

    /// Whether it is on the disk.
    fn write_base(&self, base: &WholeLearner) -> bool {
        let written = write_base(base, &self.options.base_path);
        written.inspect_err(|error| tracing::warn!("{error}")).is_ok()
    }
}

/// Keeps the learner from which the experiences in the queue lead on: one of [`whole`], which has its number in it.
pub fn write_base(base: &WholeLearner, path: &Path) -> Result<(), LearnError> {
    Checkpoint::write_bytes(&base.bytes, path)
}

/// Puts a whole learner (`None`: a fresh one) in the place of the one at hand, which keeps deciding as it would have, and
/// learns from the experiences after it; `before` is the one before the oldest that is still there. Each
/// update's seconds are told.
pub fn rebuilt<'a>(
    learner: &mut Guard,
    restore: &Restore,
    whole: Option<&WholeLearner>,
    before: u64,
    entries: impl Iterator<Item = &'a Entry>,
    mut tell: impl FnMut(u64, f64),
) -> Result<(), LearnError> {
    let own = learner.save();
    let (checkpoint, from) = match whole {
        Some(whole) => (
            Checkpoint::from_bytes(&whole.bytes, "of the whole learner".to_owned())?,
            whole.sequence,
        ),
        None => (restore(None)?.save(), 0),
    };
    checkpoint.expect(own.header().learner, &own.header().variant)?;
    if before > from {
        let first = from + 1;
        return Err(checkpoint.error(format!("experiences {first} to {before} are not here any more")));
    }
    let mut fresh = restore(Some(&checkpoint.with_decisions_of(&own)))?;
    for entry in entries {
        let begin = Instant::now();
        if let Ok((transition, cost)) = entry.experience().taken() {
            // What is refused is counted, as the trainer would have.
            let _ = fresh.learn(&transition, &cost);
        }
        tell(entry.sequence, begin.elapsed().as_secs_f64());
    }
    *learner = fresh;
    Ok(())
}

/// The whole learner, and how many experiences it has seen.
pub fn whole(learner: &Guard, count: u64) -> Result<WholeLearner, LearnError> {
    numbered(learner.save(), count)
}

/// A learner of the trainer, which has no number in it.
fn with_number(whole: &WholeLearner) -> Result<WholeLearner, LearnError> {
    let checkpoint = Checkpoint::from_bytes(&whole.bytes, "of the trainer's learner".to_owned())?;
    numbered(checkpoint, whole.sequence)
}

fn numbered(mut checkpoint: Checkpoint, sequence: u64) -> Result<WholeLearner, LearnError> {
    checkpoint.put_count(EXPERIENCES, sequence);
    Ok(WholeLearner {
        sequence,
        bytes: checkpoint.to_bytes()?.into(),
    })
}

/// What is known of the parts belongs to the version's own experience, not to those before it that it covers too; joules
/// are the mean of all of them.
fn times(pushed: &Pushed, prepared: &Prepared, apply_s: f64) -> Times {
    let until_here = prepared
        .arrived
        .saturating_duration_since(pushed.begin)
        .as_secs_f64();
    let own = pushed.sequence == prepared.sequence;
    let server_s = prepared.queue_s + prepared.train_s;
    Times {
        train_s: Some(until_here + apply_s),
        send_s: Some(pushed.send_s),
        server_s: own.then_some(server_s),
        receive_s: own.then_some(until_here - pushed.send_s - server_s),
        apply_s: own.then_some(apply_s),
        server_j: prepared.server_j,
    }
}
