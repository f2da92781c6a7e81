//! Sums, means and intervals.

use hwmeter_hw::repeat::student_t;
use serde::Serialize;

/// A sum of known values, and how many they were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// The sum.
    pub sum: f64,
    /// How many.
    pub count: u64,
}

impl Sum {
    /// Takes in a value, if it is known.
    pub fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    /// Takes in all of another.
    pub fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }

    /// `None` where nothing is known: an unknown sum is not zero.
    pub fn known(self) -> Option<f64> {
        (self.count > 0).then_some(self.sum)
    }

    /// The mean of what is known.
    pub fn mean(self) -> Option<f64> {
        self.known().map(|sum| sum / self.count as f64)
    }
}

/// A mean over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Half the width of its 95 % interval, by Student's t; `None` for a single run.
    pub half_width: Option<f64>,
    /// How many runs.
    pub runs: usize,
}

impl Mean {
    /// Of these values; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        let half_width = student_t(n - 1.0) * (squares / (n - 1.0) / n).sqrt();
        (!values.is_empty()).then(|| Self {
            mean,
            half_width: (values.len() > 1).then_some(half_width),
            runs: values.len(),
        })
    }

    /// Lower and upper end of the interval; the mean itself where there is none.
    pub fn range(&self) -> (f64, f64) {
        let half = self.half_width.unwrap_or(0.0);
        (self.mean - half, self.mean + half)
    }
}

/// The mean of the last `window` entries at each place, weighted by their counts; `None` where nothing is known.
pub fn moving_mean(values: &[Sum], window: usize) -> Vec<Option<f64>> {
    let mean_at = |i: usize| {
        let mut sum = Sum::default();
        let last = &values[(i + 1).saturating_sub(window)..=i];
        last.iter().for_each(|value| sum.merge(*value));
        sum.mean()
    };
    (0..values.len()).map(mean_at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(sum: f64, count: u64) -> Sum {
        Sum { sum, count }
    }

    #[test]
    fn an_interval_is_that_of_any_textbook() {
        let of = Mean::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((of.mean, of.runs), (2.0, 3));
        assert!((of.half_width.unwrap() - 4.3027 / 3f64.sqrt()).abs() < 1e-9);
        let one = Mean::of(&[5.0]).unwrap();
        assert_eq!((one.mean, one.half_width, one.range()), (5.0, None, (5.0, 5.0)));
        assert_eq!(Mean::of(&[]), None);
    }

    #[test]
    fn a_moving_mean_looks_back_and_weighs_by_tasks() {
        let values = [sum(1.0, 1), sum(0.0, 0), sum(9.0, 3), sum(4.0, 1)];
        let means = moving_mean(&values, 2);
        assert_eq!(means, [Some(1.0), Some(1.0), Some(3.0), Some(13.0 / 4.0)]);
        assert_eq!(moving_mean(&[sum(0.0, 0)], 3), [None]);
        assert_eq!(moving_mean(&[], 3), []);
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let mut sum = Sum::default();
        sum.add(None);
        assert_eq!((sum.known(), sum.mean()), (None, None));
        sum.add(Some(-3.0));
        sum.add(Some(1.0));
        assert_eq!(sum.mean(), Some(-1.0));
    }
}
