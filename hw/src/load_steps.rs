//! Load steps: how much power the board takes at which load, as a meter sees it.
//!
//! Each step makes a load on some cores for a share of the time (see [`load`](crate::load)), lets power and sensor settle,
//! and then reports what really was: utilisation from `/proc/stat`, frequency from cpufreq, mean power from the meter.
//! Where cpufreq's limits may be set, some steps run at other frequencies too. Whatever a step changes is put back when
//! it ends, by an error or a panic too.

mod plan;

pub use plan::{Effort, Plan, Step};

use crate::combine::is_common;
use crate::cpu::CpuTimesReader;
use crate::cpufreq::Frequencies;
use crate::current_frequency::CurrentFrequency;
use crate::error::Result;
use crate::load::Load;
use crate::meter::Meter;
use crate::root::Root;
use crate::sensor::Kind;
use crate::span::SpanEnergy;
use crate::units::Watts;
use plan::held;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What a step was in truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadStep {
    /// Cores that were kept busy.
    pub busy_cores: usize,
    /// Share of the time that was asked for.
    pub share: f64,
    /// Share of the time in which the machine's cores were not idle, over all of them.
    pub utilisation: f64,
    /// Mean frequency of all cores in hertz, where the kernel shows it.
    pub hz: Option<f64>,
    /// Mean power.
    pub watts: Watts,
    /// Its standard uncertainty, without what all steps share (the meter's gain and offset).
    pub uncertainty: Watts,
}

/// The steps taken.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadSteps {
    /// The id of the sensor that saw them.
    pub sensor: String,
    /// Whether it measures.
    pub kind: Kind,
    /// Its relative standard uncertainty that all steps share: its gain, its offset. The root mean square over the steps.
    pub gain: f64,
    /// The steps, in the order they were taken.
    pub steps: Vec<LoadStep>,
    /// The highest frequency in hertz that any core can do, where the kernel shows it.
    pub highest_hz: Option<f64>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// Why it ended before the last step of the plan, if it did: the steps until then stand.
    pub partial: Option<String>,
}

/// A step needs samples for this share of its time.
const LEAST_COVERAGE: f64 = 0.5;

/// An idle machine that is busier, and a load that reaches less of what was asked for, are worth a word.
const BUSY: f64 = 0.1;
const LEAST_REACHED: f64 = 0.8;

/// How often the frequency is looked at.
const FREQUENCY_PERIOD: Duration = Duration::from_millis(50);

/// Takes the steps of a plan while `meter` watches; `before` is told each step, and how many came before it. An error
/// only if nothing could be started; a meter that stops in the middle ends it with the steps until then.
pub fn run(
    plan: &Plan,
    meter: &Meter,
    root: &Root,
    mut before: impl FnMut(usize, &Step),
) -> Result<LoadSteps> {
    let info = meter.info();
    let mut taker = Taker {
        plan,
        meter,
        root,
        times: CpuTimesReader::open(root)?,
        frequency: CurrentFrequency::open(root),
        cores: 0,
        shared: Vec::new(),
    };
    taker.cores = taker.times.read()?.cores;
    let mut taken = LoadSteps {
        sensor: info.id.clone(),
        kind: info.kind,
        gain: 0.0,
        steps: Vec::new(),
        highest_hz: taker.frequency.as_ref().map(CurrentFrequency::highest_hz),
        notes: plan.notes.clone(),
        partial: None,
    };
    for (n, step) in plan.steps.iter().enumerate() {
        before(n, step);
        let why = match taker.take(step) {
            Ok(Ok(step)) => {
                taken.steps.push(step);
                continue;
            }
            Ok(Err(why)) => why,
            Err(error) if taken.steps.is_empty() => return Err(error),
            Err(error) => error.to_string(),
        };
        let of = plan.steps.len();
        taken.partial = Some(format!("ended at step {} of {of}: {why}", n + 1));
        break;
    }
    taken.gain = root_mean_square(&taker.shared);
    taken.notes.extend(disturbances(&taken.steps, taker.cores));
    Ok(taken)
}

/// What else the machine did, or did not let us do.
fn disturbances(steps: &[LoadStep], cores: usize) -> Vec<String> {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let mut notes = Vec::new();
    let idle = steps.iter().filter(|step| step.share == 0.0);
    let busiest = idle.map(|step| step.utilisation).fold(0.0, f64::max);
    if busiest > BUSY {
        notes.push(format!(
            "the machine was busy with something else: {} at idle",
            percent(busiest)
        ));
    }
    let asked = |step: &LoadStep| (step.busy_cores as f64 * step.share / cores.max(1) as f64).min(1.0);
    let least = steps.iter().filter(|step| step.share == 1.0);
    let least = least.min_by(|a, b| (a.utilisation / asked(a)).total_cmp(&(b.utilisation / asked(b))));
    if let Some(step) = least.filter(|step| step.utilisation < LEAST_REACHED * asked(step)) {
        notes.push(format!(
            "a load of {} reached {}: something else runs, or this process is held to a part of the CPU",
            percent(asked(step)),
            percent(step.utilisation)
        ));
    }
    notes
}

struct Taker<'a> {
    plan: &'a Plan,
    meter: &'a Meter,
    root: &'a Root,
    times: CpuTimesReader,
    frequency: Option<CurrentFrequency>,
    /// Cores of the machine, ours or not.
    cores: usize,
    /// Of each step, the relative uncertainty that it shares with the others.
    shared: Vec<f64>,
}

impl Taker<'_> {
    /// One step; or, in words, why the meter says nothing about it.
    fn take(&mut self, step: &Step) -> Result<std::result::Result<LoadStep, String>> {
        let settings = step.khz.map(held);
        let _frequencies = settings
            .map(|settings| Frequencies::set(self.root, &settings))
            .transpose()?;
        let busy = &self.plan.cores[..step.busy_cores.min(self.plan.cores.len())];
        let _load = Load::start(busy, step.share)?;
        std::thread::sleep(self.plan.settle);
        let before = self.times.read()?;
        let span = self.meter.span("load step");
        let hz = self.watch_frequency();
        let span = span.end();
        let after = self.times.read()?;
        let energy = span.wait();
        let Some(utilisation) = after.utilisation_since(&before) else {
            return Ok(Err("/proc/stat did not move".to_owned()));
        };
        Ok(match self.power(&energy) {
            Err(why) => Err(why),
            Ok((watts, uncertainty)) => Ok(LoadStep {
                busy_cores: busy.len(),
                share: step.share,
                utilisation,
                hz,
                watts,
                uncertainty,
            }),
        })
    }

    /// Waits for the length of a step; the mean frequency meanwhile.
    fn watch_frequency(&mut self) -> Option<f64> {
        let end = Instant::now() + self.plan.length;
        let (mut sum, mut looks) = (0.0, 0.0);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(FREQUENCY_PERIOD));
            if let Some(hz) = self.frequency.as_mut().and_then(CurrentFrequency::read_hz) {
                sum += hz;
                looks += 1.0;
            }
        }
        (looks > 0.0).then(|| sum / looks)
    }

    fn power(&mut self, energy: &SpanEnergy) -> std::result::Result<(Watts, Watts), String> {
        match energy.mean_power() {
            Some(watts) if energy.coverage >= LEAST_COVERAGE => {
                let shared = uncertainty(energy, is_common);
                self.shared.push(shared.0 / watts.0.abs().max(f64::MIN_POSITIVE));
                Ok((watts, uncertainty(energy, |term| !is_common(term))))
            }
            _ => {
                let stats = self.meter.stats();
                let reason = stats.last_error.map(|error| format!(": {error}"));
                Err(format!(
                    "{} gave values for {:.0} % of it{}",
                    self.meter.info().id,
                    100.0 * energy.coverage,
                    reason.unwrap_or_default()
                ))
            }
        }
    }
}

/// Standard uncertainty of the mean power by some of its terms.
fn uncertainty(energy: &SpanEnergy, counts: impl Fn(&str) -> bool) -> Watts {
    let terms = energy.budget.terms();
    let terms = terms.iter().filter(|(name, _)| counts(name));
    let squares: f64 = terms.map(|(_, joules)| joules.0 * joules.0).sum();
    Watts(squares.sqrt() / energy.duration().0)
}

fn root_mean_square(numbers: &[f64]) -> f64 {
    let squares: f64 = numbers.iter().map(|number| number * number).sum();
    (squares / numbers.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests;
