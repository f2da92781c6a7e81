#![allow(clippy::unwrap_used)]

use super::*;

fn default_set() -> Vec<TaskRow> {
    Parameters::default().generate(&CostModel::reference()).unwrap()
}

fn kernels(row: &TaskRow) -> &crate::task::Kernels {
    match &row.kernels {
        Content::Exact(Program::Kernels(kernels)) => kernels,
        other => panic!("{other}"),
    }
}

#[test]
fn every_task_takes_its_time_within_two_percent() {
    let cost = CostModel::reference();
    for (task, mhz, utilisation) in [(500, 1200.048, 3.9), (200, 1500.0, 0.2)] {
        let parameters = Parameters {
            tasks: task,
            mhz,
            utilisation,
            ..Parameters::default()
        };
        for row in parameters.generate(&cost).unwrap() {
            let filled_us = cost.cycles_of(kernels(&row)) / mhz;
            let share = filled_us / row.execution_us.unwrap() as f64;
            assert!((0.98..=1.0 + 1e-12).contains(&share), "{row:?}: {share}");
        }
    }
}

#[test]
fn a_seed_decides() {
    assert_eq!(default_set(), default_set());
    let other = Parameters {
        seed: 51,
        ..Parameters::default()
    };
    assert_ne!(default_set(), other.generate(&CostModel::reference()).unwrap());
}

#[test]
fn costs_decide_the_kernels_and_nothing_else() {
    let twice = CostModel::from_cycles(|kernel| 2.0 * f64::from(kernel.reference_cycles()));
    let here = Parameters::default().generate(&twice).unwrap();
    for (one, other) in default_set().iter().zip(here) {
        assert_eq!((one.execution_us, one.cycles), (other.execution_us, other.cycles));
        let rounds = |row: &TaskRow| kernels(row).steps().iter().map(|step| step.rounds).sum::<u64>() as f64;
        // Small tasks are a knapsack of other kernels then.
        let ratio = rounds(one) / rounds(&other);
        assert!(
            one.cycles < 100_000_000 || (1.8..2.2).contains(&ratio),
            "{ratio}: {one:?} {other:?}"
        );
    }
}

#[test]
fn deadlines_and_payloads_keep_to_their_rule() {
    let set = default_set();
    let factors = set
        .iter()
        .map(|row| (row.deadline_s - GRACE_S) * 1e6 / row.execution_us.unwrap() as f64);
    let factors: Vec<f64> = factors.collect();
    assert!(factors.iter().all(|factor| (0.399..2.001).contains(factor)));
    let mean = factors.iter().sum::<f64>() / factors.len() as f64;
    assert!((mean - 1.2).abs() < 0.07, "{mean}");
    assert!(
        set.iter()
            .all(|row| (300_000..=3_000_000).contains(&row.payload_bytes))
    );
    let small = set.iter().filter(|row| row.payload_bytes < 948_683).count();
    assert!((200..300).contains(&small), "{small} below the geometric mean");
}

#[test]
fn bad_parameters_are_named() {
    let default = Parameters::default;
    let cases = [
        (
            Parameters {
                utilisation: 4.1,
                ..default()
            },
            "at most the 4 cores",
        ),
        (
            Parameters {
                utilisation: 0.0,
                ..default()
            },
            "utilisation 0",
        ),
        (
            Parameters {
                utilisation: f64::NAN,
                ..default()
            },
            "utilisation NaN",
        ),
        (
            Parameters {
                tasks: 0,
                ..default()
            },
            "0 tasks",
        ),
        (
            Parameters {
                tasks: 1_000_001,
                ..default()
            },
            "1000001 tasks",
        ),
        (
            Parameters {
                tasks: 4,
                ..default()
            },
            "cannot add up",
        ),
        (
            Parameters {
                period_min_us: 2,
                period_max_us: 1,
                ..default()
            },
            "from 2 to 1 µs",
        ),
        (
            Parameters {
                period_min_us: 0,
                ..default()
            },
            "from 0 to",
        ),
        (
            Parameters {
                period_max_us: u64::MAX,
                ..default()
            },
            "periods from",
        ),
        (
            Parameters {
                period_step_us: 0,
                ..default()
            },
            "step 0",
        ),
        (
            Parameters {
                mhz: 0.0,
                ..default()
            },
            "0 MHz",
        ),
        (
            Parameters {
                deadline_factor: (2.0, 1.0),
                ..default()
            },
            "from 2 to 1",
        ),
        (
            Parameters {
                payload_bytes: (2, 1),
                ..default()
            },
            "2 to 1 bytes",
        ),
    ];
    for (parameters, expected) in cases {
        let error = parameters.generate(&CostModel::reference()).unwrap_err();
        assert!(matches!(error, GenerateError::Parameter(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// The value that an error's advice gives for `what`.
fn advised(error: &GenerateError, what: &str) -> f64 {
    let text = error.to_string();
    let (_, rest) = text
        .split_once(what)
        .unwrap_or_else(|| panic!("no {what} in: {text}"));
    let number = rest.split([' ', ',']).next().unwrap();
    number
        .parse()
        .unwrap_or_else(|e| panic!("{e}: {number} in {text}"))
}

#[test]
fn advice_for_too_many_tasks_helps() {
    let many = Parameters {
        tasks: 2000,
        ..Parameters::default()
    };
    let cost = CostModel::reference();
    let error = many.generate(&cost).unwrap_err();
    assert!(
        !error.to_string().contains("--utilisation"),
        "there is no more of it: {error}"
    );
    let longer = Parameters {
        period_max_us: advised(&error, "--period-max ") as u64,
        ..many.clone()
    };
    assert_eq!(longer.generate(&cost).unwrap().len(), 2000);
    let fewer = Parameters {
        tasks: advised(&error, "at most ") as usize,
        ..many
    };
    assert!(fewer.tasks > 500, "{}", fewer.tasks);
    assert_eq!(fewer.generate(&cost).unwrap().len(), fewer.tasks);

    let light = Parameters {
        utilisation: 0.3,
        tasks: 600,
        ..Parameters::default()
    };
    let error = light.generate(&cost).unwrap_err();
    let busier = Parameters {
        utilisation: advised(&error, "--utilisation "),
        ..light
    };
    assert!(busier.generate(&cost).is_ok(), "{error}");

    let heavy = Parameters {
        utilisation: 1.8999999,
        tasks: 2,
        ..Parameters::default()
    };
    let error = heavy.generate(&cost).unwrap_err().to_string();
    assert!(error.contains("more tasks or less utilisation"), "{error}");
}

#[test]
fn deadlines_that_no_run_takes_are_not_written() {
    let parameters = Parameters {
        utilisation: 3.0,
        tasks: 4,
        deadline_factor: (1e6, 1e6),
        ..Parameters::default()
    };
    let error = parameters.generate(&CostModel::reference()).unwrap_err();
    assert!(matches!(error, GenerateError::Deadline { .. }), "{error}");
}

/// A Raspberry Pi 4 (1.5 GHz) whose A72 needs `ipc` times the cycles of the reference core, with its uplink and servers
/// as the reference system describes them: MEC 2.0 GHz, of which `mec_free` is free; cloud 2.5 GHz, always free, 40 ms
/// further away. Assumed, not measured: `ipc`, the rates, and round trips of 20 ms to the MEC.
struct Pi4 {
    ipc: f64,
    uplink_bps: f64,
    mec_free: f64,
}

impl Pi4 {
    /// Which of local, MEC and cloud would meet the deadline.
    fn in_time(&self, row: &TaskRow) -> [bool; 3] {
        let cycles = row.execution_us.unwrap() as f64 * 1200.048e-6 * 1e6;
        let sending_s = row.payload_bytes as f64 * 8.0 / self.uplink_bps;
        let local_s = cycles * self.ipc / 1.5e9;
        let mec_s = sending_s + 0.02 + cycles / (2.0e9 * self.mec_free);
        let cloud_s = sending_s + 0.06 + cycles / 2.5e9;
        [local_s, mec_s, cloud_s].map(|latency_s| latency_s <= row.deadline_s)
    }
}

#[test]
fn no_fixed_placement_meets_nine_tenths_of_the_deadlines_on_a_raspberry_pi_4() {
    let set = default_set();
    for ipc in [1.0, 1.5, 2.0] {
        for uplink_bps in [20e6, 50e6, 100e6, 200e6] {
            // Scenario 1, and the two ends of the stress of scenario 2.
            for mec_free in [1.0, 0.2, 0.02] {
                let pi = Pi4 {
                    ipc,
                    uplink_bps,
                    mec_free,
                };
                let outcomes: Vec<_> = set.iter().map(|row| pi.in_time(row)).collect();
                let share = |met: &dyn Fn(&[bool; 3]) -> bool| {
                    outcomes.iter().filter(|outcome| met(outcome)).count() as f64 / outcomes.len() as f64
                };
                let fixed = [0, 1, 2].map(|placement| share(&|outcome| outcome[placement]));
                let best = share(&|outcome| outcome.contains(&true));
                assert!(
                    fixed.iter().all(|&met| met <= 0.9),
                    "{ipc} {uplink_bps} {mec_free}: {fixed:?}"
                );
                // Choosing well is worth something, unless the link is slow or the device as fast as the servers.
                let best_fixed = fixed.iter().copied().fold(0.0, f64::max);
                let is_typical = ipc > 1.0 && uplink_bps >= 50e6;
                assert!(
                    !is_typical || best > best_fixed + 0.05,
                    "{ipc} {uplink_bps} {mec_free}: {best}, {fixed:?}"
                );
            }
        }
    }
}
