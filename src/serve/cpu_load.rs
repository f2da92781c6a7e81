//! The machine's CPU use, from the first line of `/proc/stat`, smoothed.

use hwmeter_hw::{Error, Result, Root};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

const STAT: &str = "/proc/stat";
/// The kernel counts in ticks of 10 ms: a shorter window would be coarse.
const WINDOW: Duration = Duration::from_millis(150);
/// The weight of a new window: a step is followed to two thirds within half a second.
const WEIGHT: f64 = 0.3;

/// Watches the CPU on a thread of its own until dropped.
pub(super) struct CpuLoad {
    shared: Arc<Mutex<State>>,
    thread: Thread,
}

#[derive(Default)]
struct State {
    /// The smoothed use, or why there is none.
    cpu_use: Option<std::result::Result<f64, String>>,
    stop: bool,
}

impl CpuLoad {
    /// Begins to watch; fails when `/proc/stat` cannot be used at all.
    pub fn start(root: &Root) -> Result<Self> {
        let mut node = root.open(STAT)?;
        let mut before = read(&mut node)?;
        let shared = Arc::new(Mutex::new(State::default()));
        let watched = Arc::clone(&shared);
        let watch = move || {
            loop {
                thread::park_timeout(WINDOW);
                let after = read(&mut node);
                let mut state = watched.lock().unwrap_or_else(PoisonError::into_inner);
                if state.stop {
                    return;
                }
                match after {
                    Ok(after) => {
                        let old = state.cpu_use.take().and_then(|known| known.ok());
                        state.cpu_use = smoothed(old, after.use_since(&before)).map(Ok);
                        before = after;
                    }
                    Err(e) => state.cpu_use = Some(Err(e.to_string())),
                }
            }
        };
        let handle = thread::Builder::new()
            .name("hwmeter-load".to_owned())
            .spawn(watch)
            .map_err(|e| Error::os("starting the thread that watches the CPU", e))?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
        })
    }

    /// The share of the CPU in use, 0 to 1; the error says why it is not known.
    pub fn get(&self) -> std::result::Result<f64, String> {
        let state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.cpu_use {
            Some(known) => known.clone(),
            None => Err("the load is not known yet: the server has just started".to_owned()),
        }
    }
}

impl Drop for CpuLoad {
    fn drop(&mut self) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.thread.unpark();
    }
}

fn smoothed(old: Option<f64>, new: Option<f64>) -> Option<f64> {
    match (old, new) {
        (Some(old), Some(new)) => Some(old + WEIGHT * (new - old)),
        (old, new) => new.or(old),
    }
}

/// Ticks since boot, all CPUs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    idle: u64,
}

impl Ticks {
    /// The busy share between two readings; `None` if the kernel counted nothing in between.
    fn use_since(&self, before: &Self) -> Option<f64> {
        // Counters of one CPU may go back a little when it goes offline, and `iowait` by design.
        let busy = self.busy.saturating_sub(before.busy);
        let idle = self.idle.saturating_sub(before.idle);
        (busy + idle > 0).then(|| busy as f64 / (busy + idle) as f64)
    }
}

fn read(node: &mut hwmeter_hw::root::Node) -> Result<Ticks> {
    let path = node.path().to_owned();
    let bytes = node.read()?;
    parse(bytes).ok_or_else(|| Error::malformed(Path::new(&path), bytes, "`cpu` and its ticks"))
}

/// The `cpu` line: user nice system idle iowait irq softirq steal (guest time is part of user time).
fn parse(stat: &[u8]) -> Option<Ticks> {
    let line = stat.split(|&b| b == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    if words.next()? != "cpu" {
        return None;
    }
    let ticks: Vec<u64> = words
        .take(8)
        .map(|word| word.parse().ok())
        .collect::<Option<_>>()?;
    // Kernels before 2.6.11 end earlier; what is missing counts as nothing, but four there always are.
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    let sum = |indices: &[usize]| {
        indices
            .iter()
            .try_fold(0_u64, |sum, &index| sum.checked_add(at(index)))
    };
    (ticks.len() >= 4).then_some(())?;
    Some(Ticks {
        busy: sum(&[0, 1, 2, 5, 6, 7])?,
        idle: sum(&[3, 4])?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn busy_and_idle_are_told_apart() {
        let before = parse(b"cpu  100 10 50 1000 40 5 5 30 7 0\ncpu0 1 2 3 4\n").unwrap();
        assert_eq!(
            before,
            Ticks {
                busy: 200,
                idle: 1040
            }
        );
        let after = parse(b"cpu  130 10 50 1060 40 5 5 40 7 0\n").unwrap();
        assert_eq!(after.use_since(&before), Some(0.4));
        assert_eq!(after.use_since(&after), None);
    }

    #[test]
    fn anything_else_is_malformed() {
        let cases: [&[u8]; 7] = [
            b"",
            b"cpu",
            b"cpu 1 2 3",
            b"cpu0 1 2 3 4 5 6 7 8",
            b"cpu 1 2 x 4 5",
            b"cpu -1 2 3 4 5",
            b"cpu 18446744073709551615 18446744073709551615 3 4 5",
        ];
        for bad in cases {
            assert_eq!(parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn it_follows_a_made_up_machine_and_survives_a_broken_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        std::fs::create_dir(root.path("/proc")).unwrap();
        std::fs::write(root.path(STAT), "rubbish").unwrap();
        assert!(CpuLoad::start(&root).is_err());

        std::fs::write(root.path(STAT), "cpu 0 0 0 0 0 0 0 0\n").unwrap();
        let load = CpuLoad::start(&root).unwrap();
        assert!(load.get().unwrap_err().contains("just started"));
        std::fs::write(root.path(STAT), "cpu 30 0 0 70 0 0 0 0\n").unwrap();
        let until = |wanted: &dyn Fn(&std::result::Result<f64, String>) -> bool| {
            for _ in 0..300 {
                if wanted(&load.get()) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
            panic!("not within 3 s: {:?}", load.get());
        };
        until(&|now| now.as_ref().is_ok_and(|u| (u - 0.3).abs() < 1e-9));
        std::fs::write(root.path(STAT), "cpu broken\n").unwrap();
        until(&|now| now.as_ref().is_err_and(|why| why.contains("/proc/stat")));
        std::fs::write(root.path(STAT), "cpu 130 0 0 70 0 0 0 0\n").unwrap();
        until(&|now| now.as_ref().is_ok_and(|&u| u > 0.5));
    }
}
