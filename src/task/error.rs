//! Why a piece of work has no checksum.

use super::wasm::WasmError;

/// Why a piece of work has no checksum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It was told to stop.
    #[error("the task was stopped")]
    Stopped,
    /// Its WebAssembly module was refused, or ended without a result.
    #[error(transparent)]
    Module(WasmError),
}

impl From<WasmError> for TaskError {
    fn from(error: WasmError) -> Self {
        match error {
            WasmError::Stopped => Self::Stopped,
            other => Self::Module(other),
        }
    }
}
