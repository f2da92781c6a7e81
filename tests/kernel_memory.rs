//! No kernel takes more memory than the server reserves for it. Alone in its process, whose peak it reads.
#![allow(clippy::unwrap_used)]

use hwmeter::task::{self, KERNEL_MEMORY_BYTES, Kernel, Speed, Work};
use std::fs;

/// `VmHWM` (the peak) or `VmRSS` of this process, in bytes.
fn memory(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[test]
fn no_kernel_takes_more_memory_than_is_reserved_for_it() {
    for &kernel in Kernel::ALL {
        // The peak begins anew (proc(5), clear_refs).
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        task::run(&Work::one(kernel, 20, 1), b"payload", Speed::FULL, &|| false).unwrap();
        let taken = memory("VmHWM").saturating_sub(before);
        assert!(taken <= KERNEL_MEMORY_BYTES, "{kernel} takes {taken} bytes");
    }
}
