//! Phases: the time between two marks.

use super::instrument::Instrument;
use hwmeter::marks::Mark;
use hwmeter_hw::clock::Moment;
use hwmeter_hw::span::{PendingSpan, Span, SpanEnergy};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The phase before the first mark.
pub const START: &str = "(start)";

/// More phases than anybody can read; a runaway loop must not take all memory (about 2 kB each).
const MOST_PHASES: usize = 20_000;

/// Cuts a run into phases while it goes on. Marks come from another thread than the one that ends it.
///
/// A mark tells its own moment, or counts from its arrival; a meter can begin and end a span at a moment that is just
/// past. So one phase ends exactly where the next begins, and all together are the run.
pub struct PhaseLog<'m> {
    instruments: &'m [Instrument],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    ended: Vec<Ended>,
    /// When the run ended: marks that were on their way by then come no later.
    limit: Option<Moment>,
    refused: Refused,
}

/// A phase as each sensor sees it.
struct Running {
    name: String,
    begin: Moment,
    spans: Vec<Span>,
}

struct Ended {
    name: String,
    spans: Vec<PendingSpan>,
}

/// Marks that began no phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refused {
    /// How many.
    pub marks: u64,
    /// What was wrong with the first.
    pub reason: Option<String>,
}

/// The phases of a run by one sensor after another, in order of time.
pub type PhasesOfSensors = Vec<Vec<SpanEnergy>>;

impl<'m> PhaseLog<'m> {
    /// A log of no phase yet.
    pub fn new(instruments: &'m [Instrument]) -> Self {
        Self {
            instruments,
            state: Mutex::default(),
        }
    }

    /// The run began at `begin`, and with it the first phase.
    pub fn open(&self, begin: Moment) {
        self.state().running = Some(self.begin_phase(START, begin));
    }

    /// A mark has arrived.
    pub fn take(&self, arrived: Moment, mark: Result<Mark, String>) {
        let mut state = self.state();
        match mark {
            Ok(_) if state.ended.len() >= MOST_PHASES => {
                state
                    .refused
                    .count(format!("there are more than {MOST_PHASES} phases"));
            }
            Ok(mark) => self.cut(&mut state, &mark, arrived),
            Err(reason) => state.refused.count(reason),
        }
    }

    /// Ends the phase that runs and begins the next one. A mark of another process may have overtaken this one, and a
    /// moment may be made up: time never goes back, nor past the arrival.
    fn cut(&self, state: &mut State, mark: &Mark, arrived: Moment) {
        let Some(before) = state.running.take() else {
            return;
        };
        let latest = state.limit.map_or(arrived, |limit| limit.min(arrived));
        let at = mark.at.unwrap_or(arrived).min(latest).max(before.begin);
        state.ended.push(before.end(at));
        state.running = Some(self.begin_phase(mark.name.as_str(), at));
    }

    fn begin_phase(&self, name: &str, begin: Moment) -> Running {
        let spans = self.instruments.iter().map(|i| i.meter.span_from("", begin));
        Running {
            name: name.to_owned(),
            begin,
            spans: spans.collect(),
        }
    }

    /// The run ended at `end`; marks may still come.
    pub fn limit(&self, end: Moment) {
        self.state().limit = Some(end);
    }

    /// No mark comes any more.
    pub fn close(&self) {
        let mut state = self.state();
        let end = state.limit;
        let last = state.running.take();
        let ended = last.map(|last| {
            let at = end.unwrap_or(last.begin);
            last.end(at)
        });
        state.ended.extend(ended);
    }

    /// Energies of all phases; none where there was no mark. Waits for the sensors.
    pub fn finish(self) -> (PhasesOfSensors, Refused) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let has_marks = state.ended.len() > 1;
        let of_sensor = |i: usize| {
            let spans = state.ended.iter().filter_map(|phase| {
                let energy = phase.spans.get(i)?.wait();
                Some(SpanEnergy {
                    name: phase.name.clone(),
                    ..energy
                })
            });
            if has_marks { spans.collect() } else { Vec::new() }
        };
        let phases = (0..self.instruments.len()).map(of_sensor).collect();
        (phases, state.refused)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn end(self, at: Moment) -> Ended {
        Ended {
            name: self.name,
            spans: self.spans.into_iter().map(|span| span.end_at(at)).collect(),
        }
    }
}

impl Refused {
    fn count(&mut self, reason: String) {
        self.marks += 1;
        self.reason.get_or_insert(reason);
    }
}
