//! The rows of a calibration: how fast a case ran, with power, conditions and theory beside it.

use super::bench::{GemmTiming, Precision, Watcher, operations, time_watched};
use super::plan::{Case, Machine, Place};
use super::sizes::Fit;
use super::{Gemm, Provider};
use crate::clusters::Pinned;
use crate::conditions::{Conditions, Target, Watch};
use crate::error::{Error, Result};
use crate::meter::Meter;
use crate::peak::{Peak, peak};
use crate::root::Root;
use crate::sensor::Kind;
use crate::span::{PendingSpan, Span, SpanEnergy};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One row of the table and of the calibration file. What is unknown is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GemmRow {
    /// Who multiplied.
    pub provider: Provider,
    /// Its version and kernel.
    pub engine: String,
    /// Single or double precision.
    pub op: Precision,
    /// Threads; none on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// The cluster it was pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Rows and columns of each matrix.
    pub n: usize,
    /// Where the matrices lie; not told on a GPU, whose caches are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
    /// 10^9 operations per second of the fastest run.
    pub gflops: f64,
    /// The same of the median run.
    pub gflops_median: f64,
    /// Interquartile range of the runs' times over their median.
    pub gflops_spread: f64,
    /// Timed runs.
    pub runs: usize,
    /// Of several repeats, the distance from the slowest to the fastest over the middle one, which is this row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_spread: Option<f64>,
    /// The theoretical peak of the CPUs used, in GFLOPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_gflops: Option<f64>,
    /// The share of it that the fastest run reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_share: Option<f64>,
    /// What it cost.
    #[serde(flatten)]
    pub cost: Option<Cost>,
    /// Under what conditions.
    pub conditions: Conditions,
}

/// Energy and power of the timed runs, the warm-up left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Energy of all runs that samples back.
    pub joules: f64,
    /// Its standard uncertainty.
    pub joules_uncertainty: f64,
    /// Mean power.
    pub watts: f64,
    /// Its standard uncertainty.
    pub watts_uncertainty: f64,
    /// 10^9 operations per joule, of all runs: not of the fastest.
    pub gflops_per_watt: f64,
    /// Its standard uncertainty.
    pub gflops_per_watt_uncertainty: f64,
    /// Measured, modelled or simulated.
    pub kind: Kind,
}

impl Cost {
    /// Of a span in which so many operations were done; `None` where no sample backs it.
    pub fn of(span: &SpanEnergy, operations: f64) -> Option<Self> {
        let energy = span.total?;
        let watts = span.mean_power()?.0;
        let gflops = operations / span.duration().0 / 1e9;
        let is_usable = watts > 0.0 && energy.joules.0 > 0.0 && gflops.is_finite();
        let relative = energy.uncertainty.0 / energy.joules.0;
        is_usable.then(|| Self {
            joules: energy.joules.0,
            joules_uncertainty: energy.uncertainty.0,
            watts,
            watts_uncertainty: watts * relative,
            gflops_per_watt: gflops / watts,
            gflops_per_watt_uncertainty: gflops / watts * relative,
            kind: span.kind,
        })
    }
}

/// With what to time.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Where clocks and temperatures are read.
    pub root: &'a Root,
    /// What measures power; without one the rows have none.
    pub meter: Option<&'a Meter>,
    /// Time for the runs of one case; a warm-up of an eighth comes before.
    pub budget: Duration,
}

/// Times one case.
///
/// A cluster's case pins every thread of this process while it runs, so that threads a library started before are there too.
pub fn time(gemm: &dyn Gemm, case: &Case, machine: &Machine, setup: Setup) -> Result<GemmRow> {
    let _pinned = match &case.place {
        Place::Cluster(cluster) => Some(Pinned::to(&cluster.cpus)?),
        _ => None,
    };
    let theory = (case.place != Place::Gpu)
        .then(|| peak(setup.root, &peak_cpus(case, machine)))
        .flatten();
    let mut observer = Observer {
        watch: Watch::begin(setup.root, target(case, machine)),
        meter: setup.meter,
        span: None,
        ended: None,
    };
    let timing = time_watched(
        gemm,
        case.precision,
        case.size.n,
        case.threads(),
        setup.budget,
        &mut observer,
    )?;
    let conditions = observer.watch.end();
    let span = observer.ended.map(|span| span.wait());
    let work = timing.products as f64 * operations(timing.n);
    let cost = span.and_then(|span| Cost::of(&span, work));
    Ok(row(gemm, case, timing, theory, cost, conditions))
}

/// Times one case several times, each with the whole budget, and keeps the row in the middle.
pub fn time_repeated(
    gemm: &dyn Gemm,
    case: &Case,
    machine: &Machine,
    setup: Setup,
    repeats: usize,
) -> Result<GemmRow> {
    let rows: Result<Vec<GemmRow>> = (0..repeats.max(1))
        .map(|_| time(gemm, case, machine, setup))
        .collect();
    middle(rows?).ok_or_else(|| Error::unsupported("timing products", "no repeat was asked for"))
}

/// By the fastest run of each.
fn middle(mut rows: Vec<GemmRow>) -> Option<GemmRow> {
    rows.sort_by(|a, b| a.gflops.total_cmp(&b.gflops));
    let range = rows.last()?.gflops - rows.first()?.gflops;
    let is_several = rows.len() > 1;
    let row = rows.swap_remove(rows.len() / 2);
    Some(GemmRow {
        repeat_spread: is_several.then_some(range / row.gflops),
        ..row
    })
}

fn row(
    gemm: &dyn Gemm,
    case: &Case,
    timing: GemmTiming,
    theory: Option<Peak>,
    cost: Option<Cost>,
    conditions: Conditions,
) -> GemmRow {
    let is_gpu = case.place == Place::Gpu;
    let peak_gflops = theory.map(|peak| peak.gflops(case.precision));
    GemmRow {
        provider: gemm.provider(),
        engine: timing.engine,
        op: case.precision,
        threads: (!is_gpu).then_some(timing.threads),
        cluster: match &case.place {
            Place::Cluster(cluster) => Some(cluster.name.clone()),
            _ => None,
        },
        n: timing.n,
        fit: (!is_gpu).then_some(case.size.fit),
        gflops: timing.best_gflops,
        gflops_median: timing.median_gflops,
        gflops_spread: timing.spread,
        runs: timing.runs,
        repeat_spread: None,
        peak_gflops,
        peak_share: peak_gflops.map(|peak| timing.best_gflops / peak),
        cost,
        conditions,
    }
}

/// Whose clock and heat are those of the products.
fn target(case: &Case, machine: &Machine) -> Target {
    match &case.place {
        Place::OneThread => Target::CurrentCpu,
        Place::AllThreads => Target::Cpus(machine.cpus()),
        Place::Cluster(cluster) => Target::Cpus(cluster.cpus.clone()),
        Place::Gpu => Target::Gpu,
    }
}

/// The CPUs that could work on it: for one thread, one of the fastest.
fn peak_cpus(case: &Case, machine: &Machine) -> Vec<usize> {
    let all = machine.cpus();
    match &case.place {
        Place::OneThread => all.into_iter().take(1).collect(),
        Place::AllThreads | Place::Gpu => all,
        Place::Cluster(cluster) => cluster.cpus.clone(),
    }
}

/// Looks at the conditions between runs, and has the meter's span begin with the first of them.
struct Observer<'a> {
    watch: Watch,
    meter: Option<&'a Meter>,
    span: Option<Span>,
    ended: Option<PendingSpan>,
}

impl Watcher for Observer<'_> {
    fn begin(&mut self) {
        self.span = self.meter.map(|meter| meter.span("gemm"));
    }

    fn run_done(&mut self) {
        self.watch.look();
    }

    fn end(&mut self) {
        self.ended = self.span.take().map(Span::end);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
