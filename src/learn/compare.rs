//! All learners on the toy device, beside the oracle: who decides well within a few hundred tasks?
//!
//! Every learner meets the same runs of [`environment`]: run `i` is drawn from seed `seed + i`, and a learner's
//! draws from that seed too. Intervals are those of the mean over runs, by Student's t.

use super::bench::{self, Bench, CallJoules};
use super::environment::{self, Score};
use super::guard::Guard;
use super::{Engine, LearnError, Learner, LearnerName, Settings};
use hwmeter_hw::repeat::student_t;
use serde::Serialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tasks that are held in memory at once, unless one run has more: some 300 MB.
const TASKS_AT_ONCE: usize = 2_000_000;

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
    /// Runs in which the learner diverged; its other figures mean nothing then.
    pub diverged_runs: usize,
    /// Joules of both; absent for the oracle, and where none were measured.
    #[serde(flatten)]
    pub joules: CallJoules,
    /// Whether those joules are measured, modelled or simulated.
    pub kind: Option<&'static str>,
}

impl Comparison {
    /// Runs everything, on all cores; the oracle's row comes first, then the learners in their order.
    pub fn run(&self) -> Result<Vec<Row>, LearnError> {
        let mut scores = vec![Vec::with_capacity(self.runs); self.learners.len()];
        for seeds in batches(self.seed, self.runs, self.tasks) {
            self.run_batch(&seeds, &mut scores)?;
        }
        let rows = self.learners.iter().zip(&scores);
        let mut rows: Vec<Row> = rows
            .map(|(name, scores)| Row::of(name.to_string(), scores))
            .collect();
        if let Some(first) = scores.first() {
            rows.insert(0, Row::oracle(first));
        }
        Ok(rows)
    }

    /// Every learner on the runs of these seeds; adds a score for each to those of the learner.
    fn run_batch(&self, seeds: &[u64], scores: &mut [Vec<Score>]) -> Result<(), LearnError> {
        let runs = parallel(seeds, |seed| environment::tasks(self.tasks, *seed));
        let jobs: Vec<(usize, usize)> = (0..self.learners.len())
            .flat_map(|learner| (0..seeds.len()).map(move |run| (learner, run)))
            .collect();
        let done = parallel(&jobs, |(learner, run)| {
            let fresh = self
                .engine
                .build(self.learners[*learner], seeds[*run], &self.settings)?;
            environment::run_guarded(&mut Guard::new(fresh), &runs[*run])
        });
        for ((learner, _), score) in jobs.iter().zip(done) {
            scores[*learner].push(score?);
        }
        Ok(())
    }

    /// Measures the joules of each learner's decisions and updates, one learner after the other, into its row.
    pub fn measure_joules(&self, rows: &mut [Row], bench: &Bench) -> Result<(), LearnError> {
        for name in &self.learners {
            let label = name.to_string();
            let joules = bench::joules(self.engine, *name, &self.settings, self.seed, bench)?;
            for row in rows.iter_mut().filter(|row| row.name == label) {
                let seconds = |s: Option<f64>| s.unwrap_or(f64::INFINITY);
                row.joules = joules.plausible(seconds(row.decide_s), seconds(row.update_s), bench.full);
                row.kind = Some(bench.meter.info().kind.as_str());
            }
        }
        Ok(())
    }
}

/// How a learner does over runs of the toy device without exploring or learning.
pub fn evaluate(learner: &mut dyn Learner, seed: u64, runs: usize, tasks: usize) -> Result<Row, LearnError> {
    let name = learner.describe().name.to_string();
    // One run after the other, so that no more than one is held.
    let scores = (0..runs as u64)
        .map(|i| environment::evaluate(learner, &environment::tasks(tasks, seed.wrapping_add(i))));
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
            diverged_runs: scores.iter().filter(|score| score.diverged).count(),
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
            diverged: false,
            ..*s
        };
        Self::of(
            "oracle".to_owned(),
            &scores.iter().map(of_oracle).collect::<Vec<_>>(),
        )
    }
}

/// The seeds of all runs, so many together as are held in memory at once.
fn batches(seed: u64, runs: usize, tasks: usize) -> Vec<Vec<u64>> {
    let seeds: Vec<u64> = (0..runs as u64).map(|i| seed.wrapping_add(i)).collect();
    let together = (TASKS_AT_ONCE / tasks.max(1)).max(1);
    seeds.chunks(together).map(<[u64]>::to_vec).collect()
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

    #[test]
    fn a_learner_that_diverges_is_marked_and_the_others_are_not() {
        let mut settings = Settings::default();
        (settings.dqn.hidden, settings.dqn.rate) = (vec![8], 1e5);
        let comparison = Comparison {
            engine: Engine::Native,
            learners: vec![LearnerName::Dqn, LearnerName::Linucb],
            settings,
            seed: 1,
            runs: 2,
            tasks: 100,
        };
        let rows = comparison.run().unwrap();
        let diverged: Vec<_> = rows.iter().map(|row| (&*row.name, row.diverged_runs)).collect();
        assert_eq!(diverged, [("oracle", 0), ("dqn", 2), ("linucb", 0)]);
    }

    #[test]
    fn runs_are_held_in_batches_that_do_not_grow_with_their_number() {
        for (runs, tasks) in [(10_000, 500), (10_000, 1_000_000), (3, 10)] {
            let all = batches(u64::MAX, runs, tasks);
            assert!(
                all.iter()
                    .all(|seeds| seeds.len() == 1 || seeds.len() * tasks <= TASKS_AT_ONCE)
            );
            let seeds: Vec<u64> = all.concat();
            assert_eq!((seeds.len(), seeds[0], seeds[1]), (runs, u64::MAX, 0));
        }
    }
}
