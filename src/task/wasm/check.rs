//! What a module may cost to compile, looked at before it is compiled.
//!
//! A compilation cannot be interrupted, and the compiler's time and memory can grow faster than the code: with
//! the product of a function's length and its local variables. So lengths and that product are bounded.

use super::error::WasmError;
use wasmparser::{BinaryReaderError, FunctionBody, Parser, Payload};

/// The longest module, in bytes.
pub const MAX_MODULE_BYTES: usize = 8 << 20;
/// The longest function, in bytes of WebAssembly.
pub const MAX_FUNCTION_BYTES: u64 = 128 << 10;
/// The most functions.
pub const MAX_FUNCTIONS: u32 = 20_000;
/// The most local variables of one function, parameters not counted.
pub const MAX_LOCALS: u64 = 2_000;
/// The largest sum over all functions of bytes x (local variables + [`BASE_LOCALS`]).
pub const MAX_WORK: u64 = 1 << 30;
/// What a function without local variables counts as.
pub const BASE_LOCALS: u64 = 64;

/// Is the module short and simple enough? Whether it is valid is left to the engine.
pub(super) fn check(module: &[u8]) -> Result<(), WasmError> {
    if module.len() > MAX_MODULE_BYTES {
        return Err(WasmError::TooLarge {
            bytes: module.len(),
            limit: MAX_MODULE_BYTES,
        });
    }
    let mut work = 0_u64;
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(invalid)? {
            Payload::CodeSectionStart { count, .. } if count > MAX_FUNCTIONS => {
                return Err(WasmError::TooComplex(format!(
                    "{count} functions, at most {MAX_FUNCTIONS} are taken"
                )));
            }
            Payload::CodeSectionEntry(body) => work = work.saturating_add(function(&body)?),
            _ => {}
        }
    }
    if work > MAX_WORK {
        return Err(WasmError::TooComplex(format!(
            "its functions' bytes x local variables come to {work}, at most {MAX_WORK} are taken"
        )));
    }
    Ok(())
}

/// What a function adds to the work.
fn function(body: &FunctionBody<'_>) -> Result<u64, WasmError> {
    let range = body.range();
    let bytes = (range.end - range.start) as u64;
    if bytes > MAX_FUNCTION_BYTES {
        return Err(WasmError::TooComplex(format!(
            "a function of {bytes} bytes, at most {MAX_FUNCTION_BYTES} are taken; split it"
        )));
    }
    let mut locals = 0_u64;
    for group in body.get_locals_reader().map_err(invalid)? {
        let (count, _) = group.map_err(invalid)?;
        locals = locals.saturating_add(count.into());
    }
    if locals > MAX_LOCALS {
        return Err(WasmError::TooComplex(format!(
            "a function with {locals} local variables, at most {MAX_LOCALS} are taken"
        )));
    }
    Ok(bytes * (locals + BASE_LOCALS))
}

fn invalid(error: BinaryReaderError) -> WasmError {
    WasmError::Invalid(error.to_string())
}
