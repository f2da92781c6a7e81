//! What a module may cost to compile, looked at before it is compiled.
//!
//! A compilation cannot be interrupted, and its time and memory can grow faster than the code: where control flow
//! meets, the compiler may need a move for each pair of a way in and a local variable, and loops within loops multiply
//! that. So length times local variables is bounded, and so is how deep loops nest. What compilers of C and Rust make
//! of hand-written code stays far below all of this.

use super::error::WasmError;
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload, TypeSectionReader};

/// The longest module, in bytes.
pub const MAX_MODULE_BYTES: usize = 4 << 20;
/// The most functions.
pub const MAX_FUNCTIONS: u32 = 20_000;
/// The longest function, in bytes of WebAssembly.
pub const MAX_FUNCTION_BYTES: u64 = 128 << 10;
/// The most parameters, or results, of a function or block.
pub const MAX_ARITY: usize = 32;
/// Loops within loops.
pub const MAX_LOOP_DEPTH: usize = 24;
/// The largest bytes x (local variables + [`BASE_LOCALS`]) of one function.
pub const MAX_FUNCTION_WORK: u64 = 1 << 23;
/// The largest sum of these.
pub const MAX_WORK: u64 = 1 << 26;
/// What a function without local variables counts as.
pub const BASE_LOCALS: u64 = 16;

/// Is the module short and simple enough? Whether it is valid is left to the engine.
pub(super) fn check(module: &[u8]) -> Result<(), WasmError> {
    if module.len() > MAX_MODULE_BYTES {
        return Err(WasmError::TooLarge {
            bytes: module.len(),
            limit: MAX_MODULE_BYTES,
        });
    }
    let mut work = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(invalid)? {
            Payload::TypeSection(types) => check_types(types)?,
            Payload::CodeSectionStart { count, .. } => {
                at_most(count.into(), MAX_FUNCTIONS.into(), "functions")?;
            }
            Payload::CodeSectionEntry(body) => work += function_work(&body)?,
            _ => {}
        }
    }
    at_most(work, MAX_WORK, "bytes x local variables over all functions")
}

fn check_types(types: TypeSectionReader<'_>) -> Result<(), WasmError> {
    for ty in types.into_iter_err_on_gc_types() {
        let ty = ty.map_err(invalid)?;
        let arity = ty.params().len().max(ty.results().len());
        at_most(arity as u64, MAX_ARITY as u64, "parameters or results")?;
    }
    Ok(())
}

/// What a function adds to the work.
fn function_work(body: &FunctionBody<'_>) -> Result<u64, WasmError> {
    let range = body.range();
    let bytes = (range.end - range.start) as u64;
    at_most(bytes, MAX_FUNCTION_BYTES, "bytes in one function")?;
    let mut locals = BASE_LOCALS;
    for group in body.get_locals_reader().map_err(invalid)? {
        let (count, _) = group.map_err(invalid)?;
        locals += u64::from(count);
    }
    let work = bytes.saturating_mul(locals);
    at_most(work, MAX_FUNCTION_WORK, "bytes x local variables in one function")?;
    check_loops(body)?;
    Ok(work)
}

fn check_loops(body: &FunctionBody<'_>) -> Result<(), WasmError> {
    let mut is_loop = Vec::new();
    let mut depth = 0;
    for operator in body.get_operators_reader().map_err(invalid)? {
        match operator.map_err(invalid)? {
            Operator::Loop { .. } => {
                depth += 1;
                at_most(depth, MAX_LOOP_DEPTH as u64, "loops within each other")?;
                is_loop.push(true);
            }
            Operator::Block { .. } | Operator::If { .. } => is_loop.push(false),
            // The last one ends the function.
            Operator::End if is_loop.pop() == Some(true) => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

fn at_most(found: u64, limit: u64, what: &str) -> Result<(), WasmError> {
    if found > limit {
        return Err(WasmError::TooComplex(format!(
            "{found} {what}, at most {limit} are taken"
        )));
    }
    Ok(())
}

fn invalid(error: BinaryReaderError) -> WasmError {
    WasmError::Invalid(error.to_string())
}
