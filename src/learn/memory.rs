//! What every network learner keeps beside its networks: random numbers, running normalisation, counts; and how it
//! goes into a checkpoint.

use super::features::{self, FEATURES, RewardNormaliser, StateNormaliser};
use super::guard::SPREAD_LIMIT;
use super::network::Parts;
use super::random::{Rng, seeded};
use super::weights::{Reader, Weights};
use super::{Checkpoint, Decision, LearnError, LearnerName, Placement, Settings, State, Transition};
use rand::RngExt;

/// A learner's state apart from its weights.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub seed: u64,
    pub updates: u64,
    /// The error of the last update, in deviations of the reward.
    pub last_error: Option<f64>,
    /// How far apart the policy's logits were at the last update; 0 without a policy.
    pub logit_spread: f32,
    pub rng: Rng,
    pub states: StateNormaliser,
    pub rewards: RewardNormaliser,
}

/// A transition taken in: features of both states as they are, and the reward in its running deviations.
pub(super) struct Observed {
    pub before: [f64; FEATURES],
    pub reward: f32,
    pub after: [f64; FEATURES],
}

/// What of it decisions depend on.
pub(super) struct Seen {
    updates: u64,
    states: StateNormaliser,
    rewards: RewardNormaliser,
}

impl Memory {
    /// Of a learner that has seen nothing.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            updates: 0,
            last_error: None,
            logit_spread: 0.0,
            rng: seeded(seed),
            states: StateNormaliser::default(),
            rewards: RewardNormaliser::default(),
        }
    }

    /// The normalised features of a state.
    pub fn features(&self, state: &State) -> Result<[f32; FEATURES], LearnError> {
        Ok(self.states.apply_f32(&features::raw(state)?))
    }

    /// With probability `epsilon` a random placement.
    pub fn explore(&mut self, epsilon: f64) -> Option<Decision> {
        let explores = self.rng.random::<f64>() < epsilon;
        explores.then(|| Decision {
            placement: Placement::ALL[self.rng.random_range(0..Placement::ALL.len())],
            explored: true,
        })
    }

    /// Checks a transition and lets both normalisers see it.
    pub fn observe(&mut self, transition: &Transition) -> Result<Observed, LearnError> {
        let (before, reward, after) = features::check(transition)?;
        self.states.observe(&before);
        let reward = self.rewards.observe(reward) as f32;
        Ok(Observed {
            before,
            reward,
            after,
        })
    }

    /// An update is done; its error was this.
    pub fn updated(&mut self, error: f32) {
        self.last_error = Some(error.into());
        self.updates += 1;
    }

    /// Whether the policy has run away; one with NaN among its logits has.
    pub fn is_lost(&self) -> bool {
        !(0.0..=SPREAD_LIMIT).contains(&self.logit_spread)
    }

    /// A checkpoint of a learner of these networks.
    pub fn save<P: Parts>(
        &self,
        name: LearnerName,
        size: String,
        settings: Settings,
        networks: Vec<(&str, &P)>,
    ) -> Checkpoint {
        let mut checkpoint = Checkpoint::new(name, size, self.seed, self.updates, settings);
        checkpoint.put_rng(&self.rng);
        self.states.save(&mut checkpoint);
        self.rewards.save(&mut checkpoint);
        for (name, network) in networks {
            network.save(name, &mut checkpoint);
        }
        checkpoint
    }

    /// What decisions of a learner of these networks depend on.
    pub fn weights<P: Parts>(&self, networks: Vec<(&str, &P)>) -> Weights {
        let mut weights = Weights::default();
        for (name, network) in networks {
            weights.put_network(name, network.parts(), network.values());
        }
        weights.put_count("updates", self.updates);
        self.states.put(&mut weights);
        self.rewards.put(&mut weights);
        weights
    }

    /// Takes back what [`take_weights`] has found.
    pub fn take(&mut self, seen: Seen) {
        self.updates = seen.updates;
        self.states = seen.states;
        self.rewards = seen.rewards;
    }

    /// What `checkpoint` holds of it and of these networks; after an error these are half-loaded, so load into copies.
    pub fn load<P: Parts>(
        checkpoint: &Checkpoint,
        networks: Vec<(&str, &mut P)>,
    ) -> Result<Self, LearnError> {
        for (name, network) in networks {
            network.load(name, checkpoint)?;
        }
        let header = checkpoint.header();
        Ok(Self {
            seed: header.seed,
            updates: header.updates,
            last_error: None,
            logit_spread: 0.0,
            rng: checkpoint.rng()?,
            states: StateNormaliser::load(checkpoint)?,
            rewards: RewardNormaliser::load(checkpoint)?,
        })
    }
}

/// Takes what [`Memory::weights`] put into weights into these networks; the rest is for [`Memory::take`]. All is found
/// before anything is put to use.
pub(super) fn take_weights<P: Parts>(
    weights: &Weights,
    networks: Vec<(&str, &mut P)>,
) -> Result<Seen, LearnError> {
    let mut found = Reader::new(weights);
    let values: Result<Vec<_>, _> = (networks.iter())
        .map(|(name, network)| found.network(name, &network.parts()))
        .collect();
    let values = values?;
    let seen = Seen {
        updates: found.count("updates")?,
        states: StateNormaliser::find(&mut found)?,
        rewards: RewardNormaliser::find(&mut found)?,
    };
    found.finish()?;
    for ((_, network), values) in networks.into_iter().zip(values) {
        network.set_values(&values)?;
    }
    Ok(seen)
}

/// From the lowest to the highest of a policy's logits; NaN if one of them is, which `f32::min` and `max` would skip.
pub(super) fn spread(logits: &[f32]) -> f32 {
    if logits.iter().any(|logit| logit.is_nan()) {
        return f32::NAN;
    }
    highest(logits) - logits.iter().copied().fold(f32::INFINITY, f32::min)
}

/// The highest of a network's values; NaN is skipped.
pub(super) fn highest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_lost_when_its_logits_are_far_apart_or_no_numbers() {
        let is_lost = |logits: [f32; 3]| {
            let mut memory = Memory::new(0);
            memory.logit_spread = spread(&logits);
            memory.is_lost()
        };
        assert!(!Memory::new(0).is_lost());
        for logits in [[0.0; 3], [-1.0, 3.0, 0.5], [1e30; 3], [0.0, SPREAD_LIMIT, 1.0]] {
            assert!(!is_lost(logits), "{logits:?}");
        }
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        for logits in [
            [nan; 3],
            [nan, 1.0, 2.0],
            [1.0, nan, 2.0],
            [1.0, 2.0, nan],
            [infinity; 3],
            [-infinity; 3],
            [1.0, -infinity, 2.0],
            [0.0, 1.001 * SPREAD_LIMIT, 1.0],
        ] {
            assert!(is_lost(logits), "{logits:?}");
        }
    }
}
