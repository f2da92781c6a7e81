//! What a simulation is made of: a calendar of events, stations where jobs wait for a core, links that many share.
//!
//! Time is whole nanoseconds since the beginning, so that sums do not depend on their order. Events of the same moment
//! come in the order in which they were planned.
//!
//! A [`SharedLink`] is a fluid token bucket without depth: its tokens come at the capacity's rate, each transfer under way
//! gets the same part of them, and none is saved up. A moment of its *virtual time* is a number of bits: those that a
//! transfer would have got that has been under way since the link was last idle. So a transfer ends when the virtual
//! time has grown by its bits, however many come and go meanwhile.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Nanoseconds since the simulation began.
pub type Nanos = u64;

/// Seconds as nanoseconds, rounded up: nothing is done before its time.
pub fn nanos(seconds: f64) -> Nanos {
    (seconds * 1e9).ceil().max(0.0) as Nanos
}

/// Nanoseconds as seconds.
pub fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 * 1e-9
}

/// What is to come, in order.
#[derive(Debug)]
pub struct Calendar<E> {
    heap: BinaryHeap<Entry<E>>,
    now: Nanos,
    planned: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Nanos,
    number: u64,
    event: E,
}

impl<E> Ord for Entry<E> {
    /// The earliest is the greatest, of those of one moment the first planned.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> Default for Calendar<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            now: 0,
            planned: 0,
        }
    }
}

impl<E> Calendar<E> {
    /// The moment of the event that was taken last.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Plans an event; one that should have been already comes now.
    pub fn plan(&mut self, at: Nanos, event: E) {
        let (at, number) = (at.max(self.now), self.planned);
        self.planned += 1;
        self.heap.push(Entry { at, number, event });
    }

    /// The same, so many seconds from now.
    pub fn plan_in(&mut self, seconds: f64, event: E) {
        self.plan(self.now.saturating_add(nanos(seconds)), event);
    }

    /// Takes the next event and moves on to its moment.
    pub fn take(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

/// Cores that serve one job each, first come, first served.
#[derive(Debug)]
pub struct Station<J> {
    cores: usize,
    busy: usize,
    waiting: VecDeque<J>,
}

impl<J> Station<J> {
    /// With so many cores.
    pub fn new(cores: usize) -> Self {
        Self {
            cores,
            busy: 0,
            waiting: VecDeque::new(),
        }
    }

    /// A job comes: back if a core is free and it begins, else it waits.
    pub fn arrive(&mut self, job: J) -> Option<J> {
        if self.busy == self.cores {
            self.waiting.push_back(job);
            return None;
        }
        self.busy += 1;
        Some(job)
    }

    /// A job has ended: the one that begins in its place, if one of those that wait `is_wanted` still.
    pub fn leave(&mut self, is_wanted: impl Fn(&J) -> bool) -> Option<J> {
        while let Some(job) = self.waiting.pop_front() {
            if is_wanted(&job) {
                return Some(job);
            }
        }
        self.busy -= 1;
        None
    }

    /// Share of the cores that are busy.
    pub fn load(&self) -> f64 {
        self.busy as f64 / self.cores as f64
    }
}

/// One direction of a link that transfers share evenly.
#[derive(Debug)]
pub struct SharedLink<T> {
    /// By the virtual time of their ends.
    transfers: BTreeMap<Ticket, T>,
    /// Bits that each transfer has got since the link was last idle.
    virtual_bits: f64,
    /// Bits per second of each transfer.
    each_bps: f64,
    last: Nanos,
    started: u64,
}

/// By which a transfer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The bits of a positive f64 are in its order.
    ends_at: u64,
    number: u64,
}

/// What rounding may leave of a transfer, in bits.
const CRUMB_BITS: f64 = 1e-3;

impl<T> Default for SharedLink<T> {
    fn default() -> Self {
        Self {
            transfers: BTreeMap::new(),
            virtual_bits: 0.0,
            each_bps: 0.0,
            last: 0,
            started: 0,
        }
    }
}

impl<T> SharedLink<T> {
    /// Lets the transfers go on until `now`.
    pub fn advance(&mut self, now: Nanos) {
        self.virtual_bits += self.each_bps * seconds(now - self.last);
        self.last = now;
        if self.transfers.is_empty() {
            self.virtual_bits = 0.0;
        }
    }

    /// A transfer begins at the moment that was advanced to.
    pub fn start(&mut self, bits: f64, transfer: T) -> Ticket {
        let ticket = Ticket {
            ends_at: (self.virtual_bits + bits).to_bits(),
            number: self.started,
        };
        self.started += 1;
        self.transfers.insert(ticket, transfer);
        ticket
    }

    /// Gives a transfer up.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        self.transfers.remove(&ticket)
    }

    /// One that has ended by the moment that was advanced to.
    pub fn ended(&mut self) -> Option<T> {
        let first = self.transfers.first_entry()?;
        let left = f64::from_bits(first.key().ends_at) - self.virtual_bits;
        (left <= CRUMB_BITS).then(|| first.remove())
    }

    /// Each transfer gets this from here on.
    pub fn set_each_bps(&mut self, each_bps: f64) {
        self.each_bps = each_bps;
    }

    /// When the next one ends, if nothing changes.
    pub fn next_end(&self) -> Option<Nanos> {
        let (first, _) = self.transfers.first_key_value()?;
        let left = (f64::from_bits(first.ends_at) - self.virtual_bits).max(0.0);
        (self.each_bps > 0.0).then(|| self.last.saturating_add(nanos(left / self.each_bps)))
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.transfers.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty()
    }
}

/// Bits per second of each of `transfers` in a cell of `capacity_bps` in which `ues` others ask for `ue_bps` each, by
/// max-min fairness: who asks for less than an even part gets that, and the others share what is left.
pub fn fair_bps(capacity_bps: f64, ues: u32, ue_bps: f64, transfers: usize) -> f64 {
    let (ues, transfers) = (f64::from(ues), transfers.max(1) as f64);
    let left = (capacity_bps - ues * ue_bps) / transfers;
    if left >= ue_bps {
        left
    } else {
        capacity_bps / (ues + transfers)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::learn::random::{Rng, seeded};
    use hwmeter_hw::repeat::student_t;
    use rand::RngExt;

    #[derive(Debug)]
    enum Queue {
        Arrival,
        Departure,
    }

    /// Mean wait before service over `jobs` jobs at a station with one core and unit service.
    fn mean_wait(load: f64, jobs: usize, seed: u64, service: impl Fn(&mut Rng) -> f64) -> f64 {
        let mut rng = seeded(seed);
        let mut calendar = Calendar::default();
        let mut station = Station::new(1);
        let (mut waited, mut begun, mut came) = (0.0, 0, 0);
        calendar.plan(0, Queue::Arrival);
        while let Some(event) = calendar.take() {
            let now = calendar.now();
            let job = match event {
                Queue::Arrival => {
                    came += 1;
                    if came < jobs {
                        calendar.plan_in(exponential(&mut rng) / load, Queue::Arrival);
                    }
                    station.arrive(now)
                }
                Queue::Departure => station.leave(|_| true),
            };
            if let Some(arrival) = job {
                waited += seconds(now - arrival);
                begun += 1;
                calendar.plan_in(service(&mut rng), Queue::Departure);
            }
        }
        assert_eq!(begun, jobs);
        waited / jobs as f64
    }

    fn exponential(rng: &mut Rng) -> f64 {
        -(1.0 - rng.random::<f64>()).ln()
    }

    /// The 99.9 % interval of the mean over independent runs holds the closed form.
    fn holds(expected: f64, runs: impl Iterator<Item = f64>) {
        let means: Vec<f64> = runs.collect();
        let n = means.len() as f64;
        let mean = means.iter().sum::<f64>() / n;
        let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0);
        // Student's 95 % quantile, times the ratio of the normal ones for 99.9 %.
        let half = student_t(n - 1.0) * 3.29 / 1.96 * (variance / n).sqrt();
        assert!(
            (mean - expected).abs() < half,
            "{mean} ± {half}, expected {expected}"
        );
        assert!(half < 0.1 * expected, "the interval tells too little: {half}");
    }

    #[test]
    fn waits_are_those_of_m_m_1_and_m_d_1() {
        for load in [0.5, 0.8] {
            // Mean waits in units of the service time (Pollaczek and Khinchine).
            let random = load / (1.0 - load);
            holds(
                random,
                (0..20).map(|seed| mean_wait(load, 20_000, seed, exponential)),
            );
            holds(
                random / 2.0,
                (0..20).map(|seed| mean_wait(load, 20_000, seed, |_| 1.0)),
            );
        }
    }

    #[test]
    fn events_of_one_moment_come_in_the_order_of_their_planning() {
        let mut calendar = Calendar::default();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            calendar.plan(at, name);
        }
        let order: String = std::iter::from_fn(|| calendar.take()).collect();
        assert_eq!((order.as_str(), calendar.now()), ("abcd", 5));
        calendar.plan(2, 'x');
        assert_eq!(
            (calendar.take(), calendar.now()),
            (Some('x'), 5),
            "time does not go back"
        );
    }

    /// Drives a link through transfers that begin at given moments; when each ended.
    fn ends(capacity_bps: f64, starts: &[(Nanos, f64)]) -> Vec<Nanos> {
        let mut link = SharedLink::default();
        let mut ends = vec![0; starts.len()];
        let mut coming = starts.iter().enumerate().peekable();
        loop {
            let next_start = coming.peek().map(|(_, (at, _))| *at);
            let Some(now) = [next_start, link.next_end()].into_iter().flatten().min() else {
                return ends;
            };
            link.advance(now);
            while let Some(i) = link.ended() {
                ends[i] = now;
            }
            while let Some((i, (_, bits))) = coming.next_if(|(_, (at, _))| *at == now) {
                link.start(*bits, i);
            }
            link.set_each_bps(capacity_bps / link.len().max(1) as f64);
        }
    }

    #[test]
    fn a_link_gives_out_what_its_token_bucket_allows_and_no_more() {
        let capacity = 8e6;
        let mut rng = seeded(3);
        let mut at = 0;
        let starts: Vec<(Nanos, f64)> = (0..500)
            .map(|_| {
                at += nanos(0.13 * exponential(&mut rng));
                (at, 1e6 * (0.1 + 1.8 * rng.random::<f64>()))
            })
            .collect();
        let ends = ends(capacity, &starts);
        // Whatever the order within, each busy period of the bucket ends when its bits have had their tokens.
        let (mut bucket, mut periods) = (0, Vec::new());
        for (at, bits) in &starts {
            if *at > bucket {
                periods.push(bucket);
                bucket = *at;
            }
            bucket += (bits / capacity * 1e9) as Nanos;
        }
        periods.push(bucket);
        for period in periods.into_iter().filter(|end| *end > 0) {
            let nearest = ends.iter().map(|end| end.abs_diff(period)).min().unwrap();
            assert!(
                nearest < 1000,
                "no transfer ends at {period}, the nearest {nearest} ns away"
            );
        }
        // In no interval more than its tokens: the bits of transfers that lie within it as a whole.
        for from in (0..500).step_by(37) {
            for (until, end) in ends.iter().enumerate() {
                let (begin, length) = (starts[from].0, end.saturating_sub(starts[from].0));
                let within = (0..500).filter(|&i| starts[i].0 >= begin && ends[i] <= ends[until]);
                let bits: f64 = within.map(|i| starts[i].1).sum();
                assert!(bits <= capacity * seconds(length) + 10.0, "{bits} in {length} ns");
            }
        }
    }

    #[test]
    fn transfers_share_a_link_evenly_and_one_that_is_given_up_leaves_its_part() {
        // One of 8 Mbit, one of 4 Mbit that comes after 0.5 s: 4 left of each at 0.5, together until 1.5.
        assert_eq!(
            ends(8e6, &[(0, 8e6), (nanos(0.5), 4e6)]),
            [nanos(1.5), nanos(1.5)]
        );
        let mut link = SharedLink::default();
        let first = link.start(8e6, 'a');
        link.start(8e6, 'b');
        link.set_each_bps(4e6);
        link.advance(nanos(1.0));
        assert_eq!(link.cancel(first), Some('a'));
        link.set_each_bps(8e6);
        assert_eq!(link.next_end(), Some(nanos(1.5)));
        link.set_each_bps(0.0);
        assert_eq!(link.next_end(), None, "in an outage nothing ends");
    }

    #[test]
    fn the_cell_is_shared_by_max_min_fairness() {
        assert_eq!(fair_bps(400e6, 0, 10e6, 1), 400e6);
        assert_eq!(fair_bps(600e6, 50, 10e6, 2), 50e6);
        // 50 UEs that get less than they ask for: all alike.
        assert_eq!(fair_bps(400e6, 50, 10e6, 1), 400e6 / 51.0);
    }
}
