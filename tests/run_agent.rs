//! `hwmeter run-agent` as a user runs it: real child processes, real sockets, real files.
#![allow(clippy::unwrap_used)]

mod common;

use common::child::{Started, started};
use common::runs::{LONG, manifest, until_done};
use common::until_within;
use hwmeter::agent::checkpoints::{Position, unlearned};
use hwmeter::learn::{Checkpoint, build};
use hwmeter::task::{self, Kernel, Speed, Work};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const HWMETER: &str = env!("CARGO_BIN_EXE_hwmeter");

fn agent(out: &Path) -> Command {
    let mut command = Command::new(HWMETER);
    command
        .args(["run-agent", "--gpu", "off", "--sensor", "cpu-model", "--out"])
        .arg(out);
    command
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn in_background(command: &mut Command) -> Started {
    started(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn rows(out: &Path) -> Vec<std::collections::HashMap<String, String>> {
    csv::Reader::from_path(out.join("decisions.csv"))
        .unwrap()
        .deserialize()
        .map(Result::unwrap)
        .collect()
}

/// The processes that `pid` has started.
fn children(pid: u32) -> Vec<Pid> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace()
        .map(|pid| Pid::from_raw(pid.parse().unwrap()))
        .collect()
}

fn is_alive(pid: Pid) -> bool {
    // A zombie that nobody has reaped yet is dead.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn every_task_is_decided_run_measured_and_learned() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let output = run(agent(&out).args([
        "--learner",
        "linucb",
        "--tasks",
        "8",
        "--seed",
        "7",
        "--audit",
        "1",
        "--json",
    ]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["status"], "done");
    assert_eq!(summary["summary"]["tasks"], 8);
    assert_eq!(summary["audit"]["wrong"], serde_json::json!([]));
    assert_eq!(summary["gpu"]["devices_opened"], serde_json::json!([]));

    let rows = rows(&out);
    assert_eq!(rows.len(), 8);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["task"], i.to_string());
        let number = |column: &str| {
            row[column]
                .parse::<f64>()
                .unwrap_or_else(|_| panic!("{column}: {row:?}"))
        };
        assert!(number("energy_j") > 0.0 && number("energy_u_j") > 0.0);
        assert!(
            number("decide_j") >= 0.0
                && number("decide_j") + number("execute_j") <= number("energy_j") * 1.001
        );
        assert!(number("latency_s") > 0.0 && number("train_s") > 0.0);
        let succeeded = row["success"] == "true";
        let expected = if succeeded {
            -number("energy_j")
        } else {
            number("reward")
        };
        assert_eq!(number("reward"), expected);
        assert!(number("reward") < 0.0);
        assert_eq!(
            (row["kind"].as_str(), row["sensor"].as_str()),
            ("modelled", "cpu-model")
        );
    }
    let checked = summary["audit"]["checked"].as_u64().unwrap();
    assert_eq!(
        checked as usize,
        rows.iter().filter(|row| !row["execute_s"].is_empty()).count()
    );

    let manifest = manifest(&out);
    assert_eq!(manifest["seed"], 7);
    assert!(manifest["energy_note"].as_str().unwrap().contains("share"));
    assert!(manifest["clock"]["t_s_zero_unix_s"].as_f64().unwrap() > 1.7e9);
    assert!(out.join("learner.safetensors").metadata().unwrap().len() > 0);
    assert!(
        std::fs::read_to_string(out.join("energy.csv"))
            .unwrap()
            .starts_with("t_s,sensor,rail,power_w,energy_j\n")
    );
}

/// The energy of a task is what `energy.csv` says about its time.
#[test]
fn the_joules_of_a_task_can_be_found_in_the_trace() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let output = run(agent(&out).args(["--learner", "local", "--tasks", "4"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut trace: Vec<(f64, f64)> = Vec::new();
    for row in csv::Reader::from_path(out.join("energy.csv"))
        .unwrap()
        .records()
        .map(Result::unwrap)
    {
        if &row[2] == "device" {
            trace.push((row[0].parse().unwrap(), row[4].parse().unwrap()));
        }
    }
    let at = |t: f64| {
        let i = trace
            .partition_point(|point| point.0 <= t)
            .clamp(1, trace.len() - 1);
        let ((t0, e0), (t1, e1)) = (trace[i - 1], trace[i]);
        e0 + (e1 - e0) * (t - t0) / (t1 - t0)
    };
    let rows = rows(&out);
    for row in &rows {
        let begin: f64 = row["t_s"].parse().unwrap();
        let end = begin + row["latency_s"].parse::<f64>().unwrap();
        let joules: f64 = row["energy_j"].parse().unwrap();
        let traced = at(end) - at(begin);
        assert!(
            (traced - joules).abs() < 0.02 * joules + 0.01,
            "{traced} {joules}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = |name: &str, learner: &str| {
        let out = dir.path().join(name);
        let output = run(agent(&out).args(["--learner", learner, "--tasks", "4", "--seed", "3"]));
        assert!(output.status.success(), "{}", text(&output.stderr));
        rows(&out)
            .iter()
            .map(|row| {
                ["task", "kernel", "cycles", "payload_bytes", "deadline_s"].map(|column| row[column].clone())
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(tasks("a", "cloud"), tasks("b", "mec"));
}

#[test]
fn ctrl_c_ends_with_the_summary_of_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let child = in_background(agent(&out).args(["--learner", "mec", "--tasks", "500", "--json"]));
    until_done(2, &out);
    child.signal(Signal::SIGINT);
    let Output { status, stdout, .. } = child.output();
    assert!(status.success(), "{status}");
    let summary: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(summary["status"], "interrupted");
    assert!(summary["summary"]["tasks"].as_u64().unwrap() >= 2);
    assert_eq!(manifest(&out)["status"], "interrupted");
}

#[test]
fn kill_9_leaves_finished_rows_readable_and_no_servers_behind() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut child = in_background(agent(&out).args(["--learner", "mec", "--tasks", "500"]));
    until_done(3, &out);
    let servers = children(child.id());
    assert_eq!(servers.len(), 4, "two servers and two links");
    child.kill();
    assert!(rows(&out).len() >= 3);
    assert_eq!(manifest(&out)["status"], "running");
    for server in servers {
        until_within(LONG, "servers gone", || !is_alive(server));
    }
}

/// A server of ours, and its URL.
struct Server {
    child: Started,
    url: String,
}

impl Server {
    fn start(role: &str) -> Self {
        let mut command = Command::new(HWMETER);
        command
            .args(["serve", "--role", role, "--listen", "127.0.0.1:0"])
            .args(["--training", "off"])
            .stderr(Stdio::null());
        let mut child = started(command.stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { child, url }
    }
}

#[test]
fn a_mec_that_dies_fails_its_tasks_and_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut mec = Server::start("mec");
    let cloud = Server::start("cloud");
    let child = in_background(
        agent(&out)
            .args(["--learner", "mec", "--tasks", "40"])
            .args(["--mec", &mec.url, "--cloud", &cloud.url]),
    );
    until_done(1, &out);
    mec.child.kill();
    let output = child.output();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows = rows(&out);
    assert_eq!(rows.len(), 40);
    let last = &rows[39];
    assert_eq!(last["success"], "false");
    assert!(
        last["error"].contains(&mec.url) || last["error"].contains("127.0.0.1"),
        "{last:?}"
    );
    assert!(last["reward"].parse::<f64>().unwrap() < 0.0);
    let manifest = manifest(&out);
    assert_eq!(
        manifest["energy_note"],
        Value::Null,
        "with real servers the whole board is charged"
    );
}

/// A server that answers quickly, politely, and wrongly, but for the probes by which it could be found out.
fn liar() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || while lie(stream.as_ref().unwrap()).is_some() {});
        }
    });
    url
}

/// Probes are known by their size alone: kernel and seed are others each time.
fn probe_in(request: &str) -> Option<Work> {
    let (_, query) = request.split_once('?')?;
    let query = query.split(' ').next()?;
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    };
    let kernel: Kernel = value("kernel")?.parse().ok()?;
    (value("size")? == "1").then_some(Work::one(kernel, 1, value("seed")?.parse().ok()?))
}

fn lie(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut probe) = (0, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.starts_with("POST") {
            probe = probe_in(&line);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).ok()?;
    let hash = twox_hash::XxHash3_64::oneshot(&payload);
    let checksum = match probe {
        Some(work) => task::run(&work, &payload, Speed::FULL, &|| false).ok()?,
        None => 0xbad,
    };
    let answer = format!(
        "{{\"checksum\":\"{checksum:016x}\",\"payload_hash\":\"{hash:016x}\",\"receive_s\":0.0,\"receive_bytes\":0,\"queue_s\":0.0,\"execute_s\":0.0}}"
    );
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    )
    .ok()
}

#[test]
fn a_server_that_lies_is_given_up_at_its_first_wrong_result() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let liar = liar();
    let output = run(agent(&out).args([
        "--learner",
        "mec",
        "--tasks",
        "8",
        "--audit",
        "1",
        "--mec",
        &liar,
        "--cloud",
        &liar,
    ]));
    assert_eq!(output.status.code(), Some(1));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        stderr.contains("results were wrong") && stderr.contains("upper bound"),
        "{stderr}"
    );
    assert!(stdout.contains("at most 0.0 %"), "{stdout}");
    let rows = rows(&out);
    assert_eq!(rows[0]["error"], "wrong result (audit)");
    let manifest = manifest(&out);
    let wrong = manifest["audit"]["wrong"].as_array().unwrap();
    let mut refused = 0;
    for (task, row) in rows.iter().enumerate() {
        assert_eq!(row["success"], "false", "{row:?}");
        // Learned from as what it is.
        assert!(
            row["reward"].is_empty() || row["reward"].parse::<f64>().unwrap() < -1e-3,
            "{row:?}"
        );
        let is_wrong = row["error"] == "wrong result (audit)";
        assert_eq!(wrong.contains(&task.into()), is_wrong, "{row:?}");
        refused += usize::from(row["error"].contains("is not used until a probe succeeds"));
    }
    assert_eq!(wrong.len() + refused, rows.len());
    assert!(refused >= 4, "{refused} tasks were kept from it");
    assert!(manifest["network"]["mec"]["circuit_opened"].as_u64().unwrap() >= 1);
    assert_eq!(manifest["summary"]["success_rate"], 0.0);
    assert_eq!(manifest["success_rate_is_upper_bound"], true);
}

fn fails(command: &mut Command, words: &[&str]) {
    let output = run(command);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let stderr = text(&output.stderr);
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn bad_input_is_told_what_where_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let out = |name: &str| -> PathBuf { dir.path().join(name) };
    let mut gpu = Command::new(HWMETER);
    fails(
        gpu.args(["run-agent", "--gpu", "on", "--out"]).arg(out("gpu")),
        &["`torch`", "--gpu off"],
    );
    let devfreq = dir.path().join("board/sys/class/devfreq/17000000.ga10b");
    std::fs::create_dir_all(devfreq).unwrap();
    for (board, word) in [("board", "GA10B (Ampere)"), ("none", "no GPU with CUDA")] {
        let mut gpu = Command::new(HWMETER);
        gpu.arg("--root").arg(dir.path().join(board));
        fails(gpu.args(["run-agent", "--gpu", "on"]), &["`torch`", word]);
    }
    fails(&mut agent(Path::new("/proc/no/run")), &["/proc/no/run", "--out"]);
    let mut sensor = Command::new(HWMETER);
    fails(
        sensor
            .args(["run-agent", "--sensor", "crystal-ball", "--out"])
            .arg(out("sensor")),
        &["crystal-ball", "known are"],
    );
    fails(agent(&out("cpus")).args(["--cpus", "900"]), &["CPU 900"]);
    std::fs::create_dir(out("old")).unwrap();
    std::fs::write(out("old").join("decisions.csv"), "task\n").unwrap();
    fails(&mut agent(&out("old")), &["already holds a run"]);

    for args in [
        &["--tasks", "0"][..],
        &["--tasks", "-5"],
        &["--learner", "magic"],
        &["--audit", "2"],
        &["--device-speed", "0"],
        &["--penalty", "nan"],
        &["--rate", "1e99"],
        &["--mec", "http://127.0.0.1:1"],
        &["--mec", "ftp://x", "--cloud", "http://127.0.0.1:1"],
        &["--gpu", "maybe"],
    ] {
        let output = run(agent(&out("bad")).args(args));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_full_disk_is_reported_and_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("trace");
    std::fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink("/dev/full", out.join("energy.csv")).unwrap();
    fails(
        agent(&out).args(["--learner", "local", "--tasks", "2"]),
        &["energy.csv", "No space left"],
    );
    assert_eq!(rows(&out).len(), 2, "the run itself went on");

    // Files may grow to 16 KiB only: run.json fits, the later rows of decisions.csv do not.
    let (out, set) = (dir.path().join("rows"), dir.path().join("set.csv"));
    let tasks = "1000000,5,100,fft\n".repeat(150);
    std::fs::write(&set, format!("cycles,deadline_s,payload_bytes,kernels\n{tasks}")).unwrap();
    let script = format!(
        "trap '' XFSZ; ulimit -f 32; exec {HWMETER} run-agent --sensor cpu-model --learner local --device-speed 1 \
         --taskset {} --out {}",
        set.display(),
        out.display()
    );
    fails(Command::new("sh").args(["-c", &script]), &["decisions.csv"]);
}

/// The tasks of a run that was killed and taken up again are those of one run, in order, each decided once.
#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let mut child = in_background(
        agent(&first)
            .args(["--learner", "stream-q", "--tasks", "300"])
            .args(["--checkpoint-every", "2", "--seed", "9"]),
    );
    until_done(5, &first);
    child.kill();

    let output = run(agent(&second)
        .arg("--resume")
        .arg(&first)
        .args(["--tasks", "10", "--json"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let manifest = manifest(&second);
    let next = manifest["first_task"].as_u64().unwrap();
    assert!((4..10).contains(&next) && next.is_multiple_of(2), "{next}");
    assert_eq!(
        (&manifest["seed"], &manifest["learner"]["name"]),
        (&9.into(), &"stream-q".into())
    );
    let tasks: Vec<u64> = rows(&second)
        .iter()
        .map(|row| row["task"].parse().unwrap())
        .collect();
    assert_eq!(tasks, (next..10).collect::<Vec<_>>());
    assert_eq!(manifest["reward"], self::manifest(&first)["reward"]);
    same_as_never_stopped(&first, &second, next);
    for (row, again) in rows(&first).iter().skip(next as usize).zip(rows(&second)) {
        assert_eq!(
            (&row["cycles"], &row["deadline_s"]),
            (&again["cycles"], &again["deadline_s"])
        );
    }

    let output = run(agent(&dir.path().join("third")).arg("--resume").arg(&second));
    assert!(!output.status.success() && !text(&output.stderr).contains("panicked"));
    let file = second.join("learner.safetensors");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    let output = run(agent(&dir.path().join("third"))
        .arg("--resume")
        .arg(&second)
        .args(["--tasks", "20"]));
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("learner.safetensors") && said.contains("damaged"),
        "{said}"
    );
    assert_eq!(
        std::fs::read(&file).unwrap(),
        good[..good.len() / 2],
        "nothing is written over"
    );

    // The end of the run is a checkpoint too, and can be evaluated.
    std::fs::write(&file, &good).unwrap();
    let command = || {
        let mut command = Command::new(HWMETER);
        command.arg("evaluate").arg(&file).arg("--json");
        command
    };
    for (given, word) in [
        (["--learner", "ac"], "--learner"),
        (["--set", "dqn.rate=1"], "--set"),
        (["--learner-config", "x.toml"], "--learner-config"),
    ] {
        fails(command().args(given), &["checkpoint", word]);
        fails(
            command().args(given).args(["--on", "tasks"]),
            &["checkpoint", word],
        );
    }
    fails(command().args(["--penalty", "3"]), &["--penalty", "--on tasks"]);
    let output = run(command().args(["--seeds", "2", "--tasks", "50"]));
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        row["mean_reward"].as_f64().unwrap() < 0.0 && row["update_s"].is_null(),
        "{row}"
    );
    let out = dir.path().join("evaluated");
    let output = run(command()
        .args(["--sensor", "cpu-model", "--on", "tasks", "--tasks", "3", "--out"])
        .arg(&out));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let evaluated = rows(&out);
    assert_eq!(evaluated.len(), 3);
    assert!(
        evaluated
            .iter()
            .all(|row| row["explored"] == "false" && row["train_s"].is_empty())
    );
}

/// The learner at the end of `second` is one that has learned from the rows of both runs, in their order: what was
/// waiting for its joules when the first was killed has been learned too, once.
fn same_as_never_stopped(first: &Path, second: &Path, next: u64) {
    let saved = Checkpoint::read(&second.join("learner.safetensors")).unwrap();
    let header = saved.header();
    let mut learner = build(header.learner, header.seed, &header.settings).unwrap();
    for (run, next_to_learn, next_task) in [(first, 0, next), (second, next, 10)] {
        let position = Position {
            next_task,
            next_to_learn,
        };
        for (transition, cost) in unlearned(&run.join("decisions.csv"), position)
            .unwrap()
            .experiences
        {
            learner.learn_with_cost(&transition, &cost).unwrap();
        }
    }
    let taught = learner.save();
    assert_eq!(taught.header().updates, header.updates);
    for (name, shape) in [
        ("q.0.weight", [32, 5]),
        ("q.1.weight", [32, 32]),
        ("q.2.weight", [3, 32]),
    ] {
        let (taught, saved) = (
            taught.f32s(name, &shape).unwrap(),
            saved.f32s(name, &shape).unwrap(),
        );
        assert_eq!(taught, saved, "{name}");
    }
    for (name, shape) in [("normaliser.state", vec![5, 3]), ("normaliser.reward", vec![3])] {
        assert_eq!(
            taught.f64s(name, &shape).unwrap(),
            saved.f64s(name, &shape).unwrap(),
            "{name}"
        );
    }
}

/// A learner of another kind or seed does not go on with the tasks of a run, and rows that are gone are told.
#[test]
fn a_run_is_resumed_with_its_own_learner_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (name, learner, seed) in [
        ("mine", "linucb", "7"),
        ("seed", "linucb", "8"),
        ("kind", "greedy", "7"),
    ] {
        let args = ["--tasks", "3", "--learner", learner, "--seed", seed];
        let output = run(agent(&at(name)).args(args));
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let file = at("mine").join("learner.safetensors");
    let own = std::fs::read(&file).unwrap();
    for (other, word) in [
        ("seed", "linucb quadratic with seed 8"),
        ("kind", "greedy averages"),
    ] {
        std::fs::copy(at(other).join("learner.safetensors"), &file).unwrap();
        let mut resumed = agent(&at("no"));
        fails(
            resumed.arg("--resume").arg(at("mine")),
            &["learner.safetensors", word, "run.json"],
        );
    }
    // One that has learned up to task 1 only, of which the row is gone.
    std::fs::write(&file, &own).unwrap();
    let mut saved = Checkpoint::read(&file).unwrap();
    saved.put_count("run.next_to_learn", 1);
    saved.write(&file).unwrap();
    let decisions = std::fs::read_to_string(at("mine").join("decisions.csv")).unwrap();
    let kept: Vec<&str> = decisions.lines().filter(|line| !line.starts_with("1,")).collect();
    std::fs::write(at("mine").join("decisions.csv"), kept.join("\n") + "\n").unwrap();
    let mut resumed = agent(&at("on"));
    let output = run(resumed.arg("--resume").arg(at("mine")).args(["--tasks", "4"]));
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("1 tasks"), "{said}");
    assert_eq!(manifest(&at("on"))["resumed_without"], 1);
}

#[test]
fn a_resumed_run_keeps_its_servers_speed_and_penalty_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let out = |name: &str| dir.path().join(name);
    let (mec, cloud) = (Server::start("mec"), Server::start("cloud"));
    let output = run(agent(&out("first"))
        .args([
            "--learner",
            "ac",
            "--set",
            "ac.hidden=[8]",
            "--tasks",
            "2",
            "--penalty",
            "20",
        ])
        .args(["--device-speed", "0.5", "--mec", &mec.url, "--cloud", &cloud.url]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let resume = |from: &str, to: &str, more: &[&str]| {
        let output = run(Command::new(HWMETER)
            .args(["run-agent", "--resume"])
            .arg(out(from))
            .arg("--out")
            .arg(out(to))
            .args(more));
        assert!(output.status.success(), "{}", text(&output.stderr));
        manifest(&out(to))
    };
    let penalty = |manifest: &Value| manifest["reward"]["penalty"]["constant"].as_f64();
    let second = resume("first", "second", &["--tasks", "3"]);
    assert_eq!(penalty(&second), Some(20.0));
    assert_eq!(second["device_speed"], 0.5);
    assert_eq!(second["learner"]["variant"], "1x8");
    assert_eq!(second["sensor"]["id"], "cpu-model");
    for (role, server) in [("mec", &mec), ("cloud", &cloud)] {
        assert!(
            second["servers"][role]["url"]
                .as_str()
                .unwrap()
                .contains(&server.url)
        );
    }
    // What was inherited is inherited again; what is said anew wins.
    let third = resume("second", "third", &["--tasks", "4", "--penalty", "7"]);
    assert_eq!(
        (penalty(&third), &third["device_speed"]),
        (Some(7.0), &0.5.into())
    );
    assert_eq!(third["servers"], second["servers"]);

    let file = out("third").join("run.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"penalty\": [", "\"penalti\": [")).unwrap();
    fails(
        Command::new(HWMETER)
            .args(["run-agent", "--tasks", "9", "--resume"])
            .arg(out("third")),
        &["third", "penalti"],
    );
    std::fs::write(&file, "[]").unwrap();
    fails(
        Command::new(HWMETER)
            .args(["run-agent", "--resume"])
            .arg(out("third")),
        &["run.json lacks the options"],
    );
}

#[test]
fn settings_come_from_a_file_and_the_command_line_and_typing_errors_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my.toml");
    std::fs::write(&file, "[dqn]\nhidden = [16]\nrate = 0.01\n").unwrap();
    let out = dir.path().join("run");
    let mut command = agent(&out);
    command
        .args(["--tasks", "2", "--set", "dqn.gamma=0.5", "--learner-config"])
        .arg(&file);
    let output = run(&mut command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let learner = &manifest(&out)["learner"];
    assert_eq!(learner["variant"], "1x16");
    let settings = learner["settings"].to_string();
    assert!(
        settings.contains(r#"["gamma",0.5]"#) && settings.contains(r#"["rate",0.01]"#),
        "{settings}"
    );

    std::fs::write(&file, "[dqn]\nhiden = [16]\n").unwrap();
    let output = run(agent(&dir.path().join("no")).arg("--learner-config").arg(&file));
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("line 2") && said.contains("hiden"),
        "{said}"
    );
    assert!(!dir.path().join("no").exists(), "nothing is begun");
}
