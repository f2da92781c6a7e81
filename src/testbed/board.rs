//! A simulated board: what it draws, known exactly by its parts, and what its sensor makes of that.
//!
//! ```text
//! loads -> true power -> ground truth, by parts
//!                     -> sensor -> integrator -> marks -> span energy      (the meter's own arithmetic)
//! ```
//!
//! The meter's thread, its clock and its queue of edges are not in it: the board is sampled at its sensor's period on the
//! simulation's clock, and each edge is resolved by the first sample behind it, as the meter does it.

use super::event::{Nanos, nanos, seconds};
use super::profile::{DevicePower, Profile};
use super::sensor::Sensor;
use crate::record::EnergySample;
use hwmeter_hw::clock::Moment;
use hwmeter_hw::integrator::Integrator;
use hwmeter_hw::sensor::SensorInfo;
use hwmeter_hw::span::{Mark, SpanEnergy};
use hwmeter_hw::units::Seconds;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;

/// What draws power, on top of the idle board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Other programs.
    Background,
    /// The learner's decisions.
    Deciding,
    /// Tasks.
    Executing,
    /// The learner's updates, and putting weights to use.
    Training,
    /// The radio.
    Radio,
}

/// How many loads there are.
const LOADS: usize = 5;

/// The true energy of a board, by its parts, in joules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Truth {
    /// Of the idle board.
    pub idle_j: f64,
    /// Of other programs.
    pub background_j: f64,
    /// Of decisions.
    pub deciding_j: f64,
    /// Of tasks on its own cores.
    pub executing_j: f64,
    /// Of updates on its own cores.
    pub training_j: f64,
    /// Of sending and receiving.
    pub radio_j: f64,
    /// The whole, added up on its own.
    pub total_j: f64,
    /// Time that it is over, in seconds.
    pub seconds: f64,
}

/// An edge of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeId(u64);

#[derive(Debug)]
struct Edge {
    at: Nanos,
    /// The true energy until then.
    true_j: f64,
    mark: Option<Box<Mark>>,
}

/// Who sees the samples of a board.
pub type OnSample = Box<dyn FnMut(&EnergySample<'_>) + Send>;

/// A board.
pub struct Board {
    profile: Arc<Profile>,
    power: DevicePower,
    now: Nanos,
    loads_w: [f64; LOADS],
    idle_j: f64,
    loads_j: [f64; LOADS],
    total_j: f64,
    /// Cores that are busy, and core seconds since the beginning.
    busy_cores: f64,
    core_s: f64,
    sensor: Sensor,
    info: SensorInfo,
    integrator: Integrator,
    period: Nanos,
    next_sample: Nanos,
    samples: u64,
    edges: VecDeque<Edge>,
    /// The number of the first of them, and that of the first without a mark.
    first_edge: u64,
    first_open: u64,
    on_sample: Option<OnSample>,
}

impl Board {
    /// One that is idle but for `busy` of its cores, with the flaws of its sensor drawn from the seed.
    pub fn new(profile: Arc<Profile>, busy: f64, seed: u64) -> Result<Self, String> {
        let (power, info) = (profile.device_power()?, profile.sensor_info()?);
        let Some(kind) = &profile.sensor else {
            return Err(format!("profile {} lacks [sensor]", profile.name));
        };
        let period = kind.period_s.get();
        let busy_cores = busy * f64::from(profile.cpu.cores);
        let sensor = Sensor::draw(kind, power.idle_w + busy_cores * power.core_w, seed);
        let mut board = Self {
            integrator: Integrator::new(&info, Seconds(period)),
            sensor,
            info,
            power,
            now: 0,
            loads_w: [0.0; LOADS],
            idle_j: 0.0,
            loads_j: [0.0; LOADS],
            total_j: 0.0,
            busy_cores,
            core_s: 0.0,
            period: nanos(period).max(1),
            next_sample: 0,
            samples: 0,
            edges: VecDeque::new(),
            first_edge: 0,
            first_open: 0,
            on_sample: None,
            profile,
        };
        board.loads_w[Load::Background as usize] = busy_cores * board.power.core_w;
        board.sensor.see(board.true_w(), seconds(board.period));
        board.sample();
        Ok(board)
    }

    /// Every sample is shown to `on_sample` from here on.
    pub fn watched_by(mut self, on_sample: OnSample) -> Self {
        self.on_sample = Some(on_sample);
        self
    }

    /// The machine.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What it draws.
    pub fn power(&self) -> &DevicePower {
        &self.power
    }

    /// What is known about its sensor.
    pub fn sensor(&self) -> &SensorInfo {
        &self.info
    }

    /// Samples per second.
    pub fn sampling_hz(&self) -> f64 {
        1e9 / self.period as f64
    }

    /// Samples so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Core seconds so far, those of other programs included.
    pub fn core_s(&self) -> f64 {
        self.core_s
    }

    /// A load draws this from now on, and keeps so many more cores busy.
    pub fn set(&mut self, load: Load, watts: f64, more_cores: f64) {
        self.loads_w[load as usize] = watts;
        self.busy_cores += more_cores;
    }

    /// Goes on until `now`; the loads are as they are.
    pub fn advance(&mut self, now: Nanos) {
        while self.next_sample <= now {
            self.draw(self.next_sample);
            self.sample();
        }
        self.draw(now);
    }

    /// An edge of spans, now; where one span ends and the next begins it is one for both.
    pub fn edge(&mut self) -> EdgeId {
        if let Some(last) = self.edges.back()
            && last.at == self.now
        {
            return EdgeId(self.first_edge + self.edges.len() as u64 - 1);
        }
        self.edges.push_back(Edge {
            at: self.now,
            true_j: self.total_j,
            mark: None,
        });
        EdgeId(self.first_edge + self.edges.len() as u64 - 1)
    }

    /// What a span cost; `None` as long as the sensor has not shown it.
    pub fn energy(&self, begin: EdgeId, end: EdgeId) -> Option<SpanEnergy> {
        let (begin, end) = (self.mark(begin)?, self.mark(end)?);
        Some(SpanEnergy::between(String::new(), &self.info, begin, end))
    }

    /// What it really cost.
    pub fn true_energy_j(&self, begin: EdgeId, end: EdgeId) -> Option<f64> {
        Some(self.find(end)?.true_j - self.find(begin)?.true_j)
    }

    /// Edges before this one are not asked for any more.
    pub fn forget_before(&mut self, edge: EdgeId) {
        while self.first_edge < edge.0 && self.edges.pop_front().is_some() {
            self.first_edge += 1;
        }
        self.first_open = self.first_open.max(self.first_edge);
    }

    /// The true energy so far.
    pub fn truth(&self) -> Truth {
        let of = |load: Load| self.loads_j[load as usize];
        Truth {
            idle_j: self.idle_j,
            background_j: of(Load::Background),
            deciding_j: of(Load::Deciding),
            executing_j: of(Load::Executing),
            training_j: of(Load::Training),
            radio_j: of(Load::Radio),
            total_j: self.total_j,
            seconds: seconds(self.now),
        }
    }

    /// The next sample is due then.
    pub fn next_sample(&self) -> Nanos {
        self.next_sample
    }

    fn true_w(&self) -> f64 {
        self.power.idle_w + self.loads_w.iter().sum::<f64>()
    }

    /// Draws power until `until`.
    fn draw(&mut self, until: Nanos) {
        if until <= self.now {
            return;
        }
        let dt = seconds(until - self.now);
        let watts = self.true_w();
        self.now = until;
        self.idle_j += self.power.idle_w * dt;
        for (joules, watts) in self.loads_j.iter_mut().zip(&self.loads_w) {
            *joules += watts * dt;
        }
        self.total_j += watts * dt;
        self.core_s += self.busy_cores * dt;
        self.sensor.see(watts, dt);
    }

    fn sample(&mut self) {
        self.samples += 1;
        self.next_sample += self.period;
        let is_new = self.integrator.push(Moment(self.now), &self.sensor.read());
        let Some(point) = self.integrator.last().filter(|_| is_new) else {
            return;
        };
        if let Some(on_sample) = &mut self.on_sample {
            for (rail, at) in self.info.rails.iter().zip(&point.rails) {
                on_sample(&EnergySample {
                    t_s: seconds(point.t.0),
                    sensor: &self.info.id,
                    rail: &rail.name,
                    power_w: Some(at.power.0),
                    energy_j: at.energy.0,
                });
            }
        }
        let newest = point.t;
        let open = (self.first_open - self.first_edge) as usize;
        for edge in self.edges.iter_mut().skip(open) {
            let at = Moment(edge.at);
            if at > newest {
                break;
            }
            edge.mark = Some(Box::new(Mark::at(&self.integrator, at)));
            self.first_open += 1;
        }
    }

    fn find(&self, edge: EdgeId) -> Option<&Edge> {
        self.edges.get(edge.0.checked_sub(self.first_edge)? as usize)
    }

    fn mark(&self, edge: EdgeId) -> Option<&Mark> {
        self.find(edge)?.mark.as_deref()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::learn::random::seeded;
    use rand::RngExt;
    use std::path::Path;

    fn board(name: &str, seed: u64) -> Board {
        let profile = Profile::find(name, Path::new(".")).unwrap();
        Board::new(Arc::new(profile), 0.1, seed).unwrap()
    }

    /// Bursts of work of random length; the spans around them and around the pauses.
    fn work(board: &mut Board, seed: u64, bursts: usize) -> Vec<(EdgeId, EdgeId)> {
        let mut rng = seeded(seed);
        let mut now = 0;
        let mut spans = Vec::new();
        for i in 0..bursts {
            let begin = board.edge();
            let (load, watts) = [(Load::Executing, 1.1), (Load::Radio, 2.5), (Load::Training, 0.9)][i % 3];
            board.set(load, watts, 1.0);
            now += nanos(0.05 + rng.random::<f64>());
            board.advance(now);
            board.set(load, 0.0, -1.0);
            now += nanos(0.3 * rng.random::<f64>());
            board.advance(now);
            spans.push((begin, board.edge()));
        }
        board.advance(now + nanos(5.0));
        spans
    }

    #[test]
    fn the_parts_of_the_truth_add_up_to_the_whole() {
        let mut board = board("jetson-j1010", 1);
        let spans = work(&mut board, 2, 3000);
        let truth = board.truth();
        let parts = truth.idle_j + truth.background_j + truth.deciding_j + truth.executing_j;
        let parts = parts + truth.training_j + truth.radio_j;
        assert!((parts / truth.total_j - 1.0).abs() < 1e-9, "{truth:?}");
        assert!(truth.radio_j > 0.0 && truth.training_j > 0.0 && truth.background_j > 0.0);
        let idle_w = board.power().idle_w;
        assert!((truth.idle_j / (idle_w * truth.seconds) - 1.0).abs() < 1e-9);
        let of_spans = board.true_energy_j(spans[0].0, spans[2999].1).unwrap();
        assert!(of_spans > 0.0 && of_spans < truth.total_j);
    }

    /// Gain and offset are common to all spans of one sensor, so many sensors are drawn.
    #[test]
    fn what_the_sensors_say_lies_within_two_uncertainties_of_the_truth() {
        for name in ["raspberry-pi-4", "jetson-j1010", "jetson-agx-orin"] {
            let (mut within, mut all) = (0, 0);
            for seed in 0..40 {
                let mut board = board(name, seed);
                let spans = work(&mut board, 100 + seed, 60);
                let pairs = spans.iter().copied().skip(20);
                let long = [(spans[0].0, spans[59].1)];
                for (begin, end) in pairs.chain(long) {
                    let span = board.energy(begin, end).unwrap();
                    let total = span.total.unwrap();
                    assert_eq!(span.kind.as_str(), "simulated");
                    assert!(span.coverage > 0.99, "{name}: {span:?}");
                    let off = total.joules.0 - board.true_energy_j(begin, end).unwrap();
                    within += usize::from(off.abs() <= 2.0 * total.uncertainty.0);
                    all += 1;
                }
            }
            let share = within as f64 / all as f64;
            assert!(share >= 0.95, "{name}: {share:.3} of {all} spans");
        }
    }

    #[test]
    fn an_edge_is_resolved_by_the_first_sample_behind_it_and_forgotten_when_told() {
        let mut board = board("jetson-j1010", 1);
        board.advance(nanos(1.01));
        let begin = board.edge();
        board.advance(nanos(1.02));
        let end = board.edge();
        assert!(board.energy(begin, end).is_none());
        board.advance(nanos(1.06));
        assert!(board.energy(begin, end).is_some());
        board.forget_before(end);
        assert!(board.energy(begin, end).is_none() && board.energy(end, end).is_some());
    }
}
