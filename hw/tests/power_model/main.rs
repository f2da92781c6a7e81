//! A made-up board whose power follows the load that this process really makes, by a known curve: load steps are taken
//! on it, a model is fitted, written to a calibration file, and `cpu-model` then tells the board's power.

#![allow(clippy::unwrap_used)] // in tests, helpers included

#[allow(unused_imports)] // of the made-up boards one is used
#[path = "../common/mod.rs"]
mod common;

use common::Tree;
use hwmeter_hw::calibration::{Calibration, CalibrationFile, Made};
use hwmeter_hw::clock::MonotonicClock;
use hwmeter_hw::discover;
use hwmeter_hw::load_steps::{self, Effort, Plan};
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::power_model::PowerModel;
use hwmeter_hw::sensor::Kind;
use hwmeter_hw::sensors::Context;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SENSOR: &str = "/sys/class/hwmon/hwmon0";
const STAT: &str = "/proc/stat";

/// What the board takes at a utilisation.
fn truth(u: f64) -> f64 {
    3.6 + 8.0 * u - 2.5 * u * u
}

/// CPU time that this process has used, in seconds.
fn cpu_time() -> f64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9
}

/// Writes the board's `/proc/stat` and power again and again, as if this process were alone on it.
struct Board {
    tree: Tree,
    is_stopping: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Board {
    fn start() -> Self {
        let tree = common::boards::generic_arm()
            .with(&format!("{SENSOR}/name"), "ina219\n")
            .with(&format!("{SENSOR}/power1_input"), "3600000\n");
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (stat, power) = (tree.path(STAT), tree.path(&format!("{SENSOR}/power1_input")));
        let stop = Arc::clone(&is_stopping);
        let writer = std::thread::spawn(move || follow_the_load(&stat, &power, &stop));
        Self {
            tree,
            is_stopping,
            writer: Some(writer),
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn follow_the_load(stat: &Path, power: &Path, is_stopping: &AtomicBool) {
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    let (begin, cpu) = (Instant::now(), cpu_time());
    let (mut last, mut smooth) = ((0.0, 0.0), 0.0);
    while !is_stopping.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
        let now = (begin.elapsed().as_secs_f64(), cpu_time() - cpu);
        let u = (now.1 - last.1) / (cores * (now.0 - last.0));
        // The supply's capacitors smooth over a twentieth of a second.
        smooth += (1.0 - (-(now.0 - last.0) / 0.05f64).exp()) * (u - smooth);
        last = now;
        // Replaced as a whole: a reader never finds half a file.
        let replace = |file: &Path, content: String| {
            let draft = file.with_extension("draft");
            fs::write(&draft, content).unwrap();
            fs::rename(&draft, file).unwrap();
        };
        let ticks = |seconds: f64| (100.0 * seconds) as u64;
        let line = |name: &str, share: f64| {
            let (busy, idle) = (ticks(now.1 * share), ticks((cores * now.0 - now.1) * share));
            format!("{name} {busy} 0 0 {idle} 0 0 0 0 0 0\n")
        };
        let each = (0..cores as usize).map(|core| line(&format!("cpu{core}"), 1.0 / cores));
        replace(stat, line("cpu ", 1.0) + &each.collect::<String>());
        replace(power, format!("{}\n", (1e6 * truth(smooth)) as u64));
    }
}

/// Largest relative difference from the truth over the loads that were seen.
fn worst(model: impl Fn(f64) -> f64, highest: f64) -> f64 {
    let loads = (0..=20).map(|i| highest * f64::from(i) / 20.0);
    loads
        .map(|u| (model(u) / truth(u) - 1.0).abs())
        .fold(0.0, f64::max)
}

#[test]
fn a_board_is_taken_through_load_steps_and_its_model_recovers_the_curve() {
    let board = Board::start();
    let context = board.tree.context();
    let sensor = discover::open(&context, "hwmon").unwrap();
    let meter = Meter::start(sensor, MeterOptions::at(100.0)).unwrap();
    let mut plan = Plan::new(&context.root, meter.info(), Effort::Quick).unwrap();
    plan.length = Duration::from_millis(600);
    let mut seen = 0;
    let steps = load_steps::run(&plan, &meter, &context.root, |_, _| seen += 1).unwrap();
    meter.stop();
    assert_eq!(
        (steps.steps.len(), seen, &steps.partial),
        (plan.steps.len(), seen, &None)
    );
    assert_eq!((steps.kind, steps.highest_hz), (Kind::Measured, None));
    for step in &steps.steps {
        let (seen, expected) = (step.watts.0, truth(step.utilisation));
        assert!((seen / expected - 1.0).abs() < 0.1, "{step:?}: {expected} W");
    }

    let model = PowerModel::fit(&steps).unwrap();
    let highest = steps
        .steps
        .iter()
        .map(|step| step.utilisation)
        .fold(0.0, f64::max);
    let error = worst(|u| model.power(u, None).0, highest);
    assert!(
        error < 3.0 * model.gain().max(0.005) && error < 0.08,
        "{error}, stated {}",
        model.gain()
    );

    println!(
        "largest error {error:.4}, stated {:.4}, up to {highest:.2}",
        model.gain()
    );
    // Into a file, and from there into the sensor that boards without a meter use.
    let path = board.tree.path("/etc/hwmeter/calibration.toml");
    let mut file = CalibrationFile::open(&path).unwrap();
    file.set_made(&Made::on(&context.board, None, None, None))
        .unwrap();
    file.set_power_model(&model).unwrap();
    file.save().unwrap();
    let calibration = Calibration::read(&path).unwrap();
    let guess = discover::open(&context, "cpu-model").unwrap().info();
    let calibrated = Context::new(context.root.clone(), Arc::new(MonotonicClock)).calibrated(&calibration);
    let fitted = discover::open(&calibrated, "cpu-model").unwrap();
    let info = fitted.info();
    assert_eq!((info.kind, info.accuracy.gain), (Kind::Modelled, model.gain()));
    assert!(
        info.accuracy.source.contains("against hwmon"),
        "{}",
        info.accuracy.source
    );
    let (idle, full) = (guess.idle.unwrap().0, guess.full.unwrap().0);
    let error_of_guess = worst(|u| idle + u * (full - idle), highest);
    assert!(3.0 * error < error_of_guess, "{error} {error_of_guess}");

    // The calibrated model measures a stretch of work as the board's own sensor does.
    let options = || MeterOptions::at(50.0);
    let sensor = discover::open(&context, "hwmon").unwrap();
    let meters = [
        Meter::start(fitted, options()).unwrap(),
        Meter::start(sensor, options()).unwrap(),
    ];
    let load = hwmeter_hw::load::Load::start(&plan.cores, 0.3).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    let spans = meters.each_ref().map(|meter| meter.span("work"));
    std::thread::sleep(Duration::from_millis(800));
    let [modelled, measured] = spans.map(|span| span.end().wait());
    drop(load);
    let (modelled_w, measured_w) = (modelled.mean_power().unwrap().0, measured.mean_power().unwrap().0);
    assert_eq!((modelled.kind, measured.kind), (Kind::Modelled, Kind::Measured));
    assert!(
        (modelled_w / measured_w - 1.0).abs() < 0.1,
        "{modelled_w} {measured_w}"
    );
}
