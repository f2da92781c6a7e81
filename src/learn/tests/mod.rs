//! What holds for every learner.

#![allow(clippy::unwrap_used)]

mod checkpoints;
mod scores;
mod weights;

use super::environment::{Score, ToyTask, follow, outcome, tasks};
use super::*;
use clap::ValueEnum;

/// Small networks, so that tests which are not about size stay quick.
fn small() -> Settings {
    Settings {
        dqn: dqn::Config {
            hidden: vec![20, 16],
            epsilon_start: 0.5,
            gamma: 0.5,
            target_every: 7,
            replay: 30,
            replay_batch: 2,
            ..Default::default()
        },
        ac: ac::Config {
            hidden: vec![12, 12],
            gamma: 0.5,
            ..Default::default()
        },
        ..Default::default()
    }
}

/// Lets a learner decide and learn through the tasks, in order; an error ends it.
pub(crate) fn run(learner: &mut dyn Learner, tasks: &[ToyTask]) -> Result<Score, LearnError> {
    follow(tasks, |i, task, _| {
        let placement = learner.decide(&task.state)?.placement;
        let (transition, cost) = outcome(tasks, i, placement);
        learner.learn_with_cost(&transition, &cost)?;
        Ok(placement)
    })
}

fn transition(tasks: &[ToyTask], i: usize) -> Transition {
    let placement = Placement::ALL[i * 7 % 3];
    let reward = tasks[i].rewards[placement as usize];
    Transition {
        state: tasks[i].state,
        placement,
        reward,
        next_state: tasks[i + 1].state,
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
    let all = tasks(60, 2);
    let bytes = |name, seed| {
        let mut learner = build(name, seed, &small()).unwrap();
        run(&mut *learner, &all).unwrap();
        learner.save().to_bytes().unwrap()
    };
    for name in LearnerName::value_variants() {
        assert_eq!(bytes(*name, 4), bytes(*name, 4), "{name}");
    }
    assert_ne!(bytes(LearnerName::Dqn, 4), bytes(LearnerName::Dqn, 5));
}

#[test]
fn numbers_that_are_not_finite_are_refused_and_change_nothing() {
    let all = tasks(20, 3);
    let good = transition(&all, 0);
    let state = good.state;
    for name in LearnerName::value_variants() {
        let mut learner = build(*name, 0, &small()).unwrap();
        run(&mut *learner, &all).unwrap();
        let before = learner.save();
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let states = [
                State {
                    device_free: bad,
                    ..state
                },
                State {
                    mec_free: bad,
                    ..state
                },
                State {
                    throughput_bps: bad,
                    ..state
                },
                State { cycles: bad, ..state },
                State {
                    deadline_s: bad,
                    ..state
                },
            ];
            for state in states {
                assert!(learner.decide(&state).is_err(), "{name}");
                assert!(learner.learn(&Transition { state, ..good }).is_err(), "{name}");
                assert!(
                    learner
                        .learn(&Transition {
                            next_state: state,
                            ..good
                        })
                        .is_err(),
                    "{name}"
                );
            }
            let error = learner.learn(&Transition { reward: bad, ..good }).unwrap_err();
            assert!(error.to_string().contains("reward"), "{error}");
        }
        assert_eq!(learner.save(), before, "{name}");
    }
}

#[test]
fn absurd_but_finite_numbers_leave_a_learner_finite() {
    for name in LearnerName::value_variants() {
        let mut learner = build(*name, 0, &small()).unwrap();
        for i in 0..50 {
            let x = [f64::MAX, -f64::MAX, 0.0, f64::MIN_POSITIVE, 1.0][i % 5];
            let y = [1.0, f64::MAX, -1e300][i % 3];
            let state = State {
                device_free: x,
                mec_free: y,
                throughput_bps: x,
                cycles: y,
                deadline_s: x,
            };
            let placement = learner.decide(&state).unwrap().placement;
            learner
                .learn(&Transition {
                    state,
                    placement,
                    reward: y,
                    next_state: state,
                })
                .unwrap();
        }
        let checkpoint = learner.save();
        learner
            .load(&checkpoint)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn impossible_settings_are_refused_by_name() {
    let dqn = |config| {
        build(
            LearnerName::Dqn,
            0,
            &Settings {
                dqn: config,
                ..Default::default()
            },
        )
        .err()
        .unwrap()
    };
    for hidden in [vec![], vec![0], vec![usize::MAX], vec![5000, 5000], vec![1; 17]] {
        let error = dqn(dqn::Config {
            hidden,
            ..Default::default()
        })
        .to_string();
        assert!(error.contains("dqn: hidden"), "{error}");
    }
    let error = dqn(dqn::Config {
        gamma: 1.0,
        ..Default::default()
    })
    .to_string();
    assert!(error.contains("gamma is 1"), "{error}");
    assert!(
        dqn(dqn::Config {
            rate: f64::NAN,
            ..Default::default()
        })
        .to_string()
        .contains("rate is NaN")
    );
}

#[test]
fn descriptions_name_size_and_settings() {
    let ac = Settings {
        ac: ac::Config::published(),
        ..Default::default()
    };
    let description = build(LearnerName::Ac, 0, &ac).unwrap().describe();
    assert_eq!(
        (&*description.variant, description.engine, description.parameters),
        ("2x256", "native", 135_684)
    );
    assert!(description.settings.contains(&("gamma".to_owned(), 0.99.into())));
    let dqn = build(LearnerName::Dqn, 0, &Settings::default())
        .unwrap()
        .describe();
    assert_eq!((&*dqn.variant, dqn.parameters), ("4x256", 199_683));
    assert_eq!(dqn.name.to_string(), "dqn");
}
