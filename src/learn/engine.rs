//! Which engine does a learner's arithmetic, and why one cannot.

use super::{Checkpoint, LearnError, Learner, LearnerName, Settings, build};

/// The native engine's name.
pub(super) const NATIVE: &str = "native";

/// What does the arithmetic of a learner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Ours, on the CPU: every learner has it.
    #[default]
    Native,
    /// libtorch, on this device: `ac` and `dqn` have it.
    #[cfg(feature = "torch")]
    Torch(super::torch::Device),
}

/// Why an engine cannot be used, or has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The cargo feature `torch` is off.
    #[error(
        "this build lacks the torch engine; build one that has it by `cargo build --release --features torch`, \
         for which README.md (The torch engine) says how to get libtorch, or use --engine native"
    )]
    NotBuilt,
    /// libtorch knows the CPU only, or its CUDA part cannot be loaded.
    #[error(
        "libtorch lacks CUDA ({reason}); use a libtorch that has it (README.md, The torch engine), or --gpu off"
    )]
    NoCuda {
        /// What the dynamic linker said.
        reason: String,
    },
    /// libtorch finds no GPU.
    #[error(
        "libtorch has CUDA but finds no device: there is none, CUDA_VISIBLE_DEVICES hides it, or the driver is too \
         old for this libtorch (`nvidia-smi` shows its version); use --gpu off to go without"
    )]
    NoDevice,
    /// This learner has only the native engine.
    #[error("{learner} has no torch engine, only ac and dqn have one; use --engine native for it")]
    NotFor {
        /// The learner.
        learner: LearnerName,
    },
    /// libtorch could not do what it was told, such as for want of memory.
    #[error("libtorch on {device} failed: {reason}")]
    Failed {
        /// The engine's name, such as `torch (cuda:0)`.
        device: &'static str,
        /// The first line of what it said.
        reason: String,
    },
}

impl Engine {
    /// libtorch on the CPU, or on the first CUDA device if `gpu` is set.
    #[cfg(feature = "torch")]
    pub fn torch(gpu: bool) -> Result<Self, EngineError> {
        super::torch::device(gpu).map(Self::Torch)
    }

    /// Always [`EngineError::NotBuilt`]: this build lacks the cargo feature `torch`.
    #[cfg(not(feature = "torch"))]
    pub fn torch(_gpu: bool) -> Result<Self, EngineError> {
        Err(EngineError::NotBuilt)
    }

    /// Whether this engine has that learner.
    pub fn has(self, learner: LearnerName) -> bool {
        self == Self::Native || matches!(learner, LearnerName::Ac | LearnerName::Dqn)
    }

    /// A fresh learner; `settings` of other learners are not looked at. The same seed gives the same weights and
    /// draws in every engine.
    pub fn build(
        self,
        name: LearnerName,
        seed: u64,
        settings: &Settings,
    ) -> Result<Box<dyn Learner>, LearnError> {
        match self {
            Self::Native => build(name, seed, settings),
            #[cfg(feature = "torch")]
            Self::Torch(device) => super::torch::build(device, name, seed, settings),
        }
    }

    /// The learner a checkpoint was made of, with its settings, as it was, whichever engine it was made by.
    pub fn restore(self, checkpoint: &Checkpoint) -> Result<Box<dyn Learner>, LearnError> {
        let header = checkpoint.header();
        let built = self.build(header.learner, header.seed, &header.settings);
        let mut learner = built.map_err(|error| match error {
            LearnError::Setting { .. } => checkpoint.error(format!("its settings are out of range: {error}")),
            other => other,
        })?;
        learner.load(checkpoint)?;
        Ok(learner)
    }
}

#[cfg(all(test, not(feature = "torch")))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_torch_says_how_to_get_it() {
        let error = Engine::torch(false).unwrap_err().to_string();
        assert!(error.contains("--features torch"), "{error}");
    }
}
