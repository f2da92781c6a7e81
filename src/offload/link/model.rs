//! When what goes into one direction of a link comes out of it: a pure function of times, bytes and a seed.
//!
//! ```text
//! bytes -> bottleneck (shared by all connections, rate_bps) -> cable (latency, jitter, loss, of this connection) -> out
//! ```
//!
//! Time is seconds since the link's profile began. A piece comes out once its last byte has
//!
//! 1. passed the bottleneck, which serves one piece after the other, 8 x bytes / rate seconds each, and rests in an
//!    outage;
//! 2. spent its delay on the cable: one draw around the latency for each piece;
//! 3. been sent again as often as it was lost. A packet is [`SEGMENT_BYTES`] of a piece. Whether one is lost follows
//!    Gilbert's chain (E. N. Gilbert, Bell Syst. Tech. J. 39, 1960): in a burst every packet is lost, a burst ends after a
//!    packet with probability 1 / `loss_burst`, and one begins with the probability that makes `loss` the mean
//!    ([`Conditions::gilbert`]).
//!    A lost packet costs
//!    - one round trip where at least [`FAST_SEGMENTS`] packets of the connection are under way, the lost one included:
//!      the acknowledgements of those behind it show the gap (fast retransmit, RFC 5681);
//!    - else the retransmission timeout: round trip + max(200 ms, 4 x jitter), which is RFC 6298 with the least
//!      variance that Linux assumes;
//!    - and each time that it is lost again, with probability `loss`, the timeout once more, doubled each time, at most
//!      120 s;
//! 4. waited for the end of an outage, if it would come out in one;
//! 5. waited for what was sent before it on the same connection: TCP gives bytes out in order.
//!
//! Not modelled: that a sender's congestion control slows down after a loss. Where that matters, use `--netem`.

use super::conditions::Conditions;
use super::profile::{Profile, Way};
use crate::learn::random::{Rng, seeded};
use rand::RngExt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Payload of a TCP segment on Ethernet: 1500 bytes less IP, TCP and its time stamps.
pub const SEGMENT_BYTES: usize = 1448;
/// A lost packet and the three that show that it is.
pub const FAST_SEGMENTS: usize = 4;
/// Linux assumes at least this variance of the round trip (`TCP_RTO_MIN`), in seconds.
const LEAST_VARIANCE_S: f64 = 0.2;
/// The longest timeout (`TCP_RTO_MAX`), in seconds.
const LONGEST_TIMEOUT_S: f64 = 120.0;

/// The part of a direction that all connections share: it is busy until then.
#[derive(Debug, Default)]
pub struct Bottleneck {
    busy_until_s: Mutex<f64>,
}

impl Bottleneck {
    /// When it has passed everything it was given.
    pub fn busy_until_s(&self) -> f64 {
        *self.busy_until_s.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a piece; packet by packet, since the rate may change meanwhile.
    fn pass(&self, now_s: f64, bytes: usize, profile: &Profile, way: Way) -> f64 {
        let mut busy_until_s = self.busy_until_s.lock().unwrap_or_else(PoisonError::into_inner);
        let mut passed = profile.after_outage(busy_until_s.max(now_s));
        for packet_bytes in packets(bytes) {
            let begin = profile.after_outage(passed);
            passed = begin + 8.0 * packet_bytes as f64 / profile.at(begin, way).rate_bps;
        }
        *busy_until_s = passed;
        passed
    }
}

/// One direction of one connection.
#[derive(Debug)]
pub struct Direction {
    profile: Arc<Profile>,
    way: Way,
    bottleneck: Arc<Bottleneck>,
    rng: Rng,
    in_burst: bool,
    /// Packets that are not acknowledged yet: until when, and how many.
    under_way: VecDeque<(f64, usize)>,
    last_due_s: f64,
}

impl Direction {
    /// The direction `way` of the connection with this number. Its draws depend on the seed, the number and the way only.
    pub fn new(
        profile: Arc<Profile>,
        way: Way,
        bottleneck: Arc<Bottleneck>,
        seed: u64,
        connection: u64,
    ) -> Self {
        let mut rng = seeded(seed);
        rng.set_stream(2 * connection + u64::from(way == Way::Down));
        Self {
            profile,
            way,
            bottleneck,
            rng,
            in_burst: false,
            under_way: VecDeque::new(),
            last_due_s: 0.0,
        }
    }

    /// When `bytes` that came in at `now_s` come out at the far end; no bytes are the end of the stream.
    pub fn due_s(&mut self, now_s: f64, bytes: usize) -> f64 {
        let passed_s = self.bottleneck.pass(now_s, bytes, &self.profile, self.way);
        let conditions = self.profile.at(passed_s, self.way);
        let arrived_s = passed_s + conditions.delay_s(&mut self.rng) + self.resent_s(now_s, passed_s, bytes);
        let due_s = self.profile.after_outage(arrived_s).max(self.last_due_s);
        self.last_due_s = due_s;
        if conditions.loss > 0.0 {
            let back_s = self.profile.round_trip_s(passed_s) - conditions.latency_s;
            let count = packets(bytes).count();
            self.under_way.push_back((due_s + back_s, count));
        }
        due_s
    }

    /// How much later a piece arrives because of packets of it that were lost.
    fn resent_s(&mut self, now_s: f64, passed_s: f64, bytes: usize) -> f64 {
        let conditions = self.profile.at(passed_s, self.way);
        if conditions.loss == 0.0 {
            self.in_burst = false;
            return 0.0;
        }
        while self
            .under_way
            .front()
            .is_some_and(|(until_s, _)| *until_s <= now_s)
        {
            self.under_way.pop_front();
        }
        let before: usize = self.under_way.iter().map(|(_, count)| count).sum();
        let is_flow = before + packets(bytes).count() >= FAST_SEGMENTS;
        let mut latest: f64 = 0.0;
        for _ in packets(bytes) {
            if self.loses(&conditions) {
                latest = latest.max(self.recovery_s(passed_s, conditions.loss, is_flow));
            }
        }
        latest
    }

    /// One step of Gilbert's chain.
    fn loses(&mut self, conditions: &Conditions) -> bool {
        let (begin, end) = conditions.gilbert();
        let probability = if self.in_burst { 1.0 - end } else { begin };
        self.in_burst = self.rng.random::<f64>() < probability;
        self.in_burst
    }

    fn recovery_s(&mut self, t_s: f64, loss: f64, is_flow: bool) -> f64 {
        let (up, down) = (self.profile.at(t_s, Way::Up), self.profile.at(t_s, Way::Down));
        let round_trip_s = up.latency_s + down.latency_s;
        let mut timeout_s = round_trip_s + LEAST_VARIANCE_S.max(4.0 * (up.jitter_s + down.jitter_s));
        let mut delay_s = if is_flow { round_trip_s } else { timeout_s };
        if !is_flow {
            timeout_s *= 2.0;
        }
        while self.rng.random::<f64>() < loss {
            delay_s += timeout_s.min(LONGEST_TIMEOUT_S);
            timeout_s *= 2.0;
        }
        delay_s
    }
}

/// The bytes of each packet of a piece.
fn packets(bytes: usize) -> impl Iterator<Item = usize> {
    (0..bytes)
        .step_by(SEGMENT_BYTES)
        .map(move |begin| SEGMENT_BYTES.min(bytes - begin))
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
