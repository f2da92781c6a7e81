//! What a decision and an update of each learner cost, at batch size 1, call by call.
//!
//! `update` is one whole `learn`: normalisers, forward passes, TD error, backward pass and Adam. After the
//! timing the very learner that was timed goes on beside its twin in plain f64, and beside plain code in f32. The
//! bench fails when units are dead, or when the learner's weights are further from f64 than [`SLACK`] times what
//! plain f32 code makes: rounding errors grow like chaos, so two equally exact programs differ by a factor.
//! With `--strict` it also fails, at its end, when a median is above its limit (MISSED) or a p90 above 1.5 medians
//! (UNSTEADY); without, both are only said, because on a shared machine they say more of the machine.
//! With `--tsv` the rows are those that `bench/peers/compare` reads.

use hwmeter::learn::mlp::Mlp;
use hwmeter::learn::{Learner, LearnerName, Settings, ac, build, dqn};
use hwmeter_bench::timing::{Quantiles, Verdict, micros, read_and_write_three, triad};
use hwmeter_bench::twin::{AcTwin, DqnTwin, Normalisers, Twin, transitions};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Updates before the clock starts, and calls that are timed.
const WARM_UP: usize = 1000;
const CALLS: usize = 10_000;
/// Updates over which the learner is held against its twin.
const CHECKED: usize = 1000;
/// How many times further from f64 than plain f32 code the learner may be.
const SLACK: f64 = 4.0;
/// Floats behind each parameter: the weight, its mean and its square.
const STATE_BYTES: usize = 3 * size_of::<f32>();

/// Rows that are MISSED or UNSTEADY so far.
static MISSED: AtomicUsize = AtomicUsize::new(0);

fn main() {
    let floor = floor();
    let gamma = 0.99;
    println!("case                        median      p90      p99  limit");
    let config = dqn::Config {
        gamma,
        ..dqn::Config::default()
    };
    let mut dqn = dqn::Dqn::new(config.clone(), 1).expect("valid settings");
    let (normalisers, median) = time("dqn 4x256", &mut dqn, Some([130.0, 20.0]));
    if !is_tsv() {
        println!("    {:.1} times the floor", micros(median) / floor);
    }
    check(&mut dqn, normalisers, |c| DqnTwin::new(&config, c));
    alive(&[dqn.network()]);
    for (width, limit) in [(64, 10.0), (256, 90.0)] {
        let config = ac::Config {
            hidden: vec![width; 2],
            gamma,
            ..ac::Config::default()
        };
        let mut ac = ac::ActorCritic::new(config.clone(), 1).expect("valid settings");
        let (normalisers, _) = time(&format!("ac 2x{width}"), &mut ac, Some([limit, 20.0]));
        check(&mut ac, normalisers, |c| AcTwin::new(&config, c));
        alive(&ac.networks());
    }
    for name in [LearnerName::Linucb, LearnerName::Random] {
        let mut learner = build(name, 1, &Settings::default()).expect("valid settings");
        time(&name.to_string(), &mut *learner, None);
    }
    let missed = MISSED.load(Ordering::Relaxed);
    if missed > 0 && std::env::args().any(|argument| argument == "--strict") {
        eprintln!("{missed} rows are MISSED or UNSTEADY");
        std::process::exit(1);
    }
}

/// Says what the memory gives, and returns the microseconds that the DQN's update cannot be faster than.
fn floor() -> f64 {
    let parameters = 199_683;
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    for bytes in [parameters * STATE_BYTES, 300_000_000] {
        let rate = triad(bytes) / 1e9;
        println!("triad over {:.1} MB: {rate:.1} GB/s", megabytes(bytes));
    }
    let floor = micros(read_and_write_three(parameters * STATE_BYTES));
    let rate = 2e-3 * megabytes(parameters * STATE_BYTES) / (1e-6 * floor);
    println!("floor of dqn 4x256, weights and moments read and written once: {floor:.1} µs, {rate:.0} GB/s");
    floor
}

/// Times updates and decisions, against limits in microseconds for their medians; returns what the learner's
/// normalisers have become, and the median of an update.
fn time(label: &str, learner: &mut dyn Learner, limits: Option<[f64; 2]>) -> (Normalisers, Duration) {
    let mut cycle = transitions();
    let mut next = || cycle.next().expect("a cycle never ends");
    for _ in 0..WARM_UP {
        learner.learn(&next()).expect("finite");
    }
    let update = Quantiles::of(CALLS, || learner.learn(black_box(&next())).expect("finite"));
    let decide = Quantiles::of(CALLS, || {
        black_box(learner.decide(black_box(&next().state)).expect("finite"));
    });
    row(
        &format!("{label} update"),
        update,
        limits.map(|[update, _]| update),
    );
    row(
        &format!("{label} decide"),
        decide,
        limits.map(|[_, decide]| decide),
    );
    let mut normalisers = Normalisers::default();
    for transition in transitions().take(WARM_UP + CALLS) {
        normalisers.observe(&transition).expect("finite");
    }
    (normalisers, update.median)
}

fn is_tsv() -> bool {
    std::env::args().any(|argument| argument == "--tsv")
}

fn row(label: &str, times: Quantiles, limit: Option<f64>) {
    let verdict = times.against(limit);
    if verdict != Verdict::Kept {
        MISSED.fetch_add(1, Ordering::Relaxed);
    }
    let [median, p90, p99] = [times.median, times.p90, times.p99].map(micros);
    if is_tsv() {
        // For the table of peers, which has updates only.
        if let Some(name) = label.strip_suffix(" update").filter(|_| limit.is_some()) {
            println!("{name}\thwmeter native\t{median}\t{p90}\t{p99}");
        }
        return;
    }
    let limit = limit.map_or(String::new(), |limit| format!("{limit:5.0}"));
    println!(
        "{label:24} {median:6.2} µs {p90:8.2} {p99:8.2}  {limit}{}",
        verdict.mark()
    );
}

/// Goes on for [`CHECKED`] updates beside the twin, and holds the distance against what f32 itself makes.
fn check<T: Twin + Clone>(
    learner: &mut dyn Learner,
    mut normalisers: Normalisers,
    twin: impl Fn(&hwmeter::learn::Checkpoint) -> T,
) {
    let mut exact = twin(&learner.save());
    let mut single = exact.clone().in_single_precision();
    for transition in transitions().take(CHECKED) {
        learner.learn(&transition).expect("finite");
        let experience = normalisers.observe(&transition).expect("finite");
        let action = transition.placement as usize;
        exact.learn(&experience, action);
        single.learn(&experience, action);
    }
    let (ours, plain) = (exact.distance(&learner.save()), exact.distance_to(&single));
    println!("    {CHECKED} updates on: {ours:.1e} from f64, where plain f32 code is {plain:.1e}");
    assert!(
        ours <= SLACK * plain,
        "the engine is less exact than f32 code has to be"
    );
}

/// Fails when units are dead: their cost would be that of a network that cannot learn.
fn alive(networks: &[&Mlp]) {
    for network in networks {
        let (active, moved) = network.live_share();
        println!(
            "    {:.0} % of the units answer, {:.0} % have a gradient",
            100.0 * active,
            100.0 * moved
        );
        assert!(active > 0.1 && moved > 0.1, "dead units");
    }
}
