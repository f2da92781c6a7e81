//! The arithmetic of the engine once more, in f64 and written for clarity: gradients are stored, then applied.
//! Tests hold the fast code against this.

use super::adam::Adam;
use super::checkpoint::Checkpoint;
use super::mlp::Activation;

pub struct Reference {
    pub layers: Vec<Layer>,
    activation: Activation,
    adam: Adam,
    steps: i32,
}

pub struct Layer {
    /// Outputs rows of inputs columns; the last column is the bias.
    pub w: Vec<Vec<f64>>,
    m: Vec<Vec<f64>>,
    v: Vec<Vec<f64>>,
}

impl Reference {
    /// The network of that prefix in a fresh checkpoint.
    pub fn from_checkpoint(
        c: &Checkpoint,
        prefix: &str,
        sizes: &[usize],
        activation: Activation,
        adam: Adam,
    ) -> Self {
        let layer = |(i, pair): (usize, &[usize])| {
            let weights = c
                .f32s(&format!("{prefix}.{i}.weight"), &[pair[1], pair[0]])
                .unwrap();
            let bias = c.f32s(&format!("{prefix}.{i}.bias"), &[pair[1]]).unwrap();
            let row = |(row, bias): (&[f32], &f32)| row.iter().chain([bias]).map(|w| f64::from(*w)).collect();
            let w: Vec<Vec<f64>> = weights.chunks(pair[0]).zip(bias).map(row).collect();
            let zeros = vec![vec![0.0; pair[0] + 1]; pair[1]];
            Layer {
                w,
                m: zeros.clone(),
                v: zeros,
            }
        };
        Self {
            layers: sizes.windows(2).enumerate().map(layer).collect(),
            activation,
            adam,
            steps: 0,
        }
    }

    fn slope(&self, y: f64) -> f64 {
        match self.activation {
            Activation::Relu => f64::from(y > 0.0),
            Activation::Tanh => 1.0 - y * y,
        }
    }

    /// The values of every layer, the input first; each but the last has the constant 1 of the bias appended.
    fn activations(&self, x: &[f64]) -> Vec<Vec<f64>> {
        let mut all = vec![x.to_vec()];
        for (i, layer) in self.layers.iter().enumerate() {
            all[i].push(1.0);
            let sums = layer
                .w
                .iter()
                .map(|row| row.iter().zip(&all[i]).map(|(w, x)| w * x).sum());
            let last = i + 1 == self.layers.len();
            let y = sums.map(|s: f64| match self.activation {
                _ if last => s,
                Activation::Relu => s.max(0.0),
                Activation::Tanh => s.tanh(),
            });
            let y = y.collect();
            all.push(y);
        }
        all
    }

    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        self.activations(x).pop().unwrap()
    }

    /// The gradient of every weight, for a loss with gradient `output` by the outputs.
    pub fn gradients(&self, x: &[f64], output: &[f64]) -> Vec<Vec<Vec<f64>>> {
        let activations = self.activations(x);
        let mut delta = output.to_vec();
        let mut all = Vec::new();
        for (layer, x) in self.layers.iter().zip(&activations).rev() {
            all.push(delta.iter().map(|d| x.iter().map(|x| d * x).collect()).collect());
            let below = |i: usize| layer.w.iter().zip(&delta).map(|(row, d)| row[i] * d).sum::<f64>();
            delta = (0..x.len() - 1).map(|i| below(i) * self.slope(x[i])).collect();
        }
        all.reverse();
        all
    }

    pub fn descend(&mut self, x: &[f64], output: &[f64]) {
        self.steps += 1;
        let gradients = self.gradients(x, output);
        let Adam {
            rate,
            beta1,
            beta2,
            epsilon,
        } = self.adam;
        for (layer, gradients) in self.layers.iter_mut().zip(gradients) {
            for (o, gradients) in gradients.into_iter().enumerate() {
                for (i, g) in gradients.into_iter().enumerate() {
                    let (m, v) = (&mut layer.m[o][i], &mut layer.v[o][i]);
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    let m_hat = *m / (1.0 - beta1.powi(self.steps));
                    let v_hat = *v / (1.0 - beta2.powi(self.steps));
                    layer.w[o][i] -= rate * m_hat / (v_hat.sqrt() + epsilon);
                }
            }
        }
    }

    /// The largest distance between a weight here and in a checkpoint.
    pub fn distance(&self, c: &Checkpoint, prefix: &str) -> f64 {
        let mut worst = 0.0f64;
        for (i, layer) in self.layers.iter().enumerate() {
            let (outputs, inputs) = (layer.w.len(), layer.w[0].len() - 1);
            let weights = c
                .f32s(&format!("{prefix}.{i}.weight"), &[outputs, inputs])
                .unwrap();
            let bias = c.f32s(&format!("{prefix}.{i}.bias"), &[outputs]).unwrap();
            for ((row, weights), bias) in layer.w.iter().zip(weights.chunks(inputs)).zip(bias) {
                for (a, b) in row.iter().zip(weights.iter().chain([bias])) {
                    worst = worst.max((a - f64::from(*b)).abs());
                }
            }
        }
        worst
    }
}

#[test]
#[allow(clippy::needless_range_loop)] // the indices also pick the weight that is moved
fn stored_gradients_are_the_slopes_of_the_loss() {
    for activation in [Activation::Relu, Activation::Tanh] {
        let mut rng = super::random::seeded(3);
        let sizes = [5, 7, 6, 3];
        let net = super::mlp::Mlp::new(&sizes, activation, 1.0, Adam::default(), &mut rng);
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

pub fn empty() -> Checkpoint {
    Checkpoint::new(
        super::LearnerName::Dqn,
        String::new(),
        0,
        0,
        super::Settings::default(),
    )
}
