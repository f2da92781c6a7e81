//! Stochastic gradient descent, fused with the backward pass of a layer: w <- w - rate g, with no state but w.
//!
//! As in [`super::adam`] the gradient g of a weight is one product at batch size 1, formed in a register.

use super::simd::{BASELINE_FMA, Lane, flat, flat_mut, mul_add};
use multiversion::{multiversion, target::match_target};

/// One step on a matrix whose gradient is the outer product of `delta` (per row) and `x` (per column), which also
/// adds the gradient of the layer's input, W^T delta by the weights before the step, to `dx`.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(crate) fn update_with_input_gradient(
    w: &mut [Lane],
    delta: &[Lane],
    x: &[Lane],
    dx: &mut [Lane],
    rate: f32,
) {
    match_target! {
        "x86_64+avx2+fma" => update_with_input_gradient_body::<true>(w, delta, x, dx, rate),
        _ => update_with_input_gradient_body::<BASELINE_FMA>(w, delta, x, dx, rate),
    }
}

/// The same for the first layer, whose input needs no gradient.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(crate) fn update(w: &mut [Lane], delta: &[Lane], x: &[Lane], rate: f32) {
    match_target! {
        "x86_64+avx2+fma" => update_body::<true>(w, delta, x, rate),
        _ => update_body::<BASELINE_FMA>(w, delta, x, rate),
    }
}

#[inline(always)]
fn update_with_input_gradient_body<const FMA: bool>(
    w: &mut [Lane],
    delta: &[Lane],
    x: &[Lane],
    dx: &mut [Lane],
    rate: f32,
) {
    let (x, dx) = (flat(x), flat_mut(dx));
    for (w, d) in flat_mut(w).chunks_exact_mut(x.len()).zip(flat(delta)) {
        for ((w, x), dx) in w.iter_mut().zip(x).zip(dx.iter_mut()) {
            *dx = mul_add::<FMA>(*d, *w, *dx);
            *w = mul_add::<FMA>(-rate, d * x, *w);
        }
    }
}

#[inline(always)]
fn update_body<const FMA: bool>(w: &mut [Lane], delta: &[Lane], x: &[Lane], rate: f32) {
    let x = flat(x);
    for (w, d) in flat_mut(w).chunks_exact_mut(x.len()).zip(flat(delta)) {
        for (w, x) in w.iter_mut().zip(x) {
            *w = mul_add::<FMA>(-rate, d * x, *w);
        }
    }
}
