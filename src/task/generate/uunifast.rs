//! Utilisations, periods and execution times: UUniFast (E. Bini, G. C. Buttazzo, "Measuring the performance of
//! schedulability tests", Real-Time Systems 30, 2005) with discard, as the COBRA task-set generator does it (De Bock
//! et al., ACM SIGBED Review 15(1), 2018), which the reference system used.

use super::java_random::JavaRandom;
use super::{GenerateError, Parameters};

/// No task may take more of a core than this.
pub const MAX_UTILISATION: f64 = 0.95;

/// The least execution time in microseconds.
const MIN_EXECUTION_US: f64 = 1000.0;

/// Utilisations that may be drawn, with those of discarded vectors, before the parameters count as impossible.
const MAX_DRAWS: usize = 4_000_000;

/// Periods that may be drawn anew for one task before they count as impossible.
const MAX_REDRAWS: u32 = 1_000_000;

/// What is drawn for one task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Share of a core.
    pub utilisation: f64,
    /// Microseconds between two releases.
    pub period_us: u64,
    /// Utilisation times period, rounded to microseconds.
    pub execution_us: u64,
}

/// The timing of every task.
///
/// Periods are drawn with the seed `seed + round(10 utilisation)` and utilisations with twice that, as the generator of
/// the reference does for the first set of a load.
pub fn timings(parameters: &Parameters) -> Result<Vec<Timing>, GenerateError> {
    let load = (10.0 * parameters.utilisation).round() as u64;
    let seed = parameters.seed.wrapping_add(load);
    let utilisations = utilisations(parameters, &mut JavaRandom::new(seed.wrapping_mul(2)))?;
    let mut periods = JavaRandom::new(seed);
    (utilisations.into_iter().enumerate())
        .map(|(task, utilisation)| timing(parameters, task, utilisation, &mut periods))
        .collect()
}

/// Utilisations that add up to the total, each vector equally likely; one with a task that is too heavy or too light is
/// discarded as a whole.
fn utilisations(parameters: &Parameters, random: &mut JavaRandom) -> Result<Vec<f64>, GenerateError> {
    let is_heavy = |&utilisation: &f64| utilisation > MAX_UTILISATION;
    let is_light = |&utilisation: &f64| utilisation * (parameters.period_max_us as f64) < MIN_EXECUTION_US;
    let mut too_light = 0;
    let mut utilisations = Vec::with_capacity(parameters.tasks);
    let vectors = (MAX_DRAWS / parameters.tasks).max(10);
    for _ in 0..vectors {
        utilisations.clear();
        let mut left = parameters.utilisation;
        for others in (1..parameters.tasks).rev() {
            let next = left * libm::pow(random.next_double(), 1.0 / others as f64);
            utilisations.push(left - next);
            left = next;
        }
        utilisations.push(left);
        match (
            utilisations.iter().any(is_light),
            utilisations.iter().any(is_heavy),
        ) {
            (false, false) => return Ok(utilisations),
            (is_light, _) => too_light += usize::from(is_light),
        }
    }
    let why = if 2 * too_light > vectors {
        too_light_advice(parameters)
    } else {
        format!(
            "some task always took more than {MAX_UTILISATION} of a core; ask for more tasks or less utilisation"
        )
    };
    Err(GenerateError::Discarded { draws: vectors, why })
}

/// What keeps n tasks from being too light. A task has less than the share x of the utilisation U with a probability of
/// about (n - 1) x / U, so that of all about n (n - 1) x / U are too light; with one at most, every third draw will do.
fn too_light_advice(parameters: &Parameters) -> String {
    let (tasks, total) = (parameters.tasks as f64, parameters.utilisation);
    let longest_us = parameters.period_max_us as f64;
    let pairs = tasks * (tasks - 1.0);
    let period_us = (pairs * MIN_EXECUTION_US / total).ceil();
    let fewer = (total * longest_us / MIN_EXECUTION_US).sqrt().floor();
    let more_load = pairs * MIN_EXECUTION_US / longest_us;
    let load = if more_load <= f64::from(parameters.cores) {
        format!(", or --utilisation {more_load:.2}")
    } else {
        String::new()
    };
    format!(
        "some task always took less than 1 ms even with the longest period; {} tasks need --period-max {period_us:.0}{load}, \
         or ask for at most {fewer:.0} tasks",
        parameters.tasks
    )
}

/// A period, and the execution time that it makes; drawn anew until that is long enough.
fn timing(
    parameters: &Parameters,
    task: usize,
    utilisation: f64,
    random: &mut JavaRandom,
) -> Result<Timing, GenerateError> {
    let (min, max) = (parameters.period_min_us as f64, parameters.period_max_us as f64);
    let step = parameters.period_step_us as f64;
    for _ in 0..MAX_REDRAWS {
        let period = ((min + random.next_double() * (max - min)) / step).round() * step;
        let execution = (utilisation * period).round();
        if execution >= MIN_EXECUTION_US {
            return Ok(Timing {
                utilisation,
                period_us: period as u64,
                execution_us: execution as u64,
            });
        }
    }
    Err(GenerateError::NoPeriod { task, utilisation })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Within 0.1 %.
    #[track_caller]
    fn about(found: f64, expected: f64) {
        assert!(
            (found / expected - 1.0).abs() < 1e-3,
            "{found}, expected {expected}"
        );
    }

    /// Least, middle (mean of the two in the middle) and greatest.
    fn spread(values: impl Iterator<Item = u64>) -> [f64; 3] {
        let mut sorted: Vec<f64> = values.map(|value| value as f64).collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        [
            sorted[0],
            (sorted[middle - 1] + sorted[middle]) / 2.0,
            sorted[sorted.len() - 1],
        ]
    }

    #[test]
    fn the_defaults_give_the_set_of_the_reference() {
        let set = timings(&Parameters::default()).unwrap();
        assert_eq!(set.len(), 500);
        about(set.iter().map(|task| task.utilisation).sum(), 3.90);
        let [min, median, max] = spread(set.iter().map(|task| task.period_us));
        about(min, 657_000.0);
        about(median, 50.54e6);
        about(max, 99.98e6);
        let [_, median, max] = spread(set.iter().map(|task| task.execution_us));
        about(median, 200_932.0);
        about(max, 4_100_867.0);
        about(
            set.iter().map(|task| task.execution_us as f64).sum::<f64>() / 500.0,
            380_852.0,
        );
    }

    #[test]
    fn every_set_keeps_the_rules() {
        for (utilisation, tasks, seed) in [(0.9, 1, 1), (3.9, 5, 2), (3.9, 20, 3), (1.0, 1000, 4)] {
            let parameters = Parameters {
                utilisation,
                tasks,
                seed,
                ..Parameters::default()
            };
            let set = timings(&parameters).unwrap();
            let sum: f64 = set.iter().map(|task| task.utilisation).sum();
            assert!((sum - utilisation).abs() < 1e-9 && set.len() == tasks);
            for task in set {
                assert!(
                    task.utilisation <= MAX_UTILISATION && task.execution_us >= 1000,
                    "{task:?}"
                );
                assert!(
                    (99_500..=100_000_000).contains(&task.period_us) && task.period_us.is_multiple_of(1000)
                );
                let exact = task.utilisation * task.period_us as f64;
                assert!((task.execution_us as f64 - exact).abs() <= 0.5, "{task:?}");
            }
        }
    }

    /// UUniFast is uniform: with n tasks, u / U of any one has the distribution 1 - (1 - x)^(n - 1).
    #[test]
    fn utilisations_are_uniform_over_all_vectors() {
        let mut random = JavaRandom::new(7);
        let parameters = Parameters {
            utilisation: 0.9,
            tasks: 4,
            ..Parameters::default()
        };
        let drawn: Vec<_> = (0..4000)
            .map(|_| utilisations(&parameters, &mut random).unwrap())
            .collect();
        for task in 0..4 {
            let below = drawn.iter().filter(|set| set[task] < 0.25 * 0.9).count() as f64 / 4000.0;
            assert!(
                (below - (1.0 - 0.75f64.powi(3))).abs() < 0.03,
                "task {task}: {below}"
            );
        }
    }

    #[test]
    fn what_can_hardly_be_drawn_is_an_error_and_not_a_loop() {
        let short = Parameters {
            period_min_us: 1000,
            period_max_us: 2000,
            ..Parameters::default()
        };
        assert!(matches!(timings(&short), Err(GenerateError::Discarded { .. })));
    }
}
