//! CPU time of a process tree in nanoseconds, from `schedstat`.
//!
//! `/proc/PID/task/TID/schedstat` begins with the nanoseconds its thread has run. The figure of a process's leader is
//! not that of the process, so every thread is read; what ended threads had used is kept.

use crate::error::{Error, Result};
use crate::root::{Node, Root, parse_number};
use crate::units::Seconds;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Something whose CPU time can be told.
pub trait CpuTimeSource: Send {
    /// CPU time used so far; never goes back.
    fn read(&mut self) -> Result<Seconds>;
}

/// The CPU time of a process and the children it is told about.
#[derive(Debug)]
pub struct ProcessCpuTime {
    root: Root,
    pid: u32,
    threads: BTreeMap<u32, Thread>,
    ended_ns: u64,
    listed: Option<Instant>,
}

/// Threads are looked for this often; one that began meanwhile counts from its first
/// nanosecond once it is found, and one that came and went in between is missed.
const LIST_PERIOD: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Thread {
    node: Node,
    run_ns: u64,
    /// Looks in a row that found it had not run.
    idle_looks: u32,
}

/// A thread that did not run at this many looks is left alone until threads are listed again.
const IDLE_LOOKS: u32 = 5;

impl ProcessCpuTime {
    /// For the process `pid`, read below `root` (`/proc` of the running system: processes are always real).
    pub fn open(root: Root, pid: u32) -> Result<Self> {
        let mut times = Self {
            root,
            pid,
            threads: BTreeMap::new(),
            ended_ns: 0,
            listed: None,
        };
        times.read()?;
        Ok(times)
    }

    fn list_threads(&mut self) -> Result<()> {
        let dir = PathBuf::from(format!("/proc/{}/task", self.pid));
        for name in self.root.list(&dir)? {
            let Some(tid) = parse_number::<u32>(name.as_bytes()) else {
                continue;
            };
            if !self.threads.contains_key(&tid)
                && let Ok(node) = self.root.open(dir.join(&name).join("schedstat"))
            {
                self.threads.insert(
                    tid,
                    Thread {
                        node,
                        run_ns: 0,
                        idle_looks: 0,
                    },
                );
            }
        }
        self.listed = Some(Instant::now());
        Ok(())
    }
}

impl CpuTimeSource for ProcessCpuTime {
    /// CPU time used so far by all threads, those that ended included (up to their last look).
    fn read(&mut self) -> Result<Seconds> {
        let all = self.listed.is_none_or(|listed| listed.elapsed() >= LIST_PERIOD);
        if all {
            self.list_threads()?;
        }
        let mut ended = 0;
        self.threads.retain(|_, thread| {
            if !all && thread.idle_looks >= IDLE_LOOKS {
                return true;
            }
            let Some(ns) = thread.node.read().ok().and_then(run_ns) else {
                ended += thread.run_ns;
                return false;
            };
            thread.idle_looks = if ns > thread.run_ns {
                0
            } else {
                thread.idle_looks + 1
            };
            thread.run_ns = thread.run_ns.max(ns);
            true
        });
        self.ended_ns += ended;
        if self.threads.is_empty() && self.ended_ns == 0 {
            return Err(Error::unsupported(
                format!("CPU time of process {}", self.pid),
                "the kernel shows no /proc/PID/task/TID/schedstat; it needs CONFIG_SCHED_INFO",
            ));
        }
        let running: u64 = self.threads.values().map(|thread| thread.run_ns).sum();
        Ok(Seconds::from_nanos((self.ended_ns + running) as f64))
    }
}

/// The first of the three numbers in a schedstat file.
fn run_ns(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes)
        .ok()?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_running_and_ended_threads_adds_up() {
        let mut times = ProcessCpuTime::open(Root::default(), std::process::id()).unwrap();
        let before = times.read().unwrap();
        let spin = |ms| {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(ms) {
                std::hint::black_box(0);
            }
        };
        let thread = std::thread::spawn(move || {
            spin(30);
            std::thread::sleep(Duration::from_millis(250));
        });
        std::thread::sleep(Duration::from_millis(150));
        let during = times.read().unwrap();
        thread.join().unwrap();
        let after = times.read().unwrap();
        assert!((during - before).0 > 0.005, "{before} {during}");
        assert!(after >= during, "time never goes back: {during} {after}");
    }

    #[test]
    fn junk_is_no_time() {
        assert_eq!(run_ns(b"123 4 5\n"), Some(123));
        assert_eq!(run_ns(b""), None);
        assert_eq!(run_ns(b"-1 2 3"), None);
    }
}
