//! What a decision and an update of a learner cost on this machine, in seconds and joules.
//!
//! Times are of single calls. One call is far shorter than any sensor's period, so joules are found by repetition:
//! blocks of calls for a fraction of a second each, with a sample at both ends, divided by the number of calls. They
//! hold all that the sensor sees meanwhile, the idle board included, as the joules of a run do. Joules that the board
//! cannot have drawn within the calls, its full-load power given, are those of another program: they are left out.

use super::environment::{self, transitions};
use super::guard::Guard;
use super::{Cost, Engine, LearnError, Learner, LearnerName, Settings, Transition};
use hwmeter_hw::combine::Terms;
use hwmeter_hw::meter::Meter;
use hwmeter_hw::repeat::Repeated;
use hwmeter_hw::units::{Joules, Watts};
use serde::Serialize;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Calls that are timed one by one, at most, and for how long at most.
const TIMED_CALLS: usize = 2000;
const TIMED: Duration = Duration::from_secs(1);
/// Tasks that a learner goes through first, as in a run, to see whether it diverges.
const TRIED: usize = 500;
/// How far a block's calls may be longer than the median one, in the mean.
const LONGER: f64 = 2.0;
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
    /// Whether it diverged within its first 500 tasks; its other figures mean nothing then.
    pub diverged: bool,
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
    /// Whether joules were left out because something else ran meanwhile.
    pub disturbed: bool,
}

impl CallJoules {
    /// Without those that the board cannot have drawn at `full` power in the time of the calls, in seconds.
    pub fn plausible(mut self, decide_s: f64, update_s: f64, full: Watts) -> Self {
        let most = |seconds: f64| LONGER * full.0 * seconds;
        if self.decide_j.is_some_and(|joules| joules > most(decide_s)) {
            (self.decide_j, self.decide_u_j, self.disturbed) = (None, None, true);
        }
        if self.update_j.is_some_and(|joules| joules > most(update_s)) {
            (self.update_j, self.update_u_j, self.disturbed) = (None, None, true);
        }
        self
    }
}

/// What measures joules, and what the board can draw.
pub struct Bench {
    /// The meter.
    pub meter: Meter,
    /// The board's power with all cores busy.
    pub full: Watts,
    /// How long each block of calls lasts.
    pub block: Duration,
}

/// Measures one learner.
pub fn measure(
    engine: Engine,
    name: LearnerName,
    settings: &Settings,
    seed: u64,
    bench: &Bench,
) -> Result<Row, LearnError> {
    let mut subject = Subject::new(engine, name, settings, seed)?;
    let decide_s = times(&mut subject, Subject::decide)?;
    let update_s = times(&mut subject, Subject::update)?;
    let joules = subject.joules(&bench.meter, bench.block)?;
    let (decide_median_s, update_median_s) = (quantile(&decide_s, 0.5), quantile(&update_s, 0.5));
    let description = subject.learner.describe();
    Ok(Row {
        name: name.to_string(),
        variant: description.variant,
        engine: description.engine,
        parameters: description.parameters,
        decide_median_s,
        decide_p99_s: quantile(&decide_s, 0.99),
        update_median_s,
        update_p99_s: quantile(&update_s, 0.99),
        diverged: subject.diverged,
        joules: joules.plausible(decide_median_s, update_median_s, bench.full),
        kind: bench.meter.info().kind.as_str(),
    })
}

/// The joules alone.
pub fn joules(
    engine: Engine,
    name: LearnerName,
    settings: &Settings,
    seed: u64,
    bench: &Bench,
) -> Result<CallJoules, LearnError> {
    Subject::new(engine, name, settings, seed)?.joules(&bench.meter, bench.block)
}

/// A learner that is warm, and what it meets in turn.
struct Subject {
    learner: Box<dyn Learner>,
    diverged: bool,
    transitions: Vec<Transition>,
    next: usize,
}

/// A decision or an update.
type Call = fn(&mut Subject) -> Result<(), LearnError>;

impl Subject {
    fn new(engine: Engine, name: LearnerName, settings: &Settings, seed: u64) -> Result<Self, LearnError> {
        let mut guard = Guard::new(engine.build(name, seed, settings)?);
        let score = environment::run_guarded(&mut guard, &environment::tasks(TRIED, seed))?;
        let mut subject = Self {
            learner: guard.into_learner(),
            diverged: score.diverged,
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
            disturbed: false,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn joules_beyond_what_full_load_draws_are_left_out() {
        let measured = CallJoules {
            decide_j: Some(5e-6),
            decide_u_j: Some(1e-6),
            update_j: Some(975e-6),
            update_u_j: Some(1e-6),
            disturbed: false,
        };
        let plausible = measured.plausible(1e-6, 4.5e-6, Watts(20.0));
        assert_eq!(
            (plausible.decide_j, plausible.decide_u_j),
            (Some(5e-6), Some(1e-6))
        );
        assert_eq!((plausible.update_j, plausible.update_u_j), (None, None));
        assert!(plausible.disturbed);
        assert_eq!(measured.plausible(1e-6, 50e-6, Watts(20.0)), measured);
    }

    #[test]
    fn a_learner_that_diverges_is_told() {
        let mut settings = Settings::default();
        settings.ac.actor_rate = 1e6;
        let new = |settings| Subject::new(Engine::Native, LearnerName::Ac, settings, 1).unwrap();
        assert!(new(&settings).diverged);
        assert!(!new(&Settings::default()).diverged);
    }
}
