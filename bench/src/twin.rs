//! The learners' updates once more in plain f64, to check in a bench that what is timed is also right.

use hwmeter::learn::adam::Adam;
use hwmeter::learn::environment::{ToyTask, tasks};
use hwmeter::learn::features::{self, FEATURES, RewardNormaliser, StateNormaliser};
use hwmeter::learn::mlp::Activation;
use hwmeter::learn::reference::Reference;
use hwmeter::learn::{Checkpoint, LearnError, Placement, Transition, ac, dqn};

/// A cycle of transitions from the toy device.
pub fn transitions() -> impl Iterator<Item = Transition> {
    let tasks = tasks(501, 7);
    let one = |(i, pair): (usize, &[ToyTask])| {
        let placement = Placement::ALL[i % 3];
        let (state, next_state) = (pair[0].state, pair[1].state);
        Transition {
            state,
            placement,
            reward: pair[0].rewards[i % 3],
            next_state,
        }
    };
    let all: Vec<Transition> = tasks.windows(2).enumerate().map(one).collect();
    all.into_iter().cycle()
}

/// The normalisers of a learner that has seen the same transitions.
#[derive(Clone, Debug, Default)]
pub struct Normalisers {
    states: StateNormaliser,
    rewards: RewardNormaliser,
}

/// What an update works on: state, reward and next state, normalised.
pub type Experience = ([f64; FEATURES], f64, [f64; FEATURES]);

impl Normalisers {
    /// Takes in one transition as `learn` does.
    pub fn observe(&mut self, transition: &Transition) -> Result<Experience, LearnError> {
        let (before, reward, after) = features::check(transition)?;
        self.states.observe(&before);
        let reward = self.rewards.observe(reward);
        Ok((self.states.apply(&before), reward, self.states.apply(&after)))
    }
}

/// A learner's networks, to update beside it.
pub trait Twin: Sized {
    /// The prefixes of the networks in a checkpoint.
    const NETWORKS: &'static [&'static str];

    /// The networks in that order.
    fn networks(&self) -> Vec<&Reference>;

    /// One update.
    fn learn(&mut self, experience: &Experience, action: usize);

    /// The same in f32, rounded as well as f32 can be.
    fn in_single_precision(self) -> Self;

    /// The largest distance of a weight to that of `other`.
    fn distance_to(&self, other: &Self) -> f64 {
        let pairs = self.networks().into_iter().zip(other.networks());
        pairs.map(|(a, b)| a.distance_to(b)).fold(0.0, f64::max)
    }

    /// The largest distance of a weight to that in a checkpoint of the learner.
    fn distance(&self, checkpoint: &Checkpoint) -> f64 {
        let pairs = self.networks().into_iter().zip(Self::NETWORKS);
        pairs
            .map(|(net, prefix)| net.distance(checkpoint, prefix))
            .fold(0.0, f64::max)
    }
}

/// Sizes of a network over the features.
fn sizes(hidden: &[usize], outputs: usize) -> Vec<usize> {
    [&[FEATURES], hidden, &[outputs]].concat()
}

/// [`dqn::Dqn`] in f64.
#[derive(Clone, Debug)]
pub struct DqnTwin {
    config: dqn::Config,
    q: Reference,
}

impl DqnTwin {
    /// The twin of the learner that wrote `checkpoint`.
    pub fn new(config: &dqn::Config, checkpoint: &Checkpoint) -> Self {
        let adam = Adam {
            rate: config.rate,
            beta1: config.beta1,
            beta2: config.beta2,
            ..Adam::default()
        };
        let sizes = sizes(&config.hidden, 3);
        Self {
            q: Reference::from_checkpoint(checkpoint, "q", &sizes, Activation::Relu, adam),
            config: config.clone(),
        }
    }
}

impl Twin for DqnTwin {
    const NETWORKS: &'static [&'static str] = &["q"];

    fn networks(&self) -> Vec<&Reference> {
        vec![&self.q]
    }

    fn learn(&mut self, (before, reward, after): &Experience, action: usize) {
        let future = self.q.forward(after).into_iter().fold(f64::MIN, f64::max);
        let target = self.q.round(reward + self.q.round(self.config.gamma) * future);
        let error = self.q.forward(before)[action] - target;
        let mut gradient = [0.0; 3];
        gradient[action] = error.clamp(-self.config.huber, self.config.huber);
        self.q.descend(before, &gradient);
    }

    fn in_single_precision(self) -> Self {
        Self {
            q: self.q.in_single_precision(),
            ..self
        }
    }
}

/// [`ac::ActorCritic`] in f64.
#[derive(Clone, Debug)]
pub struct AcTwin {
    config: ac::Config,
    actor: Reference,
    critic: Reference,
}

impl AcTwin {
    /// The twin of the learner that wrote `checkpoint`.
    pub fn new(config: &ac::Config, checkpoint: &Checkpoint) -> Self {
        let network = |prefix, outputs, rate| {
            let adam = Adam {
                rate,
                beta1: config.beta1,
                beta2: config.beta2,
                ..Adam::default()
            };
            let sizes = sizes(&config.hidden, outputs);
            Reference::from_checkpoint(checkpoint, prefix, &sizes, Activation::Tanh, adam)
        };
        Self {
            actor: network("actor", 3, config.actor_rate),
            critic: network("critic", 1, config.critic_rate),
            config: config.clone(),
        }
    }
}

impl Twin for AcTwin {
    const NETWORKS: &'static [&'static str] = &["actor", "critic"];

    fn networks(&self) -> Vec<&Reference> {
        vec![&self.actor, &self.critic]
    }

    fn learn(&mut self, (before, reward, after): &Experience, action: usize) {
        let round = |x| self.actor.round(x);
        let future = round(round(self.config.gamma) * self.critic.forward(after)[0]);
        let delta = round(round(round(*reward) + future) - self.critic.forward(before)[0]);
        self.critic.descend(before, &[-delta]);
        let powers: Vec<f64> = self
            .actor
            .forward(before)
            .iter()
            .map(|z| round(z.exp()))
            .collect();
        let sum: f64 = powers.iter().sum();
        let policy: Vec<f64> = powers.iter().map(|p| round(p / sum)).collect();
        let entropy = -policy.iter().map(|p| p * p.ln()).sum::<f64>();
        let slope = |(k, p): (usize, &f64)| {
            let taken = if k == action { 1.0 } else { 0.0 };
            (p - taken) * delta + self.config.entropy * p * (p.ln() + entropy)
        };
        let gradient: Vec<f64> = policy.iter().enumerate().map(slope).collect();
        self.actor.descend(before, &gradient);
    }

    fn in_single_precision(self) -> Self {
        Self {
            actor: self.actor.in_single_precision(),
            critic: self.critic.in_single_precision(),
            ..self
        }
    }
}
