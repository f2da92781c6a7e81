#![allow(clippy::unwrap_used)]

use super::super::environment::{tasks, transitions};
use super::super::features::{self, RewardNormaliser, StateNormaliser};
use super::super::network::Parts;
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
    for (gamma, optimiser) in [
        (0.0, OptimiserName::Adam),
        (0.9, OptimiserName::Adam),
        (0.9, OptimiserName::Sgd),
    ] {
        let config = Config {
            hidden: vec![12, 20],
            gamma,
            optimiser,
            ..Config::default()
        };
        let mut ac = ActorCritic::new(config.clone(), 3).unwrap();
        let net = |prefix, outputs, rate| {
            let sizes = [5, 12, 20, outputs];
            let optimiser = Optimiser::new(config.optimiser, Adam::default().with_rate(rate));
            Reference::from_checkpoint(&ac.save(), prefix, &sizes, Activation::Tanh, optimiser)
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

#[test]
fn an_actor_of_no_numbers_is_lost_though_its_critic_is_well() {
    let config = Config {
        hidden: vec![4],
        ..Config::default()
    };
    let mut learner = ActorCritic::new(config, 0).unwrap();
    let values = learner.actor.values();
    let nan: Vec<_> = values.iter().map(|part| vec![f32::NAN; part.len()]).collect();
    let nan: Vec<_> = nan.iter().map(Vec::as_slice).collect();
    learner.actor.set_values(&nan).unwrap();
    learner.learn(&transitions(1, 0)[0]).unwrap();
    assert!(learner.last_error().unwrap().is_finite());
    assert!(learner.is_lost());
}
