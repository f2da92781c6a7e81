//! All learners on the toy device, beside the oracle: who decides well within a few hundred tasks?
//!
//! Every learner meets the same runs of [`environment`]: run `i` is drawn from seed `seed + i`, and a learner's
//! draws from that seed too. Intervals are those of the mean over runs, by Student's t.

use super::bench::{self, CallJoules};
use super::environment::{self, Score, ToyTask};
use super::{Engine, LearnError, Learner, LearnerName, Settings};
use hwmeter_hw::meter::Meter;
use hwmeter_hw::repeat::student_t;
use serde::Serialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What is compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What does their arithmetic.
    pub engine: Engine,
    /// The learners.
    pub learners: Vec<LearnerName>,
    /// Their settings.
    pub settings: Settings,
    /// The first seed.
    pub seed: u64,
    /// Runs per learner.
    pub runs: usize,
    /// Tasks per run.
    pub tasks: usize,
}

/// How one learner did; means over runs, and half widths of their 95 % intervals (absent for a single run).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The learner, or `oracle`.
    pub name: String,
    /// Mean reward per task, between -1 and 0.
    pub mean_reward: f64,
    /// Half width of its interval.
    pub ci95: Option<f64>,
    /// Reward per task that the oracle got more.
    pub regret: f64,
    /// Half width of its interval.
    pub regret_ci95: Option<f64>,
    /// Share of tasks past their deadline.
    pub miss_rate: f64,
    /// Half width of its interval.
    pub miss_rate_ci95: Option<f64>,
    /// Share of the way from a uniform draw's expectation to the oracle.
    pub gap_closed: f64,
    /// Half width of its interval.
    pub gap_closed_ci95: Option<f64>,
    /// Median seconds of a decision; absent for the oracle.
    pub decide_s: Option<f64>,
    /// Median seconds of an update; absent for the oracle.
    pub update_s: Option<f64>,
    /// Joules of both; absent for the oracle, and where none were measured.
    #[serde(flatten)]
    pub joules: CallJoules,
    /// Whether those joules are measured, modelled or simulated.
    pub kind: Option<&'static str>,
}

impl Comparison {
    /// Runs everything, on all cores; the oracle's row comes first, then the learners in their order.
    pub fn run(&self) -> Result<Vec<Row>, LearnError> {
        let seeds: Vec<u64> = (0..self.runs as u64).map(|i| self.seed.wrapping_add(i)).collect();
        let runs = parallel(&seeds, |seed| environment::tasks(self.tasks, *seed));
        let jobs: Vec<(LearnerName, usize)> = (self.learners.iter())
            .flat_map(|name| (0..self.runs).map(move |run| (*name, run)))
            .collect();
        let scores = parallel(&jobs, |(name, run)| {
            let mut learner = self.engine.build(*name, seeds[*run], &self.settings)?;
            environment::run(&mut *learner, &runs[*run])
        });
        let scores: Vec<Score> = scores.into_iter().collect::<Result<_, _>>()?;
        let rows = self.learners.iter().zip(scores.chunks(self.runs.max(1)));
        let mut rows: Vec<Row> = rows
            .map(|(name, scores)| Row::of(name.to_string(), scores))
            .collect();
        if let Some(first) = scores.get(..self.runs) {
            rows.insert(0, Row::oracle(first));
        }
        Ok(rows)
    }

    /// Measures the joules of each learner's decisions and updates, one learner after the other, into its row.
    pub fn measure_joules(&self, rows: &mut [Row], meter: &Meter, block: Duration) -> Result<(), LearnError> {
        for name in &self.learners {
            let label = name.to_string();
            let joules = bench::joules(self.engine, *name, &self.settings, self.seed, meter, block)?;
            for row in rows.iter_mut().filter(|row| row.name == label) {
                row.joules = joules;
                row.kind = Some(meter.info().kind.as_str());
            }
        }
        Ok(())
    }
}

/// How a learner does over runs without exploring or learning.
pub fn evaluate(learner: &mut dyn Learner, runs: &[Vec<ToyTask>]) -> Result<Row, LearnError> {
    let name = learner.describe().name.to_string();
    let scores = runs.iter().map(|tasks| environment::evaluate(learner, tasks));
    Ok(Row::of(name, &scores.collect::<Result<Vec<_>, _>>()?))
}

impl Row {
    fn of(name: String, scores: &[Score]) -> Self {
        let over = |of: fn(&Score) -> f64| mean(&scores.iter().map(of).collect::<Vec<_>>());
        let (mean_reward, ci95) = over(|s| s.learner);
        let (regret, regret_ci95) = over(|s| s.oracle - s.learner);
        let (miss_rate, miss_rate_ci95) = over(|s| s.missed);
        let (gap_closed, gap_closed_ci95) = over(Score::gap_closed);
        let time = |of: fn(&Score) -> f64| Some(over(of).0).filter(|s| s.is_finite());
        Self {
            name,
            mean_reward,
            ci95,
            regret,
            regret_ci95,
            miss_rate,
            miss_rate_ci95,
            gap_closed,
            gap_closed_ci95,
            decide_s: time(|s| s.decide_s),
            update_s: time(|s| s.update_s),
            joules: CallJoules::default(),
            kind: None,
        }
    }

    fn oracle(scores: &[Score]) -> Self {
        let of_oracle = |s: &Score| Score {
            learner: s.oracle,
            missed: s.oracle_missed,
            decide_s: f64::NAN,
            update_s: f64::NAN,
            ..*s
        };
        Self::of(
            "oracle".to_owned(),
            &scores.iter().map(of_oracle).collect::<Vec<_>>(),
        )
    }
}

/// Mean, and half the width of its 95 % interval.
fn mean(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, None);
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, Some(student_t(n - 1.0) * (variance / n).sqrt()))
}

/// `work` on each item, on as many threads as there are cores; results in the items' order.
fn parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                while let Some((i, item)) = take(items, &next) {
                    let result = work(item);
                    done.lock().unwrap_or_else(|e| e.into_inner()).push((i, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let i = next.fetch_add(1, Ordering::Relaxed);
    Some((i, items.get(i)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    /// What is asked of the learners at 500 tasks with changes of regime.
    #[test]
    fn learners_with_their_defaults_meet_the_demands() {
        let comparison = Comparison {
            engine: Engine::Native,
            learners: LearnerName::value_variants().to_vec(),
            settings: Settings::default(),
            seed: 50,
            runs: 4,
            tasks: 500,
        };
        let rows = comparison.run().unwrap();
        let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
        assert!(row("linucb").gap_closed > 0.85, "{:?}", row("linucb"));
        let deep = ["ac", "dqn", "stream-q", "stream-ac"].map(|name| row(name).gap_closed);
        assert!(deep.into_iter().fold(f64::MIN, f64::max) > 0.75, "{deep:?}");
        assert!(row("ac").gap_closed > 0.25, "{:?}", row("ac"));
        let fixed = ["local", "mec", "cloud", "random"].map(|name| row(name).mean_reward);
        let best_fixed = fixed.into_iter().fold(f64::MIN, f64::max);
        for name in [
            "ac",
            "dqn",
            "stream-q",
            "stream-ac",
            "linucb",
            "d-linucb",
            "greedy",
        ] {
            assert!(row(name).mean_reward > best_fixed, "{name}: {:?}", row(name));
        }
        let oracle = row("oracle");
        assert!(rows.iter().all(|row| row.regret >= 0.0) && oracle.regret == 0.0);
        assert_eq!((oracle.gap_closed, oracle.decide_s), (1.0, None));
        assert!(row("random").gap_closed.abs() < 0.1);
    }

    #[test]
    fn results_do_not_depend_on_the_threads() {
        let comparison = Comparison {
            engine: Engine::Native,
            learners: vec![LearnerName::Linucb, LearnerName::Random],
            settings: Settings::default(),
            seed: 1,
            runs: 3,
            tasks: 60,
        };
        let strip = |rows: Vec<Row>| -> Vec<_> {
            rows.into_iter()
                .map(|r| (r.name, r.mean_reward, r.ci95))
                .collect()
        };
        assert_eq!(strip(comparison.run().unwrap()), strip(comparison.run().unwrap()));
        let names: Vec<_> = comparison
            .run()
            .unwrap()
            .into_iter()
            .map(|row| row.name)
            .collect();
        assert_eq!(names, ["oracle", "linucb", "random"]);
    }

    #[test]
    fn an_interval_is_that_of_the_mean() {
        let (mean, half) = mean(&[1.0, 2.0, 3.0]);
        assert_eq!(mean, 2.0);
        assert!((half.unwrap() - 4.3027 / 3f64.sqrt()).abs() < 1e-9);
        assert_eq!(super::mean(&[5.0]), (5.0, None));
    }
}
