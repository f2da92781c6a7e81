//! An IIR filter: four biquads in a row make a Butterworth low-pass of order 8 at an eighth of the sampling rate.
//!
//! The coefficients are those of R. Bristow-Johnson's "Audio EQ Cookbook" (low-pass, w0 = 2 pi / 8) with the
//! quality factors of a Butterworth filter, Q = 1 / (2 cos(pi (2 n + 1) / 16)).

use super::Rounds;
use crate::task::mix::{SplitMix, digest};

/// Samples filtered in one round.
const SAMPLES: usize = 3072;

/// Fractional bits of coefficients, and of the delayed samples.
const COEFFICIENT_BITS: u32 = 28;
const SAMPLE_BITS: u32 = 8;

/// b0 (b1 is twice that, b2 the same), a1 and a2 of each section, times 2^28.
const SECTIONS: [[i64; 3]; 4] = [
    [23_212_873, -224_163_328, 48_579_363],
    [24_756_299, -239_067_967, 69_657_706],
    [28_223_810, -272_553_218, 117_013_001],
    [34_545_870, -333_604_434, 203_352_459],
];

/// One round filters a signal; the result, disturbed by its checksum, is the next signal. The filters' state stays.
pub(crate) struct Iir {
    signal: [i16; SAMPLES],
    sections: [Biquad; 4],
}

impl Rounds for Iir {
    fn new(seed: u64) -> Self {
        let mut kernel = Self {
            signal: [0; SAMPLES],
            sections: SECTIONS.map(Biquad::new),
        };
        kernel.disturb(seed);
        kernel
    }

    fn round(&mut self) -> u64 {
        for sample in &mut self.signal {
            let wide = i64::from(*sample) << SAMPLE_BITS;
            let filtered = self.sections.iter_mut().fold(wide, |x, section| section.step(x));
            *sample = rounded(filtered, SAMPLE_BITS).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
        let checksum = digest(self.signal.iter().map(|&sample| sample as u64));
        self.disturb(checksum);
        checksum
    }
}

impl Iir {
    /// Adds noise at half of the full range: what has been filtered alone would fade.
    fn disturb(&mut self, seed: u64) {
        let mut noise = SplitMix::new(seed);
        for sample in &mut self.signal {
            *sample = *sample / 2 + (noise.next() as i16) / 2;
        }
    }
}

/// A section of second order, direct form I.
struct Biquad {
    coefficients: [i64; 3],
    /// The last two inputs and the last two outputs, newest first.
    x: [i64; 2],
    y: [i64; 2],
}

impl Biquad {
    fn new(coefficients: [i64; 3]) -> Self {
        Self {
            coefficients,
            x: [0; 2],
            y: [0; 2],
        }
    }

    /// `y = b0 (x + 2 x1 + x2) - a1 y1 - a2 y2`. Samples have 24 bits and some headroom, so 62 bits are not reached.
    fn step(&mut self, x: i64) -> i64 {
        let [b0, a1, a2] = self.coefficients;
        let sum = b0 * (x + 2 * self.x[0] + self.x[1]) - a1 * self.y[0] - a2 * self.y[1];
        let y = rounded(sum, COEFFICIENT_BITS);
        self.x = [x, self.x[0]];
        self.y = [y, self.y[0]];
        y
    }
}

/// `value / 2^bits`, rounded.
fn rounded(value: i64, bits: u32) -> i64 {
    (value + (1 << (bits - 1))) >> bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{PI, TAU};

    /// b0, a1 and a2 of a section by the formulas of the cookbook.
    fn designed(section: usize) -> [f64; 3] {
        let q = 1.0 / (2.0 * (PI * (2 * section + 1) as f64 / 16.0).cos());
        let (sin, cos) = (TAU / 8.0).sin_cos();
        let alpha = sin / (2.0 * q);
        [(1.0 - cos) / 2.0, -2.0 * cos, 1.0 - alpha].map(|c| c / (1.0 + alpha))
    }

    #[test]
    fn the_coefficients_are_those_of_the_cookbook() {
        for (at, fixed) in SECTIONS.iter().enumerate() {
            let expected = designed(at).map(|c| (c * f64::from(1 << COEFFICIENT_BITS)).round() as i64);
            assert_eq!(*fixed, expected, "section {at}");
        }
    }

    /// The same filter in floating point and in the other direct form.
    fn reference(signal: &[i16]) -> Vec<f64> {
        let mut samples: Vec<f64> = signal.iter().map(|&x| f64::from(x)).collect();
        for section in 0..4 {
            let [b0, a1, a2] = designed(section);
            let (mut w1, mut w2) = (0.0, 0.0);
            for sample in &mut samples {
                let w = *sample - a1 * w1 - a2 * w2;
                *sample = b0 * (w + 2.0 * w1 + w2);
                (w1, w2) = (w, w1);
            }
        }
        samples
    }

    #[test]
    fn agrees_with_floating_point() {
        let mut kernel = Iir::new(1);
        let expected = reference(&kernel.signal);
        let mut sections = SECTIONS.map(Biquad::new);
        for (&sample, expected) in kernel.signal.iter().zip(expected) {
            let wide = i64::from(sample) << SAMPLE_BITS;
            let found = sections.iter_mut().fold(wide, |x, section| section.step(x));
            let difference = found as f64 / f64::from(1 << SAMPLE_BITS) - expected;
            assert!(difference.abs() < 0.5, "{difference}");
        }
        kernel.round();
    }

    /// The gain for a sine of this share of the sampling rate.
    fn gain(frequency: f64) -> f64 {
        let sine: Vec<i16> = (0..4096)
            .map(|n| (10_000.0 * (TAU * frequency * f64::from(n)).sin()) as i16)
            .collect();
        let mut sections = SECTIONS.map(Biquad::new);
        let filtered: Vec<f64> = (sine.iter())
            .map(|&x| {
                sections
                    .iter_mut()
                    .fold(i64::from(x), |x, section| section.step(x)) as f64
            })
            .collect();
        let power = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
        let (into, out) = (
            power(&mut sine[2048..].iter().map(|&x| f64::from(x))),
            power(&mut filtered[2048..].iter().copied()),
        );
        (out / into).sqrt()
    }

    #[test]
    fn it_is_a_low_pass_with_its_corner_at_an_eighth() {
        assert!((gain(1.0 / 64.0) - 1.0).abs() < 0.01);
        assert!((gain(1.0 / 8.0) - 0.5f64.sqrt()).abs() < 0.01);
        assert!(gain(1.0 / 4.0) < 0.002);
    }
}
