#![allow(clippy::unwrap_used)]

use super::super::environment::tasks;
use super::*;

/// Solves A x = b by elimination with row exchanges.
pub fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|i, j| a[*i][column].abs().total_cmp(&a[*j][column].abs()))
            .unwrap();
        a.swap(column, pivot);
        b.swap(column, pivot);
        for row in column + 1..n {
            let factor = a[row][column] / a[column][column];
            (column..n).for_each(|k| a[row][k] -= factor * a[column][k]);
            b[row] -= factor * b[column];
        }
    }
    for row in (0..n).rev() {
        b[row] = (b[row] - (row + 1..n).map(|k| a[row][k] * b[k]).sum::<f64>()) / a[row][row];
    }
    b
}

#[test]
fn running_solution_is_the_ridge_regression_of_all_data() {
    let mut model = Ridge::new(0.5);
    let mut a = vec![vec![0.0; TERMS]; TERMS];
    (0..TERMS).for_each(|i| a[i][i] = 0.5);
    let mut b = vec![0.0; TERMS];
    let all = tasks(600, 8);
    for task in &all {
        let phi = quadratic(&features::fixed(&features::raw(&task.state).unwrap()));
        model.observe(&phi, task.rewards[1]);
        for i in 0..TERMS {
            (0..TERMS).for_each(|j| a[i][j] += phi[i] * phi[j]);
            b[i] += task.rewards[1] * phi[i];
        }
    }
    for (fast, exact) in model.theta.iter().zip(solve(a.clone(), b)) {
        assert!((fast - exact).abs() < 1e-9, "{fast} {exact}");
    }
    let phi = quadratic(&features::fixed(&features::raw(&all[0].state).unwrap()));
    let exact = dot(&solve(a, phi.to_vec()).try_into().unwrap(), &phi).sqrt();
    assert!((model.spread(&phi) - exact).abs() < 1e-9);
}

#[test]
fn every_placement_is_tried_before_any_is_judged() {
    let mut learner = LinUcb::new(Config::default(), 0).unwrap();
    let all = tasks(4, 0);
    let mut tried = Vec::new();
    for pair in all.windows(2) {
        let placement = learner.decide(&pair[0].state).unwrap().placement;
        tried.push(placement);
        let (state, next_state) = (pair[0].state, pair[1].state);
        learner
            .learn(&Transition {
                state,
                placement,
                reward: 5.0,
                next_state,
            })
            .unwrap();
    }
    assert_eq!(tried, Placement::ALL);
}

#[test]
fn the_least_ridge_learns_and_a_smaller_one_is_refused() {
    let with = |ridge| LinUcb::new(Config { ridge, width: 0.4 }, 0);
    let error = with(1e-160).unwrap_err().to_string();
    assert!(
        error.contains("ridge is 1e-160") && error.contains("1e-6 to 1e6"),
        "{error}"
    );
    let mut learner = with(LEAST_RIDGE).unwrap();
    let score = super::super::tests::run(&mut learner, &tasks(500, 3)).unwrap();
    assert!(score.gap_closed() > 0.2 && !learner.is_lost(), "{score:?}");
}

#[test]
fn what_is_not_finite_any_more_is_lost() {
    let mut learner = LinUcb::new(Config::default(), 0).unwrap();
    learner.models = std::array::from_fn(|_| Ridge::new(1e-160));
    super::super::tests::run(&mut learner, &tasks(50, 3)).unwrap();
    assert!(learner.is_lost());
    assert!(!learner.save().is_finite() && learner.save().to_bytes().is_err());
}

/// An untried placement comes first in order to learn about it, also where all that is known is bad and nothing is known
/// of it: its prediction of 0 is none.
#[test]
fn trying_what_was_never_tried_is_exploring() {
    let all = tasks(3, 0);
    let mut learner = LinUcb::new(Config::default(), 0).unwrap();
    for (task, tried) in all.iter().zip([Placement::Local, Placement::Mec]) {
        let (state, next_state) = (task.state, task.state);
        learner
            .learn(&Transition {
                state,
                placement: tried,
                reward: -5.0,
                next_state,
            })
            .unwrap();
    }
    let decision = learner.decide(&all[2].state).unwrap();
    assert_eq!((decision.placement, decision.explored), (Placement::Cloud, true));
    assert_ne!(learner.best(&all[2].state).unwrap(), Placement::Cloud);
}
