//! A fast Fourier transform of 1024 complex points in fixed point: radix 2, decimation in time.
//!
//! Every stage halves the values, so the result is the discrete Fourier transform divided by 1024 and nothing
//! overflows. The twiddle factors are computed at compile time, so no mathematical library of a host matters.

use super::Rounds;
use crate::task::mix::{SplitMix, digest};

/// Points of the transform.
const N: usize = 1024;

/// Transforms in one round.
const TRANSFORMS: usize = 2;

/// Fractional bits of the twiddle factors.
const FRACTION: u32 = 15;

/// `(cos, sin)` of `2 pi k / N`, times 2^15.
const TWIDDLES: [(i32, i32); N / 2] = twiddles();

/// One round is some transforms; each input is the last spectrum's low bits, disturbed by its checksum.
pub(crate) struct Fft {
    /// Real parts, within 16 signed bits.
    re: [i32; N],
    /// Imaginary parts, within 16 signed bits.
    im: [i32; N],
}

impl Rounds for Fft {
    fn new(seed: u64) -> Self {
        let mut signal = Self {
            re: [0; N],
            im: [0; N],
        };
        signal.disturb(seed);
        signal
    }

    fn round(&mut self) -> u64 {
        let mut checksum = 0;
        for _ in 0..TRANSFORMS {
            transform(&mut self.re, &mut self.im);
            let points = self.re.iter().zip(&self.im);
            checksum = digest(points.map(|(&re, &im)| (re as u64) << 32 ^ im as u64));
            self.disturb(checksum);
        }
        checksum
    }
}

impl Fft {
    /// Adds noise to every point modulo 2^16: a spectrum alone is 32 times smaller than its signal and would fade.
    fn disturb(&mut self, seed: u64) {
        let mut noise = SplitMix::new(seed);
        for (re, im) in self.re.iter_mut().zip(&mut self.im) {
            let noise = noise.next();
            *re = i32::from((*re as i16).wrapping_add(noise as i16));
            *im = i32::from((*im as i16).wrapping_add((noise >> 16) as i16));
        }
    }
}

/// The discrete Fourier transform divided by N, in place. Inputs are within 16 signed bits.
fn transform(re: &mut [i32; N], im: &mut [i32; N]) {
    reverse_bits(re);
    reverse_bits(im);
    let mut half = 1;
    while half < N {
        let stride = N / 2 / half;
        for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
            let (re0, re1) = re.split_at_mut(half);
            let (im0, im1) = im.split_at_mut(half);
            let twiddles = TWIDDLES.iter().step_by(stride);
            for ((((re0, im0), re1), im1), twiddle) in re0.iter_mut().zip(im0).zip(re1).zip(im1).zip(twiddles)
            {
                butterfly(re0, im0, re1, im1, twiddle);
            }
        }
        half *= 2;
    }
}

/// `(x0, x1) <- ((x0 + w x1) / 2, (x0 - w x1) / 2)` with `w = cos - i sin`, rounded.
///
/// `|x|` never exceeds `2^15 sqrt 2` plus rounding, so the products stay below 1.6e9 and fit 32 bits.
fn butterfly(re0: &mut i32, im0: &mut i32, re1: &mut i32, im1: &mut i32, &(cos, sin): &(i32, i32)) {
    const HALF: i32 = 1 << (FRACTION - 1);
    let turned_re = (*re1 * cos + *im1 * sin + HALF) >> FRACTION;
    let turned_im = (*im1 * cos - *re1 * sin + HALF) >> FRACTION;
    (*re0, *re1) = ((*re0 + turned_re + 1) >> 1, (*re0 - turned_re + 1) >> 1);
    (*im0, *im1) = ((*im0 + turned_im + 1) >> 1, (*im0 - turned_im + 1) >> 1);
}

/// Moves every value to the place whose index has the bits in reverse.
fn reverse_bits(values: &mut [i32; N]) {
    for i in 0..N {
        let j = i.reverse_bits() >> (usize::BITS - N.trailing_zeros());
        if i < j {
            values.swap(i, j);
        }
    }
}

const fn twiddles() -> [(i32, i32); N / 2] {
    let mut table = [(0, 0); N / 2];
    let mut k = 0;
    while k < N / 2 {
        let (cos, sin) = cos_sin(std::f64::consts::TAU * k as f64 / N as f64);
        table[k] = (fixed_point(cos), fixed_point(sin));
        k += 1;
    }
    table
}

/// Cosine and sine of `0 <= x <= pi` by their Taylor series; 32 terms leave an error below 1e-14.
const fn cos_sin(x: f64) -> (f64, f64) {
    let (mut cos, mut sin, mut term, mut n) = (0.0, 0.0, 1.0, 0);
    while n < 32 {
        let sign = if n % 4 < 2 { 1.0 } else { -1.0 };
        if n % 2 == 0 {
            cos += sign * term;
        } else {
            sin += sign * term;
        }
        n += 1;
        term *= x / n as f64;
    }
    (cos, sin)
}

const fn fixed_point(x: f64) -> i32 {
    let scaled = x * (1 << FRACTION) as f64;
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// Units in the last place by which rounding in ten stages may be off.
    const TOLERANCE: f64 = 4.0;

    type Signal = ([i32; N], [i32; N]);

    fn spectrum((mut re, mut im): Signal) -> Signal {
        transform(&mut re, &mut im);
        (re, im)
    }

    /// The definition in floating point, divided by N.
    fn reference((re, im): &Signal) -> Vec<(f64, f64)> {
        let turn: Vec<_> = (0..N).map(|k| (TAU * k as f64 / N as f64).sin_cos()).collect();
        let bin = |k: usize| {
            (0..N).fold((0.0, 0.0), |(sum_re, sum_im), n| {
                let (sin, cos) = turn[n * k % N];
                let (x, y) = (f64::from(re[n]), f64::from(im[n]));
                (sum_re + x * cos + y * sin, sum_im + y * cos - x * sin)
            })
        };
        (0..N)
            .map(bin)
            .map(|(re, im)| (re / N as f64, im / N as f64))
            .collect()
    }

    fn assert_close(signal: Signal) {
        let expected = reference(&signal);
        let (re, im) = spectrum(signal);
        for (k, &(x, y)) in expected.iter().enumerate() {
            let error = (f64::from(re[k]) - x).abs().max((f64::from(im[k]) - y).abs());
            assert!(
                error <= TOLERANCE,
                "bin {k}: ({}, {}) instead of ({x:.1}, {y:.1})",
                re[k],
                im[k]
            );
        }
    }

    #[test]
    fn twiddles_are_cosines_and_sines() {
        for (k, &(cos, sin)) in TWIDDLES.iter().enumerate() {
            let angle = TAU * k as f64 / N as f64;
            assert!((f64::from(cos) - 32768.0 * angle.cos()).abs() <= 0.500_001, "{k}");
            assert!((f64::from(sin) - 32768.0 * angle.sin()).abs() <= 0.500_001, "{k}");
        }
    }

    #[test]
    fn an_impulse_is_flat() {
        let mut re = [0; N];
        re[0] = 20480;
        let (re, im) = spectrum((re, [0; N]));
        assert!(re.iter().all(|x| (x - 20).abs() <= 1) && im.iter().all(|y| y.abs() <= 1));
    }

    #[test]
    fn a_constant_is_in_the_first_bin_only() {
        let (re, im) = spectrum(([12345; N], [-77; N]));
        assert!((re[0] - 12345).abs() <= 4 && (im[0] + 77).abs() <= 4);
        assert!(re[1..].iter().chain(&im[1..]).all(|x| x.abs() <= 4));
    }

    #[test]
    fn a_sine_is_in_two_bins() {
        let re = std::array::from_fn(|n| (30000.0 * (TAU * 37.0 * n as f64 / N as f64).sin()) as i32);
        let (re, im) = spectrum((re, [0; N]));
        assert!(
            (im[37] + 15000).abs() <= 4 && (im[N - 37] - 15000).abs() <= 4,
            "{} {}",
            im[37],
            im[N - 37]
        );
        let rest = (0..N).filter(|&k| k != 37 && k != N - 37);
        assert!(rest.clone().all(|k| re[k].abs() <= 4 && im[k].abs() <= 4));
    }

    #[test]
    fn agrees_with_the_definition_also_at_full_scale() {
        let noise = Fft::new(9);
        assert_close((noise.re, noise.im));
        assert_close(([-32768; N], [-32768; N]));
        assert_close((
            std::array::from_fn(|n| if n % 2 == 0 { 32767 } else { -32768 }),
            [32767; N],
        ));
    }
}
