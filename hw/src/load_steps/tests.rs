#![allow(clippy::unwrap_used)]

use super::plan::steps_of;
use super::*;
use crate::cpu::Affinity;
use crate::error::Error;
use crate::meter::MeterOptions;
use crate::sensor::{Rail, Reading, Role, Sensor, SensorInfo};
use crate::units::Seconds;

/// 3 W, until it has been read so often.
struct Mortal(u32);

impl Sensor for Mortal {
    fn read(&mut self) -> Result<Reading> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| {
            Error::os(
                "reading the wall meter",
                std::io::Error::from_raw_os_error(libc::EIO),
            )
        })?;
        Ok(Reading::of_power(Watts(3.0)))
    }

    /// 1 %, and 40 mW.
    fn info(&self) -> SensorInfo {
        let rail = Rail::new("total", Role::Total).with_offset(Watts(0.04));
        let mut info = SensorInfo::new("modbus", Kind::Measured, vec![rail]);
        info.accuracy.gain = 0.01;
        info
    }
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan {
        cores: Affinity::current().unwrap(),
        steps,
        settle: Duration::from_millis(20),
        length: Duration::from_millis(200),
        notes: Vec::new(),
    }
}

#[test]
fn a_meter_that_stops_leaves_the_steps_until_then() {
    let meter = Meter::start(Mortal(35), MeterOptions::at(100.0)).unwrap();
    let plan = plan(vec![steps_of(1, Effort::Quick)[0]; 4]);
    let mut begun = 0;
    let taken = run(&plan, &meter, &Root::default(), |n, _| begun = n).unwrap();
    assert!(!taken.steps.is_empty() && taken.steps.len() < 4, "{taken:?}");
    assert_eq!(begun, taken.steps.len(), "it does not go on without a meter");
    assert!((taken.steps[0].watts.0 - 3.0).abs() < 1e-9);
    let shared = 0.01f64.hypot(0.04 / 3.0);
    assert!(
        (taken.gain - shared).abs() < 1e-3 * shared,
        "{} {shared}",
        taken.gain
    );
    let why = taken.partial.unwrap();
    assert!(
        why.contains("of 4") && why.contains("reading the wall meter"),
        "{why}"
    );
}

#[test]
fn plans_begin_and_end_idle_and_reach_every_number_of_cores_and_full_load() {
    for cores in [1, 2, 4, 6, 128] {
        for effort in [Effort::Quick, Effort::Default, Effort::Full] {
            let steps = steps_of(cores, effort);
            assert!(
                (6..40).contains(&steps.len()),
                "{cores} cores, {effort:?}: {}",
                steps.len()
            );
            assert!(steps[0].share == 0.0 && steps[steps.len() - 1].share == 0.0);
            assert!(
                steps
                    .iter()
                    .any(|step| step.busy_cores == cores && step.share == 1.0)
            );
            assert!(steps.iter().all(|step| step.busy_cores <= cores));
        }
    }
    let default = steps_of(4, Effort::Default);
    assert!((1..=4).all(|n| {
        default
            .iter()
            .any(|step| step.busy_cores == n && step.share == 1.0)
    }));
}

#[test]
fn frequencies_are_held_during_a_step_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let policy = root.path("/sys/devices/system/cpu/cpufreq/policy0");
    std::fs::create_dir_all(&policy).unwrap();
    std::fs::create_dir_all(root.path("/proc")).unwrap();
    std::fs::copy("/proc/stat", root.path("/proc/stat")).unwrap();
    for (file, content) in [
        ("related_cpus", "0 1"),
        ("scaling_governor", "ondemand"),
        ("scaling_min_freq", "600000"),
        ("scaling_max_freq", "1800000"),
        ("cpuinfo_min_freq", "600000"),
        ("cpuinfo_max_freq", "1800000"),
        ("scaling_cur_freq", "600000"),
    ] {
        std::fs::write(policy.join(file), content).unwrap();
    }
    let read = |file| std::fs::read_to_string(policy.join(file)).unwrap();
    let whole = Plan::new(&root, &Mortal(1).info(), Effort::Default).unwrap();
    assert!(whole.notes.is_empty(), "{:?}", whole.notes);
    let khz: Vec<u64> = whole.steps.iter().filter_map(|step| step.khz).collect();
    assert!(khz.contains(&600_000) && khz.contains(&1_200_000), "{khz:?}");
    let meter = Meter::start(Mortal(10_000), MeterOptions::at(100.0)).unwrap();
    let mut taker = Taker {
        plan: &plan(Vec::new()),
        meter: &meter,
        root: &root,
        times: CpuTimesReader::open(&root).unwrap(),
        frequency: CurrentFrequency::open(&root),
        cores: 2,
        shared: Vec::new(),
    };
    let step = Step {
        busy_cores: 0,
        share: 0.0,
        khz: Some(1_200_000),
    };
    // The copied /proc/stat stands still: the step fails, and what it changed is put back.
    let held = std::thread::scope(|scope| {
        let looker = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            (read("scaling_min_freq"), read("scaling_max_freq"))
        });
        let why = taker.take(&step).unwrap().unwrap_err();
        assert!(why.contains("did not move"), "{why}");
        looker.join().unwrap()
    });
    assert_eq!(held, ("1200000".to_owned(), "1200000".to_owned()));
    assert_eq!(
        (read("scaling_min_freq"), read("scaling_max_freq")),
        ("600000".to_owned(), "1800000".to_owned())
    );
}

#[test]
fn a_slow_sensor_gets_time_and_a_claim_of_a_year_does_not() {
    let plan = |update, lag| {
        let mut info = Mortal(1).info();
        info.accuracy.update_period = Some(Seconds(update));
        info.accuracy.lag = Some(Seconds(lag));
        let plan = Plan::new(&Root::default(), &info, Effort::Quick).unwrap();
        (plan.settle.as_secs_f64(), plan.length.as_secs_f64())
    };
    assert_eq!(plan(0.001, 0.01), (0.3, 0.5));
    assert_eq!(plan(1.0, 0.4), (4.0, 4.0));
    assert_eq!(plan(3e7, 0.0), (20.0, 20.0));
}

#[test]
fn other_programs_and_limits_are_told() {
    let step = |busy_cores, utilisation| LoadStep {
        busy_cores,
        share: if busy_cores == 0 { 0.0 } else { 1.0 },
        utilisation,
        hz: None,
        watts: Watts(3.0),
        uncertainty: Watts(0.1),
    };
    assert_eq!(
        disturbances(&[step(0, 0.02), step(2, 0.51), step(4, 0.99)], 4),
        [""; 0]
    );
    let notes = disturbances(&[step(0, 0.3), step(2, 0.5), step(4, 0.6)], 4);
    assert!(
        notes[0].contains("30 % at idle") && notes[1].contains("100 % reached 60 %"),
        "{notes:?}"
    );
}
