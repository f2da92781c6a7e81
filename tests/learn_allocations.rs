//! Once warm, a learner decides and learns without a single allocation.

use clap::ValueEnum;
use hwmeter::learn::environment::tasks;
use hwmeter::learn::{LearnerName, Placement, Settings, Transition, ac, build, dqn};

#[path = "../hw/tests/common/counting.rs"]
mod counting;

use counting::allocations;

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))) >= 1);
}

#[test]
fn deciding_and_learning_allocate_nothing() {
    let settings = Settings {
        ac: ac::Config {
            gamma: 0.99,
            ..ac::Config::default()
        },
        dqn: dqn::Config {
            gamma: 0.99,
            ..dqn::Config::default()
        },
        ..Settings::default()
    };
    let tasks = tasks(101, 1);
    let mut with_all = settings.clone();
    (with_all.dqn.target_every, with_all.dqn.target_tau) = (1, 0.05);
    (with_all.dqn.replay, with_all.dqn.replay_batch) = (30, 2);
    let all = LearnerName::value_variants().iter().map(|name| (name, &settings));
    for (name, settings) in all.chain([(&LearnerName::Dqn, &with_all)]) {
        let mut learner = build(*name, 1, settings).expect("valid settings");
        let mut run = |tasks: &[hwmeter::learn::environment::ToyTask]| {
            for (i, pair) in tasks.windows(2).enumerate() {
                learner.decide(&pair[0].state).expect("finite");
                let placement = Placement::ALL[i % 3];
                let transition = Transition {
                    state: pair[0].state,
                    placement,
                    reward: pair[0].rewards[i % 3],
                    next_state: pair[1].state,
                };
                learner.learn(&transition).expect("finite");
            }
        };
        run(&tasks[..20]);
        assert_eq!(allocations(|| run(&tasks[20..])), 0, "{name}");
    }
}
