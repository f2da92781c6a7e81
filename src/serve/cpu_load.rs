//! The machine's CPU use, from the first line of `/proc/stat`, smoothed.

use hwmeter_hw::cpu::CpuTimesReader;
use hwmeter_hw::{Error, Result, Root};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

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
        let mut stat = CpuTimesReader::open(root)?;
        let mut before = stat.read()?;
        let shared = Arc::new(Mutex::new(State::default()));
        let watched = Arc::clone(&shared);
        let watch = move || {
            loop {
                thread::park_timeout(WINDOW);
                let after = stat.read();
                let mut state = watched.lock().unwrap_or_else(PoisonError::into_inner);
                if state.stop {
                    return;
                }
                match after {
                    Ok(after) => {
                        let old = state.cpu_use.take().and_then(|known| known.ok());
                        state.cpu_use = smoothed(old, after.utilisation_since(&before)).map(Ok);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STAT: &str = "/proc/stat";

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
