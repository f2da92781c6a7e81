//! A signal in the middle: how the CPU is clocked is put back, and nothing half done is written.

use super::curve::FollowingBoard;
use super::{hwmeter, turn};
use crate::common::child::started;
use crate::common::until;
use crate::signals::with_default_signals;
use nix::sys::signal::Signal::{SIGINT, SIGTERM};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

const POLICY: &str = "/sys/devices/system/cpu/cpufreq/policy0";
const CLOCKED: [&str; 6] = [
    "--governor",
    "performance",
    "--cpu-min-khz",
    "900000",
    "--cpu-max-khz",
    "1200000",
];

fn state(board: &FollowingBoard) -> [String; 3] {
    ["scaling_governor", "scaling_min_freq", "scaling_max_freq"]
        .map(|file| std::fs::read_to_string(board.board.place(&format!("{POLICY}/{file}"))).unwrap())
}

#[test]
fn a_signal_during_the_load_steps_puts_governor_and_limits_back() {
    let _turn = turn();
    for end in [SIGINT, SIGTERM] {
        let board = FollowingBoard::start(true);
        for (file, content) in [
            ("related_cpus", "0 1 2 3\n"),
            ("scaling_available_governors", "ondemand performance\n"),
            ("scaling_governor", "ondemand"),
            ("scaling_min_freq", "600000"),
            ("scaling_max_freq", "1500000"),
            ("cpuinfo_min_freq", "600000\n"),
            ("cpuinfo_max_freq", "1500000\n"),
        ] {
            board.board.file(&format!("{POLICY}/{file}"), content);
        }
        let before = state(&board);
        let mut command = hwmeter(&board.board, &["calibrate", "--quick", "--only", "power-model"]);
        command.args(CLOCKED).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = started(with_default_signals(&mut command));
        board.follow(child.id());
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("load steps") {
            assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
        }
        assert_eq!(
            state(&board),
            ["performance", "900000", "1200000"].map(str::to_owned)
        );
        // It works by now: the board draws more than it does idle.
        let draws = || board.microwatts.load(std::sync::atomic::Ordering::Relaxed);
        until("a load step", || draws() > 2_600_000);
        child.signal(end);
        assert_eq!(child.wait().unwrap().signal(), Some(end as i32));
        assert_eq!(state(&board), before, "{end}");
        assert!(!board.board.place("/etc/hwmeter/calibration.toml").exists());
    }
}
