//! The highest sampling rate that makes sense for a sensor.
//!
//! ```text
//! rate = min(1 / read time, 2 / update period, 1 kHz), rounded down to 1, 2, 3 or 5 times a power of ten
//! ```
//!
//! Six reads of 0.55 ms on an AGX Orin allow 300 Hz. A sensor's low-pass does not lower the rate: its output still
//! moves at every update.

use crate::clock::Clock;
use crate::error::Result;
use crate::sensor::{Accuracy, Sensor};
use crate::units::Seconds;

/// Above it the meter itself takes several percent of a core, and measures itself.
const CEILING_HZ: f64 = 1000.0;

/// At most so many reads, and none after so much time.
const READS: usize = 9;
const PATIENCE: Seconds = Seconds(0.2);

/// Reads the sensor a few times and tells the highest rate in hertz that makes sense for it. An error if it cannot be
/// read.
pub fn highest_sensible_rate(sensor: &mut dyn Sensor, clock: &dyn Clock) -> Result<f64> {
    let accuracy = sensor.info().accuracy;
    Ok(sensible_rate(read_time(sensor, clock)?, &accuracy))
}

/// The median duration of a read.
pub fn read_time(sensor: &mut dyn Sensor, clock: &dyn Clock) -> Result<Seconds> {
    let begin = clock.now();
    let mut durations = Vec::with_capacity(READS);
    let mut before = begin;
    while durations.len() < READS && (before - begin).0 < PATIENCE.0 || durations.is_empty() {
        sensor.read()?;
        let after = clock.now();
        durations.push((after - before).0);
        before = after;
    }
    durations.sort_by(f64::total_cmp);
    Ok(Seconds(durations[durations.len() / 2]))
}

/// The same from what is known already.
pub fn sensible_rate(read_time: Seconds, accuracy: &Accuracy) -> f64 {
    let by_read = 1.0 / read_time.0.max(1.0 / CEILING_HZ);
    let by_update = match accuracy.update_period {
        Some(period) if period.0 > 0.0 => 2.0 / period.0,
        _ => CEILING_HZ,
    };
    round_down(by_read.min(by_update))
}

/// To 1, 2, 3 or 5 times a power of ten.
fn round_down(rate: f64) -> f64 {
    // 1 / 0.01 may come out a little below 100.
    let rate = rate * (1.0 + 1e-9);
    let decade = 10f64.powf(rate.log10().floor());
    let step = [5.0, 3.0, 2.0, 1.0]
        .into_iter()
        .find(|step| step * decade <= rate);
    // Divided, because the powers below one are not exact.
    let step = step.unwrap_or(1.0);
    if decade < 1.0 {
        step / (1.0 / decade).round()
    } else {
        step * decade
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::error::Error;
    use crate::sensor::Reading;
    use crate::units::Watts;
    use std::sync::Arc;
    use std::time::Duration;

    fn updated_every(seconds: Option<f64>) -> Accuracy {
        Accuracy {
            update_period: seconds.map(Seconds),
            ..Accuracy::default()
        }
    }

    #[test]
    fn the_slower_of_reading_and_updating_decides() {
        for (read_s, update_s, expected) in [
            (6.0 * 0.55e-3, Some(1e-3), 300.0), // AGX Orin
            (6.0 * 0.55e-3, None, 300.0),
            (0.01, None, 100.0),
            (0.011, None, 50.0),
            (1e-6, Some(0.001), 1000.0), // RAPL: 2 kHz, above the ceiling
            (1e-6, Some(0.05), 30.0),    // a model from /proc/stat
            (1e-6, Some(0.1), 20.0),
            (1e-6, Some(1.0), 2.0), // a battery
            (1e-6, Some(60.0), 0.03),
            (3.0, None, 0.3),
            (0.0, None, 1000.0),
            (0.0, Some(0.0), 1000.0),
        ] {
            let rate = sensible_rate(Seconds(read_s), &updated_every(update_s));
            assert_eq!(rate, expected, "{read_s} s per read, {update_s:?} s per update");
        }
    }

    /// Each read takes the next duration; then it fails.
    struct Slow {
        clock: Arc<ManualClock>,
        milliseconds: Vec<u64>,
    }

    impl Sensor for Slow {
        fn read(&mut self) -> Result<Reading> {
            let Some(duration) = self.milliseconds.pop() else {
                return Err(Error::unsupported("another read", "there is none"));
            };
            self.clock.advance(Duration::from_millis(duration));
            Ok(Reading::of_power(Watts(1.0)))
        }
    }

    fn rate_of(milliseconds: &[u64]) -> Result<f64> {
        let clock = Arc::new(ManualClock::new());
        let mut sensor = Slow {
            clock: Arc::clone(&clock),
            milliseconds: milliseconds.iter().rev().copied().collect(),
        };
        highest_sensible_rate(&mut sensor, &*clock)
    }

    #[test]
    fn the_median_read_counts_and_a_very_slow_sensor_is_not_asked_again() {
        assert_eq!(rate_of(&[150, 4, 4, 5, 4, 4, 5, 4, 4]).unwrap(), 200.0);
        assert_eq!(rate_of(&[3000]).unwrap(), 0.3);
        assert!(rate_of(&[1]).is_err());
    }
}
