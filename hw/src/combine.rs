//! Several energies of one sensor taken together: sums of phases, means of runs.
//!
//! Terms of an uncertainty that have one cause for all (see [`is_common`]) add as they are; the others add in squares:
//!
//! ```text
//! u²(sum) = sum over common terms c of (sum over i of c_i)²  +  sum over the other terms r of sum over i of r_i²
//! ```

use crate::span::SpanEnergy;
use crate::uncertainty::Energy;
use crate::units::Joules;

/// An energy with the terms of its standard uncertainty by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The energy.
    pub joules: Joules,
    /// The terms, in joules each.
    pub terms: Vec<(&'static str, Joules)>,
}

impl Terms {
    /// Those of a span; `None` if its energy is unknown.
    pub fn of(span: &SpanEnergy) -> Option<Self> {
        Some(Self {
            joules: span.total?.joules,
            terms: span.budget.terms().into_iter().collect(),
        })
    }

    /// The energy and its combined standard uncertainty.
    pub fn energy(&self) -> Energy {
        Energy {
            joules: self.joules,
            uncertainty: Joules(self.terms.iter().map(|(_, u)| u.0 * u.0).sum::<f64>().sqrt()),
        }
    }
}

/// Whether a term has the same cause in every span of a sensor: its gain, its offset, its filter (whose time constant
/// is wrong in the same direction each time), and the idle power that was subtracted. Such a term does not average out.
pub fn is_common(term: &str) -> bool {
    matches!(term, "gain" | "offset" | "lag" | "idle")
}

/// The energies added up, term by term; `None` of none.
pub fn sum(parts: &[Terms]) -> Option<Terms> {
    let first = parts.first()?;
    let add = |&(name, _): &(&'static str, Joules)| {
        let of_name = parts.iter().flat_map(|part| &part.terms);
        let of_name = of_name.filter(|(other, _)| *other == name).map(|(_, u)| u.0);
        let total = if is_common(name) {
            of_name.sum::<f64>()
        } else {
            of_name.map(|u| u * u).sum::<f64>().sqrt()
        };
        (name, Joules(total))
    };
    Some(Terms {
        joules: parts.iter().map(|part| part.joules).sum(),
        terms: first.terms.iter().map(add).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_terms_add_up_and_the_others_in_squares() {
        let part = |joules, gain, edges| Terms {
            joules: Joules(joules),
            terms: vec![("gain", Joules(gain)), ("edges", Joules(edges))],
        };
        let both = sum(&[part(1.0, 0.1, 3.0), part(2.0, 0.2, 4.0)]).unwrap();
        assert_eq!(both.joules, Joules(3.0));
        assert!((both.terms[0].1.0 - 0.3).abs() < 1e-12);
        assert_eq!(both.terms[1], ("edges", Joules(5.0)));
        assert!((both.energy().uncertainty.0 - 25.09f64.sqrt()).abs() < 1e-12);
        assert_eq!(sum(&[]), None);
    }
}
