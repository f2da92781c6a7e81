//! Adam (Kingma and Ba, 2015), fused with the backward pass of a layer.
//!
//! With g the gradient of a weight w at step t:
//!
//! ```text
//! m <- beta1 m + (1 - beta1) g
//! v <- beta2 v + (1 - beta2) g^2
//! w <- w - rate / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + epsilon)
//! ```
//!
//! At batch size 1 the gradient of a weight is one product, so it is formed in a register, used and forgotten:
//! one pass over w, m and v does the whole update. Time goes to memory, the square root and the division. Both
//! are exact: Newton's method from an integer guess took 70 (root) and 87 µs (both) for a DQN 4x256 on a
//! Zen 5 core, where the exact ones take 55.

use super::simd::{BASELINE_FMA, Lane, flat, flat_mut, mul_add};
use multiversion::{multiversion, target::match_target};
use serde::{Deserialize, Serialize};

/// The settings of Adam.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Step size (learning rate).
    pub rate: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root, outside of it.
    pub epsilon: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl Adam {
    /// These settings with another step size.
    pub fn with_rate(self, rate: f64) -> Self {
        Self { rate, ..self }
    }

    /// The constants of step `t`, counted from 1.
    pub(crate) fn step(&self, t: u64) -> Step {
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        Step {
            rest1: (1.0 - self.beta1) as f32,
            rest2: (1.0 - self.beta2) as f32,
            rate: (self.rate / (1.0 - self.beta1.powi(t))) as f32,
            root: (1.0 / (1.0 - self.beta2.powi(t)).sqrt()) as f32,
            epsilon: self.epsilon as f32,
        }
    }
}

/// The numbers of one step, bias correction worked in.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    rest1: f32,
    rest2: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
}

/// Weights with their running moments; without Adam these are empty.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    pub value: Vec<Lane>,
    pub mean: Vec<Lane>,
    pub square: Vec<Lane>,
}

impl Weights {
    /// `lanes` lanes of zeros.
    pub fn zeros(lanes: usize, has_moments: bool) -> Self {
        let moments = if has_moments { lanes } else { 0 };
        Self {
            value: vec![Lane::ZERO; lanes],
            mean: vec![Lane::ZERO; moments],
            square: vec![Lane::ZERO; moments],
        }
    }

    /// The same weights without moments.
    pub fn frozen(&self) -> Self {
        Self {
            value: self.value.clone(),
            mean: Vec::new(),
            square: Vec::new(),
        }
    }
}

/// One Adam step on a matrix whose gradient is the outer product of `delta` (per row) and `x` (per column),
/// which also adds the gradient of the layer's input, W^T delta by the weights before the step, to `dx`.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl+fma", "x86_64+avx2+fma"))]
pub(crate) fn update_with_input_gradient(
    w: &mut Weights,
    delta: &[Lane],
    x: &[Lane],
    dx: &mut [Lane],
    step: &Step,
) {
    match_target! {
        "x86_64+avx2+avx512f+avx512vl+fma" => update_with_input_gradient_body::<true>(w, delta, x, dx, step),
        "x86_64+avx2+fma" => update_with_input_gradient_body::<true>(w, delta, x, dx, step),
        _ => update_with_input_gradient_body::<BASELINE_FMA>(w, delta, x, dx, step),
    }
}

/// The same for the first layer, whose input needs no gradient.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl+fma", "x86_64+avx2+fma"))]
pub(crate) fn update(w: &mut Weights, delta: &[Lane], x: &[Lane], step: &Step) {
    match_target! {
        "x86_64+avx2+avx512f+avx512vl+fma" => update_body::<true>(w, delta, x, step),
        "x86_64+avx2+fma" => update_body::<true>(w, delta, x, step),
        _ => update_body::<BASELINE_FMA>(w, delta, x, step),
    }
}

#[inline(always)]
fn update_with_input_gradient_body<const FMA: bool>(
    w: &mut Weights,
    delta: &[Lane],
    x: &[Lane],
    dx: &mut [Lane],
    step: &Step,
) {
    let (x, dx) = (flat(x), flat_mut(dx));
    for ((w, m, v), d) in rows(w, x.len()).zip(flat(delta)) {
        row_with_dx::<FMA>(w, m, v, *d, x, dx, step);
    }
}

#[inline(always)]
fn row_with_dx<const FMA: bool>(
    w: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    d: f32,
    x: &[f32],
    dx: &mut [f32],
    step: &Step,
) {
    for ((((w, m), v), x), dx) in w.iter_mut().zip(m).zip(v).zip(x).zip(dx) {
        *dx = mul_add::<FMA>(d, *w, *dx);
        apply::<FMA>(step, d * x, w, m, v);
    }
}

#[inline(always)]
fn update_body<const FMA: bool>(w: &mut Weights, delta: &[Lane], x: &[Lane], step: &Step) {
    let x = flat(x);
    for ((w, m, v), d) in rows(w, x.len()).zip(flat(delta)) {
        for (((w, m), v), x) in w.iter_mut().zip(m).zip(v).zip(x) {
            apply::<FMA>(step, d * x, w, m, v);
        }
    }
}

#[inline(always)]
fn rows(w: &mut Weights, width: usize) -> impl Iterator<Item = (&mut [f32], &mut [f32], &mut [f32])> {
    let values = flat_mut(&mut w.value).chunks_exact_mut(width);
    let means = flat_mut(&mut w.mean).chunks_exact_mut(width);
    let squares = flat_mut(&mut w.square).chunks_exact_mut(width);
    values.zip(means).zip(squares).map(|((w, m), v)| (w, m, v))
}

/// Adam on one weight with gradient `g`.
///
/// The moments move towards g and g^2 by a share of the distance: the same as beta times the old and the rest
/// times the new, but 0.999 as an f32 is off by 1e-8, which a mean over a thousand steps makes 1e-5.
#[inline(always)]
fn apply<const FMA: bool>(step: &Step, g: f32, w: &mut f32, m: &mut f32, v: &mut f32) {
    let mean = mul_add::<FMA>(step.rest1, g - *m, *m);
    let square = mul_add::<FMA>(step.rest2, g * g - *v, *v);
    *m = if mean.abs() < SMALLEST { 0.0 } else { mean };
    *v = if square < SMALLEST { 0.0 } else { square };
    *w -= step.rate * *m / mul_add::<FMA>(v.sqrt(), step.root, step.epsilon);
}

/// Moments below this become zero.
///
/// Those of a weight whose unit is dead would shrink step by step into the subnormal numbers and stay there;
/// some processors are a hundred times slower with those. Against epsilon (1e-8) such a moment moves no weight.
const SMALLEST: f32 = 1e-36;

#[cfg(test)]
mod tests {
    use super::super::simd::LANES;
    use super::*;

    #[test]
    fn processors_without_fused_multiply_add_get_the_same_to_rounding() {
        let mut fast = Weights::zeros(12, true);
        fast.value
            .iter_mut()
            .enumerate()
            .for_each(|(i, lane)| *lane = Lane([i as f32 / 7.0 - 0.5; LANES]));
        let mut plain = fast.clone();
        let x = [Lane([0.3; LANES]), Lane([-1.7; LANES]), Lane([0.01; LANES])];
        let (mut dx, mut plain_dx) = (x, x);
        for t in 1..200 {
            let delta = [Lane([0.2, -0.9, 0.4, t as f32 / 100.0, 0.0, 0.0, 0.0, 0.0])];
            let step = Adam::default().step(t);
            update_with_input_gradient(&mut fast, &delta, &x, &mut dx, &step);
            update_with_input_gradient_body::<false>(&mut plain, &delta, &x, &mut plain_dx, &step);
        }
        for (a, b) in [(&fast.value[..], &plain.value[..]), (&dx, &plain_dx)] {
            for (a, b) in flat(a).iter().zip(flat(b)) {
                assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
            }
        }
    }
}
