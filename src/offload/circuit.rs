//! Whether a server is worth sending tasks to.
//!
//! ```text
//!            FAILURES failures in a row, or one wrong result
//!   closed ---------------------------------------------------> open  <---+
//!      ^                                                         |        | a failure: the pause doubles
//!      | a task succeeds: all is forgotten         a probe succeeds       |
//!      +------------------------------------- trial <------------+        |
//!                                               +-------------------------+
//! ```
//!
//! Only a task closes the circuit for good, so a server that answers probes and fails tasks is left alone for longer and
//! longer. A pause is drawn evenly from the upper half of `BASE` x 2^n, at most [`LONGEST_PAUSE`], so that devices that lost a
//! server together do not come back together (after Brooker, "Exponential Backoff and Jitter", AWS, 2015): give the devices of a
//! fleet seeds of their own.
//!
//! The machine is told the time, so that tests decide it.

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::{Duration, Instant};

/// Failures in a row that open the circuit.
pub const FAILURES: u32 = 3;
/// The first pause before a probe.
pub const BASE_PAUSE: Duration = Duration::from_millis(500);
/// The longest one.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The state machine of one server.
#[derive(Clone, Debug)]
pub struct Circuit {
    state: State,
    /// Failures since the last task that succeeded.
    failures: u32,
    /// Nothing but failures since anything succeeded, be it a probe.
    is_doubted: bool,
    /// Pauses since then; each is twice the one before.
    pauses: u32,
    next_probe: Option<Instant>,
    opened: u64,
    last_failure: String,
    jitter: ChaCha8Rng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open,
    Trial,
}

impl Circuit {
    /// Closed; `seed` decides the jitter.
    pub fn new(seed: u64) -> Self {
        Self {
            state: State::Closed,
            failures: 0,
            is_doubted: false,
            pauses: 0,
            next_probe: None,
            opened: 0,
            last_failure: String::new(),
            jitter: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Whether tasks are kept from the server.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// How often it has opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// What happened at the last failure; empty before the first.
    pub fn last_failure(&self) -> &str {
        &self.last_failure
    }

    /// When the server should be probed; `None` if there is no need.
    pub fn next_probe(&self) -> Option<Instant> {
        self.next_probe
    }

    /// A task was done: the server is well.
    pub fn task_succeeded(&mut self) {
        if self.state != State::Open {
            self.state = State::Closed;
            self.failures = 0;
            self.is_doubted = false;
            self.pauses = 0;
            self.next_probe = None;
        }
    }

    /// A probe was answered rightly.
    pub fn probe_succeeded(&mut self) {
        self.next_probe = None;
        self.is_doubted = false;
        if self.state == State::Open {
            self.state = State::Trial;
        }
    }

    /// A task or a probe failed by the fault of the server.
    pub fn failed(&mut self, why: impl Into<String>, now: Instant) {
        self.note(why);
        if self.state == State::Closed && self.failures < FAILURES {
            // Whether it is a slip or the end shows a probe rather than the next tasks.
            self.next_probe = Some(now + self.jittered(BASE_PAUSE / 4));
        } else {
            self.open(now);
        }
    }

    /// The server was proven to compute or transport wrongly: once is enough.
    pub fn condemned(&mut self, why: impl Into<String>, now: Instant) {
        self.note(why);
        self.open(now);
    }

    /// A task got no answer in its time. Nobody knows whose fault that was, so a probe will tell; but after a failure,
    /// with nothing good since, it is another one.
    pub fn unanswered(&mut self, why: impl Into<String>, now: Instant) {
        if self.is_doubted {
            self.failed(why, now);
        } else {
            self.suspected(now);
        }
    }

    /// Something is odd: a probe will tell.
    pub fn suspected(&mut self, now: Instant) {
        if self.state != State::Open && self.next_probe.is_none() {
            self.next_probe = Some(now);
        }
    }

    fn note(&mut self, why: impl Into<String>) {
        self.last_failure = why.into();
        self.failures = self.failures.saturating_add(1);
        self.is_doubted = true;
    }

    fn open(&mut self, now: Instant) {
        if self.state != State::Open {
            self.opened += 1;
        }
        self.state = State::Open;
        let pause = BASE_PAUSE
            .saturating_mul(1 << self.pauses.min(16))
            .min(LONGEST_PAUSE);
        self.next_probe = Some(now + self.jittered(pause));
        self.pauses = self.pauses.saturating_add(1);
    }

    fn jittered(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(0.5 + 0.5 * self.jitter.random::<f64>())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::new(1);
        for _ in 0..FAILURES {
            assert!(!circuit.is_open());
            circuit.failed("down", now);
        }
        assert!(circuit.is_open());
        circuit
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_only_then() {
        let now = Instant::now();
        let mut circuit = Circuit::new(1);
        for _ in 0..10 {
            circuit.failed("a slip", now);
            assert!(circuit.next_probe().unwrap() <= now + BASE_PAUSE / 4);
            circuit.failed("another", now);
            circuit.probe_succeeded();
            assert_eq!(circuit.next_probe(), None);
            circuit.task_succeeded();
        }
        assert!(!circuit.is_open() && circuit.opened() == 0);
        let circuit = opened(now);
        assert_eq!((circuit.opened(), circuit.last_failure()), (1, "down"));
    }

    #[test]
    fn pauses_double_to_the_longest_and_are_jittered_by_the_seed() {
        let pauses = |seed| {
            let now = Instant::now();
            let mut circuit = Circuit::new(seed);
            circuit.condemned("wrong", now);
            let mut pauses = Vec::new();
            for _ in 0..100 {
                pauses.push(circuit.next_probe().unwrap() - now);
                circuit.failed("still down", now);
            }
            pauses
        };
        for (n, pause) in pauses(7).iter().enumerate() {
            let full = (BASE_PAUSE * (1 << n.min(10))).min(LONGEST_PAUSE);
            assert!(*pause >= full / 2 && *pause <= full, "{n}: {pause:?}");
        }
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }

    #[test]
    fn a_probe_lets_tasks_in_on_trial_and_a_task_closes_it() {
        let now = Instant::now();
        let mut circuit = opened(now);
        circuit.task_succeeded();
        assert!(
            circuit.is_open(),
            "a task sent before it opened does not close it"
        );
        circuit.probe_succeeded();
        assert!(!circuit.is_open() && circuit.next_probe().is_none());
        circuit.failed("again", now);
        assert!(circuit.is_open(), "on trial one failure is enough");
        assert_eq!(circuit.opened(), 2);
        assert!(
            circuit.next_probe().unwrap() >= now + BASE_PAUSE,
            "the pause has doubled"
        );

        circuit.probe_succeeded();
        circuit.task_succeeded();
        circuit.failed("a slip", now);
        assert!(!circuit.is_open(), "all was forgotten");
    }

    /// A server that answers probes and fails tasks gets fewer and fewer of them.
    #[test]
    fn flapping_is_met_with_longer_pauses() {
        let mut now = Instant::now();
        let mut circuit = opened(now);
        let mut tasks = 0;
        let begin = now;
        while now < begin + 300 * SECOND {
            now = circuit.next_probe().unwrap();
            circuit.probe_succeeded();
            circuit.failed("closed", now);
            tasks += 1;
        }
        assert!((10..40).contains(&tasks), "{tasks} tasks lost in five minutes");
    }

    #[test]
    fn suspicion_asks_for_a_probe_and_puts_none_off() {
        let now = Instant::now();
        let mut circuit = Circuit::new(1);
        circuit.suspected(now);
        circuit.suspected(now + SECOND);
        assert_eq!(circuit.next_probe(), Some(now));
        assert!(!circuit.is_open());
        circuit.probe_succeeded();
        assert_eq!(circuit.next_probe(), None);

        let mut circuit = opened(now);
        let due = circuit.next_probe();
        circuit.suspected(now);
        assert_eq!(circuit.next_probe(), due);
    }
    /// Tasks that take too long are no reason to give a server up, unless it fails besides.
    #[test]
    fn no_answer_counts_only_after_a_failure() {
        let now = Instant::now();
        let mut circuit = Circuit::new(1);
        for _ in 0..10 {
            circuit.unanswered("late", now);
            assert_eq!(circuit.next_probe(), Some(now));
            circuit.probe_succeeded();
        }
        assert!(!circuit.is_open() && circuit.last_failure().is_empty());
        circuit.unanswered("late", now);
        circuit.failed("the probe failed too", now);
        circuit.unanswered("late", now);
        assert!(!circuit.is_open());
        circuit.unanswered("late", now);
        assert!(circuit.is_open());

        circuit.probe_succeeded();
        circuit.unanswered("late", now);
        assert!(!circuit.is_open(), "on trial too");
    }
}
