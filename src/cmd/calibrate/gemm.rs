//! The matrix products: every engine where it matters, within a budget of time.

use super::effort::Effort;
use super::found::{Found, Problem, Repeats};
use super::progress::Progress;
use crate::cli::StepName;
use hwmeter_hw::Root;
use hwmeter_hw::blas::bench::{self, Precision, operations};
use hwmeter_hw::blas::plan::{self, Case, Machine, Place};
use hwmeter_hw::blas::rows::{self, GemmRow, Setup};
use hwmeter_hw::blas::sizes::Bounds;
use hwmeter_hw::blas::{Gemm as Engine, Provider};
use hwmeter_hw::cpu;
use hwmeter_hw::meter::Meter;
use hwmeter_hw::peak::peak;
use std::time::{Duration, Instant};

/// Of the budget, for timing one row again and again.
const REPEATS_SHARE: f64 = 0.15;
const REPEATS: u32 = 5;
/// A case takes its budget and an eighth of it for warming up.
const WARM_UP: f64 = 1.0 + 1.0 / 8.0;
/// Two products for warming up and three timed ones have to fit the budget of a case.
const PRODUCTS: f64 = 6.0;
/// Where nothing tells how much there is.
const LEAST_MEMORY: u64 = 64 << 20;
const SHORTEST_CASE: Duration = Duration::from_millis(20);
/// The product that tells roughly how fast an engine is.
const TRIAL_N: usize = 128;
/// Smaller products only time how fast they are asked for.
const SMALLEST_N: usize = 64;
const TRIAL: Duration = Duration::from_millis(10);

/// What an engine is to do.
type Job<'a> = (&'a dyn Engine, Case);

/// Times every engine, with `meter` where there is one.
pub fn measure(
    found: &mut Found,
    root: &Root,
    engines: &[Box<dyn Engine>],
    meter: Option<&Meter>,
    progress: &Progress,
) {
    let budget_of_all = found.effort.budget(StepName::Gemm);
    let end = Instant::now() + budget_of_all;
    let engines: Vec<&dyn Engine> = engines.iter().map(|engine| &**engine).collect();
    let (jobs, machine, time) = plan(found, root, &engines, budget_of_all.mul_f64(1.0 - REPEATS_SHARE));
    let meter = fast_enough(found, meter, time);
    let setup = Setup {
        root,
        meter,
        budget: budget(time, meter),
    };
    found.gemm.rows = take(found, &jobs, &machine, setup, progress);
    found.gemm.peak = peak(root, &machine.cpus());
    let left = end.saturating_duration_since(Instant::now());
    let setup = Setup {
        meter: None,
        budget: (left / REPEATS)
            .mul_f64(1.0 / WARM_UP)
            .min(time)
            .max(SHORTEST_CASE),
        ..setup
    };
    progress.at("the same product five times", 1.0 - REPEATS_SHARE);
    found.gemm.repeats = repeats(&found.gemm.rows, &jobs, &machine, setup);
}

/// Memory for matrices and arrays. They lie in this machine, whatever board a root describes without its memory.
pub fn available_bytes(root: &Root) -> u64 {
    let memory = cpu::memory(root).or_else(|_| cpu::memory(&Root::default()));
    memory.map_or(LEAST_MEMORY, |memory| memory.available_bytes)
}

/// The jobs, and the time that each may take.
fn plan<'a>(
    found: &mut Found,
    root: &Root,
    engines: &[&'a dyn Engine],
    time: Duration,
) -> (Vec<Job<'a>>, Machine, Duration) {
    let free = available_bytes(root);
    let mut machine = Machine::read(root, Bounds::new(free, f64::INFINITY, f64::INFINITY));
    // How many there are hardly depends on how large they are; how large they may be depends on how many there are.
    let count = jobs_of(engines, &machine, found.effort).0.len().max(1);
    let each = time / count as u32;
    let gflops = engines
        .iter()
        .filter(|engine| !engine.provider().is_gpu())
        .filter_map(|engine| trial(*engine))
        .fold(f64::INFINITY, f64::min);
    let product_s = each.as_secs_f64() / WARM_UP / PRODUCTS;
    machine.bounds = Bounds::new(free, gflops, product_s);
    machine.bounds.operations = machine.bounds.operations.max(operations(SMALLEST_N));
    let (jobs, notes) = jobs_of(engines, &machine, found.effort);
    found.notes.extend(notes);
    let each = time / jobs.len().max(1) as u32;
    (jobs, machine, each)
}

/// Roughly, on one thread.
fn trial(engine: &dyn Engine) -> Option<f64> {
    let timing = bench::time(engine, Precision::Dgemm, TRIAL_N, 1, TRIAL);
    timing.ok().map(|timing| timing.median_gflops)
}

fn jobs_of<'a>(engines: &[&'a dyn Engine], machine: &Machine, effort: Effort) -> (Vec<Job<'a>>, Vec<String>) {
    let (mut jobs, mut notes) = (Vec::new(), Vec::new());
    for &engine in engines {
        let (mut cases, why) = plan::plan(engine, machine);
        if effort.has_one_size() {
            keep_largest(&mut cases);
        } else {
            let new = why.into_iter().filter(|note| !notes.contains(note));
            notes.extend(new.collect::<Vec<_>>());
        }
        jobs.extend(cases.into_iter().map(|case| (engine, case)));
    }
    (jobs, notes)
}

fn keep_largest(cases: &mut Vec<Case>) {
    let largest = |precision| {
        let of_precision = cases.iter().filter(|case| case.precision == precision);
        of_precision.map(|case| case.size.n).max()
    };
    let wanted = [Precision::Sgemm, Precision::Dgemm].map(|precision| (precision, largest(precision)));
    cases.retain(|case| wanted.contains(&(case.precision, Some(case.size.n))));
}

/// The meter, unless a case is over before it has a new value.
fn fast_enough<'m>(found: &mut Found, meter: Option<&'m Meter>, time: Duration) -> Option<&'m Meter> {
    let meter = meter?;
    if meter.period().0 <= 0.5 * time.as_secs_f64() {
        return Some(meter);
    }
    found.notes.push(format!(
        "no watts of matrix products: {} is read every {:.1} s, and a row takes {:.1} s; give it more time (no --quick, or \
         --full)",
        meter.info().id,
        meter.period().0,
        time.as_secs_f64()
    ));
    None
}

/// A row waits for the meter's next sample too.
fn budget(time: Duration, meter: Option<&Meter>) -> Duration {
    let wait = meter.map_or(0.0, |meter| meter.period().0);
    let left = (time.as_secs_f64() - wait).max(0.0) / WARM_UP;
    Duration::from_secs_f64(left).max(SHORTEST_CASE)
}

/// An engine that fails is left out from there on.
fn take(
    found: &mut Found,
    jobs: &[Job],
    machine: &Machine,
    setup: Setup,
    progress: &Progress,
) -> Vec<GemmRow> {
    let mut rows = Vec::with_capacity(jobs.len());
    let mut failed: Option<Provider> = None;
    for (i, (engine, case)) in jobs.iter().enumerate() {
        if failed == Some(engine.provider()) {
            continue;
        }
        let share = (1.0 - REPEATS_SHARE) * i as f64 / jobs.len() as f64;
        progress.at(&describe(*engine, case), share);
        match rows::time(*engine, case, machine, setup) {
            Ok(row) => rows.push(row),
            Err(error) => {
                let what = format!(
                    "{}: {error}; its other rows are left out",
                    describe(*engine, case)
                );
                found.problems.push(Problem::new(StepName::Gemm, what));
                failed = Some(engine.provider());
            }
        }
    }
    rows
}

fn describe(engine: &dyn Engine, case: &Case) -> String {
    let place = match &case.place {
        Place::OneThread => "1 thread".to_owned(),
        Place::AllThreads => format!("{} threads", case.threads()),
        Place::Cluster(cluster) => format!("{} cores", cluster.name),
        Place::Gpu => "GPU".to_owned(),
    };
    format!(
        "{} {} n {} {place}",
        engine.provider(),
        case.precision,
        case.size.n
    )
}

/// Times the steadiest kind of row five times: one thread, the largest matrices, OpenBLAS where it is there.
fn repeats(rows: &[GemmRow], jobs: &[Job], machine: &Machine, setup: Setup) -> Option<Repeats> {
    let suits = |(engine, case): &&Job| {
        let was_timed = rows.iter().any(|row| row.provider == engine.provider());
        was_timed && case.place == Place::OneThread && case.precision == Precision::Sgemm
    };
    let rank = |(engine, case): &&Job| (engine.provider() == Provider::OpenBlas, case.size.n);
    let (engine, case) = jobs.iter().filter(suits).max_by_key(rank)?;
    let middle = rows::time_repeated(*engine, case, machine, setup, REPEATS as usize).ok()?;
    Repeats::of(&middle, REPEATS)
}
