//! A power model as it stands in a calibration file, checked.

use super::PowerModel;
use crate::sensor::Kind;
use serde::Deserialize;
use toml::value::Datetime;

/// As it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unchecked {
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
    fn try_from(file: Unchecked) -> Result<Self, String> {
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
