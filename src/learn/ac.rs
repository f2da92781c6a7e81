//! Actor-critic with separate networks, as in the paper: one update per task.
//!
//! Both networks have tanh hidden layers. The actor's outputs are logits of a softmax pi over the placements;
//! the critic's one output is V(s). With the TD error delta = r + gamma V(s') - V(s):
//!
//! ```text
//! critic: down the gradient of delta^2 / 2            (target held fixed)
//! actor:  down the gradient of -log pi(a|s) delta - entropy H(pi)
//! ```
//!
//! each by one step of Adam (or SGD). By the logit z_k: d(-log pi_a)/dz_k = pi_k - [k = a], dH/dz_k = -pi_k (log pi_k + H).

use super::adam::Adam;
use super::features::FEATURES;
use super::memory::{Memory, Observed, highest, spread, take_weights};
use super::mlp::{Activation, Mlp};
use super::network::Network;
use super::optimiser::{Optimiser, OptimiserName};
use super::settings::{self, variant};
use super::weights::Weights;
use super::{
    Checkpoint, Decision, Description, LearnError, Learner, LearnerName, Placement, Settings, State,
    Transition, best,
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

const NAME: LearnerName = LearnerName::Ac;
const PLACEMENTS: usize = Placement::ALL.len();

/// The settings of [`ActorCritic`].
///
/// The paper gives none of them. The defaults are chosen for runs of some 500 tasks: on the toy device of
/// [`super::environment`] they close 81 % of the gap from random to oracle (mean of 24 runs), and
/// [`Config::published`] 20 %. `gamma` is 0: a task's placement does not change the tasks after it, so a future
/// term would add only noise. Set it above 0 where queues or a battery link tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Units of each hidden layer, in the actor and in the critic.
    pub hidden: Vec<usize>,
    /// What moves the weights of both networks.
    pub optimiser: OptimiserName,
    /// Step size of the optimiser for the actor.
    pub actor_rate: f64,
    /// Step size of the optimiser for the critic.
    pub critic_rate: f64,
    /// Decay of Adam's mean of gradients.
    pub beta1: f64,
    /// Decay of Adam's mean of squared gradients.
    pub beta2: f64,
    /// Discount of the next state's value, 0 to 1 (1 excluded).
    pub gamma: f64,
    /// Weight of the policy's entropy, which keeps it exploring.
    pub entropy: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hidden: vec![64; 2],
            optimiser: OptimiserName::Adam,
            actor_rate: 2e-3,
            critic_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            gamma: 0.0,
            entropy: 0.01,
        }
    }
}

impl Config {
    /// The only values published by the paper's group (Nieto et al., J. Cloud Computing 13:94, 2024): two layers
    /// of 256, rates 1e-5 and 1e-4, gamma 0.99. Too slow for 500 tasks.
    pub fn published() -> Self {
        let (actor_rate, critic_rate) = (1e-5, 1e-4);
        Self {
            hidden: vec![256; 2],
            actor_rate,
            critic_rate,
            gamma: 0.99,
            entropy: 0.0,
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), LearnError> {
        let check = settings::Check { learner: "ac" };
        check.hidden(&self.hidden)?;
        check.positive("actor_rate", self.actor_rate)?;
        check.positive("critic_rate", self.critic_rate)?;
        for (name, share) in [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("gamma", self.gamma),
        ] {
            check.below_one(name, share)?;
        }
        check.not_negative("entropy", self.entropy)
    }
}

/// An actor, a critic and what they need to act and learn.
#[derive(Clone, Debug)]
pub struct ActorCritic<N = Mlp> {
    config: Config,
    memory: Memory,
    actor: N,
    critic: N,
}

impl ActorCritic {
    /// A fresh learner of the native engine.
    pub fn new(config: Config, seed: u64) -> Result<Self, LearnError> {
        Self::with(config, seed, Ok)
    }
}

impl<N: Network> ActorCritic<N> {
    /// A fresh learner of another engine, which `engine` takes the untrained networks to.
    pub(crate) fn with(
        config: Config,
        seed: u64,
        engine: impl Fn(Mlp) -> Result<N, LearnError>,
    ) -> Result<Self, LearnError> {
        config.check()?;
        let mut memory = Memory::new(seed);
        let adam = Adam {
            beta1: config.beta1,
            beta2: config.beta2,
            ..Adam::default()
        };
        let mut network = |outputs, rate| {
            let sizes = settings::sizes(&config.hidden, outputs);
            let optimiser = Optimiser::new(config.optimiser, adam.with_rate(rate));
            engine(Mlp::new(
                &sizes,
                Activation::Tanh,
                1.0,
                optimiser,
                &mut memory.rng,
            ))
        };
        let actor = network(PLACEMENTS, config.actor_rate)?;
        let critic = network(1, config.critic_rate)?;
        Ok(Self {
            config,
            memory,
            actor,
            critic,
        })
    }

    /// The actor and the critic, to look at.
    pub fn networks(&self) -> [&N; 2] {
        [&self.actor, &self.critic]
    }

    /// delta = r + gamma V(s') - V(s), leaving V(s) as the critic's last forward pass.
    fn td_error(
        &mut self,
        before: &[f32; FEATURES],
        reward: f32,
        after: &[f32; FEATURES],
    ) -> Result<f32, LearnError> {
        let gamma = self.config.gamma as f32;
        let future = if gamma == 0.0 {
            0.0
        } else {
            gamma * self.critic.forward(after)?[0]
        };
        Ok(reward + future - self.critic.forward(before)?[0])
    }

    /// The networks by their names in checkpoints and weights.
    fn named(&self) -> Vec<(&'static str, &N)> {
        vec![("actor", &self.actor), ("critic", &self.critic)]
    }

    fn named_mut(&mut self) -> Vec<(&'static str, &mut N)> {
        vec![("actor", &mut self.actor), ("critic", &mut self.critic)]
    }
}

impl<N: Network> Learner for ActorCritic<N> {
    fn decide(&mut self, state: &State) -> Result<Decision, LearnError> {
        let features = self.memory.features(state)?;
        let logits = self.actor.forward(&features)?;
        let likeliest = best(logits);
        let policy = softmax(logits);
        let placement = draw(&policy, self.memory.rng.random());
        Ok(Decision {
            placement,
            explored: placement != likeliest,
        })
    }

    fn best(&mut self, state: &State) -> Result<Placement, LearnError> {
        let features = self.memory.features(state)?;
        Ok(best(self.actor.forward(&features)?))
    }

    fn learn(&mut self, transition: &Transition) -> Result<(), LearnError> {
        let Observed {
            before,
            reward,
            after,
        } = self.memory.observe(transition)?;
        let states = &self.memory.states;
        let (before, after) = (states.apply_f32(&before), states.apply_f32(&after));
        let delta = self.td_error(&before, reward, &after)?;
        self.critic.descend(&[-delta])?;
        let logits = self.actor.forward(&before)?;
        self.memory.logit_spread = spread(logits);
        let policy = softmax(logits);
        let gradient = policy_gradient(&policy, transition.placement, delta, self.config.entropy as f32);
        self.actor.descend(&gradient)?;
        self.memory.updated(delta);
        Ok(())
    }

    fn last_error(&self) -> Option<f64> {
        self.memory.last_error
    }

    fn is_lost(&self) -> bool {
        self.memory.is_lost()
    }

    fn save(&self) -> Checkpoint {
        let settings = Settings {
            ac: self.config.clone(),
            ..Settings::default()
        };
        let size = variant(&self.config.hidden);
        self.memory.save(NAME, size, settings, self.named())
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        checkpoint.expect(NAME, &variant(&self.config.hidden))?;
        let mut loaded = self.clone();
        loaded.memory = Memory::load(checkpoint, loaded.named_mut())?;
        *self = loaded;
        Ok(())
    }

    fn weights(&self) -> Weights {
        self.memory.weights(self.named())
    }

    fn set_weights(&mut self, weights: &Weights) -> Result<(), LearnError> {
        let seen = take_weights(weights, self.named_mut())?;
        self.memory.take(seen);
        Ok(())
    }

    fn describe(&self) -> Description {
        let parameters = self.actor.parameters() + self.critic.parameters();
        Description::new(NAME, variant(&self.config.hidden), parameters, &self.config)
            .of_engine(self.actor.engine())
    }
}

/// Probabilities of the placements.
pub(super) fn softmax(logits: &[f32]) -> [f32; PLACEMENTS] {
    let highest = highest(logits);
    let powers: [f32; PLACEMENTS] = std::array::from_fn(|k| (logits[k] - highest).exp());
    let sum: f32 = powers.iter().sum();
    powers.map(|p| p / sum)
}

/// The placement at which the summed probabilities pass `u`, uniform in [0, 1).
pub(super) fn draw(policy: &[f32; PLACEMENTS], mut u: f32) -> Placement {
    for (placement, p) in Placement::ALL.into_iter().zip(policy) {
        u -= p;
        if u < 0.0 {
            return placement;
        }
    }
    // Rounding left a sliver of u: it belongs to the likeliest.
    best(policy)
}

/// Gradient of -log pi(a) delta - entropy H(pi) by the logits.
pub(super) fn policy_gradient(
    policy: &[f32; PLACEMENTS],
    action: Placement,
    delta: f32,
    weight: f32,
) -> [f32; PLACEMENTS] {
    // The smallest normal number instead of 0: its p log p is still 0.
    let log = policy.map(|p| p.max(f32::MIN_POSITIVE).ln());
    let entropy: f32 = -policy.iter().zip(log).map(|(p, l)| p * l).sum::<f32>();
    std::array::from_fn(|k| {
        let taken = if k == action as usize { 1.0 } else { 0.0 };
        (policy[k] - taken) * delta + weight * policy[k] * (log[k] + entropy)
    })
}

#[cfg(test)]
mod tests;
