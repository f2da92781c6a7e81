//! Arithmetic on eight numbers at a time, at batch size 1.
//!
//! Everything is plain Rust that the compiler turns into vector instructions. [`multiversion`] compiles each
//! kernel on x86-64 for AVX2 with FMA and for the baseline (those of Adam, which wait for the divider, also for
//! AVX-512: a quarter faster on a Zen 5 core) and picks at run time: a packaged binary is as fast as one built
//! on the machine itself. On aarch64 the baseline already has NEON with fused multiply-add. AVX2 and AVX-512
//! give the same bits, since no sum's order depends on the width of a register.

use multiversion::{multiversion, target::match_target};

/// How many numbers a [`Lane`] holds: one AVX register, two NEON registers.
pub(crate) const LANES: usize = 8;

/// Eight numbers, aligned so that no load crosses a cache line.
///
/// Vectors and matrix rows are padded with zeros to whole lanes. Zero inputs have zero gradients, so the
/// padding stays zero through any number of updates, and no kernel needs code for a remainder.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(32))]
pub(crate) struct Lane(pub [f32; LANES]);

impl Lane {
    pub const ZERO: Self = Self([0.0; LANES]);
}

/// The number of lanes that hold `length` numbers.
pub(crate) fn lanes(length: usize) -> usize {
    length.div_ceil(LANES)
}

/// The numbers in `lanes`.
#[inline(always)]
pub(crate) fn flat(lanes: &[Lane]) -> &[f32] {
    // SAFETY: a `Lane` is `repr(C)` around `LANES` floats and its size equals theirs, so a slice of lanes is
    // that many floats in a row, initialised and aligned.
    unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast(), lanes.len() * LANES) }
}

/// The numbers in `lanes`, to change.
#[inline(always)]
pub(crate) fn flat_mut(lanes: &mut [Lane]) -> &mut [f32] {
    // SAFETY: as in `flat`; the exclusive borrow of the lanes passes on to the floats.
    unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), lanes.len() * LANES) }
}

/// Writes `values` into `lanes` and zeros behind them.
pub(crate) fn pack(values: &[f32], lanes: &mut [Lane]) {
    lanes.fill(Lane::ZERO);
    for (lane, chunk) in lanes.iter_mut().zip(values.chunks(LANES)) {
        lane.0[..chunk.len()].copy_from_slice(chunk);
    }
}

/// The first `values.len()` numbers of `lanes`.
pub(crate) fn unpack(lanes: &[Lane], values: &mut [f32]) {
    for (lane, chunk) in lanes.iter().zip(values.chunks_mut(LANES)) {
        chunk.copy_from_slice(&lane.0[..chunk.len()]);
    }
}

/// `a * b + c`, fused where the processor can. Without FMA `f32::mul_add` would be a call into libm.
#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Whether the baseline of this architecture has fused multiply-add.
pub(crate) const BASELINE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// y = W x + b. `weights` holds one padded row per output, each as long as `x`.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(crate) fn affine(weights: &[Lane], bias: &[Lane], x: &[Lane], y: &mut [Lane]) {
    match_target! {
        "x86_64+avx2+fma" => affine_body::<true>(weights, bias, x, y),
        _ => affine_body::<BASELINE_FMA>(weights, bias, x, y),
    }
}

#[inline(always)]
fn affine_body<const FMA: bool>(weights: &[Lane], bias: &[Lane], x: &[Lane], y: &mut [Lane]) {
    y.copy_from_slice(bias);
    let outputs = y.iter_mut().flat_map(|lane| &mut lane.0);
    for (row, out) in weights.chunks_exact(x.len()).zip(outputs) {
        *out += dot::<FMA>(row, x);
    }
}

/// Sum of products. Four accumulators, because float addition may not be reordered by the compiler and one
/// chain of additions would wait for its own result at every step.
#[inline(always)]
fn dot<const FMA: bool>(a: &[Lane], b: &[Lane]) -> f32 {
    let mut sums = [Lane::ZERO; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    for (a, b) in a4.remainder().iter().zip(b4.remainder()) {
        accumulate::<FMA>(&mut sums[0], a, b);
    }
    for (a, b) in a4.zip(b4) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            accumulate::<FMA>(sum, a, b);
        }
    }
    let mut total = Lane::ZERO;
    for (i, t) in total.0.iter_mut().enumerate() {
        *t = (sums[0].0[i] + sums[1].0[i]) + (sums[2].0[i] + sums[3].0[i]);
    }
    let t = total.0;
    ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]))
}

#[inline(always)]
fn accumulate<const FMA: bool>(sum: &mut Lane, a: &Lane, b: &Lane) {
    for ((s, a), b) in sum.0.iter_mut().zip(a.0).zip(b.0) {
        *s = mul_add::<FMA>(a, b, *s);
    }
}

/// Replaces every number by its hyperbolic tangent; within 2.5 units in the last place.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(crate) fn tanh(values: &mut [Lane]) {
    match_target! {
        "x86_64+avx2+fma" => tanh_body::<true>(values),
        _ => tanh_body::<BASELINE_FMA>(values),
    }
}

#[inline(always)]
fn tanh_body<const FMA: bool>(values: &mut [Lane]) {
    for lane in values {
        for x in &mut lane.0 {
            let size = x.abs();
            let (small, large) = (tanh_of_small::<FMA>(size), tanh_of_large::<FMA>(size));
            *x = if size < 0.55 { small } else { large }.copysign(*x);
        }
    }
}

/// tanh x = x + x^3 P(x^2) for |x| <= 0.55, P by Remez' algorithm: within 1e-9 of the value before rounding.
#[inline(always)]
fn tanh_of_small<const FMA: bool>(x: f32) -> f32 {
    let square = x * x;
    let mut p = -0.006_282_469_3;
    for c in [0.021_077_756, -0.053_853_86, 0.133_326_02, -0.333_333_2] {
        p = mul_add::<FMA>(p, square, c);
    }
    mul_add::<FMA>(x * square, p, x)
}

/// tanh x = 1 - 2 / (exp(2x) + 1) for x >= 0.55, where the quotient is small and so are its errors.
///
/// exp(y) by Cody and Waite: y = n ln 2 + r with |r| <= ln(2)/2, exp(r) - 1 by its Taylor series to the seventh
/// power (error below 2^-26 of the value), times 2^n.
#[inline(always)]
fn tanh_of_large<const FMA: bool>(x: f32) -> f32 {
    /// Adding and taking away 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has trailing zeros, so that n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;

    // tanh is 1 to f32 precision beyond 9.02; the limit also keeps 2^n a normal number. NaN stays NaN.
    let y = 2.0 * if x > 10.0 { 10.0 } else { x };
    let shifted = mul_add::<FMA>(y, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN2_LOW, mul_add::<FMA>(n, -LN2_HIGH, y));
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0] {
        p = mul_add::<FMA>(p, r, c);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    1.0 - 2.0 / mul_add::<FMA>(power, p * r, power + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affine_agrees_with_a_plain_double_sum() {
        for (inputs, outputs) in [(5, 3), (8, 8), (13, 9), (64, 1), (256, 20), (100, 7)] {
            let x: Vec<f32> = (0..inputs).map(|i| ((i * 37 % 19) as f32 - 9.0) / 7.0).collect();
            let w: Vec<f32> = (0..inputs * outputs)
                .map(|i| ((i * 53 % 29) as f32 - 14.0) / 11.0)
                .collect();
            let b: Vec<f32> = (0..outputs).map(|i| i as f32 / 3.0).collect();
            let stride = lanes(inputs);
            let mut rows = vec![Lane::ZERO; stride * outputs];
            for (row, values) in rows.chunks_exact_mut(stride).zip(w.chunks_exact(inputs)) {
                pack(values, row);
            }
            let (mut xs, mut bs, mut ys) = (
                vec![Lane::ZERO; stride],
                vec![Lane::ZERO; lanes(outputs)],
                vec![Lane::ZERO; lanes(outputs)],
            );
            pack(&x, &mut xs);
            pack(&b, &mut bs);
            let mut y = vec![0.0; 2 * outputs];
            affine(&rows, &bs, &xs, &mut ys);
            unpack(&ys, &mut y[..outputs]);
            affine_body::<false>(&rows, &bs, &xs, &mut ys);
            unpack(&ys, &mut y[outputs..]);
            for (o, y) in y.iter().enumerate().map(|(i, y)| (i % outputs, y)) {
                let exact: f64 = (0..inputs)
                    .map(|i| f64::from(w[o * inputs + i]) * f64::from(x[i]))
                    .sum();
                let exact = exact + f64::from(b[o]);
                assert!(
                    (f64::from(*y) - exact).abs() < 1e-5 * (1.0 + exact.abs()),
                    "{inputs}x{outputs}"
                );
            }
        }
    }

    /// The largest relative error over twelve decades of both signs.
    fn worst_tanh(tanh: fn(&mut [Lane])) -> f64 {
        let mut worst = 0.0f64;
        for i in 0..100_000 {
            let magnitude = 10f32.powf(i as f32 / 100_000.0 * 12.0 - 8.0);
            for x in [magnitude, -magnitude] {
                let exact = f64::from(x).tanh();
                let mut lane = [Lane([x; LANES])];
                tanh(&mut lane);
                worst = worst.max(((f64::from(lane[0].0[3]) - exact) / exact).abs());
            }
        }
        worst
    }

    #[test]
    fn tanh_is_within_a_few_units_in_the_last_place() {
        let (fast, baseline) = (worst_tanh(tanh), worst_tanh(tanh_body::<false>));
        assert!(fast < 1.25 * f64::from(f32::EPSILON), "{fast:e}");
        assert!(baseline < 1.25 * f64::from(f32::EPSILON), "{baseline:e}");
        let mut special = [Lane([
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1e30,
            1e-40,
            9.0,
        ])];
        tanh(&mut special);
        let [zero, minus_zero, one, minus_one, nan, large, tiny, _] = special[0].0;
        assert!(zero == 0.0 && minus_zero == 0.0 && minus_zero.is_sign_negative());
        assert!(one == 1.0 && minus_one == -1.0 && nan.is_nan() && large == 1.0 && tiny < 2e-40);
    }
}
