//! How long to wait before the next attempt.

use rand::RngExt;
use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(1);

/// Doubles from 0.1 s to 10 s, half of it by chance: a thousand devices that lost the same broker do not all come back
/// at the same moment.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    connected: Option<Instant>,
}

impl Backoff {
    pub fn new() -> Self {
        Self {
            next: SHORTEST,
            connected: None,
        }
    }

    /// There is a connection.
    pub fn connected(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// It is lost, or none came about; the wait.
    pub fn failed(&mut self, needs_somebody: bool) -> Duration {
        if self.connected.take().is_some_and(|since| since.elapsed() >= GOOD) {
            self.next = SHORTEST;
        }
        if needs_somebody {
            self.next = LONGEST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_their_bounds() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..12).map(|_| backoff.failed(false)).collect();
        assert!(waits[0] <= SHORTEST && waits[0] >= SHORTEST / 2, "{waits:?}");
        assert!(waits[11] <= LONGEST && waits[11] >= LONGEST / 2, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
    }

    #[test]
    fn a_connection_that_breaks_at_once_does_not_begin_anew() {
        let mut backoff = Backoff::new();
        for _ in 0..5 {
            backoff.connected();
            backoff.failed(false);
        }
        assert!(backoff.failed(false) > SHORTEST);
    }

    #[test]
    fn a_wrong_password_is_tried_slowly() {
        assert!(Backoff::new().failed(true) >= LONGEST / 2);
    }
}
