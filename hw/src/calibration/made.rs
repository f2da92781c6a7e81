//! What `hwmeter calibrate` found on a board, and when and where.

use super::Datetime;
use crate::board::{Board, BoardKind};
use crate::power_model::PowerModel;
use crate::sensor::Kind;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// When, where and by what a calibration was made. It tells neither person nor unit: no name, no serial number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Datetime>,
    /// The version of this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hwmeter: Option<String>,
    /// What the firmware calls the board.
    pub board: String,
    /// Its kind, as [`BoardKind::name`] names it.
    pub kind: String,
    /// The kernel's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The frequency governor of the first CPU, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// The steps that failed, and why: what they would have found is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<String>,
}

impl Made {
    /// On this board, now.
    pub fn on(
        board: &Board,
        date: Option<Datetime>,
        kernel: Option<String>,
        governor: Option<String>,
    ) -> Self {
        Self {
            date,
            hwmeter: Some(env!("CARGO_PKG_VERSION").to_owned()),
            board: board.model.clone(),
            kind: board.kind.name().to_owned(),
            kernel,
            governor,
            partial: Vec::new(),
        }
    }

    /// Whether a board is of the kind it was made on. A generic kind is as many boards as there are models.
    pub fn is_of(&self, board: &Board) -> bool {
        use BoardKind::{Generic, GenericArm, GenericX86};
        let is_generic = matches!(board.kind, Generic | GenericArm | GenericX86);
        self.kind == board.kind.name() && (!is_generic || self.board == board.model)
    }

    /// What is different now, one sentence each.
    pub(super) fn differences(&self, board: &Board, kernel: &str, governor: Option<&str>) -> Vec<String> {
        let mut differences = Vec::new();
        if !self.is_of(board) {
            differences.push(format!(
                "it was made on {} ({}), this is {} ({})",
                self.board,
                self.kind,
                board.model,
                board.kind.name()
            ));
        }
        if let Some(then) = self.kernel.as_deref().filter(|then| *then != kernel) {
            differences.push(format!("it was made with kernel {then}, this is {kernel}"));
        }
        if let (Some(then), Some(now)) = (self.governor.as_deref(), governor)
            && then != now
        {
            differences.push(format!("it was made with the governor {then}, now it is {now}"));
        }
        differences
    }
}

/// A matrix product, timed. A key that is not known is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GemmRow {
    /// The library.
    pub provider: String,
    /// `sgemm` or `dgemm`.
    pub op: String,
    /// Threads; none on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// The cluster they were pinned to, such as `big`, where they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Rows and columns of each matrix.
    pub n: u32,
    /// The fastest product.
    pub gflops: f64,
    /// The median product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflops_median: Option<f64>,
    /// Interquartile range over median of the products' times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflops_spread: Option<f64>,
    /// Share of the theoretical peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_share: Option<f64>,
    /// Mean power meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts: Option<f64>,
    /// Its standard uncertainty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts_uncertainty: Option<f64>,
    /// GFLOPS per watt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflops_per_watt: Option<f64>,
    /// Its standard uncertainty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflops_per_watt_uncertainty: Option<f64>,
    /// Whether the watts were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What disturbed it, such as a thermal throttle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Memory bandwidth by a triad. A key that is not known is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Bytes per second, read and written.
    pub bytes_per_s: f64,
    /// Interquartile range over median of the runs' times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// Threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

/// What a learner costs. A key that is not known is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerRow {
    /// The learner.
    pub name: String,
    /// Its size, such as `4x256`.
    pub variant: String,
    /// Median seconds of a decision.
    pub decide_s: f64,
    /// Median seconds of an update.
    pub update_s: f64,
    /// Joules of a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decide_j: Option<f64>,
    /// Their standard uncertainty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decide_uncertainty_j: Option<f64>,
    /// Joules of an update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_j: Option<f64>,
    /// Their standard uncertainty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_uncertainty_j: Option<f64>,
    /// Whether the joules were measured.
    pub kind: Kind,
}

/// A power model that is one of this board, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedModel {
    /// The model.
    pub model: PowerModel,
    /// When it was fitted, against what, and how well, in words.
    pub source: String,
}

pub(super) fn source_of(model: &PowerModel, made: &Made, file: Option<&Path>) -> String {
    let date = model.date.or(made.date);
    let when = date.map(|date| format!(" on {}", day(date)));
    let file = file.map(|file| format!(" (calibration file {})", file.display()));
    format!(
        "fitted{} on {} against {} ({}), {} load steps, error {:.1} % cross-validated{}{}",
        when.unwrap_or_default(),
        made.board,
        model.sensor,
        model.sensor_kind,
        model.steps,
        100.0 * model.fit_error,
        if model.partial.is_some() {
            ", ended early"
        } else {
            ""
        },
        file.unwrap_or_default(),
    )
}

/// The day alone, where there is one.
fn day(date: Datetime) -> String {
    date.date.map_or_else(|| date.to_string(), |day| day.to_string())
}
