//! The arithmetic of the engine once more, in f64 and written for clarity: gradients are stored, then applied.
//! Tests and benches hold the fast code against this.

use super::adam::Adam;
use super::checkpoint::Checkpoint;
use super::mlp::Activation;
use super::optimiser::Optimiser;

/// A network with its optimiser.
#[derive(Clone, Debug)]
pub struct Reference {
    /// From the input up.
    pub layers: Vec<Layer>,
    activation: Activation,
    optimiser: Optimiser,
    steps: i32,
    rounded: fn(f64) -> f64,
}

/// One layer: matrices of one row per output, whose last column is the bias.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Weights.
    pub w: Vec<Vec<f64>>,
    /// Adam's means of gradients; empty with another optimiser.
    pub m: Vec<Vec<f64>>,
    /// Adam's means of squared gradients; likewise.
    pub v: Vec<Vec<f64>>,
}

impl Reference {
    /// The network of that prefix in a checkpoint, moments and all.
    ///
    /// # Panics
    /// When the checkpoint has no network of that prefix and those sizes.
    pub fn from_checkpoint(
        c: &Checkpoint,
        prefix: &str,
        sizes: &[usize],
        activation: Activation,
        optimiser: impl Into<Optimiser>,
    ) -> Self {
        let optimiser = optimiser.into();
        let layer = |(i, pair): (usize, &[usize])| {
            let matrix = |suffix| matrix(c, &format!("{prefix}.{i}"), suffix, [pair[1], pair[0]]);
            let moments = |suffix| match optimiser.has_moments() {
                true => matrix(suffix),
                false => Vec::new(),
            };
            Layer {
                w: matrix(""),
                m: moments(".mean"),
                v: moments(".square"),
            }
        };
        let steps = c.count(&format!("{prefix}.steps")).expect("a step counter");
        Self {
            layers: sizes.windows(2).enumerate().map(layer).collect(),
            activation,
            optimiser,
            steps: i32::try_from(steps).unwrap_or(i32::MAX),
            rounded: |x| x,
        }
    }

    /// The same network in f32, as plain code has it: the result of every operation is rounded.
    pub fn in_single_precision(mut self) -> Self {
        self.rounded = |x| f64::from(x as f32);
        self
    }

    /// `x` in the precision of this network.
    pub fn round(&self, x: f64) -> f64 {
        (self.rounded)(x)
    }

    fn slope(&self, y: f64) -> f64 {
        match self.activation {
            Activation::Relu => f64::from(y > 0.0),
            Activation::Tanh => 1.0 - y * y,
        }
    }

    fn sum_of_products(&self, pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
        pairs.fold(0.0, |sum, (a, b)| self.round(sum + self.round(a * b)))
    }

    /// The values of every layer, the input first; each but the last has the constant 1 of the bias appended.
    fn activations(&self, x: &[f64]) -> Vec<Vec<f64>> {
        let mut all = vec![x.iter().map(|x| (self.rounded)(*x)).collect::<Vec<_>>()];
        for (i, layer) in self.layers.iter().enumerate() {
            all[i].push(1.0);
            let sums = layer
                .w
                .iter()
                .map(|row| self.sum_of_products(row.iter().copied().zip(all[i].iter().copied())));
            let last = i + 1 == self.layers.len();
            let y = sums.map(|s: f64| match self.activation {
                _ if last => s,
                Activation::Relu => s.max(0.0),
                Activation::Tanh => (self.rounded)(s.tanh()),
            });
            let y = y.collect();
            all.push(y);
        }
        all
    }

    /// The outputs for `x`.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        self.activations(x).pop().unwrap_or_default()
    }

    /// The gradient of every weight, for a loss with gradient `output` by the outputs.
    pub fn gradients(&self, x: &[f64], output: &[f64]) -> Vec<Vec<Vec<f64>>> {
        let activations = self.activations(x);
        let rounded = self.rounded;
        let mut delta: Vec<f64> = output.iter().map(|d| rounded(*d)).collect();
        let mut all = Vec::new();
        for (layer, x) in self.layers.iter().zip(&activations).rev() {
            let row = |d: &f64| x.iter().map(|x| rounded(d * x)).collect();
            all.push(delta.iter().map(row).collect());
            let below = |i: usize| {
                let column = layer.w.iter().map(|row| row[i]);
                self.sum_of_products(column.zip(delta.iter().copied()))
            };
            delta = (0..x.len() - 1)
                .map(|i| rounded(below(i) * rounded(self.slope(x[i]))))
                .collect();
        }
        all.reverse();
        all
    }

    /// One step of the optimiser, for a loss with gradient `output` by the outputs.
    pub fn descend(&mut self, x: &[f64], output: &[f64]) {
        self.steps += 1;
        let gradients = self.gradients(x, output);
        for (l, gradients) in gradients.into_iter().enumerate() {
            for (o, gradients) in gradients.into_iter().enumerate() {
                for (i, g) in gradients.into_iter().enumerate() {
                    let step = match self.optimiser {
                        Optimiser::Adam(adam) => self.adam_step(adam, [l, o, i], g),
                        Optimiser::Sgd { rate } => rate * g,
                    };
                    let w = &mut self.layers[l].w[o][i];
                    *w = (self.rounded)(*w - (self.rounded)(step));
                }
            }
        }
    }

    fn adam_step(&mut self, adam: Adam, [l, o, i]: [usize; 3], g: f64) -> f64 {
        let (steps, rounded) = (self.steps, self.rounded);
        let layer = &mut self.layers[l];
        let (m, v) = (&mut layer.m[o][i], &mut layer.v[o][i]);
        *m = rounded(rounded(adam.beta1 * *m) + rounded((1.0 - adam.beta1) * g));
        let square = rounded(rounded((1.0 - adam.beta2) * g) * g);
        *v = rounded(rounded(adam.beta2 * *v) + square);
        let m_hat = *m / (1.0 - adam.beta1.powi(steps));
        let v_hat = *v / (1.0 - adam.beta2.powi(steps));
        adam.rate * m_hat / (rounded(v_hat.sqrt()) + adam.epsilon)
    }

    /// Moves every weight a share `tau` of the way to that of `other`, a network of the same sizes.
    pub fn approach(&mut self, other: &Self, tau: f64) {
        let all = self.layers.iter_mut().flat_map(|layer| &mut layer.w).flatten();
        for (w, other) in all.zip(other.weights()) {
            *w += tau * (other - *w);
        }
    }

    /// The largest distance between a weight here and in another network of the same sizes.
    pub fn distance_to(&self, other: &Self) -> f64 {
        let pairs = self.weights().zip(other.weights());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    fn weights(&self) -> impl Iterator<Item = f64> {
        self.layers.iter().flat_map(|layer| &layer.w).flatten().copied()
    }

    /// The largest distance between a weight here and in a checkpoint.
    ///
    /// # Panics
    /// When the checkpoint has no network of that prefix and these sizes.
    pub fn distance(&self, c: &Checkpoint, prefix: &str) -> f64 {
        self.distance_to_stored(c, prefix, self.optimiser)
    }

    /// The same for a network that was stored without moments.
    ///
    /// # Panics
    /// As [`Reference::distance`].
    pub fn distance_of_weights(&self, c: &Checkpoint, prefix: &str) -> f64 {
        self.distance_to_stored(c, prefix, Optimiser::Sgd { rate: 0.0 })
    }

    fn distance_to_stored(&self, c: &Checkpoint, prefix: &str, optimiser: Optimiser) -> f64 {
        let first = self.layers.first().map_or(0, |layer| layer.w[0].len() - 1);
        let widths = self.layers.iter().map(|layer| layer.w.len());
        let sizes: Vec<usize> = std::iter::once(first).chain(widths).collect();
        self.distance_to(&Self::from_checkpoint(
            c,
            prefix,
            &sizes,
            self.activation,
            optimiser,
        ))
    }
}

/// Weights and biases of one layer as [`Layer`] has them.
fn matrix(c: &Checkpoint, layer: &str, suffix: &str, shape: [usize; 2]) -> Vec<Vec<f64>> {
    let weights = c.f32s(&format!("{layer}.weight{suffix}"), &shape);
    let weights = weights.expect("the network's weights").chunks(shape[1]);
    let bias = c.f32s(&format!("{layer}.bias{suffix}"), &shape[..1]);
    let row = |(row, bias): (&[f32], &f32)| row.iter().chain([bias]).map(|w| f64::from(*w)).collect();
    weights
        .zip(bias.expect("the network's biases"))
        .map(row)
        .collect()
}

/// A checkpoint to put a network into.
#[cfg(test)]
pub fn empty() -> Checkpoint {
    Checkpoint::new(
        super::LearnerName::Dqn,
        String::new(),
        0,
        0,
        super::Settings::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::mlp::Mlp;
    use super::super::network::Parts;
    use super::super::random::seeded;
    use super::*;

    #[test]
    #[allow(clippy::needless_range_loop)] // the indices also pick the weight that is moved
    fn stored_gradients_are_the_slopes_of_the_loss() {
        for activation in [Activation::Relu, Activation::Tanh] {
            let mut rng = seeded(3);
            let sizes = [5, 7, 6, 3];
            let net = Mlp::new(&sizes, activation, 1.0, Adam::default(), &mut rng);
            let mut checkpoint = empty();
            net.save("n", &mut checkpoint);
            let mut net = Reference::from_checkpoint(&checkpoint, "n", &sizes, activation, Adam::default());
            let (x, output) = ([0.3, -1.2, 0.7, 0.1, 2.0], [0.5, -1.0, 0.25]);
            let loss = |net: &Reference| {
                net.forward(&x)
                    .iter()
                    .zip(output)
                    .map(|(y, g)| y * g)
                    .sum::<f64>()
            };
            let gradients = net.gradients(&x, &output);
            for l in 0..net.layers.len() {
                for o in 0..net.layers[l].w.len() {
                    for i in 0..net.layers[l].w[o].len() {
                        let w = net.layers[l].w[o][i];
                        net.layers[l].w[o][i] = w + 1e-6;
                        let above = loss(&net);
                        net.layers[l].w[o][i] = w - 1e-6;
                        let slope = (above - loss(&net)) / 2e-6;
                        net.layers[l].w[o][i] = w;
                        assert!(
                            (slope - gradients[l][o][i]).abs() < 1e-7,
                            "{activation:?} {l} {o} {i}"
                        );
                    }
                }
            }
        }
    }
}
