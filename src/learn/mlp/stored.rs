//! A network in a checkpoint.

use super::super::checkpoint::Checkpoint;
use super::super::error::LearnError;
use super::super::network::Parts;
#[cfg(feature = "torch")]
use super::super::optimiser::Optimiser;
use super::super::weights::Part;
#[cfg(feature = "torch")]
use super::Activation;
use super::{Lane, Layer, Mlp, lanes, pack, unpack};

impl Mlp {
    /// What hidden units do, and the optimiser.
    #[cfg(feature = "torch")]
    pub(crate) fn rules(&self) -> (Activation, Optimiser) {
        (self.hidden, self.optimiser)
    }
}

impl Parts for Mlp {
    fn parts(&self) -> Vec<Part> {
        let of_layer = |(i, layer): (usize, &Layer)| {
            [
                (format!("{i}.weight"), vec![layer.outputs, layer.inputs]),
                (format!("{i}.bias"), vec![layer.outputs]),
            ]
        };
        self.layers.iter().enumerate().flat_map(of_layer).collect()
    }

    fn values(&self) -> Vec<Vec<f32>> {
        let of_layer = |layer: &Layer| {
            let (w, b) = (&layer.weights.value, &layer.bias.value);
            [
                without_padding(&[layer.outputs, layer.inputs], w),
                without_padding(&[layer.outputs], b),
            ]
        };
        self.layers.iter().flat_map(of_layer).collect()
    }

    /// Moments and the step counter stay.
    fn set_values(&mut self, values: &[&[f32]]) -> Result<(), LearnError> {
        for (layer, values) in self.layers.iter_mut().zip(values.chunks_exact(2)) {
            with_padding(layer.inputs, values[0], &mut layer.weights.value);
            with_padding(layer.outputs, values[1], &mut layer.bias.value);
        }
        Ok(())
    }

    /// Moments and the step counter beside weights and biases.
    fn save(&self, prefix: &str, checkpoint: &mut Checkpoint) {
        for (i, layer) in self.layers.iter().enumerate() {
            for (name, shape, lanes) in layer.tensors() {
                let values = without_padding(&shape, lanes);
                checkpoint.put_f32(&format!("{prefix}.{i}.{name}"), &shape, values);
            }
        }
        checkpoint.put_count(&format!("{prefix}.steps"), self.steps);
    }

    fn load(&mut self, prefix: &str, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            for (name, shape, lanes) in layer.tensors_mut() {
                let name = format!("{prefix}.{i}.{name}");
                let values = read(checkpoint, &name, &shape)?;
                with_padding(widths(&shape).0, values, lanes);
            }
        }
        self.steps = checkpoint.count(&format!("{prefix}.steps"))?;
        Ok(())
    }
}

impl Layer {
    /// Name, shape and numbers of all it keeps; moments only where there are some.
    fn tensors(&self) -> impl Iterator<Item = (&'static str, Vec<usize>, &[Lane])> {
        let (matrix, vector) = (vec![self.outputs, self.inputs], vec![self.outputs]);
        let (w, b) = (&self.weights, &self.bias);
        let all: [(_, _, &[Lane]); 6] = [
            ("weight", matrix.clone(), &w.value),
            ("weight.mean", matrix.clone(), &w.mean),
            ("weight.square", matrix, &w.square),
            ("bias", vector.clone(), &b.value),
            ("bias.mean", vector.clone(), &b.mean),
            ("bias.square", vector, &b.square),
        ];
        all.into_iter().filter(|(.., lanes)| !lanes.is_empty())
    }

    fn tensors_mut(&mut self) -> impl Iterator<Item = (&'static str, Vec<usize>, &mut [Lane])> {
        let (matrix, vector) = (vec![self.outputs, self.inputs], vec![self.outputs]);
        let (w, b) = (&mut self.weights, &mut self.bias);
        let all: [(_, _, &mut [Lane]); 6] = [
            ("weight", matrix.clone(), &mut w.value),
            ("weight.mean", matrix.clone(), &mut w.mean),
            ("weight.square", matrix, &mut w.square),
            ("bias", vector.clone(), &mut b.value),
            ("bias.mean", vector.clone(), &mut b.mean),
            ("bias.square", vector, &mut b.square),
        ];
        all.into_iter().filter(|(.., lanes)| !lanes.is_empty())
    }
}

/// The numbers of a network's tensor in a checkpoint; a mean of squares must not be negative.
pub(crate) fn read<'a>(
    checkpoint: &'a Checkpoint,
    name: &str,
    shape: &[usize],
) -> Result<&'a [f32], LearnError> {
    let values = checkpoint.f32s(name, shape)?;
    if name.ends_with(".square") && values.iter().any(|v| *v < 0.0) {
        return Err(checkpoint.error(format!("{name} holds a negative mean of squares")));
    }
    Ok(values)
}

/// The numbers of a tensor of that shape, whose rows are padded to whole lanes.
fn without_padding(shape: &[usize], lanes: &[Lane]) -> Vec<f32> {
    let mut values = vec![0.0; shape.iter().product()];
    let (width, stride) = widths(shape);
    for (row, padded) in values.chunks_mut(width).zip(lanes.chunks(stride)) {
        unpack(padded, row);
    }
    values
}

/// Writes rows of `width` numbers into rows of whole lanes.
fn with_padding(width: usize, values: &[f32], padded: &mut [Lane]) {
    for (row, padded) in values.chunks(width).zip(padded.chunks_mut(lanes(width))) {
        pack(row, padded);
    }
}

/// Length of a row in numbers, and in lanes.
fn widths(shape: &[usize]) -> (usize, usize) {
    let width = shape[shape.len() - 1];
    (width, lanes(width))
}
