//! The compiler, and the modules it has compiled.

use super::error::WasmError;
use super::id::ModuleId;
use super::module::Module;
use super::ticker::Ticker;
use super::wasi::{self, Guest};
use super::{CACHE_BYTES, STACK_BYTES};
use quick_cache::sync::{Cache, GuardResult};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wasmtime::{Config, Linker};

/// Stack of one run: WebAssembly's own, and what host functions need on top of it.
const FIBER_BYTES: usize = STACK_BYTES + (512 << 10);
/// Modules the cache is laid out for; only their bytes limit it.
const USUAL_MODULES: usize = 64;
/// While another thread compiles the module we want, we ask this often whether to stop.
const WAIT: Duration = Duration::from_millis(4);

/// Compiles modules and keeps them, up to [`CACHE_BYTES`]; the one used longest ago goes first, roughly. Clones
/// are handles to the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    cache: Arc<ModuleCache>,
}

/// What a module needs to run.
pub(super) struct Shared {
    pub engine: wasmtime::Engine,
    pub linker: Linker<Guest>,
    pub ticker: Ticker,
}

type ModuleCache = Cache<ModuleId, Arc<Module>, Bytes>;

#[derive(Clone)]
struct Bytes;

impl Weighter<ModuleId, Arc<Module>> for Bytes {
    fn weight(&self, _: &ModuleId, module: &Arc<Module>) -> u64 {
        module.kept_bytes() as u64
    }
}

impl Engine {
    /// The engine of this process, made when it is first asked for.
    pub fn shared() -> Result<&'static Self, WasmError> {
        static SHARED: OnceLock<Result<Engine, WasmError>> = OnceLock::new();
        SHARED.get_or_init(Self::new).as_ref().map_err(WasmError::clone)
    }

    /// An engine with an empty cache, and the thread that paces its tasks.
    pub fn new() -> Result<Self, WasmError> {
        Self::with_cache(CACHE_BYTES)
    }

    /// One whose cache holds so many bytes.
    pub(super) fn with_cache(bytes: u64) -> Result<Self, WasmError> {
        let engine = wasmtime::Engine::new(&config()).map_err(WasmError::engine)?;
        let shared = Shared {
            linker: wasi::linker(&engine).map_err(WasmError::engine)?,
            ticker: Ticker::start(engine.clone())?,
            engine,
        };
        let options = OptionsBuilder::new()
            // Each shard would have its own share of the bytes.
            .shards(1)
            .estimated_items_capacity(USUAL_MODULES)
            .weight_capacity(bytes)
            .build()
            .map_err(|e| WasmError::Engine(e.to_string()))?;
        let cache = Cache::with_options(options, Bytes, DefaultHashBuilder::default(), Default::default());
        Ok(Self {
            shared: Arc::new(shared),
            cache: Arc::new(cache),
        })
    }

    /// The module that consists of these bytes, from the cache or compiled now.
    ///
    /// A module is compiled once even when several threads ask for it: the others wait until `stop` says yes. A
    /// compilation under way cannot be stopped; [`check`](super::check) bounds it.
    pub fn load(&self, wasm: &[u8], stop: &dyn Fn() -> bool) -> Result<Arc<Module>, WasmError> {
        self.load_as(ModuleId::of(wasm), wasm, stop)
    }

    /// The same, where the SHA-256 of `wasm` is known to be `id`.
    pub(super) fn load_as(
        &self,
        id: ModuleId,
        wasm: &[u8],
        stop: &dyn Fn() -> bool,
    ) -> Result<Arc<Module>, WasmError> {
        loop {
            match self.cache.get_value_or_guard(&id, Some(WAIT)) {
                GuardResult::Value(module) => return Ok(module),
                GuardResult::Timeout if stop() => return Err(WasmError::Stopped),
                GuardResult::Timeout => {}
                GuardResult::Guard(guard) => {
                    let module = Arc::new(Module::compile(&self.shared, id, wasm)?);
                    // Fails only for a module that is larger than the cache: it is compiled anew each time.
                    let _ = guard.insert(Arc::clone(&module));
                    return Ok(module);
                }
            }
        }
    }

    /// A module that was compiled before and is still there.
    pub fn cached(&self, id: ModuleId) -> Option<Arc<Module>> {
        self.cache.get(&id)
    }
}

/// The same bytes must give the same answer on every machine, so whatever WebAssembly leaves to the machine is
/// switched off or fixed: the bits of a NaN, relaxed SIMD, threads (not compiled in).
fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(FIBER_BYTES)
        // Traps are told by their kind; frames and addresses would help nobody and cost memory.
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .generate_address_map(false)
        .concurrency_support(false);
    config
}
