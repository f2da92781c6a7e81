//! How power varies between samples, learned from the samples themselves.
//!
//! With `d` the difference between two neighbouring samples, three figures say what the samples cannot show:
//!
//! - `gamma` = E d²/2, the structure function at one sample interval (W²): how much power changes from one sample to the next
//! - `spread`, the variance of the samples themselves (W²): what a load that is in step with the sampling may hide
//! - `rho`, the correlation of neighbouring differences: -1/2 if every sample is news (power changes faster than it is
//!   sampled), 0 if power goes in steps or as a random walk, 1 if it moves smoothly
//!
//! All are means over the last 64 intervals or so, because the few samples of a short span cannot tell.

/// Intervals over which the means reach back: each weighs e times less than the one `MEMORY` intervals younger.
const MEMORY: f64 = 64.0;

/// How much of `gamma` comes from the interval at hand; the rest is the mean.
const OWN_SHARE: f64 = 0.5;

/// What few intervals are taken to be worth: with n of them, `gamma` is multiplied by (n + SCARCITY) / n.
const SCARCITY: f64 = 3.0;

/// With n intervals, `rho` is the mean of theirs and of so many that know nothing (-1/2).
const PRIOR_INTERVALS: f64 = 2.0;

/// Shorter intervals count as this share of the usual one.
const SHORTEST_STRETCH: f64 = 0.5;

/// How much more than its variance a sample that is nothing but news is taken to err, because a periodic load that is
/// nearly in step with the sampling errs in the same direction for a while.
const IN_STEP: f64 = 1.5;

/// Before samples tell, power is taken to vary by this share of itself.
const UNKNOWN_SHARE: f64 = 0.25;

/// What is taken to be so after `samples` samples besides what they show: a few that are alike prove little.
fn unknown(power: f64, samples: f64) -> Roughness {
    let left = (1.0 - samples / MEMORY).max(0.0);
    let variance = (UNKNOWN_SHARE * power).powi(2) * left / samples;
    Roughness {
        gamma: variance,
        unresolved: 1.0,
        angular: 1.0,
        spread: variance,
    }
}

/// What is known about power between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Roughness {
    /// Expected half of the squared difference between two samples, in W².
    pub gamma: f64,
    /// Share of it that the samples do not resolve, 0 to 1: power changes faster than it is sampled.
    pub unresolved: f64,
    /// How angular the resolved part is: 1 for steps, 0 for a straight line.
    pub angular: f64,
    /// Variance of the samples, in W², as far as they do not lie on a straight line.
    pub spread: f64,
}

impl Roughness {
    /// Variance of the trapezoid rule over one whole interval, as a share of `gamma` x interval². A sample that is
    /// nothing but news is wrong by its own variance (times 1.5, see `IN_STEP`); between the ends of a step or a random walk the trapezoid
    /// errs by d²/12, which is gamma/6; on a straight line it is right.
    pub fn of_interval(self) -> f64 {
        self.blend(IN_STEP, 1.0 / 6.0)
    }

    /// `unresolved` and `resolved` weighed by how much of the variation is which.
    pub fn blend(self, unresolved: f64, resolved: f64) -> f64 {
        self.unresolved * unresolved + (1.0 - self.unresolved) * self.angular * resolved
    }

    /// The shape of this one, as large as the larger of the two.
    pub fn rougher(self, other: Self) -> Self {
        let shape = if self.gamma >= other.gamma { self } else { other };
        Self {
            spread: self.spread.max(other.spread),
            ..shape
        }
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
    gamma: f64,
    squares: f64,
    products: f64,
    intervals: f64,
    mean: f64,
    spread: f64,
}

impl Variability {
    /// Takes in the next sample in watts, `stretch` usual intervals after the one before; what is known of a usual
    /// interval there.
    pub fn push(&mut self, power: f64, stretch: f64) -> Roughness {
        let Some(last) = self.last_sample.replace(power) else {
            self.mean = power;
            return unknown(power, 1.0);
        };
        // A sample taken right after another one tells little of how power varies from tick to tick.
        let stretch = stretch.max(SHORTEST_STRETCH);
        // On a straight line differences grow with the interval, on a random walk their squares do.
        let difference = (power - last) / stretch;
        let square = difference * difference * stretch;
        let decay = 1.0 - 1.0 / MEMORY;
        self.gamma = decay * self.gamma + 0.5 * square;
        self.squares = decay * self.squares + difference * difference;
        self.products = decay * self.products + difference * self.last_difference;
        self.intervals = decay * self.intervals + 1.0;
        self.last_difference = difference;
        self.add_to_spread(power);
        self.roughness(0.5 * square)
    }

    fn add_to_spread(&mut self, power: f64) {
        let weight = (1.0 / (self.intervals + 1.0)).max(1.0 / MEMORY);
        let deviation = power - self.mean;
        self.mean += weight * deviation;
        self.spread = (1.0 - weight) * (self.spread + weight * deviation * deviation);
    }

    fn roughness(&self, own_gamma: f64) -> Roughness {
        let n = self.intervals;
        let gamma = OWN_SHARE * own_gamma + (1.0 - OWN_SHARE) * self.gamma / n;
        let rho = if self.squares > 0.0 {
            self.products / self.squares
        } else {
            0.0
        };
        let rho = (n * rho - 0.5 * PRIOR_INTERVALS) / (n + PRIOR_INTERVALS);
        let angular = (1.0 - rho).clamp(0.0, 1.0);
        let prior = unknown(self.mean, n + 1.0);
        Roughness {
            gamma: gamma * (n + SCARCITY) / n + prior.gamma,
            unresolved: (-2.0 * rho).clamp(0.0, 1.0),
            angular,
            spread: self.spread * angular * (n + SCARCITY) / n + prior.spread,
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
            .fold(Roughness::default(), |_, sample| variability.push(sample, 1.0))
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
    fn alike_samples_tell_the_more_the_more_there_are() {
        let gamma = |n: usize| after(vec![2.0; n]).gamma;
        assert!(gamma(1) > 0.2 && gamma(2) > 0.1 && gamma(10) < 0.05 && gamma(500) < 1e-3);
    }
}
