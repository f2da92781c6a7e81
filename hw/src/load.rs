//! A controlled load: threads pinned one per core, each busy for a share of the time.
//!
//! A thread works until its own CPU clock has advanced by `share` of the time that passed, then sleeps for the rest of a
//! period of 5 to 15 ms. The lengths vary, because the kernel's accounting of CPU time samples at a fixed rate and would
//! see a load that is in step with it as idle or as busy all the time. What was asked for is not always what a busy
//! machine gives: read the utilisation that really was from `/proc/stat`.
//!
//! The work is multiplications and additions on numbers in the first-level cache. Other instructions take other power.

use crate::clock::{Clock, Moment, MonotonicClock};
use crate::cpu::Affinity;
use crate::error::{Error, Result};
use crate::synthetic::Random;
use crate::units::Seconds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Shortest and longest period of the duty cycle, in seconds.
const PERIOD_S: (f64, f64) = (0.005, 0.015);
/// Time that a thread was kept from the CPU is made up for as far as this: a level is wanted, not a sum.
const LONGEST_DEBT_S: f64 = 0.015;

/// Threads at work. They stop when this is dropped.
#[derive(Debug)]
pub struct Load {
    is_stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// One thread on each of `cores`, busy for `share` (0 to 1) of the time. A core that this process may not use is an
    /// error, and so is a share that is none. Nothing runs for a share of zero.
    pub fn start(cores: &[usize], share: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&share) {
            let what = format!("a load of {share}");
            return Err(Error::unsupported(what, "it is a share of the time, 0 to 1"));
        }
        let mut load = Self {
            is_stopping: Arc::default(),
            threads: Vec::new(),
        };
        if share > 0.0 {
            for &core in cores {
                load.add(core, share)?;
            }
        }
        Ok(load)
    }

    /// Starts one thread and waits until it is pinned.
    fn add(&mut self, core: usize, share: f64) -> Result<()> {
        let is_stopping = Arc::clone(&self.is_stopping);
        let (tell, told) = mpsc::channel();
        let body = move || match Affinity::pin(&[core]) {
            Ok(_pinned) => {
                // Nobody listens if the caller has gone, and then there is nobody to tell.
                let _ = tell.send(Ok(()));
                work(core as u64, share, &is_stopping);
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        let thread = std::thread::Builder::new().name(format!("load-{core}"));
        let thread = thread
            .spawn(body)
            .map_err(|e| Error::os("starting a thread that makes load", e))?;
        self.threads.push(thread);
        told.recv().unwrap_or_else(|_| {
            let why = "its thread ended before it was pinned";
            Err(Error::unsupported(format!("a load on CPU {core}"), why))
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

/// The duty cycle, until told to stop.
fn work(seed: u64, share: f64, is_stopping: &AtomicBool) {
    let clock = MonotonicClock;
    let mut random = Random::new(seed);
    let mut numbers = Numbers::default();
    let mut last = clock.now();
    let mut owed = 0.0;
    while !is_stopping.load(Ordering::Relaxed) {
        let begin = clock.now();
        let end = begin.after(Duration::from_secs_f64(random.uniform(PERIOD_S.0, PERIOD_S.1)));
        owed = (owed + share * (begin - last).0).min(LONGEST_DEBT_S);
        owed -= numbers.use_up(owed, share, end, &clock);
        last = begin;
        if share < 1.0 {
            clock.sleep_until(end);
        }
    }
}

/// What the work works on: it fits the first-level cache.
struct Numbers([f32; 256]);

impl Default for Numbers {
    fn default() -> Self {
        Self([1.0; 256])
    }
}

impl Numbers {
    /// Works until the thread has used `seconds` of CPU time or `end` has come (with a share of 1, until then); the CPU
    /// time used.
    fn use_up(&mut self, seconds: f64, share: f64, end: Moment, clock: &MonotonicClock) -> f64 {
        let begin = thread_cpu_time();
        let mut used = 0.0;
        while (used < seconds || share >= 1.0) && clock.now() < end {
            self.turn();
            used = (thread_cpu_time() - begin).0;
        }
        used
    }

    /// Some microseconds of work between two looks at the clock.
    fn turn(&mut self) {
        for _ in 0..100 {
            for number in &mut self.0 {
                *number = *number * 0.999 + 0.001;
            }
            std::hint::black_box(&mut self.0);
        }
    }
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Seconds {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to; the clock exists on every Linux since 2.6.12.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Seconds(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// CPU time of this thread while it works for `share` of 0.4 s, as a share of the time.
    fn share_used(share: f64) -> f64 {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let (begin, cpu) = (Instant::now(), thread_cpu_time());
                work(1, share, &stop);
                (thread_cpu_time() - cpu).0 / begin.elapsed().as_secs_f64()
            });
            std::thread::sleep(Duration::from_millis(400));
            stop.store(true, Ordering::Relaxed);
            worker.join().unwrap()
        })
    }

    #[test]
    fn a_thread_is_never_busier_than_asked_for_and_works_more_where_more_is_asked() {
        // How much less it gets is up to whoever else runs here.
        let (little, much) = (share_used(0.1), share_used(0.9));
        assert!((0.01..0.2).contains(&little), "{little}");
        assert!(much > little && much <= 1.0, "{little} {much}");
    }

    #[test]
    fn a_core_that_is_not_there_and_a_share_that_is_none_are_refused_and_dropping_stops() {
        let core = Affinity::current().unwrap()[0];
        let error = Load::start(&[core, 1023], 0.5).unwrap_err().to_string();
        assert!(error.contains("1023") && error.contains("not allowed"), "{error}");
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(Load::start(&[core], share).is_err());
        }
        let load = Load::start(&[core], 0.5).unwrap();
        let stop = Arc::clone(&load.is_stopping);
        assert_eq!(load.threads.len(), 1);
        drop(load);
        assert_eq!(Arc::strong_count(&stop), 1, "its thread has ended");
        assert!(Load::start(&[core], 0.0).unwrap().threads.is_empty());
    }
}
