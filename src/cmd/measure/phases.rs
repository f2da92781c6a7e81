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
pub struct PhaseLog<'m> {
    instruments: &'m [Instrument],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Phase<Span>>,
    ended: Vec<Phase<PendingSpan>>,
    refused: Refused,
}

/// A phase as each sensor sees it.
struct Phase<T> {
    name: String,
    spans: Vec<T>,
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

    /// The run begins, and with it the first phase.
    pub fn open(&self) {
        self.state().running = Some(self.begin_phase(START));
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

    /// Ends the phase that runs and begins the next one.
    ///
    /// A mark tells its own moment, a little before it arrived. A meter can begin a span only now, so this is the
    /// place that costs a phase its exact edge: the time between the two, and between two looks at the clock.
    fn cut(&self, state: &mut State, mark: &Mark, arrived: Moment) {
        let late = mark.at.map_or(0.0, |at| (arrived - at).0);
        tracing::debug!("phase {} begins {late:.6} s after its mark", mark.name);
        match state.running.take() {
            Some(before) => {
                let (ended, next) = self.hand_over(before, mark.name.as_str());
                state.ended.push(ended);
                state.running = Some(next);
            }
            // The run has ended and this mark is one of its last words: a phase of no length.
            None => state.ended.push(self.begin_phase(mark.name.as_str()).end()),
        }
    }

    fn hand_over(&self, before: Phase<Span>, name: &str) -> (Phase<PendingSpan>, Phase<Span>) {
        let mut next = Phase::named(name);
        let mut ended = Phase::named(&before.name);
        for (span, instrument) in before.spans.into_iter().zip(self.instruments) {
            ended.spans.push(span.end());
            next.spans.push(instrument.meter.span(""));
        }
        (ended, next)
    }

    fn begin_phase(&self, name: &str) -> Phase<Span> {
        let spans = self.instruments.iter().map(|i| i.meter.span(""));
        Phase {
            spans: spans.collect(),
            ..Phase::named(name)
        }
    }

    /// The run has ended.
    pub fn close(&self) {
        let mut state = self.state();
        let last = state.running.take().map(Phase::end);
        state.ended.extend(last);
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

impl<T> Phase<T> {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            spans: Vec::new(),
        }
    }
}

impl Phase<Span> {
    fn end(self) -> Phase<PendingSpan> {
        Phase {
            name: self.name,
            spans: self.spans.into_iter().map(Span::end).collect(),
        }
    }
}

impl Refused {
    fn count(&mut self, reason: String) {
        self.marks += 1;
        self.reason.get_or_insert(reason);
    }
}
