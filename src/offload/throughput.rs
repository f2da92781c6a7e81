//! How fast the link is, learned from the transfers that happen anyway.

use std::time::{Duration, Instant};

/// Smaller transfers say more about the kernel's buffers than about the link.
const SMALLEST_PAYLOAD: u64 = 16_000;
/// The weight of a new transfer: high enough to follow a link that changes within a few tasks.
const WEIGHT: f64 = 0.3;

/// Throughput from the device to one server, smoothed over its transfers (exponentially, in its logarithm).
#[derive(Clone, Copy, Debug, Default)]
pub struct Throughput {
    estimate: Option<(f64, Instant)>,
}

impl Throughput {
    /// An estimate that has seen no transfer yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a payload of `payload_bytes` of which `receive_bytes` arrived in the `receive_s` seconds after
    /// its first read. Transfers too small, or read in one piece, tell nothing and are left out.
    pub fn observe(&mut self, payload_bytes: u64, receive_bytes: u64, receive_s: f64, now: Instant) {
        let told_by_time = receive_s > 0.0 && receive_bytes > 0;
        if payload_bytes < SMALLEST_PAYLOAD || !told_by_time {
            return;
        }
        let bps = 8.0 * receive_bytes as f64 / receive_s;
        if !bps.is_finite() {
            return;
        }
        // A busy machine makes one transfer look ten times faster (its reads were late and came together) and the
        // next ten times slower. In the logarithm both count alike.
        let smoothed = match self.estimate {
            Some((old, _)) => old * (bps / old).powf(WEIGHT),
            None => bps,
        };
        self.estimate = Some((smoothed, now));
    }

    /// Bits per second, `None` before the first useful transfer.
    pub fn bps(&self) -> Option<f64> {
        self.estimate.map(|(bps, _)| bps)
    }

    /// Is there no useful transfer within the last `age`?
    pub fn stale(&self, age: Duration, now: Instant) -> bool {
        self.estimate
            .is_none_or(|(_, at)| now.saturating_duration_since(at) > age)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_link_and_ages() {
        let start = Instant::now();
        let mut throughput = Throughput::new();
        assert_eq!(throughput.bps(), None);
        assert!(throughput.stale(Duration::MAX, start));

        throughput.observe(150_000, 125_000, 0.02, start);
        assert_eq!(throughput.bps(), Some(50e6));
        for _ in 0..30 {
            throughput.observe(150_000, 125_000, 0.1, start);
        }
        assert!((throughput.bps().unwrap() / 10e6 - 1.0).abs() < 0.01);
        assert!(!throughput.stale(Duration::from_secs(1), start));
        assert!(throughput.stale(Duration::from_secs(1), start + Duration::from_secs(2)));
    }

    #[test]
    fn outliers_up_and_down_count_alike() {
        let now = Instant::now();
        let mut throughput = Throughput::new();
        for receive_s in [0.02, 0.002, 0.2] {
            throughput.observe(125_000, 125_000, receive_s, now);
        }
        let bps = throughput.bps().unwrap();
        assert!(bps > 50e6 * 0.7 && bps < 50e6 * 1.0, "{bps}");
    }

    #[test]
    fn transfers_that_tell_nothing_are_left_out() {
        let mut throughput = Throughput::new();
        let now = Instant::now();
        throughput.observe(15_999, 10_000, 0.1, now);
        throughput.observe(1_000_000, 0, 0.0, now);
        throughput.observe(1_000_000, 100, 0.0, now);
        throughput.observe(1_000_000, 100, f64::NAN, now);
        throughput.observe(1_000_000, 100, f64::MIN_POSITIVE, now);
        assert_eq!(throughput.bps(), None);
    }
}
