//! A model of this very board's power: a monotone fit of power against utilisation and frequency.
//!
//! ```text
//! P(u, f) = idle + sum over segments j, powers p of  w[j][p]  ramp_j(u)  (f / f_max)^p        idle, w >= 0
//! ```
//!
//! `u` is the share of time in which the cores were not idle, over all of them, `ramp_j` rises from 0 to 1 between two
//! knots of `u` (the last one goes on beyond), and `p` is 0, 1 and 3: what does not depend on the clock, what is
//! proportional to it, and dynamic power C V² f with a voltage that follows the frequency. Where only one frequency was
//! seen, `p` is 0 alone. No weight is negative, so power never falls when load or frequency rise.
//!
//! The weights are those of the least squares, each step weighed by its uncertainty, under the condition that none is
//! negative (Lawson and Hanson 1974, chapter 23), found coordinate by coordinate (Franc, Hlaváč and Navara 2005).
//!
//! The fit's own error is cross-validated: each step is predicted by a fit without it (Stone 1974), and the root mean
//! square of the relative differences is what the models state, together with the uncertainty of the meter they
//! were fitted against.

mod file;
mod form;

use crate::error::{Error, Result};
use crate::load_steps::{LoadStep, LoadSteps};
use crate::sensor::Kind;
use crate::units::Watts;
use file::Unchecked;
use form::Form;
use serde::{Deserialize, Serialize};
use toml::value::Datetime;

/// A fit on fewer steps says nothing about its own error.
const FEWEST_STEPS: usize = 6;
/// A load that did not reach further tells nothing about the rest.
const LEAST_RANGE: f64 = 0.05;
/// However sure a step's power is, no board repeats it better than this (assumed): no step rules the fit alone.
const REPEATABILITY: f64 = 0.005;
/// Power has to rise by so many of its standard uncertainties between the lowest and the highest load.
const LEAST_RISE: f64 = 4.0;

/// The model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", deny_unknown_fields)]
pub struct PowerModel {
    /// When it was fitted, if somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Datetime>,
    /// The id of the meter it was fitted against.
    pub sensor: String,
    /// Whether that measures.
    pub sensor_kind: Kind,
    /// Relative standard uncertainty of that meter itself: its gain and offset.
    pub sensor_gain: f64,
    /// Number of load steps.
    pub steps: usize,
    /// The fit's own relative standard error, cross-validated over the steps.
    pub fit_error: f64,
    /// Power at no load.
    pub idle_watts: f64,
    /// Utilisation at which the segments begin, and at which the last one ends. The first is 0.
    pub knots: Vec<f64>,
    /// Power that each segment adds at any frequency.
    pub constant_watts: Vec<f64>,
    /// The same proportional to the frequency, at the highest; empty if one frequency was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linear_watts: Vec<f64>,
    /// The same with its third power, at the highest; empty if one frequency was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cubic_watts: Vec<f64>,
    /// The highest frequency in hertz; absent if one frequency was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hz: Option<f64>,
    /// Why the steps ended before the last one planned, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<String>,
}

impl PowerModel {
    /// Fits the steps. An error if they are too few, if the load did not vary, if power does not rise with it, or if the
    /// sensor that saw them is itself a model.
    pub fn fit(steps: &LoadSteps) -> Result<Self> {
        check(steps)?;
        let form = Form::of(&steps.steps, steps.highest_hz);
        let weights = form.solve(&steps.steps);
        let weights_of = |power: usize| -> Vec<f64> {
            let of_power = weights.iter().skip(1 + power).step_by(form.powers.len());
            of_power.map(|&watts| rounded(watts)).collect()
        };
        let has_frequency = form.powers.len() > 1;
        Ok(Self {
            date: None,
            sensor: steps.sensor.clone(),
            sensor_kind: steps.kind,
            sensor_gain: steps.gain,
            steps: steps.steps.len(),
            fit_error: rounded(form.cross_validated(&steps.steps)),
            idle_watts: rounded(weights[0]),
            constant_watts: weights_of(0),
            linear_watts: if has_frequency { weights_of(1) } else { Vec::new() },
            cubic_watts: if has_frequency { weights_of(2) } else { Vec::new() },
            max_hz: form.max_hz,
            knots: form.knots,
            partial: steps.partial.clone(),
        })
    }

    /// Power at a utilisation (0 to 1) and a frequency in hertz. Without a frequency the highest is assumed.
    pub fn power(&self, utilisation: f64, hz: Option<f64>) -> Watts {
        let x = self.relative_frequency(hz);
        let added = |watts: &[f64], factor: f64| -> f64 {
            let segments = watts.iter().enumerate();
            segments
                .map(|(j, watts)| watts * factor * ramp(&self.knots, j, utilisation))
                .sum()
        };
        Watts(
            self.idle_watts
                + added(&self.constant_watts, 1.0)
                + added(&self.linear_watts, x)
                + added(&self.cubic_watts, x.powi(3)),
        )
    }

    fn relative_frequency(&self, hz: Option<f64>) -> f64 {
        match (hz, self.max_hz) {
            (Some(hz), Some(max)) => hz / max,
            _ => 1.0,
        }
    }

    /// Whether it needs to know the frequency.
    pub fn needs_frequency(&self) -> bool {
        self.max_hz.is_some()
    }

    /// The highest utilisation that was seen: beyond it the last segment goes on as it was.
    pub fn highest_load(&self) -> f64 {
        self.knots.last().copied().unwrap_or(0.0)
    }

    /// Power at no load.
    pub fn idle(&self) -> Watts {
        Watts(self.idle_watts)
    }

    /// Power with all cores busy at the highest frequency.
    pub fn full(&self) -> Watts {
        self.power(1.0, None)
    }

    /// Relative standard uncertainty of a power it tells: the fit's own error and the meter's.
    pub fn gain(&self) -> f64 {
        self.fit_error.hypot(self.sensor_gain)
    }
}

/// Six digits are more than any meter has, and a person can read them.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

fn check(steps: &LoadSteps) -> Result<()> {
    let refuse = |why: String| Err(Error::unsupported("a power model from these load steps", why));
    let n = steps.steps.len();
    if steps.kind == Kind::Modelled {
        return refuse(format!(
            "{} is a model itself; give a meter with --reference",
            steps.sensor
        ));
    }
    if n < FEWEST_STEPS {
        let ended = steps.partial.as_ref().map(|why| format!(" ({why})"));
        return refuse(format!(
            "{n} steps are too few, {FEWEST_STEPS} are needed{}",
            ended.unwrap_or_default()
        ));
    }
    let by_load = |a: &&LoadStep, b: &&LoadStep| a.utilisation.total_cmp(&b.utilisation);
    let (Some(low), Some(high)) = (
        steps.steps.iter().min_by(by_load),
        steps.steps.iter().max_by(by_load),
    ) else {
        return refuse("there are none".to_owned());
    };
    if high.utilisation - low.utilisation < LEAST_RANGE {
        return refuse(format!(
            "the load went only from {:.0} to {:.0} %: is the machine busy, or this process held to a part of a core?",
            100.0 * low.utilisation,
            100.0 * high.utilisation
        ));
    }
    let rise = high.watts - low.watts;
    let unsure = deviation(low).hypot(deviation(high));
    if rise.0 < LEAST_RISE * unsure {
        return refuse(format!(
            "power does not rise with the load: {:.3} at {:.0} %, {:.3} at {:.0} %; does {} measure this board?",
            low.watts,
            100.0 * low.utilisation,
            high.watts,
            100.0 * high.utilisation,
            steps.sensor
        ));
    }
    Ok(())
}

/// Standard deviation that a step is weighed by.
fn deviation(step: &LoadStep) -> f64 {
    step.uncertainty.0.hypot(REPEATABILITY * step.watts.0).max(1e-9)
}

/// From 0 at knot `j` to 1 at knot `j + 1`; the last one goes on.
fn ramp(knots: &[f64], j: usize, utilisation: f64) -> f64 {
    let rise = (utilisation - knots[j]) / (knots[j + 1] - knots[j]);
    if j + 2 == knots.len() {
        rise.max(0.0)
    } else {
        rise.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests;
