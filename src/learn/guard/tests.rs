#![allow(clippy::unwrap_used)]

use super::super::environment::{tasks, transitions};
use super::super::{LearnerName, build, dqn};
use super::*;

const COST: Cost = Cost {
    energy_j: 1.0,
    latency_s: 1.0,
    in_time: true,
};

/// A step size that no network survives.
fn wild() -> Settings {
    let dqn = dqn::Config {
        hidden: vec![16; 2],
        rate: 1e4,
        ..Default::default()
    };
    Settings {
        dqn,
        ..Default::default()
    }
}

#[test]
fn a_network_that_runs_away_is_noticed_and_left_as_it_is() {
    let mut guard = Guard::new(build(LearnerName::Dqn, 0, &wild()).unwrap());
    for transition in transitions(100, 1) {
        guard.learn(&transition, &COST).unwrap();
    }
    assert!(guard.is_diverged());
    assert_eq!((guard.counts().divergences, guard.counts().resets), (1, 0));
}

#[test]
fn it_starts_anew_only_if_asked_to() {
    let learner = build(LearnerName::Dqn, 0, &wild()).unwrap();
    let mut guard = Guard::new(learner).reset_on_divergence(Engine::Native, Settings::default(), 0);
    for transition in transitions(100, 1) {
        guard.learn(&transition, &COST).unwrap();
    }
    assert!(!guard.is_diverged());
    assert_eq!((guard.counts().divergences, guard.counts().resets), (1, 1));
}

#[test]
fn no_learner_with_its_defaults_is_taken_for_diverged() {
    for name in <LearnerName as clap::ValueEnum>::value_variants() {
        let mut guard = Guard::new(build(*name, 0, &Settings::default()).unwrap());
        for transition in transitions(200, 1) {
            // Rewards of another size and place must not matter.
            let reward = 1e6 * transition.reward - 1e9;
            guard.learn(&Transition { reward, ..transition }, &COST).unwrap();
            assert!(!guard.is_diverged(), "{name}");
        }
    }
}

#[test]
fn what_is_not_finite_is_counted_and_the_run_goes_on() {
    let mut guard = Guard::new(build(LearnerName::Linucb, 0, &Settings::default()).unwrap());
    let good = transitions(1, 0)[0];
    let bad = State {
        mec_free: f64::NAN,
        ..good.state
    };
    let (decision, error) = guard.decide(&bad);
    assert_eq!(decision.placement, Placement::Local);
    assert!(error.unwrap().to_string().contains("mec_free"));
    let reward = f64::INFINITY;
    assert!(guard.learn(&Transition { reward, ..good }, &COST).is_err());
    let energy_j = f64::NAN;
    assert!(guard.learn(&good, &Cost { energy_j, ..COST }).is_err());
    assert_eq!(
        (
            guard.counts().rejected_states,
            guard.counts().rejected_transitions
        ),
        (1, 2)
    );
}

#[test]
fn evaluating_explores_nothing() {
    let mut settings = Settings::default();
    settings.dqn.epsilon_start = 1.0;
    settings.dqn.hidden = vec![16];
    let mut guard = Guard::new(build(LearnerName::Dqn, 0, &settings).unwrap()).evaluating();
    assert!(!guard.learns());
    for task in tasks(50, 0) {
        let (decision, _) = guard.decide(&task.state);
        assert!(!decision.explored);
        assert_eq!(guard.decide(&task.state).0, decision);
    }
}
