//! What a decision and an update of a learner cost on this machine, in seconds and joules.
//!
//! Times are of single calls. One call is far shorter than any sensor's period, so joules are found by repetition:
//! blocks of calls for a fraction of a second each, with a sample at both ends, divided by the number of calls. They
//! hold all that the sensor sees meanwhile, the idle board included, as the joules of a run do.

use super::environment::transitions;
use super::{Cost, Engine, LearnError, Learner, LearnerName, Settings, Transition};
use hwmeter_hw::combine::Terms;
use hwmeter_hw::meter::Meter;
use hwmeter_hw::repeat::Repeated;
use hwmeter_hw::units::Joules;
use serde::Serialize;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Calls that are timed one by one, at most, and for how long at most.
const TIMED_CALLS: usize = 2000;
const TIMED: Duration = Duration::from_secs(1);
/// Updates before anything is timed: caches, branch predictors and the network have settled.
const WARM_UP: usize = 200;
/// Blocks of calls whose energy is measured; their scatter is the uncertainty's larger part.
const BLOCKS: usize = 4;

/// What one learner costs.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The learner.
    pub name: String,
    /// Its size, such as `4x256`.
    pub variant: String,
    /// What does its arithmetic.
    pub engine: &'static str,
    /// How many numbers it learns.
    pub parameters: usize,
    /// Median seconds of a decision.
    pub decide_median_s: f64,
    /// 99th percentile of it.
    pub decide_p99_s: f64,
    /// Median seconds of an update.
    pub update_median_s: f64,
    /// 99th percentile of it.
    pub update_p99_s: f64,
    /// Joules of both.
    #[serde(flatten)]
    pub joules: CallJoules,
    /// Measured, modelled or simulated.
    pub kind: &'static str,
}

/// Joules of one decision and of one update; absent where no sample came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CallJoules {
    /// Of a decision.
    pub decide_j: Option<f64>,
    /// Standard uncertainty of it.
    pub decide_u_j: Option<f64>,
    /// Of an update.
    pub update_j: Option<f64>,
    /// Standard uncertainty of it.
    pub update_u_j: Option<f64>,
}

/// Measures one learner; each of its blocks takes `block`.
pub fn measure(
    engine: Engine,
    name: LearnerName,
    settings: &Settings,
    seed: u64,
    meter: &Meter,
    block: Duration,
) -> Result<Row, LearnError> {
    let mut subject = Subject::new(engine, name, settings, seed)?;
    let decide_s = times(&mut subject, Subject::decide)?;
    let update_s = times(&mut subject, Subject::update)?;
    let joules = subject.joules(meter, block)?;
    let description = subject.learner.describe();
    Ok(Row {
        name: name.to_string(),
        variant: description.variant,
        engine: description.engine,
        parameters: description.parameters,
        decide_median_s: quantile(&decide_s, 0.5),
        decide_p99_s: quantile(&decide_s, 0.99),
        update_median_s: quantile(&update_s, 0.5),
        update_p99_s: quantile(&update_s, 0.99),
        joules,
        kind: meter.info().kind.as_str(),
    })
}

/// The joules alone.
pub fn joules(
    engine: Engine,
    name: LearnerName,
    settings: &Settings,
    seed: u64,
    meter: &Meter,
    block: Duration,
) -> Result<CallJoules, LearnError> {
    Subject::new(engine, name, settings, seed)?.joules(meter, block)
}

/// A learner that is warm, and what it meets in turn.
struct Subject {
    learner: Box<dyn Learner>,
    transitions: Vec<Transition>,
    next: usize,
}

/// A decision or an update.
type Call = fn(&mut Subject) -> Result<(), LearnError>;

impl Subject {
    fn new(engine: Engine, name: LearnerName, settings: &Settings, seed: u64) -> Result<Self, LearnError> {
        let mut subject = Self {
            learner: engine.build(name, seed, settings)?,
            transitions: transitions(500, seed),
            next: 0,
        };
        for _ in 0..WARM_UP {
            subject.update()?;
        }
        Ok(subject)
    }

    fn next(&mut self) -> Transition {
        self.next = (self.next + 1) % self.transitions.len();
        self.transitions[self.next]
    }

    fn decide(&mut self) -> Result<(), LearnError> {
        let state = black_box(self.next().state);
        self.learner.decide(&state).map(drop)
    }

    fn update(&mut self) -> Result<(), LearnError> {
        let transition = black_box(self.next());
        let cost = Cost {
            energy_j: -transition.reward,
            latency_s: 0.5 * transition.state.deadline_s,
            in_time: true,
        };
        self.learner.learn_with_cost(&transition, &cost)
    }

    fn joules(&mut self, meter: &Meter, block: Duration) -> Result<CallJoules, LearnError> {
        let decide = joules_of(self, Self::decide, meter, block)?;
        let update = joules_of(self, Self::update, meter, block)?;
        Ok(CallJoules {
            decide_j: decide.map(|r| r.mean.0),
            decide_u_j: decide.and_then(|r| r.uncertainty).map(|u| u.0),
            update_j: update.map(|r| r.mean.0),
            update_u_j: update.and_then(|r| r.uncertainty).map(|u| u.0),
        })
    }
}

/// Seconds of single calls, sorted.
fn times(subject: &mut Subject, call: Call) -> Result<Vec<f64>, LearnError> {
    let (mut times, all) = (Vec::with_capacity(TIMED_CALLS), Instant::now());
    while times.len() < TIMED_CALLS && all.elapsed() < TIMED {
        let began = Instant::now();
        call(subject)?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Joules of one call, by blocks of them; `None` where a block has no energy.
fn joules_of(
    subject: &mut Subject,
    call: Call,
    meter: &Meter,
    block: Duration,
) -> Result<Option<Repeated>, LearnError> {
    let mut blocks = Vec::with_capacity(BLOCKS);
    for _ in 0..BLOCKS {
        let (span, began) = (meter.span_with_sample("block"), Instant::now());
        let mut calls = 0.0;
        while began.elapsed() < block {
            for _ in 0..16 {
                call(subject)?;
            }
            calls += 16.0;
        }
        let energy = meter.end_with_sample(span).wait();
        let Some(terms) = Terms::of(&energy) else {
            return Ok(None);
        };
        blocks.push(Terms {
            joules: Joules(terms.joules.0 / calls),
            terms: terms
                .terms
                .into_iter()
                .map(|(name, u)| (name, Joules(u.0 / calls)))
                .collect(),
        });
    }
    Ok(Repeated::of(&blocks))
}

/// The value below which a share `q` of the sorted values lies (nearest rank).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}
