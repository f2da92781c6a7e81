//! A network of fully connected layers in libtorch, with its optimiser.
//!
//! All weights and biases stand in one flat tensor of which those of the layers are views, and so do Adam's moments: a
//! step of Adam is seven operations on the whole network instead of seven for each weight matrix and bias, which
//! on a GPU are as many launches. It is written out here because the optimisers of `tch` do not give their moments away, and a
//! checkpoint needs them.

use super::super::adam::Adam;
use super::super::engine::EngineError;
use super::super::mlp::stored::read;
use super::super::mlp::{Activation, Mlp};
use super::super::network::{Network, Parts};
use super::super::optimiser::Optimiser;
use super::super::weights::Part;
use super::super::{Checkpoint, LearnError};
use tch::{Device, TchError, Tensor, no_grad};

/// The network; see the module's documentation.
#[derive(Debug)]
pub(super) struct TorchNetwork {
    device: Device,
    /// Names and shapes of weights and biases from the input up: the order in the flat tensors.
    parts: Vec<Part>,
    hidden: Activation,
    rule: Rule,
    steps: u64,
    value: Tensor,
    /// Views of `value` by which autograd takes gradients: weights and biases in turn.
    leaves: Vec<Tensor>,
    /// The outputs of the last forward pass with autograd's record of it, until a step has used it up.
    recorded: Option<Tensor>,
    output: Vec<f32>,
}

/// The optimiser with its state: running means of the gradients and of their squares.
#[derive(Debug)]
enum Rule {
    Adam {
        adam: Adam,
        mean: Tensor,
        square: Tensor,
    },
    Sgd {
        rate: f64,
    },
}

impl TorchNetwork {
    /// The weights of a network of the native engine that has not been trained yet.
    pub fn new(native: &Mlp, device: Device) -> Result<Self, EngineError> {
        let (hidden, optimiser) = native.rules();
        let mut flat = Vec::with_capacity(native.parameters());
        let mut parts = Vec::new();
        for (part, values) in native.parts().into_iter().zip(native.values()) {
            flat.extend(values);
            parts.push(part);
        }
        let outputs = parts.last().map_or(0, |(_, shape)| shape[0]);
        let tensors = || {
            let value = Tensor::f_from_slice(&flat)?.f_to_device(device)?;
            let rule = match optimiser {
                Optimiser::Adam(adam) => Rule::Adam {
                    adam,
                    mean: value.f_zeros_like()?,
                    square: value.f_zeros_like()?,
                },
                Optimiser::Sgd { rate } => Rule::Sgd { rate },
            };
            Ok((rule, views(&parts, &value)?, value))
        };
        let (rule, leaves, value) = tensors().map_err(|error| failed(device, &error))?;
        Ok(Self {
            device,
            parts,
            hidden,
            rule,
            steps: 0,
            value,
            leaves,
            recorded: None,
            output: vec![0.0; outputs],
        })
    }

    fn record(&mut self, x: &[f32]) -> Result<(), TchError> {
        let mut y = Tensor::f_from_slice(x)?.f_to_device(self.device)?;
        let last = self.leaves.len() / 2 - 1;
        for (i, layer) in self.leaves.chunks_exact(2).enumerate() {
            y = layer[1].f_addmv(&layer[0], &y)?;
            y = match self.hidden {
                _ if i == last => y,
                Activation::Relu => y.f_relu()?,
                Activation::Tanh => y.f_tanh()?,
            };
        }
        y.f_copy_data(&mut self.output, y.numel())?;
        self.recorded = Some(y);
        Ok(())
    }

    fn step(&mut self, gradient: &[f32]) -> Result<(), TchError> {
        let recorded = self.recorded.take();
        let outputs = recorded.ok_or_else(|| TchError::Torch("no forward pass to step from".to_owned()))?;
        let gradient = Tensor::f_from_slice(gradient)?.f_to_device(self.device)?;
        // The slope of this product by the outputs is the gradient given.
        let loss = outputs.f_dot(&gradient)?;
        let slopes = Tensor::f_run_backward(&[loss], &self.leaves, false, false)?;
        no_grad(|| self.apply(&slopes))?;
        self.wait()
    }

    /// CUDA works behind our back: until the step is done, so that its time and joules are counted as its own.
    fn wait(&self) -> Result<(), TchError> {
        match self.device {
            Device::Cuda(_) => self.value.f_narrow(0, 0, 1)?.f_copy_data(&mut [0f32], 1),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, slopes: &[Tensor]) -> Result<(), TchError> {
        self.steps += 1;
        let rows: Result<Vec<Tensor>, _> = slopes.iter().map(|slope| slope.f_reshape(-1)).collect();
        let g = Tensor::f_cat(&rows?, 0)?;
        self.rule.step(self.steps, &g, &mut self.value)
    }

    /// The flat tensors with the endings of their names in a checkpoint.
    fn flats(&self) -> Vec<(&'static str, &Tensor)> {
        let mut all = vec![("", &self.value)];
        if let Rule::Adam { mean, square, .. } = &self.rule {
            all.extend([(".mean", mean), (".square", square)]);
        }
        all
    }

    /// The numbers of a flat tensor, part by part.
    fn split(&self, flat: &Tensor) -> Vec<Vec<f32>> {
        let mut values = vec![0f32; flat.numel()];
        flat.copy_data(&mut values, flat.numel());
        let mut rest = values.as_slice();
        let part = |(_, shape): &Part| {
            let (part, after) = rest.split_at(shape.iter().product());
            rest = after;
            part.to_vec()
        };
        self.parts.iter().map(part).collect()
    }

    fn failed(&self, error: &TchError) -> LearnError {
        failed(self.device, error).into()
    }
}

impl Rule {
    /// Step `t`, counted from 1, by the gradient `g`; the formulas are those of [`super::super::adam`] and
    /// [`super::super::sgd`]. `tch` leaves out the factor that PyTorch has on the quotient m / divisor, so the divisor
    /// takes it: -(sqrt(v) root + epsilon) / rate.
    fn step(&mut self, t: u64, g: &Tensor, value: &mut Tensor) -> Result<(), TchError> {
        let (adam, mean, square) = match self {
            Self::Adam { adam, mean, square } => (adam, mean, square),
            Self::Sgd { rate } => return value.f_subtract_(&g.f_multiply_scalar(*rate)?).map(drop),
        };
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        let rate = adam.rate / (1.0 - adam.beta1.powi(t));
        let root = 1.0 / (1.0 - adam.beta2.powi(t)).sqrt();
        let _ = mean.f_lerp_(g, 1.0 - adam.beta1)?;
        let _ = square.f_lerp_(&g.f_square()?, 1.0 - adam.beta2)?;
        let mut divisor = square.f_sqrt()?;
        let _ = divisor.f_multiply_scalar_(-root / rate)?;
        let _ = divisor.f_add_scalar_(-adam.epsilon / rate)?;
        value.f_addcdiv_(mean, &divisor).map(drop)
    }
}

/// With tensors of its own.
impl Clone for Rule {
    fn clone(&self) -> Self {
        match self {
            Self::Adam { adam, mean, square } => Self::Adam {
                adam: *adam,
                mean: mean.copy(),
                square: square.copy(),
            },
            Self::Sgd { rate } => Self::Sgd { rate: *rate },
        }
    }
}

impl Network for TorchNetwork {
    fn engine(&self) -> &'static str {
        name(self.device)
    }

    /// # Panics
    /// When `x` is not as long as the network's input.
    fn forward(&mut self, x: &[f32]) -> Result<&[f32], LearnError> {
        assert_eq!(Some(&x.len()), self.parts[0].1.last(), "one value per input");
        self.record(x).map_err(|error| self.failed(&error))?;
        Ok(&self.output)
    }

    /// # Panics
    /// When `gradient` is not as long as the network's output.
    fn descend(&mut self, gradient: &[f32]) -> Result<(), LearnError> {
        assert_eq!(gradient.len(), self.output.len(), "one slope per output");
        self.step(gradient).map_err(|error| self.failed(&error))
    }

    /// # Panics
    /// When the device has no memory for it.
    fn frozen(&self) -> Self {
        Self {
            rule: Rule::Sgd { rate: 0.0 },
            ..self.clone()
        }
    }

    fn approach(&mut self, other: &Self, tau: f32) -> Result<(), LearnError> {
        let moved = no_grad(|| self.value.f_lerp_(&other.value, f64::from(tau)));
        moved.map(drop).map_err(|error| self.failed(&error))
    }

    fn parameters(&self) -> usize {
        self.value.numel()
    }
}

impl Parts for TorchNetwork {
    fn parts(&self) -> Vec<Part> {
        self.parts.clone()
    }

    /// # Panics
    /// When a CUDA device has failed, so that what it holds is lost.
    fn values(&self) -> Vec<Vec<f32>> {
        self.split(&self.value)
    }

    fn set_values(&mut self, values: &[&[f32]]) -> Result<(), LearnError> {
        copy(&self.value, &values.concat()).map_err(|error| self.failed(&error))
    }

    /// # Panics
    /// When a CUDA device has failed, so that what it holds is lost; the checkpoints written before stay.
    fn save(&self, prefix: &str, checkpoint: &mut Checkpoint) {
        for (ending, flat) in self.flats() {
            for ((name, shape), values) in self.parts.iter().zip(self.split(flat)) {
                checkpoint.put_f32(&format!("{prefix}.{name}{ending}"), shape, values);
            }
        }
        checkpoint.put_count(&format!("{prefix}.steps"), self.steps);
    }

    fn load(&mut self, prefix: &str, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        for (ending, flat) in self.flats() {
            let mut values = Vec::with_capacity(flat.numel());
            for (name, shape) in &self.parts {
                values.extend_from_slice(read(checkpoint, &format!("{prefix}.{name}{ending}"), shape)?);
            }
            copy(flat, &values).map_err(|error| self.failed(&error))?;
        }
        self.steps = checkpoint.count(&format!("{prefix}.steps"))?;
        Ok(())
    }
}

/// With tensors of its own.
///
/// # Panics
/// When the device has no memory for them.
impl Clone for TorchNetwork {
    fn clone(&self) -> Self {
        let value = self.value.copy();
        Self {
            leaves: views(&self.parts, &value).unwrap_or_else(|error| panic!("{error}")),
            value,
            rule: self.rule.clone(),
            recorded: None,
            parts: self.parts.clone(),
            output: self.output.clone(),
            ..*self
        }
    }
}

/// The parts of the flat tensor, in their shapes, as leaves of autograd's graph.
fn views(parts: &[Part], flat: &Tensor) -> Result<Vec<Tensor>, TchError> {
    let mut start = 0;
    let one = |(_, shape): &Part| {
        let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let length = shape.iter().product();
        let view = flat.f_narrow(0, start, length)?.f_view_(&shape)?;
        start += length;
        view.f_detach()?.f_set_requires_grad(true)
    };
    parts.iter().map(one).collect()
}

/// Replaces the numbers of a tensor.
fn copy(flat: &Tensor, values: &[f32]) -> Result<(), TchError> {
    let new = Tensor::f_from_slice(values)?;
    // A handle on the same numbers: copying needs it mutable, and autograd not looking.
    no_grad(|| flat.shallow_clone().f_copy_(&new)).map(drop)
}

/// The engine's name on that device.
fn name(device: Device) -> &'static str {
    match device {
        Device::Cpu => "torch (cpu)",
        _ => "torch (cuda:0)",
    }
}

/// Torch's messages go on with a C++ stack trace; the first line says it all.
fn failed(device: Device, error: &TchError) -> EngineError {
    let message = error.to_string();
    EngineError::Failed {
        device: name(device),
        reason: message.lines().next().unwrap_or_default().to_owned(),
    }
}
