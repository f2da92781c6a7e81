//! How fast the virtual testbed is: simulated decisions per second on one core, what a device costs among many, and the
//! share of a DQN's time that is its own update.
//!
//! Times are CPU time of the one thread that simulates, so that others on the machine count for little. Rows go nowhere, as in a sweep whose folders nobody keeps: this is the simulation, not the disk. With `--strict` it
//! fails when a bandit does less than 200,000 decisions a second, when a device among many costs more than twice one of
//! ten, or when a DQN spends less than 80 % in its update.

use hwmeter::agent::ledger::Sink;
use hwmeter::learn::environment::transitions;
use hwmeter::learn::{LearnerName, Settings, build};
use hwmeter::record::DecisionRecord;
use hwmeter::testbed::{Output, Preset, Scenario, run};
use std::hint::black_box;
use std::sync::Arc;

const BANDIT_PER_S: f64 = 200_000.0;
const LARGEST_RATIO: f64 = 2.0;
const LEAST_UPDATE_SHARE: f64 = 0.8;

struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, record: &DecisionRecord) -> anyhow::Result<()> {
        black_box(record);
        Ok(())
    }
}

fn main() {
    let mut missed = 0;
    let mut judge = |what: &str, is_met: bool| {
        println!("{what}{}", if is_met { "" } else { "  MISSED" });
        missed += usize::from(!is_met);
    };
    for learner in [LearnerName::Linucb, LearnerName::Greedy, LearnerName::Random] {
        let per_s = best_of(5, || per_second(&scenario(learner, 1, 50_000)));
        let is_met = learner != LearnerName::Linucb || per_s >= BANDIT_PER_S;
        judge(
            &format!("{learner:<8} {:>9.0} decisions/s on one core", per_s),
            is_met,
        );
    }
    let mut first = None;
    for devices in [10, 100, 1000, 10_000] {
        let tasks = (500_000 / devices).clamp(50, 500);
        let per_s = per_second(&scenario(LearnerName::Linucb, devices, tasks));
        let each = 1e6 / per_s;
        let ratio = each / *first.get_or_insert(each);
        let line =
            format!("linucb   {devices:>6} devices: {each:.2} µs per task of each, {ratio:.2} of ten's");
        judge(&line, ratio <= LARGEST_RATIO);
    }
    let dqn = scenario(LearnerName::Dqn, 1, 2000);
    let whole = 1.0 / best_of(3, || per_second(&dqn));
    let update = update_s(LearnerName::Dqn);
    let share = update / whole;
    judge(
        &format!(
            "dqn      {:.1} µs per task, {:.0} % of it the update",
            1e6 * whole,
            100.0 * share
        ),
        share >= LEAST_UPDATE_SHARE,
    );
    if missed > 0 && std::env::args().any(|argument| argument == "--strict") {
        eprintln!("{missed} rows are MISSED");
        std::process::exit(1);
    }
}

/// A Raspberry Pi or many in an ideal world.
fn scenario(learner: LearnerName, devices: usize, tasks: usize) -> Scenario {
    let mut scenario = Preset::Scenario1.scenario().expect("a preset");
    scenario.devices.truncate(1);
    scenario.count = tasks;
    let kind = &mut scenario.devices[0];
    kind.count = devices;
    kind.learner = learner;
    kind.cost = kind.profile.cost("native", learner).expect("a cost");
    // So many of each that the crowd meets what one does, and not a queue that grows for ever.
    scenario.mec = with_cores(&scenario.mec, devices);
    scenario.cloud = with_cores(&scenario.cloud, devices);
    for regime in &mut scenario.regimes {
        regime.capacity_bps = regime.capacity_bps.map(|bps| bps * devices as f64);
    }
    scenario
}

fn with_cores(server: &Arc<hwmeter::testbed::Profile>, cores: usize) -> Arc<hwmeter::testbed::Profile> {
    let mut server = (**server).clone();
    server.cpu.cores = server.cpu.cores.max(u16::try_from(cores).unwrap_or(u16::MAX));
    Arc::new(server)
}

fn per_second(scenario: &Scenario) -> f64 {
    let began_s = cpu_s();
    let mut output = |_: u32, _: &_| {
        Ok(Output {
            rows: Box::new(Nowhere),
            on_sample: None,
        })
    };
    let finished = run(scenario, 50, &mut output, &|| ()).expect("a run");
    let tasks: u64 = finished.iter().map(|device| device.summary.tasks).sum();
    tasks as f64 / (cpu_s() - began_s)
}

/// CPU time of this thread, in seconds.
fn cpu_s() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to, and every thread has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

fn best_of(runs: usize, run: impl Fn() -> f64) -> f64 {
    (0..runs).map(|_| run()).fold(0.0, f64::max)
}

/// Seconds of an update of the bare learner.
fn update_s(learner: LearnerName) -> f64 {
    let mut learner = build(learner, 50, &Settings::default()).expect("valid settings");
    let transitions = transitions(2000, 50);
    let mut once = || {
        let began_s = cpu_s();
        for transition in &transitions {
            learner.learn(transition).expect("finite numbers");
        }
        (cpu_s() - began_s) / transitions.len() as f64
    };
    (0..3).map(|_| once()).fold(f64::MAX, f64::min)
}
