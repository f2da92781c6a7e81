//! Spans: named intervals of work and the energy they took.
//!
//! Beginning and ending a span reads the clock and leaves a note; it never waits for a sensor. The energy is
//! resolved when the next sample lands, by interpolation between the samples around each edge.

use crate::clock::{Clock, Moment};
use crate::integrator::{Integrator, Point, RailPoint};
use crate::sensor::{Kind, SensorInfo};
use crate::uncertainty::{Budget, Energy, Interval, budget};
use crate::units::{Joules, Seconds, Watts};
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, OnceLock};

/// What a span cost.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEnergy {
    /// The name given at the beginning.
    pub name: String,
    /// When it began.
    pub begin: Moment,
    /// When it ended.
    pub end: Moment,
    /// The sensor's total; `None` if no sample backs any part of the span.
    pub total: Option<Energy>,
    /// Per rail, in the sensor's order; empty if `total` is `None`.
    pub rails: Vec<Energy>,
    /// The terms of the total's uncertainty.
    pub budget: Budget,
    /// Share of the span that is backed by samples, 0 to 1.
    pub coverage: f64,
    /// Samples within the span.
    pub samples: u64,
    /// Measured, modelled or simulated.
    pub kind: Kind,
}

impl SpanEnergy {
    /// Length of the span.
    pub fn duration(&self) -> Seconds {
        self.end - self.begin
    }

    /// Mean power of the total over the covered part.
    pub fn mean_power(&self) -> Option<Watts> {
        let energy = self.total?.joules;
        (self.duration().0 > 0.0).then(|| energy / self.duration())
    }

    /// The energy between two marks of the same integrator, `begin` first.
    pub fn between(name: String, info: &SensorInfo, begin: &Mark, end: &Mark) -> Self {
        let duration = end.t - begin.t;
        let covered = (end.covered - begin.covered).0;
        let coverage = match duration.0 {
            d if d > 0.0 => (covered / d).clamp(0.0, 1.0),
            _ => f64::from(u8::from(end.is_between_samples)),
        };
        let mut span = SpanEnergy {
            coverage,
            samples: end.samples - begin.samples,
            ..Self::unknown(name, info.kind, begin.t, end.t)
        };
        if coverage == 0.0 {
            return span;
        }
        let interval = |begin_rail: &RailPoint, end_rail: &RailPoint, step: Watts| Interval {
            begin: *begin_rail,
            end: *end_rail,
            duration,
            uncovered: Seconds(duration.0 * (1.0 - coverage)),
            power_range: end.power_range,
            begin_edge: begin.edge,
            end_edge: end.edge,
            share_interval: begin.interval_end == end.interval_end,
            edge_step: step,
        };
        let total = interval(&begin.total, &end.total, begin.total.step.max(end.total.step));
        let offsets: SmallVec<[Watts; 8]> = info
            .total
            .iter()
            .filter_map(|&i| info.rails.get(i))
            .map(|rail| rail.offset)
            .collect();
        let energy_steps: SmallVec<[Joules; 8]> = info
            .total
            .iter()
            .filter_map(|&i| info.rails.get(i))
            .map(|rail| rail.energy_step)
            .collect();
        span.budget = budget(&total, &info.accuracy, &offsets, &energy_steps);
        span.total = Some(total.energy(&span.budget));
        span.rails = (info.rails.iter().zip(&begin.rails).zip(&end.rails))
            .map(|((rail, b), e)| {
                let interval = interval(b, e, b.step.max(e.step));
                interval.energy(&budget(
                    &interval,
                    &info.accuracy,
                    &[rail.offset],
                    &[rail.energy_step],
                ))
            })
            .collect();
        span
    }

    fn unknown(name: String, kind: Kind, begin: Moment, end: Moment) -> Self {
        Self {
            name,
            begin,
            end,
            total: None,
            rails: Vec::new(),
            budget: Budget::default(),
            coverage: 0.0,
            samples: 0,
            kind,
        }
    }
}

/// A span that has begun. Dropping it without [`Span::end`] forgets it.
#[derive(Debug)]
pub struct Span {
    name: String,
    begin: Arc<Edge>,
    desk: Arc<EdgeDesk>,
}

impl Span {
    /// Ends the span now. Does not wait for a sample.
    pub fn end(self) -> PendingSpan {
        let end = self.desk.mark();
        PendingSpan {
            name: self.name,
            begin: self.begin,
            end,
            desk: self.desk,
        }
    }
}

/// A span that has ended and waits for the next sample.
#[derive(Debug)]
pub struct PendingSpan {
    name: String,
    begin: Arc<Edge>,
    end: Arc<Edge>,
    desk: Arc<EdgeDesk>,
}

/// What is known about an ended span.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // short-lived, never stored in bulk
pub enum Resolution {
    /// The next sample has not landed yet.
    Pending,
    /// The energy is known.
    Resolved(SpanEnergy),
    /// No sample came for so long that none will be waited for; carries the span without energy.
    Lost(SpanEnergy),
}

impl PendingSpan {
    /// When the span began.
    pub fn begin(&self) -> Moment {
        self.begin.t
    }

    /// When the span ended.
    pub fn end(&self) -> Moment {
        self.end.t
    }

    /// The energy if it is known by now. Never waits.
    pub fn poll(&self) -> Resolution {
        match (self.begin.mark.get(), self.end.mark.get()) {
            (Some(begin), Some(end)) => Resolution::Resolved(SpanEnergy::between(
                self.name.clone(),
                &self.desk.info,
                begin,
                end,
            )),
            _ if (self.desk.clock.now() - self.end.t).0 > self.desk.patience.0 => {
                Resolution::Lost(self.without_energy())
            }
            _ => Resolution::Pending,
        }
    }

    /// Waits for the energy, at most until the sensor counts as gone.
    pub fn wait(&self) -> SpanEnergy {
        loop {
            match self.poll() {
                Resolution::Resolved(energy) | Resolution::Lost(energy) => return energy,
                Resolution::Pending => {
                    let soon = self.desk.clock.now().after(std::time::Duration::from_millis(1));
                    self.desk.clock.sleep_until(soon);
                }
            }
        }
    }

    fn without_energy(&self) -> SpanEnergy {
        SpanEnergy::unknown(self.name.clone(), self.desk.info.kind, self.begin.t, self.end.t)
    }
}

/// The beginning or end of a span: a moment, and what was known there once samples on both sides existed.
#[derive(Debug)]
struct Edge {
    t: Moment,
    mark: OnceLock<Mark>,
}

/// Cumulative figures at a moment, from the samples around it.
#[derive(Clone, Debug)]
pub struct Mark {
    t: Moment,
    rails: SmallVec<[RailPoint; 8]>,
    total: RailPoint,
    covered: Seconds,
    samples: u64,
    power_range: Watts,
    /// The sample interval the edge lies in, by its end.
    interval_end: Moment,
    /// Distance of the edge from the two samples around it, as in [`Interval::begin_edge`].
    edge: Seconds,
    is_between_samples: bool,
}

/// Where threads leave edges and the sampler resolves them.
#[derive(Debug)]
pub(crate) struct EdgeDesk {
    pub info: SensorInfo,
    pub clock: ClockHandle,
    patience: Seconds,
    edges: Mutex<Vec<Arc<Edge>>>,
}

/// A clock that can stand in a `Debug` struct.
pub(crate) struct ClockHandle(pub Arc<dyn Clock>);

impl std::fmt::Debug for ClockHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl std::ops::Deref for ClockHandle {
    type Target = dyn Clock;
    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl EdgeDesk {
    /// Edges for which no sample comes within `patience` are given up.
    pub fn new(info: SensorInfo, clock: Arc<dyn Clock>, patience: Seconds) -> Self {
        Self {
            info,
            clock: ClockHandle(clock),
            patience,
            edges: Mutex::default(),
        }
    }

    /// Begins a span.
    pub fn begin(self: &Arc<Self>, name: String) -> Span {
        Span {
            name,
            begin: self.mark(),
            desk: Arc::clone(self),
        }
    }

    fn mark(&self) -> Arc<Edge> {
        let edge = Arc::new(Edge {
            t: self.clock.now(),
            mark: OnceLock::new(),
        });
        self.lock().push(Arc::clone(&edge));
        edge
    }

    /// Resolves the edges that lie before the newest sample; with `all`, the later ones too, at that sample.
    pub fn resolve(&self, integrator: &Integrator, all: bool) {
        let Some(newest) = integrator.last() else { return };
        self.lock().retain(|edge| {
            // Nobody else holds it: its span was dropped.
            if Arc::strong_count(edge) == 1 {
                return false;
            }
            if edge.t > newest.t && !all {
                return true;
            }
            let _ = edge.mark.set(mark_at(integrator, edge.t));
            false
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Edge>>> {
        self.edges
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Mark {
    /// What `integrator` knows of `t`, which lies anywhere among the points it still holds; beyond them the figures
    /// are those of the nearest one.
    pub fn at(integrator: &Integrator, t: Moment) -> Self {
        mark_at(integrator, t)
    }
}

fn mark_at(integrator: &Integrator, t: Moment) -> Mark {
    let points = integrator.points();
    let after = points.partition_point(|point| point.t < t);
    let at_sample = |point: &Point| Mark {
        t,
        rails: point.rails.clone(),
        total: point.total,
        covered: point.covered,
        samples: point.samples,
        power_range: integrator.power_range(),
        interval_end: point.t,
        edge: Seconds::ZERO,
        is_between_samples: point.t == t,
    };
    match (
        after.checked_sub(1).and_then(|i| points.get(i)),
        points.get(after),
    ) {
        (Some(before), Some(next)) => between(before, next, t, integrator),
        // Before the first sample no sample has been counted yet.
        (None, Some(first)) => Mark {
            samples: first.samples - 1,
            ..at_sample(first)
        },
        (Some(last), None) => at_sample(last),
        (None, None) => at_sample(&Point::default()),
    }
}

fn between(before: &Point, next: &Point, t: Moment, integrator: &Integrator) -> Mark {
    let dt = next.t - before.t;
    let share = ((t - before.t).0 / dt.0).clamp(0.0, 1.0);
    let at = |a: &RailPoint, b: &RailPoint| interpolate(a, b, share, dt);
    Mark {
        t,
        rails: before
            .rails
            .iter()
            .zip(&next.rails)
            .map(|(a, b)| at(a, b))
            .collect(),
        total: at(&before.total, &next.total),
        covered: before.covered + (next.covered - before.covered) * share,
        samples: if t == next.t { next.samples } else { before.samples },
        power_range: integrator.power_range(),
        interval_end: next.t,
        edge: Seconds(share * (1.0 - share) * dt.0),
        is_between_samples: true,
    }
}

/// Energy within a sample interval. Where the interval's energy is that of its trapezoid, power is taken to change
/// linearly; for a counter, only its mean is known.
fn interpolate(a: &RailPoint, b: &RailPoint, share: f64, dt: Seconds) -> RailPoint {
    let whole = b.energy - a.energy;
    let trapezoid = (a.power + b.power) / 2.0 * dt;
    let is_trapezoid = (whole - trapezoid).0.abs() <= 1e-9 * whole.0.abs().max(trapezoid.0.abs());
    let (part, power) = if is_trapezoid {
        let power = a.power + (b.power - a.power) * share;
        ((a.power + power) / 2.0 * (dt * share), power)
    } else {
        (whole * share, b.power)
    };
    let linear = |x: f64, y: f64| x + (y - x) * share;
    RailPoint {
        energy: a.energy + part,
        power,
        step: b.step,
        sampling_variance: linear(a.sampling_variance, b.sampling_variance),
        resolution_variance: linear(a.resolution_variance, b.resolution_variance),
    }
}

impl Watts {
    fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
}
