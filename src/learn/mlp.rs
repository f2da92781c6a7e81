//! A multilayer perceptron at batch size 1, trained by Adam, without any allocation per step.
//!
//! A layer computes y = f(W x + b) with W stored row by row, one row per output. [`Mlp::forward`] keeps every
//! layer's y; [`Mlp::descend`] walks back through them and updates each weight in the pass that also forms the
//! gradient for the layer below.

use super::adam::{Adam, Step, Weights, update, update_with_input_gradient};
use super::checkpoint::Checkpoint;
use super::error::LearnError;
use super::random::{Rng, gaussian};
use super::simd::{LANES, Lane, affine, lanes, pack, tanh, unpack};

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
    adam: Adam,
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
    pub fn new(sizes: &[usize], hidden: Activation, last_scale: f64, adam: Adam, rng: &mut Rng) -> Self {
        assert!(
            sizes.len() >= 2 && !sizes.contains(&0),
            "a network needs inputs and outputs, not {sizes:?}"
        );
        let gain: f64 = match hidden {
            Activation::Relu => 2.0,
            Activation::Tanh => 1.0,
        };
        let last = sizes.len() - 2;
        let layers = sizes.windows(2).enumerate().map(|(i, pair)| {
            let deviation = if i == last {
                last_scale / (pair[0] as f64).sqrt()
            } else {
                (gain / pair[0] as f64).sqrt()
            };
            Layer::new(pair[0], pair[1], deviation, rng)
        });
        Self {
            layers: layers.collect(),
            hidden,
            adam,
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

    /// One step of Adam down the loss whose gradient by the outputs of the last [`Mlp::forward`] is `gradient`.
    ///
    /// # Panics
    /// When `gradient` is not as long as the network's output.
    pub fn descend(&mut self, gradient: &[f32]) {
        assert_eq!(gradient.len(), self.output.len(), "one slope per output");
        self.steps += 1;
        let step = self.adam.step(self.steps);
        if let Some(layer) = self.layers.last_mut() {
            pack(gradient, &mut layer.delta);
        }
        for i in (1..self.layers.len()).rev() {
            let (below, above) = self.layers.split_at_mut(i);
            let (below, layer) = (&mut below[i - 1], &mut above[0]);
            below.delta.fill(Lane::ZERO);
            update_with_input_gradient(
                &mut layer.weights,
                &layer.delta,
                &below.y,
                &mut below.delta,
                &step,
            );
            layer.update_bias(&step);
            through_activation(self.hidden, &below.y, &mut below.delta);
        }
        let first = &mut self.layers[0];
        update(&mut first.weights, &first.delta, &self.input, &step);
        first.update_bias(&step);
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

    /// Puts weights, moments and the step counter into a checkpoint, as `PREFIX.LAYER.weight` and so on, shaped
    /// (outputs, inputs) as PyTorch has them.
    pub(crate) fn save(&self, prefix: &str, checkpoint: &mut Checkpoint) {
        for (i, layer) in self.layers.iter().enumerate() {
            for (name, shape, lanes) in layer.tensors() {
                let mut values = vec![0.0; shape.iter().product()];
                let (width, stride) = widths(&shape);
                for (row, padded) in values.chunks_mut(width).zip(lanes.chunks(stride)) {
                    unpack(padded, row);
                }
                checkpoint.put_f32(&format!("{prefix}.{i}.{name}"), &shape, values);
            }
        }
        checkpoint.put_count(&format!("{prefix}.steps"), self.steps);
    }

    /// Takes back what [`Mlp::save`] put there; after an error the network is half-loaded, so load into a copy.
    pub(crate) fn load(&mut self, prefix: &str, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            for (name, shape, lanes) in layer.tensors_mut() {
                let name = format!("{prefix}.{i}.{name}");
                let values = checkpoint.f32s(&name, &shape)?;
                if name.ends_with(".square") && values.iter().any(|v| *v < 0.0) {
                    return Err(checkpoint.error(format!("{name} holds a negative mean of squares")));
                }
                let (width, stride) = widths(&shape);
                for (row, padded) in values.chunks(width).zip(lanes.chunks_mut(stride)) {
                    pack(row, padded);
                }
            }
        }
        self.steps = checkpoint.count(&format!("{prefix}.steps"))?;
        Ok(())
    }
}

impl Layer {
    fn new(inputs: usize, outputs: usize, deviation: f64, rng: &mut Rng) -> Self {
        let stride = lanes(inputs);
        let mut weights = Weights::zeros(stride * outputs);
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
            bias: Weights::zeros(width),
            y: zeros.clone(),
            delta: zeros,
        }
    }

    /// A bias is a weight on a constant input of 1, so as a one-row matrix it has the gradient 1 * delta.
    fn update_bias(&mut self, step: &Step) {
        update(&mut self.bias, &[Lane([1.0; LANES])], &self.delta, step);
    }

    fn tensors(&self) -> [(&'static str, Vec<usize>, &[Lane]); 6] {
        let (matrix, vector) = (vec![self.outputs, self.inputs], vec![self.outputs]);
        let (w, b) = (&self.weights, &self.bias);
        [
            ("weight", matrix.clone(), &w.value),
            ("weight.mean", matrix.clone(), &w.mean),
            ("weight.square", matrix, &w.square),
            ("bias", vector.clone(), &b.value),
            ("bias.mean", vector.clone(), &b.mean),
            ("bias.square", vector, &b.square),
        ]
    }

    fn tensors_mut(&mut self) -> [(&'static str, Vec<usize>, &mut [Lane]); 6] {
        let (matrix, vector) = (vec![self.outputs, self.inputs], vec![self.outputs]);
        let (w, b) = (&mut self.weights, &mut self.bias);
        [
            ("weight", matrix.clone(), &mut w.value),
            ("weight.mean", matrix.clone(), &mut w.mean),
            ("weight.square", matrix, &mut w.square),
            ("bias", vector.clone(), &mut b.value),
            ("bias.mean", vector.clone(), &mut b.mean),
            ("bias.square", vector, &mut b.square),
        ]
    }
}

/// Length of a row in numbers, and in lanes.
fn widths(shape: &[usize]) -> (usize, usize) {
    let width = shape[shape.len() - 1];
    (width, lanes(width))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::random::seeded;
    use super::super::reference::{Reference, empty};
    use super::*;

    /// Both nets follow the same stream of inputs and output gradients.
    fn follow(sizes: &[usize], activation: Activation, steps: usize) -> f64 {
        let adam = Adam::default().with_rate(1e-3);
        let mut net = Mlp::new(sizes, activation, 1.0, adam, &mut seeded(1));
        let mut checkpoint = empty();
        net.save("n", &mut checkpoint);
        let mut reference = Reference::from_checkpoint(&checkpoint, "n", sizes, activation, adam);
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
                let distance = follow(sizes, activation, 300);
                assert!(distance < 3e-4, "{activation:?} {sizes:?}: {distance}");
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
}
