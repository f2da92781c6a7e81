//! The plain rule that every learner should beat: run the task where the least energy is predicted among the
//! placements that are predicted to be in time.
//!
//! Energy and time of a placement are running averages over tasks of about the same size (two classes per decade
//! of cycles): average <- average + rate (seen - average). A class not seen yet borrows from the nearest one, in
//! proportion to the size. Where no placement is predicted to be in time, the fastest is taken. With probability
//! epsilon a random placement is tried, else a busy server would never be asked again. What came late took at
//! least the deadline; it counts as 1.5 times that, because work is stopped at the deadline.

use super::features;
use super::random::{Rng, seeded};
use super::tensor::as_count;
use super::weights::{Reader, Weights, misfit};
use super::{
    Checkpoint, Cost, Decision, Description, LearnError, Learner, LearnerName, Placement, Settings, State,
    Transition, settings,
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

const NAME: LearnerName = LearnerName::Greedy;
const VARIANT: &str = "averages";
const PLACEMENTS: usize = Placement::ALL.len();

/// Classes of size: 1e5 to 1e12 cycles, two per decade.
const CLASSES: usize = 14;
/// Count, joules and seconds of each placement and class.
const SHAPE: [usize; 3] = [PLACEMENTS, CLASSES, 3];
const NO_COUNT: &str = "averages holds a count that is none";
/// How much longer than its deadline a late task is taken to last.
const LATE: f64 = 1.5;

/// The settings of [`Greedy`]; our own choice. On the toy device of [`super::environment`] they close 78 % of the gap
/// from random to oracle (mean of 12 runs).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Weight of the newest task in an average.
    pub rate: f64,
    /// Probability of a random placement.
    pub epsilon: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rate: 0.3,
            epsilon: 0.05,
        }
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), LearnError> {
        let check = settings::Check { learner: "greedy" };
        check.share("rate", self.rate)?;
        check.share("epsilon", self.epsilon)
    }
}

/// Running averages per placement and class of size.
#[derive(Clone, Debug)]
pub struct Greedy {
    config: Config,
    seed: u64,
    updates: u64,
    rng: Rng,
    averages: [[Average; CLASSES]; PLACEMENTS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Average {
    count: u64,
    joules: f64,
    seconds: f64,
}

impl Greedy {
    /// A fresh rule.
    pub fn new(config: Config, seed: u64) -> Result<Self, LearnError> {
        config.check()?;
        Ok(Self {
            config,
            seed,
            updates: 0,
            rng: seeded(seed),
            averages: Default::default(),
        })
    }

    /// Joules and seconds at `placement`; `None` if it was never tried.
    fn predict(&self, placement: Placement, state: &State) -> Option<(f64, f64)> {
        let class = class(state.cycles);
        let seen = self.averages[placement as usize].iter().enumerate();
        let nearest = seen
            .filter(|(_, a)| a.count > 0)
            .min_by_key(|(i, _)| i.abs_diff(class));
        nearest.map(|(i, average)| {
            let ratio = 10f64.powf((class as f64 - i as f64) / 2.0);
            (ratio * average.joules, ratio * average.seconds)
        })
    }

    /// The choice by prediction; of the placements not tried yet, the first.
    fn choose(&self, state: &State) -> Placement {
        let predicted = Placement::ALL.map(|p| (p, self.predict(p, state)));
        if let Some((untried, _)) = predicted.iter().find(|(_, prediction)| prediction.is_none()) {
            return *untried;
        }
        let known = || {
            predicted
                .iter()
                .filter_map(|(p, prediction)| prediction.map(|(j, s)| (*p, j, s)))
        };
        let in_time = known().filter(|(_, _, s)| *s <= state.deadline_s);
        let cheapest = in_time.min_by(|a, b| a.1.total_cmp(&b.1));
        let fastest = || known().min_by(|a, b| a.2.total_cmp(&b.2));
        cheapest.or_else(fastest).map_or(Placement::Local, |(p, _, _)| p)
    }

    /// Count, joules and seconds of every average.
    fn numbers(&self) -> Vec<f64> {
        let all = self.averages.as_flattened().iter();
        all.flat_map(|a| [a.count as f64, a.joules, a.seconds]).collect()
    }

    /// Takes them back; `None`, and nothing has changed, if a count is none.
    fn take(&mut self, numbers: &[f64]) -> Option<()> {
        let mut averages = self.averages;
        for (average, n) in averages
            .as_flattened_mut()
            .iter_mut()
            .zip(numbers.chunks_exact(3))
        {
            let count = as_count(n[0])?;
            let (joules, seconds) = (n[1], n[2]);
            *average = Average {
                count,
                joules,
                seconds,
            };
        }
        self.averages = averages;
        Some(())
    }

    fn average(&mut self, transition: &Transition) -> &mut Average {
        self.updates += 1;
        let class = class(transition.state.cycles);
        &mut self.averages[transition.placement as usize][class]
    }
}

impl Learner for Greedy {
    fn decide(&mut self, state: &State) -> Result<Decision, LearnError> {
        let best = self.best(state)?;
        let explores = self.rng.random::<f64>() < self.config.epsilon;
        let placement = match explores {
            true => Placement::ALL[self.rng.random_range(0..PLACEMENTS)],
            false => best,
        };
        Ok(Decision {
            placement,
            explored: explores,
        })
    }

    fn best(&mut self, state: &State) -> Result<Placement, LearnError> {
        features::raw(state)?;
        Ok(self.choose(state))
    }

    /// Without a cost, minus the reward is taken for the energy, and the time stays as it was.
    fn learn(&mut self, transition: &Transition) -> Result<(), LearnError> {
        let (_, reward, _) = features::check(transition)?;
        let rate = self.config.rate;
        let average = self.average(transition);
        let seconds = average.seconds;
        average.observe(-reward, seconds, rate);
        Ok(())
    }

    fn learn_with_cost(&mut self, transition: &Transition, cost: &Cost) -> Result<(), LearnError> {
        features::check(transition)?;
        cost.check()?;
        let (rate, deadline) = (self.config.rate, transition.state.deadline_s);
        let seconds = match cost.in_time {
            true => cost.latency_s,
            false => cost.latency_s.max(LATE * deadline),
        };
        self.average(transition).observe(cost.energy_j, seconds, rate);
        Ok(())
    }

    fn save(&self) -> Checkpoint {
        let settings = Settings {
            greedy: self.config.clone(),
            ..Settings::default()
        };
        let mut checkpoint = Checkpoint::new(NAME, VARIANT.to_owned(), self.seed, self.updates, settings);
        checkpoint.put_rng(&self.rng);
        checkpoint.put_f64("averages", &SHAPE, self.numbers());
        checkpoint
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        checkpoint.expect(NAME, VARIANT)?;
        let numbers = checkpoint.f64s("averages", &SHAPE)?;
        let rng = checkpoint.rng()?;
        self.take(numbers)
            .ok_or_else(|| checkpoint.error(NO_COUNT.to_owned()))?;
        self.rng = rng;
        (self.seed, self.updates) = (checkpoint.header().seed, checkpoint.header().updates);
        Ok(())
    }

    fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        weights.put_count("updates", self.updates);
        weights.put_f64("averages", &SHAPE, self.numbers());
        weights
    }

    fn set_weights(&mut self, weights: &Weights) -> Result<(), LearnError> {
        let mut found = Reader::new(weights);
        let updates = found.count("updates")?;
        let numbers = found.f64s("averages", &SHAPE)?;
        found.finish()?;
        self.take(numbers).ok_or_else(|| misfit(NO_COUNT.to_owned()))?;
        self.updates = updates;
        Ok(())
    }

    fn describe(&self) -> Description {
        Description::new(NAME, VARIANT, 2 * PLACEMENTS * CLASSES, &self.config)
    }
}

impl Average {
    /// The first task of a class is its average.
    fn observe(&mut self, joules: f64, seconds: f64, rate: f64) {
        let rate = if self.count == 0 { 1.0 } else { rate };
        self.joules += rate * (joules - self.joules);
        self.seconds += rate * (seconds - self.seconds);
        self.count += 1;
    }
}

/// The class of a size; sizes outside belong to the first or the last.
fn class(cycles: f64) -> usize {
    let halves = 2.0 * (cycles.max(1.0).log10() - 5.0);
    (halves.max(0.0) as usize).min(CLASSES - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STATE: State = State {
        device_free: 1.0,
        mec_free: 1.0,
        throughput_bps: 1e8,
        cycles: 1e9,
        deadline_s: 1.0,
    };

    fn taught(costs: [(f64, f64); 3]) -> Greedy {
        let config = Config {
            epsilon: 0.0,
            ..Config::default()
        };
        let mut rule = Greedy::new(config, 0).unwrap();
        for (placement, (energy_j, latency_s)) in Placement::ALL.into_iter().zip(costs) {
            assert_eq!(
                rule.decide(&STATE).unwrap().placement,
                placement,
                "each is tried once"
            );
            rule.show(placement, energy_j, latency_s);
        }
        rule
    }

    impl Greedy {
        fn show(&mut self, placement: Placement, energy_j: f64, latency_s: f64) {
            let transition = Transition {
                state: STATE,
                placement,
                reward: -energy_j,
                next_state: STATE,
            };
            let cost = Cost {
                energy_j,
                latency_s,
                in_time: latency_s <= STATE.deadline_s,
            };
            self.learn_with_cost(&transition, &cost).unwrap();
        }
    }

    #[test]
    fn the_cheapest_that_is_in_time_wins_and_else_the_fastest() {
        assert_eq!(
            taught([(3.0, 0.5), (2.0, 0.9), (1.0, 1.2)]).choose(&STATE),
            Placement::Mec
        );
        assert_eq!(
            taught([(3.0, 4.0), (2.0, 2.0), (1.0, 3.0)]).choose(&STATE),
            Placement::Mec
        );
    }

    #[test]
    fn averages_follow_what_is_seen() {
        let mut rule = taught([(3.0, 0.5), (2.0, 0.5), (9.0, 0.5)]);
        let (mut joules, rate) = (2.0, Config::default().rate);
        for seen in [4.0, 5.0, 1.0] {
            rule.show(Placement::Mec, seen, 0.5);
            joules += rate * (seen - joules);
            assert_eq!(rule.predict(Placement::Mec, &STATE).unwrap().0, joules);
        }
    }

    #[test]
    fn sizes_not_seen_yet_borrow_in_proportion() {
        let rule = taught([(3.0, 0.5), (2.0, 0.9), (1.0, 0.9)]);
        let larger = State {
            cycles: 1e10,
            ..STATE
        };
        assert_eq!(rule.predict(Placement::Local, &larger), Some((30.0, 5.0)));
        assert_eq!(class(0.0), 0);
        assert_eq!(class(f64::MAX), CLASSES - 1);
    }
}
