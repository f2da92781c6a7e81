//! The share of a command in a board's joules.

use crate::boards::Board;
use crate::{json, number};
use std::path::Path;

/// The work of a grandchild, at 0.5 J per CPU second, on a board that idles at 2 W.
#[test]
fn a_share_is_idle_power_and_the_cpu_time_of_the_whole_tree() {
    let threads = Path::new("/proc/self/task");
    if !threads
        .join(std::process::id().to_string())
        .join("children")
        .exists()
    {
        eprintln!("skipped: this kernel has no CONFIG_PROC_CHILDREN");
        return;
    }
    let board = Board::jetson_nano();
    board.file(
        "/etc/hwmeter/calibration.toml",
        "[sensor.ina3221-iio]\nidle_watts = 2\nfull_watts = 4\n",
    );
    let times = board.path().join("times");
    let work = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
    let script = format!("sh -c '{work}'; times > {}; sleep 0.2", times.display());
    let measured = json(&board, &["--share", "--", "sh", "-c", &script]);
    assert_eq!(measured["kind"], "modelled");
    let rail = |name: &str| {
        let rails = measured["rails"].as_array().unwrap();
        number(&rails.iter().find(|rail| rail["name"] == name).unwrap()["joules"])
    };
    let seconds = number(&measured["duration_s"]);
    let cores = 4.0; // of the made-up board
    let price = (4.0 - 2.0) / cores;
    assert!(
        (rail("idle") - 2.0 * seconds).abs() < 0.02 * seconds,
        "{measured:#}"
    );
    let (seen, used) = (rail("dynamic") / price, cpu_seconds(&times));
    let tolerance = 0.05 + 0.1 * used;
    assert!(
        used > 0.1 && (seen - used).abs() < tolerance,
        "{seen} of {used}: {measured:#}"
    );
    assert!(
        (rail("device") - rail("idle") - rail("dynamic")).abs() < 1e-6,
        "{measured:#}"
    );
    let net = number(&measured["net"]["joules"]);
    assert!((net - rail("dynamic")).abs() < 0.02, "{measured:#}");
    let asleep = json(&board, &["--share", "--", "sleep", "0.5"]);
    assert!(number(&asleep["net"]["joules"]).abs() < 0.1, "{asleep:#}");
}

/// All that the shell's `times` says: its own time and that of its children, such as `0m0.25s 0m0.01s` twice.
fn cpu_seconds(times: &Path) -> f64 {
    let said = std::fs::read_to_string(times).unwrap();
    let seconds = |text: &str| {
        let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap();
        60.0 * minutes.parse::<f64>().unwrap() + seconds.parse::<f64>().unwrap()
    };
    said.split_whitespace().map(seconds).sum()
}
