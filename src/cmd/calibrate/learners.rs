//! The learning engine: seconds and joules of a decision and of an update of each learner.

use super::found::{Found, Problem};
use super::power;
use super::progress::Progress;
use crate::cli::StepName;
use clap::ValueEnum as _;
use hwmeter::learn::bench::{self, Bench};
use hwmeter::learn::{Engine, LearnerName, Settings};
use hwmeter_hw::meter::Meter;
use hwmeter_hw::units::Watts;
use std::time::Duration;

/// Seed of the learners and of what they meet, as of `hwmeter learners --bench`.
const SEED: u64 = 50;
/// Blocks of calls of one learner whose energy is measured, as `learn::bench` has them: four of each kind.
const BLOCKS: f64 = 8.0;
/// What a learner takes besides, about.
const REST: Duration = Duration::from_millis(500);
/// A block has four of the meter's samples at least; more than half a second brings nothing.
const SAMPLES: f64 = 4.0;
const LONGEST_BLOCK: Duration = Duration::from_millis(400);

/// As many as fit the budget, the paper's two first. The others are named.
pub fn measure(found: &mut Found, meter: Option<Meter>, progress: &Progress) {
    let Some(meter) = meter else {
        let what = "no meter: see `hwmeter learners --bench` for seconds alone";
        found.problems.push(Problem::new(StepName::Learners, what));
        return;
    };
    let names = names();
    let budget = found.effort.budget(StepName::Learners);
    let (count, block) = fitting(names.len(), budget, meter.period().0);
    let (names, left_out) = names.split_at(count);
    if !left_out.is_empty() {
        let left_out: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        found.notes.push(format!(
            "no time for the learners {}: `hwmeter learners --bench` measures them all",
            left_out.join(", ")
        ));
    }
    let full = meter.info().full.or_else(|| power::full_watts(found));
    let bench = Bench {
        meter,
        // Without a limit no joules are left out.
        full: full.unwrap_or(Watts(f64::INFINITY)),
        block,
    };
    for (i, name) in names.iter().enumerate() {
        progress.at(&format!("learner {name}"), i as f64 / names.len() as f64);
        match bench::measure(Engine::Native, *name, &Settings::default(), SEED, &bench) {
            Ok(row) => found.learners.push(row),
            Err(error) => {
                let what = format!("{name}: {error}");
                found.problems.push(Problem::new(StepName::Learners, what));
            }
        }
    }
    if found.learners.iter().any(|row| row.joules.disturbed) {
        let what = "joules of learners are left out where more was measured than full load draws in that time: something else \
            ran meanwhile";
        found.notes.push(what.to_owned());
    }
}

/// Those that have something to learn.
fn names() -> Vec<LearnerName> {
    let learns = |name: &LearnerName| {
        let built = Engine::Native.build(*name, SEED, &Settings::default());
        built.is_ok_and(|learner| learner.describe().parameters > 0)
    };
    LearnerName::value_variants()
        .iter()
        .copied()
        .filter(learns)
        .collect()
}

/// How many of so many learners fit, and how long a block of calls is then. One always does.
fn fitting(count: usize, budget: Duration, period_s: f64) -> (usize, Duration) {
    let shortest = SAMPLES * period_s;
    let least = BLOCKS * shortest + REST.as_secs_f64();
    let fits = ((budget.as_secs_f64() / least) as usize).clamp(1, count.max(1));
    let each = budget.as_secs_f64() / fits as f64 - REST.as_secs_f64();
    let block = (each / BLOCKS).min(LONGEST_BLOCK.as_secs_f64()).max(shortest);
    (fits.min(count), Duration::from_secs_f64(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_meter_leaves_time_for_fewer_learners() {
        let of = |seconds, period| fitting(6, Duration::from_secs(seconds), period);
        assert_eq!(of(35, 0.01), (6, LONGEST_BLOCK));
        let (count, block) = of(5, 0.01);
        assert!(count == 6 && block < LONGEST_BLOCK && block.as_secs_f64() >= 0.04);
        assert_eq!(of(35, 0.5).0, 2);
        assert_eq!(of(5, 0.5), (1, Duration::from_secs(2)));
    }

    #[test]
    fn the_papers_two_come_first_and_fixed_placements_are_none() {
        let names = names();
        assert_eq!(&names[..2], [LearnerName::Ac, LearnerName::Dqn]);
        assert!(!names.contains(&LearnerName::Local));
    }
}
