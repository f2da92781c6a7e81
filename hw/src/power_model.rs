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

use crate::error::{Error, Result};
use crate::load_steps::{LoadStep, LoadSteps};
use crate::sensor::Kind;
use crate::units::Watts;
use serde::{Deserialize, Serialize};
use toml::value::Datetime;

/// A fit on fewer steps says nothing about its own error.
const FEWEST_STEPS: usize = 6;
/// A load that did not reach further tells nothing about the rest.
const LEAST_RANGE: f64 = 0.05;
/// Segments of the piecewise linear function at most, and steps that each needs.
const MOST_SEGMENTS: usize = 3;
const STEPS_PER_SEGMENT: usize = 3;
/// Frequencies that differ by less are one.
const FREQUENCY_SPREAD: f64 = 0.1;
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

/// The shape of the function, before its weights are known.
struct Form {
    knots: Vec<f64>,
    /// Powers of the relative frequency.
    powers: &'static [i32],
    max_hz: Option<f64>,
}

impl Form {
    fn of(steps: &[LoadStep], highest_hz: Option<f64>) -> Self {
        let highest = steps.iter().map(|step| step.utilisation).fold(0.0, f64::max);
        let segments = (steps.len() / STEPS_PER_SEGMENT).clamp(1, MOST_SEGMENTS);
        let seen: Option<Vec<f64>> = steps.iter().map(|step| step.hz).collect();
        let seen = seen.unwrap_or_default();
        let lowest_hz = seen.iter().copied().fold(f64::INFINITY, f64::min);
        let fastest_hz = seen.iter().copied().fold(0.0, f64::max);
        let varies = fastest_hz > lowest_hz * (1.0 + FREQUENCY_SPREAD);
        let knot = |j: usize| rounded(highest * j as f64 / segments as f64);
        Self {
            knots: (0..=segments).map(knot).collect(),
            powers: if varies { &[0, 1, 3] } else { &[0] },
            max_hz: varies.then(|| highest_hz.unwrap_or(fastest_hz).max(fastest_hz)),
        }
    }

    /// What each weight is multiplied with at a step; the first is that of the idle power.
    fn row(&self, step: &LoadStep) -> Vec<f64> {
        let x = match (step.hz, self.max_hz) {
            (Some(hz), Some(max)) => hz / max,
            _ => 1.0,
        };
        let mut row = vec![1.0];
        for j in 0..self.knots.len() - 1 {
            let ramp = ramp(&self.knots, j, step.utilisation);
            row.extend(self.powers.iter().map(|&p| ramp * x.powi(p)));
        }
        row
    }

    /// The weights of the least squares, none negative.
    fn solve(&self, steps: &[LoadStep]) -> Vec<f64> {
        let n = 1 + (self.knots.len() - 1) * self.powers.len();
        let (mut squares, mut products) = (vec![vec![0.0; n]; n], vec![0.0; n]);
        for step in steps {
            let row = self.row(step);
            let weight = deviation(step).powi(-2);
            for i in 0..n {
                products[i] += weight * row[i] * step.watts.0;
                for j in 0..n {
                    squares[i][j] += weight * row[i] * row[j];
                }
            }
        }
        nonnegative_least_squares(&squares, &products)
    }

    /// Root mean square of the relative error with which the steps are predicted without themselves.
    fn cross_validated(&self, steps: &[LoadStep]) -> f64 {
        let mut sum = 0.0;
        for left_out in 0..steps.len() {
            let mut others = steps.to_vec();
            let step = others.remove(left_out);
            let weights = self.solve(&others);
            let predicted: f64 = weights.iter().zip(self.row(&step)).map(|(w, x)| w * x).sum();
            sum += ((predicted - step.watts.0) / step.watts.0).powi(2);
        }
        (sum / steps.len() as f64).sqrt()
    }
}

/// Minimises x'Hx/2 - b'x over x >= 0: each coordinate in turn goes to its own minimum, until none moves.
fn nonnegative_least_squares(h: &[Vec<f64>], b: &[f64]) -> Vec<f64> {
    const MOST_TURNS: usize = 20_000;
    let mut x = vec![0.0; b.len()];
    for _ in 0..MOST_TURNS {
        let mut largest: f64 = 0.0;
        for i in 0..x.len() {
            if h[i][i] <= 0.0 {
                continue; // no step reaches this segment
            }
            let gradient: f64 = h[i].iter().zip(&x).map(|(h, x)| h * x).sum::<f64>() - b[i];
            let to = (x[i] - gradient / h[i][i]).max(0.0);
            largest = largest.max((to - x[i]).abs());
            x[i] = to;
        }
        if largest < 1e-9 {
            break;
        }
    }
    x
}

/// As it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    date: Option<Datetime>,
    sensor: String,
    sensor_kind: Kind,
    sensor_gain: f64,
    steps: usize,
    fit_error: f64,
    idle_watts: f64,
    knots: Vec<f64>,
    constant_watts: Vec<f64>,
    #[serde(default)]
    linear_watts: Vec<f64>,
    #[serde(default)]
    cubic_watts: Vec<f64>,
    max_hz: Option<f64>,
    partial: Option<String>,
}

impl TryFrom<Unchecked> for PowerModel {
    type Error = String;

    /// A person may have changed the file: a model that is none must not become numbers.
    fn try_from(file: Unchecked) -> std::result::Result<Self, String> {
        let segments = file.constant_watts.len();
        let ascends = file.knots.windows(2).all(|pair| pair[0] < pair[1]);
        if segments == 0 || file.knots.len() != segments + 1 || file.knots[0] != 0.0 || !ascends {
            return Err("`knots` must ascend from 0 and be one more than `constant_watts`".to_owned());
        }
        let frequency = [&file.linear_watts, &file.cubic_watts];
        let expected = if file.max_hz.is_some() { segments } else { 0 };
        if frequency.iter().any(|watts| watts.len() != expected) {
            return Err(format!(
                "`linear_watts` and `cubic_watts` must have {expected} numbers each: as many as `constant_watts` \
                 with `max_hz`, none without"
            ));
        }
        let sizes = [file.sensor_gain, file.fit_error, file.idle_watts];
        let is_size = |x: &f64| x.is_finite() && *x >= 0.0;
        let watts = file.constant_watts.iter().chain(frequency.into_iter().flatten());
        if !(sizes.iter().chain(watts).chain(&file.knots).all(is_size)) {
            return Err("every number must be finite, 0 or more".to_owned());
        }
        if file.max_hz.is_some_and(|hz| !(hz.is_finite() && hz > 0.0)) {
            return Err("`max_hz` must be above 0".to_owned());
        }
        Ok(Self {
            date: file.date,
            sensor: file.sensor,
            sensor_kind: file.sensor_kind,
            sensor_gain: file.sensor_gain,
            steps: file.steps,
            fit_error: file.fit_error,
            idle_watts: file.idle_watts,
            knots: file.knots,
            constant_watts: file.constant_watts,
            linear_watts: file.linear_watts,
            cubic_watts: file.cubic_watts,
            max_hz: file.max_hz,
            partial: file.partial,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::synthetic::Random;

    const MAX_HZ: f64 = 1.8e9;
    const NOISE: f64 = 0.01;

    /// A board whose power is known: the first busy core wakes the cluster, and dynamic power grows with the clock.
    fn truth(u: f64, hz: f64) -> f64 {
        let x = hz / MAX_HZ;
        2.6 + 1.1 * u.powf(0.6) + u * (1.2 * x + 1.8 * x.powi(3))
    }

    fn step(u: f64, hz: f64, random: &mut Random) -> LoadStep {
        let noise = (0..12).map(|_| random.uniform(-0.5, 0.5)).sum::<f64>() * NOISE;
        LoadStep {
            busy_cores: 4,
            share: u,
            utilisation: u,
            hz: Some(hz),
            watts: Watts(truth(u, hz) + noise),
            uncertainty: Watts(NOISE),
        }
    }

    fn seen(steps: Vec<LoadStep>) -> LoadSteps {
        LoadSteps {
            sensor: "modbus:tcp://192.0.2.1".into(),
            kind: Kind::Measured,
            gain: 0.005,
            steps,
            highest_hz: Some(MAX_HZ),
            notes: Vec::new(),
            partial: None,
        }
    }

    /// What `Plan` takes by default on four cores: twelve loads as the governor has it, and four each at two frequencies.
    fn default_steps(random: &mut Random) -> LoadSteps {
        let loads = [
            0.02, 0.1, 0.13, 0.25, 0.26, 0.3, 0.5, 0.51, 0.74, 0.75, 0.99, 1.0, 0.02,
        ];
        let mut steps: Vec<LoadStep> = loads.iter().map(|&u| step(u, MAX_HZ, random)).collect();
        for hz in [0.6e9, 1.2e9] {
            steps.extend([0.02, 0.26, 0.51, 1.0].map(|u| step(u, hz, random)));
        }
        seen(steps)
    }

    /// Relative root mean square error over held-out loads and frequencies, of the model and of the guess for any board.
    fn held_out(model: &PowerModel) -> (f64, f64) {
        let (mut of_model, mut of_guess, mut n) = (0.0, 0.0, 0.0);
        let (idle, full) = crate::sensors::cpu_model::guess(crate::board::BoardKind::RaspberryPi4, 4);
        for hz in [0.6e9, 0.8e9, 1.0e9, 1.5e9, MAX_HZ] {
            for u in [0.05, 0.2, 0.4, 0.6, 0.9] {
                let truth = truth(u, hz);
                let guess = idle.0 + u * (full.0 - idle.0);
                of_model += (model.power(u, Some(hz)).0 / truth - 1.0).powi(2);
                of_guess += (guess / truth - 1.0).powi(2);
                n += 1.0;
            }
        }
        ((of_model / n).sqrt(), (of_guess / n).sqrt())
    }

    #[test]
    fn held_out_steps_are_within_the_stated_error_and_thrice_closer_than_a_guess() {
        let (mut error, mut stated) = (0.0, 0.0);
        for seed in 0..20 {
            let model = PowerModel::fit(&default_steps(&mut Random::new(seed))).unwrap();
            let (of_model, of_guess) = held_out(&model);
            assert!(3.0 * of_model < of_guess, "seed {seed}: {of_model} {of_guess}");
            assert!(
                of_model < 2.0 * model.gain(),
                "seed {seed}: {of_model}, stated {}",
                model.gain()
            );
            error += of_model.powi(2);
            stated += model.gain().powi(2);
        }
        assert!(error < stated, "{error} {stated}");
        assert!(
            stated < 9.0 * error,
            "nor is it far too careful: {error} {stated}"
        );
    }

    #[test]
    fn power_never_falls_with_load_or_frequency() {
        let mut random = Random::new(7);
        let mut steps = default_steps(&mut random);
        // Noise so large that neighbouring steps contradict each other.
        for step in &mut steps.steps {
            step.watts.0 += random.uniform(-0.5, 0.5);
        }
        let model = PowerModel::fit(&steps).unwrap();
        for i in 0..100 {
            let (u, hz) = (f64::from(i) / 100.0, f64::from(i + 1) * 2e7);
            assert!(model.power(u + 0.01, Some(1e9)) >= model.power(u, Some(1e9)));
            assert!(model.power(0.5, Some(hz + 2e7)) >= model.power(0.5, Some(hz)));
        }
        assert!(
            model.fit_error > 0.03,
            "and says that it does not fit: {}",
            model.fit_error
        );
    }

    #[test]
    fn one_frequency_is_a_model_of_load_alone() {
        let mut random = Random::new(1);
        let mut steps = default_steps(&mut random);
        steps.steps.truncate(12);
        let with = PowerModel::fit(&steps).unwrap();
        assert!(!with.needs_frequency() && with.linear_watts.is_empty());
        for step in &mut steps.steps {
            step.hz = None;
        }
        assert_eq!(PowerModel::fit(&steps).unwrap(), with);
        assert!((with.power(0.4, None).0 - truth(0.4, MAX_HZ)).abs() < 0.1);
        assert_eq!(with.full(), with.power(1.0, Some(1e9)));
    }

    #[test]
    fn weights_are_the_least_squares_or_zero() {
        let h = [vec![2.0, 1.0], vec![1.0, 2.0]];
        for (b, expected) in [
            ([4.0, 5.0], [1.0, 2.0]),
            ([-1.0, 3.0], [0.0, 1.5]),
            ([-1.0, -1.0], [0.0, 0.0]),
        ] {
            let x = nonnegative_least_squares(&h, &b);
            assert!(
                x.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-6),
                "{b:?}: {x:?}"
            );
        }
    }

    #[test]
    fn a_sure_step_counts_for_more_than_an_unsure_one() {
        let mut steps = default_steps(&mut Random::new(3));
        let before = PowerModel::fit(&steps).unwrap();
        let mut wrong = steps.steps[6];
        wrong.watts.0 += 3.0;
        wrong.uncertainty = Watts(5.0);
        steps.steps.push(wrong);
        let after = PowerModel::fit(&steps).unwrap();
        assert!((after.power(0.5, None) - before.power(0.5, None)).0.abs() < 0.01);
    }

    #[test]
    fn steps_that_tell_nothing_are_refused() {
        let good = default_steps(&mut Random::new(2));
        let error = |change: fn(&mut LoadSteps)| {
            let mut steps = good.clone();
            change(&mut steps);
            PowerModel::fit(&steps).unwrap_err().to_string()
        };
        let few = error(|steps| {
            steps.steps.truncate(3);
            steps.partial = Some("ended at step 4 of 21: the meter is gone".into());
        });
        assert!(
            few.contains("3 steps are too few") && few.contains("the meter is gone"),
            "{few}"
        );
        let flat = error(|steps| steps.steps.iter_mut().for_each(|step| step.watts = Watts(5.0)));
        assert!(
            flat.contains("does not rise") && flat.contains("modbus:tcp"),
            "{flat}"
        );
        let busy = error(|steps| steps.steps.iter_mut().for_each(|step| step.utilisation = 0.99));
        assert!(busy.contains("busy"), "{busy}");
        let model = error(|steps| steps.kind = Kind::Modelled);
        assert!(model.contains("--reference"), "{model}");
    }

    #[test]
    fn a_file_gives_back_what_was_written_and_a_broken_one_is_refused() {
        let model = PowerModel::fit(&default_steps(&mut Random::new(5))).unwrap();
        let value = toml::Value::try_from(&model).unwrap();
        assert_eq!(value.clone().try_into::<PowerModel>().unwrap(), model);
        for (key, wrong) in [
            ("knots", toml::Value::from(vec![0.0, 0.5, 0.4, 1.0])),
            ("knots", toml::Value::from(vec![0.0])),
            ("constant_watts", toml::Value::from(vec![1.0, -1.0, 1.0])),
            ("linear_watts", toml::Value::from(vec![1.0])),
            ("max_hz", toml::Value::from(0.0)),
            ("fit_error", toml::Value::from(f64::NAN)),
            ("idel_watts", toml::Value::from(1.0)),
        ] {
            let mut broken = value.clone();
            broken.as_table_mut().unwrap().insert(key.into(), wrong);
            assert!(broken.try_into::<PowerModel>().is_err(), "{key}");
        }
    }
}
