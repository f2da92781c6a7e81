//! A board's sensor, simulated: it sees the true power through its low-pass or its mean, with a gain and an offset of its
//! own, noise and steps.

use super::profile;
use crate::learn::random::{Rng, gaussian, seeded};
use hwmeter_hw::sensor::Reading;
use hwmeter_hw::units::Watts;
use rand::RngExt;

/// One sensor, with the flaws it was made with.
#[derive(Debug)]
pub struct Sensor {
    gain: f64,
    offset_w: f64,
    step_w: f64,
    noise_w: f64,
    sees: Sees,
    rng: Rng,
}

/// What stands in the sensor.
#[derive(Debug)]
enum Sees {
    /// The power just now.
    Now(f64),
    /// What comes out of a first-order low-pass.
    LowPass { lag_s: f64, output_w: f64 },
    /// Energy and time since the last reading.
    Mean { joules: f64, seconds: f64 },
}

impl Sensor {
    /// One of its kind: gain and offset are drawn from the seed, within what is said of them. A limit within which all is
    /// equally likely has a standard uncertainty of 1/sqrt(3) of it.
    pub fn draw(kind: &profile::Sensor, idle_w: f64, seed: u64) -> Self {
        let mut rng = seeded(seed);
        let mut within = |uncertainty: f64| 3f64.sqrt() * uncertainty * (2.0 * rng.random::<f64>() - 1.0);
        let (gain, offset_w) = (1.0 + within(kind.gain.get()), within(kind.offset_w.get()));
        let sees = match kind.lag_s {
            _ if kind.is_mean => Sees::Mean {
                joules: 0.0,
                seconds: 0.0,
            },
            Some(lag) if lag.get() > 0.0 => Sees::LowPass {
                lag_s: lag.get(),
                output_w: idle_w,
            },
            _ => Sees::Now(idle_w),
        };
        Self {
            gain,
            offset_w,
            step_w: kind.step_w.get(),
            noise_w: kind.noise_w.get(),
            sees,
            rng,
        }
    }

    /// The board draws `watts` for so long.
    pub fn see(&mut self, watts: f64, seconds: f64) {
        match &mut self.sees {
            Sees::Now(power_w) => *power_w = watts,
            Sees::LowPass { lag_s, output_w } => {
                *output_w = watts + (*output_w - watts) * libm::exp(-seconds / *lag_s);
            }
            Sees::Mean {
                joules,
                seconds: time,
            } => {
                *joules += watts * seconds;
                *time += seconds;
            }
        }
    }

    /// What it says.
    pub fn read(&mut self) -> Reading {
        let power_w = match &mut self.sees {
            Sees::Now(power_w) => *power_w,
            Sees::LowPass { output_w, .. } => *output_w,
            Sees::Mean { joules, seconds } => {
                let mean_w = if *seconds > 0.0 {
                    *joules / *seconds
                } else {
                    *joules
                };
                (*joules, *seconds) = (0.0, 0.0);
                mean_w
            }
        };
        let mut shown = power_w * self.gain + self.offset_w;
        if self.noise_w > 0.0 {
            shown += self.noise_w * gaussian(&mut self.rng);
        }
        if self.step_w > 0.0 {
            shown = (shown / self.step_w).round() * self.step_w;
        }
        Reading::of_power(Watts(shown))
    }
}
