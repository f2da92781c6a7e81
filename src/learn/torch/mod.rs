//! The torch engine: the networks of `ac` and `dqn` in libtorch, through `tch`, on the CPU or on a CUDA device.
//!
//! The learners are the same code as with the native engine ([`super::ac`], [`super::dqn`]) over another
//! [`Network`](super::network::Network): same initial weights, same draws, same checkpoints. Gradients come from
//! torch's autograd, so this is also an independent check of our own.
//!
//! On the CPU libtorch uses one thread, in the whole process: at batch size 1 a layer takes microseconds,
//! less than it takes to wake a second thread, and the other cores are there for the tasks.

mod network;

use super::engine::EngineError;
use super::mlp::Mlp;
use super::{LearnError, Learner, LearnerName, Settings, ac, dqn};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use network::TorchNetwork;
use std::error::Error as _;
pub use tch::Device;

/// The CPU, or the first CUDA device; `CUDA_VISIBLE_DEVICES` says which is the first.
pub fn device(gpu: bool) -> Result<Device, EngineError> {
    if gpu {
        load_cuda()?;
    }
    tch::set_num_threads(1);
    match (gpu, tch::Cuda::device_count()) {
        (false, _) => Ok(Device::Cpu),
        (true, 1..) => Ok(Device::Cuda(0)),
        (true, _) => Err(EngineError::NoDevice),
    }
}

/// Loads what libtorch has for CUDA; nothing does so before a GPU is asked for.
///
/// Linkers leave it out of a program, because nothing refers to it by name: when it is loaded it makes itself known.
/// That must be before libtorch first looks for it.
fn load_cuda() -> Result<(), EngineError> {
    const LIBRARY: &str = "libtorch_cuda.so";
    // SAFETY: it is made to be loaded at run time, as PyTorch does, and its initialisers only register with libtorch.
    let loaded = unsafe { Library::open(Some(LIBRARY), RTLD_NOW | RTLD_GLOBAL) };
    let library = loaded.map_err(|error| {
        // The linker's own words stand behind "dlopen failed".
        let words = error.source().map(ToString::to_string);
        EngineError::NoCuda {
            reason: words.unwrap_or_else(|| error.to_string()),
        }
    })?;
    // What it has registered must not go away.
    std::mem::forget(library);
    Ok(())
}

/// A fresh learner on that device.
pub fn build(
    device: Device,
    name: LearnerName,
    seed: u64,
    settings: &Settings,
) -> Result<Box<dyn Learner>, LearnError> {
    let network = |native: Mlp| Ok(TorchNetwork::new(&native, device)?);
    Ok(match name {
        LearnerName::Ac => Box::new(ac::ActorCritic::with(settings.ac.clone(), seed, network)?),
        LearnerName::Dqn => Box::new(dqn::Dqn::with(settings.dqn.clone(), seed, network)?),
        learner => return Err(EngineError::NotFor { learner }.into()),
    })
}

#[cfg(test)]
mod tests;
