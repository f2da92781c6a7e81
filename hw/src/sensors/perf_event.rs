//! One counting event of `perf_event_open(2)` on one CPU.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;

/// An opened event.
#[derive(Debug)]
pub(super) struct PerfEvent {
    file: File,
    /// For messages.
    name: String,
}

/// The first 64 bytes of `struct perf_event_attr` (`PERF_ATTR_SIZE_VER0`): all that a counting event needs.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
}

/// `PERF_FLAG_FD_CLOEXEC` of `linux/perf_event.h`.
const CLOSE_ON_EXEC: libc::c_ulong = 8;

impl PerfEvent {
    /// Opens event `config` of the unit numbered `kind` on `cpu`, for all processes.
    pub fn open(kind: u32, config: u64, cpu: usize, name: &str) -> Result<Self> {
        let attributes = Attributes {
            kind,
            size: size_of::<Attributes>() as u32,
            config,
            ..Attributes::default()
        };
        let (any_process, no_group) = (-1 as libc::pid_t, -1 as libc::c_int);
        // SAFETY: the kernel reads `size` bytes of `attributes`, which lives through the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                any_process,
                cpu as libc::c_int,
                no_group,
                CLOSE_ON_EXEC,
            )
        };
        if fd < 0 {
            let what = format!("opening the perf event {name} on CPU {cpu}");
            return Err(Error::os(what, io::Error::last_os_error()));
        }
        // SAFETY: the kernel has just given us this descriptor; nothing else owns it.
        let file = unsafe { File::from_raw_fd(fd as libc::c_int) };
        Ok(Self {
            file,
            name: name.to_owned(),
        })
    }

    /// The count so far.
    pub fn read(&mut self) -> Result<u64> {
        let mut count = [0; 8];
        let outcome = self.file.read_exact(&mut count);
        outcome.map_err(|e| Error::os(format!("reading the perf event {}", self.name), e))?;
        Ok(u64::from_ne_bytes(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_call_is_the_real_one() {
        // No such unit: the kernel looks at the structure and refuses it by its content, not by its size.
        let error = PerfEvent::open(u32::MAX, 0, 0, "none").unwrap_err();
        let Error::Os { source, .. } = &error else {
            panic!("{error}")
        };
        let refused = [
            libc::ENOENT,
            libc::EINVAL,
            libc::EACCES,
            libc::EPERM,
            libc::ENOSYS,
        ];
        assert!(
            source.raw_os_error().is_some_and(|code| refused.contains(&code)),
            "{error}"
        );

        // A counter every kernel has, where we may read it: the CPU clock of the software unit, in nanoseconds.
        if let Ok(mut clock) = PerfEvent::open(1, 0, 0, "cpu-clock") {
            let first = clock.read().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
            assert!(clock.read().unwrap() > first);
        }
    }
}
