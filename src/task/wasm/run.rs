//! A run of a module: a fresh instance, the payload copied in, `run` called, paced and stopped from outside.

use super::STACK_BYTES;
use super::error::WasmError;
use super::module::Module;
use super::wasi::{Guest, Output};
use crate::task::pacer::{Pacer, Speed};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasmtime::{Error, Instance, Memory, Store, Trap, TypedFunc, WasmParams, WasmResults};

/// Bytes of a WebAssembly page.
const PAGE: usize = 64 << 10;

/// A run that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What `run` returned.
    pub result: i64,
    /// Bytes of memory and tables the task had at its end.
    pub memory_bytes: usize,
    /// What it wrote to its standard output and error.
    pub output: Output,
}

impl Module {
    /// Runs it on the calling thread in a fresh instance with its own copy of `payload`.
    ///
    /// Memory and tables of the instance together have at most `memory_bytes`. At a `speed` below one the thread
    /// sleeps in between, as for built-in kernels. `stop` is asked about every millisecond; once it says yes, the
    /// run ends with [`WasmError::Stopped`].
    pub fn run(
        &self,
        payload: &[u8],
        memory_bytes: usize,
        speed: Speed,
        stop: &dyn Fn() -> bool,
    ) -> Result<Done, WasmError> {
        let mut pacer = Pacer::new(speed, stop);
        pacer.step().ok_or(WasmError::Stopped)?;
        let _ticking = self.shared.ticker.ticking();
        let guest = Guest::new(memory_bytes, payload);
        let mut store = Store::try_new(&self.shared.engine, guest).map_err(WasmError::engine)?;
        store.limiter(|guest| &mut guest.budget);
        // Every tick makes the future below pend once.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);

        let result = drive(self.call(&mut store, payload), &mut pacer)?;
        pacer.finish().ok_or(WasmError::Stopped)?;
        let guest = store.into_data();
        Ok(Done {
            result,
            memory_bytes: guest.budget.used(),
            output: guest.output,
        })
    }

    async fn call(&self, store: &mut Store<Guest>, payload: &[u8]) -> Result<i64, WasmError> {
        let instance = self.ready.instantiate_async(&mut *store).await.map_err(ended)?;
        if let Some(initialize) = function::<(), ()>(&instance, store, "_initialize") {
            initialize.call_async(&mut *store, ()).await.map_err(ended)?;
        }
        let (at, length) = place(&instance, store, payload).await?;
        let run = function::<(i32, i32), i64>(&instance, store, "run");
        let run = run.ok_or_else(|| WasmError::Export("`run`".to_owned()))?;
        run.call_async(store, (at, length)).await.map_err(ended)
    }
}

/// Polls `running` on this thread. Whenever a tick makes it pend, the thread sleeps as long as it owes, or stops.
fn drive<T>(
    running: impl Future<Output = Result<T, WasmError>>,
    pacer: &mut Pacer<'_>,
) -> Result<T, WasmError> {
    let mut running = pin!(running);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match running.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => pacer.step().ok_or(WasmError::Stopped)?,
        }
    }
}

/// Copies the payload into the instance's memory: where it is, and its length.
async fn place(
    instance: &Instance,
    store: &mut Store<Guest>,
    payload: &[u8],
) -> Result<(i32, i32), WasmError> {
    let bytes = payload.len();
    let no_room = |why: String| WasmError::NoRoom { bytes, why };
    let length = i32::try_from(bytes).map_err(|_| no_room("more than 2 GiB".to_owned()))?;
    let memory = instance.get_memory(&mut *store, "memory");
    let memory = memory.ok_or_else(|| WasmError::Export("its `memory`".to_owned()))?;
    let at = match function::<i32, i32>(instance, store, "alloc") {
        Some(alloc) => {
            let at = alloc.call_async(&mut *store, length).await.map_err(ended)?;
            if at == 0 && length > 0 {
                return Err(no_room(format!("`alloc({length})` returned 0")));
            }
            at
        }
        None => at_new_end(memory, store, bytes).await?,
    };
    let written = memory.write(store, at.cast_unsigned() as usize, payload);
    written.map_err(|_| no_room(format!("`alloc({length})` returned {at:#x}, beyond its end")))?;
    Ok((at, length))
}

/// Adds the pages that `bytes` need at the end of the memory, and returns where they begin.
async fn at_new_end(memory: Memory, store: &mut Store<Guest>, bytes: usize) -> Result<i32, WasmError> {
    let end = memory.data_size(&*store) as u64;
    let pages = bytes.div_ceil(PAGE) as u64;
    let grown = memory.grow_async(&mut *store, pages).await;
    grown.map_err(|error| {
        own(error).unwrap_or_else(|error| WasmError::NoRoom {
            bytes,
            why: WasmError::chain(&error),
        })
    })?;
    // 4 GiB, the end of a full memory, is address 0: nothing is read there, since there was no page to add.
    Ok((end as u32).cast_signed())
}

/// The export of this name, if there is one: that it has this type was checked when the module was compiled.
fn function<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<Guest>,
    name: &str,
) -> Option<TypedFunc<P, R>> {
    instance.get_typed_func(store, name).ok()
}

/// Why an instance ended without a result.
fn ended(error: Error) -> WasmError {
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => WasmError::Stack { limit: STACK_BYTES },
        Some(trap) => WasmError::Trapped(trap.to_string()),
        None => own(error).unwrap_or_else(WasmError::engine),
    }
}

/// An error of ours that went through the engine, or what it was.
fn own(error: Error) -> Result<WasmError, Error> {
    error.downcast::<WasmError>()
}
