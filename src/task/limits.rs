//! What one task may use of the machine it runs on.

use std::time::Duration;

/// No native kernel needs more memory than this, whatever its size and payload, the payload itself not counted.
pub const KERNEL_MEMORY_BYTES: usize = 4 << 20;

/// Bounds for one task, whatever its deadline says; a task that reaches one is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of the thread that runs it.
    pub cpu: Duration,
    /// Bytes of memory: its payload together with what it computes in.
    pub memory_bytes: usize,
    /// Time from its start to its end.
    pub wall: Duration,
}

impl Default for Limits {
    /// 30 s of CPU time, 256 MiB, 30 s from start to end.
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(30),
            memory_bytes: 256 << 20,
            wall: Duration::from_secs(30),
        }
    }
}
