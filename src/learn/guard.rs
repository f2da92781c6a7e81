//! Keeps a learner in bounds: numbers that are not finite are left out and counted, and a network that diverges is
//! noticed, and built anew where that is asked for.
//!
//! Rewards reach a network in deviations, limited to +-5, so its TD errors are of that size. A running mean of
//! |TD error| above [`ERROR_LIMIT`], or one that is not finite, says that its values have run away. A policy can run away
//! while its critic is well: logits further apart than [`SPREAD_LIMIT`] say so. And numbers that are not finite are
//! a divergence wherever they are: each learner looks at the few that an update passes by, and before a checkpoint
//! replaces the last one, all are looked at.

use super::checkpoint::REJECTED_STATES;
use super::{
    Checkpoint, Cost, Decision, Engine, LearnError, Learner, LearnerName, Placement, Settings, State,
    Transition, Weights,
};

/// Mean |TD error| beyond which a network counts as diverged, in deviations of the reward.
pub const ERROR_LIMIT: f64 = 100.0;

/// How far apart the logits of a policy may be. The least likely placement has a probability below e^-1000 there, which is
/// 0 in any precision: the policy cannot get out again. On the toy device the logits of `ac` and `stream-ac` are 35
/// apart at most within 20 000 tasks, with their defaults and with gamma 0.99.
pub const SPREAD_LIMIT: f32 = 1000.0;

/// The running mean in a checkpoint.
const MEAN_ERROR: &str = "guard.mean_error";

/// How often the learner was built anew, in a checkpoint.
const RESETS: &str = "guard.resets";

/// Weight of the newest error in the mean.
const ERROR_RATE: f64 = 0.05;

/// A learner and an eye on it.
pub struct Guard {
    learner: Box<dyn Learner>,
    mode: Mode,
    /// By and with what a diverged learner is built anew; `None`: it is only reported.
    rebuild: Option<(Engine, Settings, u64)>,
    /// Of |TD error|; finite, so that a checkpoint can hold it.
    mean_error: f64,
    counts: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Learns,
    /// There is nothing to learn, or it must not.
    Decides,
    /// Decides what it holds best, without a draw.
    Evaluates,
}

/// What went wrong with a learner in its life, that before it was restored included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// States that were refused; their tasks ran on the device.
    pub rejected_states: u64,
    /// Transitions that were refused and not learned from.
    pub rejected_transitions: u64,
    /// Times the learner diverged.
    pub divergences: u64,
    /// Times it was built anew for that.
    pub resets: u64,
}

impl Counts {
    /// All of them with their names in a checkpoint.
    fn by_name(&mut self) -> [(&'static str, &mut u64); 4] {
        [
            (REJECTED_STATES, &mut self.rejected_states),
            ("guard.rejected_transitions", &mut self.rejected_transitions),
            ("guard.divergences", &mut self.divergences),
            (RESETS, &mut self.resets),
        ]
    }
}

impl Guard {
    /// Watches a learner that learns, if it can.
    pub fn new(learner: Box<dyn Learner>) -> Self {
        let mode = match learner.describe().parameters {
            0 => Mode::Decides,
            _ => Mode::Learns,
        };
        Self {
            learner,
            mode,
            rebuild: None,
            mean_error: 0.0,
            counts: Counts::default(),
        }
    }

    /// Watches a learner that has learned nothing yet. If it diverges it is built anew, where `reset` says so.
    pub fn fresh(
        name: LearnerName,
        seed: u64,
        settings: &Settings,
        engine: Engine,
        reset: bool,
    ) -> Result<Self, LearnError> {
        let guard = Self::new(engine.build(name, seed, settings)?);
        Ok(match reset {
            true => guard.reset_on_divergence(engine, settings.clone(), seed),
            false => guard,
        })
    }

    /// Goes on from what [`Guard::save`] has saved, as if nothing had happened in between. A learner that was saved
    /// without a guard has one that has seen nothing yet.
    ///
    /// If it diverges it is built anew in the same engine, where `reset` says so.
    pub fn restore(checkpoint: &Checkpoint, engine: Engine, reset: bool) -> Result<Self, LearnError> {
        let mut guard = Self::new(engine.restore(checkpoint)?);
        if checkpoint.has(MEAN_ERROR) {
            guard.mean_error = checkpoint.f64s(MEAN_ERROR, &[1])?[0];
            for (name, count) in guard.counts.by_name() {
                *count = checkpoint.count(name)?;
            }
        }
        let header = checkpoint.header();
        let seed = Self::first_seed(checkpoint).unwrap_or(header.seed);
        Ok(match reset {
            true => guard.reset_on_divergence(engine, header.settings.clone(), seed),
            false => guard,
        })
    }

    /// The seed that the run of this checkpoint began with: each time a learner is built anew it gets another. `None` if it
    /// was saved without a guard.
    pub fn first_seed(checkpoint: &Checkpoint) -> Option<u64> {
        let resets = checkpoint.count(RESETS).ok()?;
        Some(checkpoint.header().seed.wrapping_sub(resets))
    }

    /// Everything needed to go on from here: the learner, how near it is to diverging, and what went wrong so far.
    pub fn save(&self) -> Checkpoint {
        let mut checkpoint = self.learner.save();
        checkpoint.put_f64(MEAN_ERROR, &[1], vec![self.mean_error]);
        for (name, count) in self.counts().by_name() {
            checkpoint.put_count(name, *count);
        }
        checkpoint
    }

    /// Builds the learner anew when it diverges, in this engine with these settings, and another seed each time:
    /// `seed` plus the number of times.
    pub fn reset_on_divergence(mut self, engine: Engine, settings: Settings, seed: u64) -> Self {
        self.rebuild = Some((engine, settings, seed));
        self
    }

    /// Neither explores nor learns.
    pub fn evaluating(mut self) -> Self {
        self.mode = Mode::Evaluates;
        self
    }

    /// Whether there is anything to learn.
    pub fn learns(&self) -> bool {
        self.mode == Mode::Learns
    }

    /// The learner.
    pub fn learner(&self) -> &dyn Learner {
        &*self.learner
    }

    /// The learner, from here on without an eye on it.
    pub fn into_learner(self) -> Box<dyn Learner> {
        self.learner
    }

    /// What the learner's decisions depend on.
    pub fn weights(&self) -> Weights {
        self.learner.weights()
    }

    /// The learner decides by these weights from here on; after an error nothing has changed.
    pub fn set_weights(&mut self, weights: &Weights) -> Result<(), LearnError> {
        self.learner.set_weights(weights)
    }

    /// What went wrong so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Where the task should run; on the device, and why, if the state cannot be used.
    pub fn decide(&mut self, state: &State) -> (Decision, Option<LearnError>) {
        let decided = match self.mode {
            Mode::Evaluates => self.learner.best(state).map(|placement| Decision {
                placement,
                explored: false,
            }),
            _ => self.learner.decide(state),
        };
        match decided {
            Ok(decision) => (decision, None),
            Err(error) => {
                self.counts.rejected_states += 1;
                let local = Decision {
                    placement: Placement::Local,
                    explored: false,
                };
                (local, Some(error))
            }
        }
    }

    /// One update. A transition that is refused changes nothing and is counted.
    pub fn learn(&mut self, transition: &Transition, cost: &Cost) -> Result<(), LearnError> {
        let learned = self.learner.learn_with_cost(transition, cost);
        match learned {
            Ok(()) => self.look_for_divergence(),
            Err(LearnError::Engine(_)) => {
                self.counts.rejected_transitions += 1;
                self.diverge();
            }
            Err(_) => self.counts.rejected_transitions += 1,
        }
        learned
    }

    /// Whether the learner has run away; its checkpoints are of no use.
    pub fn is_diverged(&self) -> bool {
        self.mean_error >= ERROR_LIMIT
    }

    /// Takes the learner for diverged, whatever its errors are.
    pub fn diverge(&mut self) {
        self.note(f64::MAX);
    }

    fn look_for_divergence(&mut self) {
        let error = match self.learner.is_lost() {
            true => Some(f64::MAX),
            false => self.learner.last_error(),
        };
        if let Some(error) = error {
            self.note(self.mean_error + ERROR_RATE * (error.abs() - self.mean_error));
        }
    }

    /// The mean of the errors is this now; one beyond the limit that was not before is a divergence.
    fn note(&mut self, mean_error: f64) {
        let was_diverged = self.is_diverged();
        self.mean_error = if mean_error.is_finite() {
            mean_error
        } else {
            f64::MAX
        };
        if was_diverged || !self.is_diverged() {
            return;
        }
        self.counts.divergences += 1;
        let name = self.learner.describe().name;
        match self.rebuilt() {
            Some(fresh) => {
                tracing::warn!("learner {name} diverged (its numbers grow without bound); it starts anew");
                self.learner = fresh;
                self.mean_error = 0.0;
                self.counts.resets += 1;
            }
            None => tracing::warn!(
                "learner {name} diverged: its numbers grow without bound, and its decisions mean nothing from here on. \
                 Lower its step size or gamma, or use --reset-on-divergence"
            ),
        }
    }

    /// A fresh learner; the settings were good once, so building it anew does not fail.
    fn rebuilt(&self) -> Option<Box<dyn Learner>> {
        let (engine, settings, seed) = self.rebuild.as_ref()?;
        let seed = seed.wrapping_add(self.counts.resets + 1);
        engine.build(self.learner.describe().name, seed, settings).ok()
    }
}

#[cfg(test)]
mod tests;
