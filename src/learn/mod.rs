//! Learners: act on a state, learn from a transition.
//!
//! ```text
//! features     state in physical units -> five normalised numbers; reward -> deviations
//! ac dqn stream_q stream_ac linucb d_linucb greedy fixed     one learner per file
//! network      what ac and dqn need of a network; engine: whose arithmetic it is
//! mlp optimiser adam sgd simd             the native engine
//! torch        the torch engine (cargo feature `torch`)
//! memory       what every network learner keeps beside its networks
//! replay       past transitions, for a dqn that is told to keep some
//! stream_net   the network of stream_q and stream_ac
//! reference    the engine's arithmetic once more, slow and plain, to check against
//! checkpoint   a learner as a safetensors file, and back
//! weights      what of a learner its decisions depend on; tensor: some numbers with a shape
//! config       settings from a TOML file and the command line
//! guard        numbers that are not finite, and networks that diverge
//! environment  a toy device to try learners on
//! bench        seconds and joules of decisions and updates
//! compare      all learners on it, beside the oracle
//! ```
//!
//! A new learner is one file that implements [`Learner`], a [`LearnerName`], a line in [`build`] and, if it has
//! settings, a field in [`Settings`].

pub mod ac;
pub mod adam;
pub mod bench;
pub mod checkpoint;
pub mod compare;
pub mod config;
pub mod d_linucb;
pub mod dqn;
pub mod engine;
pub mod environment;
mod error;
pub mod features;
pub mod fixed;
pub mod greedy;
pub mod guard;
pub mod linucb;
mod memory;
pub mod mlp;
pub mod network;
pub mod optimiser;
pub(crate) mod random;
pub mod reference;
mod replay;
mod settings;
mod sgd;
mod simd;
pub mod stream_ac;
mod stream_net;
pub mod stream_q;
mod tensor;
#[cfg(feature = "torch")]
pub mod torch;
mod weights;

pub use checkpoint::Checkpoint;
pub use engine::Engine;
pub use error::LearnError;
pub use settings::Settings;
pub use tensor::{Tensor, Values};
pub use weights::Weights;

use serde::{Deserialize, Serialize};

/// Where a task runs. The discriminants are the action numbers of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// On the device itself.
    Local = 0,
    /// On the MEC server at the edge.
    Mec = 1,
    /// On the cloud server.
    Cloud = 2,
}

/// What the agent observes before it decides: the paper's five values, in physical units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Free share of the device's CPU, 0 to 1.
    pub device_free: f64,
    /// Free share of the MEC server's CPU, 0 to 1.
    pub mec_free: f64,
    /// Throughput of the link in bits per second.
    pub throughput_bps: f64,
    /// Computing size of the task in CPU cycles.
    pub cycles: f64,
    /// Latency limit of the task in seconds.
    pub deadline_s: f64,
}

impl Placement {
    /// All placements, by action number.
    pub const ALL: [Self; 3] = [Self::Local, Self::Mec, Self::Cloud];
}

/// What a learner answers to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the task should run.
    pub placement: Placement,
    /// Whether this is not what the learner holds best, but was taken to learn about it.
    pub explored: bool,
}

/// One experience.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// What was observed.
    pub state: State,
    /// Where the task ran.
    pub placement: Placement,
    /// What it brought, in joules: minus the energy, or minus the penalty.
    pub reward: f64,
    /// What was observed next.
    pub next_state: State,
}

/// What a task really took, for learners that predict it. The others need only the reward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The device's energy from arrival to result, in joules.
    pub energy_j: f64,
    /// Seconds from arrival to result, or to giving up at the deadline.
    pub latency_s: f64,
    /// Whether the deadline was met.
    pub in_time: bool,
}

impl Cost {
    /// NaN and infinities are errors.
    fn check(&self) -> Result<(), LearnError> {
        for (what, value) in [("energy_j", self.energy_j), ("latency_s", self.latency_s)] {
            if !value.is_finite() {
                return Err(LearnError::NotFinite { what, value });
            }
        }
        Ok(())
    }
}

/// Something that decides where tasks run and may learn from what came of it.
///
/// After an error a learner is as it was before the call, but for [`LearnError::Engine`]: a device that has failed in
/// the middle of an update takes the learner with it, and the last checkpoint is what is left. The same learner, seed
/// and calls give the same decisions, to the bit on the same type of machine. What it learns depends on its seed and on
/// the transitions alone, not on what it was asked to decide in between: it may be trained elsewhere.
pub trait Learner: Send {
    /// Where the task of this state should run.
    fn decide(&mut self, state: &State) -> Result<Decision, LearnError>;

    /// The placement held best: nothing is explored, drawn or changed.
    fn best(&mut self, state: &State) -> Result<Placement, LearnError>;

    /// One update from one transition.
    fn learn(&mut self, transition: &Transition) -> Result<(), LearnError>;

    /// One update from one transition of which the cost is known too; most learners need only the reward.
    fn learn_with_cost(&mut self, transition: &Transition, cost: &Cost) -> Result<(), LearnError> {
        cost.check()?;
        self.learn(transition)
    }

    /// The last update's TD error in deviations of the reward, by which [`guard`] tells whether a network diverges.
    /// `None` before the first update, and for learners that cannot diverge.
    fn last_error(&self) -> Option<f64> {
        None
    }

    /// Whether the last update has left it of no use in a way that its errors do not show: its numbers are not finite,
    /// or its policy has run away ([`guard::SPREAD_LIMIT`]). [`guard`] takes it for diverged.
    fn is_lost(&self) -> bool {
        false
    }

    /// Everything needed to go on from here.
    fn save(&self) -> Checkpoint;

    /// Goes on from a checkpoint of the same learner in the same size; the other settings stay as they are.
    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), LearnError>;

    /// What decisions depend on, without what is needed to learn on.
    fn weights(&self) -> Weights;

    /// Decides by these weights from here on: those of the same learner in the same size. The optimiser, traces, kept
    /// transitions and generators stay as they are. What does not fit, or is not finite, is an error.
    fn set_weights(&mut self, weights: &Weights) -> Result<(), LearnError>;

    /// What this learner is.
    fn describe(&self) -> Description;
}

/// The learners by name, as on the command line and in files.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum LearnerName {
    /// Actor-critic, the paper's.
    Ac,
    /// Deep Q-network, the paper's.
    Dqn,
    /// Q-network by bounded steps along traces, without a learning rate.
    StreamQ,
    /// Actor-critic by bounded steps along traces, without a learning rate.
    StreamAc,
    /// Linear bandit with an upper confidence bound.
    Linucb,
    /// Linear bandit that forgets.
    DLinucb,
    /// The least predicted energy among what is predicted to be in time.
    Greedy,
    /// Always on the device.
    Local,
    /// Always on the MEC server.
    Mec,
    /// Always on the cloud server.
    Cloud,
    /// A uniform draw.
    Random,
}

impl std::fmt::Display for LearnerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            clap::ValueEnum::to_possible_value(self)
                .as_ref()
                .map_or("", |value| value.get_name()),
        )
    }
}

/// What a learner is, for people and for `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Its name.
    pub name: LearnerName,
    /// Its size, such as `4x256`.
    pub variant: String,
    /// What does its arithmetic: `native`, `torch (cpu)` or `torch (cuda:0)`.
    pub engine: &'static str,
    /// How many numbers it learns.
    pub parameters: usize,
    /// Its settings by name.
    pub settings: Vec<(String, serde_json::Value)>,
}

impl Description {
    /// A description of a learner of the native engine, with the fields of `config` as settings.
    fn new(
        name: LearnerName,
        variant: impl Into<String>,
        parameters: usize,
        config: &impl Serialize,
    ) -> Self {
        let settings = match serde_json::to_value(config) {
            Ok(serde_json::Value::Object(fields)) => fields.into_iter().collect(),
            _ => Vec::new(),
        };
        Self {
            name,
            variant: variant.into(),
            engine: engine::NATIVE,
            parameters,
            settings,
        }
    }

    fn of_engine(self, engine: &'static str) -> Self {
        Self { engine, ..self }
    }
}

/// A fresh learner of the native engine; `settings` of other learners are not looked at.
pub fn build(name: LearnerName, seed: u64, settings: &Settings) -> Result<Box<dyn Learner>, LearnError> {
    Ok(match name {
        LearnerName::Ac => Box::new(ac::ActorCritic::new(settings.ac.clone(), seed)?),
        LearnerName::Dqn => Box::new(dqn::Dqn::new(settings.dqn.clone(), seed)?),
        LearnerName::StreamQ => Box::new(stream_q::StreamQ::new(settings.stream_q.clone(), seed)?),
        LearnerName::StreamAc => Box::new(stream_ac::StreamAc::new(settings.stream_ac.clone(), seed)?),
        LearnerName::Linucb => Box::new(linucb::LinUcb::new(settings.linucb.clone(), seed)?),
        LearnerName::DLinucb => Box::new(d_linucb::DLinUcb::new(settings.d_linucb.clone(), seed)?),
        LearnerName::Greedy => Box::new(greedy::Greedy::new(settings.greedy.clone(), seed)?),
        LearnerName::Local => Box::new(fixed::Fixed::always(Placement::Local)),
        LearnerName::Mec => Box::new(fixed::Fixed::always(Placement::Mec)),
        LearnerName::Cloud => Box::new(fixed::Fixed::always(Placement::Cloud)),
        LearnerName::Random => Box::new(fixed::Fixed::random(seed)),
    })
}

/// The learner a checkpoint was made of, with its settings, as it was, in the native engine.
pub fn restore(checkpoint: &Checkpoint) -> Result<Box<dyn Learner>, LearnError> {
    Engine::Native.restore(checkpoint)
}

/// The placement with the highest value; the first of equals.
fn best(values: &[f32]) -> Placement {
    let mut best = 0;
    for (i, value) in values.iter().enumerate().take(Placement::ALL.len()) {
        if *value > values[best] {
            best = i;
        }
    }
    Placement::ALL[best]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::needless_range_loop)] // the indices also pick the weight that is moved
mod stream_reference;
#[cfg(test)]
pub(crate) mod tests;
