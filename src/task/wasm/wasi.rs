//! The part of WASI preview 1 that tasks get (`wasi_snapshot_preview1`,
//! <https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md>): enough for programs built against
//! wasi-libc or Rust's `wasm32-wasip1` to start, print and use the heap.
//!
//! Nothing reaches the host, and every answer depends on the payload alone, so that a task gives the same result
//! on every machine:
//!
//! | functions | what they do |
//! |---|---|
//! | `args_*`, `environ_*` | no arguments, no variables |
//! | `fd_write` | descriptors 1 and 2: kept up to [`OUTPUT_BYTES`], then counted and dropped |
//! | `fd_read` | descriptor 0: at its end |
//! | `fd_close`, `fd_fdstat_get`, `fd_seek` | descriptors 0 to 2: done, a pipe-like file, `ESPIPE` |
//! | `fd_prestat_get`, `fd_prestat_dir_name` | nothing is preopened |
//! | `clock_time_get`, `clock_res_get` | each reading of any clock is 1 µs later than the one before, from 0 |
//! | `random_get` | SplitMix64 seeded with the payload's XXH3, at most [`RANDOM_BYTES`] at once |
//! | `sched_yield` | nothing |
//! | `proc_exit` | ends the task without a result |
//! | all others | `ENOSYS` |

use super::budget::Budget;
use super::error::WasmError;
use crate::task::mix::SplitMix;
use std::ops::Range;
use twox_hash::XxHash3_64;
use wasmtime::{
    Caller, Engine, Error, Extern, ExternType, Linker, Memory, Module, Result, Store, Val, ValType,
};

/// The name all of it is imported from.
pub(super) const NAMESPACE: &str = "wasi_snapshot_preview1";
/// What a task writes is kept up to here.
pub const OUTPUT_BYTES: usize = 64 << 10;
/// Random bytes in one call: filling more would take too long without asking whether to stop.
pub const RANDOM_BYTES: u32 = 1 << 20;
/// Buffers in one `fd_write` (Linux's `IOV_MAX`).
const MAX_BUFFERS: u32 = 1024;
/// What every reading of a clock adds to it, in ns.
const CLOCK_STEP_NS: u64 = 1000;

/// Error numbers, as in the specification's `errno`.
type Errno = i32;
const SUCCESS: Errno = 0;
const EBADF: Errno = 8;
const EFAULT: Errno = 21;
const EINVAL: Errno = 28;
const ENOSYS: Errno = 52;
const ESPIPE: Errno = 70;

/// What the host keeps for one run.
pub(super) struct Guest {
    pub budget: Budget,
    pub output: Output,
    random: SplitMix,
    now_ns: u64,
}

/// What a task wrote to its standard output and error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The first [`OUTPUT_BYTES`] of both together, in the order of writing.
    pub kept: Vec<u8>,
    /// Bytes beyond.
    pub dropped: u64,
}

impl Guest {
    pub fn new(memory_bytes: usize, payload: &[u8]) -> Self {
        Self {
            budget: Budget::new(memory_bytes),
            output: Output::default(),
            random: SplitMix::new(XxHash3_64::oneshot(payload)),
            now_ns: 0,
        }
    }
}

impl Output {
    fn write(&mut self, bytes: &[u8]) {
        let room = OUTPUT_BYTES - self.kept.len();
        let kept = bytes.len().min(room);
        self.kept.extend_from_slice(&bytes[..kept]);
        self.dropped += (bytes.len() - kept) as u64;
    }
}

/// All functions that do something.
pub(super) fn linker(engine: &Engine) -> Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap(NAMESPACE, "args_sizes_get", no_strings)?
        .func_wrap(NAMESPACE, "environ_sizes_get", no_strings)?
        .func_wrap(NAMESPACE, "args_get", |_: i32, _: i32| SUCCESS)?
        .func_wrap(NAMESPACE, "environ_get", |_: i32, _: i32| SUCCESS)?
        .func_wrap(NAMESPACE, "fd_write", fd_write)?
        .func_wrap(NAMESPACE, "fd_read", fd_read)?
        .func_wrap(NAMESPACE, "fd_close", |fd: i32| {
            standard(fd).map_or(EBADF, |()| SUCCESS)
        })?
        .func_wrap(NAMESPACE, "fd_fdstat_get", fd_fdstat_get)?
        .func_wrap(NAMESPACE, "fd_seek", |fd: i32, _: i64, _: i32, _: i32| {
            standard(fd).map_or(EBADF, |()| ESPIPE)
        })?
        .func_wrap(NAMESPACE, "fd_prestat_get", |_: i32, _: i32| EBADF)?
        .func_wrap(NAMESPACE, "fd_prestat_dir_name", |_: i32, _: i32, _: i32| EBADF)?
        .func_wrap(NAMESPACE, "clock_time_get", clock_time_get)?
        .func_wrap(NAMESPACE, "clock_res_get", clock_res_get)?
        .func_wrap(NAMESPACE, "random_get", random_get)?
        .func_wrap(NAMESPACE, "sched_yield", || SUCCESS)?
        .func_wrap(NAMESPACE, "proc_exit", |status: i32| -> Result<()> {
            Err(Error::new(WasmError::Exited(status)))
        })?;
    Ok(linker)
}

/// Gives the module's further WASI imports a function that answers `ENOSYS`.
pub(super) fn define_missing(linker: &mut Linker<Guest>, module: &Module) -> Result<()> {
    // Only to ask the linker.
    let mut store = Store::try_new(module.engine(), Guest::new(0, b""))?;
    for import in module.imports().filter(|import| import.module() == NAMESPACE) {
        let ExternType::Func(ty) = import.ty() else {
            continue;
        };
        let answers_errno =
            ty.results().len() == 1 && ty.results().all(|result| matches!(result, ValType::I32));
        if answers_errno && linker.get_by_import(&mut store, &import).is_none() {
            linker.func_new(NAMESPACE, import.name(), ty, |_, _, results| {
                results[0] = Val::I32(ENOSYS);
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn standard(fd: i32) -> Option<()> {
    (0..=2).contains(&fd).then_some(())
}

/// The counts of arguments or variables and of their bytes: none.
fn no_strings(mut caller: Caller<'_, Guest>, count: i32, bytes: i32) -> Errno {
    answer(|| {
        put(&mut caller, count, &0_u32.to_le_bytes())?;
        put(&mut caller, bytes, &0_u32.to_le_bytes())
    })
}

fn fd_write(mut caller: Caller<'_, Guest>, fd: i32, buffers: i32, count: i32, written: i32) -> Errno {
    if !matches!(fd, 1 | 2) {
        return EBADF;
    }
    answer(|| {
        let count = Some(count.cast_unsigned())
            .filter(|&count| count <= MAX_BUFFERS)
            .ok_or(EINVAL)?;
        let memory = memory(&mut caller)?;
        let (memory, guest) = memory.data_and_store_mut(&mut caller);
        let mut total = 0_u32;
        for buffer in bytes_at(memory, buffers, count * 8)?.chunks_exact(8) {
            let (start, length) = buffer.split_at(4);
            let [start, length] = [start, length].map(|half| half.try_into().map_or(0, i32::from_le_bytes));
            let bytes = bytes_at(memory, start, length.cast_unsigned())?;
            total = total.checked_add(length.cast_unsigned()).ok_or(EINVAL)?;
            guest.output.write(bytes);
        }
        put(&mut caller, written, &total.to_le_bytes())
    })
}

fn fd_read(mut caller: Caller<'_, Guest>, fd: i32, _: i32, _: i32, read: i32) -> Errno {
    if fd != 0 {
        return EBADF;
    }
    answer(|| put(&mut caller, read, &0_u32.to_le_bytes()))
}

/// File type "unknown" without flags, as for a pipe, and every right.
fn fd_fdstat_get(mut caller: Caller<'_, Guest>, fd: i32, stat: i32) -> Errno {
    let mut bytes = [0; 24];
    bytes[8..].fill(0xff);
    answer(|| {
        standard(fd).ok_or(EBADF)?;
        put(&mut caller, stat, &bytes)
    })
}

fn clock_time_get(mut caller: Caller<'_, Guest>, _clock: i32, _precision: i64, time: i32) -> Errno {
    let now = caller.data().now_ns;
    caller.data_mut().now_ns = now.saturating_add(CLOCK_STEP_NS);
    answer(|| put(&mut caller, time, &now.to_le_bytes()))
}

fn clock_res_get(mut caller: Caller<'_, Guest>, _clock: i32, resolution: i32) -> Errno {
    answer(|| put(&mut caller, resolution, &CLOCK_STEP_NS.to_le_bytes()))
}

fn random_get(mut caller: Caller<'_, Guest>, start: i32, length: i32) -> Errno {
    answer(|| {
        let length = length.cast_unsigned();
        if length > RANDOM_BYTES {
            return Err(EINVAL);
        }
        let memory = memory(&mut caller)?;
        let (memory, guest) = memory.data_and_store_mut(&mut caller);
        let range = range(start, length);
        guest.random.fill(memory.get_mut(range).ok_or(EFAULT)?);
        Ok(())
    })
}

fn answer(call: impl FnOnce() -> Result<(), Errno>) -> Errno {
    call().err().unwrap_or(SUCCESS)
}

fn memory(caller: &mut Caller<'_, Guest>) -> Result<Memory, Errno> {
    // Every module that got this far exports one.
    caller
        .get_export("memory")
        .and_then(Extern::into_memory)
        .ok_or(EFAULT)
}

fn put(caller: &mut Caller<'_, Guest>, start: i32, bytes: &[u8]) -> Result<(), Errno> {
    let at = start.cast_unsigned() as usize;
    memory(caller)?.write(caller, at, bytes).map_err(|_| EFAULT)
}

fn bytes_at(memory: &[u8], start: i32, length: u32) -> Result<&[u8], Errno> {
    memory.get(range(start, length)).ok_or(EFAULT)
}

/// Where `length` bytes from a guest's pointer are. Both are unsigned 32-bit numbers, so the sum cannot overflow.
fn range(start: i32, length: u32) -> Range<usize> {
    let start = start.cast_unsigned() as usize;
    start..start.saturating_add(length as usize)
}
