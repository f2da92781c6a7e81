//! Duty cycling: makes a thread as slow as a slower processor by sleeping between pieces of work.
//!
//! After CPU time `t` the thread sleeps `t (1/speed - 1)`, so that work and sleep together take `t / speed`.
//! CPU time is the thread's own (`CLOCK_THREAD_CPUTIME_ID`): waiting for the processor is not work.

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Sleep is owed until this much has come together: shorter sleeps are mostly wake-up overhead.
const MIN_DEBT: Duration = Duration::from_millis(3);

/// The longest sleep without asking whether to stop.
const MAX_NAP: Duration = Duration::from_millis(4);

/// The share of a processor's full speed, above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Speed(f64);

impl Speed {
    /// Full speed: no sleep, and no cost.
    pub const FULL: Self = Self(1.0);

    /// A speed, if `share` is above 0 and at most 1.
    pub fn new(share: f64) -> Result<Self, InvalidSpeed> {
        // Written so that NaN is refused.
        if share > 0.0 && share <= 1.0 {
            Ok(Self(share))
        } else {
            Err(InvalidSpeed(share.to_string()))
        }
    }

    /// The share of full speed.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self::FULL
    }
}

impl TryFrom<f64> for Speed {
    type Error = InvalidSpeed;

    fn try_from(share: f64) -> Result<Self, InvalidSpeed> {
        Self::new(share)
    }
}

impl From<Speed> for f64 {
    fn from(speed: Speed) -> Self {
        speed.0
    }
}

impl FromStr for Speed {
    type Err = InvalidSpeed;

    fn from_str(text: &str) -> Result<Self, InvalidSpeed> {
        text.trim()
            .parse()
            .ok()
            .and_then(|share| Self::new(share).ok())
            .ok_or_else(|| InvalidSpeed(text.to_owned()))
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something that is no speed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSpeed(String);

impl fmt::Display for InvalidSpeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(
            f,
            "{text:?} is no speed: give the share of full speed, above 0 and at most 1, such as 0.25"
        )
    }
}

impl std::error::Error for InvalidSpeed {}

/// CPU time the calling thread has used since it began.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("Linux has a CPU-time clock for every thread").into()
}

/// Paces the calling thread, and asks it to stop.
pub(crate) struct Pacer<'a> {
    /// Seconds of sleep owed for each second of CPU time.
    sleep_per_cpu: f64,
    began: Duration,
    slept: Duration,
    stop: &'a dyn Fn() -> bool,
}

impl<'a> Pacer<'a> {
    /// Work begins now, on this thread.
    pub(crate) fn new(speed: Speed, stop: &'a dyn Fn() -> bool) -> Self {
        let sleep_per_cpu = 1.0 / speed.value() - 1.0;
        let began = if sleep_per_cpu > 0.0 {
            thread_cpu_time()
        } else {
            Duration::ZERO
        };
        Self {
            sleep_per_cpu,
            began,
            slept: Duration::ZERO,
            stop,
        }
    }

    /// Between two pieces of work: sleeps if enough is owed. `None` when it is time to stop.
    pub(crate) fn step(&mut self) -> Option<()> {
        self.pay_from(MIN_DEBT)
    }

    /// After the last piece of work: sleeps whatever is still owed. `None` when it is time to stop.
    pub(crate) fn finish(mut self) -> Option<()> {
        self.pay_from(Duration::ZERO)
    }

    fn pay_from(&mut self, least: Duration) -> Option<()> {
        if (self.stop)() {
            return None;
        }
        let debt = self.debt();
        if debt.is_zero() || debt < least {
            Some(())
        } else {
            self.sleep(debt)
        }
    }

    /// Sleep owed and not yet slept. Oversleeping is remembered, so it makes up for later debts.
    fn debt(&self) -> Duration {
        if self.sleep_per_cpu <= 0.0 {
            return Duration::ZERO;
        }
        let worked = thread_cpu_time().saturating_sub(self.began).as_secs_f64();
        // A speed near zero may owe more than a Duration holds.
        let owed = Duration::try_from_secs_f64(worked * self.sleep_per_cpu).unwrap_or(Duration::MAX);
        owed.saturating_sub(self.slept)
    }

    fn sleep(&mut self, debt: Duration) -> Option<()> {
        let began = Instant::now();
        let mut left = debt;
        while !left.is_zero() {
            std::thread::sleep(left.min(MAX_NAP));
            if (self.stop)() {
                return None;
            }
            left = debt.saturating_sub(began.elapsed());
        }
        self.slept += began.elapsed();
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn burn(cpu: Duration) {
        let end = thread_cpu_time() + cpu;
        while thread_cpu_time() < end {}
    }

    /// Time this thread has spent ready to run while others ran, where the kernel counts it.
    fn waited_for_cpu() -> Duration {
        let counts = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanoseconds = counts
            .split_whitespace()
            .nth(1)
            .and_then(|delay| delay.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or(0))
    }

    /// Wall time of `pieces` pieces of work of `piece` at `speed`, over that of the work alone, with and without
    /// the time in which others had the processor.
    fn stretch(speed: f64, piece: Duration, pieces: u32) -> (f64, f64) {
        let (waited, wall) = (waited_for_cpu(), Instant::now());
        let mut pacer = Pacer::new(Speed::new(speed).unwrap(), &|| false);
        for _ in 0..pieces {
            pacer.step().unwrap();
            burn(piece);
        }
        pacer.finish().unwrap();
        let wall = wall.elapsed();
        let undisturbed = wall.saturating_sub(waited_for_cpu() - waited);
        let work = (piece * pieces).as_secs_f64();
        (wall.as_secs_f64() / work, undisturbed.as_secs_f64() / work)
    }

    #[test]
    fn speeds_are_above_zero_and_at_most_one() {
        for good in ["1", "0.25", " 1e-3 "] {
            assert!(good.parse::<Speed>().is_ok(), "{good}");
        }
        for bad in ["0", "-0.5", "1.01", "NaN", "inf", "", "fast"] {
            let message = bad.parse::<Speed>().unwrap_err().to_string();
            assert!(
                message.contains(bad) && message.contains("above 0 and at most 1"),
                "{message}"
            );
        }
        assert_eq!(
            serde_json::from_str::<Speed>("0.5").unwrap(),
            Speed::new(0.5).unwrap()
        );
        assert!(serde_json::from_str::<Speed>("2").is_err());
    }

    #[test]
    fn work_is_stretched_by_the_speed() {
        for (speed, piece_us, pieces) in [(0.5, 200, 100), (0.1, 100, 50), (0.25, 1000, 1)] {
            let piece = Duration::from_micros(piece_us);
            // Some wake-up latency comes on top of the last sleep, which nothing can make up for.
            let most = 1.1 / speed + 1e-3 / (piece * pieces).as_secs_f64();
            // Never faster than asked for; slower only as long as the machine is too busy to tell.
            let in_time = (0..20).any(|_| {
                let (wall, undisturbed) = stretch(speed, piece, pieces);
                assert!(wall > 0.999 / speed, "{speed}: only {wall}");
                undisturbed < most
            });
            assert!(in_time, "{speed}: longer than {most} every time");
        }
    }

    #[test]
    fn a_sleeper_stops_soon() {
        let wall = Instant::now();
        let stop = || wall.elapsed() > Duration::from_millis(30);
        let mut pacer = Pacer::new(Speed::new(0.001).unwrap(), &stop);
        burn(Duration::from_millis(1));
        assert_eq!(pacer.step(), None);
        let late = wall.elapsed().saturating_sub(Duration::from_millis(30));
        assert!(
            late < Duration::from_millis(25),
            "{late:?} late on a shared machine"
        );
    }

    #[test]
    fn the_slowest_speed_does_not_overflow() {
        let asked = std::cell::Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) > 1;
        let mut pacer = Pacer::new(Speed::new(f64::MIN_POSITIVE).unwrap(), &stop);
        burn(Duration::from_millis(1));
        assert_eq!(pacer.step(), None);
    }
}
