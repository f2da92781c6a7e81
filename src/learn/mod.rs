//! Learners: act on a state, learn from a transition.
//!
//! ```text
//! features     state in physical units -> five normalised numbers; reward -> deviations
//! ac dqn linucb fixed                     one learner per file
//! mlp adam simd                           the native engine under ac and dqn
//! reference    the engine's arithmetic once more, slow and plain, to check against
//! checkpoint   a learner as a safetensors file, and back
//! environment  a toy device to try learners on
//! ```
//!
//! A new learner is one file that implements [`Learner`], a [`LearnerName`], a line in [`build`] and, if it has
//! settings, a field in [`Settings`].

pub mod ac;
pub mod adam;
pub mod checkpoint;
pub mod dqn;
pub mod environment;
mod error;
pub mod features;
pub mod fixed;
pub mod linucb;
pub mod mlp;
mod random;
pub mod reference;
mod settings;
mod simd;

pub use checkpoint::Checkpoint;
pub use error::LearnError;
pub use settings::Settings;

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

/// Something that decides where tasks run and may learn from what came of it.
///
/// After an error a learner is as it was before the call. The same learner, seed and calls give the same
/// decisions, to the bit on the same type of machine.
pub trait Learner: Send {
    /// Where the task of this state should run.
    fn decide(&mut self, state: &State) -> Result<Decision, LearnError>;

    /// One update from one transition.
    fn learn(&mut self, transition: &Transition) -> Result<(), LearnError>;

    /// Everything needed to go on from here.
    fn save(&self) -> Checkpoint;

    /// Goes on from a checkpoint of the same learner in the same size; the other settings stay as they are.
    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), LearnError>;

    /// What this learner is.
    fn describe(&self) -> Description;
}

/// The learners by name, as on the command line and in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearnerName {
    /// Actor-critic, the paper's.
    Ac,
    /// Deep Q-network, the paper's.
    Dqn,
    /// Linear bandit with an upper confidence bound.
    Linucb,
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
    /// What does its arithmetic.
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
            engine: "native",
            parameters,
            settings,
        }
    }
}

/// A fresh learner; `settings` of other learners are not looked at.
pub fn build(name: LearnerName, seed: u64, settings: &Settings) -> Result<Box<dyn Learner>, LearnError> {
    Ok(match name {
        LearnerName::Ac => Box::new(ac::ActorCritic::new(settings.ac.clone(), seed)?),
        LearnerName::Dqn => Box::new(dqn::Dqn::new(settings.dqn.clone(), seed)?),
        LearnerName::Linucb => Box::new(linucb::LinUcb::new(settings.linucb.clone(), seed)?),
        LearnerName::Local => Box::new(fixed::Fixed::always(Placement::Local)),
        LearnerName::Mec => Box::new(fixed::Fixed::always(Placement::Mec)),
        LearnerName::Cloud => Box::new(fixed::Fixed::always(Placement::Cloud)),
        LearnerName::Random => Box::new(fixed::Fixed::random(seed)),
    })
}

/// The learner a checkpoint was made of, with its settings, as it was.
pub fn restore(checkpoint: &Checkpoint) -> Result<Box<dyn Learner>, LearnError> {
    let header = checkpoint.header();
    let mut learner = build(header.learner, header.seed, &header.settings)?;
    learner.load(checkpoint)?;
    Ok(learner)
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
mod tests;
