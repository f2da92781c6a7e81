//! What a sensor really does: how long a read takes, how often it has a new value, how it scatters, in which steps it
//! counts, how far it lags behind, and what sampling it costs.
//!
//! The sensor is watched while the machine is idle and while a load goes on and off, read far more often than it has
//! new values. From that:
//!
//! | figure | from |
//! |---|---|
//! | read latency | the reads' durations: median and 99th percentile |
//! | update period | the times between changes of a rail, which are multiples of it |
//! | noise | root mean square difference of neighbouring values at idle, over sqrt(2); not of counters |
//! | quantisation step | the greatest common step of the values |
//! | lag | a first-order response a + b (1 - exp(-(t - d)/tau)), fitted to each edge of the load; not of counters |
//! | idle, drift | a line through the means of ten parts of the idle time |
//! | cost | CPU time of the thread that samples, at 10, 100 and 1000 Hz |
//! | highest rate | the highest of 1, 2, 5, 10 ... at which no tick was late |
//!
//! A figure that cannot be told is `None`, with the reason in [`Characteristics::unknown`]. What the driver states
//! stands beside it in [`Stated`]. A lag holds everything between the load and the reading: a governor that raises the
//! frequency slowly looks like a filter.

mod cost;
mod idle;
mod lag;
mod period;
mod quantum;
mod record;

pub use cost::Cost;
pub use idle::IdleRail;
pub use lag::Lag;

use crate::calibration::{RailFindings, SensorFindings};
use crate::clock::Clock;
use crate::error::Result;
use crate::load::Load;
use crate::sensor::{Kind, Sensor, SensorInfo};
use crate::units::{Joules, Seconds, Watts};
use cost::Shared;
use record::Record;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How long to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Time to watch the idle machine.
    pub idle: Duration,
    /// Number of times that the load goes on and off again.
    pub pulses: u32,
    /// For how long it is on, and then off; up to five times as long for a slow sensor.
    pub half_pulse: Duration,
    /// Time to sample at each rate.
    pub sampling: Duration,
}

impl Options {
    /// About five seconds.
    pub fn quick() -> Self {
        Self {
            idle: Duration::from_secs(1),
            pulses: 1,
            half_pulse: Duration::from_millis(800),
            sampling: Duration::from_millis(200),
        }
    }

    /// About 25 seconds.
    pub fn thorough() -> Self {
        Self {
            idle: Duration::from_secs(8),
            pulses: 3,
            half_pulse: Duration::from_millis(2000),
            sampling: Duration::from_millis(1000),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Characteristics {
    /// The sensor's id.
    pub sensor: String,
    /// Whether it measures.
    pub kind: Kind,
    /// Reads that succeeded, and that failed.
    pub reads: usize,
    /// Reads that failed.
    pub lost_reads: usize,
    /// Median duration of a read.
    pub read_latency: Option<Seconds>,
    /// 99th percentile of it.
    pub read_latency_p99: Option<Seconds>,
    /// Time between two new values.
    pub update_period: Option<Seconds>,
    /// Response to a load step.
    pub lag: Option<Lag>,
    /// Per rail, in the sensor's order.
    pub rails: Vec<RailCharacteristics>,
    /// What sampling costs.
    pub costs: Vec<Cost>,
    /// The highest rate without late ticks, in hertz.
    pub highest_rate_hz: Option<f64>,
    /// What could not be told, and why.
    pub unknown: Vec<String>,
    /// What the driver says.
    pub stated: Stated,
}

/// What was found about a rail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RailCharacteristics {
    /// The rail's name.
    pub name: String,
    /// Its power at idle, and how that drifts.
    pub idle: Option<IdleRail>,
    /// Standard deviation of a single value at idle.
    pub noise: Option<Watts>,
    /// Smallest step of a power reading.
    pub power_step: Option<Watts>,
    /// Smallest step of an energy counter.
    pub energy_step: Option<Joules>,
    /// What the driver states as the step of a power reading; zero where it states none.
    pub stated_power_step: Watts,
    /// The same for an energy counter.
    pub stated_energy_step: Joules,
}

/// What the driver states: a datasheet's figures, where it knows them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stated {
    /// Time between two new values.
    pub update_period: Option<Seconds>,
    /// Time constant of the filter.
    pub lag: Option<Seconds>,
    /// Its relative standard uncertainty.
    pub lag_uncertainty: f64,
    /// Where these figures come from.
    pub source: String,
}

/// Something that makes the machine busy and idle again.
pub trait LoadSwitch {
    /// Busy or not, from now on.
    fn switch(&mut self, is_busy: bool) -> Result<()>;
}

/// All of these cores, busy all of the time.
#[derive(Debug)]
pub struct Cores {
    cores: Vec<usize>,
    load: Option<Load>,
}

impl Cores {
    /// A load on these cores; it is off.
    pub fn new(cores: Vec<usize>) -> Self {
        Self { cores, load: None }
    }
}

impl LoadSwitch for Cores {
    fn switch(&mut self, is_busy: bool) -> Result<()> {
        self.load = is_busy.then(|| Load::start(&self.cores, 1.0)).transpose()?;
        Ok(())
    }
}

/// Watches a sensor. An error if it cannot be read at all, or if no load can be made.
pub fn characterise(
    sensor: Box<dyn Sensor>,
    clock: &Arc<dyn Clock>,
    load: &mut dyn LoadSwitch,
    options: &Options,
) -> Result<Characteristics> {
    let info = sensor.info();
    let mut sensor = Shared::new(sensor);
    sensor.read()?;
    let mut record = Record::new(info.rails.len());
    record.watch(&mut sensor, &**clock, options.idle);
    let idle_looks = record.len();
    let half = half_pulse(&info, period::of(&record).ok(), options);
    let edges = pulses(&mut record, &mut sensor, clock, load, (options.pulses, half))?;
    let latencies = record.latencies();
    let (costs, highest_rate_hz) =
        cost::measure(&sensor, clock, latencies.map(|(median, _)| median), options);
    let mut found = Characteristics {
        sensor: info.id.clone(),
        kind: info.kind,
        reads: record.len(),
        lost_reads: record.lost,
        read_latency: latencies.map(|(median, _)| Seconds(median)),
        read_latency_p99: latencies.map(|(_, p99)| Seconds(p99)),
        update_period: None,
        lag: None,
        rails: Vec::new(),
        costs,
        highest_rate_hz,
        unknown: Vec::new(),
        stated: Stated {
            update_period: info.accuracy.update_period,
            lag: info.accuracy.lag,
            lag_uncertainty: info.accuracy.lag_uncertainty,
            source: info.accuracy.source.clone(),
        },
    };
    if highest_rate_hz.is_none() {
        found
            .unknown
            .push("highest rate: ticks were late at every rate".to_owned());
    }
    found.evaluate(&info, &record, idle_looks, &edges);
    Ok(found)
}

/// A dozen values after each edge, or a few time constants.
fn half_pulse(info: &SensorInfo, period: Option<f64>, options: &Options) -> Duration {
    let stated = |x: Option<Seconds>| x.map_or(0.0, |x| x.0);
    let period = period.unwrap_or(stated(info.accuracy.update_period));
    let wanted = (12.0 * period).max(6.0 * stated(info.accuracy.lag));
    let least = options.half_pulse.as_secs_f64();
    Duration::from_secs_f64(wanted.clamp(least, 5.0 * least))
}

/// An edge of the load: when it was, and the first look after it.
struct LoadEdge {
    t: f64,
    look: usize,
}

/// Load on, load off, again and again; on whatever happens it ends off.
fn pulses(
    record: &mut Record,
    sensor: &mut Shared,
    clock: &Arc<dyn Clock>,
    load: &mut dyn LoadSwitch,
    (number, half): (u32, Duration),
) -> Result<Vec<LoadEdge>> {
    let mut edges = Vec::new();
    for _ in 0..number {
        for is_busy in [true, false] {
            load.switch(is_busy)?;
            edges.push(LoadEdge {
                t: record.time_of(clock.now()),
                look: record.len(),
            });
            record.watch(sensor, &**clock, half);
        }
    }
    Ok(edges)
}

impl Characteristics {
    fn evaluate(&mut self, info: &SensorInfo, record: &Record, idle_looks: usize, edges: &[LoadEdge]) {
        self.update_period = match period::of(record) {
            Ok(period) => Some(Seconds(period)),
            Err(why) => {
                self.unknown.push(format!("update period: {why}"));
                None
            }
        };
        let period = self.update_period.map(|period| period.0);
        self.lag = match lag::of(record, &info.total, edges, period) {
            Ok(lag) => Some(lag),
            Err(why) => {
                self.unknown.push(format!("lag: {why}"));
                None
            }
        };
        for (i, rail) in info.rails.iter().enumerate() {
            let series = record.rail(i);
            let idle = record::before(&series, idle_looks);
            let step = quantum::of(&series);
            if step.is_none() {
                self.unknown
                    .push(format!("step of {}: its values have no common one", rail.name));
            }
            let of_counter = record.is_counter(i);
            let noise = (!of_counter).then(|| idle::noise(idle, period)).flatten();
            if !of_counter && noise.is_none() {
                self.unknown.push(format!(
                    "noise of {}: its value did not change at idle",
                    rail.name
                ));
            }
            self.rails.push(RailCharacteristics {
                name: rail.name.clone(),
                idle: idle::of(idle, of_counter, step.unwrap_or(rail.power_step.0)),
                noise: noise.map(Watts),
                power_step: step.filter(|_| !of_counter).map(Watts),
                energy_step: step.filter(|_| of_counter).map(Joules),
                stated_power_step: rail.power_step,
                stated_energy_step: rail.energy_step,
            });
        }
    }

    /// What of this belongs into the calibration file: figures that the driver does not state or that differ clearly
    /// from what it states.
    pub fn findings(&self) -> SensorFindings {
        let mut findings = SensorFindings::default();
        let period = self.update_period.map(|period| period.0);
        let stated = self.stated.update_period.map(|period| period.0);
        findings.update_period_s = period.filter(|&found| differs(found, stated)).map(significant);
        if let Some(lag) = &self.lag {
            let stated = self.stated.lag.map_or(0.0, |lag| lag.0);
            let unsure = lag.uncertainty.0.hypot(stated * self.stated.lag_uncertainty);
            if (lag.time_constant.0 - stated).abs() > 3.0 * unsure {
                findings.lag_s = Some(significant(lag.time_constant.0));
                findings.lag_uncertainty = Some(significant(lag.uncertainty.0 / lag.time_constant.0));
            }
        }
        for rail in &self.rails {
            let unstated = |stated: f64| (stated > 0.0).then_some(stated);
            let power = rail.power_step.map(|step| step.0);
            let energy = rail.energy_step.map(|step| step.0);
            let found = RailFindings {
                power_step_w: power
                    .filter(|&step| differs(step, unstated(rail.stated_power_step.0)))
                    .map(significant),
                energy_step_j: energy
                    .filter(|&step| differs(step, unstated(rail.stated_energy_step.0)))
                    .map(significant),
            };
            if found != RailFindings::default() {
                findings.rail.insert(rail.name.clone(), found);
            }
        }
        findings
    }
}

/// Whether a figure is news: nothing is stated, or something that is a quarter off.
fn differs(found: f64, stated: Option<f64>) -> bool {
    stated.is_none_or(|stated| (found - stated).abs() > 0.25 * stated)
}

/// Three digits.
fn significant(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let scale = 10f64.powf(2.0 - number.abs().log10().floor());
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests;
