//! What a decision and an update of each learner cost, at batch size 1.
//!
//! `update` is one whole `learn`: normalisers, forward passes, TD error, backward pass and Adam. The networks
//! are warmed up on the toy device first, and must be alive: a network of dead units would still be timed at
//! full cost here, but its numbers would say nothing about one that learns.

use criterion::{Criterion, criterion_group, criterion_main};
use hwmeter::learn::dqn::Dqn;
use hwmeter::learn::environment::tasks;
use hwmeter::learn::{Learner, LearnerName, Placement, Settings, State, Transition, ac, build, dqn};
use std::hint::black_box;

/// A cycle of transitions from the toy device.
fn transitions() -> Vec<Transition> {
    let tasks = tasks(501, 7);
    let one = |(i, pair): (usize, &[hwmeter::learn::environment::ToyTask])| {
        let placement = Placement::ALL[i % 3];
        let (state, next_state) = (pair[0].state, pair[1].state);
        Transition {
            state,
            placement,
            reward: pair[0].rewards[i % 3],
            next_state,
        }
    };
    tasks.windows(2).enumerate().map(one).collect()
}

fn time(criterion: &mut Criterion, label: &str, learner: &mut dyn Learner, transitions: &[Transition]) {
    let mut group = criterion.benchmark_group(label);
    let mut cycle = transitions.iter().cycle();
    let mut next = move || *cycle.next().expect("a cycle never ends");
    group.bench_function("update", |b| {
        b.iter(|| learner.learn(black_box(&next())).expect("finite"))
    });
    let states: Vec<State> = transitions.iter().map(|t| t.state).collect();
    let mut cycle = states.iter().cycle();
    group.bench_function("decide", |b| {
        b.iter(|| {
            learner
                .decide(black_box(cycle.next().expect("a cycle never ends")))
                .expect("finite")
        })
    });
    group.finish();
}

fn learners(criterion: &mut Criterion) {
    let transitions = transitions();
    let published = Settings {
        ac: ac::Config::published(),
        ..Settings::default()
    };
    for (label, name, settings) in [
        ("ac 2x64", LearnerName::Ac, Settings::default()),
        ("ac 2x256 gamma 0.99", LearnerName::Ac, published),
        ("dqn 4x256", LearnerName::Dqn, Settings::default()),
        ("linucb", LearnerName::Linucb, Settings::default()),
        ("random", LearnerName::Random, Settings::default()),
    ] {
        let mut learner = build(name, 1, &settings).expect("valid settings");
        transitions.iter().for_each(|t| learner.learn(t).expect("finite"));
        time(criterion, label, &mut *learner, &transitions);
    }
}

fn dqn_with_live_units(criterion: &mut Criterion) {
    let transitions = transitions();
    let mut dqn = Dqn::new(
        dqn::Config {
            gamma: 0.99,
            ..dqn::Config::default()
        },
        1,
    )
    .expect("valid settings");
    transitions.iter().for_each(|t| dqn.learn(t).expect("finite"));
    time(criterion, "dqn 4x256 gamma 0.99", &mut dqn, &transitions);
    dqn.learn(&transitions[0]).expect("finite");
    let (active, moved) = dqn.network().live_share();
    assert!(
        active > 0.1 && moved > 0.1,
        "{active} of the units answer, {moved} have a gradient"
    );
    println!("dqn 4x256 gamma 0.99: {active:.2} of the units answer, {moved:.2} have a gradient");
}

criterion_group!(benches, dqn_with_live_units, learners);
criterion_main!(benches);
