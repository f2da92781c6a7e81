//! How thoroughly to look: which steps there are, and how long each may take.

use crate::cli::{CalibrateRunArgs, StepName};
use clap::ValueEnum as _;
use hwmeter_hw::characterise;
use hwmeter_hw::load_steps;
use hwmeter_hw::sensor::SensorInfo;
use std::time::Duration;

/// As the user asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Under 30 s in all.
    Quick,
    /// Under 4 minutes.
    Default,
    /// About a quarter of an hour.
    Full,
}

/// A sensor with a new value more rarely than this is a slow one: with little time, and with more.
const SLOW_QUICK_S: f64 = 0.15;
const SLOW_S: f64 = 0.5;

impl Effort {
    pub fn of(args: &CalibrateRunArgs) -> Self {
        match (args.quick, args.full) {
            (true, _) => Self::Quick,
            (_, true) => Self::Full,
            _ => Self::Default,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Default => "default",
            Self::Full => "full",
        }
    }

    /// The most time that a step is given.
    pub fn budget(self, step: StepName) -> Duration {
        let (quick, default, full) = match step {
            StepName::Sensor => (4.5, 40.0, 150.0),
            StepName::Idle => (1.0, 8.0, 60.0),
            StepName::Gemm => (6.0, 70.0, 300.0),
            StepName::Bandwidth => (1.2, 5.0, 20.0),
            StepName::PowerModel => (6.0, 60.0, 300.0),
            StepName::Learners => (5.5, 35.0, 60.0),
        };
        Duration::from_secs_f64(match self {
            Self::Quick => quick,
            Self::Default => default,
            Self::Full => full,
        })
    }

    /// How long to watch a sensor. A slow one gets longer pulses by itself, and fewer of them here.
    pub fn characterise(self, info: &SensorInfo) -> characterise::Options {
        let slow = if self == Self::Quick { SLOW_QUICK_S } else { SLOW_S };
        let update = info.accuracy.update_period;
        let is_slow = update.is_some_and(|period| period.0 > slow);
        let mut options = match self {
            Self::Quick => characterise::Options::quick(),
            Self::Default | Self::Full => characterise::Options::thorough(),
        };
        match (self, is_slow) {
            // One pulse is what fits.
            (Self::Quick, true) => options.half_pulse = Duration::from_millis(300),
            (Self::Default, true) => options.pulses = 1,
            (Self::Full, _) => {
                options.idle = Duration::from_secs(30);
                options.pulses = 6;
            }
            _ => {}
        }
        options
    }

    pub fn load_steps(self) -> load_steps::Effort {
        match self {
            Self::Quick => load_steps::Effort::Quick,
            Self::Default => load_steps::Effort::Default,
            Self::Full => load_steps::Effort::Full,
        }
    }

    /// Whether only the largest matrices are timed.
    pub fn has_one_size(self) -> bool {
        self == Self::Quick
    }
}

/// The steps asked for, in the order in which they are taken.
pub fn steps(args: &CalibrateRunArgs) -> Vec<StepName> {
    let is_wanted = |step: &StepName| args.only.is_empty() || args.only.contains(step);
    StepName::value_variants()
        .iter()
        .copied()
        .filter(is_wanted)
        .collect()
}

/// What a step does, for people.
pub fn describe(step: StepName) -> &'static str {
    match step {
        StepName::Sensor => "what the sensor really does",
        StepName::Idle => "idle power",
        StepName::Gemm => "matrix products",
        StepName::Bandwidth => "memory bandwidth",
        StepName::PowerModel => "load steps for the power model",
        StepName::Learners => "the learners",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(effort: Effort) -> f64 {
        let all = StepName::value_variants().iter();
        all.map(|step| effort.budget(*step).as_secs_f64()).sum()
    }

    #[test]
    fn the_steps_fit_what_the_help_promises() {
        // What is left is for looking up libraries.
        assert!(sum(Effort::Quick) < 26.0 && sum(Effort::Default) < 225.0 && sum(Effort::Full) < 1200.0);
    }
}
