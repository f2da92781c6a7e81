//! The torch engine against the native one, and its errors. Over 1,000 updates against f64: `bench/tests/torch.rs`.

#![allow(clippy::unwrap_used)]

use super::super::adam::Adam;
use super::super::engine::Engine;
use super::super::environment::{ToyTask, tasks};
use super::super::mlp::Activation;
use super::super::network::{Network, Parts};
use super::super::optimiser::OptimiserName;
use super::super::random::seeded;
use super::super::reference::empty;
use super::super::{Checkpoint, Decision, Placement, Tensor, Transition, Values};
use super::*;

const CPU: Engine = Engine::Torch(Device::Cpu);

/// The default networks with everything in use; explores half of the time at first.
fn settings() -> Settings {
    let mut settings = Settings::default();
    (settings.dqn.gamma, settings.ac.gamma) = (0.9, 0.9);
    settings.dqn.epsilon_start = 0.5;
    settings
}

/// Small ones, with a target network and a replay too.
fn small() -> Settings {
    let mut settings = settings();
    (settings.dqn.target_every, settings.dqn.target_tau) = (7, 0.5);
    (settings.dqn.replay, settings.dqn.replay_batch) = (30, 2);
    (settings.dqn.hidden, settings.ac.hidden) = (vec![20, 16], vec![12, 13]);
    settings
}

/// Decides and learns; returns the decisions.
fn drive(learner: &mut dyn Learner, tasks: &[ToyTask]) -> Vec<Decision> {
    let one = |pair: &[ToyTask]| {
        let decision = learner.decide(&pair[0].state).unwrap();
        let transition = Transition {
            state: pair[0].state,
            placement: decision.placement,
            reward: pair[0].rewards[decision.placement as usize],
            next_state: pair[1].state,
        };
        learner.learn(&transition).unwrap();
        decision
    };
    tasks.windows(2).map(one).collect()
}

/// The largest distance between weights of two checkpoints.
fn distance(a: &Checkpoint, b: &Checkpoint, settings: &Settings) -> f32 {
    let networks = match a.header().learner {
        LearnerName::Dqn if settings.dqn.target_every > 0 => vec![("q", 3), ("target", 3)],
        LearnerName::Dqn => vec![("q", 3)],
        _ => vec![("actor", 3), ("critic", 1)],
    };
    let mut largest = 0f32;
    for (prefix, outputs) in networks {
        let hidden = match prefix {
            "actor" | "critic" => &settings.ac.hidden,
            _ => &settings.dqn.hidden,
        };
        let sizes = super::super::settings::sizes(hidden, outputs);
        for (i, pair) in sizes.windows(2).enumerate() {
            for (part, shape) in [("weight", vec![pair[1], pair[0]]), ("bias", vec![pair[1]])] {
                let name = format!("{prefix}.{i}.{part}");
                let of = |c: &Checkpoint| c.f32s(&name, &shape).unwrap().to_vec();
                let apart = of(a).into_iter().zip(of(b)).map(|(a, b)| (a - b).abs());
                largest = apart.fold(largest, f32::max);
            }
        }
    }
    largest
}

#[test]
fn a_hundred_updates_give_the_decisions_and_weights_of_the_native_engine() {
    let all = tasks(101, 3);
    for name in [LearnerName::Dqn, LearnerName::Ac] {
        let mut native = Engine::Native.build(name, 5, &settings()).unwrap();
        let mut torch = CPU.build(name, 5, &settings()).unwrap();
        assert_eq!(
            torch.save().to_bytes().unwrap(),
            native.save().to_bytes().unwrap()
        );
        assert_eq!(
            drive(&mut *torch, &all),
            drive(&mut *native, &all),
            "{name}: decisions"
        );
        let apart = distance(&torch.save(), &native.save(), &settings());
        assert!(0.0 < apart && apart < 1e-5, "{name}: {apart}");
    }
}

#[test]
fn each_engine_goes_on_from_a_checkpoint_of_the_other() {
    let all = tasks(301, 4);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("learner.safetensors");
    for name in [LearnerName::Dqn, LearnerName::Ac] {
        for (from, to) in [(Engine::Native, CPU), (CPU, Engine::Native)] {
            let mut learner = from.build(name, 9, &small()).unwrap();
            drive(&mut *learner, &all[..151]);
            learner.save().write(&path).unwrap();
            let saved = Checkpoint::read(&path).unwrap();
            let mut other = to.restore(&saved).unwrap();
            // Nothing is lost on the way: moments, counts and the generator too.
            assert_eq!(other.save(), learner.save(), "{name} {from:?}");
            assert_ne!(other.describe().engine, learner.describe().engine);
            assert_eq!(
                drive(&mut *other, &all[150..]),
                drive(&mut *learner, &all[150..]),
                "{name} {from:?}"
            );
            let apart = distance(&other.save(), &learner.save(), &small());
            assert!(apart < 1e-4, "{name} {from:?}: {apart}");
        }
    }
}

#[test]
fn plain_gradient_descent_is_the_same_too() {
    let all = tasks(101, 6);
    let mut settings = small();
    settings.dqn.optimiser = OptimiserName::Sgd;
    let mut native = Engine::Native.build(LearnerName::Dqn, 2, &settings).unwrap();
    let mut torch = CPU.build(LearnerName::Dqn, 2, &settings).unwrap();
    let before = native.save();
    assert_eq!(drive(&mut *torch, &all), drive(&mut *native, &all));
    let (apart, moved) = (
        distance(&torch.save(), &native.save(), &settings),
        distance(&before, &native.save(), &settings),
    );
    assert!(apart < 1e-5 && moved > 1e-4, "{apart} {moved}");
    assert_eq!(CPU.restore(&native.save()).unwrap().save(), native.save());
}

#[test]
fn weights_go_from_one_engine_to_the_other_and_nothing_else_does() {
    for name in [LearnerName::Dqn, LearnerName::Ac] {
        for (from, to) in [(Engine::Native, CPU), (CPU, Engine::Native), (CPU, CPU)] {
            let mut one = from.build(name, 1, &small()).unwrap();
            let mut other = to.build(name, 2, &small()).unwrap();
            drive(&mut *one, &tasks(101, 1));
            drive(&mut *other, &tasks(51, 2));
            let (own, before) = (other.weights(), other.save());
            other.set_weights(&one.weights()).unwrap();
            assert_eq!(other.weights(), one.weights(), "{name} {from:?} {to:?}");
            for task in tasks(50, 3) {
                let best = one.best(&task.state).unwrap();
                assert_eq!(other.best(&task.state).unwrap(), best, "{name} {from:?} {to:?}");
            }
            other.set_weights(&own).unwrap();
            assert_eq!(other.save(), before, "{name}: moments, transitions, generators");
        }
    }
}

#[test]
fn weights_that_do_not_fit_change_nothing() {
    let mut learner = CPU.build(LearnerName::Dqn, 0, &small()).unwrap();
    drive(&mut *learner, &tasks(20, 1));
    let before = learner.save();
    // The first tensors are fine, so that setting them in place would have changed something.
    let mut bad = CPU.build(LearnerName::Dqn, 1, &small()).unwrap().weights();
    let nan = Tensor::new(vec![1], Values::F64(vec![f64::NAN])).unwrap();
    bad.insert("updates".to_owned(), nan);
    let error = learner.set_weights(&bad).unwrap_err().to_string();
    assert!(
        error.contains("updates holds a number that is not finite"),
        "{error}"
    );
    assert_eq!(learner.save(), before);
}

#[test]
fn deciding_in_between_changes_nothing_that_is_learned() {
    let all = tasks(101, 4);
    for name in [LearnerName::Dqn, LearnerName::Ac] {
        let mut decides = CPU.build(name, 7, &small()).unwrap();
        let mut learns = CPU.build(name, 7, &small()).unwrap();
        for (i, pair) in all.windows(2).enumerate() {
            let placement = Placement::ALL[i * 7 % 3];
            let transition = Transition {
                state: pair[0].state,
                placement,
                reward: pair[0].rewards[placement as usize],
                next_state: pair[1].state,
            };
            for _ in 0..i % 3 {
                decides.decide(&pair[1].state).unwrap();
            }
            decides.learn(&transition).unwrap();
            learns.learn(&transition).unwrap();
        }
        assert_eq!(decides.weights(), learns.weights(), "{name}");
    }
}

#[test]
fn a_bad_checkpoint_changes_nothing() {
    let mut learner = CPU.build(LearnerName::Dqn, 0, &small()).unwrap();
    drive(&mut *learner, &tasks(20, 1));
    let before = learner.save();
    let mut bad = before.clone();
    // The first tensors are fine, so that a load in place would have changed something.
    bad.put_f32("q.0.weight", &[20, 5], vec![0.5; 100]);
    bad.put_f32("q.1.weight.square", &[16, 20], vec![-1.0; 320]);
    let error = learner.load(&bad).unwrap_err().to_string();
    assert!(error.contains("q.1.weight.square holds a negative"), "{error}");
    assert_eq!(learner.save(), before);
}

#[test]
fn descriptions_name_the_device() {
    let description = CPU
        .build(LearnerName::Dqn, 0, &Settings::default())
        .unwrap()
        .describe();
    assert_eq!(
        (description.engine, description.parameters),
        ("torch (cpu)", 199_683)
    );
}

#[test]
fn other_learners_are_told_to_have_no_torch_engine() {
    for name in <LearnerName as clap::ValueEnum>::value_variants() {
        match CPU.build(*name, 0, &Settings::default()) {
            Ok(_) => assert!(CPU.has(*name)),
            Err(error) => {
                let error = error.to_string();
                assert!(!CPU.has(*name));
                assert!(error.contains(&format!("{name} has no torch engine")), "{error}");
            }
        }
    }
}

#[test]
fn a_step_needs_a_forward_pass_of_its_own() {
    let native = Mlp::new(&[5, 4, 3], Activation::Tanh, 1.0, Adam::default(), &mut seeded(1));
    let mut network = TorchNetwork::new(&native, Device::Cpu).unwrap();
    network.forward(&[0.5; 5]).unwrap();
    network.descend(&[1.0; 3]).unwrap();
    let mut once = empty();
    network.save("n", &mut once);
    let error = network.descend(&[1.0; 3]).unwrap_err().to_string();
    assert!(
        error.contains("torch (cpu)") && error.contains("no forward pass"),
        "{error}"
    );
    let mut twice = empty();
    network.save("n", &mut twice);
    assert_eq!(once, twice);
}
