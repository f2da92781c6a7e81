//! Which steps to take.

use crate::cpu::Affinity;
use crate::cpufreq::{self, Frequencies, Settings};
use crate::error::Result;
use crate::root::Root;
use crate::sensor::SensorInfo;
use crate::units::Seconds;
use std::time::Duration;

/// However slow a sensor is.
const LONGEST_WAIT_S: f64 = 20.0;

/// A step to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Busy cores, the first ones of the plan.
    pub busy_cores: usize,
    /// Share of the time for which they are to be busy, 0 to 1.
    pub share: f64,
    /// Frequency to hold meanwhile; `None` leaves it to the governor.
    pub khz: Option<u64>,
}

/// The steps to take, and how long each takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The cores that may be loaded.
    pub cores: Vec<usize>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Time from the beginning of a load until power and sensor have settled.
    pub settle: Duration,
    /// Time over which power is averaged.
    pub length: Duration,
    /// What the plan leaves out, and why.
    pub notes: Vec<String>,
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Eight steps, the governor's own frequencies.
    Quick,
    /// Every number of cores, four shares, three frequencies.
    Default,
    /// The same, twice and longer.
    Full,
}

/// Numbers of busy cores to try at most.
const MOST_CORE_COUNTS: usize = 8;

impl Plan {
    /// The plan for the cores that this process may use, on the board below `root`, seen by the sensor `info`: a slow one
    /// gets more time.
    pub fn new(root: &Root, info: &SensorInfo, effort: Effort) -> Result<Self> {
        let cores = Affinity::current()?;
        let (settle, length) = match effort {
            Effort::Quick => (0.3, 0.5),
            Effort::Default => (1.0, 2.0),
            Effort::Full => (1.0, 5.0),
        };
        let (settling, updates) = slowness(info);
        let mut plan = Self {
            steps: steps_of(cores.len(), effort),
            cores,
            settle: Duration::from_secs_f64(settling.max(settle)),
            length: Duration::from_secs_f64(updates.max(length)),
            notes: Vec::new(),
        };
        if effort != Effort::Quick {
            plan.add_frequencies(root);
        }
        Ok(plan)
    }

    /// The time the plan takes.
    pub fn duration(&self) -> Duration {
        (self.settle + self.length) * self.steps.len() as u32
    }

    /// Steps at the lowest and at a middle frequency, where the limits may be set.
    fn add_frequencies(&mut self, root: &Root) {
        match settable_range(root) {
            Ok((lowest, highest)) => {
                for khz in [lowest, (lowest + highest) / 2] {
                    let at = |busy_cores, share| Step {
                        busy_cores,
                        share,
                        khz: Some(khz),
                    };
                    let all = self.cores.len();
                    self.steps
                        .extend([at(0, 0.0), at(all, 0.5), at(1, 1.0), at(all, 1.0)]);
                }
            }
            Err(why) => self.notes.push(format!("no steps at other frequencies: {why}")),
        }
    }
}

/// Seconds until a sensor shows what is, and in which it has a few new values. What a file claims is held in bounds.
fn slowness(info: &SensorInfo) -> (f64, f64) {
    let seconds = |x: Option<Seconds>| x.map_or(0.0, |x| x.0);
    let accuracy = &info.accuracy;
    let update = seconds(accuracy.update_period);
    let settling = 5.0 * seconds(accuracy.lag) + seconds(accuracy.window) + 2.0 * update;
    (settling.min(LONGEST_WAIT_S), (4.0 * update).min(LONGEST_WAIT_S))
}

/// Low and high loads take turns, so that a drift (the board warms up) does not pass for a slope.
pub(super) fn steps_of(cores: usize, effort: Effort) -> Vec<Step> {
    let at = |busy_cores, share| Step {
        busy_cores,
        share,
        khz: None,
    };
    let mut steps: Vec<Step> = [0.25, 0.5, 0.75, 1.0].map(|share| at(cores, share)).into();
    let stride = cores.div_ceil(MOST_CORE_COUNTS);
    let stride = if effort == Effort::Quick {
        cores.div_ceil(2)
    } else {
        stride
    };
    steps.extend((1..cores).step_by(stride.max(1)).map(|n| at(n, 1.0)));
    if effort != Effort::Quick {
        steps.extend([at(1, 0.5), at(cores.div_ceil(2), 0.5), at(cores, 0.1)]);
    }
    steps.sort_by(|a, b| (a.busy_cores as f64 * a.share).total_cmp(&(b.busy_cores as f64 * b.share)));
    let mut taking_turns = vec![at(0, 0.0)];
    while !steps.is_empty() {
        taking_turns.push(steps.remove(0));
        taking_turns.extend(steps.pop());
    }
    if effort == Effort::Full {
        taking_turns.extend_from_within(..);
    }
    taking_turns.push(at(0, 0.0));
    taking_turns
}

/// Lowest and highest frequency in kHz that every policy can do; or why none can be set. Sets the limits to what they
/// are to find out.
fn settable_range(root: &Root) -> std::result::Result<(u64, u64), String> {
    let policies = cpufreq::policies(root).map_err(|error| error.to_string())?;
    let lowest = policies.iter().map(|policy| policy.hardware_khz.0).max();
    let highest = policies.iter().map(|policy| policy.hardware_khz.1).min();
    let (Some(lowest), Some(highest)) = (lowest, highest) else {
        return Err("this kernel shows no frequency scaling".to_owned());
    };
    if lowest >= highest {
        return Err("the clusters share no range of frequencies".to_owned());
    }
    let settings = held(highest);
    let changed = Frequencies::set(root, &settings).map_err(|error| error.to_string())?;
    changed.restore().map_err(|error| error.to_string())?;
    Ok((lowest, highest))
}

pub(super) fn held(khz: u64) -> Settings {
    Settings {
        governor: None,
        min_khz: Some(khz),
        max_khz: Some(khz),
    }
}
