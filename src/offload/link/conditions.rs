//! How one direction of a link behaves at one moment, and what part of that a user has set.

use crate::learn::random::{Rng, gaussian};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// The fastest rate there is, in bits per second; no loopback comes near.
pub const FASTEST_BPS: f64 = 1e12;
/// The slowest rate, in bits per second.
pub const SLOWEST_BPS: f64 = 1e3;
/// Nothing on Earth takes longer, in seconds, and beyond it every client has given up.
pub const LONGEST_LATENCY_S: f64 = 60.0;
/// A link that loses more than half of its packets is an outage.
pub const LARGEST_LOSS: f64 = 0.5;
/// The longest mean burst of lost packets.
pub const LONGEST_BURST: f64 = 1000.0;

/// How delays scatter around the latency. Both shapes have the latency as mean and the jitter as standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum JitterShape {
    /// Symmetric. A delay below zero (at most one in 44) counts as zero.
    #[default]
    Normal,
    /// Pareto's with exponent 3, which is that of iproute2's table too: mostly short, at times very long.
    Pareto,
}

impl JitterShape {
    /// `normal` or `pareto`, which `tc` calls them too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Pareto => "pareto",
        }
    }

    /// The largest jitter that a latency leaves room for, as a share of it: beyond, delays would be below zero.
    fn largest_share(self) -> f64 {
        match self {
            Self::Normal => 0.5,
            // The shortest delay of all is `(1 - PARETO_MEAN) / PARETO_SIGMA` deviations from the mean.
            Self::Pareto => PARETO_SIGMA / (PARETO_MEAN - 1.0),
        }
    }

    /// A draw with mean 0 and standard deviation 1.
    fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Self::Normal => gaussian(rng),
            Self::Pareto => {
                // By inversion; 1 - u is never 0.
                let x = (1.0 - rng.random::<f64>()).powf(-1.0 / PARETO_EXPONENT);
                (x - PARETO_MEAN) / PARETO_SIGMA
            }
        }
    }
}

const PARETO_EXPONENT: f64 = 3.0;
/// a / (a - 1)
const PARETO_MEAN: f64 = 1.5;
/// sqrt(a / ((a - 1)^2 (a - 2)))
const PARETO_SIGMA: f64 = 0.866_025_403_784_438_6;

/// One direction at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Conditions {
    /// Mean delay in seconds.
    pub latency_s: f64,
    /// Its standard deviation in seconds.
    pub jitter_s: f64,
    /// How it scatters.
    pub jitter_shape: JitterShape,
    /// Bits per second, shared by all connections.
    pub rate_bps: f64,
    /// Share of the packets that are lost.
    pub loss: f64,
    /// Mean number of packets lost in a row; at 1, losses do not depend on each other.
    pub loss_burst: f64,
}

impl Conditions {
    /// A wire that is hardly there.
    pub const IDEAL: Self = Self {
        latency_s: 0.0,
        jitter_s: 0.0,
        jitter_shape: JitterShape::Normal,
        rate_bps: FASTEST_BPS,
        loss: 0.0,
        loss_burst: 1.0,
    };

    /// The same with what is set in `change`.
    pub fn with(self, change: &Change) -> Self {
        Self {
            latency_s: change.latency_s.unwrap_or(self.latency_s),
            jitter_s: change.jitter_s.unwrap_or(self.jitter_s),
            jitter_shape: change.jitter_shape.unwrap_or(self.jitter_shape),
            rate_bps: change.rate_bps.unwrap_or(self.rate_bps),
            loss: change.loss.unwrap_or(self.loss),
            loss_burst: change.loss_burst.unwrap_or(self.loss_burst),
        }
    }

    /// A point on the straight line to `other`: this at 0, `other` at 1. The shape of the jitter stays until then.
    pub fn towards(&self, other: &Self, share: f64) -> Self {
        let between = |from: f64, to: f64| from + (to - from) * share;
        Self {
            latency_s: between(self.latency_s, other.latency_s),
            jitter_s: between(self.jitter_s, other.jitter_s),
            jitter_shape: self.jitter_shape,
            rate_bps: between(self.rate_bps, other.rate_bps),
            loss: between(self.loss, other.loss),
            loss_burst: between(self.loss_burst, other.loss_burst),
        }
    }

    /// A delay in seconds.
    pub fn delay_s(&self, rng: &mut Rng) -> f64 {
        if self.jitter_s == 0.0 {
            return self.latency_s;
        }
        (self.latency_s + self.jitter_s * self.jitter_shape.draw(rng)).max(0.0)
    }

    /// The two probabilities of Gilbert's chain: that a burst begins with the next packet, and that one ends with it.
    ///
    /// A burst is as long as asked, but not shorter than chance alone makes it, `1 / (1 - loss)`.
    pub fn gilbert(&self) -> (f64, f64) {
        let end = (1.0 / self.loss_burst).min(1.0 - self.loss);
        (self.loss * end / (1.0 - self.loss), end)
    }

    /// The error is a sentence that names the setting.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, from: f64, to: f64| {
            if (from..=to).contains(&value) {
                Ok(())
            } else {
                Err(format!("{name} is {value}, expected {from} to {to}"))
            }
        };
        within("latency_s", self.latency_s, 0.0, LONGEST_LATENCY_S)?;
        within("rate_bps", self.rate_bps, SLOWEST_BPS, FASTEST_BPS)?;
        within("loss", self.loss, 0.0, LARGEST_LOSS)?;
        within("loss_burst", self.loss_burst, 1.0, LONGEST_BURST)?;
        let largest = self.jitter_shape.largest_share() * self.latency_s;
        if (0.0..=largest).contains(&self.jitter_s) {
            return Ok(());
        }
        Err(format!(
            "jitter_s is {}, expected 0 to {largest:.6}: {} delays around {} s would fall below zero otherwise{}",
            self.jitter_s,
            self.jitter_shape.name(),
            self.latency_s,
            match self.jitter_shape {
                JitterShape::Normal => "; pareto allows more",
                JitterShape::Pareto => "",
            }
        ))
    }
}

/// What is set anew; the rest stays as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// See [`Conditions::latency_s`].
    pub latency_s: Option<f64>,
    /// See [`Conditions::jitter_s`].
    pub jitter_s: Option<f64>,
    /// See [`Conditions::jitter_shape`].
    pub jitter_shape: Option<JitterShape>,
    /// See [`Conditions::rate_bps`].
    pub rate_bps: Option<f64>,
    /// See [`Conditions::loss`].
    pub loss: Option<f64>,
    /// See [`Conditions::loss_burst`].
    pub loss_burst: Option<f64>,
}

impl Change {
    /// Both, where `later` wins.
    pub fn and(self, later: &Self) -> Self {
        Self {
            latency_s: later.latency_s.or(self.latency_s),
            jitter_s: later.jitter_s.or(self.jitter_s),
            jitter_shape: later.jitter_shape.or(self.jitter_shape),
            rate_bps: later.rate_bps.or(self.rate_bps),
            loss: later.loss.or(self.loss),
            loss_burst: later.loss_burst.or(self.loss_burst),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::learn::random::seeded;

    fn draws(shape: JitterShape, latency_s: f64, jitter_s: f64) -> Vec<f64> {
        let conditions = Conditions {
            latency_s,
            jitter_s,
            jitter_shape: shape,
            ..Conditions::IDEAL
        };
        conditions.check().unwrap();
        let mut rng = seeded(7);
        let mut delays: Vec<f64> = (0..200_000).map(|_| conditions.delay_s(&mut rng)).collect();
        delays.sort_by(f64::total_cmp);
        delays
    }

    fn near(value: f64, expected: f64, share: f64) {
        assert!(
            (value / expected - 1.0).abs() < share,
            "{value}, expected {expected}"
        );
    }

    #[test]
    fn normal_delays_have_mean_and_deviation_as_asked() {
        let delays = draws(JitterShape::Normal, 0.020, 0.002);
        let n = delays.len() as f64;
        let mean = delays.iter().sum::<f64>() / n;
        let sigma = (delays.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt();
        near(mean, 0.020, 1e-3);
        near(sigma, 0.002, 0.01);
        // 97.7 % lie below two deviations.
        near(delays[(0.97725 * n) as usize], 0.024, 0.005);
    }

    #[test]
    fn pareto_delays_have_the_quantiles_of_the_law() {
        let delays = draws(JitterShape::Pareto, 0.020, 0.010);
        // x_q = (1 - q)^(-1/3), by hand.
        for (q, x) in [(0.0, 1.0), (0.5, 1.259_92), (0.9, 2.154_43), (0.99, 4.641_59)] {
            let expected = 0.020 + 0.010 * (x - 1.5) / 0.75_f64.sqrt();
            near(delays[(q * delays.len() as f64) as usize], expected, 0.02);
        }
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        near(mean, 0.020, 0.01);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let bad = [
            (
                Change {
                    latency_s: Some(-1.0),
                    ..Change::default()
                },
                "latency_s is -1",
            ),
            (
                Change {
                    latency_s: Some(f64::NAN),
                    ..Change::default()
                },
                "latency_s is NaN",
            ),
            (
                Change {
                    rate_bps: Some(0.0),
                    ..Change::default()
                },
                "rate_bps is 0",
            ),
            (
                Change {
                    loss: Some(0.6),
                    ..Change::default()
                },
                "loss is 0.6",
            ),
            (
                Change {
                    loss_burst: Some(0.0),
                    ..Change::default()
                },
                "loss_burst is 0",
            ),
            (
                Change {
                    latency_s: Some(0.01),
                    jitter_s: Some(0.006),
                    ..Change::default()
                },
                "pareto allows more",
            ),
        ];
        for (change, expected) in bad {
            let error = Conditions::IDEAL.with(&change).check().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
