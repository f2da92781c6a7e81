//! From readings to cumulative energy, pure and without threads or clocks.
//!
//! - Power is integrated by the trapezoid rule over the real time between two reads, never the nominal one.
//! - Counters are differenced, wrap-aware; a reset is not a wrap and adds nothing.
//! - A sample stands for at most one nominal period around it. Time between samples that are further apart is
//!   bridged, but it is not *covered*.

use crate::clock::Moment;
use crate::sensor::{Reading, SensorInfo, Value};
use crate::units::{Joules, Seconds, Watts};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// How many past points are kept for edges that are looked up late.
const HISTORY: usize = 256;

/// Two samples further apart than this many nominal periods leave a gap.
const GAP_PERIODS: f64 = 1.5;

/// A counter that goes back is a wrap only if the energy since the last read is below this share of its range;
/// otherwise it was reset.
const WRAP_SHARE: f64 = 0.5;

/// Cumulative figures of one rail, or of the total, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RailPoint {
    /// Energy since the first sample.
    pub energy: Joules,
    /// Power at the moment; for counters the mean since the sample before.
    pub power: Watts,
    /// Change of power since the sample before, as an absolute value.
    pub step: Watts,
    /// Variance of the energy by sampling (J²): what the trapezoids may have missed, cumulative.
    pub sampling_variance: f64,
    /// Variance of the energy by the resolution of power readings (J²), cumulative.
    pub resolution_variance: f64,
}

/// Cumulative figures at one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// When: the middle of the read.
    pub t: Moment,
    /// Per rail, in the sensor's order.
    pub rails: SmallVec<[RailPoint; 8]>,
    /// The sensor's total.
    pub total: RailPoint,
    /// Time backed by samples since the first one.
    pub covered: Seconds,
    /// Number of samples so far.
    pub samples: u64,
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

/// Integrates the readings of one sensor.
#[derive(Debug)]
pub struct Integrator {
    tracks: Vec<Track>,
    total_rails: Vec<usize>,
    period: Seconds,
    points: VecDeque<Point>,
    resets: u64,
    power_range: Option<(Watts, Watts)>,
}

/// The state of one rail.
#[derive(Debug)]
struct Track {
    last: Option<(Moment, Value)>,
    now: RailPoint,
    power_step: Watts,
}

impl Integrator {
    /// For a sensor that is read every `period` seconds. A sensor that itself updates more slowly is
    /// expected to have a new value only that often.
    pub fn new(info: &SensorInfo, period: Seconds) -> Self {
        let update = info.accuracy.update_period.unwrap_or(Seconds::ZERO);
        // A slow sensor seen by a regular look is new at every ceil(update / period)-th look.
        let looks = (update.0 / period.0).ceil().max(1.0);
        let track = |power_step| Track {
            last: None,
            now: RailPoint::default(),
            power_step,
        };
        Self {
            tracks: info.rails.iter().map(|rail| track(rail.power_step)).collect(),
            total_rails: info.total.clone(),
            period: Seconds(period.0 * looks),
            points: VecDeque::with_capacity(HISTORY),
            resets: 0,
            power_range: None,
        }
    }

    /// Takes in a reading made at `t`. False if there was nothing in it, or it does not fit the sensor.
    pub fn push(&mut self, t: Moment, reading: &Reading) -> bool {
        let too_early = self.points.back().is_some_and(|last| t <= last.t);
        if reading.is_unchanged() || reading.values.len() != self.tracks.len() || too_early {
            return false;
        }
        let mut is_complete = true;
        for (i, (track, &value)) in self.tracks.iter_mut().zip(&reading.values).enumerate() {
            let taken = track.push(t, value);
            self.resets += u64::from(taken == Taken::Reset);
            is_complete &= taken == Taken::Yes || !self.total_rails.contains(&i);
        }
        let point = self.next_point(t, is_complete);
        if self.points.len() == HISTORY {
            self.points.pop_front();
        }
        self.points.push_back(point);
        true
    }

    fn next_point(&mut self, t: Moment, is_complete: bool) -> Point {
        let last = self.points.back();
        let total = self.total_at(t, last);
        let covered = match last {
            Some(last) if is_complete => {
                let elapsed = t - last.t;
                let backed = if elapsed.0 <= GAP_PERIODS * self.period.0 {
                    elapsed
                } else {
                    self.period
                };
                last.covered + backed
            }
            Some(last) => last.covered,
            None => Seconds::ZERO,
        };
        if last.is_some() {
            let (low, high) = self.power_range.unwrap_or((total.power, total.power));
            self.power_range = Some((Watts(low.0.min(total.power.0)), Watts(high.0.max(total.power.0))));
        }
        Point {
            t,
            rails: self.tracks.iter().map(|track| track.now).collect(),
            total,
            covered,
            samples: last.map_or(0, |last| last.samples) + 1,
        }
    }

    /// The total as a rail of its own: rails rise and fall together, so their variances do not simply add.
    fn total_at(&self, t: Moment, last: Option<&Point>) -> RailPoint {
        let parts = || {
            self.total_rails
                .iter()
                .filter_map(|&i| self.tracks.get(i))
                .map(|track| &track.now)
        };
        let energy: Joules = parts().map(|part| part.energy).sum();
        let power: Watts = parts().map(|part| part.power).sum();
        let Some(last) = last else {
            return RailPoint {
                energy,
                power,
                ..RailPoint::default()
            };
        };
        let step = Watts((power - last.total.power).0.abs());
        let is_counter = parts().all(|part| part.sampling_variance == 0.0);
        let sampled = if is_counter {
            0.0
        } else {
            trapezoid_variance(step, t - last.t)
        };
        RailPoint {
            energy,
            power,
            step,
            sampling_variance: last.total.sampling_variance + sampled,
            resolution_variance: parts().map(|part| part.resolution_variance).sum(),
        }
    }

    /// All points still held, oldest first.
    pub fn points(&self) -> &VecDeque<Point> {
        &self.points
    }

    /// The newest point.
    pub fn last(&self) -> Option<&Point> {
        self.points.back()
    }

    /// How often a counter was reset.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// Highest minus lowest total power seen so far.
    pub fn power_range(&self) -> Watts {
        self.power_range.map_or(Watts::ZERO, |(low, high)| high - low)
    }
}

/// Whether a value could be used.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Taken {
    Yes,
    No,
    Reset,
}

impl Track {
    fn push(&mut self, t: Moment, value: Value) -> Taken {
        if value == Value::Missing {
            return Taken::No;
        }
        let taken = match (self.last, value) {
            (Some((then, Value::Power(before))), Value::Power(power)) => {
                self.add_trapezoid(before, power, t - then);
                Taken::Yes
            }
            (Some((then, Value::Energy { counter: before, .. })), Value::Energy { counter, wraps_at }) => {
                match counter_step(before, counter, wraps_at) {
                    CounterStep::Delta(delta) => {
                        self.add_delta(delta, t - then);
                        Taken::Yes
                    }
                    CounterStep::Reset => Taken::Reset,
                }
            }
            (_, Value::Power(power)) => {
                self.now.power = power;
                Taken::Yes
            }
            _ => Taken::Yes,
        };
        self.last = Some((t, value));
        taken
    }

    fn add_trapezoid(&mut self, before: Watts, power: Watts, dt: Seconds) {
        let now = &mut self.now;
        now.energy += (before + power) / 2.0 * dt;
        now.step = Watts((power - before).0.abs());
        now.power = power;
        now.sampling_variance += trapezoid_variance(now.step, dt);
        // Rounding to a step is a rectangular distribution of variance step²/12, new at every sample.
        now.resolution_variance += (self.power_step.0 * dt.0).powi(2) / 12.0;
    }

    fn add_delta(&mut self, delta: Joules, dt: Seconds) {
        let power = delta / dt;
        self.now.step = Watts((power - self.now.power).0.abs());
        self.now.power = power;
        self.now.energy += delta;
    }
}

/// If power went from one value to the other in one step at an unknown time between the samples, the
/// trapezoid is wrong by up to half the step times the interval, evenly distributed.
fn trapezoid_variance(step: Watts, dt: Seconds) -> f64 {
    (step.0 * dt.0).powi(2) / 12.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::{Kind, Rail, Role};

    const MS: u64 = 1_000_000;

    fn one_rail() -> SensorInfo {
        SensorInfo::new("test", Kind::Measured, vec![Rail::new("total", Role::Total)])
    }

    fn energy(counter: f64, wraps_at: f64) -> Reading {
        [Value::Energy {
            counter: Joules(counter),
            wraps_at: Some(Joules(wraps_at)),
        }]
        .into_iter()
        .collect()
    }

    #[test]
    fn constant_power_is_exact_over_irregular_intervals() {
        let mut integrator = Integrator::new(&one_rail(), Seconds(0.01));
        for t in [0, 10, 21, 29, 40, 400] {
            integrator.push(Moment(t * MS), &Reading::of_power(Watts(2.5)));
        }
        let last = integrator.last().unwrap();
        assert!((last.total.energy.0 - 1.0).abs() < 1e-12);
        assert!(
            (last.covered.0 - 0.050).abs() < 1e-12,
            "the gap of 360 ms counts one period: {last:?}"
        );
        assert_eq!(last.samples, 6);
    }

    #[test]
    fn a_ramp_is_exact_and_a_wrapping_counter_too() {
        let mut ramp = Integrator::new(&one_rail(), Seconds(1.0));
        for t in 0..=4u64 {
            ramp.push(Moment(t * 1000 * MS), &Reading::of_power(Watts(t as f64)));
        }
        assert_eq!(ramp.last().unwrap().total.energy, Joules(8.0));

        let mut counter = Integrator::new(&one_rail(), Seconds(1.0));
        for (t, uj) in [90.0, 95.0, 2.0, 4.0].into_iter().enumerate() {
            counter.push(Moment(t as u64 * 1000 * MS), &energy(uj, 100.0));
        }
        assert_eq!(counter.last().unwrap().total.energy, Joules(14.0));
        assert_eq!(counter.resets(), 0);
    }

    #[test]
    fn a_reset_is_not_a_wrap() {
        assert_eq!(
            counter_step(Joules(40.0), Joules(1.0), Some(Joules(100.0))),
            CounterStep::Reset
        );
        assert_eq!(
            counter_step(Joules(90.0), Joules(1.0), Some(Joules(100.0))),
            CounterStep::Delta(Joules(11.0))
        );
        assert_eq!(counter_step(Joules(90.0), Joules(1.0), None), CounterStep::Reset);
        let mut integrator = Integrator::new(&one_rail(), Seconds(1.0));
        for (t, j) in [40.0, 41.0, 0.5, 1.5].into_iter().enumerate() {
            integrator.push(Moment(t as u64 * 1000 * MS), &energy(j, 100.0));
        }
        let last = integrator.last().unwrap();
        assert_eq!((last.total.energy, last.covered), (Joules(2.0), Seconds(2.0)));
        assert_eq!(integrator.resets(), 1);
    }

    #[test]
    fn a_rail_without_value_lowers_coverage_and_not_the_others() {
        let rails = vec![Rail::new("a", Role::Cpu), Rail::new("b", Role::Io)];
        let info = SensorInfo::new("test", Kind::Measured, rails);
        let mut integrator = Integrator::new(&info, Seconds(1.0));
        for (t, b) in [Some(1.0), None, Some(1.0)].into_iter().enumerate() {
            let b = b.map_or(Value::Missing, |p| Value::Power(Watts(p)));
            let reading = [Value::Power(Watts(2.0)), b].into_iter().collect();
            integrator.push(Moment(t as u64 * 1000 * MS), &reading);
        }
        let last = integrator.last().unwrap();
        assert_eq!(last.rails[0].energy, Joules(4.0));
        assert_eq!(last.rails[1].energy, Joules(2.0));
        assert_eq!(last.covered, Seconds(1.0));
    }

    #[test]
    fn nothing_new_is_no_sample() {
        let mut integrator = Integrator::new(&one_rail(), Seconds(1.0));
        assert!(integrator.push(Moment(5), &Reading::of_power(Watts(1.0))));
        assert!(!integrator.push(Moment(6), &Reading::unchanged()));
        assert!(!integrator.push(Moment(5), &Reading::of_power(Watts(1.0))));
        assert_eq!(integrator.last().unwrap().samples, 1);
    }
}
