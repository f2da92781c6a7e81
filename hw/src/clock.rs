//! Time: one monotonic clock for everything, and a manual one that makes tests exact.

use crate::units::Seconds;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment on a monotonic clock, in nanoseconds since an arbitrary origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// This moment plus a duration.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_nanos() as u64))
    }

    /// This moment minus a duration; never before the clock's origin.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_nanos() as u64))
    }
}

impl Sub for Moment {
    type Output = Seconds;
    /// Seconds from `earlier` to this moment; negative if it came first.
    fn sub(self, earlier: Self) -> Seconds {
        Seconds::from_nanos((i128::from(self.0) - i128::from(earlier.0)) as f64)
    }
}

/// Something that tells the time and can wait.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Moment;
    /// Waits until `moment`; returns at once if that is past.
    fn sleep_until(&self, moment: Moment);
    /// Time the machine has spent suspended since an arbitrary origin. The clock stands still meanwhile, so a span
    /// holds neither the seconds nor the joules of it. Zero for clocks of which nothing is known.
    fn suspended(&self) -> Seconds {
        Seconds::ZERO
    }
}

/// `CLOCK_MONOTONIC` of the kernel: does not jump when the wall clock is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    fn now(&self) -> Moment {
        read(libc::CLOCK_MONOTONIC)
    }

    /// `CLOCK_BOOTTIME` counts on while the machine sleeps, `CLOCK_MONOTONIC` does not.
    fn suspended(&self) -> Seconds {
        let before = read(libc::CLOCK_MONOTONIC);
        let boot = read(libc::CLOCK_BOOTTIME);
        let after = read(libc::CLOCK_MONOTONIC);
        boot - Moment(before.0 + (after.0 - before.0) / 2)
    }

    fn sleep_until(&self, moment: Moment) {
        let deadline = libc::timespec {
            tv_sec: (moment.0 / 1_000_000_000) as libc::time_t,
            tv_nsec: (moment.0 % 1_000_000_000) as libc::c_long,
        };
        // An absolute deadline: a late wake-up does not shift the ones after it. A signal only repeats the wait.
        // SAFETY: `deadline` is a valid timespec; a null remainder is allowed with TIMER_ABSTIME.
        while unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &deadline,
                std::ptr::null_mut(),
            )
        } == libc::EINTR
        {}
    }
}

fn read(clock: libc::clockid_t) -> Moment {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid timespec to write to; both clocks exist on every Linux since 2.6.39.
    unsafe { libc::clock_gettime(clock, &mut ts) };
    Moment(ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64)
}

/// Tells how long the machine was suspended since the watch began.
#[derive(Clone, Copy, Debug)]
pub struct SuspendWatch {
    at_begin: Seconds,
}

/// Two clocks read one after the other differ by less than this; no machine sleeps and wakes within it.
const SHORTEST_SUSPEND: Seconds = Seconds(0.01);

impl SuspendWatch {
    /// Begins to watch.
    pub fn begin(clock: &dyn Clock) -> Self {
        Self {
            at_begin: clock.suspended(),
        }
    }

    /// Time suspended since the beginning; exactly zero if there was none.
    pub fn elapsed(&self, clock: &dyn Clock) -> Seconds {
        let suspended = clock.suspended() - self.at_begin;
        if suspended >= SHORTEST_SUSPEND {
            suspended
        } else {
            Seconds::ZERO
        }
    }
}

/// A clock that moves only when told to. `sleep_until` jumps to the moment asked for.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: AtomicU64,
    suspended_ns: AtomicU64,
}

impl ManualClock {
    /// A clock that starts at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.now_ns
            .fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
    }

    /// The machine sleeps for this long: the clock does not move.
    pub fn suspend(&self, duration: Duration) {
        self.suspended_ns
            .fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment(self.now_ns.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, moment: Moment) {
        self.now_ns.fetch_max(moment.0, Ordering::SeqCst);
    }

    fn suspended(&self) -> Seconds {
        Seconds::from_nanos(self.suspended_ns.load(Ordering::SeqCst) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_sleeps_to_an_absolute_moment() {
        let clock = MonotonicClock;
        let goal = clock.now().after(Duration::from_millis(5));
        clock.sleep_until(goal);
        assert!(clock.now() >= goal);
        clock.sleep_until(Moment(0));
    }

    #[test]
    fn time_suspended_is_told_and_is_no_time_of_the_clock() {
        let clock = ManualClock::new();
        clock.suspend(Duration::from_secs(5)); // before the watch: not its business
        let watch = SuspendWatch::begin(&clock);
        clock.advance(Duration::from_secs(1));
        assert_eq!(watch.elapsed(&clock), Seconds::ZERO);
        clock.suspend(Duration::from_secs(90));
        assert_eq!(watch.elapsed(&clock), Seconds(90.0));
        assert_eq!(clock.now(), Moment(1_000_000_000));
    }

    #[test]
    fn a_machine_that_stays_awake_was_not_suspended() {
        let watch = SuspendWatch::begin(&MonotonicClock);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(watch.elapsed(&MonotonicClock), Seconds::ZERO);
        assert!(MonotonicClock.suspended().0 > -0.01);
    }

    #[test]
    fn moments_subtract_to_signed_seconds() {
        assert_eq!(Moment(2_500_000_000) - Moment(1_000_000_000), Seconds(1.5));
        assert_eq!(Moment(0) - Moment(1_000_000_000), Seconds(-1.0));
    }
}
