//! How fast the link is, learned from the transfers that happen anyway, and from a probe when there are none.

use std::time::{Duration, Instant};

/// Smaller transfers say more about the kernel's buffers than about the link.
const SMALLEST_PAYLOAD: u64 = 16_000;
/// The weight of a new transfer: high enough to follow a link that changes within a few tasks.
const WEIGHT: f64 = 0.3;

/// An estimate older than this says little about a radio link.
pub const STALE: Duration = Duration::from_secs(5);

/// The shortest pause between two probes, be the doubt ever so great.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two probes of a link that nothing else uses.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Throughput from the device to one server, smoothed over its transfers (exponentially, in its logarithm).
#[derive(Clone, Copy, Debug, Default)]
pub struct Throughput {
    estimate: Option<(f64, Instant)>,
    /// A transfer did not get through since.
    is_doubted: bool,
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
        if bps.is_finite() {
            self.take(bps, now);
        }
    }

    /// `bytes` did not get through in `time`: the link is not faster than that.
    pub fn at_most(&mut self, bytes: u64, time: Duration, now: Instant) {
        let most = 8.0 * bytes as f64 / time.as_secs_f64();
        if most.is_finite() && most > 0.0 && self.bps().is_none_or(|bps| bps > most) {
            self.estimate = Some((most, now));
            self.is_doubted = false;
        }
    }

    /// A transfer got no answer: what was known may no longer hold, and the next transfer replaces it.
    pub fn doubt(&mut self) {
        self.is_doubted = true;
    }

    fn take(&mut self, bps: f64, now: Instant) {
        // A busy machine makes one transfer look ten times faster (its reads were late and came together) and the
        // next ten times slower. In the logarithm both count alike.
        let smoothed = match self.estimate {
            Some((old, _)) if !self.stale(STALE, now) => old * (bps / old).powf(WEIGHT),
            _ => bps,
        };
        self.estimate = Some((smoothed, now));
        self.is_doubted = false;
    }

    /// Bits per second, `None` before the first useful transfer.
    pub fn bps(&self) -> Option<f64> {
        self.estimate.map(|(bps, _)| bps)
    }

    /// When the last useful transfer was.
    pub fn since(&self) -> Option<Instant> {
        self.estimate.map(|(_, at)| at)
    }

    /// Is there no useful transfer within the last `age`, or has one failed since?
    pub fn stale(&self, age: Duration, now: Instant) -> bool {
        self.is_doubted
            || self
                .estimate
                .is_none_or(|(_, at)| now.saturating_duration_since(at) > age)
    }
}

/// When a probe is due: as soon as the estimate is [`STALE`], but less and less often while nothing but probes uses the
/// link, because on a mobile link each costs money and joules.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pause: Duration,
    /// When the last probe ended, whether it showed anything or not ...
    ended: Option<Instant>,
    /// ... and what [`Throughput::since`] said then.
    since: Option<Instant>,
}

impl Default for Pace {
    /// Nothing has been probed yet.
    fn default() -> Self {
        Self {
            pause: STALE,
            ended: None,
            since: None,
        }
    }
}

impl Pace {
    /// Is it time for a probe?
    pub fn is_due(&mut self, throughput: &Throughput, now: Instant) -> bool {
        if throughput.since() != self.since {
            self.pause = STALE;
        }
        let rest = match throughput.is_doubted {
            true => SHORTEST_PAUSE,
            false => self.pause,
        };
        let has_rested = self
            .ended
            .is_none_or(|ended| now.saturating_duration_since(ended) > rest);
        has_rested && throughput.stale(self.pause, now)
    }

    /// A probe has ended, and has been taken in if it showed something.
    pub fn probed(&mut self, throughput: &Throughput, now: Instant) {
        if self.ended.is_some() {
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        }
        self.ended = Some(now);
        self.since = throughput.since();
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
    fn what_is_old_or_doubted_is_replaced_and_not_averaged() {
        let start = Instant::now();
        let mut throughput = Throughput::new();
        throughput.observe(125_000, 125_000, 0.01, start);
        throughput.observe(125_000, 125_000, 1.0, start + 2 * STALE);
        assert_eq!(throughput.bps(), Some(1e6));
        throughput.doubt();
        assert!(throughput.stale(STALE, start + 2 * STALE));
        throughput.observe(125_000, 125_000, 0.1, start + 2 * STALE);
        assert_eq!(throughput.bps(), Some(10e6));
        assert!(!throughput.stale(STALE, start + 2 * STALE));
    }

    #[test]
    fn a_transfer_that_does_not_get_through_is_an_upper_bound() {
        let now = Instant::now();
        let mut throughput = Throughput::new();
        throughput.at_most(125_000, Duration::from_secs(1), now);
        assert_eq!(throughput.bps(), Some(1e6));
        throughput.at_most(1_250_000, Duration::from_secs(1), now);
        assert_eq!(throughput.bps(), Some(1e6), "a link may well be slower than that");
        throughput.at_most(0, Duration::from_secs(1), now);
        throughput.at_most(125_000, Duration::ZERO, now);
        assert_eq!(throughput.bps(), Some(1e6));
    }

    #[test]
    fn a_link_that_nothing_else_uses_is_probed_less_and_less_often() {
        let (mut now, mut throughput, mut pace) = (Instant::now(), Throughput::new(), Pace::default());
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let begin = now;
            while !pace.is_due(&throughput, now) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - begin).as_secs());
            throughput.observe(125_000, 125_000, 0.1, now);
            pace.probed(&throughput, now);
        }
        assert_eq!(
            pauses,
            [0, 6, 11, 21, 21],
            "the first second beyond 5, 10, 20 and 20"
        );

        throughput.observe(125_000, 125_000, 0.1, now + Duration::from_millis(1));
        assert!(!pace.is_due(&throughput, now + STALE));
        assert!(
            pace.is_due(&throughput, now + STALE + Duration::from_secs(1)),
            "a task used it"
        );
        throughput.doubt();
        assert!(
            pace.is_due(&throughput, now + 2 * SHORTEST_PAUSE),
            "doubt hardly waits"
        );
    }

    /// A payload that arrives in one piece shows nothing, and a link that is down even less.
    #[test]
    fn probes_that_show_nothing_are_not_repeated_at_once() {
        let (now, mut throughput, mut pace) = (Instant::now(), Throughput::new(), Pace::default());
        assert!(pace.is_due(&throughput, now));
        pace.probed(&throughput, now);
        assert!(!pace.is_due(&throughput, now + STALE));
        assert!(pace.is_due(&throughput, now + 2 * STALE));
        throughput.doubt();
        assert!(!pace.is_due(&throughput, now + SHORTEST_PAUSE / 2));
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
