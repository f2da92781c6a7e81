//! The quantisation step: the greatest number of which all differences of the values are multiples.

use super::record::{Sample, changes};

/// Fewer differences may have a common step by chance.
const FEWEST_DIFFERENCES: usize = 6;
/// Numbers that are multiples of a step in decimal are so in binary to about this share of themselves.
const ROUNDING: f64 = 1e-12;
/// How closely to look: a remainder of less than the first share of the smallest difference is none, and a step that is
/// a smaller share of it than the second was not seen but guessed. First for steps that are rounded themselves, then
/// for exact ones that are small against the differences.
const VIEWS: [(f64, f64); 2] = [(0.01, 1.0 / 16.0), (1e-4, 1.0 / 400.0)];

/// The step, if the values have one. Of counters too: what counts is by how much they grow.
pub(super) fn of(samples: &[Sample]) -> Option<f64> {
    let mut values: Vec<f64> = changes(samples).iter().map(|sample| sample.value).collect();
    let largest = values
        .iter()
        .fold(0.0f64, |largest, value| largest.max(value.abs()));
    let nothing = ROUNDING * largest;
    values.sort_by(f64::total_cmp);
    let differences = values.windows(2).map(|pair| pair[1] - pair[0]);
    let differences: Vec<f64> = differences
        .filter(|difference| *difference > 8.0 * nothing)
        .collect();
    if differences.len() < FEWEST_DIFFERENCES {
        return None;
    }
    let views = VIEWS.into_iter();
    views
        .filter_map(|(remainder, share)| common_step(&differences, nothing, remainder, share))
        .next()
}

fn common_step(differences: &[f64], nothing: f64, remainder: f64, share: f64) -> Option<f64> {
    let smallest = differences.iter().copied().fold(f64::INFINITY, f64::min);
    let tolerance = (remainder * smallest).max(4.0 * nothing);
    let step = differences
        .iter()
        .fold(smallest, |step, &difference| divisor(difference, step, tolerance));
    if step < share * smallest {
        return None;
    }
    // Each difference says how long the step is, the larger ones more exactly.
    let (mut products, mut squares) = (0.0, 0.0);
    for difference in differences {
        let n = (difference / step).round();
        products += n * difference;
        squares += n * n;
    }
    Some(products / squares)
}

/// Euclid's algorithm for numbers that are not exact.
fn divisor(mut a: f64, mut b: f64, tolerance: f64) -> f64 {
    while b > tolerance {
        let remainder = (a - b * (a / b).round()).abs();
        (a, b) = (b, remainder);
    }
    a
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::synthetic::Random;

    fn samples(values: impl IntoIterator<Item = f64>) -> Vec<Sample> {
        let values = values.into_iter().enumerate();
        values
            .map(|(look, value)| Sample {
                t: look as f64,
                value,
                look,
            })
            .collect()
    }

    #[test]
    fn a_step_is_found_however_seldom_it_stands_alone() {
        let mut random = Random::new(4);
        for step in [0.04, 0.001, 61e-6] {
            let values = (0..500).map(|_| (random.uniform(2.0, 3.0) / step).round() * step);
            let found = of(&samples(values)).unwrap();
            assert!((found / step - 1.0).abs() < 1e-3, "{step}: {found}");
        }
        // Multiples of 2 and 3 steps, never of one.
        let found = of(&samples([0.0, 0.2, 0.5, 0.7, 1.0, 1.3, 1.5, 1.8, 2.0])).unwrap();
        assert!((found - 0.1).abs() < 1e-9, "{found}");
    }

    #[test]
    fn values_without_a_step_have_none() {
        let mut random = Random::new(5);
        assert_eq!(of(&samples((0..500).map(|_| random.uniform(2.0, 3.0)))), None);
        assert_eq!(of(&samples([1.0, 1.0, 1.0])), None);
        assert_eq!(of(&[]), None);
    }
}
