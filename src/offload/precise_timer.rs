//! A timer with the kernel's resolution. The runtime's own timers count whole milliseconds, which would be an
//! error of 20 % on a link of 5 ms.

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Instant;
use tokio::io::unix::AsyncFd;

/// Sleeps until given instants, one after the other.
pub(super) struct PreciseTimer {
    fd: AsyncFd<Fd>,
}

/// `AsyncFd` asks for `AsRawFd`, which `TimerFd` lacks.
struct Fd(TimerFd);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl PreciseTimer {
    /// Needs a runtime with I/O.
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        // SAFETY: `Fd` owns its descriptor, always names the same one, and nobody replaces or closes it.
        let fd = unsafe { AsyncFd::register(Fd(timer)) };
        Ok(Self {
            fd: fd.map_err(io::Error::from)?,
        })
    }

    /// Returns at `due`, or at once if that has passed.
    pub async fn sleep_until(&mut self, due: Instant) -> io::Result<()> {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        self.fd.get_ref().0.set(once, TimerSetTimeFlags::empty())?;
        loop {
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|fd| fd.get_ref().0.wait().map_err(io::Error::from)) {
                Ok(outcome) => return outcome,
                Err(_not_yet) => continue,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_never_wakes_early_and_is_mostly_exact() {
        let mut timer = PreciseTimer::new().unwrap();
        let mut late = Vec::new();
        for i in 1..40_u32 {
            let due = Instant::now() + Duration::from_micros(100) * i;
            timer.sleep_until(due).await.unwrap();
            let now = Instant::now();
            assert!(now >= due);
            late.push(now - due);
        }
        late.sort();
        // The runtime's timers would be 500 µs late on average.
        assert!(late[late.len() / 4] < Duration::from_micros(300), "{late:?}");
        timer.sleep_until(Instant::now()).await.unwrap();
    }
}
