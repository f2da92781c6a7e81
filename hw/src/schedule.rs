//! When a meter samples: evenly on average, but never in step with a periodic load.
//!
//! Sampled at a fixed 100 Hz, a load that repeats every 10 ms (a frame, a timer tick) looks constant, and its energy is
//! wrong by as much as the load varies. So tick n comes at
//!
//! ```text
//! begin + period x (n + fract(n x 0.618...))
//! ```
//!
//! The multiples of the golden ratio fill the period as evenly as any sequence can (Weyl 1916): in any few ticks in
//! a row every place within the period has had its sample. Intervals are 0.62 or 1.62 periods long. Where the sensor itself has a new
//! value less often than it is read, its own rhythm decides and ours stays even.

use crate::clock::Moment;
use crate::units::Seconds;
use std::time::Duration;

/// Above this rate the jitter of waking up does what the golden ratio does, and every microsecond counts.
const SHORTEST_UNEVEN: Seconds = Seconds(0.001);

const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;

/// The moments at which to sample.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    begin: Moment,
    period_ns: f64,
    is_even: bool,
}

impl Schedule {
    /// One tick per `period` on average, tick 0 at `begin`, for a sensor that has a new value every `update` (if that is
    /// known).
    pub fn new(begin: Moment, period: Seconds, update: Option<Seconds>) -> Self {
        Self {
            begin,
            period_ns: period.0 * 1e9,
            is_even: period.0 < SHORTEST_UNEVEN.0 || update.is_some_and(|update| update.0 >= period.0),
        }
    }

    /// When tick `n` is.
    pub fn tick(&self, n: u64) -> Moment {
        let n = n as f64;
        let place = if self.is_even {
            0.0
        } else {
            (n * GOLDEN_RATIO).fract()
        };
        self.begin
            .after(Duration::from_nanos((self.period_ns * (n + place)) as u64))
    }

    /// The tick to take after tick `n` now that it is `now`: the first whose moment has not come yet.
    pub fn next_after(&self, n: u64, now: Moment) -> u64 {
        let mut next = n + 1;
        if now >= self.tick(next) {
            // A tick is less than a period after where an even schedule has it.
            let even = (now - self.begin).0 * 1e9 / self.period_ns;
            next = next.max((even as u64).saturating_sub(1));
        }
        while now >= self.tick(next) {
            next += 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(update_s: f64) -> Schedule {
        Schedule::new(Moment(1_000_000_000), Seconds(0.01), Some(Seconds(update_s)))
    }

    fn places(s: &Schedule, ticks: std::ops::Range<u64>) -> Vec<f64> {
        let mut places: Vec<f64> = ticks.map(|n| ((s.tick(n) - s.begin).0 / 0.01).fract()).collect();
        places.sort_by(f64::total_cmp);
        places
    }

    #[test]
    fn the_rate_is_right_on_average_and_no_interval_is_far_off() {
        let s = schedule(0.001);
        assert_eq!(s.tick(0), s.begin);
        assert!(((s.tick(100_000) - s.begin).0 - 1000.0).abs() < 0.01);
        for n in 0..1000 {
            let interval = (s.tick(n + 1) - s.tick(n)).0 / 0.01;
            assert!((0.61..1.62).contains(&interval), "{n}: {interval}");
        }
    }

    #[test]
    fn any_few_ticks_fill_the_whole_period() {
        let places = places(&schedule(0.001), 777..797);
        let widest = places
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .fold(0.0, f64::max);
        assert!(widest < 0.1, "{places:?}");
    }

    #[test]
    fn a_sensor_slower_than_we_look_is_read_evenly() {
        assert!(
            places(&schedule(0.1), 0..100)
                .iter()
                .all(|place| *place < 1e-6 || *place > 1.0 - 1e-6)
        );
    }

    #[test]
    fn ticks_that_have_passed_are_skipped() {
        for s in [schedule(0.001), schedule(0.1)] {
            assert_eq!(s.next_after(5, s.tick(5)), 6);
            assert_eq!(s.next_after(5, s.tick(6)), 7);
            for late in [7, 40, 1000, 123_456] {
                let now = Moment(s.tick(late).0 + 1);
                assert_eq!(s.next_after(5, now), late + 1);
            }
        }
    }
}
