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
use network::TorchNetwork;
pub use tch::Device;

/// The CPU, or the first CUDA device; `CUDA_VISIBLE_DEVICES` says which is the first.
pub fn device(gpu: bool) -> Result<Device, EngineError> {
    tch::set_num_threads(1);
    if !gpu {
        return Ok(Device::Cpu);
    }
    check_cuda(tch::utils::has_cudart(), tch::Cuda::device_count())?;
    Ok(Device::Cuda(0))
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

fn check_cuda(is_built_in: bool, devices: i64) -> Result<(), EngineError> {
    match (is_built_in, devices) {
        (false, _) => Err(EngineError::NoCuda),
        (true, ..=0) => Err(EngineError::NoDevice),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
