//! One rail from reading to reading: its cumulative energy, and what of it the readings cannot show.

use crate::clock::Moment;
use crate::sensor::{Accuracy, Rail, Value};
use crate::units::{Joules, Seconds, Watts};
use crate::variability::{Roughness, Variability};
use std::ops::{Add, Sub};

/// Two samples further apart than this many nominal intervals have a gap between them.
pub(crate) const GAP_INTERVALS: f64 = 1.75;

/// A reading that comes sooner than this share of the update period after the last new one is a repeat of it.
const REPEAT_SHARE: f64 = 0.75;

/// Shorter than this share of the usual interval, two looks at a counter give no mean power worth learning from.
const SHORTEST_MEAN: f64 = 0.5;

/// The mean power behind a low-pass is looked at over this share of its time constant: over less, it is mostly rounding.
const LAG_SHARE: f64 = 0.125;

/// A counter that goes back is a wrap only if the energy since the last read is below this share of its range;
/// otherwise it was reset.
const WRAP_SHARE: f64 = 0.5;

/// What a sample had for a rail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Read {
    /// Nothing.
    #[default]
    Nothing,
    /// Power.
    Power,
    /// A counter of energy; `first` where there was none to compare with, so that no power is known yet.
    Counter {
        /// Whether it was the first, or the first after a reset.
        first: bool,
    },
}

/// Cumulative figures of one rail, or of the total, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RailPoint {
    /// Energy since the first sample, corrected for a low-pass in the sensor.
    pub energy: Joules,
    /// Power as read; for counters the mean since the sample before.
    pub power: Watts,
    /// Variances of the energy, cumulative.
    pub variance: Variances,
    /// How power varies around here.
    pub roughness: Roughness,
    /// The length that `roughness` belongs to: from one new value to the next.
    pub interval: Seconds,
    /// Whether only the mean power between samples is known (a counter, a low-pass, a window), not its course.
    pub is_mean: bool,
    /// Whether that mean leaves nothing out, as a counter's or a window's does.
    pub is_complete: bool,
    /// Highest power seen so far, as an absolute value.
    pub peak: Watts,
    /// What this sample had for the rail.
    pub read: Read,
    /// How many samples so far had something for it.
    pub values: u64,
}

/// Variances of an energy, in J².
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Variances {
    /// What power did between two samples.
    pub sampling: f64,
    /// What it did in gaps.
    pub gaps: f64,
    /// Rounding of power readings.
    pub resolution: f64,
}

impl Add for Variances {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            sampling: self.sampling + other.sampling,
            gaps: self.gaps + other.gaps,
            resolution: self.resolution + other.resolution,
        }
    }
}

impl Sub for Variances {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            sampling: self.sampling - other.sampling,
            gaps: self.gaps - other.gaps,
            resolution: self.resolution - other.resolution,
        }
    }
}

/// What became of a counter between two reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CounterStep {
    /// It grew by this much, a wrap included.
    Delta(Joules),
    /// It went back in a way no wrap explains.
    Reset,
}

/// Compares two readings of a counter.
pub fn counter_step(before: Joules, now: Joules, wraps_at: Option<Joules>) -> CounterStep {
    if now >= before {
        return CounterStep::Delta(now - before);
    }
    match wraps_at {
        Some(range) if before <= range && (now + range - before).0 <= WRAP_SHARE * range.0 => {
            CounterStep::Delta(now + range - before)
        }
        _ => CounterStep::Reset,
    }
}

/// How a sensor's readings relate to power, from its [`Accuracy`] and the interval at which it is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Optics {
    /// Nominal time between two reads.
    pub period: f64,
    /// Time between two new values, if known; else 0.
    pub update: f64,
    /// Time constant of a low-pass; 0 without.
    pub lag: f64,
    /// Whether a power value is the mean since the value before.
    pub is_windowed: bool,
}

impl Optics {
    pub fn new(accuracy: &Accuracy, period: Seconds) -> Self {
        let seconds = |x: Option<Seconds>| x.map_or(0.0, |x| x.0.max(0.0));
        let (update, window) = (seconds(accuracy.update_period), seconds(accuracy.window));
        Self {
            period: period.0,
            update,
            lag: seconds(accuracy.lag),
            // A window shorter than the time between two values leaves out what happens between windows.
            is_windowed: window > 0.0 && window >= REPEAT_SHARE * update.max(period.0),
        }
    }

    /// Energy between two power readings `dt` apart: their trapezoid, and what a low-pass has held back; of means over a
    /// window, the later one's.
    pub fn energy(&self, before: Watts, power: Watts, dt: Seconds) -> Joules {
        if self.is_windowed {
            return power * dt;
        }
        (before + power) / 2.0 * dt + (power - before) * Seconds(self.lag)
    }

    /// Whether all that power did is in the readings: a low-pass slower than we look, or windows without gaps.
    fn remembers(&self) -> bool {
        self.is_windowed || self.lag >= self.period.max(self.update)
    }

    /// A new value is due after this long.
    fn interval(&self) -> f64 {
        self.period.max(self.update)
    }
}

/// Whether a value could be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Taken {
    Yes,
    No,
    Reset,
}

/// The state of one rail.
#[derive(Debug)]
pub(crate) struct Track {
    pub now: RailPoint,
    optics: Optics,
    power_step: f64,
    last: Option<(Moment, Value)>,
    /// Time for which the reading has not changed: one rounding error for all of it.
    unchanged: f64,
    watch: Watch,
}

impl Track {
    pub fn new(rail: &Rail, optics: Optics) -> Self {
        Self {
            now: RailPoint::default(),
            optics,
            power_step: rail.power_step.0,
            last: None,
            unchanged: 0.0,
            watch: Watch::default(),
        }
    }

    /// Takes in a value; what became of it, and whether it differs from the one before.
    pub fn push(&mut self, t: Moment, value: Value) -> (Taken, bool) {
        self.now.read = Read::Nothing;
        if value == Value::Missing {
            return (Taken::No, false);
        }
        let last = self.last.replace((t, value));
        let taken = match (last, value) {
            (Some((then, Value::Power(before))), Value::Power(power)) => {
                self.add_power(before, power, (t - then).0);
                Taken::Yes
            }
            (Some((then, Value::Energy { counter: before, .. })), Value::Energy { counter, wraps_at }) => {
                match counter_step(before, counter, wraps_at) {
                    CounterStep::Delta(delta) => {
                        self.now.power = delta / (t - then);
                        self.now.energy += delta;
                        Taken::Yes
                    }
                    CounterStep::Reset => {
                        self.bridge_reset(t - then);
                        Taken::Reset
                    }
                }
            }
            (_, Value::Power(power)) => {
                self.now.power = power;
                Taken::Yes
            }
            _ => Taken::Yes,
        };
        let has_changed = last.is_none_or(|(_, last)| last != value);
        let is_counter = matches!(value, Value::Energy { .. });
        self.now.is_mean = is_counter || self.optics.remembers();
        self.now.is_complete = is_counter || self.optics.is_windowed;
        self.now.values += 1;
        self.now.read = match is_counter {
            true => Read::Counter {
                first: last.is_none() || taken == Taken::Reset,
            },
            false => Read::Power,
        };
        self.watch
            .look(t, &mut self.now, &self.optics, is_counter, has_changed);
        (taken, has_changed)
    }

    /// Whether it is a counter of energy.
    pub fn is_counter(&self) -> bool {
        matches!(self.last, Some((_, Value::Energy { .. })))
    }

    /// What a counter counted until it began anew is lost: its power before goes on, and may have been anything up to the
    /// highest.
    fn bridge_reset(&mut self, dt: Seconds) {
        self.now.energy += self.now.power * dt;
        self.now.variance.gaps += (self.now.peak.0.max(self.now.power.0) * dt.0).powi(2) / 3.0;
    }

    fn add_power(&mut self, before: Watts, power: Watts, dt: f64) {
        self.now.energy += self.optics.energy(before, power, Seconds(dt));
        self.now.power = power;
        // Rounding to a step is a rectangular distribution of variance step²/12. As long as the reading does not
        // leave a step and its neighbours it is the same rounding, and its error grows with time, not with the root of it.
        let stays = (power.0 - before.0).abs() < 1.5 * self.power_step || before == power;
        self.unchanged = if stays { self.unchanged } else { 0.0 } + dt;
        self.now.variance.resolution +=
            self.power_step * self.power_step / 12.0 * dt * (2.0 * self.unchanged - dt);
    }
}

/// Learns how a rail's power varies, and adds up what that may have hidden.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Of the values as read.
    readings: Variability,
    /// Of the mean power between looks, where readings remember.
    means: Variability,
    mean_roughness: Roughness,
    last_news: Option<(Moment, Joules)>,
    last_mean: Option<(Moment, Joules)>,
    range: Option<(f64, f64)>,
}

impl Watch {
    /// Called at each reading, when `now` holds its energy and power.
    pub fn look(
        &mut self,
        t: Moment,
        now: &mut RailPoint,
        optics: &Optics,
        is_counter: bool,
        has_changed: bool,
    ) {
        let Some((then, energy_then)) = self.last_news else {
            self.last_news = Some((t, now.energy));
            self.last_mean = self.last_news;
            self.mean_roughness = Variability::default().push(now.power.0, 1.0);
            if !is_counter {
                self.readings.push(now.power.0, 1.0);
                self.widen(now);
            }
            return;
        };
        let interval = (t - then).0;
        if interval < REPEAT_SHARE * optics.update && (is_counter || !has_changed) {
            return;
        }
        // The mean of so short a time is mostly the counter's own step.
        if is_counter && interval < SHORTEST_MEAN * optics.period {
            return;
        }
        self.last_news = Some((t, now.energy));
        let mean = (now.energy - energy_then).0 / interval;
        self.widen(now);
        now.interval = Seconds(interval.max(optics.update));
        let stretch = now.interval.0 / optics.interval();
        if is_counter || optics.is_windowed {
            now.roughness = self.means.push(mean, stretch);
            if !is_counter {
                self.add_gap(now, optics);
            }
            return;
        }
        now.roughness = self.readings.push(now.power.0, stretch);
        self.add_interval(now, optics);
        if optics.remembers() {
            self.add_conversions(t, now, optics, interval);
        }
    }

    /// The trapezoid between two readings.
    fn add_interval(&self, now: &mut RailPoint, optics: &Optics) {
        if !self.add_gap(now, optics) {
            let roughness = now.roughness;
            now.variance.sampling += roughness.gamma * now.interval.0.powi(2) * roughness.of_interval();
        }
    }

    /// Over a gap power may wander further than from one sample to the next, but not out of its range.
    fn add_gap(&self, now: &mut RailPoint, optics: &Optics) -> bool {
        let intervals = now.interval.0 / optics.interval();
        if intervals <= GAP_INTERVALS {
            return false;
        }
        let (low, high) = self.range.unwrap_or_default();
        let roughness = now.roughness;
        let gamma = (roughness.gamma * intervals).min(0.25 * (high - low).powi(2));
        now.roughness = roughness.with_gamma(gamma);
        // A low-pass remembers what happened in a gap shorter than itself.
        let forgotten = if optics.lag > now.interval.0 {
            (now.interval.0 / optics.lag).powi(2)
        } else {
            1.0
        };
        now.variance.gaps +=
            forgotten * gamma * now.interval.0.powi(2) * roughness.of_interval().min(1.0 / 3.0);
        true
    }

    /// Behind a low-pass nothing is lost between our reads, only between the sensor's own conversions.
    fn add_conversions(&mut self, t: Moment, now: &mut RailPoint, optics: &Optics, interval: f64) {
        if let Some((then, energy)) = self.last_mean
            && (t - then).0 >= LAG_SHARE * optics.lag
        {
            let over = (t - then).0;
            self.mean_roughness = self.means.push((now.energy - energy).0 / over, 1.0);
            self.last_mean = Some((t, now.energy));
        }
        let roughness = self.mean_roughness;
        now.roughness = roughness;
        let each = roughness.blend(interval * optics.update, optics.update.powi(2) / 6.0);
        now.variance.sampling += roughness.gamma * each;
    }

    fn widen(&mut self, now: &mut RailPoint) {
        let power = now.power.0;
        let (low, high) = self.range.unwrap_or((power, power));
        self.range = Some((low.min(power), high.max(power)));
        now.peak = Watts(now.peak.0.max(power.abs()));
    }
}
