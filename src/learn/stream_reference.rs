//! The network of the streaming learners once more, in f64: its gradients are differences of its outputs, so
//! that nothing of the fast code's calculus is assumed. Tests hold the fast code against this.

use super::checkpoint::Checkpoint;

pub struct Plain {
    /// Layers of rows of weights, the bias last.
    w: Vec<Vec<Vec<f64>>>,
    e: Vec<Vec<Vec<f64>>>,
}

fn weights(c: &Checkpoint, prefix: &str, sizes: &[usize]) -> Vec<Vec<Vec<f64>>> {
    let layer = |(i, pair): (usize, &[usize])| {
        let weights = c
            .f32s(&format!("{prefix}.{i}.weight"), &[pair[1], pair[0]])
            .unwrap();
        let bias = c.f32s(&format!("{prefix}.{i}.bias"), &[pair[1]]).unwrap();
        let row = |(row, bias): (&[f32], &f32)| row.iter().chain([bias]).map(|w| f64::from(*w)).collect();
        weights.chunks(pair[0]).zip(bias).map(row).collect()
    };
    sizes.windows(2).enumerate().map(layer).collect()
}

impl Plain {
    pub fn from_checkpoint(c: &Checkpoint, prefix: &str, sizes: &[usize]) -> Self {
        let w = weights(c, prefix, sizes);
        let e = w
            .iter()
            .map(|layer| layer.iter().map(|row| vec![0.0; row.len()]).collect())
            .collect();
        Self { w, e }
    }

    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let mut y = x.to_vec();
        for (i, layer) in self.w.iter().enumerate() {
            y.push(1.0);
            let s: Vec<f64> = layer
                .iter()
                .map(|row| row.iter().zip(&y).map(|(w, x)| w * x).sum())
                .collect();
            if i + 1 == self.w.len() {
                return s;
            }
            let n = s.len() as f64;
            let mean = s.iter().sum::<f64>() / n;
            let variance = s.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n;
            let z = s.iter().map(|s| (s - mean) / (variance + 1e-5).sqrt());
            y = z.map(|z| if z > 0.0 { z } else { 0.01 * z }).collect();
        }
        y
    }

    /// e <- decay e + dJ/dw, the objective J being a function of the outputs.
    pub fn trace(&mut self, x: &[f64], decay: f64, objective: impl Fn(&[f64]) -> f64) {
        const STEP: f64 = 1e-6;
        for l in 0..self.w.len() {
            for o in 0..self.w[l].len() {
                for i in 0..self.w[l][o].len() {
                    let w = self.w[l][o][i];
                    self.w[l][o][i] = w + STEP;
                    let above = objective(&self.forward(x));
                    self.w[l][o][i] = w - STEP;
                    let slope = (above - objective(&self.forward(x))) / (2.0 * STEP);
                    self.w[l][o][i] = w;
                    self.e[l][o][i] = decay * self.e[l][o][i] + slope;
                }
            }
        }
    }

    /// ObGD with alpha = 1.
    pub fn step(&mut self, delta: f64, kappa: f64) {
        let norm: f64 = self.e.iter().flatten().flatten().map(|e| e.abs()).sum();
        let size = 1.0 / (kappa * delta.abs().max(1.0) * norm).max(1.0);
        for (w, e) in self
            .w
            .iter_mut()
            .flatten()
            .flatten()
            .zip(self.e.iter().flatten().flatten())
        {
            *w += size * delta * e;
        }
    }

    pub fn cut_traces(&mut self) {
        self.e.iter_mut().flatten().flatten().for_each(|e| *e = 0.0);
    }

    /// The largest distance between a weight here and in a checkpoint.
    pub fn distance(&self, c: &Checkpoint, prefix: &str, sizes: &[usize]) -> f64 {
        let theirs = weights(c, prefix, sizes);
        let pairs = self
            .w
            .iter()
            .flatten()
            .flatten()
            .zip(theirs.iter().flatten().flatten());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }
}
