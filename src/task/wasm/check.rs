//! What a module may cost to compile, looked at before it is compiled.
//!
//! A compilation cannot be interrupted, and its time and memory can grow faster than the code. Each rule below stands
//! for one way found to make it do so:
//!
//! - Where control flow meets, or a call spills, the compiler may have to move each value that is alive: local
//!   variables, and what stands on the stack. So every operator costs its bytes times these, and a way to go or a call
//!   counts as more bytes than it has.
//! - Every loop, and every block with a result, splits what is alive across it, and each split looks at those before. So
//!   they cost more the more there are; loops within loops multiply that, so how deep they nest is bounded too.
//! - A block with parameters or several results makes dozens of values meet for two bytes. These are refused: compilers
//!   of C and Rust do not make them unless told to.
//!
//! What compilers of C and Rust make of hand-written code stays far below all of this.

use super::error::WasmError;
use wasmparser::{
    BinaryReaderError, BlockType, FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator, Parser,
    Payload, TypeSectionReader, ValidPayload, Validator, ValidatorResources,
};

/// The longest module, in bytes.
pub const MAX_MODULE_BYTES: usize = 4 << 20;
/// The most functions.
pub const MAX_FUNCTIONS: u32 = 20_000;
/// The longest function, in bytes of WebAssembly.
pub const MAX_FUNCTION_BYTES: u64 = 128 << 10;
/// The most parameters, or results, of a function.
pub const MAX_ARITY: usize = 32;
/// Loops within loops.
pub const MAX_LOOP_DEPTH: usize = 24;
/// The largest work of one function: its bytes times the values alive at each, and what counts as more.
pub const MAX_FUNCTION_WORK: u64 = 1 << 23;
/// The largest sum of these.
pub const MAX_WORK: u64 = 1 << 26;
/// Values alive in a function without local variables and with an empty stack.
pub const BASE_LOCALS: u64 = 16;

/// Bytes that a way to go counts as, besides its own: a block, a branch.
const WAY_BYTES: u64 = 4;
/// ... each target of a branch with a table.
const TARGET_BYTES: u64 = 64;
/// ... a call, ...
const CALL_BYTES: u64 = 16;
/// ... and each of its parameters and results.
const OPERAND_BYTES: u64 = 4;
/// What the n-th loop costs on top is n times this.
const LOOP_WORK: u64 = 8;
/// And the n-th block with a result.
const RESULT_WORK: u64 = 1;

/// Is the module valid, as far as that is known without the engine, and short and simple enough? The number of its
/// functions.
pub(super) fn check(module: &[u8]) -> Result<u32, WasmError> {
    if module.len() > MAX_MODULE_BYTES {
        return Err(WasmError::TooLarge {
            bytes: module.len(),
            limit: MAX_MODULE_BYTES,
        });
    }
    let mut validator = Validator::new();
    let mut room = FuncValidatorAllocations::default();
    let (mut functions, mut work) = (0, 0);
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(invalid)?;
        match &payload {
            Payload::TypeSection(types) => check_types(types.clone())?,
            Payload::CodeSectionStart { count, .. } => {
                functions = *count;
                at_most(functions.into(), MAX_FUNCTIONS.into(), "functions")?;
            }
            _ => {}
        }
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? {
            work += function_work(function, &body, &mut room)?;
            at_most(work, MAX_WORK, "units of work over all functions")?;
        }
    }
    Ok(functions)
}

fn check_types(types: TypeSectionReader<'_>) -> Result<(), WasmError> {
    for ty in types.into_iter_err_on_gc_types() {
        let ty = ty.map_err(invalid)?;
        let arity = ty.params().len().max(ty.results().len());
        at_most(arity as u64, MAX_ARITY as u64, "parameters or results")?;
    }
    Ok(())
}

/// How many there have been in one function so far.
#[derive(Default)]
struct Seen {
    loops: u64,
    results: u64,
}

/// What a function adds to the work.
fn function_work(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    room: &mut FuncValidatorAllocations,
) -> Result<u64, WasmError> {
    let range = body.range();
    let bytes = (range.end - range.start) as u64;
    at_most(bytes, MAX_FUNCTION_BYTES, "bytes in one function")?;
    let mut validator = function.into_validator(std::mem::take(room));
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader).map_err(invalid)?;
    let locals = u64::from(validator.len_locals());
    let (mut work, mut around) = (0, Around::default());
    let mut seen = Seen::default();
    let mut operators = body.get_operators_reader().map_err(invalid)?;
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset().map_err(invalid)?;
        let operands = match operator.operator_arity(&validator) {
            Some((parameters, results)) => u64::from(parameters) + u64::from(results),
            // Invalid, as the validator will say.
            None => 0,
        };
        validator.op(at, &operator).map_err(invalid)?;
        around.pass(&operator)?;
        let alive = BASE_LOCALS + locals + u64::from(validator.operand_stack_height());
        let bytes = (operators.original_position() - at) as u64;
        work += operator_work(&operator, bytes, operands, alive, &mut seen);
        at_most(work, MAX_FUNCTION_WORK, "units of work in one function")?;
    }
    operators.finish().map_err(invalid)?;
    *room = validator.into_allocations();
    Ok(work)
}

/// Bytes x values alive, where some operators count as more bytes than they have, and some add work of their own.
fn operator_work(operator: &Operator<'_>, bytes: u64, operands: u64, alive: u64, seen: &mut Seen) -> u64 {
    use Operator as O;
    let (more_bytes, more_work) = match operator {
        O::Loop { .. } => {
            seen.loops += 1;
            (WAY_BYTES, seen.loops * LOOP_WORK)
        }
        O::Block { blockty } | O::If { blockty } if *blockty != BlockType::Empty => {
            seen.results += 1;
            (WAY_BYTES, seen.results * RESULT_WORK)
        }
        O::Block { .. } | O::If { .. } | O::Br { .. } | O::BrIf { .. } => (WAY_BYTES, 0),
        O::BrTable { targets } => (TARGET_BYTES * (1 + u64::from(targets.len())), 0),
        O::Call { .. } | O::CallIndirect { .. } | O::ReturnCall { .. } | O::ReturnCallIndirect { .. } => {
            (CALL_BYTES + OPERAND_BYTES * operands, 0)
        }
        _ => (0, 0),
    };
    (bytes + more_bytes) * alive + more_work
}

/// Blocks and loops around the present operator.
#[derive(Default)]
struct Around {
    is_loop: Vec<bool>,
    loops: u64,
}

impl Around {
    /// Goes in or out where the operator does.
    fn pass(&mut self, operator: &Operator<'_>) -> Result<(), WasmError> {
        match operator {
            Operator::Loop { blockty } => self.enter(*blockty, true),
            Operator::Block { blockty } | Operator::If { blockty } => self.enter(*blockty, false),
            Operator::TryTable { try_table } => self.enter(try_table.ty, false),
            Operator::End => {
                // The last one ends the function.
                self.loops -= u64::from(self.is_loop.pop() == Some(true));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, ty: BlockType, is_loop: bool) -> Result<(), WasmError> {
        if let BlockType::FuncType(_) = ty {
            let what = "a block has parameters or several results; compile it without multi-value blocks";
            return Err(WasmError::TooComplex(what.to_owned()));
        }
        self.is_loop.push(is_loop);
        self.loops += u64::from(is_loop);
        at_most(self.loops, MAX_LOOP_DEPTH as u64, "loops within each other")
    }
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
