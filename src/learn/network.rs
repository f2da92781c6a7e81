//! What learners need of a network: all of them to store it, `ac` and `dqn` also to use one of any engine.

use super::error::LearnError;
use super::mlp::Mlp;
use super::weights::Part;
use super::{Checkpoint, engine};

/// Weights and biases as checkpoints and [`Weights`](super::Weights) have them.
pub trait Parts {
    /// Names and shapes of weights and biases from the input up: `LAYER.weight`, shaped (outputs, inputs) as PyTorch has
    /// them, and `LAYER.bias`.
    fn parts(&self) -> Vec<Part>;

    /// The numbers of [`parts`](Self::parts).
    fn values(&self) -> Vec<Vec<f32>>;

    /// Replaces the numbers of [`parts`](Self::parts), as many as there are; what is needed to learn on stays as it is.
    fn set_values(&mut self, values: &[&[f32]]) -> Result<(), LearnError>;

    /// Puts everything into a checkpoint: the parts, as `PREFIX.LAYER.weight` and so on, and what is needed to learn on.
    fn save(&self, prefix: &str, checkpoint: &mut Checkpoint);

    /// Takes back what [`save`](Self::save) put there; after an error the network is half-loaded, so load into a copy.
    fn load(&mut self, prefix: &str, checkpoint: &Checkpoint) -> Result<(), LearnError>;
}

/// A network at batch size 1 with its optimiser.
///
/// Checkpoints are the same for every engine. An error of [`forward`](Self::forward) or [`descend`](Self::descend)
/// says that the device failed; the network is of no use from then on.
pub trait Network: Parts + Clone + Send {
    /// What does the arithmetic, as [`Description`](super::Description) has it.
    fn engine(&self) -> &'static str;

    /// The outputs for `x`, one value per input, which are remembered for [`descend`](Self::descend).
    fn forward(&mut self, x: &[f32]) -> Result<&[f32], LearnError>;

    /// One step of the optimiser down the loss whose gradient by the outputs of the last [`forward`](Self::forward) is
    /// `gradient`; at most one for each of them.
    fn descend(&mut self, gradient: &[f32]) -> Result<(), LearnError>;

    /// A copy without moments, which is not trained but follows by [`approach`](Self::approach).
    fn frozen(&self) -> Self;

    /// Moves every weight a share `tau` of the way to that of `other`, a network of the same sizes; 1 copies it.
    fn approach(&mut self, other: &Self, tau: f32) -> Result<(), LearnError>;

    /// How many weights and biases there are.
    fn parameters(&self) -> usize;
}

impl Network for Mlp {
    fn engine(&self) -> &'static str {
        engine::NATIVE
    }

    fn forward(&mut self, x: &[f32]) -> Result<&[f32], LearnError> {
        Ok(Self::forward(self, x))
    }

    fn descend(&mut self, gradient: &[f32]) -> Result<(), LearnError> {
        Self::descend(self, gradient);
        Ok(())
    }

    fn frozen(&self) -> Self {
        Self::frozen(self)
    }

    fn approach(&mut self, other: &Self, tau: f32) -> Result<(), LearnError> {
        Self::approach(self, other, tau);
        Ok(())
    }

    fn parameters(&self) -> usize {
        Self::parameters(self)
    }
}
