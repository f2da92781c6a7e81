//! Repeated runs of the same work: mean, scatter, and how sure the mean is.
//!
//! With energies `E_i` of `n` runs, their mean `m` and sample standard deviation `s` (the GUM, JCGM 100:2008, 4.2 and
//! annex G.4):
//!
//! ```text
//! u_A² = max(s², mean of r_i²) / n     scatter: what differs from run to run, measured; never below what the
//!                                      sensor's independent terms r (sampling, edges, ...) alone would scatter
//! u_B² = sum over c of (mean of c_i)²  the sensor's common terms c (gain, offset, lag): they do not average out
//! u²   = u_A² + u_B²
//! nu   = (n - 1) u⁴ / u_A⁴             effective degrees of freedom (Welch-Satterthwaite)
//! interval = m ± t(0.975, nu) u        Student's t; where scatter dominates it is the usual interval of a mean
//! ```

use crate::combine::{Terms, is_common};
use crate::units::Joules;

/// What repeated runs say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeated {
    /// Number of runs with a known energy.
    pub runs: usize,
    /// Their mean.
    pub mean: Joules,
    /// Their sample standard deviation; `None` for a single run.
    pub deviation: Option<Joules>,
    /// Standard uncertainty (k = 1) of the mean; `None` for a single run, whose scatter is unknown.
    pub uncertainty: Option<Joules>,
    /// Half the width of the 95 % interval of the mean; `None` for a single run.
    pub half_width: Option<Joules>,
}

impl Repeated {
    /// Of these runs; `None` of none.
    pub fn of(runs: &[Terms]) -> Option<Self> {
        let n = runs.len() as f64;
        let mean = runs.iter().map(|run| run.joules.0).sum::<f64>() / n;
        let alone = Self {
            runs: runs.len(),
            mean: Joules(mean),
            deviation: None,
            uncertainty: None,
            half_width: None,
        };
        match runs.len() {
            0 => return None,
            1 => return Some(alone),
            _ => {}
        }
        let squares = runs.iter().map(|run| (run.joules.0 - mean).powi(2));
        let variance = squares.sum::<f64>() / (n - 1.0);
        let a = variance.max(independent_variance(runs)) / n;
        let combined = a + common_variance(runs);
        let freedom = if a > 0.0 {
            (n - 1.0) * (combined / a).powi(2)
        } else {
            f64::INFINITY
        };
        Some(Self {
            deviation: Some(Joules(variance.sqrt())),
            uncertainty: Some(Joules(combined.sqrt())),
            half_width: Some(Joules(student_t(freedom) * combined.sqrt())),
            ..alone
        })
    }
}

/// Mean over the runs of the variance by the terms that differ from run to run.
fn independent_variance(runs: &[Terms]) -> f64 {
    let terms = runs.iter().flat_map(|run| &run.terms);
    let independent = terms.filter(|(name, _)| !is_common(name));
    independent.map(|(_, u)| u.0 * u.0).sum::<f64>() / runs.len() as f64
}

/// Variance of the mean by the terms that all runs share.
fn common_variance(runs: &[Terms]) -> f64 {
    let names = runs.first().into_iter().flat_map(|run| &run.terms);
    let common = names.map(|(name, _)| *name).filter(|name| is_common(name));
    common
        .map(|name| {
            let terms = runs.iter().flat_map(|run| &run.terms);
            let same = terms.filter(|(other, _)| *other == name);
            (same.map(|(_, u)| u.0).sum::<f64>() / runs.len() as f64).powi(2)
        })
        .sum()
}

/// Quantiles of Student's t distribution at 0.975 for 1 to 30 degrees of freedom (any table of it).
const T_975: [f64; 30] = [
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604,
    2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555,
    2.0518, 2.0484, 2.0452, 2.0423,
];

/// The quantile at 0.975 of Student's t; degrees of freedom are rounded down, as the GUM advises.
pub fn student_t(freedom: f64) -> f64 {
    const Z: f64 = 1.959_964;
    let whole = freedom.max(1.0).floor();
    match T_975.get(whole as usize - 1) {
        Some(&t) => t,
        // Beyond the table, the first terms of its expansion (Abramowitz and Stegun 26.7.5) are good to 1e-4.
        None => {
            let first = (Z.powi(3) + Z) / 4.0;
            let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
            Z + first / whole + second / (whole * whole)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(joules: &[f64], gain: f64, edges: f64) -> Vec<Terms> {
        let run = |&joules: &f64| Terms {
            joules: Joules(joules),
            terms: vec![("gain", Joules(gain)), ("edges", Joules(edges))],
        };
        joules.iter().map(run).collect()
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, t) in [(1.0, 12.7062), (9.9, 2.2622), (30.0, 2.0423), (60.0, 2.0003)] {
            assert!((student_t(freedom) - t).abs() < 2e-4, "{freedom}");
        }
        assert!((student_t(120.0) - 1.9799).abs() < 2e-4);
        assert!((student_t(f64::INFINITY) - 1.96).abs() < 1e-4);
    }

    #[test]
    fn scatter_alone_gives_the_interval_of_any_textbook() {
        let of = Repeated::of(&runs(&[1.0, 2.0, 3.0], 0.0, 0.0)).unwrap();
        assert_eq!((of.runs, of.mean), (3, Joules(2.0)));
        assert_eq!(of.deviation, Some(Joules(1.0)));
        let half = of.half_width.unwrap().0;
        assert!((half - 4.3027 / 3f64.sqrt()).abs() < 1e-9, "{half}");
    }

    #[test]
    fn a_common_gain_does_not_average_out() {
        let values: Vec<f64> = (0..1000).map(|i| 10.0 + f64::from(i % 2)).collect();
        let of = Repeated::of(&runs(&values, 0.5, 0.0)).unwrap();
        assert!(of.half_width.unwrap().0 > 1.95 * 0.5);
        assert!(of.half_width.unwrap().0 < 2.0 * 0.51);
    }

    #[test]
    fn runs_that_agree_by_chance_are_no_surer_than_the_sensor() {
        let of = Repeated::of(&runs(&[5.0, 5.0, 5.0, 5.0], 0.0, 0.2)).unwrap();
        assert_eq!(of.deviation, Some(Joules(0.0)));
        assert!((of.uncertainty.unwrap().0 - 0.1).abs() < 1e-12);
    }

    #[test]
    fn one_run_has_no_scatter_and_none_is_nothing() {
        assert_eq!(Repeated::of(&[]), None);
        let one = Repeated::of(&runs(&[5.0], 0.1, 0.1)).unwrap();
        assert_eq!((one.deviation, one.half_width), (None, None));
        let exact = Repeated::of(&runs(&[5.0, 5.0], 0.0, 0.0)).unwrap();
        assert_eq!(exact.half_width, Some(Joules(0.0)));
    }
}
