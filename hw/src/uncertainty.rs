//! How sure an energy is: one standard uncertainty (k = 1) per span, after the GUM (JCGM 100:2008).
//!
//! The terms are independent of each other and add in squares. T is the span's length, h the time between two new
//! values around an edge, x the part of that interval (0 to 1) that lies inside the span, s the time for which a value may
//! have been standing in the sensor. gamma, u (unresolved), a (angular) and spread are what the samples tell about power
//! between them: see [`crate::variability`]. *Means* are readings that leave out nothing of what power did between them:
//! counters, means over a window, and what comes out of a low-pass slower than it is read.
//!
//! | term | formula | why |
//! |---|---|---|
//! | gain | g E | one gain for all samples: it does not average out |
//! | offset | sqrt(sum of (o_i T)²) | constant per rail over the span, independent between rails |
//! | resolution | sqrt(sum of (q run)²/12), at most q T/sqrt(12); counters q/sqrt(6) | rounding is new whenever the reading changes, and the same as long as it does not; two reads of a counter |
//! | sampling | sqrt(sum of gamma h² (1.5 u + (1 - u) a / 6)); counters and windows 0; behind a low-pass also the same between its conversions, c apart: gamma (h c u + (1 - u) a c²/6) | a sample that is nothing but news stands for its interval with its own variance; a step somewhere in the interval makes the trapezoid wrong by d²h²/12 |
//! | edges | each: gamma h² (u x + (1 - u) a 2 (x³/3 - x⁴/4)) + spread h²; means: gamma h² x (1 - x) (behind a low-pass + 0.15 spread h²). T < h: T² max(gamma (u + (1 - u) a / 2), (1 - x) spread); means: h² max(gamma x (1 - x), behind a low-pass x² spread), x = T/h; a span of T < h across a sample has no more than that of sampling and of edges | variance of a random walk between two known values (a Brownian bridge), or of the energy between two readings of a counter; a load nearly in step with the sampling shows less than it does |
//! | gaps | gamma h² min(1.5 u + (1 - u) a / 6, 1/3), gamma growing with the gap up to (range/2)², times (h/tau)² where a low-pass outlasts it; a counter's reset P_peak h/sqrt(3); T_outside P_peak/sqrt(3) | power may wander further; outside the samples anything up to the highest power seen |
//! | lag | sqrt((u_tau (P_end - P_begin))² + 2 (tau q)²/12 + where it is faster than the sampling, for each edge gamma tau² (u + (1 - u) a / 2)), E corrected by tau (P_end - P_begin) | a first-order low-pass still owes, or carries over, this much; pulses far shorter than tau show in P, as far as its step q allows |
//! | clock | counters: sqrt((P_begin² + P_end²)(c² + s²/12)); power: sqrt(max((P_end - P_begin)², 2 gamma) min(c² + s²/12, T²)) | a value is as old as it has been standing (the mean of it, s/2, is corrected), and its moment is known to c |
//!
//! [`crate::synthetic`] holds these formulas against power of known energy.

use crate::integrator::{RailPoint, Variances};
use crate::sensor::Accuracy;
use crate::units::{Joules, Seconds, Watts};
use serde::Serialize;

/// Variance, as a share of `spread` x interval², that each edge may add when the load is nearly in step with the sampling.
const EDGE_SPREAD: f64 = 1.0;

/// The same behind a low-pass, which leaves out only what lies between the sensor's own conversions.
const EDGE_SPREAD_SMOOTHED: f64 = 0.15;

/// An energy and its standard uncertainty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Energy {
    /// The energy.
    pub joules: Joules,
    /// Its standard uncertainty (k = 1).
    #[serde(rename = "uncertainty_joules")]
    pub uncertainty: Joules,
}

/// The terms of a standard uncertainty, in joules each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Budget {
    /// The sensor's gain, or a model's error.
    pub gain: Joules,
    /// The sensor's offset.
    pub offset: Joules,
    /// Rounding of readings and counters.
    pub resolution: Joules,
    /// What happened between two samples.
    pub sampling: Joules,
    /// Where the span begins and ends between samples.
    pub edges: Joules,
    /// Parts of the span without samples.
    pub gaps: Joules,
    /// Smoothing in the sensor.
    pub lag: Joules,
    /// When the values were true.
    pub clock: Joules,
}

impl Budget {
    /// The terms by name, in the order of the table above.
    pub fn terms(&self) -> [(&'static str, Joules); 8] {
        [
            ("gain", self.gain),
            ("offset", self.offset),
            ("resolution", self.resolution),
            ("sampling", self.sampling),
            ("edges", self.edges),
            ("gaps", self.gaps),
            ("lag", self.lag),
            ("clock", self.clock),
        ]
    }

    /// The combined standard uncertainty.
    pub fn combined(&self) -> Joules {
        let squares = self.terms().map(|(_, term)| term.0.powi(2));
        Joules(squares.iter().sum::<f64>().sqrt())
    }

    /// The largest term.
    pub fn dominant(&self) -> (&'static str, Joules) {
        self.terms().into_iter().fold(
            ("gain", self.gain),
            |best, term| if term.1 > best.1 { term } else { best },
        )
    }
}

/// What the formulas need to know of one rail (or the total) over one span.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interval {
    /// Where the span begins.
    pub begin: Edge,
    /// Where it ends.
    pub end: Edge,
    /// Variances of the whole sample intervals between the edges; `resolution` is that of the span.
    pub between: Variances,
    /// Length of the span.
    pub duration: Seconds,
    /// Part of it before the first or after the last sample.
    pub outside: Seconds,
    /// Whether both edges lie in the same sample interval.
    pub is_within_one: bool,
    /// How long a value may have stood in the sensor before it was read.
    pub standing: Seconds,
}

/// One edge of a span.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edge {
    /// Cumulative figures there.
    pub point: RailPoint,
    /// The part of its sample interval that lies inside the span, 0 to 1.
    pub inside: f64,
}

/// Offset and steps of a rail, or of the rails that make up a total: the roots of their sums of squares.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    /// Standard uncertainty of the offset.
    pub offset: Watts,
    /// Smallest step of a power reading.
    pub power_step: Watts,
    /// Smallest step of an energy counter.
    pub energy_step: Joules,
}

impl Interval {
    /// The energy with the uncertainty of `budget`.
    pub fn energy(&self, budget: &Budget) -> Energy {
        Energy {
            joules: self.joules(),
            uncertainty: budget.combined(),
        }
    }

    fn joules(&self) -> Joules {
        self.end.point.energy - self.begin.point.energy
    }

    fn rise(&self) -> f64 {
        (self.end.point.power - self.begin.point.power).0
    }
}

/// The terms for one rail or total.
pub fn budget(interval: &Interval, accuracy: &Accuracy, steps: &Steps) -> Budget {
    let (sampling, edges) = between_samples(interval);
    let outside = interval.outside.0 * interval.end.point.peak.0 / 3f64.sqrt();
    let gaps = interval.between.gaps.max(0.0) + outside * outside;
    Budget {
        gain: Joules((accuracy.gain * interval.joules().0).abs()),
        offset: steps.offset * interval.duration,
        resolution: Joules(resolution(interval, steps).sqrt()),
        sampling: Joules(sampling.sqrt()),
        edges: Joules(edges.sqrt()),
        gaps: Joules(gaps.sqrt()),
        lag: Joules(lag(interval, accuracy, steps).sqrt()),
        clock: Joules(clock(interval, accuracy).sqrt()),
    }
}

fn resolution(interval: &Interval, steps: &Steps) -> f64 {
    let all_the_same = (steps.power_step.0 * interval.duration.0).powi(2) / 12.0;
    interval.between.resolution.clamp(0.0, all_the_same) + steps.energy_step.0.powi(2) / 6.0
}

/// Variances by sampling and edges.
fn between_samples(interval: &Interval) -> (f64, f64) {
    let Interval { begin, end, .. } = interval;
    let sampling = interval.between.sampling.max(0.0);
    let edges = begin.variance(interval.standing) + end.variance(interval.standing);
    let longest = begin.interval().max(end.interval());
    if interval.is_within_one {
        (0.0, within_one(interval))
    } else if interval.duration.0 <= longest {
        let bound = within_one(interval);
        (sampling.min(bound), edges.min(bound))
    } else {
        (sampling, edges)
    }
}

/// Variance of a span that is shorter than the time between two new values.
fn within_one(interval: &Interval) -> f64 {
    let variance = |edge: &Edge| {
        let (t, h, roughness) = (interval.duration.0, edge.interval(), edge.point.roughness);
        if h == 0.0 {
            return 0.0;
        }
        let x = (t / h).clamp(0.0, 1.0);
        if !edge.point.is_mean {
            let resolved = roughness.gamma * roughness.blend(1.0, 0.5);
            return t * t * resolved.max((1.0 - x) * roughness.spread);
        }
        let in_step = if edge.point.is_complete {
            0.0
        } else {
            x * x * roughness.spread
        };
        h * h * (roughness.gamma * x * (1.0 - x)).max(in_step)
    };
    variance(&interval.begin).max(variance(&interval.end))
}

impl Edge {
    /// Length of the sample interval that the edge cuts; zero if it lies on a sample.
    fn interval(&self) -> f64 {
        if self.inside > 0.0 {
            self.point.interval.0
        } else {
            0.0
        }
    }

    /// Variance of the part of the sample interval that lies inside.
    fn variance(&self, standing: Seconds) -> f64 {
        if self.inside == 0.0 {
            return 0.0;
        }
        let RailPoint {
            roughness,
            interval,
            is_mean,
            is_complete,
            ..
        } = self.point;
        // A value that has been standing for an unknown time does not tell where in its interval the edge lies.
        let is_placed = standing.0 <= 0.5 * interval.0;
        let x = if is_placed { self.inside } else { 0.5 };
        let share = if is_mean {
            x * (1.0 - x)
        } else {
            roughness.blend(x, 2.0 * (x.powi(3) / 3.0 - x.powi(4) / 4.0))
        };
        let in_step = match (is_mean, is_complete) {
            (_, true) => 0.0,
            (true, _) => EDGE_SPREAD_SMOOTHED * roughness.spread,
            (false, _) => EDGE_SPREAD * roughness.spread,
        };
        (roughness.gamma * share + in_step) * interval.0.powi(2)
    }
}

fn lag(interval: &Interval, accuracy: &Accuracy, steps: &Steps) -> f64 {
    let Some(tau) = accuracy.lag else { return 0.0 };
    let unsure = tau.0 * accuracy.lag_uncertainty * interval.rise();
    let rounding = 2.0 * (tau.0 * steps.power_step.0).powi(2) / 12.0;
    // A low-pass that is faster than the sampling: the reading at the edge itself is not known.
    let unseen = |edge: &Edge| {
        if edge.point.is_mean {
            0.0
        } else {
            edge.point.roughness.gamma * tau.0 * tau.0 * edge.point.roughness.blend(1.0, 0.5)
        }
    };
    unsure * unsure + rounding + unseen(&interval.begin) + unseen(&interval.end)
}

fn clock(interval: &Interval, accuracy: &Accuracy) -> f64 {
    let time = accuracy.clock.0.powi(2) + interval.standing.0.powi(2) / 12.0;
    let Interval { begin, end, .. } = interval;
    if begin.point.is_mean && accuracy.lag.is_none() && accuracy.window.is_none() {
        (begin.point.power.0.powi(2) + end.point.power.0.powi(2)) * time
    } else {
        // Two edges within one value show no rise, whatever happened: then it is what power usually does.
        let usual = 2.0 * begin.point.roughness.gamma.max(end.point.roughness.gamma);
        let shift = time.min(interval.duration.0.powi(2));
        interval.rise().powi(2).max(usual) * shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variability::Roughness;

    fn interval(joules: f64, duration: f64) -> Interval {
        let mut interval = Interval {
            duration: Seconds(duration),
            ..Interval::default()
        };
        interval.end.point.energy = Joules(joules);
        interval
    }

    #[test]
    fn gain_does_not_average_out_and_the_terms_add_in_squares() {
        let accuracy = Accuracy {
            gain: 0.01,
            ..Accuracy::default()
        };
        let steps = Steps {
            offset: Watts(0.05),
            ..Steps::default()
        };
        let terms = budget(&interval(100.0, 10.0), &accuracy, &steps);
        assert!((terms.gain.0 - 1.0).abs() < 1e-12);
        assert!((terms.offset.0 - 0.5).abs() < 1e-12);
        assert!((terms.combined().0 - 1.25f64.sqrt()).abs() < 1e-12);
        assert_eq!(terms.dominant().0, "gain");
    }

    #[test]
    fn time_outside_the_samples_may_have_taken_up_to_the_peak() {
        let mut outside = interval(1.0, 4.0);
        outside.outside = Seconds(2.0);
        outside.end.point.peak = Watts(3f64.sqrt());
        let terms = budget(&outside, &Accuracy::default(), &Steps::default());
        assert!((terms.gaps.0 - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_span_within_one_sample_interval_is_as_unsure_as_power_varies() {
        let mut short = interval(0.001, 0.001);
        short.is_within_one = true;
        short.end.point.interval = Seconds(0.01);
        short.end.inside = 0.5;
        short.end.point.roughness = Roughness {
            gamma: 9.0,
            unresolved: 1.0,
            angular: 1.0,
            spread: 0.0,
        };
        let terms = budget(&short, &Accuracy::default(), &Steps::default());
        assert!((terms.edges.0 - 0.003).abs() < 1e-12, "{terms:?}");
    }

    #[test]
    fn a_reading_that_never_changes_has_one_rounding_error_for_the_whole_span() {
        let mut constant = interval(20.0, 10.0);
        constant.between.resolution = 1e9;
        let steps = Steps {
            power_step: Watts(0.04),
            ..Steps::default()
        };
        let terms = budget(&constant, &Accuracy::default(), &steps);
        assert!((terms.resolution.0 - 0.4 / 12f64.sqrt()).abs() < 1e-12);
    }
}
