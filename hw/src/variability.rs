//! How power varies between samples, learned from the samples themselves.
//!
//! With `d` the difference between two neighbouring samples, two figures say what the samples cannot show:
//!
//! - `gamma` = E d²/2, the structure function at one sample interval (W²): how much power changes from one sample to the next
//! - `rho`, the correlation of neighbouring differences: -1/2 if every sample is news (power changes faster than it is
//!   sampled), 0 if power goes in steps or as a random walk, 1 if it moves smoothly
//!
//! Both are means over the last [`MEMORY`] intervals or so, because the few samples of a short span cannot tell.

/// Intervals over which the means reach back: each weighs e times less than the one `MEMORY` intervals younger.
const MEMORY: f64 = 64.0;

/// How much of `gamma` comes from the interval at hand; the rest is the mean.
const OWN_SHARE: f64 = 0.5;

/// What few intervals are taken to be worth: with n of them, `gamma` is multiplied by (n + SCARCITY) / n.
const SCARCITY: f64 = 3.0;

/// With n intervals, `rho` is the mean of theirs and of so many that know nothing (-1/2).
const PRIOR_INTERVALS: f64 = 2.0;

/// What is known about power between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Roughness {
    /// Expected half of the squared difference between two samples, in W².
    pub gamma: f64,
    /// Share of it that the samples do not resolve, 0 to 1: power changes faster than it is sampled.
    pub unresolved: f64,
    /// How angular the resolved part is: 1 for steps, 0 for a straight line.
    pub angular: f64,
}

impl Roughness {
    /// Variance of the trapezoid rule over one whole interval, as a share of `gamma` x interval². A sample that is
    /// nothing but news is wrong by its own variance (1); between the ends of a step or a random walk the trapezoid
    /// errs by d²/12, which is gamma/6; on a straight line it is right.
    pub fn of_interval(self) -> f64 {
        self.blend(1.0, 1.0 / 6.0)
    }

    /// `unresolved` and `resolved` weighed by how much of the variation is which.
    pub fn blend(self, unresolved: f64, resolved: f64) -> f64 {
        self.unresolved * unresolved + (1.0 - self.unresolved) * self.angular * resolved
    }

    /// The same with another `gamma`.
    pub fn with_gamma(self, gamma: f64) -> Self {
        Self { gamma, ..self }
    }
}

/// Watches the samples of one rail.
#[derive(Clone, Debug, Default)]
pub struct Variability {
    last_sample: Option<f64>,
    last_difference: f64,
    squares: f64,
    products: f64,
    intervals: f64,
}

impl Variability {
    /// Takes in the next sample in watts; what is known of the interval that it ends.
    pub fn push(&mut self, power: f64) -> Roughness {
        let Some(last) = self.last_sample.replace(power) else {
            return Roughness::default();
        };
        let difference = power - last;
        let decay = 1.0 - 1.0 / MEMORY;
        self.squares = decay * self.squares + difference * difference;
        self.products = decay * self.products + difference * self.last_difference;
        self.intervals = decay * self.intervals + 1.0;
        self.last_difference = difference;
        self.roughness(difference * difference)
    }

    fn roughness(&self, own_square: f64) -> Roughness {
        let n = self.intervals;
        let mean_square = self.squares / n;
        let square = OWN_SHARE * own_square + (1.0 - OWN_SHARE) * mean_square;
        let rho = if self.squares > 0.0 {
            self.products / self.squares
        } else {
            0.0
        };
        let rho = (n * rho - 0.5 * PRIOR_INTERVALS) / (n + PRIOR_INTERVALS);
        Roughness {
            gamma: 0.5 * square * (n + SCARCITY) / n,
            unresolved: (-2.0 * rho).clamp(0.0, 1.0),
            angular: (1.0 - rho).clamp(0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: impl IntoIterator<Item = f64>) -> Roughness {
        let mut variability = Variability::default();
        samples
            .into_iter()
            .fold(Roughness::default(), |_, sample| variability.push(sample))
    }

    /// A fixed sequence without pattern, evenly spread over 0 to 1.
    fn noise(i: u32) -> f64 {
        f64::from(
            i.wrapping_mul(2_654_435_761)
                .rotate_left(13)
                .wrapping_mul(2_246_822_519)
                >> 8,
        ) / f64::from(1 << 24)
    }

    #[test]
    fn noise_is_unresolved_and_its_gamma_is_its_variance() {
        let mean = (400..600).map(|n| after((0..n).map(noise)).gamma).sum::<f64>() / 200.0;
        assert!((mean * 12.0 - 1.0).abs() < 0.2, "{mean}");
        assert!(after((0..500).map(noise)).unresolved > 0.7);
    }

    #[test]
    fn steps_are_resolved_and_a_ramp_is_smooth() {
        let steps = after((0..500u32).map(|i| f64::from((i / 20) % 2)));
        assert!(steps.unresolved < 0.1 && steps.angular > 0.9, "{steps:?}");
        let ramp = after((0..500).map(f64::from));
        assert!(ramp.unresolved == 0.0 && ramp.angular < 0.1, "{ramp:?}");
        assert!(ramp.of_interval() < 0.02);
    }

    #[test]
    fn constant_power_has_no_roughness_and_one_sample_tells_nothing() {
        assert_eq!(after([2.0; 10]).gamma, 0.0);
        assert_eq!(after([2.0]), Roughness::default());
    }
}
