//! What is known at one moment between samples, and the energy between two such moments.

use crate::clock::Moment;
use crate::integrator::{Integrator, Point, RailPoint, Read, Variances};
use crate::sensor::SensorInfo;
use crate::span::SpanEnergy;
use crate::track::Optics;
use crate::uncertainty::{Budget, Edge, Energy, Interval, Steps, budget};
use crate::units::{Joules, Seconds, Watts};
use smallvec::SmallVec;

/// So few samples before an edge do not tell how power varies.
const FEW: u64 = 16;

/// Cumulative figures at a moment, from the samples around it.
#[derive(Clone, Debug)]
pub struct Mark {
    pub(crate) t: Moment,
    rails: SmallVec<[At; 8]>,
    total: At,
    covered: Seconds,
    samples: u64,
    /// The sample interval the moment lies in, by its end; `None` outside the samples.
    interval_end: Option<Moment>,
    /// Distance to the nearest sample, where the moment lies outside them.
    outside: Seconds,
    /// How long a value may have stood in the sensor before it was read.
    standing: Seconds,
}

/// One rail, or the total, at a moment.
#[derive(Clone, Copy, Debug)]
struct At {
    point: RailPoint,
    /// Cumulative variances at the sample before and at the one after.
    before: Variances,
    after: Variances,
    /// Place between these two samples, 0 to 1.
    place: f64,
    /// Values that the rail has had up to the sample before and up to the one after.
    values: (u64, u64),
}

impl Mark {
    /// What `integrator` knows of `t`, which lies anywhere among the points it still holds; beyond them the figures
    /// are those of the nearest one.
    pub fn at(integrator: &Integrator, t: Moment) -> Self {
        let points = integrator.points();
        let after = points.before(t);
        let before = after.checked_sub(1).and_then(|i| points.get(i));
        let standing = integrator.standing();
        match (before, points.get(after)) {
            (Some(before), Some(next)) => Self {
                standing,
                ..Self::between(before, next, t, integrator.optics())
            },
            // Before the first sample no sample has been counted yet.
            (None, Some(first)) => Self::outside(first, t, first.samples - 1),
            (Some(last), None) => Self::outside(last, t, last.samples),
            (None, None) => Self::outside(&Point::default(), t, 0),
        }
    }

    fn outside(point: &Point, t: Moment, samples: u64) -> Self {
        let at = |point: &RailPoint| At {
            point: *point,
            before: point.variance,
            after: point.variance,
            place: 0.0,
            values: (point.values, point.values),
        };
        Self {
            t,
            rails: point.rails.iter().map(at).collect(),
            total: at(&point.total),
            covered: point.covered,
            samples,
            interval_end: None,
            outside: Seconds((t - point.t).0.abs()),
            standing: Seconds::ZERO,
        }
    }

    fn between(before: &Point, next: &Point, t: Moment, optics: &Optics) -> Self {
        let dt = next.t - before.t;
        let place = ((t - before.t).0 / dt.0).clamp(0.0, 1.0);
        let at = |a: &RailPoint, b: &RailPoint| At {
            point: interpolate(a, b, place, dt, optics),
            before: a.variance,
            after: b.variance,
            place,
            values: (a.values, b.values),
        };
        Self {
            t,
            rails: (before.rails.iter().zip(&next.rails))
                .map(|(a, b)| at(a, b))
                .collect(),
            total: at(&before.total, &next.total),
            covered: before.covered + (next.covered - before.covered) * place,
            samples: if t == next.t { next.samples } else { before.samples },
            interval_end: Some(next.t),
            outside: Seconds::ZERO,
            standing: Seconds::ZERO,
        }
    }

    /// Fills in `span`, which goes from this mark to `end`.
    pub(crate) fn resolve(&self, end: &Self, info: &SensorInfo, span: &mut SpanEnergy) {
        let duration = end.t - self.t;
        span.coverage = self.coverage_to(end);
        span.outside = self.outside_to(end);
        span.samples = end.samples.saturating_sub(self.samples);
        if span.coverage == 0.0 {
            return;
        }
        let energy = |begin: &At, end_at: &At, rails: &[usize]| {
            let interval = self.interval(begin, end, end_at, duration);
            let budget = budget(&interval, &info.accuracy, &steps(info, rails));
            (interval.energy(&budget), budget)
        };
        let (total, budget): (Energy, Budget) = energy(&self.total, &end.total, &info.total);
        span.total = Some(total);
        span.budget = budget;
        span.rails = (self.rails.iter().zip(&end.rails).enumerate())
            .map(|(i, (begin, end))| has_values(begin, end).then(|| energy(begin, end, &[i]).0))
            .collect();
    }

    fn outside_to(&self, end: &Self) -> Seconds {
        Seconds((self.outside + end.outside).0.min((end.t - self.t).0))
    }

    fn coverage_to(&self, end: &Self) -> f64 {
        match (end.t - self.t).0 {
            duration if duration > 0.0 => ((end.covered - self.covered).0 / duration).clamp(0.0, 1.0),
            _ => f64::from(u8::from(end.interval_end.is_some())),
        }
    }

    fn interval(&self, begin: &At, end_mark: &Self, end: &At, duration: Seconds) -> Interval {
        let edge = |at: &At, inside: f64| Edge {
            point: at.point,
            inside,
        };
        let mut begin = *begin;
        if begin.values.0 < FEW {
            // What the first samples could not tell, later ones may have.
            begin.point.roughness = begin.point.roughness.rougher(end.point.roughness);
        }
        let resolution = end.point.variance.resolution - begin.point.variance.resolution;
        Interval {
            begin: edge(&begin, 1.0 - begin.place),
            end: edge(end, end.place),
            between: Variances {
                resolution,
                ..(end.before - begin.after)
            },
            duration,
            outside: self.outside_to(end_mark),
            is_within_one: self.interval_end.is_some() && self.interval_end == end_mark.interval_end,
            standing: Seconds(self.standing.0.max(end_mark.standing.0)),
        }
    }
}

/// Whether the rail had a value on both sides of any part of the time between the two.
fn has_values(begin: &At, end: &At) -> bool {
    // Where there was none before, two are needed.
    end.values.1 > begin.values.0.max(1)
}

/// Offsets and steps of the rails that make up a rail or a total.
fn steps(info: &SensorInfo, rails: &[usize]) -> Steps {
    let root_of_squares = |of: fn(&crate::sensor::Rail) -> f64| {
        let rails = rails.iter().filter_map(|&i| info.rails.get(i));
        rails.map(|rail| of(rail).powi(2)).sum::<f64>().sqrt()
    };
    Steps {
        offset: Watts(root_of_squares(|rail| rail.offset.0)),
        power_step: Watts(root_of_squares(|rail| rail.power_step.0)),
        energy_step: Joules(root_of_squares(|rail| rail.energy_step.0)),
    }
}

/// Energy within a sample interval: power is taken to change linearly where its course is known at the samples; where
/// only its mean is known, it is taken as constant. A low-pass adds what it holds back.
fn interpolate(a: &RailPoint, b: &RailPoint, place: f64, dt: Seconds, optics: &Optics) -> RailPoint {
    let linear = |x: f64, y: f64| x + (y - x) * place;
    let is_trapezoid = a.read == Read::Power && b.read == Read::Power && !b.is_complete;
    let (part, power) = if is_trapezoid {
        let power = Watts(linear(a.power.0, b.power.0));
        (optics.energy(a.power, power, dt * place), power)
    } else {
        ((b.energy - a.energy) * place, b.power)
    };
    let mut roughness = b.roughness;
    roughness.gamma = roughness.gamma.max(a.roughness.gamma);
    RailPoint {
        energy: a.energy + part,
        power,
        variance: Variances {
            resolution: linear(a.variance.resolution, b.variance.resolution),
            ..b.variance
        },
        roughness,
        ..*b
    }
}
