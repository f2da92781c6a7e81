//! An adaptive filter: least mean squares (B. Widrow, M. E. Hoff, "Adaptive switching circuits", 1960) learns the
//! impulse response of an unknown system from its input and output.

use super::Rounds;
use crate::task::mix::{SplitMix, digest};

/// Taps of the filter and of the system.
const TAPS: usize = 32;

/// Samples in one round: some ten time constants of the slowest weight.
const SAMPLES: usize = 1024;

/// Fractional bits of the system's taps, and of the weights, which move in smaller steps.
const TAP_BITS: u32 = 15;
const WEIGHT_BITS: u32 = 23;

/// The step is 2^-8: the input's power is 2^26 / 3 in each of 32 taps, so this is a third of the largest stable one.
const STEP_BITS: u32 = 8;

/// One round learns a new system, chosen by the checksum of the weights that were learned for the last one.
pub(crate) struct Lms {
    /// Newest last; the first taps are the end of the round before.
    input: [i32; SAMPLES + TAPS],
    system: [i32; TAPS],
    weights: [i32; TAPS],
}

impl Rounds for Lms {
    fn new(seed: u64) -> Self {
        let mut kernel = Self {
            input: [0; SAMPLES + TAPS],
            system: [0; TAPS],
            weights: [0; TAPS],
        };
        kernel.renew(seed);
        kernel
    }

    fn round(&mut self) -> u64 {
        for window in self.input.windows(TAPS).skip(1) {
            let wanted = dot(&self.system, window) >> TAP_BITS;
            adapt(&mut self.weights, window, wanted);
        }
        let checksum = digest(self.weights.iter().map(|&weight| weight as u64));
        self.renew(checksum);
        checksum
    }
}

impl Lms {
    /// Another system and another input: white noise of 14 bits, so that no product overflows.
    fn renew(&mut self, seed: u64) {
        let mut noise = SplitMix::new(seed);
        self.system = std::array::from_fn(|_| noise.next() as i32 >> 19);
        self.input.copy_within(SAMPLES.., 0);
        for sample in &mut self.input[TAPS..] {
            *sample = noise.next() as i32 >> 18;
        }
    }
}

/// One step of the algorithm: the weights move along the input by the error that they make. Returns the error.
fn adapt(weights: &mut [i32; TAPS], window: &[i32], wanted: i64) -> i64 {
    let error = wanted - (dot(weights, window) >> WEIGHT_BITS);
    for (weight, &sample) in weights.iter_mut().zip(window) {
        *weight = weight.wrapping_add(((error * i64::from(sample)) >> STEP_BITS) as i32);
    }
    error
}

fn dot(taps: &[i32; TAPS], window: &[i32]) -> i64 {
    let products = taps
        .iter()
        .zip(window)
        .map(|(&tap, &sample)| i64::from(tap) * i64::from(sample));
    products.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_become_the_system() {
        let mut kernel = Lms::new(1);
        for _ in 0..3 {
            let system = kernel.system;
            kernel.round();
            for (weight, tap) in kernel.weights.iter().zip(system) {
                let learned = weight >> (WEIGHT_BITS - TAP_BITS);
                assert!((learned - tap).abs() < 16, "{learned} for a tap of {tap}");
            }
        }
    }

    #[test]
    fn agrees_with_the_formula_in_floating_point() {
        let kernel = Lms::new(2);
        let mut weights = [0; TAPS];
        let mut exact = [0.0; TAPS];
        for window in kernel.input.windows(TAPS).skip(1) {
            let wanted = dot(&kernel.system, window) >> TAP_BITS;
            let error = adapt(&mut weights, window, wanted) as f64;
            // w <- w + mu e x, with mu = 2^-8 of the weights' last bit.
            let samples = || window.iter().map(|&x| f64::from(x));
            let output: f64 = exact.iter().zip(samples()).map(|(w, x)| w * x).sum();
            let exact_error = wanted as f64 - output;
            for (weight, sample) in exact.iter_mut().zip(samples()) {
                *weight += exact_error * sample * 2f64.powi(-((STEP_BITS + WEIGHT_BITS) as i32));
            }
            assert!((error - exact_error).abs() < 4.0, "{error} and {exact_error}");
        }
    }

    #[test]
    fn the_error_dies_away() {
        let mut kernel = Lms::new(3);
        let powers: Vec<i64> = (kernel.input.windows(TAPS).skip(1))
            .map(|window| {
                adapt(
                    &mut kernel.weights,
                    window,
                    dot(&kernel.system, window) >> TAP_BITS,
                )
            })
            .map(|error| error * error)
            .collect();
        let [early, late] = [0, SAMPLES - 64].map(|from| powers[from..][..64].iter().sum::<i64>());
        assert!(late * 1000 < early, "{early} to {late}");
    }
}
