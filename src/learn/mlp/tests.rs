//! The fast network against slopes and against f64.

#![allow(clippy::unwrap_used)]

use super::super::adam::Adam;
use super::super::network::Parts;
use super::super::random::seeded;
use super::super::reference::{Reference, empty};
use super::*;

/// Both nets follow the same stream of inputs and output gradients.
fn follow(optimiser: Optimiser, sizes: &[usize], activation: Activation, steps: usize) -> f64 {
    let mut net = Mlp::new(sizes, activation, 1.0, optimiser, &mut seeded(1));
    let mut checkpoint = empty();
    net.save("n", &mut checkpoint);
    let mut reference = Reference::from_checkpoint(&checkpoint, "n", sizes, activation, optimiser);
    let mut rng = seeded(2);
    for _ in 0..steps {
        let x: Vec<f64> = (0..sizes[0])
            .map(|_| f64::from(gaussian(&mut rng) as f32))
            .collect();
        let x32: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        let y = reference.forward(&x);
        for (fast, exact) in net.forward(&x32).iter().zip(&y) {
            assert!((f64::from(*fast) - exact).abs() < 2e-3, "{fast} {exact}");
        }
        let gradient: Vec<f64> = y.iter().map(|y| f64::from((y - x[0] * x[1]) as f32)).collect();
        let gradient32: Vec<f32> = gradient.iter().map(|g| *g as f32).collect();
        net.descend(&gradient32);
        reference.descend(&x, &gradient);
    }
    let mut checkpoint = empty();
    net.save("n", &mut checkpoint);
    reference.distance(&checkpoint, "n")
}

#[test]
fn many_updates_agree_with_the_f64_reference() {
    for activation in [Activation::Relu, Activation::Tanh] {
        for sizes in [&[5, 16, 8, 3][..], &[5, 13, 3], &[3, 1], &[9, 50, 50, 1]] {
            for optimiser in [Adam::default().into(), Optimiser::Sgd { rate: 1e-3 }] {
                let distance = follow(optimiser, sizes, activation, 300);
                assert!(
                    distance < 3e-4,
                    "{optimiser:?} {activation:?} {sizes:?}: {distance}"
                );
            }
        }
    }
}

/// After one step Adam's mean is (1 - beta1) times the gradient, which shows the fast code's gradients.
#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for activation in [Activation::Relu, Activation::Tanh] {
        for sizes in [&[5, 17, 8, 3][..], &[5, 64, 64, 1], &[3, 2]] {
            let mut net = Mlp::new(sizes, activation, 1.0, Adam::default(), &mut seeded(6));
            let mut checkpoint = empty();
            net.save("n", &mut checkpoint);
            let reference = |c| Reference::from_checkpoint(c, "n", sizes, activation, Adam::default());
            let before = reference(&checkpoint);
            let mut rng = seeded(7);
            let mut draws = |n| -> Vec<f32> { (0..n).map(|_| gaussian(&mut rng) as f32).collect() };
            let (x, output) = (draws(sizes[0]), draws(sizes[sizes.len() - 1]));
            net.forward(&x);
            net.descend(&output);
            let mut checkpoint = empty();
            net.save("n", &mut checkpoint);
            let means = reference(&checkpoint).layers.into_iter().map(|layer| layer.m);
            for (l, means) in means.enumerate() {
                for (o, i) in (0..means.len()).flat_map(|o| (0..means[o].len()).map(move |i| (o, i))) {
                    let (fast, slope) = (means[o][i] / 0.1, slope(&before, &x, &output, [l, o, i]));
                    assert!(
                        (fast - slope).abs() < 1e-5 * (1.0 + slope.abs()),
                        "{activation:?} {sizes:?} layer {l} row {o} column {i}: {fast} {slope}"
                    );
                }
            }
        }
    }
}

/// Central difference of the loss, the sum of outputs times `output`, by one weight.
fn slope(net: &Reference, x: &[f32], output: &[f32], [l, o, i]: [usize; 3]) -> f64 {
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    let mut net = net.clone();
    let mut loss = |by: f64| {
        net.layers[l].w[o][i] += by;
        let y = net.forward(&x);
        net.layers[l].w[o][i] -= by;
        y.iter().zip(output).map(|(y, g)| y * f64::from(*g)).sum::<f64>()
    };
    (loss(1e-6) - loss(-1e-6)) / 2e-6
}

/// The largest distance of a weight to f64, against that of plain f32 code.
#[test]
fn a_thousand_updates_stay_as_near_to_f64_as_plain_f32_code() {
    for (activation, seed) in [
        (Activation::Relu, 1),
        (Activation::Tanh, 2),
        (Activation::Relu, 3),
    ] {
        let (sizes, adam) = ([5, 32, 32, 3], Adam::default());
        let mut net = Mlp::new(&sizes, activation, 1.0, adam, &mut seeded(seed));
        let mut checkpoint = empty();
        net.save("n", &mut checkpoint);
        let mut exact = Reference::from_checkpoint(&checkpoint, "n", &sizes, activation, adam);
        let mut plain = exact.clone().in_single_precision();
        let mut rng = seeded(seed + 100);
        for _ in 0..1000 {
            let x32: Vec<f32> = (0..5).map(|_| gaussian(&mut rng) as f32).collect();
            let x: Vec<f64> = x32.iter().map(|x| f64::from(*x)).collect();
            let gradient = |y: f64, k: usize| y - x[k] * x[k + 1];
            for net in [&mut exact, &mut plain] {
                let outputs = net.forward(&x).into_iter().enumerate();
                let gradient: Vec<f64> = outputs.map(|(k, y)| gradient(y, k)).collect();
                net.descend(&x, &gradient);
            }
            let outputs = net.forward(&x32).iter().enumerate();
            let gradient: Vec<f32> = outputs.map(|(k, y)| gradient(f64::from(*y), k) as f32).collect();
            net.descend(&gradient);
        }
        let mut checkpoint = empty();
        net.save("n", &mut checkpoint);
        let (ours, plain) = (exact.distance(&checkpoint, "n"), exact.distance_to(&plain));
        assert!(
            ours < 2.0 * plain,
            "{activation:?} {seed}: {ours:e}, plain {plain:e}"
        );
    }
}

/// Without moments there are a third of the numbers, and they are the weights.
#[test]
fn descent_without_moments_keeps_nothing_but_weights() {
    let sizes = [5, 13, 3];
    let bytes = |optimiser: Optimiser| {
        let net = Mlp::new(&sizes, Activation::Relu, 1.0, optimiser, &mut seeded(1));
        let mut checkpoint = empty();
        net.save("n", &mut checkpoint);
        checkpoint.to_bytes().unwrap().len()
    };
    let (adam, sgd) = (bytes(Adam::default().into()), bytes(Optimiser::Sgd { rate: 0.1 }));
    assert!(adam - sgd > 2 * 4 * (5 * 13 + 13 + 13 * 3 + 3), "{adam} {sgd}");
}

#[test]
fn a_frozen_copy_approaches_and_learns_nothing() {
    let mut net = Mlp::new(
        &[5, 13, 3],
        Activation::Relu,
        1.0,
        Adam::default(),
        &mut seeded(1),
    );
    let x = [0.1, -0.5, 0.3, 1.0, 0.0];
    let mut copy = net.frozen();
    let before = net.forward(&x).to_vec();
    assert_eq!(copy.forward(&x), before);
    for _ in 0..20 {
        net.forward(&x);
        net.descend(&[1.0, -1.0, 0.5]);
    }
    let after = net.forward(&x).to_vec();
    assert_ne!(after, before);
    copy.descend(&[1.0; 3]);
    assert_eq!(copy.forward(&x), before);
    copy.approach(&net, 1.0);
    assert_eq!(copy.forward(&x), after);
}

#[test]
fn padding_stays_zero() {
    let mut net = Mlp::new(
        &[5, 13, 3],
        Activation::Relu,
        1.0,
        Adam::default(),
        &mut seeded(1),
    );
    for i in 0..50 {
        net.forward(&[0.1, -0.5, i as f32, 1.0, 0.0]);
        net.descend(&[1.0, -0.3, 0.2]);
    }
    for layer in &net.layers {
        let stride = lanes(layer.inputs);
        for row in layer.weights.value.chunks(stride) {
            let mut all = vec![0.0; stride * LANES];
            unpack(row, &mut all);
            assert!(all[layer.inputs..].iter().all(|w| *w == 0.0));
        }
    }
    assert_eq!(net.live_share().1, net.layers[0].live() as f64 / 13.0);
}

impl Layer {
    fn live(&self) -> usize {
        self.delta
            .iter()
            .flat_map(|lane| lane.0)
            .filter(|d| *d != 0.0)
            .count()
    }
}

#[test]
fn moments_of_dead_units_fade_to_zero_and_not_to_subnormal_numbers() {
    let mut net = Mlp::new(
        &[5, 16, 3],
        Activation::Relu,
        1.0,
        Adam::default(),
        &mut seeded(1),
    );
    net.forward(&[1.0; 5]);
    net.descend(&[1.0, 1.0, 1.0]);
    for _ in 0..2000 {
        net.forward(&[1.0; 5]);
        net.descend(&[0.0; 3]);
    }
    let means = net
        .layers
        .iter()
        .flat_map(|l| &l.weights.mean)
        .flat_map(|lane| lane.0);
    assert!(means.into_iter().all(|m| m == 0.0));
}
