//! How sure an energy is: one standard uncertainty (k = 1) per span, after the GUM (JCGM 100:2008).
//!
//! The terms are independent of each other and add in squares:
//!
//! | term | formula | why |
//! |---|---|---|
//! | gain | g E | one gain for all samples: it does not average out |
//! | offset | sqrt(sum of (o_i T)²) | constant per rail over the span, independent between rails |
//! | resolution | sqrt(sum of (q dt)²/12); counters q/sqrt(6) | rounding is new at each sample; two reads of a counter |
//! | sampling | sqrt(sum of (dP dt)²/12) | power may have stepped anywhere between two samples |
//! | edges | d P_step at each edge, d = a (1 - a) dt, a the edge's place in its sample interval; T P_step if both edges share an interval | where in the interval the energy fell is not known |
//! | gaps | T_uncovered (P_max - P_min)/sqrt(12) | power in a gap is anywhere in its range |
//! | lag | tau abs(P_end - P_begin)/sqrt(3) | a first-order filter still owes, or carries over, this much |

use crate::integrator::RailPoint;
use crate::sensor::Accuracy;
use crate::units::{Joules, Seconds, Watts};
use serde::Serialize;

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
}

impl Budget {
    /// The terms by name, in the order of the table above.
    pub fn terms(&self) -> [(&'static str, Joules); 7] {
        [
            ("gain", self.gain),
            ("offset", self.offset),
            ("resolution", self.resolution),
            ("sampling", self.sampling),
            ("edges", self.edges),
            ("gaps", self.gaps),
            ("lag", self.lag),
        ]
    }

    /// The combined standard uncertainty.
    pub fn combined(&self) -> Joules {
        Joules(
            self.terms()
                .iter()
                .map(|(_, term)| term.0.powi(2))
                .sum::<f64>()
                .sqrt(),
        )
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
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Cumulative figures at the beginning.
    pub begin: RailPoint,
    /// Cumulative figures at the end.
    pub end: RailPoint,
    /// Length of the span.
    pub duration: Seconds,
    /// Part of it without samples.
    pub uncovered: Seconds,
    /// Highest minus lowest power seen so far.
    pub power_range: Watts,
    /// a (1 - a) dt at the beginning, a being the edge's place (0 to 1) in its sample interval of length dt.
    pub begin_edge: Seconds,
    /// The same at the end.
    pub end_edge: Seconds,
    /// Whether both edges lie in the same sample interval.
    pub share_interval: bool,
    /// How much power changed around the edges.
    pub edge_step: Watts,
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
        self.end.energy - self.begin.energy
    }
}

/// The terms for one rail or total. `offsets` and `energy_steps` are those of the rails that it sums up.
pub fn budget(
    interval: &Interval,
    accuracy: &Accuracy,
    offsets: &[Watts],
    energy_steps: &[Joules],
) -> Budget {
    let root_of_squares =
        |terms: &mut dyn Iterator<Item = f64>| Joules(terms.map(|x| x * x).sum::<f64>().sqrt());
    let duration = interval.duration.0;
    let resolution_variance = interval.end.resolution_variance - interval.begin.resolution_variance;
    let counter_rounding = energy_steps.iter().map(|step| step.0 / 6f64.sqrt());
    let edge = |width: Seconds| width.0 * interval.edge_step.0;
    Budget {
        gain: Joules((accuracy.gain * interval.joules().0).abs()),
        offset: root_of_squares(&mut offsets.iter().map(|offset| offset.0 * duration)),
        resolution: root_of_squares(&mut counter_rounding.chain([resolution_variance.max(0.0).sqrt()])),
        sampling: Joules(
            (interval.end.sampling_variance - interval.begin.sampling_variance)
                .max(0.0)
                .sqrt(),
        ),
        edges: if interval.share_interval {
            Joules(duration * interval.edge_step.0)
        } else {
            root_of_squares(&mut [edge(interval.begin_edge), edge(interval.end_edge)].into_iter())
        },
        gaps: Joules(interval.uncovered.0 * interval.power_range.0 / 12f64.sqrt()),
        lag: Joules(accuracy.lag.map_or(0.0, |tau| {
            tau.0 * (interval.end.power - interval.begin.power).0.abs() / 3f64.sqrt()
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(joules: f64, duration: f64) -> Interval {
        Interval {
            begin: RailPoint::default(),
            end: RailPoint {
                energy: Joules(joules),
                ..RailPoint::default()
            },
            duration: Seconds(duration),
            uncovered: Seconds::ZERO,
            power_range: Watts::ZERO,
            begin_edge: Seconds::ZERO,
            end_edge: Seconds::ZERO,
            share_interval: false,
            edge_step: Watts::ZERO,
        }
    }

    #[test]
    fn gain_does_not_average_out_and_offsets_of_rails_do() {
        let accuracy = Accuracy {
            gain: 0.01,
            ..Accuracy::default()
        };
        let terms = budget(
            &interval(100.0, 10.0),
            &accuracy,
            &[Watts(0.03), Watts(0.04)],
            &[],
        );
        assert!((terms.gain.0 - 1.0).abs() < 1e-12);
        assert!((terms.offset.0 - 0.5).abs() < 1e-12);
        assert!((terms.combined().0 - 1.25f64.sqrt()).abs() < 1e-12);
        assert_eq!(terms.dominant().0, "gain");
    }

    #[test]
    fn a_gap_costs_the_power_range() {
        let gap = Interval {
            uncovered: Seconds(2.0),
            power_range: Watts(12f64.sqrt()),
            ..interval(1.0, 4.0)
        };
        assert!((budget(&gap, &Accuracy::default(), &[], &[]).gaps.0 - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_span_within_one_sample_interval_is_as_unsure_as_the_power_step() {
        let short = Interval {
            share_interval: true,
            edge_step: Watts(3.0),
            ..interval(0.001, 0.001)
        };
        assert!((budget(&short, &Accuracy::default(), &[], &[]).edges.0 - 0.003).abs() < 1e-12);
    }
}
