//! The samples of one sensor become energy, and every interval is resolved as soon as a sample has passed its end.

use super::head::{Sample, Source};
use super::plan::{Edge, Plan};
use super::{Interval, SpanFigures, TracedSpan};
use hwmeter_hw::clock::Moment;
use hwmeter_hw::integrator::Integrator;
use hwmeter_hw::sensor::{Rail, Reading, SensorInfo, Value};
use hwmeter_hw::span::{Mark, SpanEnergy};
use hwmeter_hw::uncertainty::Energy;
use hwmeter_hw::units::Seconds;

/// The part that sees every sample.
pub struct Running {
    info: SensorInfo,
    has_total: bool,
    integrator: Integrator,
    rails: Vec<RailState>,
    first: Moment,
    last: Moment,
    /// The first edge that no sample has reached yet.
    next_edge: usize,
    /// What was known at the beginning of each interval that has not ended.
    begun: Vec<Option<Box<Mark>>>,
    ended: Vec<Option<SpanEnergy>>,
}

struct RailState {
    source: Source,
    is_begun: bool,
}

impl Running {
    /// `head` are the first samples; they are not pushed yet.
    pub fn new(info: SensorInfo, has_total: bool, period: Seconds, head: &[Sample], plan: &Plan<'_>) -> Self {
        let rails = info.rails.iter().enumerate().map(|(i, rail)| RailState {
            source: Source::of(rail, i, &info.accuracy, period, head),
            is_begun: false,
        });
        let first = head.first().map_or(Moment(0), |sample| sample.t);
        Self {
            rails: rails.collect(),
            integrator: Integrator::of_trace(&info, period),
            info,
            has_total,
            first,
            last: first,
            next_edge: 0,
            begun: vec![None; plan.intervals.len()],
            ended: vec![None; plan.intervals.len()],
        }
    }

    /// Integrates a sample, and resolves the edges up to it.
    pub fn push(&mut self, sample: &Sample, plan: &Plan<'_>) {
        let t = sample.t;
        let mut reading = Reading::default();
        for (rail, &cell) in self.rails.iter_mut().zip(&sample.cells) {
            let value = rail.source.value(cell, !rail.is_begun);
            rail.is_begun |= value != Value::Missing;
            reading.values.push(value);
        }
        self.integrator.push(t, &reading);
        self.last = t;
        while let Some(edge) = plan.edges.get(self.next_edge).filter(|edge| edge.t <= t) {
            self.mark(*edge, edge.t.max(self.first));
        }
    }

    /// Notes what is known at an edge; at an interval's end, what it cost.
    fn mark(&mut self, edge: Edge, t: Moment) {
        self.next_edge += 1;
        let mark = Mark::at(&self.integrator, t);
        let i = edge.interval;
        if !edge.is_end {
            self.begun[i] = Some(Box::new(mark));
        } else if let Some(begin) = self.begun[i].take() {
            // The interval has the name already.
            self.ended[i] = Some(SpanEnergy::between(String::new(), &self.info, &begin, &mark));
        }
    }

    /// The trace has ended: whether the total is known, the rails, and every interval in order. `first` and `last` are
    /// the times of the first and the last row.
    pub fn finish(
        mut self,
        plan: &Plan<'_>,
        first: Seconds,
        last: Seconds,
    ) -> (bool, Vec<Rail>, Vec<TracedSpan>) {
        while let Some(edge) = plan.edges.get(self.next_edge) {
            self.mark(*edge, self.last);
        }
        let ended = std::mem::take(&mut self.ended);
        let spans = (plan.intervals.iter().zip(ended))
            .map(|(interval, energy)| self.span(interval, energy, first, last))
            .collect();
        (self.has_total, self.info.rails, spans)
    }

    fn span(
        &self,
        interval: &Interval,
        energy: Option<SpanEnergy>,
        first: Seconds,
        last: Seconds,
    ) -> TracedSpan {
        let (from, to) = (interval.from.unwrap_or(first), interval.to.unwrap_or(last));
        let mut span = TracedSpan {
            name: interval.name.clone(),
            from,
            to,
            coverage: 0.0,
            samples: 0,
            total: None,
            rails: vec![None; self.rails.len()],
        };
        let Some(energy) = energy else { return span };
        // As far as the trace reaches.
        let reached = energy.duration();
        let whole = (to - from).0;
        if reached.0 <= 0.0 || whole <= 0.0 {
            return span;
        }
        span.coverage = share(energy.coverage * reached.0 / whole);
        span.samples = energy.samples;
        let figures = |energy: Energy| SpanFigures {
            energy,
            mean: energy.joules / reached,
        };
        if self.has_total {
            span.total = energy.total.map(|total| (figures(total), energy.budget));
        }
        for (slot, &of_rail) in span.rails.iter_mut().zip(&energy.rails) {
            *slot = of_rail.map(figures);
        }
        span
    }
}

/// A share without what rounding took from a whole.
fn share(x: f64) -> f64 {
    const ROUNDING: f64 = 1e-9;
    if x > 1.0 - ROUNDING { 1.0 } else { x.max(0.0) }
}
