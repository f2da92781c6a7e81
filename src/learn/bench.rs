//! What a decision and an update of a learner cost on this machine, in seconds and joules.
//!
//! Times are of single calls. One call is far shorter than any sensor's period, so joules are found by repetition:
//! blocks of calls for a fraction of a second each, with a sample at both ends, divided by the number of calls. They
//! hold all that the sensor sees meanwhile, the idle board included, as the joules of a run do.

use super::environment::transitions;
use super::{Cost, Engine, LearnError, LearnerName, Settings, Transition};
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

/// What one learner costs; joules are absent where no sample came.
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
    /// Joules of a decision.
    pub decide_j: Option<f64>,
    /// Standard uncertainty of it.
    pub decide_u_j: Option<f64>,
    /// Joules of an update.
    pub update_j: Option<f64>,
    /// Standard uncertainty of it.
    pub update_u_j: Option<f64>,
    /// Measured, modelled or simulated.
    pub kind: &'static str,
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
    let all = transitions(500, seed);
    let mut learner = engine.build(name, seed, settings)?;
    let cost = |t: &Transition| Cost {
        energy_j: -t.reward,
        latency_s: 0.5 * t.state.deadline_s,
        in_time: true,
    };
    for transition in all.iter().cycle().take(WARM_UP) {
        learner.learn_with_cost(transition, &cost(transition))?;
    }
    let mut next = all.iter().cycle();
    let mut decide = || match next.next() {
        Some(transition) => learner.decide(black_box(&transition.state)).map(drop),
        None => Ok(()),
    };
    let (decide_s, decide_j) = (times(&mut decide)?, joules(&mut decide, meter, block)?);
    let mut next = all.iter().cycle();
    let mut update = || match next.next() {
        Some(transition) => learner.learn_with_cost(black_box(transition), &cost(transition)),
        None => Ok(()),
    };
    let (update_s, update_j) = (times(&mut update)?, joules(&mut update, meter, block)?);
    let description = learner.describe();
    Ok(Row {
        name: name.to_string(),
        variant: description.variant,
        engine: description.engine,
        parameters: description.parameters,
        decide_median_s: quantile(&decide_s, 0.5),
        decide_p99_s: quantile(&decide_s, 0.99),
        update_median_s: quantile(&update_s, 0.5),
        update_p99_s: quantile(&update_s, 0.99),
        decide_j: decide_j.map(|r| r.mean.0),
        decide_u_j: decide_j.and_then(|r| r.uncertainty).map(|u| u.0),
        update_j: update_j.map(|r| r.mean.0),
        update_u_j: update_j.and_then(|r| r.uncertainty).map(|u| u.0),
        kind: meter.info().kind.as_str(),
    })
}

/// Seconds of single calls, sorted.
fn times(call: &mut dyn FnMut() -> Result<(), LearnError>) -> Result<Vec<f64>, LearnError> {
    let (mut times, all) = (Vec::with_capacity(TIMED_CALLS), Instant::now());
    while times.len() < TIMED_CALLS && all.elapsed() < TIMED {
        let began = Instant::now();
        call()?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Joules of one call, by blocks of them; `None` where a block has no energy.
fn joules(
    call: &mut dyn FnMut() -> Result<(), LearnError>,
    meter: &Meter,
    block: Duration,
) -> Result<Option<Repeated>, LearnError> {
    let mut blocks = Vec::with_capacity(BLOCKS);
    for _ in 0..BLOCKS {
        let (span, began) = (meter.span_with_sample("block"), Instant::now());
        let mut calls = 0.0;
        while began.elapsed() < block {
            for _ in 0..16 {
                call()?;
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
