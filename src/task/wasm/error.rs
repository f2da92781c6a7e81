//! Why a module is refused or ended without a result.

use std::fmt;

/// What is wrong with a module, or how its task ended. Each has a [`code`](Self::code) that programs react to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WasmError {
    /// More bytes than are compiled.
    #[error(
        "the module has {bytes} bytes, at most {limit} are taken; strip it (`wasm-opt -Oz`, `-Wl,--strip-all`)"
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No WebAssembly, or a proposal of it that is switched off.
    #[error("the module is not valid WebAssembly: {0}")]
    Invalid(String),
    /// Compiling it could take more time or memory than a task may cost.
    #[error("the module is too complex to compile here: {0}")]
    TooComplex(String),
    /// It imports what tasks are not given.
    #[error(
        "the module may not import {0}; tasks get `wasi_snapshot_preview1` without files and network, nothing else"
    )]
    Import(String),
    /// It lacks an export, or one has the wrong type.
    #[error("the module must export {0}")]
    Export(String),
    /// It asked for more memory than a task may have.
    #[error("the task asked for {asked} bytes of memory, it may have {limit}")]
    Memory {
        /// Memory and tables together, with what it asked for.
        asked: usize,
        /// The limit.
        limit: usize,
    },
    /// The machine has no memory left for it.
    #[error("this machine has no memory left for the task")]
    OutOfMemory,
    /// Its calls are nested too deeply.
    #[error("the task's calls are nested too deeply: its stack of {limit} bytes is full")]
    Stack {
        /// The limit.
        limit: usize,
    },
    /// It did something that WebAssembly forbids.
    #[error("the task trapped: {0}")]
    Trapped(String),
    /// It ended itself by `proc_exit` before `run` returned.
    #[error("the task ended itself with exit status {0} before `run` returned")]
    Exited(i32),
    /// Its memory has no room for the payload.
    #[error("the module's memory has no room for a payload of {bytes} bytes: {why}")]
    NoRoom {
        /// The payload's length.
        bytes: usize,
        /// What its `alloc` returned, or why its memory does not grow.
        why: String,
    },
    /// It was told to stop.
    #[error("the task was stopped")]
    Stopped,
    /// WebAssembly cannot be run on this machine, or not now.
    #[error("WebAssembly cannot be run here: {0}")]
    Engine(String),
}

impl WasmError {
    /// A stable name, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "module_too_large",
            Self::Invalid(_) => "module_invalid",
            Self::TooComplex(_) => "module_too_complex",
            Self::Import(_) => "module_import",
            Self::Export(_) => "module_export",
            Self::Memory { .. } => "memory_limit",
            Self::OutOfMemory => "out_of_memory",
            Self::Stack { .. } => "stack_limit",
            Self::Trapped(_) => "task_trapped",
            Self::Exited(_) => "task_exited",
            Self::NoRoom { .. } => "payload_no_room",
            Self::Stopped => "task_stopped",
            Self::Engine(_) => "wasm_unavailable",
        }
    }

    /// Is the module itself refused, before it ran?
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. }
                | Self::Invalid(_)
                | Self::TooComplex(_)
                | Self::Import(_)
                | Self::Export(_)
        )
    }

    /// What the engine could not do for want of the machine, not of the module.
    pub(super) fn engine(error: wasmtime::Error) -> Self {
        Self::Engine(Self::chain(&error))
    }

    /// An engine's message in one line: the causes after each other.
    pub(super) fn chain(error: &wasmtime::Error) -> String {
        let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
        causes.join(": ").replace('\n', " ")
    }
}

/// A name as it stands in the module: not to be trusted with a terminal or a log, nor with its length.
pub(super) struct Name<'a>(pub &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        let shown: String = self.0.chars().take(SHOWN).collect();
        write!(f, "`{}`", shown.escape_debug())
    }
}
