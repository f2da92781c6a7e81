//! What moves the weights of an [`super::mlp::Mlp`]: Adam, or plain stochastic gradient descent.

use super::adam::{self, Adam, Weights};
use super::sgd;
use super::simd::Lane;
use serde::{Deserialize, Serialize};

/// An optimiser, by its name in settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimiserName {
    /// Adaptive steps by running moments of the gradient: three numbers per weight.
    #[default]
    Adam,
    /// Steps in proportion to the gradient: no number but the weight. `beta1` and `beta2` are not looked at.
    Sgd,
}

/// An optimiser with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// See [`super::adam`].
    Adam(Adam),
    /// Plain descent, w <- w - rate g.
    Sgd {
        /// Step size (learning rate).
        rate: f64,
    },
}

impl From<Adam> for Optimiser {
    fn from(adam: Adam) -> Self {
        Self::Adam(adam)
    }
}

impl Optimiser {
    /// The optimiser of that name; `adam` holds the step size of both.
    pub fn new(name: OptimiserName, adam: Adam) -> Self {
        match name {
            OptimiserName::Adam => Self::Adam(adam),
            OptimiserName::Sgd => Self::Sgd { rate: adam.rate },
        }
    }

    /// Whether it keeps moments beside each weight.
    pub fn has_moments(&self) -> bool {
        matches!(self, Self::Adam(_))
    }

    /// The constants of step `t`, counted from 1.
    pub(crate) fn step(&self, t: u64) -> Step {
        match self {
            Self::Adam(adam) => Step::Adam(adam.step(t)),
            Self::Sgd { rate } => Step::Sgd { rate: *rate as f32 },
        }
    }
}

/// The numbers of one step.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Adam(adam::Step),
    Sgd { rate: f32 },
}

impl Step {
    /// Moves a matrix whose gradient is the outer product of `delta` and `x`, and adds the gradient of the layer's
    /// input, by the weights before the step, to `dx`.
    pub fn update_with_input_gradient(&self, w: &mut Weights, delta: &[Lane], x: &[Lane], dx: &mut [Lane]) {
        match self {
            Self::Adam(step) => adam::update_with_input_gradient(w, delta, x, dx, step),
            Self::Sgd { rate } => sgd::update_with_input_gradient(&mut w.value, delta, x, dx, *rate),
        }
    }

    /// The same where the input needs no gradient.
    pub fn update(&self, w: &mut Weights, delta: &[Lane], x: &[Lane]) {
        match self {
            Self::Adam(step) => adam::update(w, delta, x, step),
            Self::Sgd { rate } => sgd::update(&mut w.value, delta, x, *rate),
        }
    }
}
