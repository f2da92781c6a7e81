//! What holds for every learner, and how well they learn.

#![allow(clippy::unwrap_used)]

use super::environment::{ToyTask, run, tasks};
use super::*;
use clap::ValueEnum;
use std::sync::OnceLock;

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
        let mean =
            |of: fn(&environment::Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
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

#[test]
fn a_restored_learner_goes_on_as_if_nothing_had_happened() {
    let all = tasks(300, 5);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("learner.safetensors");
    for name in LearnerName::value_variants() {
        let mut learner = build(*name, 9, &small()).unwrap();
        run(&mut *learner, &all[..150]).unwrap();
        learner.save().write(&path).unwrap();
        let checkpoint = Checkpoint::read(&path).unwrap();
        let mut restored = restore(&checkpoint).unwrap();
        assert_eq!(restored.describe(), learner.describe(), "{name}");
        let mut loaded = build(*name, 1, &small()).unwrap();
        loaded.load(&checkpoint).unwrap();
        for i in 150..299 {
            let decision = learner.decide(&all[i].state).unwrap();
            assert_eq!(decision, restored.decide(&all[i].state).unwrap(), "{name} {i}");
            assert_eq!(decision, loaded.decide(&all[i].state).unwrap(), "{name} {i}");
            for learner in [&mut learner, &mut restored, &mut loaded] {
                learner.learn(&transition(&all, i)).unwrap();
            }
        }
        assert_eq!(
            learner.save().to_bytes().unwrap(),
            restored.save().to_bytes().unwrap(),
            "{name}"
        );
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
fn damaged_checkpoints_are_errors_that_name_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("it.safetensors");
    let mut learner = build(LearnerName::Ac, 0, &small()).unwrap();
    let bytes = learner.save().to_bytes().unwrap();
    let before = learner.save();
    let mut attempt = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::read(&path)
            .and_then(|c| learner.load(&c))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("it.safetensors") && error.contains(what),
            "{error}"
        );
        assert_eq!(learner.save(), before);
    };
    for length in [0, 1, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        attempt(&bytes[..length], "damaged");
    }
    attempt(&[&bytes[..], b"x"].concat(), "damaged");
    attempt(&[0xA5; 5000], "damaged");
    attempt(b"\x02\0\0\0\0\0\0\0{}", "not one of hwmeter");

    let replaced = |from: &str, to: &str| {
        let at = bytes
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    attempt(&replaced(r#"format\":1"#, r#"format\":2"#), "format 2");
    attempt(&replaced(r#"learner\":"#, r#"lerner_\":"#), "header is damaged");
    attempt(
        &replaced("actor.1.bias.square", "actor.1.bias.squirm"),
        "actor.1.bias.square is missing",
    );
    // The tensors' bytes come last, moments and weights among them: -NaN and -1 there must not get in.
    for (value, what) in [(f32::NAN, "not finite"), (-1.0, "negative")] {
        let mut bytes = bytes.clone();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&value.to_le_bytes());
        attempt(&bytes, what);
    }
}

#[test]
fn any_flipped_byte_is_either_an_error_or_harmless() {
    let mut learner = build(LearnerName::Dqn, 0, &small()).unwrap();
    let bytes = learner.save().to_bytes().unwrap();
    let state = tasks(1, 0)[0].state;
    for at in (0..bytes.len()).step_by(7) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x41;
        if let Ok(mut restored) = Checkpoint::from_bytes(&bytes, "x".to_owned()).and_then(|c| restore(&c)) {
            restored.decide(&state).unwrap();
        }
    }
    learner.decide(&state).unwrap();
}

#[test]
fn a_checkpoint_of_another_learner_or_size_is_refused() {
    let mut learner = build(LearnerName::Dqn, 0, &small()).unwrap();
    let other = build(LearnerName::Dqn, 0, &Settings::default()).unwrap().save();
    let error = learner.load(&other).unwrap_err().to_string();
    assert!(error.contains("4x256") && error.contains("20-16"), "{error}");
    let other = build(LearnerName::Ac, 0, &small()).unwrap().save();
    let error = learner.load(&other).unwrap_err().to_string();
    assert!(error.contains("ac 2x12") && error.contains("dqn"), "{error}");
}

#[test]
fn writing_replaces_the_whole_file_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.safetensors");
    let checkpoint = build(LearnerName::Random, 0, &Settings::default())
        .unwrap()
        .save();
    std::fs::write(&path, "old").unwrap();
    checkpoint.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap().header(), checkpoint.header());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let error = checkpoint
        .write(&directory.path().join("no/such/a.safetensors"))
        .unwrap_err();
    assert!(error.to_string().contains("no/such/a.safetensors"), "{error}");
    std::fs::create_dir(directory.path().join("taken")).unwrap();
    assert!(checkpoint.write(&directory.path().join("taken")).is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
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
