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
//! each by one step of Adam. By the logit z_k: d(-log pi_a)/dz_k = pi_k - [k = a], dH/dz_k = -pi_k (log pi_k + H).

use super::adam::Adam;
use super::features::FEATURES;
use super::memory::{Memory, Observed, highest};
use super::mlp::{Activation, Mlp};
use super::network::Network;
use super::settings::{self, variant};
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
    /// Step size of Adam for the actor.
    pub actor_rate: f64,
    /// Step size of Adam for the critic.
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

    fn check(&self) -> Result<(), LearnError> {
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
            engine(Mlp::new(
                &sizes,
                Activation::Tanh,
                1.0,
                adam.with_rate(rate),
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
        let policy = softmax(self.actor.forward(&before)?);
        let gradient = policy_gradient(&policy, transition.placement, delta, self.config.entropy as f32);
        self.actor.descend(&gradient)?;
        self.memory.updated(delta);
        Ok(())
    }

    fn last_error(&self) -> Option<f64> {
        self.memory.last_error
    }

    fn save(&self) -> Checkpoint {
        let settings = Settings {
            ac: self.config.clone(),
            ..Settings::default()
        };
        let mut checkpoint = self.memory.save(NAME, variant(&self.config.hidden), settings);
        self.actor.save("actor", &mut checkpoint);
        self.critic.save("critic", &mut checkpoint);
        checkpoint
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        checkpoint.expect(NAME, &variant(&self.config.hidden))?;
        let mut loaded = self.clone();
        loaded.actor.load("actor", checkpoint)?;
        loaded.critic.load("critic", checkpoint)?;
        loaded.memory = Memory::load(checkpoint)?;
        *self = loaded;
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::environment::tasks;
    use super::super::features::{self, RewardNormaliser, StateNormaliser};
    use super::super::reference::Reference;
    use super::*;

    fn softmax64(logits: &[f64]) -> Vec<f64> {
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        logits.iter().map(|z| z.exp() / sum).collect()
    }

    /// -log pi(a) delta - entropy H(pi), as written.
    fn loss(logits: &[f64], action: usize, delta: f64, weight: f64) -> f64 {
        let p = softmax64(logits);
        let entropy = -p.iter().map(|p| p * p.ln()).sum::<f64>();
        -p[action].ln() * delta - weight * entropy
    }

    /// Central differences of [`loss`].
    fn slope(logits: &[f64], action: usize, delta: f64, weight: f64) -> Vec<f64> {
        let moved = |k: usize, by: f64| {
            let mut logits = logits.to_vec();
            logits[k] += by;
            loss(&logits, action, delta, weight)
        };
        (0..logits.len())
            .map(|k| (moved(k, 1e-5) - moved(k, -1e-5)) / 2e-5)
            .collect()
    }

    #[test]
    fn the_policy_gradient_is_the_slope_of_the_loss() {
        for logits in [[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [6.0, -6.0, 0.0]] {
            for (action, delta) in [(Placement::Local, 1.5), (Placement::Cloud, -0.7)] {
                let policy = softmax(&logits.map(|z: f64| z as f32));
                let fast = policy_gradient(&policy, action, delta as f32, 0.1);
                for (fast, exact) in fast.iter().zip(slope(&logits, action as usize, delta, 0.1)) {
                    assert!((f64::from(*fast) - exact).abs() < 1e-5, "{fast} {exact}");
                }
            }
        }
    }

    #[test]
    fn many_updates_agree_with_the_f64_reference() {
        for gamma in [0.0, 0.9] {
            let config = Config {
                hidden: vec![12, 20],
                gamma,
                ..Config::default()
            };
            let mut ac = ActorCritic::new(config.clone(), 3).unwrap();
            let net = |prefix, outputs, rate| {
                let (sizes, adam) = ([5, 12, 20, outputs], Adam::default().with_rate(rate));
                Reference::from_checkpoint(&ac.save(), prefix, &sizes, Activation::Tanh, adam)
            };
            let mut actor = net("actor", 3, config.actor_rate);
            let mut critic = net("critic", 1, config.critic_rate);
            let (mut states, mut rewards) = (StateNormaliser::default(), RewardNormaliser::default());
            let all = tasks(300, 4);
            for (i, pair) in all.windows(2).enumerate() {
                let placement = Placement::ALL[i * 7 % 3];
                let reward = pair[0].rewards[placement as usize];
                let (state, next_state) = (pair[0].state, pair[1].state);
                ac.learn(&Transition {
                    state,
                    placement,
                    reward,
                    next_state,
                })
                .unwrap();

                let (s, s2) = (
                    features::raw(&state).unwrap(),
                    features::raw(&next_state).unwrap(),
                );
                states.observe(&s);
                let (s, s2) = (states.apply(&s), states.apply(&s2));
                let delta = rewards.observe(reward) + gamma * critic.forward(&s2)[0] - critic.forward(&s)[0];
                critic.descend(&s, &[-delta]);
                let gradient = slope(&actor.forward(&s), placement as usize, delta, config.entropy);
                actor.descend(&s, &gradient);
            }
            let (a, c) = (
                actor.distance(&ac.save(), "actor"),
                critic.distance(&ac.save(), "critic"),
            );
            assert!(a < 1e-3 && c < 1e-3, "gamma {gamma}: {a} {c}");
        }
    }

    #[test]
    fn draws_follow_the_policy() {
        let policy = [0.2, 0.0, 0.8];
        assert_eq!(draw(&policy, 0.0), Placement::Local);
        assert_eq!(draw(&policy, 0.21), Placement::Cloud);
        assert_eq!(draw(&[0.3, 0.3, 0.399], 0.999_999), Placement::Cloud);
    }
}
