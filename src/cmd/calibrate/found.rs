//! What a calibration found.

use super::checks::Surroundings;
use super::effort::Effort;
use crate::cli::StepName;
use clap::ValueEnum as _;
use hwmeter::learn::bench;
use hwmeter_hw::blas::Missing;
use hwmeter_hw::blas::bench::Precision;
use hwmeter_hw::blas::rows::GemmRow;
use hwmeter_hw::board::Board;
use hwmeter_hw::calibration::Made;
use hwmeter_hw::characterise::Characteristics;
use hwmeter_hw::idle::IdlePower;
use hwmeter_hw::load_steps::LoadSteps;
use hwmeter_hw::peak::Peak;
use hwmeter_hw::power_model::PowerModel;
use hwmeter_hw::sensor::SensorInfo;
use hwmeter_hw::triad;
use serde::Serialize;

/// All of it. A step that was not taken, or that failed, left nothing.
pub struct Found {
    pub board: Board,
    pub made: Made,
    pub effort: Effort,
    /// The steps asked for.
    pub steps: Vec<StepName>,
    pub surroundings: Surroundings,
    /// What joules were read from.
    pub meter: Option<SensorInfo>,
    pub sensor: Option<Characteristics>,
    pub idle: Option<IdlePower>,
    pub gemm: Gemm,
    pub bandwidth: Vec<triad::Bandwidth>,
    pub load_steps: Option<LoadSteps>,
    pub power_model: Option<PowerModel>,
    pub learners: Vec<bench::Row>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What failed.
    pub problems: Vec<Problem>,
}

/// Matrix products.
#[derive(Default)]
pub struct Gemm {
    pub rows: Vec<GemmRow>,
    pub repeats: Option<Repeats>,
    /// The most that all cores could do.
    pub peak: Option<Peak>,
    pub missing: Vec<Missing>,
}

/// A step, or a part of one, that failed; the others stand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    pub step: String,
    pub problem: String,
}

impl Problem {
    pub fn new(step: StepName, problem: impl std::fmt::Display) -> Self {
        Self {
            step: name(step),
            problem: problem.to_string(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.problem)
    }
}

/// As `--only` takes it.
pub fn name(step: StepName) -> String {
    step.to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// `sgemm` or `dgemm`, as in files and documents.
pub fn op(precision: Precision) -> &'static str {
    match precision {
        Precision::Sgemm => "sgemm",
        Precision::Dgemm => "dgemm",
    }
}

/// One row, timed again and again: what figures are worth on this machine just now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repeats {
    pub provider: String,
    pub op: &'static str,
    pub threads: Option<usize>,
    pub n: usize,
    /// How often it was timed.
    pub repeats: u32,
    /// That in the middle.
    pub gflops: f64,
    /// Highest less lowest, over that in the middle.
    pub spread: f64,
    /// Whether that is at most [`Repeats::AGREEMENT`].
    pub agree: bool,
}

impl Repeats {
    /// Repeats that differ by no more agree.
    pub const AGREEMENT: f64 = 0.02;

    /// Of the row in the middle; `None` of one that was not timed several times.
    pub fn of(row: &GemmRow, repeats: u32) -> Option<Self> {
        let spread = row.repeat_spread?;
        Some(Self {
            provider: row.provider.to_string(),
            op: op(row.op),
            threads: row.threads,
            n: row.n,
            repeats,
            gflops: row.gflops,
            spread,
            agree: spread <= Self::AGREEMENT,
        })
    }
}

impl Found {
    /// Median of the rows' own spreads: how much the products scattered.
    pub fn median_spread(&self) -> Option<f64> {
        let mut spreads: Vec<f64> = self.gemm.rows.iter().map(|row| row.gflops_spread).collect();
        spreads.sort_by(f64::total_cmp);
        spreads.get(spreads.len() / 2).copied()
    }

    /// Whether nothing at all was found.
    pub fn is_empty(&self) -> bool {
        self.sensor.is_none()
            && self.idle.is_none()
            && self.gemm.rows.is_empty()
            && self.bandwidth.is_empty()
            && self.load_steps.is_none()
            && self.learners.is_empty()
    }

    /// What was seen to slow the CPU down while a row was timed.
    pub fn throttle_note(row: &GemmRow) -> Option<String> {
        let conditions = &row.conditions;
        (conditions.throttled == Some(true))
            .then(|| format!("throttled: {}", conditions.throttle_signs.join(", ")))
    }
}
