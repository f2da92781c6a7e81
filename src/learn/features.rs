//! From physical units to numbers a learner can work with.
//!
//! A state becomes five features: the two free shares as they are, and the natural logarithms of throughput,
//! cycles and deadline, which span decades. Each is then centred and scaled, z = (x - mean) / deviation, and
//! limited to +-5. [`fixed`] takes mean and deviation from [`PRIOR`]; [`StateNormaliser`] keeps running ones
//! (Welford's) that start from the prior as if it had been seen [`PRIOR_WEIGHT`] times, so the very first state
//! already has sensible features and a change of regime does not throw them about. Rewards are centred and
//! scaled likewise, without a prior: their size depends on the board.

use super::checkpoint::Checkpoint;
use super::error::LearnError;
use super::weights::{Reader, Weights, misfit};
use super::{State, Transition};

/// How many features a state has.
pub const FEATURES: usize = 5;

/// Mean and deviation assumed of each feature before anything is seen: half the CPUs free, 50 Mbit/s,
/// 2e8 cycles and half a second, each within a factor of four or so.
pub const PRIOR: [(f64, f64); FEATURES] = [(0.5, 0.3), (0.5, 0.3), (17.7, 1.5), (19.1, 1.5), (-0.7, 1.5)];

/// How many observations the prior counts for. On the toy device 200 did better than 10 or 50 (AC and DQN).
pub const PRIOR_WEIGHT: f64 = 200.0;

/// Features beyond this many deviations are cut.
const LIMIT: f64 = 5.0;

/// Rewards beyond this many joules are cut, so that no square overflows.
const REWARD_LIMIT: f64 = 1e12;

/// Names of the running statistics in checkpoints and weights.
const STATES: &str = "normaliser.state";
const REWARDS: &str = "normaliser.reward";

fn no_statistics(name: &str) -> String {
    format!("{name} is not a mean and variance")
}

/// The features of a state before normalisation; absurd values are limited, NaN and infinities are errors.
pub fn raw(state: &State) -> Result<[f64; FEATURES], LearnError> {
    let finite = |what, value: f64| match value.is_finite() {
        true => Ok(value),
        false => Err(LearnError::NotFinite { what, value }),
    };
    Ok([
        finite("device_free", state.device_free)?.clamp(0.0, 1.0),
        finite("mec_free", state.mec_free)?.clamp(0.0, 1.0),
        finite("throughput_bps", state.throughput_bps)?
            .clamp(1.0, 1e13)
            .ln(),
        finite("cycles", state.cycles)?.clamp(1.0, 1e18).ln(),
        finite("deadline_s", state.deadline_s)?.clamp(1e-6, 1e6).ln(),
    ])
}

/// Features centred and scaled by [`PRIOR`], the same for ever.
pub fn fixed(raw: &[f64; FEATURES]) -> [f64; FEATURES] {
    std::array::from_fn(|i| ((raw[i] - PRIOR[i].0) / PRIOR[i].1).clamp(-LIMIT, LIMIT))
}

/// The numbers of a transition, checked: raw features before, reward in joules, raw features after.
pub fn check(transition: &Transition) -> Result<([f64; FEATURES], f64, [f64; FEATURES]), LearnError> {
    let (before, after) = (raw(&transition.state)?, raw(&transition.next_state)?);
    let value = transition.reward;
    if !value.is_finite() {
        return Err(LearnError::NotFinite {
            what: "reward",
            value,
        });
    }
    Ok((before, value.clamp(-REWARD_LIMIT, REWARD_LIMIT), after))
}

/// Mean and variance of a stream of numbers (Welford, 1962).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Running {
    count: f64,
    mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

impl Running {
    fn observe(&mut self, x: f64) {
        self.count += 1.0;
        let before = x - self.mean;
        self.mean += before / self.count;
        self.squares += before * (x - self.mean);
    }

    fn deviation(&self) -> f64 {
        if self.count > 0.0 {
            (self.squares / self.count).sqrt()
        } else {
            0.0
        }
    }

    /// (x - mean) / deviation; 0 while there is no deviation.
    fn normalise(&self, x: f64) -> f64 {
        let deviation = self.deviation();
        if deviation > 0.0 {
            (x - self.mean) / deviation
        } else {
            0.0
        }
    }

    fn values(&self) -> [f64; 3] {
        [self.count, self.mean, self.squares]
    }

    fn from_values(values: &[f64]) -> Option<Self> {
        match *values {
            [count, mean, squares] if count >= 0.0 && squares >= 0.0 => Some(Self { count, mean, squares }),
            _ => None,
        }
    }
}

/// Centres and scales the features of states.
#[derive(Clone, Debug, PartialEq)]
pub struct StateNormaliser([Running; FEATURES]);

impl Default for StateNormaliser {
    fn default() -> Self {
        Self(PRIOR.map(|(mean, deviation)| Running {
            count: PRIOR_WEIGHT,
            mean,
            squares: PRIOR_WEIGHT * deviation * deviation,
        }))
    }
}

impl StateNormaliser {
    /// Takes raw features into the running statistics.
    pub fn observe(&mut self, raw: &[f64; FEATURES]) {
        for (running, x) in self.0.iter_mut().zip(raw) {
            running.observe(*x);
        }
    }

    /// Features with mean about 0 and deviation about 1.
    pub fn apply(&self, raw: &[f64; FEATURES]) -> [f64; FEATURES] {
        std::array::from_fn(|i| self.0[i].normalise(raw[i]).clamp(-LIMIT, LIMIT))
    }

    /// [`StateNormaliser::apply`] in single precision.
    pub fn apply_f32(&self, raw: &[f64; FEATURES]) -> [f32; FEATURES] {
        self.apply(raw).map(|x| x as f32)
    }

    pub(crate) fn save(&self, checkpoint: &mut Checkpoint) {
        checkpoint.put_f64(STATES, &[FEATURES, 3], self.values());
    }

    pub(crate) fn load(checkpoint: &Checkpoint) -> Result<Self, LearnError> {
        let found = Self::from_values(checkpoint.f64s(STATES, &[FEATURES, 3])?);
        found.ok_or_else(|| checkpoint.error(no_statistics(STATES)))
    }

    pub(super) fn put(&self, weights: &mut Weights) {
        weights.put_f64(STATES, &[FEATURES, 3], self.values());
    }

    pub(super) fn find(weights: &mut Reader<'_>) -> Result<Self, LearnError> {
        let found = Self::from_values(weights.f64s(STATES, &[FEATURES, 3])?);
        found.ok_or_else(|| misfit(no_statistics(STATES)))
    }

    fn values(&self) -> Vec<f64> {
        self.0.iter().flat_map(Running::values).collect()
    }

    fn from_values(values: &[f64]) -> Option<Self> {
        let mut all = Self::default();
        for (running, values) in all.0.iter_mut().zip(values.chunks_exact(3)) {
            *running = Running::from_values(values)?;
        }
        Some(all)
    }
}

/// Centres and scales rewards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewardNormaliser(Running);

impl RewardNormaliser {
    /// Takes a reward in joules into the running statistics, and returns it in deviations from the mean,
    /// limited to +-5; 0 until two rewards differ.
    pub fn observe(&mut self, reward: f64) -> f64 {
        self.0.observe(reward);
        self.apply(reward)
    }

    /// A reward in joules in deviations from the mean of those observed, limited to +-5; 0 until two differ.
    pub fn apply(&self, reward: f64) -> f64 {
        self.0.normalise(reward).clamp(-LIMIT, LIMIT)
    }

    /// Deviation of the rewards so far, in joules.
    pub fn deviation(&self) -> f64 {
        self.0.deviation()
    }

    pub(crate) fn save(&self, checkpoint: &mut Checkpoint) {
        checkpoint.put_f64(REWARDS, &[3], self.0.values().to_vec());
    }

    pub(crate) fn load(checkpoint: &Checkpoint) -> Result<Self, LearnError> {
        let running = Running::from_values(checkpoint.f64s(REWARDS, &[3])?);
        running
            .map(Self)
            .ok_or_else(|| checkpoint.error(no_statistics(REWARDS)))
    }

    pub(super) fn put(&self, weights: &mut Weights) {
        weights.put_f64(REWARDS, &[3], self.0.values().to_vec());
    }

    pub(super) fn find(weights: &mut Reader<'_>) -> Result<Self, LearnError> {
        let running = Running::from_values(weights.f64s(REWARDS, &[3])?);
        running.map(Self).ok_or_else(|| misfit(no_statistics(REWARDS)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn running_statistics_are_those_of_the_list() {
        let list = [3.0, -1.0, 4.5, 1e6, 2.0];
        let mut running = Running::default();
        list.iter().for_each(|x| running.observe(*x));
        let mean = list.iter().sum::<f64>() / 5.0;
        let variance = list.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 5.0;
        assert!((running.mean - mean).abs() < 1e-9 && (running.deviation() - variance.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn a_long_stream_ends_up_centred_and_scaled() {
        let mut normaliser = StateNormaliser::default();
        let state = |i: u32| State {
            device_free: f64::from(i % 7) / 7.0,
            mec_free: 0.9,
            throughput_bps: 1e6 * f64::from(1 + i % 5),
            cycles: 1e10,
            deadline_s: f64::from(1 + i % 3),
        };
        (0..840_000).for_each(|i| normaliser.observe(&raw(&state(i)).unwrap()));
        let all: Vec<_> = (0..105)
            .map(|i| normaliser.apply(&raw(&state(i)).unwrap()))
            .collect();
        for feature in [0, 2, 4] {
            let mean = all.iter().map(|f| f[feature]).sum::<f64>() / 105.0;
            let square = all.iter().map(|f| f[feature] * f[feature]).sum::<f64>() / 105.0;
            assert!(
                mean.abs() < 0.02 && (square - 1.0).abs() < 0.05,
                "{feature}: {mean} {square}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_finite_state_has_limited_features(
            a in any::<f64>(), b in any::<f64>(), c in any::<f64>(), d in any::<f64>(), e in any::<f64>()
        ) {
            let state = State { device_free: a, mec_free: b, throughput_bps: c, cycles: d, deadline_s: e };
            match raw(&state) {
                Ok(raw) => {
                    let mut normaliser = StateNormaliser::default();
                    normaliser.observe(&raw);
                    prop_assert!(normaliser.apply(&raw).iter().all(|x| x.abs() <= LIMIT));
                }
                Err(_) => prop_assert!(![a, b, c, d, e].iter().all(|x| x.is_finite())),
            }
        }
    }
}
