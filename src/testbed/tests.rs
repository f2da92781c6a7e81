//! Whole simulations: what devices learn, what they write, what their sensors say.

use super::run::{Finished, Output, run};
use super::scenario::{Preset, Scenario};
use crate::agent::ledger::Sink;
use crate::learn::{LearnerName, Placement};
use crate::record::DecisionRecord;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Keeps rows.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Vec<DecisionRecord>>>);

impl Sink for Rows {
    fn write(&mut self, record: &DecisionRecord) -> anyhow::Result<()> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

fn scenario(text: &str) -> Scenario {
    Scenario::parse("test.toml", text, Path::new(".")).unwrap()
}

/// One device's part of a scenario, and the rest of it.
fn one(device: &str, rest: &str) -> String {
    of(300, device, rest)
}

/// The same with so many tasks.
fn of(count: usize, device: &str, rest: &str) -> String {
    format!(
        "[task_set]\ncount = {count}\n[[device]]\nprofile = \"raspberry-pi-4\"\n{device}\n\
         [cell]\nnetwork = \"5g-sa\"\ncapacity_up_bps = 400e6\ncapacity_down_bps = 1e9\n\
         [mec]\nprofile = \"mec-i7\"\n[cloud]\nprofile = \"cloud-i7\"\nnetwork = \"wan-cloud\"\n{rest}"
    )
}

fn simulate(scenario: &Scenario, seed: u64) -> Vec<(Finished, Vec<DecisionRecord>)> {
    let mut all = Vec::new();
    let finished = run(
        scenario,
        seed,
        &mut |_, _| {
            let rows = Rows::default();
            all.push(rows.clone());
            Ok(Output {
                rows: Box::new(rows),
                on_sample: None,
            })
        },
        &|| (),
    )
    .unwrap();
    let rows = all.iter().map(|rows| rows.0.lock().unwrap().clone());
    finished.into_iter().zip(rows).collect()
}

#[test]
fn every_preset_runs_and_every_number_is_simulated() {
    for preset in Preset::ALL {
        let mut scenario = preset.scenario().unwrap();
        scenario.count = 40;
        for (device, rows) in simulate(&scenario, 50) {
            assert_eq!(rows.len(), 40, "{preset}");
            let ids: Vec<u64> = rows.iter().map(|row| row.task).collect();
            assert_eq!(ids, (0..40).collect::<Vec<_>>());
            assert!(
                rows.iter()
                    .all(|row| row.kind == "simulated" && row.coverage > 0.99),
                "{preset}"
            );
            assert!(
                rows.iter()
                    .all(|row| row.energy_j.is_some() && row.energy_u_j.is_some())
            );
            assert!(rows.iter().all(|row| row.latency_s <= row.deadline_s + 1e-6));
            let learned = rows.iter().filter(|row| row.train_s.is_some()).count();
            assert_eq!(learned, 40, "{preset}: {:?}", device.learner_faults);
            let truth = device.truth;
            let parts = truth.idle_j + truth.background_j + truth.deciding_j + truth.executing_j;
            let parts = parts + truth.training_j + truth.radio_j;
            assert!((parts / truth.total_j - 1.0).abs() < 1e-9);
            let (known, within) = device.within_two_u;
            assert_eq!(known, 40);
            assert!(
                within as f64 >= 0.9 * known as f64,
                "{preset}: {within} of {known}"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_another() {
    let mut scenario = Preset::Scenario2.scenario().unwrap();
    scenario.count = 40;
    let rows = |seed| -> Vec<_> {
        simulate(&scenario, seed)
            .into_iter()
            .map(|(_, rows)| rows)
            .collect()
    };
    let first = rows(50);
    assert_eq!(first, rows(50));
    assert_ne!(first, rows(51));
}

/// Far more expensive to send than to compute; or the other way round: the learners find it out.
#[test]
fn a_placement_that_is_always_best_is_learned_by_every_learner() {
    let mut local_best = scenario(&one("learner = \"linucb\"", ""));
    let mut mec_best = local_best.clone();
    for (scenario, task_hz, radio_w, mec_hz) in [
        (&mut local_best, 50e9, 40.0, 0.05e9),
        (&mut mec_best, 0.05e9, 0.1, 100e9),
    ] {
        let mut board = (*scenario.devices[0].profile).clone();
        let number = |value: f64| value.try_into().unwrap();
        board.cpu.task_hz.value = number(task_hz);
        board.power.as_mut().unwrap().radio_tx_w.as_mut().unwrap().value = number(radio_w);
        scenario.devices[0].profile = Arc::new(board);
        let mut server = (*scenario.mec).clone();
        server.cpu.task_hz.value = number(mec_hz);
        scenario.mec = Arc::new(server);
        let mut cloud = (*scenario.cloud).clone();
        cloud.cpu.task_hz.value = number(0.05e9);
        scenario.cloud = Arc::new(cloud);
    }
    use LearnerName::{Ac, DLinucb, Dqn, Greedy, Linucb, StreamAc, StreamQ};
    for learner in [Ac, Dqn, StreamQ, StreamAc, Linucb, DLinucb, Greedy] {
        for (scenario, best) in [
            (&mut local_best, Placement::Local),
            (&mut mec_best, Placement::Mec),
        ] {
            let kind = &mut scenario.devices[0];
            kind.learner = learner;
            kind.cost = kind.profile.cost("native", learner).unwrap();
            let (_, rows) = simulate(scenario, 50).remove(0);
            let late = &rows[200..];
            let right = late.iter().filter(|row| row.placement == best).count();
            assert!(right >= 75, "{learner}: {best:?} in {right} of 100");
        }
    }
}

#[test]
fn training_on_the_mec_takes_link_and_mec_and_the_device_waits_or_does_not() {
    let device = "learner = \"dqn\"\nengine = \"tensorflow\"\ntraining = \"mec\"";
    let (_, waited) = simulate(&scenario(&of(60, device, "")), 50).remove(0);
    for row in &waited {
        let parts = [
            row.train_send_s,
            row.train_server_s,
            row.train_receive_s,
            row.train_apply_s,
        ];
        let sum: f64 = parts.iter().map(|part| part.unwrap()).sum();
        assert!((sum - row.train_s.unwrap()).abs() < 1e-6, "{row:?}");
        // 800 kB of weights at 100 Mbit/s.
        assert!(row.train_receive_s.unwrap() > 0.06 && row.train_j.unwrap() > 0.1);
        assert_eq!(row.training_site, Some("mec"));
    }
    let (_, here) = simulate(
        &scenario(&of(60, "learner = \"dqn\"\nengine = \"tensorflow\"", "")),
        50,
    )
    .remove(0);
    let mean =
        |rows: &[DecisionRecord]| rows.iter().filter_map(|row| row.train_s).sum::<f64>() / rows.len() as f64;
    assert!(
        mean(&waited) > 4.0 * mean(&here),
        "{} {}",
        mean(&waited),
        mean(&here)
    );
    let (_, going_on) = simulate(&scenario(&of(60, device, "[training]\nwait = false\n")), 50).remove(0);
    assert_eq!(going_on.iter().filter(|row| row.train_s.is_some()).count(), 60);
    let end = |rows: &[DecisionRecord]| rows.last().map(|row| row.t_s + row.latency_s).unwrap();
    assert!(end(&going_on) < end(&waited));
}

#[test]
fn a_busy_world_makes_offloading_slower() {
    let of = |rest: &str| {
        let (_, rows) = simulate(&scenario(&one("learner = \"mec\"", rest)), 50).remove(0);
        rows
    };
    let mean = |rows: &[DecisionRecord], of: fn(&DecisionRecord) -> Option<f64>| {
        let known: Vec<f64> = rows.iter().filter_map(of).collect();
        known.iter().sum::<f64>() / known.len() as f64
    };
    let ideal = of("");
    let busy = of("[[at]]\nt_s = 0.001\nues = 300\nue_bps = 10e6\nmec_stress = \"walk:0.8..1.0\"\n");
    let send = |row: &DecisionRecord| row.transmit_s.map(|s| s / row.payload_bytes as f64);
    let run = |row: &DecisionRecord| row.execute_s.map(|s| s / row.cycles as f64);
    assert!(mean(&busy, send) > 3.0 * mean(&ideal, send));
    let slower = mean(&busy, run) / mean(&ideal, run);
    assert!((1.66..2.0).contains(&slower), "{slower}");
    let free = mean(&busy[1..], |row| row.mec_free);
    assert!((0.0..0.2).contains(&free), "{free}");
}

#[test]
fn in_an_outage_nothing_comes_back_and_nothing_is_known() {
    let rest = "[[cell.outage]]\nt_s = 5\nfor_s = 1000\n";
    let text = one("learner = \"mec\"", "").replace("[mec]", &format!("{rest}[mec]"));
    let (_, rows) = simulate(&scenario(&text), 50).remove(0);
    let (before, within): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.t_s < 4.0);
    assert!(before.iter().any(|row| row.success));
    let within: Vec<_> = within
        .into_iter()
        .filter(|row| row.t_s > 5.0 && row.t_s < 900.0)
        .collect();
    assert!(
        within
            .iter()
            .all(|row| !row.success && row.error.as_deref() == Some("no result within the deadline"))
    );
    assert!(
        within
            .iter()
            .filter(|row| row.t_s > 9.0)
            .all(|row| row.mec_free.is_none())
    );
    assert!(
        within
            .iter()
            .filter(|row| row.t_s > 36.0)
            .all(|row| row.throughput_bps.is_none())
    );
}

#[test]
fn many_devices_share_the_cell_and_the_mec() {
    let alone = simulate(&scenario(&one("learner = \"mec\"", "")), 50);
    let crowd = simulate(&scenario(&one("learner = \"mec\"\ncount = 40", "")), 50);
    assert_eq!(crowd.len(), 40);
    let success = |device: &(Finished, Vec<DecisionRecord>)| device.0.summary.success_rate;
    let mean = crowd.iter().map(success).sum::<f64>() / 40.0;
    assert!(mean < success(&alone[0]) - 0.1, "{mean} {}", success(&alone[0]));
    let first: Vec<u64> = crowd.iter().map(|(_, rows)| rows[0].cycles).collect();
    assert_eq!(
        first[1], alone[0].1[1].cycles,
        "the second begins at the second task"
    );
}

/// Placement, latency and joules of twenty tasks. It changes only with the model, never with the machine: whoever changes it
/// looks at whether that was meant.
#[test]
fn a_small_scenario_of_a_fixed_seed_is_as_it_was() {
    let mut scenario = Preset::Drift.scenario().unwrap();
    scenario.count = 20;
    let (_, rows) = simulate(&scenario, 50).remove(0);
    let line = |row: &DecisionRecord| {
        let joules = row.energy_j.unwrap();
        format!("{:?} {:.3} s {joules:.3} J", row.placement, row.latency_s)
    };
    let lines: Vec<String> = rows.iter().map(line).collect();
    assert_eq!(lines, SNAPSHOT);
}

const SNAPSHOT: [&str; 20] = [
    "Local 0.422 s 1.355 J",
    "Local 0.131 s 0.454 J",
    "Mec 0.341 s 1.501 J",
    "Mec 0.150 s 0.672 J",
    "Cloud 0.396 s 1.459 J",
    "Cloud 0.280 s 0.985 J",
    "Cloud 0.375 s 1.018 J",
    "Local 0.061 s 0.222 J",
    "Cloud 0.451 s 1.981 J",
    "Local 0.142 s 0.448 J",
    "Local 0.093 s 0.299 J",
    "Local 0.151 s 0.487 J",
    "Local 0.483 s 1.550 J",
    "Local 0.351 s 1.129 J",
    "Local 0.284 s 0.914 J",
    "Local 0.191 s 0.614 J",
    "Local 0.196 s 0.628 J",
    "Local 0.113 s 0.364 J",
    "Local 0.197 s 0.633 J",
    "Local 0.193 s 0.619 J",
];
