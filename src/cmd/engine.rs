//! `--engine` and `--gpu`: which engine, or why it cannot be.

use crate::cli::{EngineArgs, EngineName, Switch};
use anyhow::Context as _;
use hwmeter::learn::Engine;
use hwmeter_hw::{Root, gpu};

impl EngineArgs {
    /// The engine asked for; an error says what is missing and which GPUs there are.
    pub fn choose(&self, root: &Root) -> anyhow::Result<Engine> {
        match (self.engine, self.gpu) {
            (EngineName::Native, Switch::Off) => Ok(Engine::Native),
            (EngineName::Torch, Switch::Off) => Ok(Engine::torch(false)?),
            (EngineName::Torch, Switch::On) => {
                let here = gpus(root)?;
                Engine::torch(true).with_context(|| format!("cannot use a GPU ({here})"))
            }
            (EngineName::Native, Switch::On) => {
                let here = gpus(root)?;
                anyhow::bail!(
                    "--gpu on needs --engine torch, in a build with the cargo feature `torch` ({here}): the native \
                     engine runs on the CPU. Add --engine torch, or use --gpu off"
                )
            }
        }
    }

    /// `on` or `off`, as in `run.json`.
    pub fn gpu_mode(&self) -> &'static str {
        match self.gpu {
            Switch::On => "on",
            Switch::Off => "off",
        }
    }
}

/// What the kernel shows of GPUs with CUDA.
fn gpus(root: &Root) -> anyhow::Result<String> {
    let all = gpu::gpus(root)?;
    let usable: Vec<String> = (all.iter())
        .filter(|gpu| gpu.kind.has_cuda())
        .map(gpu::Gpu::to_string)
        .collect();
    Ok(match usable.as_slice() {
        [] => "no GPU with CUDA was found".to_owned(),
        names => format!("found {}", names.join(", ")),
    })
}
