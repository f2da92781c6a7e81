//! WebAssembly tasks: the same file runs on an aarch64 board and on an x86 server, and reaches nothing of either.
//!
//! ```text
//! bytes -> check (size, complexity) -> compile -> cache by SHA-256 -> instance -> payload in -> run -> result
//! ```
//!
//! # What a module is
//!
//! It exports
//!
//! | export | |
//! |---|---|
//! | `memory` | its linear memory |
//! | `run(ptr: i32, len: i32) -> i64` | the task: reads the payload, returns the result |
//! | `alloc(len: i32) -> i32` | optional: returns room for the payload |
//! | `_initialize()` | optional: called first (wasi-libc and Rust make one for libraries) |
//!
//! Every run has a fresh instance. Its start function runs, then `_initialize`. If there is an `alloc`, it is called
//! with the payload's length, and the payload is copied to where it says; 0 means that there is no room. If not,
//! the memory is grown by as many whole pages as the payload needs, and the payload stands at the beginning of
//! these: an allocator that takes all the memory there is for itself must come with an `alloc`. Then `run` is
//! called. The 64 bits it returns are the task's checksum.
//!
//! It may import `wasi_snapshot_preview1` (see [`wasi`]), and nothing else. WebAssembly 2.0 may be used, fixed-width SIMD
//! too, and one 32-bit memory; no blocks with parameters or several results (see [`check`]), no threads, no relaxed SIMD,
//! no garbage collection.
//!
//! # The same bytes, the same result
//!
//! A result depends on the module's bytes and the payload alone: NaNs have one bit pattern, clocks and random
//! numbers are made up from the payload, and a task that wants more memory than it may have is ended instead of
//! told so. Two limits depend on the machine: how deep calls may nest (a frame's size is the compiler's business),
//! and time.
//!
//! # Limits
//!
//! Time is the caller's: `stop` is asked about every millisecond, also in start functions. Memory and tables are
//! bounded for each run, the stack is [`STACK_BYTES`]. Compiling is bounded beforehand, by [`check`].

mod binary;
mod budget;
pub mod check;
mod engine;
mod error;
mod id;
mod module;
mod run;
mod ticker;
pub mod wasi;

#[cfg(test)]
mod tests;

pub use binary::{Binary, Unreadable};
pub use engine::Engine;
pub use error::WasmError;
pub use id::{InvalidId, ModuleId};
pub use module::Module;
pub use run::Done;
pub use wasi::Output;

/// Stack for a task's calls; what the program keeps in its linear memory is not on it.
pub const STACK_BYTES: usize = 512 << 10;
/// Compiled modules kept in memory, in bytes.
pub const CACHE_BYTES: u64 = 64 << 20;
