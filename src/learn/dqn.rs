//! Deep Q-network, online: one update per task; a target network and a small replay if asked for.
//!
//! The network estimates Q(s, a), one output per placement. With probability epsilon a random placement is
//! taken, else the best. From a transition (s, a, r, s'), with the reward in its running deviations:
//!
//! ```text
//! delta = Q(s, a) - r - gamma max Q'(s', .)                     (the target held fixed)
//! w     down the gradient  clip(delta, -huber, huber) dQ(s, a)/dw  by one step of Adam (or SGD)
//! ```
//!
//! That is the gradient of the Huber loss, and the clipped TD error of Mnih et al. (Nature 518, 2015): the two are one.
//! It is bounded because with adaptive steps an unbounded error is what makes single-sample updates diverge
//! (Gogianu et al., 2026, arXiv 2605.06764).
//!
//! Q' is Q itself, or, with `target_every`, a network that every so many updates goes a share `target_tau` of the way
//! to Q: 1 copies it (Mnih et al.), a small share at every update follows it softly (Lillicrap et al., 2016, arXiv
//! 1509.02971). With `replay`, the update from the newest transition is followed by `replay_batch` more, each from one
//! drawn from the last `replay` (Lin, Machine Learning 8, 1992; the newest always counts, as in Zhang and Sutton, 2017,
//! arXiv 1712.01275). They are steps one by one, not a mean over a batch: at batch size 1 no gradient is ever stored.

use super::adam::Adam;
use super::features::{self, FEATURES};
use super::memory::{Memory, Observed, highest, take_weights};
use super::mlp::{Activation, Mlp};
use super::network::Network;
use super::optimiser::{Optimiser, OptimiserName};
use super::replay::{Experience, Replay};
use super::settings::{self, falling, variant};
use super::weights::Weights;
use super::{
    Checkpoint, Decision, Description, LearnError, Learner, LearnerName, Placement, Settings, State,
    Transition, best,
};
use serde::{Deserialize, Serialize};

const NAME: LearnerName = LearnerName::Dqn;

/// Features before normalisation.
type Raw = [f64; FEATURES];

/// Most transitions kept: a small replay, not a data base (96 bytes each).
const MAX_REPLAY: u64 = 100_000;

/// The settings of [`Dqn`].
///
/// Hidden layers and Adam are the paper's (four of 256); the paper gives no other value. The rest is chosen for
/// runs of some 500 tasks: on the toy device of [`super::environment`] the learner closes 81 % of the gap from
/// random to oracle (mean of 24 runs). `gamma` is 0: a task's
/// placement does not change the tasks after it, so a future term would add only noise. Set it above 0 where
/// queues or a battery link tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Units of each hidden layer.
    pub hidden: Vec<usize>,
    /// What moves the weights.
    pub optimiser: OptimiserName,
    /// Step size of the optimiser.
    pub rate: f64,
    /// Decay of Adam's mean of gradients.
    pub beta1: f64,
    /// Decay of Adam's mean of squared gradients.
    pub beta2: f64,
    /// Discount of the next state's value, 0 to 1 (1 excluded).
    pub gamma: f64,
    /// Probability of a random placement at the first task.
    pub epsilon_start: f64,
    /// Probability of a random placement at the end of the decay and after.
    pub epsilon_end: f64,
    /// Updates over which epsilon falls from start to end, in a straight line.
    pub epsilon_tasks: u64,
    /// Where the Huber loss turns from square to straight, in deviations of the reward: the TD error is clipped there.
    /// 1e6 leaves every error as it is, so that the loss may explode.
    pub huber: f64,
    /// Updates between two moves of the target network; 0: there is none.
    pub target_every: u64,
    /// Share of the way to the network that the target network moves, above 0 to 1.
    pub target_tau: f64,
    /// Transitions that are kept to be learned from again; 0: none.
    pub replay: u64,
    /// Updates from kept transitions after each new one; without `replay` not looked at.
    pub replay_batch: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hidden: vec![256; 4],
            optimiser: OptimiserName::Adam,
            rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            gamma: 0.0,
            epsilon_start: 0.3,
            epsilon_end: 0.01,
            epsilon_tasks: 100,
            huber: 1.0,
            target_every: 0,
            target_tau: 1.0,
            replay: 0,
            replay_batch: 4,
        }
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), LearnError> {
        let check = settings::Check { learner: "dqn" };
        check.hidden(&self.hidden)?;
        check.positive("rate", self.rate)?;
        check.positive("huber", self.huber)?;
        for (name, share) in [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("gamma", self.gamma),
        ] {
            check.below_one(name, share)?;
        }
        check.positive("target_tau", self.target_tau)?;
        check.share("target_tau", self.target_tau)?;
        check.at_most("replay", self.replay, MAX_REPLAY)?;
        check.at_most("replay_batch", self.replay_batch, MAX_REPLAY)?;
        check.share("epsilon_start", self.epsilon_start)?;
        check.share("epsilon_end", self.epsilon_end)
    }
}

/// A Q-network and what it needs to act and learn.
#[derive(Clone, Debug)]
pub struct Dqn<N = Mlp> {
    config: Config,
    memory: Memory,
    network: N,
    target: Option<N>,
    replay: Option<Replay>,
}

impl Dqn {
    /// A fresh learner of the native engine.
    pub fn new(config: Config, seed: u64) -> Result<Self, LearnError> {
        Self::with(config, seed, Ok)
    }
}

impl<N: Network> Dqn<N> {
    /// A fresh learner of another engine, which `engine` takes the untrained network to.
    pub(crate) fn with(
        config: Config,
        seed: u64,
        engine: impl Fn(Mlp) -> Result<N, LearnError>,
    ) -> Result<Self, LearnError> {
        config.check()?;
        let mut memory = Memory::new(seed);
        let adam = Adam {
            rate: config.rate,
            beta1: config.beta1,
            beta2: config.beta2,
            ..Adam::default()
        };
        let sizes = settings::sizes(&config.hidden, Placement::ALL.len());
        let optimiser = Optimiser::new(config.optimiser, adam);
        let native = Mlp::new(&sizes, Activation::Relu, 1.0, optimiser, &mut memory.rng);
        let network = engine(native)?;
        Ok(Self {
            target: (config.target_every > 0).then(|| network.frozen()),
            replay: (config.replay > 0).then(|| Replay::new(config.replay as usize, seed)),
            config,
            memory,
            network,
        })
    }

    /// The network, to look at.
    pub fn network(&self) -> &N {
        &self.network
    }

    fn epsilon(&self) -> f64 {
        let c = &self.config;
        falling(
            c.epsilon_start,
            c.epsilon_end,
            c.epsilon_tasks,
            self.memory.updates,
        )
    }

    /// One step from a transition of raw features, the reward in deviations; returns the TD error before it.
    fn update(
        &mut self,
        before: &Raw,
        placement: Placement,
        reward: f32,
        after: &Raw,
    ) -> Result<f32, LearnError> {
        let target = reward + self.future(after)?;
        let action = placement as usize;
        let values = self.network.forward(&self.memory.states.apply_f32(before))?;
        let error = values[action] - target;
        let huber = self.config.huber as f32;
        let mut gradient = [0.0; Placement::ALL.len()];
        gradient[action] = error.clamp(-huber, huber);
        self.network.descend(&gradient)?;
        Ok(error)
    }

    /// gamma times the value of the best placement in `raw`, before any update.
    fn future(&mut self, raw: &Raw) -> Result<f32, LearnError> {
        if self.config.gamma == 0.0 {
            return Ok(0.0);
        }
        let network = self.target.as_mut().unwrap_or(&mut self.network);
        let values = network.forward(&self.memory.states.apply_f32(raw))?;
        Ok(self.config.gamma as f32 * highest(values))
    }

    /// Keeps the newest transition and learns again from some of those kept, where there is a replay.
    fn replay(&mut self, newest: &Transition) -> Result<(), LearnError> {
        let Some(replay) = &mut self.replay else {
            return Ok(());
        };
        let (before, reward, after) = features::check(newest)?;
        replay.push(Experience {
            before,
            placement: newest.placement,
            reward,
            after,
        });
        for _ in 0..self.config.replay_batch {
            let drawn = self.replay.as_mut().and_then(Replay::draw);
            let Some(e) = drawn else { break };
            let reward = self.memory.rewards.apply(e.reward) as f32;
            self.update(&e.before, e.placement, reward, &e.after)?;
        }
        Ok(())
    }

    /// Lets the target network follow when it is its turn.
    fn move_target(&mut self) -> Result<(), LearnError> {
        let due = self.memory.updates.checked_rem(self.config.target_every) == Some(0);
        match self.target.as_mut().filter(|_| due) {
            Some(target) => target.approach(&self.network, self.config.target_tau as f32),
            None => Ok(()),
        }
    }

    /// The networks by their names in checkpoints and weights.
    fn named(&self) -> Vec<(&'static str, &N)> {
        let target = self.target.iter().map(|target| ("target", target));
        std::iter::once(("q", &self.network)).chain(target).collect()
    }

    fn named_mut(&mut self) -> Vec<(&'static str, &mut N)> {
        let target = self.target.iter_mut().map(|target| ("target", target));
        std::iter::once(("q", &mut self.network)).chain(target).collect()
    }
}

impl<N: Network> Learner for Dqn<N> {
    fn decide(&mut self, state: &State) -> Result<Decision, LearnError> {
        features::raw(state)?;
        if let Some(decision) = self.memory.explore(self.epsilon()) {
            return Ok(decision);
        }
        Ok(Decision {
            placement: self.best(state)?,
            explored: false,
        })
    }

    fn best(&mut self, state: &State) -> Result<Placement, LearnError> {
        let features = self.memory.features(state)?;
        Ok(best(self.network.forward(&features)?))
    }

    fn learn(&mut self, transition: &Transition) -> Result<(), LearnError> {
        let Observed {
            before,
            reward,
            after,
        } = self.memory.observe(transition)?;
        let error = self.update(&before, transition.placement, reward, &after)?;
        self.replay(transition)?;
        self.memory.updated(error);
        self.move_target()
    }

    fn last_error(&self) -> Option<f64> {
        self.memory.last_error
    }

    fn save(&self) -> Checkpoint {
        let settings = Settings {
            dqn: self.config.clone(),
            ..Settings::default()
        };
        let size = variant(&self.config.hidden);
        let mut checkpoint = self.memory.save(NAME, size, settings, self.named());
        if let Some(replay) = &self.replay {
            replay.save(&mut checkpoint);
        }
        checkpoint
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        checkpoint.expect(NAME, &variant(&self.config.hidden))?;
        let mut loaded = self.clone();
        loaded.memory = Memory::load(checkpoint, loaded.named_mut())?;
        if let Some(replay) = &mut loaded.replay {
            *replay = Replay::load(self.config.replay as usize, checkpoint)?;
        }
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
        Description::new(
            NAME,
            variant(&self.config.hidden),
            self.network.parameters(),
            &self.config,
        )
        .of_engine(self.network.engine())
    }
}

#[cfg(test)]
mod tests;
