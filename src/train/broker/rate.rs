//! How fast one device may send: a bucket that fills at a constant rate and holds one second's worth.

use std::time::{Duration, Instant};

/// What is left of one rate.
#[derive(Debug)]
pub(super) struct Bucket {
    per_s: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    pub fn new(per_s: u32, now: Instant) -> Self {
        let per_s = f64::from(per_s.max(1));
        Self {
            per_s,
            left: per_s,
            at: now,
        }
    }

    /// Takes so much, and says how long to wait before the next time.
    pub fn take(&mut self, amount: f64, now: Instant) -> Duration {
        let new = now.saturating_duration_since(self.at).as_secs_f64() * self.per_s;
        self.at = now;
        self.left = (self.left + new).min(self.per_s) - amount;
        Duration::from_secs_f64((-self.left).max(0.0) / self.per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_free_and_the_rest_comes_at_the_rate() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs_f64(seconds);
        let mut bucket = Bucket::new(100, begin);
        assert_eq!(bucket.take(100.0, begin), Duration::ZERO);
        assert_eq!(bucket.take(50.0, begin), Duration::from_secs_f64(0.5));
        assert_eq!(bucket.take(0.0, at(0.25)), Duration::from_secs_f64(0.25));
        assert_eq!(bucket.take(25.0, at(0.75)), Duration::ZERO);
        // However long nothing came, no more than one second's worth is saved.
        assert_eq!(bucket.take(200.0, at(100.0)), Duration::from_secs(1));
    }
}
