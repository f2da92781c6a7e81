//! What all devices share: the cell in both directions, the MEC, the cloud, and how they change over time.

use super::event::{Calendar, Nanos, SharedLink, Station, Ticket, fair_bps, nanos, seconds};
use super::profile::Profile;
use super::scenario::{Regime, Scenario, Stress};
use crate::learn::Placement;
use crate::learn::random::Rng;
use crate::offload::link::model::{FAST_SEGMENTS, SEGMENT_BYTES};
use crate::offload::link::profile::{Profile as Link, Way};
use rand::RngExt;
use std::sync::Arc;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    /// At a device. One of a `turn` that is over is stale.
    Device { device: u32, turn: u64, step: Step },
    /// A direction of the cell has to be looked at, unless it has been since.
    Cell { way: Way, version: u64 },
    /// A server has done a job.
    Served(Job),
}

/// What happens at a device, or on the way to and from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// It settles what is known by now, and goes on.
    Settle,
    /// A task arrives.
    Arrive,
    /// The learner has decided.
    Decided,
    /// The task is done on the device.
    DoneHere,
    /// Its deadline has passed.
    GiveUp,
    /// The task is at its server.
    AtServer,
    /// The result is back.
    ResultHere { execute_s: f64 },
    /// An update on the device is done.
    Updated,
    /// An experience is at the MEC's trainer.
    AtTrainer,
    /// The weights are back.
    WeightsHere { server_s: f64 },
    /// They are in use.
    Applied,
}

/// What a transfer carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Transfer {
    pub device: u32,
    pub turn: u64,
    /// Bytes, which decide how likely a loss is.
    pub bytes: f64,
    /// What happens when it is there.
    pub then: Step,
    /// Where a task goes; `Local` for what goes no further than the MEC.
    pub to: Placement,
}

/// Work of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Job {
    pub device: u32,
    pub turn: u64,
    pub site: Site,
    pub what: What,
    /// Time on a free core.
    pub core_s: f64,
    pub came: Nanos,
    pub began: Nanos,
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    Mec,
    Cloud,
}

/// What a server works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Task,
    Update,
}

/// The shared world.
pub(super) struct World {
    pub calendar: Calendar<Event>,
    cell: Link,
    wan: Link,
    ways: [CellWay; 2],
    mec: Server,
    cloud: Server,
    regimes: Vec<Regime>,
    regime: usize,
    seed: u64,
}

#[derive(Default)]
struct CellWay {
    link: SharedLink<Transfer>,
    version: u64,
}

struct Server {
    profile: Arc<Profile>,
    station: Station<Job>,
    walk: Option<Walk>,
}

/// How busy others keep a server, over time.
struct Walk {
    shares: Box<dyn Iterator<Item = f64> + Send>,
    every: Nanos,
    share: f64,
    until: Nanos,
}

impl Walk {
    fn start(stress: &Stress, seed: u64, now: Nanos) -> Option<Self> {
        let Stress::Walk(profile) = stress else {
            return None;
        };
        let mut profile = profile.clone();
        profile.seed = profile.seed.wrapping_add(seed);
        Some(Self {
            shares: Box::new(profile.shares()),
            every: (profile.every.as_nanos() as Nanos).max(1),
            share: 0.0,
            until: now,
        })
    }

    fn at(&mut self, now: Nanos) -> f64 {
        while self.until <= now {
            self.share = self.shares.next().unwrap_or(self.share);
            self.until += self.every;
        }
        self.share
    }
}

impl Server {
    fn new(profile: &Arc<Profile>, walk: Option<Walk>) -> Self {
        Self {
            station: Station::new(usize::from(profile.cpu.cores)),
            profile: Arc::clone(profile),
            walk,
        }
    }

    fn stress(&mut self, now: Nanos) -> f64 {
        self.walk.as_mut().map_or(0.0, |walk| walk.at(now))
    }
}

fn index(way: Way) -> usize {
    match way {
        Way::Up => 0,
        Way::Down => 1,
    }
}

impl World {
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let walk = Walk::start(&scenario.regimes[0].mec_stress, seed, 0);
        Self {
            calendar: Calendar::default(),
            cell: scenario.cell.link.clone(),
            wan: scenario.wan.clone(),
            ways: [CellWay::default(), CellWay::default()],
            mec: Server::new(&scenario.mec, walk),
            cloud: Server::new(&scenario.cloud, None),
            regimes: scenario.regimes.clone(),
            regime: 0,
            seed,
        }
    }

    /// The moment of the event at hand.
    pub fn now(&self) -> Nanos {
        self.calendar.now()
    }

    /// Plans a step of a device, so many seconds from now.
    pub fn plan_in(&mut self, seconds: f64, device: u32, turn: u64, step: Step) {
        self.calendar
            .plan_in(seconds, Event::Device { device, turn, step });
    }

    /// Whether anything passes the cell just now.
    pub fn is_silent(&self) -> bool {
        let now_s = seconds(self.now());
        self.cell.after_outage(now_s) > now_s
    }

    /// Free share of the MEC's CPU, as the MEC tells it.
    pub fn mec_free(&mut self) -> f64 {
        self.enter_regime();
        let now = self.now();
        (1.0 - self.mec.stress(now)) * (1.0 - self.mec.station.load())
    }

    /// What one transfer more would get from the cell on the way up, in bits per second.
    pub fn offered_bps(&mut self) -> f64 {
        self.enter_regime();
        self.share_bps(Way::Up, self.ways[0].link.len() + 1)
    }

    /// A transfer begins.
    pub fn send(&mut self, way: Way, transfer: Transfer) -> Ticket {
        let now = self.now();
        let link = &mut self.ways[index(way)].link;
        link.advance(now);
        let ticket = link.start(8.0 * transfer.bytes, transfer);
        self.replan(way);
        ticket
    }

    /// A transfer is given up; whether it was under way still.
    pub fn cancel(&mut self, way: Way, ticket: Ticket) -> bool {
        let now = self.now();
        let link = &mut self.ways[index(way)].link;
        link.advance(now);
        let was_there = link.cancel(ticket).is_some();
        self.replan(way);
        was_there
    }

    /// The transfers that have left the cell by now, if this look at it is not out of date.
    pub fn left_cell(&mut self, way: Way, version: u64) -> Vec<Transfer> {
        let now = self.now();
        let cell = &mut self.ways[index(way)];
        if cell.version != version {
            return Vec::new();
        }
        cell.link.advance(now);
        let left: Vec<Transfer> = std::iter::from_fn(|| cell.link.ended()).collect();
        self.replan(way);
        left
    }

    /// How long what has passed the cell is on its way yet, in seconds.
    pub fn cable_s(&self, way: Way, transfer: &Transfer, rng: &mut Rng) -> f64 {
        let now_s = seconds(self.now());
        let mut there_s = now_s + delay_s(&self.cell, way, now_s, transfer.bytes, rng);
        if transfer.to == Placement::Cloud {
            // The cell was the narrower one; what it took longer on the cable is only the difference.
            let each_bps = self.share_bps(way, self.ways[index(way)].link.len().max(1));
            let wan_bps = self.wan.at(there_s, way).rate_bps;
            let narrower_s = 8.0 * transfer.bytes * (1.0 / wan_bps - 1.0 / each_bps.max(1.0)).max(0.0);
            there_s += narrower_s + delay_s(&self.wan, way, there_s, transfer.bytes, rng);
        }
        self.cell.after_outage(there_s) - now_s
    }

    /// A job comes to a server.
    pub fn submit(&mut self, job: Job) {
        let job = Job {
            came: self.now(),
            ..job
        };
        if let Some(job) = self.server(job.site).station.arrive(job) {
            self.begin(job);
        }
    }

    /// A job has left its server; the next begins that `is_wanted` still.
    pub fn leave(&mut self, site: Site, is_wanted: impl Fn(&Job) -> bool) {
        if let Some(next) = self.server(site).station.leave(is_wanted) {
            self.begin(next);
        }
    }

    /// Seconds of so many cycles on a free core of a server.
    pub fn task_s(&self, site: Site, cycles: f64) -> f64 {
        match site {
            Site::Mec => self.mec.profile.task_s(cycles),
            Site::Cloud => self.cloud.profile.task_s(cycles),
        }
    }

    fn server(&mut self, site: Site) -> &mut Server {
        match site {
            Site::Mec => &mut self.mec,
            Site::Cloud => &mut self.cloud,
        }
    }

    /// A job gets a core. Others that keep it busy for a share of the time take half of that share from it, for as long as
    /// the job takes.
    fn begin(&mut self, job: Job) {
        self.enter_regime();
        let now = self.now();
        let stress = self.server(job.site).stress(now);
        let job = Job { began: now, ..job };
        let takes_s = job.core_s / (1.0 - 0.5 * stress);
        self.calendar.plan_in(takes_s, Event::Served(job));
    }

    fn enter_regime(&mut self) {
        let now = self.now();
        while let Some(next) = self.regimes.get(self.regime + 1)
            && nanos(next.t_s) <= now
        {
            if next.mec_stress != self.regimes[self.regime].mec_stress {
                self.mec.walk = Walk::start(&next.mec_stress, self.seed, nanos(next.t_s));
            }
            self.regime += 1;
        }
    }

    /// Bits per second of each of so many transfers.
    fn share_bps(&self, way: Way, transfers: usize) -> f64 {
        let now_s = seconds(self.now());
        if self.cell.after_outage(now_s) > now_s {
            return 0.0;
        }
        let regime = &self.regimes[self.regime];
        let fair = fair_bps(
            regime.capacity_bps[index(way)],
            regime.ues,
            regime.ue_bps,
            transfers,
        );
        fair.min(self.cell.at(now_s, way).rate_bps)
    }

    /// Plans when to look at a direction of the cell next: when a transfer ends, or when its rates change.
    fn replan(&mut self, way: Way) {
        self.enter_regime();
        let now_s = seconds(self.now());
        let each_bps = self.share_bps(way, self.ways[index(way)].link.len());
        let next_regime = self.regimes.get(self.regime + 1).map(|regime| regime.t_s);
        let next_change = [next_regime, self.cell.next_change(now_s)].into_iter().flatten();
        let next_change = next_change.map(nanos).min();
        let cell = &mut self.ways[index(way)];
        cell.version += 1;
        cell.link.set_each_bps(each_bps);
        if cell.link.is_empty() {
            return;
        }
        if let Some(at) = [cell.link.next_end(), next_change].into_iter().flatten().min() {
            let version = cell.version;
            // At the very moment of a change it may round to before it.
            let at = at.max(self.calendar.now() + 1);
            self.calendar.plan(at, Event::Cell { way, version });
        }
    }
}

/// The delay of one piece on a cable: latency and jitter, and what its losses cost, as the link emulator has it
/// ([`crate::offload::link::model`]), but drawn for the piece as a whole: a burst of losses in it costs one recovery.
fn delay_s(link: &Link, way: Way, t_s: f64, bytes: f64, rng: &mut Rng) -> f64 {
    const LEAST_VARIANCE_S: f64 = 0.2;
    const LONGEST_TIMEOUT_S: f64 = 120.0;
    let conditions = link.at(t_s, way);
    let mut delay_s = conditions.delay_s(rng);
    if conditions.loss == 0.0 {
        return delay_s;
    }
    let packets = (bytes / SEGMENT_BYTES as f64).ceil().max(1.0);
    let (begins, _) = conditions.gilbert();
    let is_lost = rng.random::<f64>() < 1.0 - libm::pow(1.0 - begins, packets);
    if is_lost {
        let round_trip_s = link.round_trip_s(t_s);
        let mut timeout_s = round_trip_s + LEAST_VARIANCE_S.max(8.0 * conditions.jitter_s);
        let is_flow = packets >= FAST_SEGMENTS as f64;
        delay_s += if is_flow { round_trip_s } else { timeout_s };
        while rng.random::<f64>() < conditions.loss {
            timeout_s = (2.0 * timeout_s).min(LONGEST_TIMEOUT_S);
            delay_s += timeout_s;
        }
    }
    delay_s
}
