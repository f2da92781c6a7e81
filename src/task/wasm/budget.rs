//! How much memory one task may have: its linear memory and its tables together.

use super::error::WasmError;
use wasmtime::{Error, ResourceLimiter, Result};

/// Bytes of one table element (a pointer).
const ELEMENT_BYTES: usize = size_of::<usize>();

/// The memory one task has and may have.
///
/// Asking for more ends the task instead of failing its `memory.grow`: a program that is told "no" on a small
/// device and "yes" on a server would give two answers. Only growing beyond the maximum that the module itself
/// declares fails as the specification says, which is the same everywhere.
pub(super) struct Budget {
    limit: usize,
    used: usize,
}

impl Budget {
    /// At most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// Bytes of memory and tables the task has.
    pub fn used(&self) -> usize {
        self.used
    }

    fn grow(&mut self, more: usize, within_maximum: bool) -> Result<bool> {
        if !within_maximum {
            return Ok(false);
        }
        let asked = self.used.saturating_add(more);
        if asked > self.limit {
            let limit = self.limit;
            return Err(Error::new(WasmError::Memory { asked, limit }));
        }
        self.used = asked;
        Ok(true)
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let within_maximum = maximum.is_none_or(|max| desired <= max);
        self.grow(desired.saturating_sub(current), within_maximum)
    }

    fn memory_grow_failed(&mut self, _: Error) -> Result<()> {
        Err(Error::new(WasmError::OutOfMemory))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let within_maximum = maximum.is_none_or(|max| desired <= max);
        let more = desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES);
        self.grow(more, within_maximum)
    }

    fn table_grow_failed(&mut self, _: Error) -> Result<()> {
        Err(Error::new(WasmError::OutOfMemory))
    }

    fn instances(&self) -> usize {
        1
    }
}
