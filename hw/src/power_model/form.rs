//! The shape of the function and its weights: least squares of which none is negative, and their cross-validation.

use super::{deviation, ramp, rounded};
use crate::load_steps::LoadStep;

/// Segments of the piecewise linear function at most, and steps that each needs.
const MOST_SEGMENTS: usize = 3;
const STEPS_PER_SEGMENT: usize = 3;
/// Frequencies that differ by less are one.
const FREQUENCY_SPREAD: f64 = 0.1;

/// The shape of the function, before its weights are known.
pub(super) struct Form {
    pub knots: Vec<f64>,
    /// Powers of the relative frequency.
    pub powers: &'static [i32],
    pub max_hz: Option<f64>,
}

impl Form {
    pub fn of(steps: &[LoadStep], highest_hz: Option<f64>) -> Self {
        let highest = steps.iter().map(|step| step.utilisation).fold(0.0, f64::max);
        let segments = (steps.len() / STEPS_PER_SEGMENT).clamp(1, MOST_SEGMENTS);
        let seen: Option<Vec<f64>> = steps.iter().map(|step| step.hz).collect();
        let seen = seen.unwrap_or_default();
        let lowest_hz = seen.iter().copied().fold(f64::INFINITY, f64::min);
        let fastest_hz = seen.iter().copied().fold(0.0, f64::max);
        let varies = fastest_hz > lowest_hz * (1.0 + FREQUENCY_SPREAD);
        let knot = |j: usize| rounded(highest * j as f64 / segments as f64);
        Self {
            knots: (0..=segments).map(knot).collect(),
            powers: if varies { &[0, 1, 3] } else { &[0] },
            max_hz: varies.then(|| highest_hz.unwrap_or(fastest_hz).max(fastest_hz)),
        }
    }

    /// What each weight is multiplied with at a step; the first is that of the idle power.
    fn row(&self, step: &LoadStep) -> Vec<f64> {
        let x = match (step.hz, self.max_hz) {
            (Some(hz), Some(max)) => hz / max,
            _ => 1.0,
        };
        let mut row = vec![1.0];
        for j in 0..self.knots.len() - 1 {
            let ramp = ramp(&self.knots, j, step.utilisation);
            row.extend(self.powers.iter().map(|&p| ramp * x.powi(p)));
        }
        row
    }

    /// The weights of the least squares, none negative.
    pub fn solve(&self, steps: &[LoadStep]) -> Vec<f64> {
        let n = 1 + (self.knots.len() - 1) * self.powers.len();
        let (mut squares, mut products) = (vec![vec![0.0; n]; n], vec![0.0; n]);
        for step in steps {
            let row = self.row(step);
            let weight = deviation(step).powi(-2);
            for i in 0..n {
                products[i] += weight * row[i] * step.watts.0;
                for j in 0..n {
                    squares[i][j] += weight * row[i] * row[j];
                }
            }
        }
        nonnegative_least_squares(&squares, &products)
    }

    /// Root mean square of the relative error with which the steps are predicted without themselves.
    pub fn cross_validated(&self, steps: &[LoadStep]) -> f64 {
        let mut sum = 0.0;
        for left_out in 0..steps.len() {
            let mut others = steps.to_vec();
            let step = others.remove(left_out);
            let weights = self.solve(&others);
            let predicted: f64 = weights.iter().zip(self.row(&step)).map(|(w, x)| w * x).sum();
            sum += ((predicted - step.watts.0) / step.watts.0).powi(2);
        }
        (sum / steps.len() as f64).sqrt()
    }
}

/// Minimises x'Hx/2 - b'x over x >= 0: each coordinate in turn goes to its own minimum, until none moves.
pub(super) fn nonnegative_least_squares(h: &[Vec<f64>], b: &[f64]) -> Vec<f64> {
    const MOST_TURNS: usize = 20_000;
    let mut x = vec![0.0; b.len()];
    for _ in 0..MOST_TURNS {
        let mut largest: f64 = 0.0;
        for i in 0..x.len() {
            if h[i][i] <= 0.0 {
                continue; // no step reaches this segment
            }
            let gradient: f64 = h[i].iter().zip(&x).map(|(h, x)| h * x).sum::<f64>() - b[i];
            let to = (x[i] - gradient / h[i][i]).max(0.0);
            largest = largest.max((to - x[i]).abs());
            x[i] = to;
        }
        if largest < 1e-9 {
            break;
        }
    }
    x
}
