//! Energy of one update, by regression over the whole run.
//!
//! An update is far shorter than any sensor's period, so the joules interpolated for its own span are mostly those of
//! what went on around it. Over many tasks the counts tell more. From one arrival to the next, the energy is taken as
//!
//! ```text
//! E = a (seconds computing on the device) + b (other seconds, updates left out) + c + e (number of updates)
//! ```
//!
//! and a, b, c, e are fitted by least squares; e is the energy of an update, the idle board included. With a slow
//! sensor updates come in twos and threes or not at all, by which e is told from c, what every task costs besides.
//! Where nearly every task has just one update that cannot be done: c is left out, and e then holds the decision and
//! the bookkeeping of a task too, and says so. The uncertainty is that of the fit (from the scatter of
//! what it leaves), and the sensor's own share of the energy, which is common to all tasks.

use hwmeter_hw::span::{PendingSpan, Resolution};
use serde::Serialize;
use std::collections::VecDeque;

/// At least this share of the squared counts of updates must be independent of the other columns for c to be fitted.
const SEPARABLE: f64 = 0.05;

/// Seconds computing, other seconds, one, updates. The one sought comes last: see [`Regression::fit`].
const COLUMNS: usize = 4;

/// From one arrival to the next.
struct Cycle {
    span: PendingSpan,
    local_s: f64,
    train_s: f64,
    updates: f64,
}

/// Sums of the cycles whose energy is known, and the others.
#[derive(Default)]
pub struct Regression {
    pending: VecDeque<Cycle>,
    xx: [[f64; COLUMNS]; COLUMNS],
    xy: [f64; COLUMNS],
    yy: f64,
    cycles: u64,
    joules: f64,
    sensor_u: f64,
}

/// The energy of an update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PerUpdate {
    /// Joules, the idle board included; below zero where chance has it so.
    pub joules: f64,
    /// Whether the decision and the bookkeeping of a task are in it, for want of variation in the counts.
    pub with_decision: bool,
    /// Standard uncertainty (k = 1).
    pub uncertainty_joules: f64,
    /// Tasks it was found by.
    pub tasks: u64,
}

impl Regression {
    /// Takes a cycle: its span, seconds computing on the device, seconds of updates, and their number.
    pub fn push(&mut self, span: PendingSpan, local_s: f64, train_s: f64, updates: u64) {
        self.pending.push_back(Cycle {
            span,
            local_s,
            train_s,
            updates: updates as f64,
        });
        self.take_resolved();
    }

    /// The fit over all cycles whose energy is known by now.
    pub fn finish(mut self) -> Option<PerUpdate> {
        self.take_resolved();
        self.best_fit()
    }

    fn take_resolved(&mut self) {
        while let Some(oldest) = self.pending.front() {
            let energy = match oldest.span.poll() {
                Resolution::Pending => break,
                Resolution::Resolved(energy) | Resolution::Lost(energy) => energy,
            };
            if let Some(total) = energy.total.filter(|_| energy.coverage > 0.999) {
                let other_s = energy.duration().0 - oldest.local_s - oldest.train_s;
                let x = [oldest.local_s, other_s, 1.0, oldest.updates];
                self.add(x, total.joules.0, total.uncertainty.0);
            }
            self.pending.pop_front();
        }
    }

    fn add(&mut self, x: [f64; COLUMNS], joules: f64, sensor_u: f64) {
        for (i, row) in self.xx.iter_mut().enumerate() {
            row.iter_mut()
                .zip(x)
                .for_each(|(sum, other)| *sum += x[i] * other);
            self.xy[i] += x[i] * joules;
        }
        self.yy += joules * joules;
        self.cycles += 1;
        self.joules += joules;
        self.sensor_u += sensor_u;
    }

    fn best_fit(&self) -> Option<PerUpdate> {
        self.fit(true).or_else(|| self.fit(false))
    }

    /// Least squares by Cholesky's factor L of X^T X and z = L^-1 X^T y. The last coefficient is z / L of the last
    /// row, its variance s^2 / L^2, and the sum of squared residuals y^T y - z^T z. A column that depends on those
    /// before it (no task ran on the device, say) is left out.
    fn fit(&self, with_constant: bool) -> Option<PerUpdate> {
        const LAST: usize = COLUMNS - 1;
        const CONSTANT: usize = 2;
        const DEPENDENT: f64 = 1e-9;
        let (mut l, mut z, mut used) = ([[0.0; COLUMNS]; COLUMNS], [0.0; COLUMNS], 0);
        for i in 0..COLUMNS {
            if i == CONSTANT && !with_constant {
                continue;
            }
            let least = if i == LAST { SEPARABLE } else { DEPENDENT };
            for j in 0..=i {
                let rest = self.xx[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
                l[i][j] = match (i == j, l[j][j] > 0.0) {
                    (true, _) if rest > least * self.xx[i][i] => rest.sqrt(),
                    (false, true) => rest / l[j][j],
                    _ => 0.0,
                };
            }
            if l[i][i] > 0.0 {
                z[i] = (self.xy[i] - (0..i).map(|k| l[i][k] * z[k]).sum::<f64>()) / l[i][i];
                used += 1;
            }
        }
        let freedom = self.cycles.checked_sub(used).filter(|n| *n > 0)? as f64;
        if l[LAST][LAST] == 0.0 || self.joules <= 0.0 {
            return None;
        }
        let joules = z[LAST] / l[LAST][LAST];
        let squares = (self.yy - z.iter().map(|z| z * z).sum::<f64>()).max(0.0);
        let fit_u = (squares / freedom).sqrt() / l[LAST][LAST];
        let sensor_u = joules * self.sensor_u / self.joules;
        Some(PerUpdate {
            joules,
            with_decision: !with_constant,
            uncertainty_joules: fit_u.hypot(sensor_u),
            tasks: self.cycles,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Cycles with an update of 0.05 J, and scatter uniform in +-`scatter`.
    fn cycles(n: usize, scatter: f64, seed: u64, updates: impl Fn(usize) -> f64) -> Regression {
        let (mut rng, mut sums) = (ChaCha8Rng::seed_from_u64(seed), Regression::default());
        for i in 0..n {
            let local = if i % 3 == 0 { rng.random::<f64>() } else { 0.0 };
            let x = [local, rng.random::<f64>(), 1.0, updates(i)];
            let joules = 4.0 * x[0] + 1.5 * x[1] + 0.2 + 0.05 * x[3];
            sums.add(x, joules + scatter * (2.0 * rng.random::<f64>() - 1.0), 0.0);
        }
        sums
    }

    #[test]
    fn without_scatter_the_energy_of_an_update_is_found_exactly() {
        let found = cycles(100, 0.0, 1, |i| (i % 3) as f64).best_fit().unwrap();
        assert!(
            (found.joules - 0.05).abs() < 1e-6 && found.uncertainty_joules < 1e-5,
            "{found:?}"
        );
    }

    #[test]
    fn the_stated_uncertainty_is_that_of_the_errors() {
        let runs = 400;
        let within = (0..runs).filter(|seed| {
            let found = cycles(60, 0.3, *seed, |i| (i % 3) as f64).best_fit().unwrap();
            (found.joules - 0.05).abs() < 2.0 * found.uncertainty_joules
        });
        let share = within.count() as f64 / runs as f64;
        assert!((0.92..0.98).contains(&share), "{share}");
    }

    #[test]
    fn what_cannot_be_told_apart_is_unknown() {
        assert_eq!(cycles(50, 0.1, 1, |_| 0.0).best_fit(), None, "no updates");
        assert_eq!(cycles(3, 0.1, 1, |i| i as f64).best_fit(), None, "too few");
        assert_eq!(Regression::default().finish(), None);
        let mut all_elsewhere = Regression::default();
        for i in 0..50 {
            let x = [0.0, 0.1 * f64::from(i % 7), 1.0, f64::from(i % 2)];
            all_elsewhere.add(x, x[1] + 0.05 * x[3], 0.0);
        }
        assert!((all_elsewhere.best_fit().unwrap().joules - 0.05).abs() < 1e-6);
    }

    #[test]
    fn one_update_per_task_is_told_together_with_the_decision() {
        let found = cycles(100, 0.0, 1, |i| f64::from(i > 0)).best_fit().unwrap();
        assert!(found.with_decision);
        assert!((found.joules - 0.25).abs() < 0.01, "{found:?}");
        assert!(
            !cycles(100, 0.0, 1, |i| (i % 3) as f64)
                .best_fit()
                .unwrap()
                .with_decision
        );
    }

    #[test]
    fn what_is_common_to_all_tasks_does_not_average_out() {
        let mut sums = cycles(10_000, 0.0, 1, |i| (i % 3) as f64);
        sums.sensor_u = 0.1 * sums.joules;
        let found = sums.best_fit().unwrap();
        assert!(
            (found.uncertainty_joules - 0.1 * found.joules).abs() < 1e-5,
            "{found:?}"
        );
    }
}
