//! The network of the streaming learners: sparse at the start, normalised layers, eligibility traces, and steps
//! that cannot overshoot (Elsayed, Vasan and Mahmood, 2024, arXiv 2410.14606; written from its equations).
//!
//! A hidden layer computes s = W x + b, z = (s - mean s) / sqrt(var s + 1e-5) over its units, and
//! y = z where z > 0, else 0.01 z. The last layer is linear. Every weight w has a trace e; for an objective J
//! with TD error delta, one update is
//!
//! ```text
//! e <- decay e + dJ/dw
//! M  = alpha kappa max(|delta|, 1) sum |e|
//! w <- w + alpha / max(M, 1) delta e                  (ObGD: overshooting-bounded gradient descent)
//! ```
//!
//! There is no other state than w and e. Weights start uniform in +-1/sqrt(inputs), a share `sparsity` of each
//! unit's inputs (rounded up) at zero; biases start at zero.

use super::checkpoint::Checkpoint;
use super::error::LearnError;
use super::network::Parts;
use super::random::Rng;
use super::weights::Part;
use multiversion::multiversion;
use rand::RngExt;

/// Added to the variance of a layer.
const VARIANCE_FLOOR: f32 = 1e-5;
/// Slope of a unit below zero.
const LEAK: f32 = 0.01;

/// The constants of ObGD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obgd {
    /// Step size where nothing bounds it.
    pub alpha: f32,
    /// How far below an overshoot a step is kept: one update moves the output by at most 1/kappa of the error.
    pub kappa: f32,
}

/// A network of fully connected layers with traces.
#[derive(Clone, Debug)]
pub(crate) struct StreamNet {
    layers: Vec<Layer>,
    input: Vec<f32>,
    /// Sum of the magnitudes of all traces.
    trace_norm: f32,
}

#[derive(Clone, Debug)]
struct Layer {
    inputs: usize,
    /// One row of `inputs` per output.
    weights: Traced,
    bias: Traced,
    /// Normalised sums of a hidden layer, sums of the last.
    z: Vec<f32>,
    /// 1 / sqrt(var s + floor).
    scale: f32,
    y: Vec<f32>,
    /// Slope of the objective by this layer's sums, during the walk back.
    delta: Vec<f32>,
}

#[derive(Clone, Debug)]
struct Traced {
    value: Vec<f32>,
    trace: Vec<f32>,
}

impl StreamNet {
    /// A network with `sizes[0]` inputs, `sizes[last]` outputs and hidden layers between.
    pub fn new(sizes: &[usize], sparsity: f64, rng: &mut Rng) -> Self {
        let layer = |pair: &[usize]| Layer::new(pair[0], pair[1], sparsity, rng);
        Self {
            layers: sizes.windows(2).map(layer).collect(),
            input: Vec::with_capacity(sizes.first().copied().unwrap_or(0)),
            trace_norm: 0.0,
        }
    }

    /// The outputs for `x`, which are remembered for [`StreamNet::trace`].
    pub fn forward(&mut self, x: &[f32]) -> &[f32] {
        self.input.clear();
        self.input.extend_from_slice(x);
        let last = self.layers.len() - 1;
        let mut x = &self.input;
        for (i, layer) in self.layers.iter_mut().enumerate() {
            affine(&layer.weights.value, &layer.bias.value, x, &mut layer.z);
            if i < last {
                layer.scale = normalise(&mut layer.z);
            }
            for (y, z) in layer.y.iter_mut().zip(&layer.z) {
                *y = if i == last || *z > 0.0 { *z } else { LEAK * z };
            }
            x = &layer.y;
        }
        x
    }

    /// e <- decay e + dJ/dw, where `slope` is dJ by the outputs of the last [`StreamNet::forward`].
    pub fn trace(&mut self, slope: &[f32], decay: f32) {
        self.trace_norm = 0.0;
        if let Some(layer) = self.layers.last_mut() {
            layer.delta.copy_from_slice(slope);
        }
        for i in (0..self.layers.len()).rev() {
            let (below, above) = self.layers.split_at_mut(i);
            let layer = &mut above[0];
            let x = match below.last_mut() {
                Some(below) => {
                    back(&layer.weights.value, &layer.delta, &mut below.delta);
                    below.through_unit();
                    &below.y
                }
                None => &self.input,
            };
            self.trace_norm += fade_and_add(&mut layer.weights.trace, &layer.delta, x, decay);
            self.trace_norm += fade_and_add(&mut layer.bias.trace, &layer.delta, &[1.0], decay);
        }
    }

    /// One step of ObGD along the traces.
    pub fn step(&mut self, delta: f32, rule: Obgd) {
        let bound = rule.alpha * rule.kappa * delta.abs().max(1.0) * self.trace_norm;
        let size = rule.alpha / bound.max(1.0) * delta;
        for part in self.layers.iter_mut().flat_map(|l| [&mut l.weights, &mut l.bias]) {
            add_scaled(&mut part.value, &part.trace, size);
        }
    }

    /// Forgets what the traces hold.
    pub fn cut_traces(&mut self) {
        for part in self.layers.iter_mut().flat_map(|l| [&mut l.weights, &mut l.bias]) {
            part.trace.fill(0.0);
        }
        self.trace_norm = 0.0;
    }

    /// How many weights and biases there are.
    pub fn parameters(&self) -> usize {
        self.layers
            .iter()
            .map(|l| l.weights.value.len() + l.bias.value.len())
            .sum()
    }
}

impl Parts for StreamNet {
    fn parts(&self) -> Vec<Part> {
        let of_layer = |(i, layer): (usize, &Layer)| {
            let (matrix, vector) = layer.shapes();
            [
                (format!("{i}.weight"), matrix.to_vec()),
                (format!("{i}.bias"), vector.to_vec()),
            ]
        };
        self.layers.iter().enumerate().flat_map(of_layer).collect()
    }

    fn values(&self) -> Vec<Vec<f32>> {
        let of_layer = |layer: &Layer| [layer.weights.value.clone(), layer.bias.value.clone()];
        self.layers.iter().flat_map(of_layer).collect()
    }

    /// The traces stay.
    fn set_values(&mut self, values: &[&[f32]]) -> Result<(), LearnError> {
        for (layer, values) in self.layers.iter_mut().zip(values.chunks_exact(2)) {
            layer.weights.value.copy_from_slice(values[0]);
            layer.bias.value.copy_from_slice(values[1]);
        }
        Ok(())
    }

    /// Traces, as `PREFIX.LAYER.weight.trace` and so on, beside weights and biases.
    fn save(&self, prefix: &str, checkpoint: &mut Checkpoint) {
        for (i, layer) in self.layers.iter().enumerate() {
            let (matrix, vector) = layer.shapes();
            let mut put = |name, shape: &[usize], part: &Traced| {
                checkpoint.put_f32(&format!("{prefix}.{i}.{name}"), shape, part.value.clone());
                checkpoint.put_f32(&format!("{prefix}.{i}.{name}.trace"), shape, part.trace.clone());
            };
            put("weight", &matrix, &layer.weights);
            put("bias", &vector, &layer.bias);
        }
    }

    fn load(&mut self, prefix: &str, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let (matrix, vector) = layer.shapes();
            let take = |name, shape: &[usize], part: &mut Traced| {
                let values = checkpoint.f32s(&format!("{prefix}.{i}.{name}"), shape)?;
                part.value.copy_from_slice(values);
                let traces = checkpoint.f32s(&format!("{prefix}.{i}.{name}.trace"), shape)?;
                part.trace.copy_from_slice(traces);
                Ok::<(), LearnError>(())
            };
            take("weight", &matrix, &mut layer.weights)?;
            take("bias", &vector, &mut layer.bias)?;
        }
        Ok(())
    }
}

impl Layer {
    fn new(inputs: usize, outputs: usize, sparsity: f64, rng: &mut Rng) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        let zeros = (sparsity * inputs as f64).ceil() as usize;
        let mut weights = Vec::with_capacity(inputs * outputs);
        for _ in 0..outputs {
            let mut row: Vec<f32> = (0..inputs)
                .map(|_| (bound * (2.0 * rng.random::<f64>() - 1.0)) as f32)
                .collect();
            for input in rand::seq::index::sample(rng, inputs, zeros.min(inputs)) {
                row[input] = 0.0;
            }
            weights.extend(row);
        }
        Self {
            inputs,
            weights: Traced::at(weights),
            bias: Traced::at(vec![0.0; outputs]),
            z: vec![0.0; outputs],
            scale: 1.0,
            y: vec![0.0; outputs],
            delta: vec![0.0; outputs],
        }
    }

    /// From the slope by y to the slope by s. With g the slope by z: ds = scale (g - mean g - z mean(g z)).
    fn through_unit(&mut self) {
        for (d, z) in self.delta.iter_mut().zip(&self.z) {
            *d *= if *z > 0.0 { 1.0 } else { LEAK };
        }
        let share = 1.0 / self.z.len() as f32;
        let mean: f32 = share * self.delta.iter().sum::<f32>();
        let along: f32 = share * self.delta.iter().zip(&self.z).map(|(d, z)| d * z).sum::<f32>();
        for (d, z) in self.delta.iter_mut().zip(&self.z) {
            *d = self.scale * (*d - mean - z * along);
        }
    }

    fn shapes(&self) -> ([usize; 2], [usize; 1]) {
        let outputs = self.bias.value.len();
        ([outputs, self.inputs], [outputs])
    }
}

impl Traced {
    fn at(value: Vec<f32>) -> Self {
        let trace = vec![0.0; value.len()];
        Self { value, trace }
    }
}

/// y = W x + b, in eight sums that the compiler keeps in vector registers.
#[multiversion(targets("x86_64+avx2+fma"))]
fn affine(weights: &[f32], bias: &[f32], x: &[f32], y: &mut [f32]) {
    let (blocks, rest) = x.as_chunks::<8>();
    for ((row, b), y) in weights.chunks_exact(x.len()).zip(bias).zip(y) {
        let (row_blocks, row_rest) = row.as_chunks::<8>();
        let mut sums = [0.0f32; 8];
        for (w, x) in row_blocks.iter().zip(blocks) {
            sums.iter_mut().zip(w).zip(x).for_each(|((s, w), x)| *s += w * x);
        }
        let tail: f32 = row_rest.iter().zip(rest).map(|(w, x)| w * x).sum();
        *y = b + tail + sums.iter().sum::<f32>();
    }
}

/// dx = W^T delta.
#[multiversion(targets("x86_64+avx2+fma"))]
fn back(weights: &[f32], delta: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for (row, d) in weights.chunks_exact(dx.len()).zip(delta) {
        dx.iter_mut().zip(row).for_each(|(dx, w)| *dx += d * w);
    }
}

/// e <- decay e + delta x^T; returns the sum of |e|.
#[multiversion(targets("x86_64+avx2+fma"))]
fn fade_and_add(traces: &mut [f32], delta: &[f32], x: &[f32], decay: f32) -> f32 {
    let mut total = 0.0;
    for (row, d) in traces.chunks_exact_mut(x.len()).zip(delta) {
        for (e, x) in row.iter_mut().zip(x) {
            *e = flush(decay * *e + d * x);
        }
        total += magnitude(row);
    }
    total
}

/// Sum of |e|, in eight sums.
#[inline(always)]
fn magnitude(row: &[f32]) -> f32 {
    let (blocks, rest) = row.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(s, e)| *s += e.abs());
    }
    sums.iter().sum::<f32>() + rest.iter().map(|e| e.abs()).sum::<f32>()
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn add_scaled(values: &mut [f32], traces: &[f32], size: f32) {
    values.iter_mut().zip(traces).for_each(|(w, e)| *w += size * e);
}

/// Zero instead of numbers near the end of f32's range: a fading trace would stay among the subnormal numbers,
/// with which some processors are a hundred times slower.
#[inline(always)]
fn flush(value: f32) -> f32 {
    const SMALLEST: f32 = 1e-30;
    if value.abs() < SMALLEST { 0.0 } else { value }
}

/// z = (s - mean) / sqrt(var + floor) in place; returns 1 / sqrt(var + floor).
fn normalise(sums: &mut [f32]) -> f32 {
    let share = 1.0 / sums.len() as f32;
    let mean = share * sums.iter().sum::<f32>();
    let variance = share * sums.iter().map(|s| (s - mean) * (s - mean)).sum::<f32>();
    let scale = 1.0 / (variance + VARIANCE_FLOOR).sqrt();
    sums.iter_mut().for_each(|s| *s = scale * (*s - mean));
    scale
}
