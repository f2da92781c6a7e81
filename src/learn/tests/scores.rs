//! How well learners learn.

use super::*;
use std::sync::OnceLock;

/// Runs of 500 tasks with two changes of regime, made once for all tests.
fn runs() -> &'static [Vec<ToyTask>] {
    static RUNS: OnceLock<Vec<Vec<ToyTask>>> = OnceLock::new();
    RUNS.get_or_init(|| (0..6).map(|seed| tasks(500, 1000 + seed)).collect())
}

/// Share of the gap from random to oracle that a learner closes, mean over the first `count` runs.
fn mean_gap_closed(name: LearnerName, settings: &Settings, count: usize) -> f64 {
    let one = |(seed, tasks): (usize, &Vec<ToyTask>)| {
        let mut learner = build(name, seed as u64, settings).unwrap();
        run(&mut *learner, tasks).unwrap().gap_closed()
    };
    runs()[..count].iter().enumerate().map(one).sum::<f64>() / count as f64
}

#[test]
#[ignore = "prints a table: cargo test --release learn::tests::scores -- --ignored --nocapture"]
fn scores() {
    let published = Settings {
        ac: ac::Config::published(),
        ..Default::default()
    };
    let default = Settings::default();
    let learners = [
        ("linucb", LearnerName::Linucb, &default),
        ("d-linucb", LearnerName::DLinucb, &default),
        ("greedy", LearnerName::Greedy, &default),
        ("stream-q", LearnerName::StreamQ, &default),
        ("stream-ac", LearnerName::StreamAc, &default),
        ("dqn", LearnerName::Dqn, &default),
        ("ac", LearnerName::Ac, &default),
        ("ac published", LearnerName::Ac, &published),
        ("cloud", LearnerName::Cloud, &default),
        ("mec", LearnerName::Mec, &default),
        ("local", LearnerName::Local, &default),
        ("random", LearnerName::Random, &default),
    ];
    let all: Vec<_> = (0..24).map(|seed| tasks(500, 5000 + seed)).collect();
    for (label, name, settings) in learners {
        let scores = all
            .iter()
            .enumerate()
            .map(|(seed, tasks)| run(&mut *build(name, seed as u64, settings).unwrap(), tasks).unwrap());
        let scores: Vec<_> = scores.collect();
        let mean = |of: fn(&Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
        let worst = scores.iter().map(|s| s.gap_closed()).fold(f64::MAX, f64::min);
        let (gap, reward) = (mean(|s| s.gap_closed()), mean(|s| s.learner));
        println!("{label}: closes {gap:.3} (worst run {worst:.3}), mean reward {reward:.3}");
    }
}

#[test]
fn the_bandit_learns_almost_everything_in_500_tasks() {
    let score = mean_gap_closed(LearnerName::Linucb, &Settings::default(), 6);
    assert!(score > 0.85, "{score}");
}

#[test]
fn dqn_learns_seven_tenths_in_500_tasks() {
    let score = mean_gap_closed(LearnerName::Dqn, &Settings::default(), 2);
    assert!(score > 0.7, "{score}");
}

#[test]
fn actor_critic_learns_seven_tenths_in_500_tasks() {
    let score = mean_gap_closed(LearnerName::Ac, &Settings::default(), 6);
    assert!(score > 0.7, "{score}");
}

#[test]
fn fixed_policies_do_as_they_say() {
    let all = tasks(500, 1);
    for (name, placement) in [
        (LearnerName::Local, Placement::Local),
        (LearnerName::Mec, Placement::Mec),
        (LearnerName::Cloud, Placement::Cloud),
    ] {
        let mut learner = build(name, 0, &Settings::default()).unwrap();
        assert!(
            all.iter()
                .all(|t| learner.decide(&t.state).unwrap().placement == placement)
        );
    }
    assert!(mean_gap_closed(LearnerName::Random, &Settings::default(), 6).abs() < 0.05);
}
