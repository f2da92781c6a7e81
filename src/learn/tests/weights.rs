//! What decisions depend on, apart from what learning needs.

use super::*;

/// A learner after `n` tasks.
fn taught(name: LearnerName, seed: u64, n: usize) -> Box<dyn Learner> {
    let mut learner = build(name, seed, &small()).unwrap();
    run(&mut *learner, &tasks(n, seed)).unwrap();
    learner
}

#[test]
fn a_learner_with_the_weights_of_another_decides_as_it_does() {
    for name in LearnerName::value_variants() {
        let (mut one, mut other) = (taught(*name, 1, 120), taught(*name, 2, 60));
        other.set_weights(&one.weights()).unwrap();
        assert_eq!(other.weights(), one.weights(), "{name}");
        // The generator of `other` has made other draws.
        let draws = one.save();
        let rest = other.save().with_decisions_of(&draws);
        other.load(&rest).unwrap();
        for task in tasks(100, 3) {
            let expected = one.decide(&task.state).unwrap();
            assert_eq!(other.decide(&task.state).unwrap(), expected, "{name}");
        }
    }
}

#[test]
fn weights_replace_nothing_but_weights() {
    for name in [
        LearnerName::Ac,
        LearnerName::Dqn,
        LearnerName::StreamQ,
        LearnerName::StreamAc,
    ] {
        let mut learner = taught(name, 1, 60);
        let (before, own) = (learner.save(), learner.weights());
        learner.set_weights(&taught(name, 2, 60).weights()).unwrap();
        assert_ne!(learner.save(), before, "{name}");
        learner.set_weights(&own).unwrap();
        assert_eq!(learner.save(), before, "{name}");
    }
}

#[test]
fn weights_hold_no_moments_traces_or_kept_transitions() {
    let names = |name| {
        let weights = taught(name, 1, 60).weights();
        weights
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect::<Vec<_>>()
    };
    let ends = ["mean", "square", "steps", "trace", "replay", "rng"];
    for name in LearnerName::value_variants() {
        let names = names(*name);
        let is_clean = names.iter().all(|n| !ends.iter().any(|end| n.contains(end)));
        assert!(is_clean, "{name}: {names:?}");
        assert!(
            names.is_sorted() && names.contains(&"updates".to_owned()),
            "{name}"
        );
    }
    assert!(names(LearnerName::Dqn).contains(&"target.0.weight".to_owned()));
    assert!(names(LearnerName::Ac).contains(&"critic.2.bias".to_owned()));
}

/// Changes one tensor of `weights`.
fn changed(weights: &Weights, name: &str, change: impl Fn(&mut Vec<usize>, &mut Values)) -> Weights {
    let mut weights = weights.clone();
    let tensor = weights.get(name).unwrap();
    let (mut shape, mut values) = (tensor.shape().to_vec(), tensor.values().clone());
    change(&mut shape, &mut values);
    weights.insert(name.to_owned(), Tensor::new(shape, values).unwrap());
    weights
}

fn set_first(to: f64) -> impl Fn(&mut Vec<usize>, &mut Values) {
    move |_, values| match values {
        Values::F32(values) => values[0] = to as f32,
        Values::F64(values) => values[0] = to,
    }
}

#[test]
fn weights_that_do_not_fit_are_refused_and_change_nothing() {
    for name in LearnerName::value_variants() {
        let mut learner = taught(*name, 1, 60);
        let before = learner.save();
        let good = taught(*name, 2, 60).weights();
        let mut refuse = |bad: &Weights, what: &str| {
            let error = learner.set_weights(bad).unwrap_err().to_string();
            assert!(error.contains(what), "{name}: {error} lacks {what:?}");
            assert_eq!(learner.save(), before, "{name}: {what}");
        };
        let mut extra = good.clone();
        extra.insert(
            "zoo".to_owned(),
            Tensor::new(vec![1], Values::F64(vec![0.0])).unwrap(),
        );
        refuse(&extra, "no zoo");
        refuse(&Weights::default(), "missing");
        for (tensor, _) in good.iter() {
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                refuse(&changed(&good, tensor, set_first(bad)), "not finite");
            }
            let longer = |shape: &mut Vec<usize>, _: &mut Values| shape.push(1);
            refuse(&changed(&good, tensor, longer), "shape");
            let other = |_: &mut Vec<usize>, values: &mut Values| {
                *values = match values {
                    Values::F32(v) => Values::F64(vec![0.0; v.len()]),
                    Values::F64(v) => Values::F32(vec![0.0; v.len()]),
                };
            };
            refuse(&changed(&good, tensor, other), "of type");
        }
        refuse(&changed(&good, "updates", set_first(-1.0)), "expected a count");
        refuse(&changed(&good, "updates", set_first(0.5)), "expected a count");
    }
}

#[test]
fn statistics_and_counts_that_cannot_be_are_refused() {
    let refuse = |name: LearnerName, tensor: &str| {
        let mut learner = taught(name, 1, 20);
        let bad = changed(&learner.weights(), tensor, set_first(-1.0));
        learner.set_weights(&bad).unwrap_err().to_string()
    };
    let error = refuse(LearnerName::Dqn, "normaliser.state");
    assert!(error.contains("normaliser.state"), "{error}");
    let error = refuse(LearnerName::Linucb, "normaliser.reward");
    assert!(error.contains("normaliser.reward"), "{error}");
    let error = refuse(LearnerName::Greedy, "averages");
    assert!(error.contains("averages"), "{error}");
}

#[test]
fn a_shape_without_room_for_its_numbers_is_no_tensor() {
    let values = || Values::F32(vec![0.0; 6]);
    assert!(Tensor::new(vec![2, 3], values()).is_some());
    assert!(Tensor::new(vec![2, 2], values()).is_none());
    assert!(Tensor::new(vec![usize::MAX, 2], values()).is_none());
}

/// Where a learner is trained must not matter: what it has learned depends on its seed and on the transitions, not on
/// what was decided in between.
#[test]
fn deciding_in_between_changes_nothing_that_is_learned() {
    let all = tasks(200, 4);
    let mut settings = small();
    (settings.stream_q.gamma, settings.stream_ac.gamma) = (0.5, 0.5);
    for name in LearnerName::value_variants() {
        let mut decides = build(*name, 7, &settings).unwrap();
        let mut learns = build(*name, 7, &settings).unwrap();
        for i in 0..199 {
            for _ in 0..i % 3 {
                decides.decide(&all[198 - i].state).unwrap();
                decides.best(&all[i].state).unwrap();
            }
            decides
                .learn_with_cost(&transition(&all, i), &all[i].costs[0])
                .unwrap();
            learns
                .learn_with_cost(&transition(&all, i), &all[i].costs[0])
                .unwrap();
        }
        assert_eq!(decides.weights(), learns.weights(), "{name}");
        let everything = decides.save().with_decisions_of(&learns.save());
        assert_eq!(everything, learns.save(), "{name}");
    }
}
