#![allow(clippy::unwrap_used)]

use super::super::environment::transitions;
use super::super::features::{RewardNormaliser, StateNormaliser};
use super::super::random::Rng;
use super::super::reference::Reference;
use super::*;
use rand::RngExt;

/// The module's documentation in f64 and in plain words.
struct Plain {
    config: Config,
    q: Reference,
    target: Reference,
    states: StateNormaliser,
    rewards: RewardNormaliser,
    seen: Vec<Transition>,
    /// Where the learner's generator stands when it begins to learn.
    rng: Rng,
}

impl Plain {
    fn beside(dqn: &Dqn) -> Self {
        let config = dqn.config.clone();
        let sizes = settings::sizes(&config.hidden, 3);
        let adam = Adam::default().with_rate(config.rate);
        let optimiser = Optimiser::new(config.optimiser, adam);
        let q = Reference::from_checkpoint(&dqn.save(), "q", &sizes, Activation::Relu, optimiser);
        Self {
            config,
            target: q.clone(),
            q,
            states: StateNormaliser::default(),
            rewards: RewardNormaliser::default(),
            seen: Vec::new(),
            rng: dqn.save().learning_rng(),
        }
    }

    fn learn(&mut self, newest: &Transition) {
        self.states.observe(&features::raw(&newest.state).unwrap());
        self.rewards.observe(newest.reward);
        self.update(newest);
        self.seen.push(*newest);
        let (capacity, every) = (self.config.replay as usize, self.config.target_every as usize);
        if capacity > 0 {
            // The ring of the learner: transition i lies in place i modulo the capacity.
            let kept = self.seen.len().min(capacity);
            for _ in 0..self.config.replay_batch {
                let place = self.rng.random_range(0..kept);
                let last = self.seen.len() - 1;
                let drawn = (0..=last).rev().find(|i| i % capacity == place).unwrap();
                self.update(&self.seen[drawn].clone());
            }
        }
        if every > 0 && self.seen.len().is_multiple_of(every) {
            self.target.approach(&self.q, self.config.target_tau);
        }
    }

    fn update(&mut self, t: &Transition) {
        let feature = |state| self.states.apply(&features::raw(state).unwrap());
        let (s, s2) = (feature(&t.state), feature(&t.next_state));
        let future = if self.config.target_every > 0 {
            &self.target
        } else {
            &self.q
        };
        let future = future.forward(&s2).into_iter().fold(f64::MIN, f64::max);
        let target = self.rewards.apply(t.reward) + self.config.gamma * future;
        let action = t.placement as usize;
        let error = self.q.forward(&s)[action] - target;
        let mut gradient = [0.0; 3];
        gradient[action] = error.clamp(-self.config.huber, self.config.huber);
        self.q.descend(&s, &gradient);
    }
}

fn small() -> Config {
    Config {
        hidden: vec![24, 16],
        rate: 1e-3,
        ..Config::default()
    }
}

/// The distance of the learner's weights to those of [`Plain`] after 300 transitions.
fn distance(config: &Config) -> f64 {
    let mut dqn = Dqn::new(config.clone(), 3).unwrap();
    let mut plain = Plain::beside(&dqn);
    for transition in transitions(300, 4) {
        dqn.learn(&transition).unwrap();
        plain.learn(&transition);
    }
    let target = match config.target_every {
        0 => 0.0,
        _ => plain.target.distance_of_weights(&dqn.save(), "target"),
    };
    target.max(plain.q.distance(&dqn.save(), "q"))
}

#[test]
fn many_updates_agree_with_the_f64_reference() {
    let sgd = OptimiserName::Sgd;
    let cases = [
        Config {
            gamma: 0.0,
            ..small()
        },
        Config {
            gamma: 0.9,
            ..small()
        },
        Config {
            gamma: 0.9,
            huber: 1e6,
            ..small()
        },
        Config {
            gamma: 0.9,
            huber: 0.1,
            ..small()
        },
        Config {
            gamma: 0.9,
            optimiser: sgd,
            rate: 1e-2,
            ..small()
        },
        Config {
            gamma: 0.9,
            target_every: 20,
            ..small()
        },
        Config {
            gamma: 0.9,
            target_every: 1,
            target_tau: 0.05,
            ..small()
        },
        Config {
            gamma: 0.9,
            replay: 40,
            replay_batch: 3,
            rate: 3e-4,
            ..small()
        },
        Config {
            gamma: 0.9,
            replay: 1000,
            replay_batch: 2,
            target_every: 7,
            rate: 3e-4,
            ..small()
        },
    ];
    for config in cases {
        let distance = distance(&config);
        assert!(distance < 1e-3, "{config:?}: {distance}");
    }
}

/// Each setting does something: otherwise the test above would pass without it.
#[test]
fn target_network_replay_and_clipping_change_what_is_learned() {
    let plain = Config {
        gamma: 0.9,
        ..small()
    };
    let weights = |config: &Config| {
        let mut dqn = Dqn::new(config.clone(), 3).unwrap();
        transitions(300, 4).iter().for_each(|t| dqn.learn(t).unwrap());
        let sizes = settings::sizes(&config.hidden, 3);
        let sgd = Optimiser::Sgd { rate: 0.0 };
        Reference::from_checkpoint(&dqn.save(), "q", &sizes, Activation::Relu, sgd)
    };
    for other in [
        Config {
            huber: 1e6,
            ..plain.clone()
        },
        Config {
            target_every: 20,
            ..plain.clone()
        },
        Config {
            target_every: 20,
            target_tau: 0.5,
            ..plain.clone()
        },
        Config {
            replay: 10,
            ..plain.clone()
        },
        Config {
            optimiser: OptimiserName::Sgd,
            ..plain.clone()
        },
    ] {
        let distance = weights(&other).distance_to(&weights(&plain));
        assert!(distance > 5e-3, "{other:?}: {distance}");
    }
}

#[test]
fn a_replay_of_another_size_and_a_missing_target_are_refused() {
    let replay = Config {
        replay: 10,
        ..small()
    };
    let target = Config {
        target_every: 5,
        ..small()
    };
    let mut learner = Dqn::new(replay.clone(), 0).unwrap();
    transitions(30, 1).iter().for_each(|t| learner.learn(t).unwrap());
    let saved = learner.save();
    let refuse = |config: &Config, words: &str| {
        let error = Dqn::new(config.clone(), 0).unwrap().load(&saved).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    refuse(&Config { replay: 5, ..small() }, "10 transitions");
    refuse(&target, "target.0.weight is missing");
    let error = Dqn::new(
        Config {
            replay: 1 << 40,
            ..small()
        },
        0,
    )
    .unwrap_err();
    assert!(error.to_string().contains("replay is 1099511627776"), "{error}");
    let error = Dqn::new(
        Config {
            target_tau: 0.0,
            ..small()
        },
        0,
    )
    .unwrap_err();
    assert!(error.to_string().contains("target_tau is 0"), "{error}");
}

#[test]
fn epsilon_falls_in_a_straight_line_and_stays() {
    let config = Config {
        hidden: vec![8],
        ..Config::default()
    };
    let mut dqn = Dqn::new(config, 0).unwrap();
    let at = |dqn: &mut Dqn, updates| {
        dqn.memory.updates = updates;
        dqn.epsilon()
    };
    assert_eq!(at(&mut dqn, 0), 0.3);
    assert!((at(&mut dqn, 50) - 0.155).abs() < 1e-12);
    assert!((at(&mut dqn, 100) - 0.01).abs() < 1e-12 && (at(&mut dqn, u64::MAX) - 0.01).abs() < 1e-12);
}
