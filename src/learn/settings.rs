//! The settings of all learners in one place, and the checks they share.

use super::error::LearnError;
use super::features::FEATURES;
use super::{ac, d_linucb, dqn, greedy, linucb, stream_ac, stream_q};
use serde::{Deserialize, Serialize};

/// What learners are built with; a learner looks only at its own part. Missing fields take their defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Actor-critic.
    pub ac: ac::Config,
    /// Deep Q-network.
    pub dqn: dqn::Config,
    /// Streaming Q-network.
    pub stream_q: stream_q::Config,
    /// Streaming actor-critic.
    pub stream_ac: stream_ac::Config,
    /// Linear bandit.
    pub linucb: linucb::Config,
    /// Linear bandit that forgets.
    pub d_linucb: d_linucb::Config,
    /// The rule by running averages.
    pub greedy: greedy::Config,
}

impl Settings {
    /// Whether each learner can be built with its part.
    pub fn check(&self) -> Result<(), LearnError> {
        self.ac.check()?;
        self.dqn.check()?;
        self.stream_q.check()?;
        self.stream_ac.check()?;
        self.linucb.check()?;
        self.d_linucb.check()?;
        self.greedy.check()
    }

    /// The defaults, but `ac` as the group of the reference system has published it ([`ac::Config::published`]).
    pub fn published() -> Self {
        Self {
            ac: ac::Config::published(),
            ..Self::default()
        }
    }
}

/// Largest number of layers and of weights accepted: beyond, it is a typing error or a damaged file, and
/// building it might take the memory of the machine.
const MAX_LAYERS: usize = 16;
const MAX_WEIGHTS: usize = 20_000_000;

/// Checks of one learner's settings; errors name the learner and the setting.
pub(crate) struct Check {
    pub learner: &'static str,
}

impl Check {
    pub fn hidden(&self, hidden: &[usize]) -> Result<(), LearnError> {
        let weights: f64 = hidden
            .windows(2)
            .map(|pair| pair[0] as f64 * pair[1] as f64)
            .sum();
        let widest = hidden.iter().copied().max().unwrap_or(0);
        let size_ok = weights <= MAX_WEIGHTS as f64 && widest <= MAX_WEIGHTS / 100;
        let ok = (1..=MAX_LAYERS).contains(&hidden.len()) && !hidden.contains(&0) && size_ok;
        self.that(
            ok,
            "hidden",
            format!("{hidden:?}"),
            "1 to 16 layers, none empty, of at most 20 million weights",
        )
    }

    pub fn positive(&self, setting: &'static str, value: f64) -> Result<(), LearnError> {
        self.that(
            value > 0.0 && value <= 1e6,
            setting,
            value.to_string(),
            "above 0 and at most 1e6",
        )
    }

    pub fn between(
        &self,
        setting: &'static str,
        value: f64,
        least: f64,
        most: f64,
    ) -> Result<(), LearnError> {
        self.that(
            (least..=most).contains(&value),
            setting,
            format!("{value:e}"),
            format!("{least:e} to {most:e}"),
        )
    }

    pub fn not_negative(&self, setting: &'static str, value: f64) -> Result<(), LearnError> {
        self.that(
            (0.0..=1e6).contains(&value),
            setting,
            value.to_string(),
            "0 to 1e6",
        )
    }

    pub fn share(&self, setting: &'static str, value: f64) -> Result<(), LearnError> {
        self.that((0.0..=1.0).contains(&value), setting, value.to_string(), "0 to 1")
    }

    pub fn below_one(&self, setting: &'static str, value: f64) -> Result<(), LearnError> {
        // Networks have it in single precision, where what is just below 1 is 1.
        self.that(
            (0.0..1.0).contains(&value) && (value as f32) < 1.0,
            setting,
            value.to_string(),
            "0 or more, and below 1 by 1e-7 at least",
        )
    }

    pub fn at_most(&self, setting: &'static str, value: u64, limit: u64) -> Result<(), LearnError> {
        self.that(
            value <= limit,
            setting,
            value.to_string(),
            format!("0 to {limit}"),
        )
    }

    fn that(
        &self,
        ok: bool,
        setting: &'static str,
        value: String,
        expected: impl Into<String>,
    ) -> Result<(), LearnError> {
        if ok {
            Ok(())
        } else {
            Err(LearnError::Setting {
                learner: self.learner,
                setting,
                value,
                expected: expected.into(),
            })
        }
    }
}

/// A setting that goes from `start` to `end` in a straight line over `tasks` updates, and stays there.
pub(crate) fn falling(start: f64, end: f64, tasks: u64, updates: u64) -> f64 {
    let progress = (updates as f64 / tasks.max(1) as f64).min(1.0);
    start + (end - start) * progress
}

/// Inputs, hidden layers and outputs of a network on the features of a state.
pub(crate) fn sizes(hidden: &[usize], outputs: usize) -> Vec<usize> {
    std::iter::once(FEATURES)
        .chain(hidden.iter().copied())
        .chain(std::iter::once(outputs))
        .collect()
}

/// Hidden layers in short: `4x256`, or `64-32` where they differ.
pub(crate) fn variant(hidden: &[usize]) -> String {
    match hidden {
        [first, rest @ ..] if rest.iter().all(|n| n == first) => format!("{}x{first}", hidden.len()),
        _ => hidden.iter().map(usize::to_string).collect::<Vec<_>>().join("-"),
    }
}
