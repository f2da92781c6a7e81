//! How busy the server is: the machine's CPU use, from the first line of `/proc/stat`, and the length of the queue.

use hwmeter_hw::cpu::CpuTimesReader;
use hwmeter_hw::{Error, Result, Root};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// The kernel counts in ticks of 10 ms: a shorter window would be coarse.
const WINDOW: Duration = Duration::from_millis(150);
/// The weight of a new window: a step is followed to two thirds within half a second.
const WEIGHT: f64 = 0.3;

/// Watches CPU and queue on a thread of its own until dropped.
pub(super) struct LoadWatch {
    shared: Arc<Mutex<State>>,
    thread: Thread,
}

/// A value over the latest window, and its exponentially weighted mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Smoothed {
    pub now: f64,
    pub mean: f64,
}

/// What was seen in the latest window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// Share of the CPU in use, 0 to 1.
    pub cpu_use: Smoothed,
    /// Tasks waiting.
    pub queue: Smoothed,
}

#[derive(Default)]
struct State {
    /// What was seen, or why nothing was.
    seen: Option<std::result::Result<Seen, String>>,
    stop: bool,
}

impl LoadWatch {
    /// Begins to watch; `queue` tells the length of the queue. Fails when `/proc/stat` cannot be used at all.
    pub fn start(root: &Root, queue: impl Fn() -> usize + Send + 'static) -> Result<Self> {
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
                        // No tick may have passed on a machine that was suspended: then nothing new is known.
                        if let Some(cpu_use) = after.utilisation_since(&before) {
                            let old = state.seen.take().and_then(|seen| seen.ok());
                            state.seen = Some(Ok(Seen::after(old, cpu_use, queue() as f64)));
                            before = after;
                        }
                    }
                    Err(e) => state.seen = Some(Err(e.to_string())),
                }
            }
        };
        let handle = thread::Builder::new()
            .name("hwmeter-load".to_owned())
            .spawn(watch)
            .map_err(|e| Error::os("starting the thread that watches the load", e))?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
        })
    }

    /// What was seen; the error says why nothing was.
    pub fn get(&self) -> std::result::Result<Seen, String> {
        let state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.seen {
            Some(seen) => seen.clone(),
            None => Err("the load is not known yet: the server has just started".to_owned()),
        }
    }
}

impl Drop for LoadWatch {
    fn drop(&mut self) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.thread.unpark();
    }
}

impl Seen {
    fn after(old: Option<Self>, cpu_use: f64, queue: f64) -> Self {
        Self {
            cpu_use: Smoothed::after(old.map(|old| old.cpu_use), cpu_use),
            queue: Smoothed::after(old.map(|old| old.queue), queue),
        }
    }
}

impl Smoothed {
    fn after(old: Option<Self>, now: f64) -> Self {
        let mean = old.map_or(now, |old| old.mean + WEIGHT * (now - old.mean));
        Self { now, mean }
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
        assert!(LoadWatch::start(&root, || 7).is_err());

        std::fs::write(root.path(STAT), "cpu 0 0 0 0 0 0 0 0\n").unwrap();
        let load = LoadWatch::start(&root, || 7).unwrap();
        assert!(load.get().unwrap_err().contains("just started"));
        std::fs::write(root.path(STAT), "cpu 30 0 0 70 0 0 0 0\n").unwrap();
        let until = |wanted: &dyn Fn(&std::result::Result<Seen, String>) -> bool| {
            for _ in 0..300 {
                if wanted(&load.get()) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
            panic!("not within 3 s: {:?}", load.get());
        };
        let near = |value: Smoothed, now: f64, mean: f64| {
            (value.now - now).abs() < 1e-9 && (value.mean - mean).abs() < 1e-9
        };
        until(&|seen| {
            seen.as_ref()
                .is_ok_and(|seen| near(seen.cpu_use, 0.3, 0.3) && near(seen.queue, 7.0, 7.0))
        });
        std::fs::write(root.path(STAT), "cpu broken\n").unwrap();
        until(&|now| now.as_ref().is_err_and(|why| why.contains("/proc/stat")));
        std::fs::write(root.path(STAT), "cpu 130 0 0 70 0 0 0 0\n").unwrap();
        until(&|seen| seen.as_ref().is_ok_and(|seen| seen.cpu_use.now == 1.0));
    }

    #[test]
    fn the_mean_follows_a_step_to_two_thirds_within_half_a_second() {
        let mut value = Smoothed::after(None, 0.0);
        for _ in 0..3 {
            value = Smoothed::after(Some(value), 1.0);
        }
        assert_eq!(value.now, 1.0);
        assert!((value.mean - (1.0 - 0.7f64.powi(3))).abs() < 1e-12, "{value:?}");
    }
}
