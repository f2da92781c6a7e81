//! From readings to cumulative energy, pure and without threads or clocks.
//!
//! - Power is integrated by the trapezoid rule over the real time between two reads, never the nominal one.
//! - Counters are differenced, wrap-aware; a reset is not a wrap and adds nothing.
//! - A look at the sensor stands for at most one nominal period. Time between looks that are further apart is
//!   bridged, but it is not *covered*. A look that finds nothing new is a look.

use crate::clock::Moment;
use crate::ring::Ring;
use crate::sensor::{Accuracy, Reading, SensorInfo};
pub use crate::track::{CounterStep, RailPoint, Read, Variances, counter_step};
use crate::track::{GAP_INTERVALS, Optics, Taken, Track, Watch};
use crate::units::{Joules, Seconds, Watts};
use smallvec::SmallVec;
use std::time::Duration;

/// Past points are kept for edges that are looked up late: those of this much time, and at least and at most so many.
const HISTORY: Seconds = Seconds(0.1);
const HISTORY_LEAST: usize = 64;
const HISTORY_MOST: usize = 1024;

fn history(period: Seconds) -> usize {
    ((HISTORY.0 / period.0) as usize).clamp(HISTORY_LEAST, HISTORY_MOST)
}

/// Cumulative figures at one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// The moment that the values belong to.
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

/// Integrates the readings of one sensor.
#[derive(Debug)]
pub struct Integrator {
    tracks: Vec<Track>,
    total_rails: Vec<usize>,
    /// Watches the sum: rails rise and fall together, so their variances do not simply add.
    total: Watch,
    optics: Optics,
    period: Seconds,
    delay: Delay,
    tells_moments: bool,
    points: Ring,
    /// When the sensor was last looked at, and the time backed by looks since the newest point.
    last_look: Option<Moment>,
    backed: Duration,
    covered: Duration,
    has_missed: bool,
    resets: u64,
}

/// How long before it is read a value was true, on average.
#[derive(Clone, Copy, Debug, Default)]
struct Delay {
    /// Half of the window it is the mean of.
    window: Duration,
    /// Half of the update period, during which it has been standing; not where the reading tells its own moment.
    standing: Duration,
}

impl Integrator {
    /// For a sensor that is read every `period` seconds.
    pub fn new(info: &SensorInfo, period: Seconds) -> Self {
        let optics = Optics::new(&info.accuracy, period);
        let half = |x: Option<Seconds>| {
            Duration::try_from_secs_f64(x.map_or(0.0, |x| 0.5 * x.0)).unwrap_or_default()
        };
        Self {
            tracks: info.rails.iter().map(|rail| Track::new(rail, optics)).collect(),
            total_rails: info.total.clone(),
            total: Watch::default(),
            optics,
            period,
            delay: Delay {
                window: half(info.accuracy.window.map(|window| {
                    // A mean is entered for the interval before it, half a period earlier already.
                    let entered = if optics.is_windowed { period.0 } else { 0.0 };
                    Seconds((window.0 - entered).max(0.0))
                })),
                standing: half(info.accuracy.update_period),
            },
            tells_moments: false,
            points: Ring::new(history(period)),
            last_look: None,
            backed: Duration::ZERO,
            covered: Duration::ZERO,
            has_missed: false,
            resets: 0,
        }
    }

    /// The same for a recorded trace, whose times are already those at which its values were true.
    pub fn of_trace(info: &SensorInfo, period: Seconds) -> Self {
        Self {
            delay: Delay::default(),
            ..Self::new(info, period)
        }
    }

    /// Takes in a reading made at `t` (unless the reading itself tells a moment). False if there was nothing in it,
    /// or it does not fit the sensor.
    pub fn push(&mut self, t: Moment, reading: &Reading) -> bool {
        let fits = reading.is_unchanged() || reading.values.len() == self.tracks.len();
        if !fits {
            return false;
        }
        self.look(reading.at.unwrap_or(t));
        if reading.is_unchanged() {
            return false;
        }
        self.tells_moments = reading.at.is_some();
        let t = self.delay.moment(t, reading.at);
        if self.points.last().is_some_and(|last| t <= last.t) {
            return false;
        }
        let mut is_complete = true;
        let mut has_changed = false;
        for (i, (track, &value)) in self.tracks.iter_mut().zip(&reading.values).enumerate() {
            let (taken, is_new) = track.push(t, value);
            self.resets += u64::from(taken == Taken::Reset);
            if self.total_rails.contains(&i) {
                is_complete &= taken == Taken::Yes;
                has_changed |= is_new;
            }
        }
        self.add_point(t, is_complete, has_changed);
        true
    }

    /// A look that should have been has not been, or failed: the time until the next one is backed for one period only.
    pub fn miss(&mut self) {
        self.has_missed = true;
    }

    /// A look that finds nothing new backs the time since the look before as well as a sample does.
    fn look(&mut self, t: Moment) {
        if let Some(last) = self.last_look {
            // A value that tells an earlier moment than that of a look which found nothing new.
            if t <= last {
                return;
            }
            let elapsed = Duration::from_nanos(t.0 - last.0);
            let limit = elapsed.as_secs_f64() / self.period.0;
            let is_gap = std::mem::take(&mut self.has_missed) || limit > GAP_INTERVALS;
            self.backed += if is_gap && limit > 1.0 {
                Duration::from_secs_f64(self.period.0)
            } else {
                elapsed
            };
        }
        self.last_look = Some(t);
    }

    fn add_point(&mut self, t: Moment, is_complete: bool, has_changed: bool) {
        let last = self.points.last();
        // In whole nanoseconds, so that no rounding adds up over a long run. Looks later than this value back the next.
        let reached = last.map_or(Duration::ZERO, |last| Duration::from_nanos(t.0 - last.t.0));
        let backed = self.backed.min(reached);
        self.backed -= backed;
        if is_complete {
            self.covered += backed;
        }
        let covered = Seconds::from(self.covered);
        let samples = last.map_or(0, |last| last.samples) + 1;
        let last_total = last.map_or(RailPoint::default(), |last| last.total);
        let total = self.total_at(t, last_total, has_changed);
        let point = self.points.next();
        point.t = t;
        point.rails.clear();
        point.rails.extend(self.tracks.iter().map(|track| track.now));
        point.total = total;
        point.covered = covered;
        point.samples = samples;
    }

    fn total_at(&mut self, t: Moment, last: RailPoint, has_changed: bool) -> RailPoint {
        if let [only] = self.total_rails[..]
            && let Some(track) = self.tracks.get(only)
        {
            return track.now;
        }
        let parts = || {
            self.total_rails
                .iter()
                .filter_map(|&i| self.tracks.get(i))
                .map(|track| &track.now)
        };
        let is_counter = self
            .total_rails
            .iter()
            .all(|&i| self.tracks.get(i).is_some_and(Track::is_counter));
        let mut total = RailPoint {
            energy: parts().map(|part| part.energy).sum::<Joules>(),
            power: parts().map(|part| part.power).sum::<Watts>(),
            is_mean: parts().all(|part| part.is_mean),
            is_complete: parts().all(|part| part.is_complete),
            read: if is_counter {
                Read::Counter { first: false }
            } else if parts().all(|part| part.read == Read::Power) {
                Read::Power
            } else {
                Read::Nothing
            },
            values: last.values + 1,
            variance: Variances {
                resolution: parts().map(|part| part.variance.resolution).sum(),
                ..last.variance
            },
            ..last
        };
        self.total
            .look(t, &mut total, &self.optics, is_counter, has_changed);
        total
    }

    /// All points still held, oldest first.
    pub fn points(&self) -> &Ring {
        &self.points
    }

    /// The newest point.
    pub fn last(&self) -> Option<&Point> {
        self.points.last()
    }

    /// How the sensor's readings relate to power.
    pub(crate) fn optics(&self) -> &Optics {
        &self.optics
    }

    /// How long a value may have stood in the sensor before it was read; zero where readings tell their moment.
    pub(crate) fn standing(&self) -> Seconds {
        if self.tells_moments {
            Seconds::ZERO
        } else {
            Seconds(self.optics.update)
        }
    }

    /// How often a counter was reset.
    pub fn resets(&self) -> u64 {
        self.resets
    }
}

/// Energy between two power readings `dt` apart, as the integrator counts it for a sensor of this accuracy that is read
/// every `period` seconds.
pub fn energy_between(
    accuracy: &Accuracy,
    period: Seconds,
    before: Watts,
    power: Watts,
    dt: Seconds,
) -> Joules {
    Optics::new(accuracy, period).energy(before, power, dt)
}

impl Delay {
    fn moment(self, read: Moment, told: Option<Moment>) -> Moment {
        match told {
            Some(told) => told.before(self.window),
            None => read.before(self.window + self.standing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::{Kind, Rail, Role, Value};

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
    fn a_counter_read_twice_does_not_tell_when_its_energy_fell() {
        let mut counter = Integrator::new(&one_rail(), Seconds(1.0));
        for t in 0..2u64 {
            counter.push(Moment(t * 1000 * MS), &energy(10.0 * t as f64, 1000.0));
        }
        assert!(counter.last().unwrap().total.roughness.gamma >= 5.0);
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
        // What was counted until the reset is not known: 1 W goes on, and may have been more.
        assert_eq!((last.total.energy, last.covered), (Joules(3.0), Seconds(2.0)));
        assert!((last.total.variance.gaps - 1.0 / 3.0).abs() < 1e-12);
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
    fn looking_at_a_slow_sensor_leaves_no_gap_and_not_looking_does() {
        let mut integrator = Integrator::new(&one_rail(), Seconds(0.01));
        integrator.push(Moment(0), &Reading::of_power(Watts(1.0)));
        for t in 1..10 {
            integrator.push(Moment(t * 10 * MS), &Reading::unchanged());
        }
        integrator.push(Moment(100 * MS), &Reading::of_power(Watts(1.0)));
        assert!((integrator.last().unwrap().covered.0 - 0.1).abs() < 1e-12);
        integrator.push(Moment(200 * MS), &Reading::of_power(Watts(1.0)));
        assert!((integrator.last().unwrap().covered.0 - 0.11).abs() < 1e-12);
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
