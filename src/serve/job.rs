//! What a request wants computed, from its query to its checksum.

use super::api_error::{ApiError, Code};
use super::executor::Length;
use super::receive::Keep;
use crate::offload::wire::{Asked, SentModule};
use crate::task::wasm::{Engine, Module, ModuleId, WasmError};
use crate::task::{self, CostModel, Kernels, Limits, Speed, TaskError};
use std::sync::Arc;

/// Up to so many cycles a job is brief: 40 µs on a server's core, which others on the same thread can wait for. The way
/// to another thread and back takes 33 µs there, on the critical path of the client.
const BRIEF_CYCLES: f64 = 100_000.0;

/// A task as far as it is known before its body has arrived.
pub(super) enum Job {
    /// Kernels and their seed, on the body.
    Kernels(Kernels, u64),
    /// A compiled module, on the body.
    Module(Arc<Module>),
    /// The module that the body begins with, on what follows it.
    Sent(SentModule, Engine),
}

/// What a job runs on.
pub(super) struct Payload<'a> {
    /// Everything that arrived.
    pub body: &'a [u8],
    /// Where in it the payload begins.
    pub at: usize,
    /// The hash of the payload.
    pub hash: u64,
}

impl Job {
    /// `engine` is what modules run on, or why they cannot.
    pub fn of(asked: Asked, engine: &Result<Engine, WasmError>) -> Result<Self, ApiError> {
        let engine = || engine.clone().map_err(refused);
        match asked {
            Asked::Kernels(kernels, seed) => Ok(Self::Kernels(kernels, seed)),
            Asked::Known(id) => engine()?.cached(id).map(Self::Module).ok_or_else(|| unknown(id)),
            Asked::Sent(sent) => Ok(Self::Sent(sent, engine()?)),
        }
    }

    /// How long it takes on a processor of this `speed`.
    pub fn length(&self, speed: Speed) -> Length {
        match self {
            Self::Kernels(kernels, _)
                if speed == Speed::FULL && CostModel::reference().cycles_of(kernels) <= BRIEF_CYCLES =>
            {
                Length::Brief
            }
            _ => Length::Any,
        }
    }

    /// What is to be kept of its body.
    pub fn keep(&self) -> Keep {
        match self {
            Self::Kernels(..) => Keep::Hash,
            Self::Module(_) | Self::Sent(..) => Keep::Bytes,
        }
    }

    /// Where in `body` the payload begins.
    pub fn payload_at(&self, body: &[u8]) -> Result<usize, ApiError> {
        match self {
            Self::Kernels(..) | Self::Module(_) => Ok(0),
            Self::Sent(sent, _) => match sent.bytes {
                None => Ok(body.len()),
                Some(bytes) if bytes <= body.len() => Ok(bytes),
                Some(bytes) => Err(Code::BadParameter.error(format!(
                    "parameter `module_bytes` is {bytes}, but the body has {}",
                    body.len()
                ))),
            },
        }
    }

    /// The checksum, on the calling thread; `None` once `stop` says yes.
    pub fn run(
        &self,
        payload: Payload<'_>,
        speed: Speed,
        limits: &Limits,
        stop: &dyn Fn() -> bool,
    ) -> Option<Result<u64, ApiError>> {
        let Payload { body, at, hash } = payload;
        let (module, payload) = body.split_at(at);
        let in_module = |module: &Module| {
            let memory_bytes = limits.memory_bytes.saturating_sub(body.len());
            let done = module.run(payload, memory_bytes, speed, stop)?;
            Ok(done.result.cast_unsigned())
        };
        let outcome = match self {
            Self::Kernels(kernels, seed) => task::run_on_hash(kernels, *seed, hash, speed, stop),
            Self::Module(module) => in_module(module),
            Self::Sent(sent, engine) => {
                if let Err(error) = check_id(sent, module) {
                    return Some(Err(error));
                }
                let loaded = engine.load(module, stop).map_err(TaskError::from);
                loaded.and_then(|module| in_module(&module))
            }
        };
        match outcome {
            Ok(checksum) => Some(Ok(checksum)),
            Err(TaskError::Stopped) => None,
            Err(TaskError::Module(why)) => Some(Err(refused(why))),
        }
    }
}

/// Is the module that arrived the one that was meant?
fn check_id(sent: &SentModule, module: &[u8]) -> Result<(), ApiError> {
    let arrived = ModuleId::of(module);
    match sent.id {
        Some(meant) if meant != arrived => Err(Code::BadParameter.error(format!(
            "parameter `module` is {meant}, but the {} bytes that arrived have {arrived}",
            module.len()
        ))),
        _ => Ok(()),
    }
}

fn unknown(id: ModuleId) -> ApiError {
    Code::ModuleUnknown.error(format!(
        "this server does not have the module {id}, or not any more; send it with the type application/wasm"
    ))
}

fn refused(why: WasmError) -> ApiError {
    code(&why).error(why.to_string())
}

fn code(why: &WasmError) -> Code {
    match why {
        WasmError::TooLarge { .. } => Code::ModuleTooLarge,
        WasmError::Invalid(_) => Code::ModuleInvalid,
        WasmError::TooComplex(_) => Code::ModuleTooComplex,
        WasmError::Import(_) => Code::ModuleImport,
        WasmError::Export(_) => Code::ModuleExport,
        WasmError::Memory { .. } => Code::MemoryLimit,
        WasmError::Stack { .. } => Code::StackLimit,
        WasmError::Trapped(_) => Code::TaskTrapped,
        WasmError::Exited(_) => Code::TaskExited,
        WasmError::NoRoom { .. } => Code::PayloadNoRoom,
        WasmError::OutOfMemory => Code::OutOfMemory,
        // That it was stopped is not told in this way.
        WasmError::Stopped | WasmError::Engine(_) => Code::WasmUnavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Kernel;

    #[test]
    fn only_a_round_or_two_at_full_speed_are_brief() {
        let length = |rounds, speed| Job::Kernels(Kernels::one(Kernel::Sha256, rounds), 1).length(speed);
        let half = Speed::new(0.5).expect("a share");
        assert_eq!(length(1, Speed::FULL), Length::Brief);
        assert_eq!(length(2, Speed::FULL), Length::Any);
        assert_eq!(length(1, half), Length::Any);
    }

    #[test]
    fn codes_are_the_same_everywhere() {
        let text = String::new;
        let all = [
            WasmError::TooLarge { bytes: 2, limit: 1 },
            WasmError::Invalid(text()),
            WasmError::TooComplex(text()),
            WasmError::Import(text()),
            WasmError::Export(text()),
            WasmError::Memory { asked: 2, limit: 1 },
            WasmError::Stack { limit: 1 },
            WasmError::Trapped(text()),
            WasmError::Exited(1),
            WasmError::NoRoom {
                bytes: 1,
                why: text(),
            },
            WasmError::OutOfMemory,
            WasmError::Engine(text()),
        ];
        for error in all {
            assert_eq!(code(&error).facts().name, error.code(), "{error}");
        }
    }
}
