//! What the INA3221's datasheet (TI SBOS576A) says, for every way to read the chip.

use crate::sensor::{Accuracy, Rail};
use crate::units::{Amps, Seconds, Volts};

/// Smallest step of the shunt voltage.
const SHUNT_STEP_V: f64 = 40e-6;
/// Largest offset of the shunt voltage.
const SHUNT_OFFSET_MAX_V: f64 = 80e-6;
/// Largest gain error of the chip.
pub(crate) const GAIN_MAX: f64 = 0.0025;
/// Tolerance of the shunt resistor: assumed, boards do not tell.
pub(crate) const SHUNT_TOLERANCE: f64 = 0.01;
/// A conversion takes up to this much longer than its nominal time.
pub(crate) const CONVERSION_TOLERANCE: f64 = 0.1;
/// Nominal times of one conversion, in seconds.
const CONVERSIONS_S: [f64; 8] = [
    140e-6, 204e-6, 332e-6, 588e-6, 1.1e-3, 2.116e-3, 4.156e-3, 8.244e-3,
];
/// Each scan converts the bus and the shunt voltage of every channel that is switched on.
const CONVERSIONS_PER_CHANNEL: f64 = 2.0;

/// Relative standard uncertainty of the gain: both bounds taken as equally likely all over.
pub(crate) fn gain() -> f64 {
    GAIN_MAX.hypot(SHUNT_TOLERANCE) / 3f64.sqrt()
}

/// Offset and step of a rail at `volts` over `shunt_ohms`.
pub(crate) fn with_steps(rail: Rail, volts: Volts, shunt_ohms: f64) -> Rail {
    let watts = |shunt_volts: f64| volts * Amps(shunt_volts / shunt_ohms);
    rail.with_offset(watts(SHUNT_OFFSET_MAX_V) / 3f64.sqrt())
        .with_power_step(watts(SHUNT_STEP_V))
}

/// The same for 5 V over 5 mΩ, as on the Jetson Nano: 80 mW and 40 mW.
pub(crate) fn with_usual_steps(rail: Rail) -> Rail {
    with_steps(rail, Volts(5.0), 0.005)
}

/// How often a chip has a new value, and how much it smooths.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Timing {
    /// Length of one scan over all channels in seconds.
    pub scan_s: Option<f64>,
    /// Its relative standard uncertainty.
    pub scan_uncertainty: f64,
    /// Conversions that are averaged.
    pub samples: Option<f64>,
}

impl Timing {
    /// From hwmon's `update_interval` and `samples`, and the number of channels switched on. The interval is one scan over
    /// these in whole milliseconds (kernel 5.14 and later; before, it was multiplied by `samples`): with three channels and
    /// NVIDIA's 140 µs conversions, 0.84 ms, it reads 1.
    pub fn of_hwmon(interval_ms: Option<f64>, samples: Option<f64>, channels: usize) -> Self {
        let Some(interval_ms) = interval_ms else {
            return Self {
                samples,
                ..Self::default()
            };
        };
        // No scan takes longer than 0.1 s, so a longer interval is one that an older kernel multiplied.
        let interval_ms = if interval_ms > 100.0 {
            interval_ms / samples.unwrap_or(1.0)
        } else {
            interval_ms
        };
        let nominal = CONVERSIONS_S.map(|conversion| CONVERSIONS_PER_CHANNEL * channels as f64 * conversion);
        let fitting = |scan: &&f64| (*scan * 1e3 - interval_ms).abs() <= 0.5;
        let shortest = nominal.iter().find(fitting);
        let longest = nominal.iter().rfind(fitting);
        let (scan_s, unread) = match (shortest, longest) {
            (Some(&shortest), Some(&longest)) => (shortest, longest / shortest - 1.0),
            _ => (interval_ms * 1e-3, 0.0),
        };
        Self {
            scan_s: Some(scan_s),
            scan_uncertainty: CONVERSION_TOLERANCE.hypot(unread) / 3f64.sqrt(),
            samples,
        }
    }

    /// Averaging is a first-order filter: each scan moves the output by 1/N of the difference, which is a time constant
    /// of N - 1/2 scans.
    pub fn lag(self) -> Option<Seconds> {
        let (scan, samples) = (self.scan_s?, self.samples?);
        (samples > 1.0).then_some(Seconds(scan * (samples - 0.5)))
    }

    /// The slower of two chips' timings.
    pub fn slower(self, other: Self) -> Self {
        let length = |timing: &Self| timing.scan_s.unwrap_or(0.0) * timing.samples.unwrap_or(1.0);
        if length(&other) > length(&self) {
            other
        } else {
            self
        }
    }

    /// The chip's accuracy at this timing; `source` says where the timing and the shunt are from.
    pub fn accuracy(self, source: &str) -> Accuracy {
        Accuracy {
            gain: gain(),
            lag: self.lag(),
            lag_uncertainty: self.scan_uncertainty,
            update_period: self.scan_s.map(Seconds),
            source: format!("INA3221 datasheet SBOS576A; {source}; 1 % shunt tolerance assumed"),
            ..Accuracy::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_milliseconds_become_the_scan_they_stand_for() {
        let nvidia = Timing::of_hwmon(Some(1.0), Some(512.0), 3);
        assert!((nvidia.scan_s.unwrap() - 0.00084).abs() < 1e-9);
        assert!((nvidia.lag().unwrap().0 - 0.4297).abs() < 1e-3);
        assert!(nvidia.scan_uncertainty > 0.2, "140 or 204 µs: {nvidia:?}");
        let power_on = Timing::of_hwmon(Some(7.0), Some(1.0), 3);
        assert!((power_on.scan_s.unwrap() - 0.0066).abs() < 1e-9);
        assert!((power_on.scan_uncertainty - 0.1 / 3f64.sqrt()).abs() < 1e-9);
        assert_eq!(power_on.lag(), None);
    }

    #[test]
    fn a_channel_switched_off_takes_no_time() {
        let scan = |interval, channels| Timing::of_hwmon(Some(interval), None, channels).scan_s.unwrap();
        assert!((scan(4.0, 2) - 0.0044).abs() < 1e-9, "two channels at 1.1 ms");
        assert!((scan(1.0, 1) - 0.000_664).abs() < 1e-9, "one at 332 µs");
        assert!((scan(9.0, 0) - 0.009).abs() < 1e-9, "none: as it reads");
    }

    #[test]
    fn an_older_kernel_multiplied_by_the_samples() {
        let old = Timing::of_hwmon(Some(430.0), Some(512.0), 3);
        assert!((old.scan_s.unwrap() - 0.00084).abs() < 1e-9, "{old:?}");
    }

    #[test]
    fn what_is_not_known_stays_so() {
        assert_eq!(Timing::of_hwmon(None, Some(64.0), 3).lag(), None);
        assert_eq!(Timing::of_hwmon(Some(10.0), None, 3).scan_s, Some(0.01));
    }

    #[test]
    fn of_two_chips_the_slower_counts() {
        let (fast, slow) = (
            Timing::of_hwmon(Some(7.0), Some(1.0), 3),
            Timing::of_hwmon(Some(1.0), Some(512.0), 3),
        );
        assert_eq!(fast.slower(slow), slow);
        assert_eq!(slow.slower(Timing::default()), slow);
    }
}
