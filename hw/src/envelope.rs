//! Idle and full-load power of a board: from what is known about its sensor, else measured.

use crate::clock::{Clock, Moment};
use crate::error::Result;
use crate::integrator::Integrator;
use crate::sensor::Sensor;
use crate::units::{Seconds, Watts};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the sensor is read meanwhile.
const READ_PERIOD: Duration = Duration::from_millis(10);
/// How long each of the two states is held at least; a slow sensor needs three updates.
const SHORTEST: Seconds = Seconds(0.6);

/// The two ends of a board's power.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PowerEnvelope {
    /// Nothing running but the system itself.
    pub idle_watts: Watts,
    /// All cores busy.
    pub full_watts: Watts,
    /// Whether both were measured just now; otherwise they belong to the sensor's model or calibration.
    pub is_measured: bool,
}

impl PowerEnvelope {
    /// What the sensor's model or calibration says; else the board is watched idle and then fully busy on
    /// `cores` threads, for about half a second each (longer for slow sensors).
    pub fn find(sensor: &mut dyn Sensor, clock: &dyn Clock, cores: usize) -> Result<Self> {
        let info = sensor.info();
        if let (Some(idle_watts), Some(full_watts)) = (info.idle, info.full) {
            return Ok(Self {
                idle_watts,
                full_watts,
                is_measured: false,
            });
        }
        let update = info.accuracy.update_period.unwrap_or(Seconds::ZERO).0;
        let settle = info.accuracy.lag.unwrap_or(Seconds::ZERO).0 * 3.0;
        let hold = Duration::from_secs_f64(SHORTEST.0.max(3.0 * update) + settle);
        let idle_watts = mean_power(sensor, clock, hold)?;
        let is_done = AtomicBool::new(false);
        let full_watts = std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    let mut x = 1.0f64;
                    while !is_done.load(Ordering::Relaxed) {
                        for _ in 0..1000 {
                            x = std::hint::black_box(x * 1.000_000_1);
                        }
                    }
                });
            }
            let power = mean_power(sensor, clock, hold);
            is_done.store(true, Ordering::Relaxed);
            power
        })?;
        // A board whose sensor does not see the load must not get a negative range.
        let full_watts = Watts(full_watts.0.max(idle_watts.0));
        Ok(Self {
            idle_watts,
            full_watts,
            is_measured: true,
        })
    }
}

/// Mean of the sensor's total over `hold`.
pub fn mean_power(sensor: &mut dyn Sensor, clock: &dyn Clock, hold: Duration) -> Result<Watts> {
    let mut integrator = Integrator::new(&sensor.info(), Seconds::from(READ_PERIOD));
    let begin = clock.now();
    let end: Moment = begin.after(hold);
    let mut first = None;
    while clock.now() < end {
        let reading = sensor.read()?;
        if integrator.push(clock.now(), &reading) && first.is_none() {
            first = integrator.last().cloned();
        }
        clock.sleep_until(clock.now().after(READ_PERIOD));
    }
    Ok(match (first, integrator.last()) {
        (Some(first), Some(last)) if last.t > first.t => {
            (last.total.energy - first.total.energy) / (last.t - first.t)
        }
        (Some(only), _) => only.total.power,
        _ => Watts::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonotonicClock;
    use crate::sensor::Reading;

    #[test]
    fn a_board_without_a_model_is_measured() {
        struct Flat;
        impl Sensor for Flat {
            fn read(&mut self) -> Result<Reading> {
                Ok(Reading::of_power(Watts(3.0)))
            }
        }
        let envelope = PowerEnvelope::find(&mut Flat, &MonotonicClock, 1).unwrap();
        assert!(envelope.is_measured);
        assert!((envelope.idle_watts.0 - 3.0).abs() < 1e-9 && (envelope.full_watts.0 - 3.0).abs() < 1e-9);
    }
}
