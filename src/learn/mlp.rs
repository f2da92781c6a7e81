//! A multilayer perceptron at batch size 1, without any allocation per step.
//!
//! A layer computes y = f(W x + b) with W stored row by row, one row per output. [`Mlp::forward`] keeps every
//! layer's y; [`Mlp::descend`] walks back through them and updates each weight in the pass that also forms the
//! gradient for the layer below.

use super::adam::Weights;
use super::optimiser::{Optimiser, Step};
use super::random::{Rng, gaussian};
use super::simd::{LANES, Lane, affine, flat, flat_mut, lanes, pack, tanh, unpack};
use multiversion::multiversion;

/// What hidden units do with their sum. The last layer is always linear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(0, x); weights start normal with variance 2 / inputs (He et al., 2015).
    Relu,
    /// tanh x; weights start normal with variance 1 / inputs (LeCun et al., 1998).
    Tanh,
}

/// A network of fully connected layers.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Layer>,
    hidden: Activation,
    optimiser: Optimiser,
    steps: u64,
    input: Vec<Lane>,
    output: Vec<f32>,
}

#[derive(Clone, Debug)]
struct Layer {
    inputs: usize,
    outputs: usize,
    weights: Weights,
    bias: Weights,
    /// What the layer answered last, after its activation.
    y: Vec<Lane>,
    /// Gradient of the loss by this layer's sum, during the walk back.
    delta: Vec<Lane>,
}

impl Mlp {
    /// A network with `sizes[0]` inputs, `sizes[last]` outputs and hidden layers between; biases start at zero,
    /// and the weights of the last layer are multiplied by `last_scale`.
    ///
    /// # Panics
    /// With fewer than two sizes, or one that is zero.
    pub fn new(
        sizes: &[usize],
        hidden: Activation,
        last_scale: f64,
        optimiser: impl Into<Optimiser>,
        rng: &mut Rng,
    ) -> Self {
        assert!(
            sizes.len() >= 2 && !sizes.contains(&0),
            "a network needs inputs and outputs, not {sizes:?}"
        );
        let gain: f64 = match hidden {
            Activation::Relu => 2.0,
            Activation::Tanh => 1.0,
        };
        let optimiser = optimiser.into();
        let last = sizes.len() - 2;
        let layers = sizes.windows(2).enumerate().map(|(i, pair)| {
            let deviation = if i == last {
                last_scale / (pair[0] as f64).sqrt()
            } else {
                (gain / pair[0] as f64).sqrt()
            };
            Layer::new(pair[0], pair[1], deviation, optimiser.has_moments(), rng)
        });
        Self {
            layers: layers.collect(),
            hidden,
            optimiser,
            steps: 0,
            input: vec![Lane::ZERO; lanes(sizes[0])],
            output: vec![0.0; sizes[sizes.len() - 1]],
        }
    }

    /// The outputs for `x`, which are remembered for [`Mlp::descend`].
    ///
    /// # Panics
    /// When `x` is not as long as the network's input.
    pub fn forward(&mut self, x: &[f32]) -> &[f32] {
        assert_eq!(x.len(), self.layers[0].inputs, "one value per input");
        pack(x, &mut self.input);
        let last = self.layers.len() - 1;
        let mut x = &self.input;
        for (i, layer) in self.layers.iter_mut().enumerate() {
            affine(&layer.weights.value, &layer.bias.value, x, &mut layer.y);
            if i < last {
                activate(self.hidden, &mut layer.y);
            }
            x = &layer.y;
        }
        unpack(x, &mut self.output);
        &self.output
    }

    /// One step down the loss whose gradient by the outputs of the last [`Mlp::forward`] is `gradient`.
    ///
    /// # Panics
    /// When `gradient` is not as long as the network's output.
    pub fn descend(&mut self, gradient: &[f32]) {
        assert_eq!(gradient.len(), self.output.len(), "one slope per output");
        self.steps += 1;
        let step = self.optimiser.step(self.steps);
        if let Some(layer) = self.layers.last_mut() {
            pack(gradient, &mut layer.delta);
        }
        for i in (1..self.layers.len()).rev() {
            let (below, above) = self.layers.split_at_mut(i);
            let (below, layer) = (&mut below[i - 1], &mut above[0]);
            below.delta.fill(Lane::ZERO);
            let dx = &mut below.delta;
            step.update_with_input_gradient(&mut layer.weights, &layer.delta, &below.y, dx);
            layer.update_bias(&step);
            through_activation(self.hidden, &below.y, &mut below.delta);
        }
        let first = &mut self.layers[0];
        step.update(&mut first.weights, &first.delta, &self.input);
        first.update_bias(&step);
    }

    /// A copy without moments, which is not trained but follows by [`Mlp::approach`].
    pub fn frozen(&self) -> Self {
        let layers = self.layers.iter().map(|layer| Layer {
            weights: layer.weights.frozen(),
            bias: layer.bias.frozen(),
            ..layer.clone()
        });
        Self {
            layers: layers.collect(),
            optimiser: Optimiser::Sgd { rate: 0.0 },
            ..self.clone()
        }
    }

    /// Moves every weight a share `tau` of the way to that of `other`, a network of the same sizes; 1 copies it.
    pub fn approach(&mut self, other: &Self, tau: f32) {
        for (layer, other) in self.layers.iter_mut().zip(&other.layers) {
            approach(&mut layer.weights.value, &other.weights.value, tau);
            approach(&mut layer.bias.value, &other.bias.value, tau);
        }
    }

    /// How many weights and biases there are, padding left out.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|l| (l.inputs + 1) * l.outputs).sum()
    }

    /// How many updates the network has had.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Share of hidden units that answered the last input with something other than zero, and share whose sum
    /// had a non-zero gradient in the last update: both well above zero in a live network.
    pub fn live_share(&self) -> (f64, f64) {
        let hidden = &self.layers[..self.layers.len() - 1];
        let units: usize = hidden.iter().map(|l| l.outputs).sum();
        let count = |of: fn(&Layer) -> &[Lane]| {
            let live = hidden
                .iter()
                .flat_map(of)
                .flat_map(|lane| lane.0)
                .filter(|v| *v != 0.0)
                .count();
            live as f64 / units.max(1) as f64
        };
        (count(|l| &l.y), count(|l| &l.delta))
    }

    /// What hidden units do, and the optimiser.
    #[cfg(feature = "torch")]
    pub(crate) fn rules(&self) -> (Activation, Optimiser) {
        (self.hidden, self.optimiser)
    }
}

impl Layer {
    fn new(inputs: usize, outputs: usize, deviation: f64, has_moments: bool, rng: &mut Rng) -> Self {
        let stride = lanes(inputs);
        let mut weights = Weights::zeros(stride * outputs, has_moments);
        for row in weights.value.chunks_exact_mut(stride) {
            let values: Vec<f32> = (0..inputs).map(|_| (deviation * gaussian(rng)) as f32).collect();
            pack(&values, row);
        }
        let width = lanes(outputs);
        let zeros = vec![Lane::ZERO; width];
        Self {
            inputs,
            outputs,
            weights,
            bias: Weights::zeros(width, has_moments),
            y: zeros.clone(),
            delta: zeros,
        }
    }

    /// A bias is a weight on a constant input of 1, so as a one-row matrix it has the gradient 1 * delta.
    fn update_bias(&mut self, step: &Step) {
        step.update(&mut self.bias, &[Lane([1.0; LANES])], &self.delta);
    }
}

/// a <- a + tau (b - a).
#[multiversion(targets("x86_64+avx2+fma"))]
fn approach(a: &mut [Lane], b: &[Lane], tau: f32) {
    if tau == 1.0 {
        a.copy_from_slice(b);
        return;
    }
    for (a, b) in flat_mut(a).iter_mut().zip(flat(b)) {
        *a += tau * (b - *a);
    }
}

fn activate(activation: Activation, y: &mut [Lane]) {
    match activation {
        Activation::Tanh => tanh(y),
        Activation::Relu => y
            .iter_mut()
            .flat_map(|lane| &mut lane.0)
            .for_each(|v| *v = v.max(0.0)),
    }
}

/// Multiplies the gradient by the slope of the activation, which is known from its value `y`.
fn through_activation(activation: Activation, y: &[Lane], delta: &mut [Lane]) {
    for (delta, y) in delta.iter_mut().zip(y) {
        for (d, y) in delta.0.iter_mut().zip(y.0) {
            *d = match activation {
                Activation::Relu if y > 0.0 => *d,
                Activation::Relu => 0.0,
                Activation::Tanh => *d * (1.0 - y * y),
            };
        }
    }
}

mod stored;
#[cfg(feature = "torch")]
pub(crate) use stored::read;
#[cfg(test)]
mod tests;
