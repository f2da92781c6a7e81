//! One compiled module.

use super::engine::Shared;
use super::error::{Name, WasmError};
use super::id::ModuleId;
use super::wasi::{self, Guest};
use std::sync::Arc;
use wasmtime::{Error, ExternType, FuncType, InstancePre, UnknownImportError, ValType};

/// What the engine keeps of a module beside its code and data, measured with an allowance ...
const MODULE_BYTES: usize = 16 << 10;
/// ... and of each of its functions.
const FUNCTION_BYTES: usize = 64;

/// A module that has passed every check and is compiled: it can be run any number of times, on any thread.
pub struct Module {
    id: ModuleId,
    compiled_bytes: usize,
    functions: u32,
    pub(super) ready: InstancePre<Guest>,
    pub(super) shared: Arc<Shared>,
}

impl Module {
    /// Checks and compiles.
    pub(super) fn compile(shared: &Arc<Shared>, id: ModuleId, wasm: &[u8]) -> Result<Self, WasmError> {
        let functions = super::check::check(wasm)?;
        wasmtime::Module::validate(&shared.engine, wasm).map_err(invalid)?;
        // What fails now is the machine's doing, such as memory that may not be made executable.
        let module = wasmtime::Module::from_binary(&shared.engine, wasm).map_err(WasmError::engine)?;
        check_exports(&module)?;
        let mut linker = shared.linker.clone();
        wasi::define_missing(&mut linker, &module).map_err(WasmError::engine)?;
        let ready = linker.instantiate_pre(&module).map_err(bad_import)?;
        let image = module.image_range();
        Ok(Self {
            id,
            compiled_bytes: image.end.addr() - image.start.addr(),
            functions,
            ready,
            shared: Arc::clone(shared),
        })
    }

    /// The SHA-256 of its bytes.
    pub fn id(&self) -> ModuleId {
        self.id
    }

    /// Bytes its compiled code and data take.
    pub fn compiled_bytes(&self) -> usize {
        self.compiled_bytes
    }

    /// All the memory it takes, about.
    pub(super) fn kept_bytes(&self) -> usize {
        self.compiled_bytes + MODULE_BYTES + self.functions as usize * FUNCTION_BYTES
    }
}

fn check_exports(module: &wasmtime::Module) -> Result<(), WasmError> {
    use ValType::{I32, I64};
    match module.get_export("memory") {
        Some(ExternType::Memory(_)) => {}
        _ => return Err(WasmError::Export("its `memory`".to_owned())),
    }
    if !exports(
        module,
        "run",
        "run(ptr: i32, len: i32) -> i64",
        &[I32, I32],
        &[I64],
    )? {
        return Err(WasmError::Export(
            "a function `run(ptr: i32, len: i32) -> i64`".to_owned(),
        ));
    }
    exports(module, "alloc", "alloc(len: i32) -> i32", &[I32], &[I32])?;
    exports(module, "_initialize", "_initialize()", &[], &[])?;
    Ok(())
}

/// Is there an export of this name? If so, it must be a function of this type.
fn exports(
    module: &wasmtime::Module,
    name: &str,
    signature: &str,
    params: &[ValType],
    results: &[ValType],
) -> Result<bool, WasmError> {
    let wanted = FuncType::new(module.engine(), params.iter().cloned(), results.iter().cloned());
    match module.get_export(name) {
        None => Ok(false),
        Some(ExternType::Func(found)) if found.matches(&wanted) => Ok(true),
        Some(_) => Err(WasmError::Export(format!("`{name}` as a function `{signature}`"))),
    }
}

fn invalid(error: Error) -> WasmError {
    WasmError::Invalid(WasmError::chain(&error))
}

fn bad_import(error: Error) -> WasmError {
    WasmError::Import(match error.downcast_ref::<UnknownImportError>() {
        Some(unknown) => format!("{} from {}", Name(unknown.name()), Name(unknown.module())),
        None => format!("this: {}", WasmError::chain(&error)),
    })
}
