#![allow(clippy::unwrap_used)]

use super::super::environment::transitions;
use super::super::linucb::tests::solve as eliminate;
use super::*;

/// V, W and b as sums over the whole past, weighted by age.
#[test]
fn the_running_solution_is_the_weighted_regression_of_all_data() {
    let config = Config {
        discount: 0.97,
        ridge: 0.5,
        ..Config::default()
    };
    let mut learner = DLinUcb::new(config.clone(), 0).unwrap();
    let all = transitions(300, 8);
    for transition in &all {
        learner.learn(transition).unwrap();
    }
    let taken = 1;
    let (mut v, mut w) = (vec![vec![0.0; TERMS]; TERMS], vec![vec![0.0; TERMS]; TERMS]);
    let mut b = vec![0.0; TERMS];
    for i in 0..TERMS {
        (v[i][i], w[i][i]) = (config.ridge, config.ridge);
    }
    for (age, transition) in all.iter().rev().enumerate() {
        if transition.placement as usize != taken {
            continue;
        }
        let weight = config.discount.powi(age as i32);
        let phi = quadratic(&features::fixed(&features::raw(&transition.state).unwrap()));
        for i in 0..TERMS {
            for j in 0..TERMS {
                v[i][j] += weight * phi[i] * phi[j];
                w[i][j] += weight * weight * phi[i] * phi[j];
            }
            b[i] += weight * transition.reward * phi[i];
        }
    }
    for (fast, exact) in learner.models[taken].theta.iter().zip(eliminate(v.clone(), b)) {
        assert!((fast - exact).abs() < 1e-9, "{fast} {exact}");
    }
    let phi = quadratic(&features::fixed(&features::raw(&all[7].state).unwrap()));
    let x = eliminate(v, phi.to_vec());
    let square: f64 = (0..TERMS)
        .flat_map(|i| (0..TERMS).map(move |j| (i, j)))
        .map(|(i, j)| x[i] * w[i][j] * x[j])
        .sum();
    assert!((learner.models[taken].spread(&phi) - square.sqrt()).abs() < 1e-9);
}

#[test]
fn what_is_not_tried_becomes_uncertain_again() {
    let mut learner = DLinUcb::new(Config::default(), 0).unwrap();
    let all = transitions(300, 2);
    let phi = quadratic(&features::fixed(&features::raw(&all[0].state).unwrap()));
    all.iter().take(60).for_each(|t| learner.learn(t).unwrap());
    let before = learner.models[2].spread(&phi);
    for transition in all.iter().cycle().take(1500) {
        let placement = Placement::Local;
        learner
            .learn(&Transition {
                placement,
                ..*transition
            })
            .unwrap();
    }
    assert!(learner.models[2].spread(&phi) > 1.2 * before);
}
