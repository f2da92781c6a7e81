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

/// Goes through all transitions; before each `every`th it is stopped and restored from the bytes of its checkpoint.
fn stopped(mut guard: Guard, every: usize) -> Guard {
    for (i, transition) in transitions(70, 1).iter().enumerate() {
        if i % every == every - 1 {
            let bytes = guard.save().to_bytes().unwrap();
            let checkpoint = Checkpoint::from_bytes(&bytes, "it".to_owned()).unwrap();
            let engine = Engine::Native;
            guard = Guard::restore(&checkpoint, engine, guard.rebuild.is_some()).unwrap();
        }
        guard.learn(transition, &COST).unwrap();
    }
    guard
}

#[test]
fn stopped_and_restored_at_any_point_it_goes_on_as_if_it_never_was() {
    let mut settings = wild();
    (settings.dqn.rate, settings.dqn.replay) = (1e-3, 20);
    settings.ac.hidden = vec![8; 2];
    for name in <LearnerName as clap::ValueEnum>::value_variants() {
        let fresh = || Guard::new(build(*name, 3, &settings).unwrap());
        let whole = stopped(fresh(), usize::MAX).save();
        for every in [1, 7] {
            assert_eq!(stopped(fresh(), every).save(), whole, "{name} {every}");
        }
    }
}

#[test]
fn a_learner_that_diverges_again_and_again_is_built_anew_alike_wherever_it_was_stopped() {
    let fresh = || {
        let learner = build(LearnerName::Dqn, 3, &wild()).unwrap();
        Guard::new(learner).reset_on_divergence(Engine::Native, wild(), 3)
    };
    let whole = stopped(fresh(), usize::MAX);
    assert!(whole.counts().resets > 2, "{:?}", whole.counts());
    for every in [1, 2, 3, 7] {
        assert_eq!(stopped(fresh(), every).save(), whole.save(), "{every}");
    }
}

#[test]
fn a_checkpoint_without_a_guard_gets_one_that_has_seen_nothing() {
    let checkpoint = build(LearnerName::Ac, 0, &Settings::default()).unwrap().save();
    let guard = Guard::restore(&checkpoint, Engine::Native, true).unwrap();
    assert_eq!((guard.counts(), guard.mean_error), (Counts::default(), 0.0));
}

/// A learner that was trained elsewhere comes home.
#[test]
fn decisions_stay_those_of_the_device_when_all_else_comes_from_elsewhere() {
    let fresh = || Guard::new(build(LearnerName::Ac, 5, &Settings::default()).unwrap());
    let (mut device, mut trainer, mut undisturbed) = (fresh(), fresh(), fresh());
    let mut nowhere = tasks(1, 0)[0].state;
    nowhere.cycles = f64::NAN;
    device.decide(&nowhere);
    undisturbed.decide(&nowhere);
    let states: Vec<State> = tasks(60, 2).iter().map(|task| task.state).collect();
    for (transition, state) in transitions(30, 1).iter().zip(&states) {
        // By old weights, but with as many draws: actor-critic makes one for each state.
        device.decide(state);
        trainer.learn(transition, &COST).unwrap();
        undisturbed.decide(state);
        undisturbed.learn(transition, &COST).unwrap();
    }
    let home = trainer.save().with_decisions_of(&device.save());
    let mut home = Guard::restore(&home, Engine::Native, false).unwrap();
    assert_eq!(home.counts().rejected_states, 1);
    assert_eq!(home.save(), undisturbed.save());
    assert_ne!(home.save(), trainer.save());
    for state in &states {
        assert_eq!(home.decide(state).0, undisturbed.decide(state).0);
    }
}

#[test]
fn errors_beyond_all_numbers_are_a_divergence_that_can_be_saved() {
    let mut guard = Guard::new(build(LearnerName::Dqn, 0, &wild()).unwrap());
    for transition in transitions(1500, 1) {
        guard.learn(&transition, &COST).unwrap();
    }
    assert!(guard.is_diverged() && guard.mean_error.is_finite());
}

#[test]
fn an_actor_that_runs_away_is_noticed_though_its_critic_is_well() {
    let mut settings = Settings::default();
    settings.ac.actor_rate = 1e6;
    let mut guard = Guard::new(build(LearnerName::Ac, 0, &settings).unwrap());
    for transition in transitions(120, 1) {
        guard.learn(&transition, &COST).unwrap();
    }
    assert!(guard.learner().last_error().unwrap().abs() < 10.0);
    assert!(guard.is_diverged() && guard.counts().divergences == 1);
}

#[test]
fn policies_with_their_defaults_stay_far_from_the_limit() {
    for name in [LearnerName::Ac, LearnerName::StreamAc] {
        let mut guard = Guard::new(build(name, 0, &Settings::default()).unwrap());
        // One placement is always the best: nothing draws the logits together but the entropy.
        for transition in transitions(3000, 1) {
            let placement = guard.decide(&transition.state).0.placement;
            let reward = if placement == Placement::Mec { -1.0 } else { -2.0 };
            let taken = Transition {
                placement,
                reward,
                ..transition
            };
            guard.learn(&taken, &COST).unwrap();
        }
        assert!(!guard.is_diverged(), "{name}");
    }
}
